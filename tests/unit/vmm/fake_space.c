/* SPDX-License-Identifier: MIT */
/*
 * fake_space.c - a guest address space without a pool, see fake_space.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fake_space.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct mb_space {
	unsigned char *mem; /* both halves, one after the other */
	bool out[FAKE_PAGES];
	uint64_t out_count, budget, fail_page, absent_page;
	int fail_error;
	_Atomic bool starved; /* asked on any thread */
	struct fake_calls calls;
};

struct mb_space *fake_space_create(void)
{
	struct mb_space *s = calloc(1, sizeof(*s));

	if (!s)
		abort();
	s->mem = mmap(NULL, 2 * FAKE_HALF, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		      -1, 0);
	if (s->mem == MAP_FAILED)
		abort();
	s->budget = UINT64_MAX / 2;
	s->fail_page = s->absent_page = UINT64_MAX;
	return s;
}

void fake_space_destroy(struct mb_space *s)
{
	munmap(s->mem, 2 * FAKE_HALF);
	free(s);
}

struct fake_calls *fake_space_calls(struct mb_space *s)
{
	return &s->calls;
}

void fake_space_set_budget(struct mb_space *s, uint64_t left)
{
	s->budget = left;
}

void fake_space_fail_at(struct mb_space *s, uint64_t page, int error)
{
	s->fail_page = page;
	s->fail_error = error;
}

void fake_space_set_absent(struct mb_space *s, uint64_t page)
{
	s->absent_page = page;
}

/* Index of a page in our arrays, or FAKE_PAGES. */
static uint64_t index_of(uint64_t gpa)
{
	if (gpa < FAKE_HALF)
		return gpa >> 12;
	if (gpa >= FAKE_HIGH && gpa - FAKE_HIGH < FAKE_HALF)
		return (FAKE_HALF + gpa - FAKE_HIGH) >> 12;
	return FAKE_PAGES;
}

void fake_space_steal(struct mb_space *s, uint64_t page)
{
	uint64_t i = index_of(page << 12);

	if (i == FAKE_PAGES || s->out[i])
		abort();
	s->out[i] = true;
	s->out_count++;
}

bool fake_space_is_inflated(const struct mb_space *s, uint64_t page)
{
	uint64_t i = index_of(page << 12);

	return i < FAKE_PAGES && s->out[i];
}

uint64_t fake_space_inflated(const struct mb_space *s)
{
	return s->out_count;
}

/* ---- what the library would do ------------------------------------------------------------------------ */

void *mb_space_hva(const struct mb_space *s, uint64_t gpa, uint64_t len)
{
	uint64_t i = index_of(gpa), end = gpa < FAKE_HALF ? FAKE_HALF : FAKE_HIGH + FAKE_HALF;

	if (i == FAKE_PAGES || !len || len > end - gpa)
		return NULL;
	return s->mem + (i << 12) + (gpa & 4095);
}

/* Whether all of the range is (not) inflated, or what else is wrong with it. */
static int check(struct mb_space *s, uint64_t gpa, uint64_t len, bool out)
{
	int rc = 0;

	if (gpa & 4095 || len & 4095)
		abort();
	if (!mb_space_hva(s, gpa, len))
		rc = -ERANGE;
	for (uint64_t pos = gpa; pos < gpa + len && !rc; pos += 4096) {
		if (pos >> 12 == s->fail_page)
			rc = s->fail_error;
		else if (s->out[index_of(pos)] != out)
			rc = -EALREADY;
	}
	if (rc)
		s->calls.refused++;
	return rc;
}

static void set(struct mb_space *s, uint64_t gpa, uint64_t len, bool out, bool keep)
{
	for (uint64_t pos = gpa; pos < gpa + len; pos += 4096)
		s->out[index_of(pos)] = out;
	if (!keep)
		memset(mb_space_hva(s, gpa, len), out ? 0xdd : 0, len);
	s->out_count = out ? s->out_count + (len >> 12) : s->out_count - (len >> 12);
}

int mb_space_inflate(struct mb_space *s, uint64_t gpa, uint64_t len)
{
	int rc = check(s, gpa, len, false);

	if (rc)
		return rc;
	set(s, gpa, len, true, false);
	s->budget += len;
	s->calls.inflates++;
	if (len >> 12 > s->calls.longest)
		s->calls.longest = len >> 12;
	return 0;
}

static int come_back(struct mb_space *s, uint64_t gpa, uint64_t len, bool keep)
{
	int rc = check(s, gpa, len, true);

	if (!rc && len > s->budget) {
		s->calls.refused++;
		rc = -EDQUOT;
	}
	if (rc)
		return rc;
	set(s, gpa, len, false, keep);
	s->budget -= len;
	s->calls.deflates++;
	return 0;
}

int mb_space_deflate(struct mb_space *s, uint64_t gpa, uint64_t len)
{
	return come_back(s, gpa, len, false);
}

int mb_space_restore(struct mb_space *s, uint64_t gpa, uint64_t len)
{
	return come_back(s, gpa, len, true);
}

int mb_space_purge(struct mb_space *s, uint64_t gpa, uint64_t len)
{
	int rc = check(s, gpa, len, true);

	if (!rc)
		memset(mb_space_hva(s, gpa, len), 0xdd, len);
	return rc;
}

bool mb_space_can_discard(const struct mb_space *s)
{
	(void)s;
	return true;
}

int mb_space_discard(struct mb_space *s, uint64_t gpa, uint64_t len)
{
	if (gpa & 4095 || len & 4095)
		abort();
	if (!mb_space_hva(s, gpa, len))
		return -ERANGE;
	if (s->fail_page >= gpa >> 12 && s->fail_page < (gpa + len) >> 12)
		return s->fail_error;
	memset(mb_space_hva(s, gpa, len), 0, len);
	s->calls.discards++;
	s->calls.discarded += len >> 12;
	return 0;
}

int mb_space_present(struct mb_space *s, uint64_t gpa, uint64_t len)
{
	if (!mb_space_hva(s, gpa, len))
		return -ERANGE;
	return s->absent_page >= gpa >> 12 && s->absent_page <= (gpa + len - 1) >> 12 ? -EAGAIN : 0;
}

int mb_space_present_now(struct mb_space *s, uint64_t gpa, uint64_t len)
{
	return mb_space_present(s, gpa, len);
}

bool mb_space_is_present(struct mb_space *s, uint64_t gpa, uint64_t len)
{
	return mb_space_present(s, gpa, len) == 0;
}

bool mb_space_starved(const struct mb_space *s)
{
	return s->starved;
}

void fake_space_set_starved(struct mb_space *s, bool starved)
{
	s->starved = starved;
}

void mb_space_queue_up(struct mb_space *s, uint64_t bytes)
{
	s->calls.queued = true;
	s->calls.queued_bytes = bytes;
}

void mb_space_leave_queue(struct mb_space *s)
{
	s->calls.queued = false;
}

int mb_space_populate(struct mb_space *s, uint64_t gpa, uint64_t len)
{
	return mb_space_present(s, gpa, len) ? -ENOMEM : 0;
}

uint64_t mb_space_budget_left(const struct mb_space *s)
{
	return s->budget;
}
