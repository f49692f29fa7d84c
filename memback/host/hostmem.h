/* SPDX-License-Identifier: MIT */
/*
 * hostmem.h - how much memory this host, and the memory cgroup we are in, have left, from /proc and /sys. For both: the
 * lesser of the two in bytes, UINT64_MAX where neither says; whose: a static text that names it.
 */
#ifndef HOST_HOSTMEM_H
#define HOST_HOSTMEM_H

#include <stdint.h>

/* Without swapping, and without dropping what a cgroup caches of files: good for a warning. */
uint64_t hostmem_left(const char **whose);
/* With both: more than that ends in the OOM killer's hands. */
uint64_t hostmem_most(const char **whose);

#endif
