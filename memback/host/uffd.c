/* SPDX-License-Identifier: MIT */
/* uffd.c - see uffd.h. */
#include "uffd.h"
#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Linux 6.1; Debian 12's headers have it, older ones do not. */
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif
#define UFFD_BATCH 64

static int open_any(void)
{
	int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC), fd = -1;

	if (dev >= 0) {
		fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
		close(dev);
	}
	return fd >= 0 ? fd : (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
}

static int explain(int rc, struct mb_error *err)
{
	if (rc == -ENOSYS)
		return host_error(err, rc, "this kernel has no userfaultfd, which overcommit needs");
	return host_error(
	    err, rc,
	    "overcommit needs userfaultfd, and it is refused (%s): a udev rule "
	    "KERNEL==\"userfaultfd\", GROUP=\"kvm\", MODE=\"0660\" gives it to the group kvm "
	    "(/etc/udev/rules.d/60-memback.rules), or `sysctl vm.unprivileged_userfaultfd=1` to all",
	    strerror(-rc));
}

int uffd_open(struct mb_error *err)
{
	const uint64_t wanted = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MISSING_HUGETLBFS;
	struct uffdio_api api = {.api = UFFD_API};
	int fd = open_any();

	if (fd < 0)
		return explain(-errno, err);
	if (ioctl(fd, UFFDIO_API, &api) || (api.features & wanted) != wanted) {
		close(fd);
		return host_error(err, -ENOTSUP,
				  "this kernel's userfaultfd knows no shared memory; overcommit needs "
				  "Linux 4.11 or later");
	}
	return fd;
}

int uffd_register(int fd, void *at, uint64_t len, struct mb_error *err)
{
	struct uffdio_register r = {
	    .range = {(uintptr_t)at, len},
	    .mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	if (ioctl(fd, UFFDIO_REGISTER, &r))
		return host_error(err, -errno, "cannot watch guest memory for faults (userfaultfd): %s",
				  strerror(errno));
	return 0;
}

int uffd_wake(int fd, void *at, uint64_t len)
{
	struct uffdio_range r = {(uintptr_t)at, len};

	return ioctl(fd, UFFDIO_WAKE, &r) ? -errno : 0;
}

int uffd_read(int fd, uint64_t *address, unsigned max)
{
	struct uffd_msg msg[UFFD_BATCH];
	size_t want = (max < UFFD_BATCH ? max : UFFD_BATCH) * sizeof(msg[0]);
	ssize_t n = read(fd, msg, want);
	int count = 0;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	for (size_t i = 0; i < (size_t)n / sizeof(msg[0]); i++)
		if (msg[i].event == UFFD_EVENT_PAGEFAULT)
			address[count++] = msg[i].arg.pagefault.address;
	return count;
}
