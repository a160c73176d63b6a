/*
 * The service of the demonstration: over HTTP, it says on which kernel it runs and how often it was asked.
 * In C, so that it is there as soon as the kernel is: on an emulated processor Node takes seconds to start.
 * usage: service PORT
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#define CLIENTS 64

static struct pollfd fds[1 + CLIENTS];
static char boot_id[37];
static struct utsname kernel;
static unsigned long answers;

static void answer(int fd)
{
	char body[256], response[512];
	int length = snprintf(body, sizeof(body),
			      "{\"release\":\"%s\",\"bootId\":\"%s\",\"pid\":%d,\"answers\":%lu}\n",
			      kernel.release, boot_id, getpid(), ++answers);

	length = snprintf(response, sizeof(response),
			  "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s",
			  length, body);
	/* A client that reads nothing gets nothing more: its next request finds the buffer full. */
	send(fd, response, length, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* A poll is a GET that fits into one packet: whatever arrives is one request. */
static void serve(struct pollfd *client)
{
	char request[4096];
	ssize_t length = recv(client->fd, request, sizeof(request), 0);

	if (length > 4 && memcmp(request + length - 4, "\r\n\r\n", 4) == 0) {
		answer(client->fd);
		return;
	}
	close(client->fd);
	client->fd = -1;
}

static void welcome(int listener)
{
	int fd = accept(listener, NULL, NULL);

	for (int i = 1; fd >= 0 && i <= CLIENTS; i++) {
		if (fds[i].fd >= 0)
			continue;
		fds[i].fd = fd;
		return;
	}
	close(fd);
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 0) };
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "r");
	int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);

	uname(&kernel);
	if (!file || !fgets(boot_id, sizeof(boot_id), file) || listener < 0 ||
	    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, CLIENTS)) {
		perror("service");
		return 1;
	}
	for (int i = 0; i <= CLIENTS; i++)
		fds[i] = (struct pollfd){ .fd = i == 0 ? listener : -1, .events = POLLIN };
	for (;;) {
		poll(fds, 1 + CLIENTS, -1);
		for (int i = 1; i <= CLIENTS; i++)
			if (fds[i].fd >= 0 && fds[i].revents)
				serve(&fds[i]);
		if (fds[0].revents)
			welcome(listener);
	}
}
