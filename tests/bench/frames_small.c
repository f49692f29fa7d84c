/* SPDX-License-Identifier: MIT */
/* frames_small.c - bench-frames: base frames, one at a time and in batches, by one thread and by two. */
#include "frames.h"
#include "reference.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#define FRAMES  (4 * GIB_FRAMES)
#define BULK    (UINT64_C(1) << 14)
#define PAIRS   (UINT64_C(1) << 17)
#define LIVE    65536u
#define CROSSED (UINT64_C(1) << 16)
#define QUEUE   4096u
#define GROUP   256u

struct small {
	struct mb_frames *f;
	mb_slot slot;
	struct ref *ref;
	mb_frame *frames;
	double ns_a_tick;
};

static double run_floor(void)
{
	static _Alignas(64) _Atomic uint64_t word[8];
	double t = now_ns();

	for (uint64_t n = 0; n < PAIRS; n++)
		atomic_fetch_add(&word[0], 1);
	return (now_ns() - t) / (double)PAIRS;
}

/*
 * The second floor: a word is emptied bit by bit, and filled at once. On some processors a load right behind a
 * locked operation on the same word waits for it, which the first floor does not show.
 */
static double run_floor_take(struct small *b)
{
	static _Alignas(64) _Atomic uint64_t word[8];
	double t = now_ns();

	for (uint64_t n = 0; n < BULK; n++) {
		uint64_t v = atomic_load_explicit(&word[0], memory_order_relaxed);

		if (!v) {
			v = UINT64_MAX;
			atomic_store_explicit(&word[0], v, memory_order_relaxed);
		}
		need(atomic_compare_exchange_strong(&word[0], &v, v & (v - 1)), "somebody else's word");
		b->frames[n].n = (uint64_t)__builtin_ctzll(v);
	}
	return (now_ns() - t) / (double)BULK;
}

static double run_reference(struct small *b)
{
	uint64_t frame;
	double t = now_ns();

	for (uint64_t n = 0; n < PAIRS; n++)
		need(ref_alloc(b->ref, &frame) == 0 && ref_free(b->ref, frame) == 0, "the reference failed");
	return (now_ns() - t) / (double)PAIRS;
}

static void run_bulk(struct small *b, double *ns)
{
	double t = now_ns();

	for (uint64_t n = 0; n < BULK; n++)
		need(mb_frame_alloc(b->f, b->slot, MB_BASE, &b->frames[n]) == 0, "alloc failed");
	ns[ALLOC] = (now_ns() - t) / (double)BULK;
	t = now_ns();
	for (uint64_t n = 0; n < BULK; n++)
		need(mb_frame_free(b->f, b->slot, MB_BASE, b->frames[n]) == 0, "free failed");
	ns[FREE] = (now_ns() - t) / (double)BULK;
}

static double run_pairs(struct mb_frames *f, mb_slot slot)
{
	double t = now_ns();
	mb_frame frame;

	for (uint64_t n = 0; n < PAIRS; n++)
		need(mb_frame_alloc(f, slot, MB_BASE, &frame) == 0 &&
			 mb_frame_free(f, slot, MB_BASE, frame) == 0,
		     "pair failed");
	return (now_ns() - t) / (double)PAIRS;
}

static void fill(struct mb_frames *f, mb_slot slot, mb_frame *frames, unsigned count)
{
	for (unsigned n = 0; n < count; n++)
		need(mb_frame_alloc(f, slot, MB_BASE, &frames[n]) == 0, "alloc failed");
}

static void empty(struct mb_frames *f, mb_slot slot, const mb_frame *frames, unsigned count)
{
	for (unsigned n = 0; n < count; n++)
		need(mb_frame_free(f, slot, MB_BASE, frames[n]) == 0, "free failed");
}

static double run_churn(struct small *b)
{
	uint64_t x = 88172645463325252u;
	double t;

	fill(b->f, b->slot, b->frames, LIVE);
	t = now_ns();
	for (uint64_t n = 0; n < PAIRS; n += PICKED) {
		mb_frame *picked[PICKED];

		pick(&x, b->frames, LIVE, picked);
		for (unsigned k = 0; k < PICKED; k++)
			need(mb_frame_free(b->f, b->slot, MB_BASE, *picked[k]) == 0 &&
				 mb_frame_alloc(b->f, b->slot, MB_BASE, picked[k]) == 0,
			     "churn failed");
	}
	t = (now_ns() - t) / (double)PAIRS;
	empty(b->f, b->slot, b->frames, LIVE);
	return t;
}

