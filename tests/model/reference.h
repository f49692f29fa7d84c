/* SPDX-License-Identifier: MIT */
/*
 * reference.h - the literal protocol, small: a list of blocks of 31,744 frames, each 128 bytes of metadata and
 * a bitmap; allocation is a CAS on the byte that holds the frame's free bit, then an atomic update of the
 * block's free count; a failed CAS goes on in the next byte; a wholly free block is a range without bitmap;
 * the list begins where something was found last. Oracle of property tests, and baseline of the benchmark.
 */
#ifndef REFERENCE_H
#define REFERENCE_H

#include <stddef.h>
#include <stdint.h>

#define REF_BLOCK_FRAMES 31744u /* (4096 - 128) * 8 */

struct ref;

struct ref *ref_create(uint64_t frames);
void ref_destroy(struct ref *ref);
/* 0, or -ENOMEM. */
int ref_alloc(struct ref *ref, uint64_t *frame);
/* 0, or -EALREADY (free already), -ERANGE. */
int ref_free(struct ref *ref, uint64_t frame);
/* 0, or -EBUSY, -ERANGE. */
int ref_take(struct ref *ref, uint64_t frame);
uint64_t ref_count_free(const struct ref *ref);
/* Blocks that have a bitmap at this moment. */
uint64_t ref_count_bitmaps(const struct ref *ref);
/* The bit to go on with after a failed CAS. */
uint64_t ref_next_bit(uint64_t bit);

#endif
