/* SPDX-License-Identifier: MIT */
/*
 * kill-storm.c - processes that work on one allocator with owners and are killed at random, thousands of times.
 *
 * Each worker has a slot and takes, frees, batches and makes holes; one changes ranges. The parent kills one or
 * two of them after a random while and recovers what they left, while the others go on; now and then another
 * process does so, and is killed as well. At times all are killed, and the oracle looks: no frame lost, none
 * doubled, every invariant holds, and all that is free can be had.
 *
 *     kill-storm [--seconds N | --kills N] [--seed N]
 *
 * Three seconds, unless told otherwise: some thousand kills where the machine is free. The seed decides who is killed and how long he has; what he is doing then, the machine does.
 */
#include "world.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS = 4, RANGER = WORKERS - 1, NURSE = WORKERS, DOCTOR, SLOTS, KEPT = 48 };

struct storm {
	struct world w;
	uint64_t random;
	pid_t pid[SLOTS];
	struct mb_recovery sum;
	uint64_t kills, nurses, looks, again;
};

static uint64_t roll(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void pause_for(uint64_t us)
{
	struct timespec t = {.tv_nsec = (long)(us * 1000)};

	nanosleep(&t, NULL);
}

/* ---- a worker --------------------------------------------------------------------------------------- */

struct kept {
	uint64_t frame;
	enum mb_level level;
};

struct worker {
	struct world *w;
	mb_slot slot;
	enum who who;
	uint64_t random;
	struct kept kept[KEPT];
	unsigned n;
};

static void keep(struct worker *k, enum mb_level level, uint64_t frame)
{
	k->kept[k->n++] = (struct kept){frame, level};
}

/* False: what was his could not be freed. */
static bool drop_one(struct worker *k)
{
	unsigned at = (unsigned)(roll(&k->random) % k->n);
	struct kept one = k->kept[at];

	k->kept[at] = k->kept[--k->n];
	return put(k->w, k->slot, one.level, one.frame);
}

static void make_holes(struct worker *k)
{
	struct kept one = k->kept[roll(&k->random) % k->n];
	uint64_t size = mb_level_frames(one.level), first = roll(&k->random) % size;
	uint64_t count = 1 + roll(&k->random) % (size - first);

	if (roll(&k->random) % 4 == 0)
		first = 0, count = size;
	if (one.level == MB_GIANT && roll(&k->random) % 8 == 0)
		(void)!mb_frame_holes_merge(k->w->f, k->slot, (mb_frame){one.frame});
	else if (roll(&k->random) % 2)
		(void)!mb_frame_holes_add(k->w->f, k->slot, (mb_frame){one.frame + first}, count);
	else
		(void)!mb_frame_holes_remove(k->w->f, k->slot, (mb_frame){one.frame + first}, count);
}

static void take_more(struct worker *k)
{
	uint64_t what = roll(&k->random) % 16, frame = roll(&k->random) % HUGES * HUGE;
	mb_frame out[8];
	unsigned n;

	if (what == 0) {
		if (get(k->w, k->slot, k->who, MB_GIANT, &frame))
			keep(k, MB_GIANT, frame);
	} else if (what == 1) {
		frame -= frame % GIANT;
		if (get_this(k->w, k->slot, k->who, MB_GIANT, frame))
			keep(k, MB_GIANT, frame);
	} else if (what == 2) {
		if (get_this(k->w, k->slot, k->who, MB_HUGE, frame))
			keep(k, MB_HUGE, frame);
	} else if (what == 3) {
		n = get_batch(k->w, k->slot, k->who, MB_HUGE, out, 8);
		while (n-- > 0)
			keep(k, MB_HUGE, out[n].n);
	} else if (get(k->w, k->slot, k->who, MB_HUGE, &frame)) {
		keep(k, MB_HUGE, frame);
	}
}

static void change_ranges(struct worker *k)
{
	uint64_t first = 2 * GIANT + roll(&k->random) % 512 * HUGE;
	uint64_t count = (1 + roll(&k->random) % 64) * HUGE, what = roll(&k->random) % 8;

	if (what == 0)
		first = 2 * GIANT, count = GIANT;
	if (first + count > GIANTS * GIANT)
		count = GIANTS * GIANT - first;
	if (what % 3 == 0)
		(void)!mb_range_drain(k->w->f, (mb_frame){first}, count, NULL);
	else if (what % 3 == 1)
		(void)!mb_range_remove(k->w->f, (mb_frame){first}, count, NULL);
	else
		(void)!mb_range_add(k->w->f, (mb_frame){first}, count);
}

static void work(struct storm *s, unsigned n, uint64_t seed)
{
	struct worker k = {.w = &s->w, .slot = {n}, .who = (enum who)(n + 1), .random = seed | 1};

	if (mb_slot_open_at(s->w.f, k.slot))
		_exit(3);
	for (;;) {
		uint64_t what = roll(&k.random) % 32;

		if (n == RANGER && what < 8)
			change_ranges(&k);
		else if (what == 31 && k.n)
			make_holes(&k);
		else if (k.n && (k.n > KEPT - 9 || what % 2) && !drop_one(&k))
			_exit(4);
		else if (k.n <= KEPT - 9)
			take_more(&k);
		if (roll(&k.random) % 4096 == 0) {
			while (k.n)
				if (!drop_one(&k))
					_exit(4);
			mb_slot_close(s->w.f, k.slot);
			if (mb_slot_open_at(s->w.f, k.slot))
				_exit(3);
		}
		atomic_fetch_add_explicit(&s->w.sh->ops, 1, memory_order_relaxed);
	}
}

/* ---- the parent ------------------------------------------------------------------------------------- */

static bool start(struct storm *s, unsigned n)
{
	uint64_t seed = roll(&s->random);

	s->pid[n] = fork();
	if (s->pid[n] == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* so that the parent need not wait for a processor */
		if (nice(19) == -1)
			_exit(2);
		work(s, n, seed);
	}
	return s->pid[n] > 0;
}

/* False: it had ended by itself. */
static bool end(struct storm *s, unsigned n)
{
	int status = 0;

	kill(s->pid[n], SIGKILL);
	waitpid(s->pid[n], &status, 0);
	s->pid[n] = 0;
	s->kills++;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return true;
	snprintf(s->w.why, sizeof(s->w.why), "worker %u ended by itself: %s", n,
		 WIFSIGNALED(status)        ? strsignal(WTERMSIG(status))
		 : WEXITSTATUS(status) == 3 ? "its slot is in use"
					    : "what was its own could not be freed");
	return false;
}

/* Recovers all who have no process, again while the living or one another stand in the way. */
static int recover(struct storm *s, mb_slot by)
{
	int rc = -EAGAIN;

	for (unsigned tries = 0; tries < 20000 && rc == -EAGAIN; tries++) {
		rc = s->pid[RANGER] ? 0 : mb_ranges_recover(s->w.f, by, recorded, &s->w, &s->sum);
		for (unsigned n = 0; n < NURSE + 1u; n++) {
			int one = s->pid[n] || n == by.n
				      ? 0
				      : mb_slot_recover(s->w.f, by, (mb_slot){n}, recorded, &s->w, &s->sum);

			rc = rc ? rc : one;
		}
		s->again += rc == -EAGAIN;
		if (rc == -EAGAIN)
			sched_yield();
	}
	return rc;
}

static bool recover_by_doctor(struct storm *s)
{
	int rc = recover(s, (mb_slot){DOCTOR});

	for (unsigned n = 0; n < WORKERS && !rc; n++)
		if (!s->pid[n] && !bury(&s->w, (mb_slot){DOCTOR}, (enum who)(n + 1)))
			return false;
	if (rc)
		snprintf(s->w.why, sizeof(s->w.why), "recovery says %s", strerror(-rc));
	return rc == 0;
}

/* Another process recovers, and is killed, too. */
static bool recover_by_nurse(struct storm *s)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!mb_slot_open_at(s->w.f, (mb_slot){NURSE}))
			(void)recover(s, (mb_slot){NURSE});
		_exit(0);
	}
	if (pid < 0)
		return false;
	pause_for(roll(&s->random) % 700);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	s->nurses++;
	return recover_by_doctor(s);
}

