/* SPDX-License-Identifier: MIT */
/*
 * guest.h - what the parts of the disk guest share.
 */
#ifndef GUEST_DISK_GUEST_H
#define GUEST_DISK_GUEST_H

#include "lib/blk_driver.h"

#define DISKS_MAX    5
#define BUFFER_BYTES 0x20000u /* one slot's */

struct guest {
	struct blk_driver disks[DISKS_MAX];
	struct blk_driver *b; /* the one that is used now */
	unsigned number;
	uint8_t *buffer; /* BLK_SLOTS * BUFFER_BYTES */
};

/* Says so and ends the VM. */
_Noreturn void fail(const struct guest *g, const char *what, uint64_t at);
uint64_t number_of(const char *text, const char **end);

/* The words, each with its value: see disk.c. */
void transfer_write(struct guest *g, const char *value);
void transfer_verify(struct guest *g, const char *value);
void transfer_sum(struct guest *g, const char *value);
void ranges_discard(struct guest *g, const char *value);
void ranges_zero(struct guest *g, const char *value);
void ranges_check(struct guest *g, const char *value);
void ranges_refuse(struct guest *g, const char *value);
void reset_rounds(struct guest *g, const char *value);
void random_bytes(struct guest *g, const char *value);

#endif
