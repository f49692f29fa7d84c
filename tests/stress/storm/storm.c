/* SPDX-License-Identifier: MIT */
/*
 * storm.c - processes on one pool file that are killed at random and started again, while they make spaces,
 * write and verify patterns, give memory back, take it again, fault it in, recover what the killed ones had, and
 * change the pool's size and budget.
 *
 * After each round of kills the pool is checked while the others go on: no frame may be lost (used in the
 * allocator, nobody's in the ledger) or doubled (two owners', or free and an owner's), the budget's sum must be
 * the owners'. Whoever is alive finds in its pages what it wrote, and zeros in those it took anew. When all are
 * dead, everything is free and the kernel holds nothing.
 *
 *	storm [--kills N | --seconds N] [--seed N] [--processes N] [--dir DIR]
 *
 * It ends after so many kills, or after so many seconds. The seed is printed; with the same seed each process makes the same choices, in another interleaving.
 */
#include <errno.h>
#include <getopt.h>
#include <memback/pool.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE          UINT64_C(4096)
#define HUGE_BYTES    (UINT64_C(2) << 20)
#define POOL_SIZE     (UINT64_C(64) << 20)
#define BUDGET        (UINT64_C(40) << 20)
#define PAGES_MAX     (UINT64_C(6) * 512)
#define PROCESSES_MAX 32
#define GONE          UINT64_MAX /* a stamp: the page is inflated */

struct options {
	unsigned kills, seconds, processes; /* seconds 0: kills count */
	uint64_t seed;
	const char *dir;
};

/* What the processes did, in memory that they share. */
struct tally {
	_Atomic uint64_t spaces, destroyed, refused, inflated, deflated, verified, lazy, changed;
};

struct guest {
	struct mb_space *space;
	struct tally *tally;
	uint64_t random, pages, next;
	uint64_t stamp[PAGES_MAX]; /* what the page is full of; 0: zeros */
};

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fprintf(stderr, "storm[%d]: ", (int)getpid());
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
	_exit(1);
}

static uint64_t dice(uint64_t *random)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return *random;
}

/* ---- one process --------------------------------------------------------------------------------------- */

static uint64_t *page_at(const struct guest *g, uint64_t page)
{
	uint64_t *words = mb_space_hva(g->space, page * PAGE, PAGE);

	if (!words)
		die("page %llu has no host address", (unsigned long long)page);
	return words;
}

static void verify(struct guest *g, uint64_t page)
{
	const uint64_t *words = page_at(g, page);

	/* the first word, the last, and one in between */
	for (unsigned i = 0, w; i < 3; i++) {
		w = i == 0 ? 0 : i == 1 ? 511 : (unsigned)(dice(&g->random) % 512);
		if (words[w] != g->stamp[page])
			die("page %llu word %u is %#llx, not %#llx", (unsigned long long)page, w,
			    (unsigned long long)words[w], (unsigned long long)g->stamp[page]);
	}
	atomic_fetch_add(&g->tally->verified, 1);
}

static void scribble(struct guest *g, uint64_t page)
{
	uint64_t *words = page_at(g, page), stamp = (uint64_t)getpid() << 32 | ++g->next;

	for (unsigned i = 0; i < 512; i++)
		words[i] = stamp;
	g->stamp[page] = stamp;
}

static void change(struct guest *g, uint64_t first, uint64_t count, bool gone)
{
	int rc = (gone ? mb_space_deflate : mb_space_inflate)(g->space, first * PAGE, count * PAGE);

	if (rc == -EDQUOT && gone)
		return;
	if (rc)
		die("%s of %llu pages: %s", gone ? "deflate" : "inflate", (unsigned long long)count,
		    strerror(-rc));
	for (uint64_t i = first; i < first + count; i++)
		g->stamp[i] = gone ? 0 : GONE;
	atomic_fetch_add(gone ? &g->tally->deflated : &g->tally->inflated, count);
}

static void step(struct guest *g)
{
	uint64_t first = dice(&g->random) % g->pages, want = UINT64_C(1) << (dice(&g->random) % 11), count = 1;
	bool gone = g->stamp[first] == GONE;

	while (count < want && first + count < g->pages && (g->stamp[first + count] == GONE) == gone)
		count++;
	switch (dice(&g->random) % 3) {
	case 0:
		change(g, first, count, gone);
		break;
	case 1:
		for (uint64_t i = 0; !gone && i < count; i++)
			scribble(g, first + i);
		break;
	default:
		for (uint64_t i = 0; !gone && i < count; i++)
			verify(g, first + i);
		break;
	}
}

