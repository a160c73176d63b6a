#define _GNU_SOURCE
/*
 * Uses what the patches of author.test.ts change. The first argument says what:
 *   writes           writes to an eventfd three times and prints its fdinfo
 *   eventfd COUNT    makes an eventfd with this count and prints the error's name
 *   vcpu             makes a virtual machine with one processor
 * Exit status: 0 done, 1 the kernel refuses, 2 the test could not run.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int writes(void)
{
	uint64_t one = 1;
	char path[64], text[1024];
	int fd = eventfd(0, 0), info;
	ssize_t size;

	for (int i = 0; i < 3; i++)
		if (write(fd, &one, sizeof(one)) != sizeof(one))
			return 2;
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = open(path, O_RDONLY);
	while ((size = read(info, text, sizeof(text))) > 0)
		if (write(1, text, size) != size)
			return 2;
	return 0;
}

static int eventfd_of(unsigned int count)
{
	int fd = eventfd(count, 0);

	puts(fd < 0 ? strerrorname_np(errno) : "made");
	return fd < 0;
}

static int vcpu(void)
{
	int kvm = open("/dev/kvm", O_RDWR);
	int machine = ioctl(kvm, KVM_CREATE_VM, 0);

	if (machine < 0) {
		perror("/dev/kvm");
		return 2;
	}
	if (ioctl(machine, KVM_CREATE_VCPU, 0) < 0) {
		perror("KVM_CREATE_VCPU");
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "writes"))
		return writes();
	if (argc == 3 && !strcmp(argv[1], "eventfd"))
		return eventfd_of(atoi(argv[2]));
	if (argc == 2 && !strcmp(argv[1], "vcpu"))
		return vcpu();
	return 2;
}
