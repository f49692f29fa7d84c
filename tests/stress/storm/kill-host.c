/* SPDX-License-Identifier: MIT */
/*
 * kill-host.c - a process is killed at every instruction of making a space (attaching), of destroying it
 * (detaching), and of recovering what a killed one left; system calls are instructions too.
 *
 * Each case runs in a process of its own that is single-stepped to its n-th instruction and then killed;
 * another space lives on meanwhile. Then the pool is recovered: nothing of the killed one may be left, the other
 * must be untouched, the check finds nothing. The smallest cases have some ten thousand instructions; of them
 * one in so many is taken, from a start that the seed chooses.
 *
 * With --all it is every instruction. What a killed process leaves is what its system calls did and what it stored
 * in the pool's records; so of instructions in a row that store nothing there, to be killed before one is to be
 * killed before any other. Each case is stepped through once to find those that do, by comparing the records after
 * each instruction, and is killed after each of these and at each system call.
 *
 * The way to an instruction is by system calls first, then by single steps, so that each costs no more than what
 * lies between two system calls:
 *
 *	stop 0    1        2               3        4
 *	     |....|  call  |...............|  call  |....       odd: a call begins, even: it is over
 *	      steps          steps                   steps
 *
 *	kill-host [--all | --every N] [--seed N] [--dir DIR]
 */
#include "format.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <memback/pool.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define POOL_SIZE (8 * HUGE_BYTES)

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fprintf(stderr, "kill-host: ");
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
	_exit(1);
}

/* ---- what is killed ------------------------------------------------------------------------------------ */

struct scene {
	const char *name, *path;
	struct mb_pool *pool;
	struct mb_space *space;
	void (*prepare)(struct scene *s); /* not traced */
	void (*run)(struct scene *s);     /* traced */
};

static struct mb_pool *attach(const char *path)
{
	struct mb_pool *pool;
	struct mb_error err;

	if (mb_pool_attach(path, &pool, &err))
		die("attach: %s", err.text);
	return pool;
}

static struct mb_space *make_space(struct mb_pool *pool, const char *name)
{
	struct mb_region region = {0, HUGE_BYTES};
	struct mb_space_config config = {.name = name, .regions = &region, .region_count = 1};
	struct mb_space *space;
	struct mb_error err;

	if (mb_space_create(pool, &config, &space, &err))
		die("space: %s", err.text);
	return space;
}

static void attached(struct scene *s)
{
	s->pool = attach(s->path);
}

static void create(struct scene *s)
{
	s->space = make_space(s->pool, "victim");
}

static void created(struct scene *s)
{
	attached(s);
	create(s);
	memset(mb_space_window(s->space), 0x66, HUGE_BYTES);
}

static void destroy(struct scene *s)
{
	mb_space_destroy(s->space);
}

static void give_and_take(struct scene *s)
{
	if (mb_space_inflate(s->space, 0, 4096) || mb_space_deflate(s->space, 0, 4096))
		_exit(1);
}

/* Somebody else was killed while he had a space; our pool was attached before. */
static void somebody_died(struct scene *s)
{
	pid_t pid;

	attached(s);
	pid = fork();
	if (!pid) {
		(void)memset(mb_space_window(make_space(attach(s->path), "dead")), 0x77, HUGE_BYTES);
		kill(getpid(), SIGKILL);
	}
	if (pid < 0 || waitpid(pid, NULL, 0) != pid)
		die("fork: %s", strerror(errno));
}

static void recover(struct scene *s)
{
	if (mb_pool_recover(s->pool, NULL, NULL))
		_exit(1);
}

static void shrink_and_grow(struct scene *s)
{
	if (mb_pool_resize(s->pool, POOL_SIZE / 2, NULL, NULL) ||
	    mb_pool_resize(s->pool, POOL_SIZE, NULL, NULL))
		_exit(1);
}

/* ---- the tracer ---------------------------------------------------------------------------------------- */

