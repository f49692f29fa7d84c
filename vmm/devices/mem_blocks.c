/* SPDX-License-Identifier: MIT */
/* mem_blocks.c - see mem_blocks.h. */
#include "devices/mem_blocks.h"

#include <errno.h>

#define AT_ONCE (UINT64_C(16) << 30) /* bytes that mem_blocks_unplug_all() gives back in one call */

/* ---- stretches ---------------------------------------------------------------------------------------- */

static uint64_t stretch_gpa(const struct mem_blocks *b, uint64_t n)
{
	return b->map->gpa + n * b->stretch;
}

static uint64_t stretch_len(const struct mem_blocks *b, uint64_t n)
{
	uint64_t left = b->map->size - n * b->stretch;
	return left < b->stretch ? left : b->stretch;
}

/* Is nothing of the stretch plugged but, perhaps, [gpa, gpa + len)? */
static bool stretch_is_empty(const struct mem_blocks *b, uint64_t n, uint64_t gpa, uint64_t len)
{
	uint64_t start = stretch_gpa(b, n), end = start + stretch_len(b, n);
	if (gpa > start && !plugmap_all(b->map, start, gpa - start, false))
		return false;
	return gpa + len >= end || plugmap_all(b->map, gpa + len, end - (gpa + len), false);
}

static int show(struct mem_blocks *b, uint64_t n, bool on)
{
	int rc = b->machine.show(b->machine.arg, (unsigned)n, stretch_gpa(b, n), stretch_len(b, n), on);
	if (rc == 0)
		b->shown = on ? b->shown + 1 : b->shown - 1;
	return rc;
}

/*
 * Shows, or hides, the stretches that [gpa, gpa + len) touches and that hold nothing else; those before *done
 * are through. On failure *done says how far it came.
 */
static int show_range(struct mem_blocks *b, uint64_t gpa, uint64_t len, bool on, uint64_t *done)
{
	uint64_t end = (gpa + len - 1 - b->map->gpa) / b->stretch + 1;
	for (; *done < end; (*done)++) {
		int rc = stretch_is_empty(b, *done, gpa, len) ? show(b, *done, on) : 0;
		if (rc != 0)
			return rc;
	}
	return 0;
}

/* The reverse of a show_range() that came as far as done. Hiding never fails but for what shows anew at once.
 */
static void unshow_range(struct mem_blocks *b, uint64_t gpa, uint64_t len, bool on, uint64_t first,
			 uint64_t done)
{
	for (uint64_t n = first; n < done; n++)
		if (stretch_is_empty(b, n, gpa, len))
			(void)show(b, n, !on);
}

/* ---- blocks ------------------------------------------------------------------------------------------- */

int mem_blocks_init(struct mem_blocks *b, const struct mem_config *config)
{
	*b = (struct mem_blocks){
	    .space = config->space, .map = config->map, .machine = config->machine, .stretch = MEM_STRETCH};
	if (b->machine.stretches_max == 0)
		return -ENOSPC;
	while (b->stretch < b->map->block || (b->map->size - 1) / b->stretch >= b->machine.stretches_max)
		b->stretch *= 2;
	return b->machine.open(b->machine.arg, b->map->gpa, b->map->size, false);
}

static void mark(struct mem_blocks *b, uint64_t gpa, uint64_t len, bool plugged)
{
	plugmap_write_lock(b->map);
	plugmap_set(b->map, gpa, len, plugged);
	plugmap_unlock(b->map);
}

/* The space has them, and they may be touched. A function of its own: it is also the undoing of an unplugging.
 */
static int take_in(struct mem_blocks *b, uint64_t gpa, uint64_t len)
{
	/* opened first, since a space that preallocates touches what it takes in */
	int rc = b->machine.open(b->machine.arg, gpa, len, true);
	if (rc == 0)
		rc = mb_space_deflate(b->space, gpa, len);
	if (rc != 0)
		(void)b->machine.open(b->machine.arg, gpa, len, false);
	return rc;
}

int mem_blocks_plug(struct mem_blocks *b, uint64_t gpa, uint64_t len)
{
	uint64_t first = (gpa - b->map->gpa) / b->stretch, done = first;
	int rc = take_in(b, gpa, len);
	if (rc != 0)
		return rc;
	/* shown last: what the guest can reach has memory */
	rc = show_range(b, gpa, len, true, &done);
	if (rc != 0) {
		unshow_range(b, gpa, len, true, first, done);
		(void)b->machine.open(b->machine.arg, gpa, len, false);
		int ignored = mb_space_inflate(b->space, gpa, len);
		(void)ignored;
		return rc;
	}
	mark(b, gpa, len, true);
	b->plugged += len;
	return 0;
}

int mem_blocks_unplug(struct mem_blocks *b, uint64_t gpa, uint64_t len)
{
	uint64_t first = (gpa - b->map->gpa) / b->stretch, done = first;
	/* nobody of ours touches it from here on */
	mark(b, gpa, len, false);
	int rc = show_range(b, gpa, len, false, &done);
	if (rc == 0)
		rc = b->machine.open(b->machine.arg, gpa, len, false);
	if (rc == 0) {
		rc = mb_space_inflate(b->space, gpa, len);
		if (rc != 0)
			(void)b->machine.open(b->machine.arg, gpa, len, true);
	}
	if (rc != 0) {
		unshow_range(b, gpa, len, false, first, done);
		mark(b, gpa, len, true);
		return rc;
	}
	b->plugged -= len;
	return 0;
}

int mem_blocks_unplug_all(struct mem_blocks *b)
{
	uint64_t at = b->map->gpa, end = at + b->map->size, start, len, left = AT_ONCE;
	int failed = 0;
	while (plugmap_next(b->map, at, end, &start, &len)) {
		if (left == 0)
			return -EAGAIN;
		len = len < left ? len : left;
		int rc = mem_blocks_unplug(b, start, len);
		/* one of its blocks keeps the others: halves, until that one alone stays */
		while (rc != 0 && len > b->map->block) {
			len = len / 2 & ~(b->map->block - 1);
			rc = mem_blocks_unplug(b, start, len);
		}
		if (rc != 0)
			failed = rc;
		left -= len < left ? len : left;
		at = start + len;
	}
	return failed;
}
