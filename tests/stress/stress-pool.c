/* SPDX-License-Identifier: MIT */
/*
 * stress-pool.c - several processes on one pool file, each making spaces, writing patterns, giving memory
 * back and taking it again at random.
 *
 * What would show a defect: a page that two processes have (its pattern is another's), a page that comes
 * back and is not zero, a page that lost what was written, a budget or an allocator that does not come
 * back to where it was, bytes that the kernel still holds at the end.
 *
 *	stress-pool [--seconds N] [--seed N] [--processes N]
 *
 * The seed is printed; a run with the same seed makes the same choices in each process (not the same
 * interleaving).
 */
#include <errno.h>
#include <getopt.h>
#include <memback/pool.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE       UINT64_C(4096)
#define HUGE_BYTES (UINT64_C(2) << 20)
#define POOL_SIZE  (UINT64_C(96) << 20)
#define BUDGET     (UINT64_C(64) << 20)
#define MAX_PAGES  (UINT64_C(16) * 512)
#define REGION_GPA (UINT64_C(1) << 20 << 10) /* the second region: 1 GiB */

struct options {
	unsigned seconds;
	unsigned processes;
	uint64_t seed;
};

/* One process's view of its space: what each page should hold. */
struct guest {
	struct mb_space *space;
	struct mb_region regions[2];
	uint64_t pages;
	uint64_t stamp[MAX_PAGES]; /* 0: zero page; PAGE_GONE: inflated; else the word it is full of */
	uint64_t next_stamp;
	uint64_t random;
	struct {
		uint64_t spaces, refused, inflated, deflated, verified, held_back;
	} did;
};
#define PAGE_GONE UINT64_MAX

static uint64_t random_next(struct guest *g)
{
	g->random ^= g->random << 13;
	g->random ^= g->random >> 7;
	g->random ^= g->random << 17;
	return g->random;
}

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	fprintf(stderr, "stress-pool[%d]: ", (int)getpid());
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static uint64_t page_gpa(const struct guest *g, uint64_t page)
{
	uint64_t low = g->regions[0].size / PAGE;
	return page < low ? g->regions[0].gpa + page * PAGE : g->regions[1].gpa + (page - low) * PAGE;
}

/* Whether the page holds what it should; a foreign or a stale word anywhere in it is a defect. */
static void page_verify(struct guest *g, uint64_t page)
{
	const uint64_t *words = mb_space_hva(g->space, page_gpa(g, page), PAGE);
	if (words == NULL)
		die("no host address for page %llu", (unsigned long long)page);
	for (unsigned i = 0; i < PAGE / 8; i++) {
		if (words[i] != g->stamp[page])
			die("page %llu word %u is %#llx, not %#llx", (unsigned long long)page, i,
			    (unsigned long long)words[i], (unsigned long long)g->stamp[page]);
	}
	g->did.verified++;
}

static void page_write(struct guest *g, uint64_t page)
{
	uint64_t *words = mb_space_hva(g->space, page_gpa(g, page), PAGE);
	uint64_t stamp = ((uint64_t)getpid() << 32) | ++g->next_stamp;
	for (unsigned i = 0; i < PAGE / 8; i++)
		words[i] = stamp;
	g->stamp[page] = stamp;
}

/* A run of pages [*first, + count) within one region that are all in the same state as its first. */
static uint64_t pick_run(struct guest *g, uint64_t *first)
{
	uint64_t page = random_next(g) % g->pages;
	uint64_t low = g->regions[0].size / PAGE;
	uint64_t end = page < low ? low : g->pages;
	uint64_t want = UINT64_C(1) << (random_next(g) % 11);
	bool gone = g->stamp[page] == PAGE_GONE;
	uint64_t count = 1;
	while (count < want && page + count < end && (g->stamp[page + count] == PAGE_GONE) == gone)
		count++;
	*first = page;
	return count;
}

static void run_inflate(struct guest *g, uint64_t first, uint64_t count)
{
	int rc = mb_space_inflate(g->space, page_gpa(g, first), count * PAGE);
	if (rc != 0)
		die("inflate of %llu pages: %s", (unsigned long long)count, strerror(-rc));
	for (uint64_t i = 0; i < count; i++)
		g->stamp[first + i] = PAGE_GONE;
	g->did.inflated += count;
}

static void run_deflate(struct guest *g, uint64_t first, uint64_t count)
{
	int rc = mb_space_deflate(g->space, page_gpa(g, first), count * PAGE);
	if (rc == -EDQUOT) {
		g->did.held_back++;
		return;
	}
	if (rc != 0)
		die("deflate of %llu pages: %s", (unsigned long long)count, strerror(-rc));
	for (uint64_t i = 0; i < count; i++) {
		g->stamp[first + i] = 0;
		page_verify(g, first + i);
	}
	g->did.deflated += count;
}

static void guest_step(struct guest *g)
{
	uint64_t first, count = pick_run(g, &first);
	bool gone = g->stamp[first] == PAGE_GONE;
	switch (random_next(g) % 4) {
	case 0:
	case 1:
		if (gone)
			run_deflate(g, first, count);
		else
			run_inflate(g, first, count);
		break;
	case 2:
		for (uint64_t i = 0; !gone && i < count; i++)
			page_write(g, first + i);
		break;
	default:
		for (uint64_t i = 0; !gone && i < count; i++)
			page_verify(g, first + i);
		break;
	}
}

