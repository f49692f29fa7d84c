/* SPDX-License-Identifier: MIT */
/*
 * mem_blocks.h - a virtio-mem's blocks: plugging and unplugging them, step by step, or not at all.
 *
 * A plugged block is: open (the host's mapping may be touched), taken from the budget (not inflated in the
 * space), in a stretch that is shown (KVM has a slot for it), and in the map. Loop thread only.
 */
#ifndef VMM_DEVICES_MEM_BLOCKS_H
#define VMM_DEVICES_MEM_BLOCKS_H

#include "devices/mem.h"

struct mem_blocks {
	struct mb_space *space;
	struct plugmap *map;
	struct mem_machine machine;
	uint64_t stretch; /* bytes */
	uint64_t plugged; /* bytes */
	uint64_t shown;   /* stretches */
};

/* 0 or a negative errno. The region is closed. */
int mem_blocks_init(struct mem_blocks *b, const struct mem_config *config);

/*
 * [gpa, gpa + len) lies in the region, whole blocks, none of them plugged (all of them plugged). 0, or a
 * negative errno and nothing has changed: -EDQUOT, the budget lacks the bytes; anything else, the host lacks
 * something.
 */
int mem_blocks_plug(struct mem_blocks *b, uint64_t gpa, uint64_t len);
int mem_blocks_unplug(struct mem_blocks *b, uint64_t gpa, uint64_t len);
/* Unplugs what there is, some GiB at most in one call: 0, -EAGAIN (call again), or an error; what went is gone.
 */
int mem_blocks_unplug_all(struct mem_blocks *b);

#endif