static pid_t start(struct scene *s)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		s->prepare(s);
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			_exit(77);
		raise(SIGSTOP);
		s->run(s);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		die("fork: %s", strerror(errno));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		printf("skipped: processes cannot be traced here\n");
		exit(77);
	}
	if (!WIFSTOPPED(status))
		die("%s: its preparation failed", s->name);
	return pid;
}

/* One step or one half of a system call further; false: it has ended. */
static bool go_on(const struct scene *s, pid_t pid, int how)
{
	int status;

	if (ptrace(how, pid, NULL, NULL) || waitpid(pid, &status, 0) != pid)
		die("%s: trace: %s", s->name, strerror(errno));
	if (WIFEXITED(status) && WEXITSTATUS(status))
		die("%s: failed without being killed", s->name);
	if (WIFSIGNALED(status) || (WIFSTOPPED(status) && WSTOPSIG(status) != SIGTRAP))
		die("%s: died by itself (status %#x)", s->name, (unsigned)status);
	return WIFSTOPPED(status);
}

/* Is the next instruction a system call? */
static bool at_call(pid_t pid)
{
	long rip = ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, regs.rip), NULL);
	long text;

	errno = 0;
	text = ptrace(PTRACE_PEEKTEXT, pid, rip, NULL);
	return !errno && (text & 0xffff) == 0x050f;
}

enum end { ENDED, KILLED, AT_CALL, TOO_FAR };

/*
 * Killed so many instructions after so many beginnings and ends of system calls. ENDED: it had ended before;
 * AT_CALL: killed, and the next instruction is a system call; TOO_FAR: it does not make so many of those.
 */
static enum end run_until(struct scene *s, unsigned calls, uint64_t steps)
{
	enum end end = KILLED;
	pid_t pid = start(s);
	int status = 0;

	for (unsigned i = 0; i < calls; i++)
		if (!go_on(s, pid, PTRACE_SYSCALL))
			return TOO_FAR;
	for (uint64_t i = 0; i < steps && end == KILLED; i++) {
		if (at_call(pid))
			end = AT_CALL;
		else if (!go_on(s, pid, PTRACE_SINGLESTEP))
			return ENDED;
	}
	kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) == pid && !WIFSIGNALED(status))
		;
	return end;
}

/* ---- what must hold ------------------------------------------------------------------------------------ */

static int print_discrepancy(void *arg, const struct mb_discrepancy *d)
{
	(void)arg;
	fprintf(stderr, "kill-host: %s: %s\n", d->kind, d->text);
	return 0;
}

static void look(const struct scene *s, unsigned calls, uint64_t step, struct mb_pool *pool,
		 struct mb_space *other)
{
	const unsigned char *p = mb_space_window(other);
	struct mb_pool_status status;
	struct mb_error err;

	if (mb_pool_recover(pool, NULL, &err) || mb_pool_get_status(pool, &status, &err))
		die("%s, call %u and instruction %llu: %s", s->name, calls, (unsigned long long)step, err.text);
	if (mb_pool_check(pool, print_discrepancy, NULL) || mb_space_check(other, print_discrepancy, NULL))
		die("%s, call %u and instruction %llu: the check finds something", s->name, calls,
		    (unsigned long long)step);
	if (status.owners != 1 || status.budget_used != HUGE_BYTES || status.resident != HUGE_BYTES ||
	    status.frames.used + status.frames.offline != 512 + (POOL_SIZE - status.size) / 4096)
		die("%s, call %u and instruction %llu: %llu owners, %llu used, %llu resident, %llu frames",
		    s->name, calls, (unsigned long long)step, (unsigned long long)status.owners,
		    (unsigned long long)status.budget_used, (unsigned long long)status.resident,
		    (unsigned long long)status.frames.used);
	for (uint64_t i = 0; i < HUGE_BYTES; i += 512)
		if (p[i] != 0x5a)
			die("%s, call %u and instruction %llu: another one's memory was touched", s->name,
			    calls, (unsigned long long)step);
	if (mb_pool_resize(pool, POOL_SIZE, NULL, &err))
		die("%s, call %u and instruction %llu: %s", s->name, calls, (unsigned long long)step, err.text);
}

