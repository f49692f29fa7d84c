/* SPDX-License-Identifier: MIT */
/*
 * bench-pool.c - a pool file beside the bare system calls, on a tmpfs mount of its own with huge pages and on
 * hugetlbfs: attaching, first touch through overcommit, memory that moves from one owner to another, and 2 MiB
 * frames allocated and freed by two processes.
 *
 * Mounts and settings are made in a mount name space of its own and put back. Each pair of numbers is taken in
 * turns in one run, the least of several rounds each, since the machine may be busy.
 */
#include "bare.h"
#include "tuning.h"

#include <memback/pool.h>

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define MiB       (UINT64_C(1) << 20)
#define HUGE      (2 * MiB)
#define SIZE      (128 * MiB) /* of an owner */
#define ROUNDS    7
#define DEAD_SIZE (UINT64_C(1) << 30) /* of an owner that dies */
#define DEATHS    3
#define PAIRS     200000u
#define SKIP      77
#define SMALL     "tmpfs-4k" /* what huge pages are compared with */

struct place {
	const char *name;
	enum mb_backing backing;
	const char *type, *options; /* of the mount */
	char dir[128], pool[160], mem[160];
};

__attribute__((noreturn)) static void die(const char *what, const struct mb_error *err)
{
	fprintf(stderr, "bench-pool: %s: %s\n", what, err ? err->text : "failed");
	exit(1);
}

static struct mb_space *make_space_of(struct mb_pool *pool, const char *name, uint64_t size, bool overcommit)
{
	struct mb_region region = {0, size};
	struct mb_space_config config = {.name = name,
					 .regions = &region,
					 .region_count = 1,
					 .overcommit = overcommit,
					 .prealloc = !overcommit};
	struct mb_space *space;
	struct mb_error err;

	if (mb_space_create(pool, &config, &space, &err))
		die("space", &err);
	return space;
}

static struct mb_space *make_space(struct mb_pool *pool, const char *name, bool overcommit)
{
	return make_space_of(pool, name, SIZE, overcommit);
}

static struct mb_pool *attach(const struct place *p)
{
	struct mb_pool *pool;
	struct mb_error err;

	if (mb_pool_attach(p->pool, &pool, &err))
		die("attach", &err);
	return pool;
}

static void least(double *best, double value)
{
	if (*best == 0 || value < *best)
		*best = value;
}

/* ---- first touch ------------------------------------------------------------------------------------------
 */

/* Microseconds a 2 MiB frame, touched at these distances; a word in each page. */
static double touch(unsigned char *at, uint64_t step)
{
	uint64_t start = bare_now_ns(), frames = 0;

	for (uint64_t pos = 0; pos < SIZE; pos += step, frames++)
		for (uint64_t page = 0; page < (step == HUGE ? HUGE : 1); page += 4096)
			*(volatile unsigned char *)(at + pos + page) = 1;
	return (double)(bare_now_ns() - start) / 1000 / (double)frames;
}

/* The same memory without us: a mapping of a file there. */
static void bare_faults(const struct place *p, double *cold, double *sequential)
{
	int fd = open(p->dir, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	unsigned char *at, *aligned;

	if (fd < 0 || ftruncate(fd, (off_t)SIZE))
		die("a file for the bare faults", NULL);
	/* aligned, or there would be no huge pages */
	at = mmap(NULL, SIZE + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	aligned = at + (-(uintptr_t)at & (HUGE - 1));
	if (at == MAP_FAILED ||
	    mmap(aligned, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		die("mmap", NULL);
	madvise(aligned, SIZE, MADV_HUGEPAGE);
	/* every fourth frame: nobody can know which is next */
	least(cold, touch(aligned, 4 * HUGE));
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)SIZE))
		die("fallocate", NULL);
	least(sequential, touch(aligned, HUGE));
	munmap(at, SIZE + HUGE);
	close(fd);
}

static void pool_faults(struct mb_pool *pool, double *cold, double *sequential)
{
	struct mb_space *space = make_space(pool, "faults", true);

	least(cold, touch(mb_space_window(space), 4 * HUGE));
	mb_space_destroy(space);
	space = make_space(pool, "faults", true);
	least(sequential, touch(mb_space_window(space), HUGE));
	mb_space_destroy(space);
}

/* ---- moving -----------------------------------------------------------------------------------------------
 */

/* All of one owner's memory goes to another, 32 MiB at a time: ns. */
static double pool_move(struct mb_space *from, struct mb_space *to)
{
	const uint64_t batch = 32 * MiB;
	uint64_t start = bare_now_ns();

	for (uint64_t at = 0; at < SIZE; at += batch)
		if (mb_space_inflate(from, at, batch) || mb_space_deflate(to, at, batch))
			die("moving", NULL);
	return (double)(bare_now_ns() - start);
}

static double bare_move(int fd, unsigned char *to, uint64_t from_offset)
{
	const uint64_t batch = 32 * MiB;
	uint64_t start = bare_now_ns();

	for (uint64_t at = 0; at < SIZE; at += batch)
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(from_offset + at),
			      (off_t)batch) ||
		    madvise(to + at, batch, MADV_POPULATE_WRITE))
			die("moving", NULL);
	return (double)(bare_now_ns() - start);
}

