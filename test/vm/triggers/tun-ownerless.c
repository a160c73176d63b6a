/*
 * Attaches to a persistent tun device without owner, as root and then as an ordinary user.
 * Exit status: 0 the user is refused, 1 the user is let in (CVE-2026-99281), 2 the test could not run.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(void)
{
	struct ifreq request = { .ifr_name = "rekernel0", .ifr_flags = IFF_TUN | IFF_NO_PI };
	int fd = open("/dev/net/tun", O_RDWR);

	if (fd < 0 || ioctl(fd, TUNSETIFF, &request) || ioctl(fd, TUNSETPERSIST, 1)) {
		perror("/dev/net/tun");
		return 2;
	}
	close(fd);
	/* Opened as root: the check in question is the ioctl's, whatever the mode of the device file. */
	fd = open("/dev/net/tun", O_RDWR);
	if (fd < 0 || setgid(65534) || setuid(65534)) {
		perror("dropping privileges");
		return 2;
	}
	if (ioctl(fd, TUNSETIFF, &request) == 0) {
		puts("an ordinary user is attached to rekernel0");
		return 1;
	}
	if (errno != EPERM) {
		perror("TUNSETIFF");
		return 2;
	}
	puts("an ordinary user is refused: EPERM");
	return 0;
}