/* Allocates and frees in batches: ns a frame of either. */
static void run_batches(struct small *b, unsigned batch, double *alloc, double *free)
{
	double t = now_ns(), half;

	for (uint64_t n = 0; n < BULK; n += batch)
		for (unsigned got = 0; got < batch;) {
			int rc = mb_frame_alloc_batch(b->f, b->slot, MB_BASE, b->frames + n + got, batch - got);

			need(rc > 0, "batch alloc failed");
			got += (unsigned)rc;
		}
	half = now_ns();
	for (uint64_t n = 0; n < BULK; n += batch)
		need(mb_frame_free_batch(b->f, b->slot, MB_BASE, b->frames + n, batch) == (int)batch,
		     "batch free failed");
	*alloc = (half - t) / (double)BULK;
	*free = (now_ns() - half) / (double)BULK;
}

/* ---- two threads ------------------------------------------------------------------------------------ */

struct worker {
	struct mb_frames *f;
	pthread_barrier_t *start;
	double ns;
	/* latencies */
	mb_frame *frames;
	uint32_t *ticks;
	uint64_t seed;
};

static void two(void *(*work)(void *), struct worker *w)
{
	pthread_barrier_t start;
	pthread_t t[2];

	pthread_barrier_init(&start, NULL, 2);
	for (int n = 0; n < 2; n++) {
		w[n].start = &start;
		need(pthread_create(&t[n], NULL, work, &w[n]) == 0, "no thread");
	}
	for (int n = 0; n < 2; n++)
		pthread_join(t[n], NULL);
	pthread_barrier_destroy(&start);
}

static void *work_pairs(void *arg)
{
	struct worker *w = arg;
	mb_slot slot;

	need(mb_slot_open(w->f, &slot) == 0, "no slot");
	pthread_barrier_wait(w->start);
	w->ns = run_pairs(w->f, slot);
	need(mb_slot_close(w->f, slot) == 0, "close failed");
	return NULL;
}

/* Random frees and allocations; the ticks of each allocation. */
static void *work_latency(void *arg)
{
	struct worker *w = arg;
	uint64_t x = w->seed;
	mb_slot slot;

	need(mb_slot_open(w->f, &slot) == 0, "no slot");
	fill(w->f, slot, w->frames, LIVE / 2);
	pthread_barrier_wait(w->start);
	for (uint64_t n = 0; n < PAIRS; n++) {
		mb_frame *one = &w->frames[next_random(&x) % (LIVE / 2)];
		unsigned core;
		uint64_t begun;

		need(mb_frame_free(w->f, slot, MB_BASE, *one) == 0, "free failed");
		begun = __rdtscp(&core);
		need(mb_frame_alloc(w->f, slot, MB_BASE, one) == 0, "alloc failed");
		begun = __rdtscp(&core) - begun;
		w->ticks[n] = begun > UINT32_MAX ? UINT32_MAX : (uint32_t)begun;
	}
	empty(w->f, slot, w->frames, LIVE / 2);
	need(mb_slot_close(w->f, slot) == 0, "close failed");
	return NULL;
}

