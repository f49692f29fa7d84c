/* SPDX-License-Identifier: MIT */
/*
 * bare.c - the bare system calls, see bare.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "bare.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/memfd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define ALIGN (UINT64_C(1) << 30)

uint64_t bare_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

/* Aligned like the window of a guest, so that large pages fit alike. */
static unsigned char *map_aligned(const struct bare *b)
{
	int flags = b->fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	unsigned char *p =
	    mmap(NULL, b->size + ALIGN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	unsigned char *at;

	if (p == MAP_FAILED)
		return NULL;
	at = p + (ALIGN - (uintptr_t)p % ALIGN) % ALIGN;
	/* What lies before and after stays reserved until we end: a few numbers, no memory. */
	if (mmap(at, b->size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, b->fd, 0) == MAP_FAILED)
		return NULL;
	return at;
}

bool bare_open(struct bare *b, enum bare_backing backing, size_t size, size_t batch)
{
	unsigned flags = MFD_CLOEXEC | (backing == BARE_HUGETLB ? MFD_HUGETLB | MFD_HUGE_2MB : 0);

	*b = (struct bare){.backing = backing, .fd = -1, .size = size, .batch = batch};
	if (backing != BARE_ANON) {
		b->fd = memfd_create("bench", flags);
		if (b->fd < 0 || ftruncate(b->fd, (off_t)size))
			return false;
	}
	b->mem = map_aligned(b);
	if (!b->mem)
		return false;
	/* A kernel without huge pages says no; then both sides go without. */
	if (backing != BARE_HUGETLB)
		(void)madvise(b->mem, size, MADV_HUGEPAGE);
	return bare_populate(b) >= 0;
}

void bare_close(struct bare *b)
{
	if (b->mem)
		munmap(b->mem, b->size);
	if (b->fd >= 0)
		close(b->fd);
	b->mem = NULL;
	b->fd = -1;
}

int64_t bare_populate(struct bare *b)
{
	uint64_t begin = bare_now_ns();

	for (size_t at = 0; at < b->size; at += b->batch)
		if (madvise(b->mem + at, b->batch, MADV_POPULATE_WRITE))
			return -1;
	return (int64_t)(bare_now_ns() - begin);
}

int64_t bare_touch(struct bare *b)
{
	uint64_t begin = bare_now_ns();

	for (size_t at = 0; at < b->size; at += 4096)
		*(volatile uint64_t *)(void *)(b->mem + at) = at;
	return (int64_t)(bare_now_ns() - begin);
}

int64_t bare_discard(struct bare *b)
{
	uint64_t begin = bare_now_ns();
	int rc = 0;

	for (size_t at = 0; at < b->size && !rc; at += b->batch)
		rc = b->fd < 0 ? madvise(b->mem + at, b->batch, MADV_DONTNEED)
			       : fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at,
					   (off_t)b->batch);
	return rc ? -1 : (int64_t)(bare_now_ns() - begin);
}

struct beside {
	atomic_bool started, end;
};

static void *beside_thread(void *arg)
{
	struct beside *s = arg;

	atomic_store_explicit(&s->started, true, memory_order_release);
	while (!atomic_load_explicit(&s->end, memory_order_relaxed))
		;
	return NULL;
}

int64_t bare_discard_beside_thread(struct bare *b)
{
	struct beside s;
	pthread_t t;
	int64_t ns;

	atomic_init(&s.started, false);
	atomic_init(&s.end, false);
	if (pthread_create(&t, NULL, beside_thread, &s))
		return -1;
	while (!atomic_load_explicit(&s.started, memory_order_acquire))
		;
	ns = bare_discard(b);
	atomic_store_explicit(&s.end, true, memory_order_relaxed);
	pthread_join(t, NULL);
	return ns;
}