static void bare_moves(const struct place *p, double *best)
{
	int fd = open(p->dir, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	unsigned char *at, *a;

	at = mmap(NULL, 2 * SIZE + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	a = at + (-(uintptr_t)at & (HUGE - 1));
	if (fd < 0 || ftruncate(fd, (off_t)(2 * SIZE)) ||
	    mmap(a, 2 * SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0) ==
		MAP_FAILED)
		die("a file for the bare calls", NULL);
	madvise(a, 2 * SIZE, MADV_HUGEPAGE);
	if (madvise(a, SIZE, MADV_POPULATE_WRITE))
		die("populating", NULL);
	for (int i = 0; i < ROUNDS; i++)
		least(best, bare_move(fd, a + (i % 2 ? 0 : SIZE), i % 2 ? SIZE : 0));
	munmap(at, 2 * SIZE + HUGE);
	close(fd);
}

static void pool_moves(struct mb_pool *pool, double *best)
{
	struct mb_space *a = make_space(pool, "a", false), *b;

	/* b has its place and no bytes */
	struct mb_region region = {0, SIZE};
	struct mb_space_config config = {
	    .name = "b", .regions = &region, .region_count = 1, .regions_out = 1, .prealloc = true};
	struct mb_error err;

	if (mb_space_create(pool, &config, &b, &err))
		die("space", &err);
	for (int i = 0; i < ROUNDS; i++)
		least(best, i % 2 ? pool_move(b, a) : pool_move(a, b));
	mb_space_destroy(a);
	mb_space_destroy(b);
}

/* ---- allocate and free ------------------------------------------------------------------------------------
 */

struct gate {
	_Atomic unsigned ready;
	_Atomic uint64_t ns[2];
	struct mb_frames *frames;
};

static void run_pairs(struct gate *g, struct mb_frames *frames, unsigned who)
{
	mb_slot slot;
	mb_frame frame;
	uint64_t start;

	if (mb_slot_open(frames, &slot))
		die("slot", NULL);
	atomic_fetch_add(&g->ready, 1);
	while (atomic_load(&g->ready) < 2)
		sched_yield();
	start = bare_now_ns();
	for (unsigned i = 0; i < PAIRS; i++)
		if (mb_frame_alloc(frames, slot, MB_HUGE, &frame) ||
		    mb_frame_free(frames, slot, MB_HUGE, frame))
			die("pair", NULL);
	atomic_store(&g->ns[who], bare_now_ns() - start);
	(void)mb_slot_close(frames, slot);
}

static void *pairs_thread(void *arg)
{
	struct gate *g = arg;

	run_pairs(g, g->frames, 1);
	return NULL;
}

/* Both in one memory that processes share, by two threads or by two processes: ns a pair. */
static double pairs(void *metadata, uint64_t bytes, bool processes)
{
	struct gate *g = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct mb_frames *frames;
	double ns;

	if (g == MAP_FAILED || mb_frames_attach(metadata, bytes, &frames))
		die("frames", NULL);
	g->frames = frames;
	if (processes) {
		pid_t child = fork();
		int status;

		if (child == 0) {
			run_pairs(g, frames, 1);
			_exit(0);
		}
		run_pairs(g, frames, 0);
		if (child < 0 || waitpid(child, &status, 0) != child || status)
			die("the other process", NULL);
	} else {
		pthread_t thread;

		if (pthread_create(&thread, NULL, pairs_thread, g))
			die("thread", NULL);
		run_pairs(g, frames, 0);
		pthread_join(thread, NULL);
	}
	ns = (double)(atomic_load(&g->ns[0]) + atomic_load(&g->ns[1])) / 2 / PAIRS;
	munmap(g, 4096);
	return ns;
}

static void bench_pairs(double *threads, double *processes)
{
	struct mb_frames_config config = {
	    .capacity = UINT64_C(64) << 18, .base_shift = 12, .slots = 8, .flags = MB_FRAMES_OWNED};
	uint64_t bytes = mb_frames_meta_bytes(&config);
	void *metadata = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct mb_frames *frames;

	if (metadata == MAP_FAILED || mb_frames_init(metadata, bytes, &config, &frames) ||
	    mb_range_add(frames, (mb_frame){0}, config.capacity))
		die("an allocator", NULL);
	for (int i = 0; i < ROUNDS; i++) {
		least(threads, pairs(metadata, bytes, false));
		least(processes, pairs(metadata, bytes, true));
	}
	munmap(metadata, bytes);
}

/* ---- death ------------------------------------------------------------------------------------------------
 */

struct deaths {
	double first, all, bare; /* ms */
};

struct watch {
	struct mb_pool *pool;
	uint64_t start, first; /* ns */
};

static uint64_t used(struct mb_pool *pool)
{
	struct mb_pool_status status;
	struct mb_error err;

	if (mb_pool_get_status(pool, &status, &err))
		die("status", &err);
	return status.budget_used;
}

/* Until something is back in the budget. */
static void *watch_budget(void *arg)
{
	const struct timespec pause = {0, 100000};
	struct watch *w = arg;

	while (used(w->pool) == DEAD_SIZE)
		nanosleep(&pause, NULL);
	w->first = bare_now_ns();
	return NULL;
}

/* A process that has all of the pool, and is killed. */
static void die_with_all(const struct place *p)
{
	int fds[2], ignored;
	pid_t child;
	char c;

	if (pipe(fds))
		die("pipe", NULL);
	child = fork();
	if (child == 0) {
		make_space_of(attach(p), "dead", DEAD_SIZE, false);
		_exit(write(fds[1], "r", 1) == 1 && pause() ? 0 : 1);
	}
	close(fds[1]);
	if (child < 0 || read(fds[0], &c, 1) != 1)
		die("the process that shall die", NULL);
	close(fds[0]);
	kill(child, SIGKILL);
	waitpid(child, &ignored, 0);
}

static void pool_death(const struct place *p, struct deaths *d)
{
	struct watch w = {.pool = attach(p)};
	struct mb_pool *pool = attach(p);
	struct mb_error err;
	pthread_t thread;

	die_with_all(p);
	if (used(pool) != DEAD_SIZE || pthread_create(&thread, NULL, watch_budget, &w))
		die("nobody is dead", NULL);
	w.start = bare_now_ns();
	if (mb_pool_recover(pool, NULL, &err))
		die("recover", &err);
	least(&d->all, (double)(bare_now_ns() - w.start) / 1e6);
	pthread_join(thread, NULL);
	least(&d->first, (double)(w.first - w.start) / 1e6);
	mb_pool_close(pool);
	mb_pool_close(w.pool);
}

/* One call that punches as much out of a file there, which nobody has mapped. */
static void bare_death(const struct place *p, struct deaths *d)
{
	int fd = open(p->dir, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	unsigned char *at, *a;
	uint64_t start;

	at = mmap(NULL, DEAD_SIZE + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	a = at + (-(uintptr_t)at & (HUGE - 1));
	if (fd < 0 || ftruncate(fd, (off_t)DEAD_SIZE) || at == MAP_FAILED ||
	    mmap(a, DEAD_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0) ==
		MAP_FAILED)
		die("a file for the bare call", NULL);
	madvise(a, DEAD_SIZE, MADV_HUGEPAGE);
	if (madvise(a, DEAD_SIZE, MADV_POPULATE_WRITE))
		die("populating", NULL);
	munmap(at, DEAD_SIZE + HUGE);
	start = bare_now_ns();
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)DEAD_SIZE))
		die("fallocate", NULL);
	least(&d->bare, (double)(bare_now_ns() - start) / 1e6);
	close(fd);
}

static void bench_deaths(const struct place *p, bool json)
{
	struct deaths d = {0};

	for (int i = 0; i < DEATHS; i++) {
		bare_death(p, &d);
		pool_death(p, &d);
	}
	printf(json ? "    \"recover_first_ms\": %.2f,\n    \"recover_ms\": %.2f,\n"
		      "    \"recover_bare_ms\": %.2f\n  }"
		    : "  1 GiB of a dead owner: the first of it back after %.2f ms, all after %.2f ms; "
		      "one bare call %.2f ms\n",
	       d.first, d.all, d.bare);
}

/* ---- the whole --------------------------------------------------------------------------------------------
 */

static bool make_place(struct place *p, const char *root)
{
	struct mb_pool_config config = {.backing = p->backing, .size = DEAD_SIZE};
	struct mb_error warning, err;

	snprintf(p->dir, sizeof(p->dir), "%s/%s", root, p->name);
	snprintf(p->pool, sizeof(p->pool), "%s/%s.pool", root, p->name);
	snprintf(p->mem, sizeof(p->mem), "%s/mem", p->dir);
	config.memory_path = p->mem;
	if (mkdir(p->dir, 0700) || mount(p->type, p->dir, p->type, 0, p->options))
		return false;
	if (mb_pool_create_file(p->pool, &config, &warning, &err))
		die("pool", &err);
	return true;
}

static void bench_touch_and_move(const struct place *p, bool json)
{
	double cold = 0, sequential = 0, pool_cold = 0, pool_sequential = 0, moved = 0, moved_bare = 0,
	       attached = 0;
	const double gib_ns = (double)SIZE / (1 << 30) * 1e9;
	struct mb_pool *pool;

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t start = bare_now_ns();

		pool = attach(p);
		least(&attached, (double)(bare_now_ns() - start) / 1e6);
		bare_faults(p, &cold, &sequential);
		pool_faults(pool, &pool_cold, &pool_sequential);
		mb_pool_close(pool);
	}
	pool = attach(p);
	pool_moves(pool, &moved);
	mb_pool_close(pool);
	bare_moves(p, &moved_bare);
	printf(json ? "    \"attach_ms\": %.3f,\n" : "  attach %.3f ms\n", attached);
	printf(json ? "    \"fault_bare_us\": %.1f,\n    \"fault_pool_us\": %.1f,\n"
		    : "  a cold 2 MiB frame: bare %.1f us, pool %.1f us\n",
	       cold, pool_cold);
	printf(json ? "    \"fault_bare_sequential_us\": %.1f,\n    \"fault_pool_sequential_us\": %.1f,\n"
		    : "  frames in order: bare %.1f us, pool %.1f us\n",
	       sequential, pool_sequential);
	printf(json ? "    \"move_bare_gib_s\": %.2f,\n    \"move_gib_s\": %.2f,\n"
		    : "  moved: bare %.2f GiB/s, pool %.2f GiB/s\n",
	       gib_ns / moved_bare, gib_ns / moved);
}