/* One space's life. False: the pool had no room. */
static bool live(struct guest *g, struct mb_pool *pool, unsigned number, bool lazy)
{
	struct mb_region region = {0, (1 + dice(&g->random) % 6) * HUGE_BYTES};
	char name[] = {'s', (char)('a' + number % 26), (char)('a' + number / 26), '\0'};
	struct mb_space_config config = {.name = name, .regions = &region, .region_count = 1};
	struct mb_error err;
	int rc;

	config.overcommit = lazy;
	rc = mb_space_create(pool, &config, &g->space, &err);
	if (rc == -EDQUOT || rc == -ENOMEM) {
		atomic_fetch_add(&g->tally->refused, 1);
		return false;
	}
	if (rc)
		die("space: %s", err.text);
	atomic_fetch_add(lazy ? &g->tally->lazy : &g->tally->spaces, 1);
	g->pages = region.size / PAGE;
	memset(g->stamp, 0, sizeof(g->stamp));
	for (uint64_t steps = dice(&g->random) % 60; steps; steps--)
		step(g);
	for (uint64_t i = 0; i < g->pages; i++)
		if (g->stamp[i] != GONE && (!lazy || g->stamp[i]))
			verify(g, i);
	mb_space_destroy(g->space);
	atomic_fetch_add(&g->tally->destroyed, 1);
	return true;
}

/* What people do to a pool in use; its frames leave as they are freed, or come back. */
static void change_pool(struct guest *g, struct mb_pool *pool)
{
	struct mb_error err;
	uint64_t size = POOL_SIZE / 2 + dice(&g->random) % (POOL_SIZE / 2 / HUGE_BYTES + 1) * HUGE_BYTES;
	int rc = mb_pool_resize(pool, size, NULL, &err);

	if (rc && rc != -EBUSY && rc != -EAGAIN)
		die("resize: %s", err.text);
	if (mb_pool_set_budget(pool, BUDGET - dice(&g->random) % 8 * HUGE_BYTES, NULL, &err))
		die("budget: %s", err.text);
	atomic_fetch_add(&g->tally->changed, 1);
}

__attribute__((noreturn)) static void process(const char *path, uint64_t seed, unsigned number, bool lazy,
					      struct tally *tally)
{
	struct guest *g = calloc(1, sizeof(*g));
	struct timespec pause = {0, 1000000};
	struct mb_recovered did;
	struct mb_pool *pool;
	struct mb_error err;

	if (!g || mb_pool_attach(path, &pool, &err))
		die("attach: %s", g ? err.text : "out of memory");
	g->tally = tally;
	g->random = seed | 1;
	for (;;) {
		int rc = dice(&g->random) % 8 ? 0 : mb_pool_recover(pool, &did, &err);

		if (rc && rc != -EAGAIN)
			die("recover: %s", err.text);
		if (!(dice(&g->random) % 16))
			change_pool(g, pool);
		if (!live(g, pool, number, lazy && dice(&g->random) % 2))
			nanosleep(&pause, NULL);
	}
}

/* ---- who kills them ------------------------------------------------------------------------------------ */

struct storm {
	const struct options *o;
	const char *path;
	struct tally *tally;
	pid_t pid[PROCESSES_MAX];
	uint64_t random;
	unsigned killed, checks;
	bool lazy;
};

static void start(struct storm *s, unsigned i)
{
	uint64_t seed = dice(&s->random);
	pid_t parent = getpid();

	s->pid[i] = fork();
	if (s->pid[i] < 0)
		die("fork: %s", strerror(errno));
	if (s->pid[i])
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	process(s->path, seed, i, s->lazy && i % 2, s->tally);
}

static void stop(struct storm *s, unsigned i)
{
	int status;

	kill(s->pid[i], SIGKILL);
	while (waitpid(s->pid[i], &status, 0) < 0)
		if (errno != EINTR)
			die("wait: %s", strerror(errno));
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		die("process %u ended by itself (status %#x), seed %llu", i, (unsigned)status,
		    (unsigned long long)s->o->seed);
	s->pid[i] = 0;
	s->killed++;
}

static int print_discrepancy(void *arg, const struct mb_discrepancy *d)
{
	(void)arg;
	fprintf(stderr, "storm: check: %s: %s\n", d->kind, d->text);
	return 0;
}

/* Recovers and checks; at rest nothing may be left of anybody. */
static void look(struct storm *s, bool rest)
{
	struct mb_pool_status status;
	struct mb_recovered did;
	struct mb_pool *pool;
	struct mb_error err;
	int rc;

	if (mb_pool_attach(s->path, &pool, &err))
		die("attach after %u kills: %s", s->killed, err.text);
	rc = mb_pool_recover(pool, &did, &err);
	if (rc && (rest || rc != -EAGAIN))
		die("recover after %u kills: %s", s->killed, err.text);
	if (rest && (mb_pool_resize(pool, POOL_SIZE, NULL, &err) || mb_pool_set_budget(pool, BUDGET, NULL, &err)))
		die("size or budget: %s", err.text);
	rc = mb_pool_check(pool, print_discrepancy, NULL);
	if (rc)
		die("%d discrepancies after %u kills, seed %llu", rc, s->killed,
		    (unsigned long long)s->o->seed);
	if (mb_pool_get_status(pool, &status, &err))
		die("status: %s", err.text);
	if (rest && (status.budget_used || status.resident || status.owners ||
		     status.frames.free * PAGE != POOL_SIZE || status.frames.used || status.frames.holes))
		die("at rest: used %llu, resident %llu, owners %llu, free %llu of %llu bytes, seed %llu",
		    (unsigned long long)status.budget_used, (unsigned long long)status.resident,
		    (unsigned long long)status.owners, (unsigned long long)(status.frames.free * PAGE),
		    (unsigned long long)POOL_SIZE, (unsigned long long)s->o->seed);
	mb_pool_close(pool);
	s->checks++;
}

