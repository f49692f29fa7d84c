/* SPDX-License-Identifier: MIT */
/*
 * overcommit_thread.c - the thread that hears of faults.
 *
 * A guest that goes through its memory in order is met ahead: after the frame that it waits for the next ones
 * are made present, twice as many each time, while it runs on. Never more than a part of what the budget has
 * left, so that what is taken ahead is not what another guest needs now.
 *
 * When the budget is empty the faulting vCPU simply goes on waiting in the kernel. The thread says so, once,
 * and tries again and again until there is memory, or the space is given up.
 */
#include "charge.h"
#include "overcommit_state.h"
#include "uffd.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define FAULTS_MAX  32
#define RESERVE     UINT64_MAX /* instead of an address: the reserve */
#define AHEAD_MAX   16         /* huge frames */
#define AHEAD_SHARE 16         /* of what the budget has left: a sixteenth */
#define RETRY_MS    20         /* while starved; then dead owners are looked for, and the end */
#define ALL_ROUNDS  5          /* of retrying */
#define IDLE_MS     1000       /* after so long without a fault the alias lets go of its page tables */
#define WHOLE_NS    1000000000 /* so long a starved guest waits for a huge frame, then for a page */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* False: the thread shall end. */
static bool wait_for(struct overcommit *o, bool faults, int timeout_ms, bool *ready)
{
	struct pollfd p[3] = {{.fd = o->stop, .events = POLLIN},
			      {.fd = o->fd, .events = POLLIN},
			      {.fd = o->ask, .events = POLLIN}};
	int rc = poll(p, faults ? 3 : 1, timeout_ms);

	*ready = rc > 0 && faults && p[1].revents;
	return !p[0].revents;
}

/* ---- starving ------------------------------------------------------------------------------------------- */

static const char *reason_of(int why)
{
	return why == -EDQUOT ? "budget" : "host";
}

static void tell(struct mb_space *space, bool starved, int why)
{
	struct overcommit *o = space->over;

	pthread_mutex_lock(&o->lock);
	if (starved) {
		o->starved_since_ns = now_ns();
		o->stats.starved_count++;
		o->everyone = false;
		o->reason = reason_of(why);
	} else {
		o->stats.starved_ns += now_ns() - o->starved_since_ns;
		(void)overcommit_refill(space); /* what is not there now is asked for when it is needed */
	}
	atomic_store_explicit(&o->starved, starved, memory_order_release);
	pthread_mutex_unlock(&o->lock);
	if (o->on_starved)
		o->on_starved(o->arg, starved);
}

/*
 * All owners of the pool wait: nobody is left who would give, so that each of them says so. Once, and not at the
 * first sight of it: whoever is being served waits a moment longer.
 */
static void look_around(struct mb_space *space, unsigned *rounds)
{
	struct overcommit *o = space->over;

	*rounds = budget_all_wait(space->pool) ? *rounds + 1 : 0;
	if (*rounds != ALL_ROUNDS)
		return;
	pthread_mutex_lock(&o->lock);
	o->everyone = true;
	pthread_mutex_unlock(&o->lock);
	if (o->on_starved)
		o->on_starved(o->arg, true);
}

static int try_to_provide(struct mb_space *space, uint64_t gpa, bool page_will_do)
{
	struct overcommit *o = space->over;
	int rc;

	pthread_mutex_lock(&o->lock);
	rc = gpa == RESERVE ? overcommit_refill(space) : overcommit_provide(space, gpa, page_will_do);
	pthread_mutex_unlock(&o->lock);
	return rc;
}

/* Who lacks what the budget has not stands in the queue; who lacks what the kernel has not holds up nobody. */
static void queue_for(struct mb_space *space, int why)
{
	if (why == -EDQUOT)
		space_queue_up(space, HUGE_BYTES);
	else
		space_leave_queue(space);
}

/* It is the other of the two that is lacking now. */
static void change_reason(struct mb_space *space, int why)
{
	struct overcommit *o = space->over;

	queue_for(space, why);
	pthread_mutex_lock(&o->lock);
	o->reason = reason_of(why);
	pthread_mutex_unlock(&o->lock);
}

/* The page at gpa, or RESERVE, sooner or later. False: the thread shall end. */
static bool provide(struct mb_space *space, uint64_t gpa)
{
	struct overcommit *o = space->over;
	unsigned rounds = 0;
	bool ignored;
	int rc = try_to_provide(space, gpa, true), why = rc;

	if (!rc)
		return true;
	queue_for(space, why);
	tell(space, true, why);
	do {
		/* Whatever comes back to the pool wakes us; what the kernel lacks does not. */
		if (!wait_for(o, false, rc == -EDQUOT ? 0 : RETRY_MS, &ignored)) {
			space_leave_queue(space);
			return false;
		}
		if (rc == -EDQUOT)
			space_sleep(space, RETRY_MS);
		look_around(space, &rounds);
		rc = try_to_provide(space, gpa, now_ns() - o->starved_since_ns > WHOLE_NS);
		if (rc && (rc == -EDQUOT) != (why == -EDQUOT))
			change_reason(space, why = rc);
	} while (rc);
	space_leave_queue(space);
	tell(space, false, 0);
	return true;
}

/* ---- faults --------------------------------------------------------------------------------------------- */

static void wake(struct mb_space *space, uint64_t gpa, uint64_t len)
{
	(void)uffd_wake(space->over->fd, space_at(space, gpa), len);
}

