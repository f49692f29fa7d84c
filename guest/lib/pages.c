/* SPDX-License-Identifier: MIT */
/*
 * pages.c - the guest's free pages, kept by memback's own allocator: frame number = page number.
 *
 * Its metadata lies out of band at the bottom of the guest's memory; nearly all of it is never touched while
 * memory is whole, so a guest with a terabyte pays for what it uses.
 */
#include "pages.h"

#include "boot.h"
#include "machine.h"
#include <memback/frames.h>

#define WINDOW 8192 /* pages looked at in one go: a run that is cut anyway need not be walked to its end */

static struct mb_frames *frames;
static mb_slot slot;
static uint64_t capacity, free_count, total;

static _Noreturn void die(const char *what, uint64_t page, int error)
{
	machine_die("pages: %s page 0x%lx: error %d", what, page, error);
}

void pages_init(void)
{
	struct mb_frames_config config = {
	    .capacity = boot_ram_end() / PAGE_SIZE, .base_shift = PAGE_SHIFT, .slots = 1};
	size_t bytes = mb_frames_meta_bytes(&config);
	int error = mb_frames_init(boot_reserve(bytes, PAGE_SIZE), bytes, &config, &frames);

	capacity = config.capacity;
	if (!error)
		error = mb_slot_open(frames, &slot);
	for (unsigned i = 0; !error && i < boot.free_count; i++) {
		uint64_t first = boot.free[i].start / PAGE_SIZE, count = boot.free[i].end / PAGE_SIZE - first;

		if (count)
			error = mb_range_add(frames, (mb_frame){first}, count);
		total += count;
	}
	if (error)
		die("cannot start the allocator, capacity", capacity, error);
	free_count = total;
}

uint64_t pages_free(void)
{
	return free_count;
}

uint64_t pages_total(void)
{
	return total;
}

uint64_t pages_take(bool huge)
{
	mb_frame frame;
	int error = mb_frame_alloc(frames, slot, huge ? MB_HUGE : MB_BASE, &frame);

	if (error)
		return PAGES_NONE;
	free_count -= huge ? PAGES_HUGE : 1;
	return frame.n;
}

bool pages_take_at(uint64_t page)
{
	if (mb_frame_take(frames, slot, MB_BASE, (mb_frame){page}))
		return false;
	free_count--;
	return true;
}

void pages_give(uint64_t first, uint64_t count)
{
	int error = mb_frame_free_part(frames, slot, (mb_frame){first}, count);

	if (error)
		die("cannot free", first, error);
	free_count += count;
}

static int find_free(void *arg, const struct mb_run *run)
{
	struct pages_run *out = arg;

	if (run->state != MB_FREE)
		return 0;
	*out = (struct pages_run){run->first.n, run->count < PAGES_HUGE ? run->count : PAGES_HUGE};
	return 1;
}

bool pages_next_free(uint64_t from, struct pages_run *out)
{
	while (from < capacity) {
		uint64_t end = (from / WINDOW + 1) * WINDOW;

		if (end > capacity)
			end = capacity;
		if (mb_frames_walk(frames, (mb_frame){from}, end - from, find_free, out) == 1)
			return true;
		from = end;
	}
	return false;
}

bool pages_check(const char **flaw)
{
	struct mb_flaw found = {0};
	struct mb_frames_count count;

	if (mb_frames_validate(frames, MB_VALIDATE_FULL, &found)) {
		*flaw = found.what;
		return false;
	}
	mb_frames_count(frames, &count);
	*flaw = "the counts of free pages differ";
	return count.free == free_count;
}