static void bench_place(const struct place *p, bool json, bool last)
{
	printf(json ? "  \"%s\": {\n" : "%s\n", p->name);
	if (strcmp(p->name, SMALL) != 0)
		bench_touch_and_move(p, json);
	bench_deaths(p, json);
	printf(json && !last ? ",\n" : json ? "\n" : "");
}

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, bool *json)
{
	bool help = argc == 2 && !strcmp(argv[1], "--help");

	*json = argc == 2 && !strcmp(argv[1], "--json");
	if (argc == 1 || *json)
		return -1;
	fprintf(help ? stdout : stderr, "usage: bench-pool [--json]\nMakes mounts of its own and reserves huge "
					"pages meanwhile: wants root.\n");
	return help ? 0 : 2;
}

int main(int argc, char **argv)
{
	struct place place[] = {
	    {.name = "tmpfs", .backing = MB_BACKING_FILE, .type = "tmpfs", .options = "huge=advise"},
	    {.name = SMALL, .backing = MB_BACKING_FILE, .type = "tmpfs", .options = "huge=never"},
	    {.name = "hugetlb",
	     .backing = MB_BACKING_HUGETLB_2M,
	     .type = "hugetlbfs",
	     .options = "pagesize=2M"}};
	const unsigned places = sizeof(place) / sizeof(place[0]);
	char root[] = "/tmp/bench-pool-XXXXXX";
	double threads = 0, processes = 0;
	struct tuning tuning;
	struct mb_error err;
	bool json;
	int status = parse(argc, argv, &json);

	if (status >= 0)
		return status;
	if (mb_overcommit_check(&err)) {
		fprintf(stderr, "bench-pool: skipped: %s\n", err.text);
		return SKIP;
	}
	if (geteuid() != 0 || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
		fprintf(stderr, "bench-pool: skipped: it makes mounts of its own, which only root may\n");
		return SKIP;
	}
	if (!mkdtemp(root) || mount("tmpfs", root, "tmpfs", 0, NULL))
		die("a directory", NULL);
	tuning_begin(&tuning, DEAD_SIZE / HUGE + 16);
	bench_pairs(&threads, &processes);
	printf(json ? "{\n  \"pair_threads_ns\": %.1f,\n  \"pair_processes_ns\": %.1f,\n"
		    : "2 MiB frames, allocate and free: two threads %.1f ns, two processes %.1f ns\n",
	       threads, processes);
	for (unsigned i = 0; i < places; i++) {
		if (make_place(&place[i], root))
			bench_place(&place[i], json, i == places - 1);
		else
			fprintf(stderr, "bench-pool: no %s here\n", place[i].name);
	}
	if (json)
		printf("}\n");
	tuning_end(&tuning);
	umount2(root, MNT_DETACH);
	rmdir(root);
	return 0;
}
