/* SPDX-License-Identifier: MIT */
/* check_kernel.h - a pool's records against what the kernel holds, place by place. */
#ifndef HOST_CHECK_KERNEL_H
#define HOST_CHECK_KERNEL_H

#include "report.h"
#include "state.h"

/* Under the serial lock. Adds what it finds; 0 or a negative errno. */
int check_kernel(struct mb_pool *pool, struct report *report);

#endif