static void round_of_kills(struct storm *s)
{
	struct timespec ts = {0, (long)(dice(&s->random) % 8000000)};
	unsigned n = 1 + (unsigned)(dice(&s->random) % 3);

	nanosleep(&ts, NULL);
	while (n--) {
		unsigned i = (unsigned)(dice(&s->random) % s->o->processes);

		stop(s, i);
		if (dice(&s->random) % 2)
			look(s, false);
		start(s, i);
	}
	look(s, false);
}

static void run(const struct options *o, const char *path)
{
	struct mb_pool_config config = {.backing = MB_BACKING_FILE, .size = POOL_SIZE, .budget = BUDGET};
	struct storm s = {.o = o, .path = path, .random = o->seed * UINT64_C(0x9e3779b97f4a7c15) | 1};
	struct mb_error warning, err;
	time_t end;
	struct tally *t = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (t == MAP_FAILED || mb_pool_create_file(path, &config, &warning, &err))
		die("pool: %s", t == MAP_FAILED ? strerror(errno) : err.text);
	s.tally = t;
	s.lazy = !mb_overcommit_check(&err);
	if (!s.lazy)
		printf("no overcommit here: %s\n", err.text);
	fflush(NULL);
	for (unsigned i = 0; i < o->processes; i++)
		start(&s, i);
	end = time(NULL) + (time_t)o->seconds;
	while (o->seconds ? time(NULL) < end : s.killed < o->kills)
		round_of_kills(&s);
	for (unsigned i = 0; i < o->processes; i++)
		stop(&s, i);
	look(&s, true);
	printf("%u kills, %u checks: 0 frames lost, 0 doubled; %llu spaces and %llu with overcommit, %llu of all "
	       "destroyed, %llu refused; size and budget changed %llu times; pages: %llu inflated, %llu deflated, %llu verified\n",
	       s.killed, s.checks, (unsigned long long)t->spaces, (unsigned long long)t->lazy,
	       (unsigned long long)t->destroyed, (unsigned long long)t->refused,
	       (unsigned long long)t->changed, (unsigned long long)t->inflated, (unsigned long long)t->deflated,
	       (unsigned long long)t->verified);
	if (!t->spaces || !t->changed || !t->inflated || !t->deflated || !t->verified)
		die("nothing was tried");
	if (mb_pool_destroy(path, &err))
		die("destroy: %s", err.text);
}

static int parse(int argc, char **argv, struct options *o)
{
	static const struct option longopts[] = {{"kills", required_argument, NULL, 'k'},
						 {"seconds", required_argument, NULL, 't'},
						 {"seed", required_argument, NULL, 's'},
						 {"processes", required_argument, NULL, 'p'},
						 {"dir", required_argument, NULL, 'd'},
						 {NULL, 0, NULL, 0}};
	int c;

	while ((c = getopt_long(argc, argv, "", longopts, NULL)) != -1) {
		if (c == 'k')
			o->kills = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 't')
			o->seconds = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 's')
			o->seed = strtoull(optarg, NULL, 10);
		else if (c == 'p')
			o->processes = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'd')
			o->dir = optarg;
		else
			return -1;
	}
	return o->processes && o->processes <= PROCESSES_MAX ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct options o = {.kills = 200, .processes = 8, .seed = (uint64_t)time(NULL), .dir = "/dev/shm"};
	char dir[256], path[300];

	if (parse(argc, argv, &o)) {
		fprintf(stderr,
			"usage: storm [--kills N | --seconds N] [--seed N] [--processes N, at most 32] [--dir DIR]\n");
		return 1;
	}
	snprintf(dir, sizeof(dir), "%s/memback-storm-XXXXXX", o.dir);
	if (!mkdtemp(dir)) {
		printf("skipped: cannot write to %s: %s\n", o.dir, strerror(errno));
		return 77;
	}
	printf("storm: seed %llu, %u processes, %u %s\n", (unsigned long long)o.seed, o.processes,
	       o.seconds ? o.seconds : o.kills, o.seconds ? "seconds" : "kills");
	snprintf(path, sizeof(path), "%s/pool", dir);
	run(&o, path);
	rmdir(dir);
	return 0;
}