/* Frames after this one, while the guest runs on. */
static void provide_ahead(struct mb_space *space, uint64_t frame_gpa)
{
	struct overcommit *o = space->over;
	uint64_t gpa = frame_gpa + HUGE_BYTES;
	int rc = 0;

	for (unsigned n = 0; n < o->ahead && !rc && space_region(space, gpa, HUGE_BYTES); n++) {
		if (mb_space_budget_left(space) / AHEAD_SHARE < HUGE_BYTES)
			return;
		pthread_mutex_lock(&o->lock);
		rc = overcommit_provide_frame(space, gpa);
		if (!rc)
			o->stats.ahead += HUGE_BYTES;
		pthread_mutex_unlock(&o->lock);
		if (rc)
			break;
		wake(space, gpa, HUGE_BYTES);
		gpa += HUGE_BYTES;
		o->next = gpa;
	}
}

static bool serve(struct mb_space *space, uint64_t address)
{
	struct overcommit *o = space->over;
	uint64_t gpa = address - (uint64_t)(uintptr_t)space->window;
	uint64_t unit = o->unit > HUGE_BYTES ? o->unit : HUGE_BYTES, frame_gpa = gpa & ~(unit - 1);
	bool there;

	if (!space_region(space, gpa, 1))
		return true;
	there = overcommit_present(space, gpa);
	pthread_mutex_lock(&o->lock);
	o->stats.faults++;
	pthread_mutex_unlock(&o->lock);
	if (!there && !provide(space, gpa))
		return false;
	wake(space, frame_gpa, unit);
	if (there)
		return true;
	if (frame_gpa == o->next)
		o->ahead = o->ahead ? (o->ahead < AHEAD_MAX ? o->ahead * 2 : AHEAD_MAX) : 1;
	else
		o->ahead = 0;
	o->next = frame_gpa + unit;
	if (o->ahead && unit == HUGE_BYTES)
		provide_ahead(space, frame_gpa);
	return true;
}

/* What who runs the guest could not have at once. False: the thread shall end. */
static bool serve_asked(struct mb_space *space)
{
	struct overcommit *o = space->over;
	uint64_t count, wanted;
	bool refill;

	if (read(o->ask, &count, sizeof(count)) != (ssize_t)sizeof(count))
		return true;
	pthread_mutex_lock(&o->lock);
	wanted = o->wanted;
	refill = o->refill;
	o->wanted = 0;
	o->refill = false;
	pthread_mutex_unlock(&o->lock);
	o->idle = false;
	return (!wanted || provide(space, wanted - 1)) && (!refill || provide(space, RESERVE));
}

/* What is mapped twice counts twice in what tools say of this process. */
static void let_go(struct mb_space *space)
{
	for (unsigned i = 0; i < space->regions; i++) {
		(void)madvise(space->over->alias + space->region[i].gpa, space->region[i].size, MADV_DONTNEED);
		(void)madvise(space->over->small + space->region[i].gpa, space->region[i].size, MADV_DONTNEED);
	}
	space->over->idle = true;
}

static void *thread_main(void *arg)
{
	struct mb_space *space = arg;
	struct overcommit *o = space->over;
	uint64_t address[FAULTS_MAX];
	bool ready;

	pthread_setname_np(pthread_self(), "faults");
	while (wait_for(o, true, o->idle ? -1 : IDLE_MS, &ready)) {
		int n = ready ? uffd_read(o->fd, address, FAULTS_MAX) : 0;

		if (!serve_asked(space))
			return NULL;
		if (!ready && !o->idle)
			let_go(space);
		for (int i = 0; i < n; i++) {
			o->idle = false;
			if (!serve(space, address[i]))
				return NULL;
		}
	}
	return NULL;
}

int overcommit_start_thread(struct mb_space *space)
{
	struct overcommit *o = space->over;
	sigset_t all, old;
	int rc;

	o->next = UINT64_MAX;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&o->thread, NULL, thread_main, space);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	o->running = rc == 0;
	return rc;
}

void overcommit_stop_thread(struct overcommit *o)
{
	uint64_t one = 1;

	if (!o->running)
		return;
	(void)!write(o->stop, &one, sizeof(one));
	pthread_join(o->thread, NULL);
	o->running = false;
}

/* ---- for who runs the guest ----------------------------------------------------------------------------- */

bool mb_space_starved(const struct mb_space *space)
{
	return space->over && atomic_load_explicit(&space->over->starved, memory_order_acquire);
}

/* Nothing of the window can be touched before anybody is woken: so whoever is finds an error, and no memory. */
void mb_space_abandon(struct mb_space *space)
{
	struct overcommit *o = space->over;

	if (!o || atomic_exchange_explicit(&o->abandoned, true, memory_order_acq_rel))
		return;
	for (unsigned i = 0; i < space->regions; i++)
		(void)mprotect(space_at(space, space->region[i].gpa), space->region[i].size, PROT_NONE);
	overcommit_stop_thread(o);
	for (unsigned i = 0; i < space->regions; i++)
		wake(space, space->region[i].gpa, space->region[i].size);
}

bool mb_space_get_overcommit(struct mb_space *space, struct mb_overcommit_status *out)
{
	struct overcommit *o = space->over;

	memset(out, 0, sizeof(*out));
	if (!o)
		return false;
	pthread_mutex_lock(&o->lock);
	*out = o->stats;
	out->present = o->present;
	out->reserve = o->reserve;
	out->minimum = o->minimum;
	out->starved = atomic_load_explicit(&o->starved, memory_order_relaxed);
	if (out->starved) {
		out->missing = o->missing;
		out->reason = o->reason;
		out->everyone = o->everyone && budget_all_wait(space->pool);
		out->starved_ns += now_ns() - o->starved_since_ns;
	}
	pthread_mutex_unlock(&o->lock);
	return true;
}