static bool look(struct storm *s)
{
	mb_slot doctor = {DOCTOR};
	bool ok = true;

	for (unsigned n = 0; n < WORKERS; n++)
		ok = end(s, n) && ok;
	s->looks++;
	ok = ok && recover(s, doctor) == 0 && world_check(&s->w) && recover_by_doctor(s) &&
	     world_check(&s->w) && world_reach(&s->w, doctor) && world_check(&s->w);
	for (unsigned n = 0; n < WORKERS && ok; n++)
		ok = start(s, n);
	return ok;
}

static bool strike(struct storm *s)
{
	unsigned a = (unsigned)(roll(&s->random) % WORKERS), b = (unsigned)(roll(&s->random) % (2 * WORKERS));
	bool ok;

	pause_for(roll(&s->random) % 1500);
	ok = end(s, a);
	if (b < WORKERS && b != a)
		ok = end(s, b) && ok;
	if (!ok)
		return false;
	ok = roll(&s->random) % 4 ? recover_by_doctor(s) : recover_by_nurse(s);
	for (unsigned n = 0; n < WORKERS && ok; n++)
		if (!s->pid[n])
			ok = start(s, n);
	return ok;
}

/* For so many seconds, or until so many were killed if that is not 0. */
static bool storm(struct storm *s, unsigned seconds, uint64_t kills)
{
	struct timespec begun, now;
	bool ok = world_make(&s->w, GIANTS * GIANT, SLOTS) && !mb_slot_open_at(s->w.f, (mb_slot){DOCTOR});

	for (unsigned n = 0; n < WORKERS && ok; n++)
		ok = start(s, n);
	clock_gettime(CLOCK_MONOTONIC, &begun);
	do {
		for (unsigned n = 0; n < 20 && ok; n++)
			ok = strike(s);
		ok = ok && look(s);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (ok && (kills ? s->kills < kills : now.tv_sec - begun.tv_sec < (time_t)seconds));
	for (unsigned n = 0; n < WORKERS; n++)
		if (s->pid[n])
			(void)end(s, n);
	return ok;
}

static int usage(int status)
{
	fprintf(status ? stderr : stdout, "usage: kill-storm [--seconds N | --kills N] [--seed N]\n");
	return status;
}

int main(int argc, char **argv)
{
	struct storm s = {.random = 88172645463325252u};
	unsigned seconds = 3;
	uint64_t kills = 0;
	bool ok;

	for (int n = 1; n < argc; n += 2) {
		if (n + 1 == argc)
			return usage(!strcmp(argv[n], "--help") ? 0 : 2);
		if (!strcmp(argv[n], "--seconds"))
			seconds = (unsigned)strtoul(argv[n + 1], NULL, 0);
		else if (!strcmp(argv[n], "--kills"))
			kills = strtoull(argv[n + 1], NULL, 0);
		else if (!strcmp(argv[n], "--seed"))
			s.random = strtoull(argv[n + 1], NULL, 0);
		else
			return usage(2);
	}
	printf("seed %llu\n", (unsigned long long)s.random);
	/* the seed 0 would stay 0, and small ones begin alike */
	s.random = s.random * UINT64_C(0x9e3779b97f4a7c15) + 1;
	fflush(stdout);
	ok = storm(&s, seconds, kills);
	printf("%llu operations, %llu kills, %llu of who recovered; %llu looks, %llu tries again; "
	       "%llu huge frames freed, %llu operations completed, %llu undone, %llu lines\n",
	       s.w.sh ? (unsigned long long)s.w.sh->ops : 0ull, (unsigned long long)s.kills,
	       (unsigned long long)s.nurses, (unsigned long long)s.looks, (unsigned long long)s.again,
	       (unsigned long long)(s.sum.freed / HUGE), (unsigned long long)s.sum.completed,
	       (unsigned long long)s.sum.undone, (unsigned long long)s.sum.lines);
	if (!ok)
		printf("FAILED: %s\n", s.w.why);
	world_drop(&s.w);
	return ok ? 0 : 1;
}
