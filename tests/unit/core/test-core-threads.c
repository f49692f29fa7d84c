/* SPDX-License-Identifier: MIT */
/*
 * test-core-threads.c - no frame is lost or doubled (A12), while ranges come and go (A2): a shadow map has the
 * owner of each frame, and whoever gets a frame must find it nobody's. Operations are drawn from seeds.
 *
 * Each thread also writes plainly to a byte of its frames, so that under the thread sanitizer a free that does not
 * publish, or an alloc that does not acquire, is a race of two plain accesses. What that sanitizer
 * cannot tell: an order between atomic operations on different words that is too weak (all of them are atomic, and
 * it runs them as the processor does, one interleaving of many); the same of several processes; and the scheduled
 * tests and those that are killed do not run under it. The orders are argued at each operation, the interleavings
 * are the models' and the scheduler's.
 */
#include "layout.h"
#include "pool.h"

#include <pthread.h>
#include <stdatomic.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define STEPS 20000u
#else
#define STEPS 60000u
#endif
#define THREADS 8u /* at most; each test says how many */
#define KEEP    60000u
#define OFFLINE 99

struct arena {
	struct test_pool p;
	uint64_t frames;
	unsigned threads;
	_Atomic unsigned char *owner;
	unsigned char *mark; /* plain: what an owner writes into its frames */
	atomic_bool stop;
	unsigned top; /* the highest level to allocate */
	bool drains;
	uint64_t seed;
};

struct held {
	uint64_t n;
	unsigned level;
};

struct worker {
	struct arena *a;
	unsigned char id;
	uint64_t x;
	mb_slot slot;
	struct held *held;
	unsigned count;
};

/* cmocka's assertions are for the main thread: here a failure ends the program with a word. */
static void must(bool ok, const char *what, uint64_t frame, int rc)
{
	if (ok)
		return;
	fprintf(stderr, "%s: frame %#llx, %d\n", what, (unsigned long long)frame, rc);
	abort();
}

static void pass_on(struct arena *a, uint64_t first, uint64_t count, unsigned char from, unsigned char to)
{
	for (uint64_t n = first; n < first + count; n++) {
		unsigned char was = from;

		/* relaxed: what orders the marks must be the allocator's doing */
		must(atomic_compare_exchange_strong_explicit(&a->owner[n], &was, to, memory_order_relaxed,
							     memory_order_relaxed),
		     "a frame has two owners", n, was);
	}
}

/* Of large frames, some: any of them may be somebody's base frame next. */
static void write_marks(struct arena *a, uint64_t first, uint64_t count, unsigned char id)
{
	for (uint64_t n = first; n<first + count; n += count> 1 ? 37 : 1)
		a->mark[n] = id;
}

static void check_marks(const struct arena *a, uint64_t first, uint64_t count, unsigned char id)
{
	for (uint64_t n = first; n<first + count; n += count> 1 ? 37 : 1)
		must(a->mark[n] == id, "a frame was written to by another", n, a->mark[n]);
}

static void got(struct worker *w, uint64_t n, unsigned level)
{
	pass_on(w->a, n, mb_level_frames((enum mb_level)level), 0, w->id);
	write_marks(w->a, n, mb_level_frames((enum mb_level)level), w->id);
	w->held[w->count++] = (struct held){n, level};
}

static void allocate(struct worker *w)
{
	uint64_t r = test_random(&w->x) % 1000;
	unsigned level = r < 2 ? 2 : r < 40 ? 1 : 0;
	mb_frame frames[40];
	int rc;

	level = level > w->a->top ? w->a->top : level;
	if (level == 0 && r % 4 == 0) {
		rc = mb_frame_alloc_batch(w->a->p.f, w->slot, MB_BASE, frames, 1 + (unsigned)(r % 40));
		must(rc > 0 || rc == -ENOMEM, "batch", 0, rc);
		for (int n = 0; n < rc; n++)
			got(w, frames[n].n, 0);
		return;
	}
	rc = mb_frame_alloc(w->a->p.f, w->slot, (enum mb_level)level, frames);
	must(rc == 0 || rc == -ENOMEM, "alloc", 0, rc);
	if (rc == 0)
		got(w, frames[0].n, level);
}

static void release(struct worker *w)
{
	uint64_t r = test_random(&w->x);
	struct held h = w->held[r % w->count];
	uint64_t size = mb_level_frames((enum mb_level)h.level);
	int rc;

	w->held[r % w->count] = w->held[w->count - 1];
	w->count--;
	check_marks(w->a, h.n, size, w->id);
	pass_on(w->a, h.n, size, w->id, 0);
	if (h.level && r >> 32 & 1) {
		uint64_t cut = 1 + test_random(&w->x) % (size - 1);

		rc = mb_frame_free_part(w->a->p.f, w->slot, (mb_frame){h.n}, cut);
		must(rc == 0, "free_part", h.n, rc);
		rc = mb_frame_free_part(w->a->p.f, w->slot, (mb_frame){h.n + cut}, size - cut);
		must(rc == 0, "free_part", h.n + cut, rc);
		return;
	}
	rc = mb_frame_free(w->a->p.f, w->slot, (enum mb_level)h.level, (mb_frame){h.n});
	must(rc == 0, "free", h.n, rc);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	unsigned steps = STEPS * 3 / w->a->threads;

	must(mb_slot_open(w->a->p.f, &w->slot) == 0, "slot", 0, 0);
	for (unsigned n = 0; n < steps; n++) {
		unsigned fill = n / (steps / 6) % 2 ? 35 : 65;

		if (test_random(&w->x) % 100 < fill && w->count < KEEP - 64)
			allocate(w);
		else if (w->count)
			release(w);
	}
	while (w->count)
		release(w);
	must(mb_slot_close(w->a->p.f, w->slot) == 0, "close", 0, 0);
	return NULL;
}

