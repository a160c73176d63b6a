/*
 * A process whose first thread ends at once, as pthread_exit() in main() does it,
 * while its second one goes on. The process is alive; its thread group leader is a zombie.
 */
#include <pthread.h>
#include <unistd.h>

static void *work(void *unused)
{
	(void)unused;
	for (;;)
		pause();
}

int main(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, work, NULL) != 0)
		return 1;
	pthread_exit(NULL);
}