static int by_ticks(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void run_latency(struct small *b, double *ns)
{
	static const double share[] = {0.5, 0.99, 0.999, 0.9999};
	uint32_t *ticks = malloc(2 * PAIRS * sizeof(*ticks));
	struct worker w[2] = {
	    {.f = b->f, .frames = b->frames, .ticks = ticks, .seed = 1},
	    {.f = b->f, .frames = b->frames + LIVE / 2, .ticks = ticks + PAIRS, .seed = 2},
	};

	need(ticks != NULL, "out of memory");
	two(work_latency, w);
	qsort(ticks, 2 * PAIRS, sizeof(*ticks), by_ticks);
	for (int n = 0; n < 4; n++)
		ns[LATENCY_P50 + n] = b->ns_a_tick * ticks[(size_t)(share[n] * (double)(2 * PAIRS))];
	free(ticks);
}

/* One thread allocates and passes on what the other one frees. */
struct crossing {
	struct mb_frames *f;
	mb_frame queue[QUEUE];
	_Alignas(64) _Atomic uint64_t in;
	_Alignas(64) _Atomic uint64_t out;
	double ns;
};

static void *work_free(void *arg)
{
	struct crossing *c = arg;
	double spent = 0;
	mb_slot slot;

	need(mb_slot_open(c->f, &slot) == 0, "no slot");
	for (uint64_t out = 0; out < CROSSED; out += GROUP) {
		double t;

		while (atomic_load(&c->in) < out + GROUP)
			sched_yield();
		t = now_ns();
		for (unsigned k = 0; k < GROUP; k++)
			need(mb_frame_free(c->f, slot, MB_BASE, c->queue[(out + k) % QUEUE]) == 0,
			     "free failed");
		spent += now_ns() - t;
		atomic_store(&c->out, out + GROUP);
	}
	c->ns = spent / (double)CROSSED;
	need(mb_slot_close(c->f, slot) == 0, "close failed");
	return NULL;
}

static double run_cross(struct small *b)
{
	struct crossing *c = aligned_alloc(64, sizeof(*c));
	pthread_t t;
	double ns;

	need(c != NULL, "out of memory");
	memset(c, 0, sizeof(*c));
	c->f = b->f;
	need(pthread_create(&t, NULL, work_free, c) == 0, "no thread");
	for (uint64_t in = 0; in < CROSSED; in++) {
		while (in >= atomic_load(&c->out) + QUEUE)
			sched_yield();
		need(mb_frame_alloc(b->f, b->slot, MB_BASE, &c->queue[in % QUEUE]) == 0, "alloc failed");
		atomic_store(&c->in, in + 1);
	}
	pthread_join(t, NULL);
	ns = c->ns;
	free(c);
	return ns;
}

/* ---- all of it -------------------------------------------------------------------------------------- */

void small_round(struct small *b, double *ns)
{
	double alloc, free;
	struct worker w[2] = {{.f = b->f}, {.f = b->f}};

	ns[FLOOR_RMW] = run_floor();
	ns[FLOOR_TAKE] = run_floor_take(b);
	ns[REFERENCE_PAIR] = run_reference(b);
	run_bulk(b, ns);
	ns[PAIR] = run_pairs(b->f, b->slot);
	ns[CHURN] = run_churn(b);
	run_batches(b, 16, &alloc, &free);
	ns[BATCH16] = (alloc + free) / 2;
	run_batches(b, 512, &ns[BATCH512_ALLOC], &ns[BATCH512_FREE]);
	two(work_pairs, w);
	ns[PAIR_2THREADS] = (w[0].ns + w[1].ns) / 2;
	ns[CROSS_FREE] = run_cross(b);
	run_latency(b, ns);
}

/* How long a tick of the time-stamp counter is. */
static double tick_length(void)
{
	unsigned core;
	double t = now_ns();
	uint64_t ticks = __rdtscp(&core);

	while (now_ns() - t < 2e7)
		;
	return (now_ns() - t) / (double)(__rdtscp(&core) - ticks);
}

struct small *small_create(void)
{
	struct small *b = calloc(1, sizeof(*b));
	uint64_t one;

	need(b != NULL, "out of memory");
	b->f = make(FRAMES, NULL);
	b->ref = ref_create(FRAMES);
	/* one frame stays out, or each pair would compress and decompress a block */
	need(b->ref && ref_alloc(b->ref, &one) == 0, "out of memory");
	b->frames = malloc(LIVE * sizeof(*b->frames));
	need(b->frames != NULL, "out of memory");
	need(mb_slot_open(b->f, &b->slot) == 0, "no slot");
	b->ns_a_tick = tick_length();
	for (int n = 0; n < 4; n++) {
		double again = tick_length();

		/* the thread's own time is less than the counter's when others have their turn */
		b->ns_a_tick = again > b->ns_a_tick ? again : b->ns_a_tick;
	}
	return b;
}