/* Adds again what of a range is offline, in runs. */
static void bring_back(struct arena *a, uint64_t first, uint64_t end)
{
	while (first < end) {
		uint64_t n = first;

		while (n < end && mb_frame_state(a->p.f, (mb_frame){n}) == MB_OFFLINE)
			n++;
		if (n > first) {
			int rc = mb_range_add(a->p.f, (mb_frame){first}, n - first);

			must(rc == 0, "add", first, rc);
		}
		first = n + 1;
	}
}

static void drain(struct arena *a, uint64_t first, uint64_t count)
{
	uint64_t left = 1;
	int rc = 0;

	while (left && !rc)
		rc = mb_range_drain(a->p.f, (mb_frame){first}, count, &left);
	must(rc == 0 || rc == -EBUSY || rc == -ENOSPC, "drain", first, rc);
	if (!rc)
		bring_back(a, first, first + count);
}

static void *change_ranges(void *arg)
{
	struct arena *a = arg;
	uint64_t x = a->seed ^ 0x5555;

	while (!atomic_load(&a->stop)) {
		uint64_t r = test_random(&x), first = (r >> 8) % a->frames;
		uint64_t count = 1 + test_random(&x) % (r % 3 ? 3000 : GIANT);
		int rc;

		count = count < a->frames - first ? count : a->frames - first;
		if (a->drains && r >> 5 & 1) {
			drain(a, first, count < 2000 ? count : 2000);
			continue;
		}
		rc = mb_range_remove(a->p.f, (mb_frame){first}, count, NULL);
		must(rc == 0 || rc == -EBUSY || rc == -ENXIO || rc == -ENOSPC, "remove", first, rc);
		if (rc)
			continue;
		pass_on(a, first, count, 0, OFFLINE);
		pass_on(a, first, count, OFFLINE, 0);
		rc = mb_range_add(a->p.f, (mb_frame){first}, count);
		must(rc == 0, "add", first, rc);
	}
	return NULL;
}

static void run(struct arena *a, bool ranges)
{
	struct mb_frames_count before = test_count(&a->p), after;
	struct worker w[THREADS];
	pthread_t t[THREADS], changer;

	a->owner = calloc(a->frames, 1);
	a->mark = calloc(a->frames, 1);
	a->seed = test_seed();
	for (unsigned n = 0; n < a->threads; n++) {
		w[n] = (struct worker){.a = a, .id = (unsigned char)(n + 1), .x = a->seed + n * 7919};
		w[n].held = calloc(KEEP, sizeof(*w[n].held));
		assert_int_equal(pthread_create(&t[n], NULL, work, &w[n]), 0);
	}
	if (ranges)
		assert_int_equal(pthread_create(&changer, NULL, change_ranges, a), 0);
	for (unsigned n = 0; n < a->threads; n++) {
		pthread_join(t[n], NULL);
		free(w[n].held);
	}
	atomic_store(&a->stop, true);
	if (ranges)
		pthread_join(changer, NULL);
	after = test_count(&a->p);
	assert_int_equal(after.offline, before.offline);
	/* in band, a block may have stayed that somebody looked at in the wrong moment: its home looks used */
	assert_in_range(after.used, before.used, before.used + (a->p.f->in_band ? 4 : 0));
	free((void *)a->owner);
	free(a->mark);
	test_pool_drop(&a->p);
}

static void test_a12_out_of_band(void **state)
{
	struct arena a = {.threads = 8, .frames = 2 * GIANT + 7 * HUGE + 33, .top = 2};

	(void)state;
	a.p = test_pool_make(a.frames, THREADS, 0);
	run(&a, false);
}

/* So little memory that it is mostly full: steals, splits and merges all the time. */
static void test_a12_scarce(void **state)
{
	struct arena a = {.threads = 2, .frames = 5 * HUGE, .top = 1};

	(void)state;
	a.p = test_pool_make(a.frames, THREADS, 0);
	run(&a, false);
}

static void test_a12_in_band(void **state)
{
	struct arena a = {.threads = 3, .frames = GIANT + 7 * HUGE + 33, .top = 2};

	(void)state;
	a.p = test_pool_in_band(a.frames, THREADS);
	run(&a, false);
}

static void test_a12_in_band_scarce(void **state)
{
	struct arena a = {.threads = 4, .frames = 130 * HUGE, .top = 1};

	(void)state;
	a.p = test_pool_in_band(a.frames, THREADS);
	run(&a, false);
}

static void test_a2_ranges_meanwhile(void **state)
{
	struct arena a = {.threads = 3, .frames = 2 * GIANT + 33, .top = 2};

	(void)state;
	a.p = test_pool_make(a.frames, THREADS, 0);
	run(&a, true);
}

static void test_a2_drains_meanwhile(void **state)
{
	struct arena a = {.threads = 5, .frames = GIANT + 33, .top = 1, .drains = true};

	(void)state;
	a.p = test_pool_make(a.frames, THREADS, 0);
	run(&a, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a12_out_of_band),     cmocka_unit_test(test_a12_scarce),
	    cmocka_unit_test(test_a12_in_band),         cmocka_unit_test(test_a12_in_band_scarce),
	    cmocka_unit_test(test_a2_ranges_meanwhile), cmocka_unit_test(test_a2_drains_meanwhile),
	};

	return cmocka_run_group_tests_name("core threads", tests, NULL, NULL);
}
