/* SPDX-License-Identifier: MIT */
/*
 * test-core-a1.c - A1: a bootstrap and a day's work, given a pointer and a size and 8 KiB of stack. The thread
 * runs on a stack of 8 KiB beyond what the C library needs to start one, painted beforehand; what the work has
 * used of it is measured, and a guard page ends the test if it is overrun.
 */
#include "pool.h"

#include <pthread.h>
#include <ucontext.h>
#include <unistd.h>

#define STACK 8192u

struct day {
	void *mem;
	size_t bytes;
	int rc;
};

static struct day day;
static ucontext_t back, work_context;

/* Everything that the interface has; the first thing that goes wrong is returned. */
static int work_all(struct mb_frames *f, mb_slot s)
{
	mb_frame x, batch[16];
	uint64_t left;
	int rc = 0;

	for (unsigned n = 0; n < 3000 && !rc; n++)
		rc = mb_frame_alloc(f, s, MB_BASE, &x);
	if (!rc)
		rc = mb_frame_free(f, s, MB_BASE, x);
	if (!rc && mb_frame_alloc_batch(f, s, MB_BASE, batch, 16) != 16)
		rc = -EIO;
	if (!rc && mb_frame_free_batch(f, s, MB_BASE, batch, 16) != 16)
		rc = -EIO;
	if (!rc)
		rc = mb_frame_alloc(f, s, MB_HUGE, &x);
	if (!rc)
		rc = mb_frame_free_part(f, s, (mb_frame){x.n + 9}, 100);
	if (!rc)
		rc = mb_frame_alloc(f, s, MB_GIANT, &x);
	if (!rc)
		rc = mb_range_drain(f, (mb_frame){x.n}, GIANT, &left);
	if (!rc)
		rc = mb_frame_free(f, s, MB_GIANT, x);
	if (!rc)
		rc = mb_range_add(f, x, GIANT);
	if (!rc)
		rc = mb_range_remove(f, (mb_frame){x.n + 3}, 5000, NULL);
	return rc;
}

static void work(void)
{
	struct mb_frames_config c = {.base_shift = 12, .slots = 2};
	struct mb_frames_count count;
	struct mb_frames *f;
	mb_slot s;
	int rc = mb_frames_init_in_band(day.mem, day.bytes, &c, &f);

	if (!rc)
		rc = mb_slot_open(f, &s);
	if (!rc)
		rc = work_all(f, s);
	if (!rc)
		rc = mb_slot_close(f, s);
	if (!rc)
		rc = mb_frames_validate(f, MB_VALIDATE_FULL, NULL);
	if (!rc)
		mb_frames_count(f, &count);
	day.rc = rc;
}

static void test_a1_eight_kib_of_stack(void **state)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), used = STACK;
	unsigned char *area = test_map(page + STACK);

	(void)state;
	assert_int_equal(mprotect(area, page, PROT_NONE), 0);
	memset(area + page, 0xa5, STACK);
	day = (struct day){.bytes = (size_t)3 << 30, .rc = -1};
	day.mem = test_map(day.bytes);
	assert_int_equal(getcontext(&work_context), 0);
	work_context.uc_stack.ss_sp = area + page;
	work_context.uc_stack.ss_size = STACK;
	work_context.uc_link = &back;
	makecontext(&work_context, work, 0);
	assert_int_equal(swapcontext(&back, &work_context), 0);
	assert_int_equal(day.rc, 0);
	while (used > 0 && area[page + STACK - used] == 0xa5)
		used--;
	print_message("stack used: %zu bytes\n", used);
	assert_in_range(used, 100, STACK);
	munmap(area, page + STACK);
	munmap(day.mem, day.bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_a1_eight_kib_of_stack)};

	return cmocka_run_group_tests_name("core a1", tests, NULL, NULL);
}
