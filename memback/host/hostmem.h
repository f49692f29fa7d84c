/* SPDX-License-Identifier: MIT */
/* hostmem.h - how much memory this host, and the memory cgroup we are in, have left, from /proc and /sys. */
#ifndef HOST_HOSTMEM_H
#define HOST_HOSTMEM_H

#include <stdint.h>

/* Bytes, the lesser of the two; UINT64_MAX: neither says. whose: a static text that names it. */
uint64_t hostmem_left(const char **whose);

#endif
