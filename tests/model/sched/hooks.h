/* SPDX-License-Identifier: MIT */
/*
 * hooks.h - included before the core's sources in the scheduled build (-include): a wait of the core tells the
 * scheduler that it waits. Before each atomic operation the core calls mbc_atomic_yield() by itself.
 */
#ifndef SCHED_HOOKS_H
#define SCHED_HOOKS_H

void sched_pause(void);

/* what mbc_pause() executes */
#define __builtin_ia32_pause sched_pause

#endif
