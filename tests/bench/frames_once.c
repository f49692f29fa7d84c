/* SPDX-License-Identifier: MIT */
/*
 * frames_once.c - bench-frames: what is counted rather than timed: metadata, whole huge frames that are left
 * after a churn, instructions; and the time of counting a terabyte that is split throughout.
 */
#include "frames.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096u

static double touched(void *meta, size_t bytes)
{
	size_t pages = (bytes + PAGE - 1) / PAGE, sum = 0;
	unsigned char *in = malloc(pages);

	need(in && mincore(meta, bytes, in) == 0, "mincore failed");
	for (size_t n = 0; n < pages; n++)
		sum += in[n] & 1;
	free(in);
	return (double)(sum * PAGE);
}

static double run_stats(void)
{
	size_t bytes;
	struct mb_frames *f = make(TIB_FRAMES, &bytes);
	struct mb_frames_count count;
	mb_slot slot;
	double t;

	need(mb_slot_open(f, &slot) == 0, "no slot");
	for (uint64_t n = 0; n < TIB_FRAMES; n += mb_level_frames(MB_HUGE))
		need(mb_frame_take(f, slot, MB_BASE, (mb_frame){n}) == 0, "take failed");
	t = now_ns();
	mb_frames_count(f, &count);
	t = now_ns() - t;
	need(count.lines == TIB_FRAMES / 512 + 1024, "not all of it was split");
	unmake(f, bytes);
	return t / 1e6;
}

/* Whole huge frames of 2 GiB that are left when a share of it is in use and has been exchanged four times over.
 */
static double whole_left(unsigned percent)
{
	uint64_t live = 2 * GIB_FRAMES * percent / 100, x = 88172645463325252u;
	mb_frame *frames = malloc(live * sizeof(*frames));
	struct mb_frames_count count;
	size_t bytes;
	struct mb_frames *f = make(2 * GIB_FRAMES, &bytes);
	mb_slot slot;

	need(frames && mb_slot_open(f, &slot) == 0, "out of memory");
	for (uint64_t n = 0; n < live; n++)
		need(mb_frame_alloc(f, slot, MB_BASE, &frames[n]) == 0, "alloc failed");
	for (uint64_t n = 0; n < 4 * live; n++) {
		mb_frame *one = &frames[next_random(&x) % live];

		need(mb_frame_free(f, slot, MB_BASE, *one) == 0 && mb_frame_alloc(f, slot, MB_BASE, one) == 0,
		     "churn failed");
	}
	mb_frames_count(f, &count);
	unmake(f, bytes);
	free(frames);
	return (double)count.whole[MB_HUGE];
}

/* Lines "NAME: N instructions a call ..." */
static void count_instructions(const char *script, const char *program, double *out)
{
	static const struct {
		const char *name;
		enum key key;
	} what[] = {
	    {"common_alloc:", INSTRUCTIONS_ALLOC},
	    {"common_free:", INSTRUCTIONS_FREE},
	    {"uncommon_split:", INSTRUCTIONS_SPLIT},
	    {"uncommon_", INSTRUCTIONS_WORST},
	};
	char command[2048], line[256];
	FILE *in;

	snprintf(command, sizeof(command), "'%s' '%s'", script, program);
	in = popen(command, "r");
	while (in && fgets(line, sizeof(line), in)) {
		const char *number = strchr(line, ':');
		double v = number ? strtod(number + 1, NULL) : 0;

		for (size_t n = 0; v > 0 && n < sizeof(what) / sizeof(what[0]); n++)
			if (strncmp(line, what[n].name, strlen(what[n].name)) == 0 && v > out[what[n].key])
				out[what[n].key] = v;
	}
	if (in)
		pclose(in);
}

void once(const char *script, const char *program, double *out)
{
	struct mb_frames_config c = {.capacity = TIB_FRAMES, .base_shift = 12, .slots = 64};
	size_t bytes;
	struct mb_frames *f = make(16 * TIB_FRAMES, &bytes);

	for (int k = TIMED_KEYS; k < KEYS; k++)
		out[k] = -1;
	out[META_TOUCHED_16T] = touched(f, bytes);
	unmake(f, bytes);
	out[META_RESERVED_1T] = (double)mb_frames_meta_bytes(&c);
	out[STATS_1T] = run_stats();
	out[WHOLE_LEFT_50] = whole_left(50);
	out[WHOLE_LEFT_75] = whole_left(75);
	out[WHOLE_LEFT_90] = whole_left(90);
	if (script && program)
		count_instructions(script, program, out);
}