/* ---- which instructions matter -------------------------------------------------------------------------- */

#define OWNERS    4      /* entries that these cases use */
#define STEPS_MAX 300000 /* of one stretch: a second or two */

/* The records that a case may change: its parts, and what they were. */
struct records_seen {
	struct {
		const uint8_t *at;
		uint64_t bytes;
		uint8_t *old;
	} part[3 + OWNERS];
	unsigned parts;
};

static void see(struct records_seen *r, const uint8_t *at, uint64_t bytes)
{
	uint8_t *old = malloc(bytes);

	if (!old)
		die("out of memory");
	r->part[r->parts].at = at;
	r->part[r->parts].bytes = bytes;
	r->part[r->parts++].old = old;
}

static void see_records(struct records_seen *r, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const struct pool_header *h;
	const uint8_t *map;
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		die("%s: %s", path, strerror(errno));
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	close(fd);
	h = (const struct pool_header *)(const void *)map;
	see(r, map + h->vars_offset, sizeof(struct pool_vars));
	see(r, map + h->ledger_offset, h->frames_offset - h->ledger_offset);
	see(r, map + h->frames_offset, h->frames_bytes);
	for (unsigned i = 0; i < OWNERS; i++)
		see(r, map + h->owners_offset + i * sizeof(struct owner_entry),
		    offsetof(struct owner_entry, extent) + 8 * sizeof(struct extent));
}

/* Whether they have changed since the last time. */
static bool have_changed(struct records_seen *r)
{
	bool changed = false;

	for (unsigned i = 0; i < r->parts; i++) {
		if (!memcmp(r->part[i].old, r->part[i].at, r->part[i].bytes))
			continue;
		memcpy(r->part[i].old, r->part[i].at, r->part[i].bytes);
		changed = true;
	}
	return changed;
}

static uint64_t every = 1501;
static bool all;

/* The steps after this system call that change the records, in a list that ends with 0; counts all steps. */
static uint64_t *find_steps(struct scene *s, struct records_seen *r, unsigned calls, uint64_t *steps)
{
	uint64_t *list = NULL, count = 0;
	pid_t pid = start(s);
	bool lives = true;

	for (unsigned i = 0; lives && i < calls; i++)
		lives = go_on(s, pid, PTRACE_SYSCALL);
	(void)have_changed(r);
	for (uint64_t step = 1; lives && !at_call(pid) && step <= STEPS_MAX; step++) {
		lives = go_on(s, pid, PTRACE_SINGLESTEP);
		++*steps;
		if (!have_changed(r))
			continue;
		list = reallocarray(list, count + 2, sizeof(*list));
		if (!list)
			die("out of memory");
		list[count++] = step;
		list[count] = 0;
	}
	if (lives)
		kill(pid, SIGKILL);
	while (lives && waitpid(pid, NULL, 0) != pid)
		;
	return list;
}

struct kills {
	unsigned calls, kills;
	uint64_t steps; /* single steps looked at, with --all */
};

static enum end kill_once(struct scene *s, struct kills *k, uint64_t step, struct mb_pool *pool,
			  struct mb_space *other)
{
	enum end end = run_until(s, k->calls, step);

	look(s, k->calls, step, pool, other);
	k->kills += end == KILLED || end == AT_CALL;
	return end;
}

static enum end kill_some(struct scene *s, struct kills *k, struct mb_pool *pool, struct mb_space *other,
			  uint64_t *seed)
{
	uint64_t step = 0;
	enum end end;

	do {
		end = kill_once(s, k, step, pool, other);
		*seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407;
		step += 1 + (*seed >> 33) % every;
	} while (end == KILLED && k->calls % 2 == 0 && step < every);
	return end;
}

static enum end kill_all(struct scene *s, struct kills *k, struct mb_pool *pool, struct mb_space *other,
			 struct records_seen *r)
{
	enum end end = kill_once(s, k, 0, pool, other);
	uint64_t *list = NULL;

