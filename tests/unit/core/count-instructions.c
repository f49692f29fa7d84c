/* SPDX-License-Identifier: MIT */
/*
 * count-instructions.c - A7: work whose instructions count-instructions.sh counts. Each kind of path has a
 * function of its own name, which does one call of the allocator.
 */
#include <memback/frames.h>

#include <stdlib.h>
#include <sys/mman.h>

#define GIANT (UINT64_C(1) << 18)

int common_alloc(struct mb_frames *f, mb_slot s, mb_frame *x);
int common_free(struct mb_frames *f, mb_slot s, mb_frame x);
int uncommon_split_both(struct mb_frames *f, mb_slot s, mb_frame *x);
int uncommon_split(struct mb_frames *f, mb_slot s, mb_frame *x);
int uncommon_merge(struct mb_frames *f, mb_slot s, mb_frame x);
int uncommon_ring(struct mb_frames *f, mb_slot s, mb_frame *x);
int uncommon_huge(struct mb_frames *f, mb_slot s, mb_frame *x);

#define CALL(name, args, call)                                                                                 \
	__attribute__((noinline)) int name args                                                                \
	{                                                                                                      \
		return call;                                                                                   \
	}
CALL(common_alloc, (struct mb_frames * f, mb_slot s, mb_frame *x), mb_frame_alloc(f, s, MB_BASE, x))
CALL(common_free, (struct mb_frames * f, mb_slot s, mb_frame x), mb_frame_free(f, s, MB_BASE, x))
CALL(uncommon_split_both, (struct mb_frames * f, mb_slot s, mb_frame *x), mb_frame_alloc(f, s, MB_BASE, x))
CALL(uncommon_split, (struct mb_frames * f, mb_slot s, mb_frame *x), mb_frame_alloc(f, s, MB_BASE, x))
CALL(uncommon_merge, (struct mb_frames * f, mb_slot s, mb_frame x), mb_frame_free(f, s, MB_BASE, x))
CALL(uncommon_ring, (struct mb_frames * f, mb_slot s, mb_frame *x), mb_frame_alloc(f, s, MB_BASE, x))
CALL(uncommon_huge, (struct mb_frames * f, mb_slot s, mb_frame *x), mb_frame_alloc(f, s, MB_HUGE, x))

static void need(int rc)
{
	if (rc)
		exit(1);
}

int main(void)
{
	struct mb_frames_config c = {.capacity = 1024 * GIANT, .base_shift = 12, .slots = 2};
	size_t bytes = mb_frames_meta_bytes(&c);
	void *meta =
	    mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	static mb_frame x[1024];
	struct mb_frames *f;
	mb_slot s, other;

	if (meta == MAP_FAILED)
		return 1;
	need(mb_frames_init(meta, bytes, &c, &f));
	need(mb_range_add(f, (mb_frame){0}, c.capacity));
	need(mb_slot_open(f, &s));
	need(mb_slot_open(f, &other));
	need(uncommon_split_both(f, s, &x[0]));
	for (unsigned n = 1; n < 512; n++) {
		if (n % 64)
			need(common_alloc(f, s, &x[n]));
		else
			need(mb_frame_alloc(f, s, MB_BASE, &x[n]));
	}
	need(uncommon_split(f, s, &x[512]));
	/* the first line is full and nobody's: its first free is remembered, its last one merges it */
	need(mb_frame_free(f, s, MB_BASE, x[0]));
	for (unsigned n = 1; n < 511; n++) {
		if (n % 64 && n % 64 != 63)
			need(common_free(f, s, x[n]));
		else
			need(mb_frame_free(f, s, MB_BASE, x[n]));
	}
	need(uncommon_merge(f, s, x[511]));
	/* a full line of which one frame comes back */
	for (unsigned n = 513; n < 1024; n++)
		need(mb_frame_alloc(f, s, MB_BASE, &x[n]));
	need(mb_frame_alloc(f, s, MB_BASE, &x[0]));
	for (unsigned n = 1; n < 512; n++)
		need(mb_frame_alloc(f, s, MB_BASE, &x[n]));
	need(mb_frame_free(f, s, MB_BASE, x[600]));
	need(uncommon_ring(f, s, &x[600]));
	need(uncommon_huge(f, other, &x[1]));
	return 0;
}
