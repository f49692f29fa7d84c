/* SPDX-License-Identifier: MIT */
/*
 * uffd.h - userfaultfd, as little of it as is needed: faults of pages that are missing, read and woken.
 *
 * KVM touches guest memory in the kernel, so that a descriptor for faults in user mode alone is not enough.
 * One that sees them all comes from /dev/userfaultfd, or from the system call with CAP_SYS_PTRACE or with
 * vm.unprivileged_userfaultfd = 1. Each function is thread-safe.
 */
#ifndef HOST_UFFD_H
#define HOST_UFFD_H

#include <memback/pool.h>

/* A new descriptor, close-on-exec and non-blocking, or a negative errno with the remedy in err. */
int uffd_open(struct mb_error *err);
/* Faults of pages that are missing in [at, at + len) go to fd from now on, across unmapping of single pages. */
int uffd_register(int fd, void *at, uint64_t len, struct mb_error *err);
/* Lets whoever waits for a page of [at, at + len) look again. */
int uffd_wake(int fd, void *at, uint64_t len);
/* Addresses of faults, at most max (of 64); 0: none wait. */
int uffd_read(int fd, uint64_t *address, unsigned max);

#endif