	if (end != TOO_FAR && k->calls % 2 == 0)
		list = find_steps(s, r, k->calls, &k->steps);
	look(s, k->calls, 0, pool, other);
	for (uint64_t i = 0; list && list[i]; i++)
		(void)kill_once(s, k, list[i], pool, other);
	free(list);
	return end;
}

/* At each system call's beginning and end, and at some instructions, or all, between two of them. */
static void try_scene(struct scene *s, struct mb_pool *pool, struct mb_space *other, uint64_t seed)
{
	struct records_seen records = {.parts = 0};
	struct kills k = {0};
	enum end end;

	see_records(&records, s->path);
	do {
		end = all ? kill_all(s, &k, pool, other, &records) : kill_some(s, &k, pool, other, &seed);
		k.calls++;
	} while (end != TOO_FAR);
	for (unsigned i = 0; i < records.parts; i++)
		free(records.part[i].old);
	printf("%-16s %4u halves of system calls, %6u kills", s->name, k.calls - 1, k.kills);
	if (all)
		printf(", which stand for all of %llu instructions%s", (unsigned long long)k.steps,
		       k.steps < STEPS_MAX ? "" : " (the first 300,000 of a longer stretch)");
	putchar('\n');
	fflush(stdout);
}

static void run(const char *path, uint64_t seed)
{
	struct scene scenes[] = {
	    {.name = "attach", .prepare = attached, .run = create},
	    {.name = "detach", .prepare = created, .run = destroy},
	    {.name = "recover", .prepare = somebody_died, .run = recover},
	    {.name = "inflate, deflate", .prepare = created, .run = give_and_take},
	    {.name = "shrink, grow", .prepare = attached, .run = shrink_and_grow},
	};
	struct mb_pool_config config = {.backing = MB_BACKING_FILE, .size = POOL_SIZE};
	struct mb_error err, warning;
	struct mb_space *other;
	struct mb_pool *pool;

	if (mb_pool_create_file(path, &config, &warning, &err))
		die("pool: %s", err.text);
	pool = attach(path);
	other = make_space(pool, "other");
	memset(mb_space_window(other), 0x5a, HUGE_BYTES);
	for (unsigned i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++) {
		scenes[i].path = path;
		try_scene(&scenes[i], pool, other, seed);
	}
	mb_space_destroy(other);
	mb_pool_close(pool);
	if (mb_pool_destroy(path, &err))
		die("destroy: %s", err.text);
}

int main(int argc, char **argv)
{
	static const struct option longopts[] = {{"all", no_argument, NULL, 'a'},
						 {"every", required_argument, NULL, 'e'},
						 {"seed", required_argument, NULL, 's'},
						 {"dir", required_argument, NULL, 'd'},
						 {NULL, 0, NULL, 0}};
	const char *base = "/dev/shm";
	uint64_t seed = (uint64_t)time(NULL);
	char dir[256], path[300];
	int c;

	while ((c = getopt_long(argc, argv, "", longopts, NULL)) != -1) {
		if (c == 'a')
			all = true;
		else if (c == 'e')
			every = strtoull(optarg, NULL, 10);
		else if (c == 's')
			seed = strtoull(optarg, NULL, 10);
		else if (c == 'd')
			base = optarg;
		else
			every = 0;
	}
	if (!every) {
		fprintf(stderr, "usage: kill-host [--all | --every N] [--seed N] [--dir DIR]\n");
		return 1;
	}
	snprintf(dir, sizeof(dir), "%s/memback-kill-XXXXXX", base);
	if (!mkdtemp(dir)) {
		printf("skipped: cannot write to %s: %s\n", base, strerror(errno));
		return 77;
	}
	if (all)
		printf("kill-host: all instructions\n");
	else
		printf("kill-host: instructions up to %llu apart, seed %llu\n", (unsigned long long)every,
		       (unsigned long long)seed);
	fflush(stdout);
	snprintf(path, sizeof(path), "%s/pool", dir);
	run(path, seed);
	rmdir(dir);
	return 0;
}