/* One space's life. Returns false when the pool had no room for it. */
static bool guest_live(struct guest *g, struct mb_pool *pool, unsigned number)
{
	char name[32];
	struct mb_error err;
	snprintf(name, sizeof(name), "stress-%u", number);
	g->regions[0] = (struct mb_region){0, (1 + random_next(g) % 8) * HUGE_BYTES};
	g->regions[1] = (struct mb_region){REGION_GPA, (1 + random_next(g) % 8) * HUGE_BYTES};
	g->pages = (g->regions[0].size + g->regions[1].size) / PAGE;
	struct mb_space_config config = {.name = name, .regions = g->regions, .region_count = 2};
	int rc = mb_space_create(pool, &config, &g->space, &err);
	if (rc == -EDQUOT || rc == -ENOMEM) {
		g->did.refused++;
		return false;
	}
	if (rc != 0)
		die("space: %s", err.text);
	memset(g->stamp, 0, g->pages * sizeof(g->stamp[0]));
	for (uint64_t steps = random_next(g) % 400; steps > 0; steps--)
		guest_step(g);
	for (uint64_t page = 0; page < g->pages; page++) {
		if (g->stamp[page] != PAGE_GONE && random_next(g) % 8 == 0)
			page_verify(g, page);
	}
	mb_space_destroy(g->space);
	g->did.spaces++;
	return true;
}

static void child(const char *path, const struct options *o, unsigned number)
{
	struct guest *g = calloc(1, sizeof(*g));
	struct mb_pool *pool;
	struct mb_error err;
	struct timespec pause = {0, 1000000};
	if (g == NULL)
		die("out of memory");
	g->random = o->seed * 0x9e3779b97f4a7c15 + number * 2 + 1;
	if (mb_pool_attach(path, &pool, &err) != 0)
		die("attach: %s", err.text);
	time_t end = time(NULL) + (time_t)o->seconds;
	while (time(NULL) < end) {
		if (!guest_live(g, pool, number))
			nanosleep(&pause, NULL);
	}
	mb_pool_close(pool);
	printf("process %u: %llu spaces, %llu refused, %llu pages inflated, %llu deflated, %llu held back, "
	       "%llu verified\n",
	       number, (unsigned long long)g->did.spaces, (unsigned long long)g->did.refused,
	       (unsigned long long)g->did.inflated, (unsigned long long)g->did.deflated,
	       (unsigned long long)g->did.held_back, (unsigned long long)g->did.verified);
	if (g->did.spaces == 0 || g->did.inflated == 0 || g->did.deflated == 0)
		die("it never got anything done");
	free(g);
	fflush(NULL);
	_exit(0);
}

static int print_discrepancy(void *arg, const struct mb_discrepancy *d)
{
	(void)arg;
	fprintf(stderr, "stress-pool: check: %s: %s\n", d->kind, d->text);
	return 0;
}

/* At rest: everything is back, and the kernel agrees. */
static int check_rest(const char *path)
{
	struct mb_pool *pool;
	struct mb_pool_status status;
	struct mb_error err;
	if (mb_pool_attach(path, &pool, &err) != 0 || mb_pool_get_status(pool, &status, &err) != 0)
		die("at rest: %s", err.text);
	int bad = mb_pool_check(pool, print_discrepancy, NULL);
	mb_pool_close(pool);
	printf("at rest: budget used %llu, resident %llu, owners %llu, free frames %llu, discrepancies %d\n",
	       (unsigned long long)status.budget_used, (unsigned long long)status.resident,
	       (unsigned long long)status.owners, (unsigned long long)status.frames.free, bad);
	return bad == 0 && status.budget_used == 0 && status.resident == 0 && status.owners == 0 &&
	       status.frames.free * PAGE == POOL_SIZE;
}

static int run(const char *path, const struct options *o)
{
	struct mb_pool_config config = {.backing = MB_BACKING_FILE, .size = POOL_SIZE, .budget = BUDGET};
	struct mb_error warning, err;
	bool ok = true;
	if (mb_pool_create_file(path, &config, &warning, &err) != 0)
		die("pool: %s", err.text);
	fflush(NULL);
	pid_t parent = getpid();
	for (unsigned i = 0; i < o->processes; i++) {
		pid_t pid = fork();
		if (pid < 0)
			die("fork: %s", strerror(errno));
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != parent)
				_exit(1);
			child(path, o, i);
		}
	}
	for (unsigned i = 0; i < o->processes; i++) {
		int status;
		wait(&status);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
			ok = false;
	}
	ok = check_rest(path) && ok;
	if (mb_pool_destroy(path, &err) != 0)
		die("destroy: %s", err.text);
	return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
	static const struct option longopts[] = {{"seconds", required_argument, NULL, 's'},
						 {"seed", required_argument, NULL, 'S'},
						 {"processes", required_argument, NULL, 'p'},
						 {"help", no_argument, NULL, 'h'},
						 {NULL, 0, NULL, 0}};
	struct options o = {.seconds = 3, .processes = 4, .seed = (uint64_t)time(NULL)};
	char dir[] = "/dev/shm/memback-stress-XXXXXX", path[64];
	int c;
	while ((c = getopt_long(argc, argv, "", longopts, NULL)) != -1) {
		switch (c) {
		case 's':
			o.seconds = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'S':
			o.seed = strtoull(optarg, NULL, 10);
			break;
		case 'p':
			o.processes = (unsigned)strtoul(optarg, NULL, 10);
			break;
		default:
			fprintf(c == 'h' ? stdout : stderr,
				"usage: stress-pool [--seconds N] [--seed N] [--processes N]\n");
			return c == 'h' ? 0 : 2;
		}
	}
	if (mkdtemp(dir) == NULL) {
		printf("skipped: no writable /dev/shm: %s\n", strerror(errno));
		return 77;
	}
	printf("stress-pool: seed %llu, %u processes, %u s\n", (unsigned long long)o.seed, o.processes,
	       o.seconds);
	snprintf(path, sizeof(path), "%s/pool", dir);
	int rc = run(path, &o);
	rmdir(dir);
	return rc;
}
