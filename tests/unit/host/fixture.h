/* SPDX-License-Identifier: MIT */
/*
 * fixture.h - what the host side's tests need around them: a directory, mounts of their own, host settings
 * that are put back, and pools of each backing.
 */
#ifndef TEST_FIXTURE_H
#define TEST_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <memback/pool.h>
#include <stdbool.h>

#define KiB     (UINT64_C(1) << 10)
#define MiB     (UINT64_C(1) << 20)
#define GiB     (UINT64_C(1) << 30)
#define TiB     (UINT64_C(1) << 40)
#define PAGE    (4 * KiB)
#define HUGE_2M (2 * MiB)

/* Where a test's memory may live. */
enum place {
	ON_ANON,
	ON_MEMFD,
	ON_HUGETLB, /* 2 MiB */
	ON_TMPFS,   /* a mount of its own, huge=advise */
	ON_DISK,
	ON_HUGETLBFS, /* a file on a mount with 2 MiB pages */
	PLACES,
};
const char *place_name(enum place place);
/* False: this machine cannot have it (reason in *why). */
bool place_ready(enum place place, const char **why);
/* Can a pool file's memory be there? */
bool place_shared(enum place place);

/*
 * Group set-up and tear-down: a temporary directory, mounts in a name space of our own, huge pages (hugepages
 * of 2 MiB), shmem_enabled=advise; all put back.
 */
int fixture_begin(unsigned hugepages);
void fixture_end(void);
/*
 * Begins, runs the tests in each place from first on that this machine has, with *place set to it, and ends: what
 * main() returns.
 */
int fixture_run(unsigned hugepages, enum place first, enum place *place, const struct CMUnitTest *tests,
		size_t count);
const char *fixture_dir(void);
/* fixture_dir()/name; one of a few static buffers. */
const char *fixture_path(const char *name);

/* Sets a file in /sys or /proc; the old text is put back by fixture_end(). False: cannot. */
bool setting(const char *path, const char *text);
uint64_t read_number(const char *path);

/* A private pool there, or the test fails. budget 0: size. */
struct mb_pool *pool_at(enum place place, uint64_t size, uint64_t budget);
/* A pool file there; its path in fixture_path(name). */
void pool_file_at(enum place place, const char *name, uint64_t size, uint64_t budget);
struct mb_pool *attach(const char *path);
/* A space with one region [0, size). */
struct mb_space *space_of(struct mb_pool *pool, const char *name, uint64_t size, bool prealloc);

uint64_t budget_used(struct mb_pool *pool);
/* Resident bytes, as the kernel says, found without the library: mincore of the window, or st_blocks. */
uint64_t resident(struct mb_space *space, uint64_t gpa, uint64_t len);
uint64_t pool_resident_bytes(struct mb_pool *pool);
struct mb_owner_status owner_of(struct mb_space *space);
bool all_zero(const void *at, uint64_t len);
void fill(struct mb_space *space, uint64_t gpa, uint64_t len, unsigned char byte);

/* One line, not empty, no control characters, and a code. */
void assert_error(const struct mb_error *err, int code);

/* Checks find nothing, in the space and in the pool. */
void assert_clean(struct mb_space *space);
void assert_pool_clean(struct mb_pool *pool);
/* How many discrepancies of a kind there are; -1 total in *all may be NULL. */
int count_kind(struct mb_space *space, const char *kind, int *all);
int count_pool_kind(struct mb_pool *pool, const char *kind, int *all);

#endif
