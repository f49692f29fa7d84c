/* SPDX-License-Identifier: MIT */
/*
 * loop.c - the event loop: one io_uring, one-shot polls that are armed again after each callback.
 *
 * A one-shot poll that is armed anew looks at the descriptor first, which makes it level-triggered, and it
 * costs no system call of its own: it is submitted together with the next wait.
 *
 * A removed source leaves completions behind in the ring. So a poll's user_data is not a pointer but the
 * index of a slot and a tag that is new at each arming; a completion whose tag is not the slot's tag of now
 * is stale and is dropped. This holds as well within a batch of completions that is being delivered.
 *
 * A turn: wait; descriptors; timers that are due; what was deferred before this turn. Timers are kept here
 * rather than in the ring: there are few, the earliest bounds the wait, and none can go stale.
 */
#include "control/loop.h"

#include "control/post_queue.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define RING_ENTRIES 128
#define BATCH        64 /* completions delivered in one turn */
#define NO_SLOT      UINT32_MAX
#define TAG_CANCEL   UINT64_MAX /* user_data of cancellations, whose completions say nothing */
#define NS_PER_S     UINT64_C(1000000000)

enum source_kind { SOURCE_FD, SOURCE_TIMER, SOURCE_DEFERRED };

struct loop_source {
	struct loop *loop;
	struct loop_source *prev, *next; /* all sources of the loop */
	enum source_kind kind;
	loop_fn *fn;
	void *arg;
	/* SOURCE_FD */
	loop_fd_fn *fd_fn;
	int fd;
	uint32_t events;
	uint32_t slot;
	bool armed; /* a poll with the slot's tag is in the ring */
	/* SOURCE_TIMER */
	uint64_t deadline; /* CLOCK_MONOTONIC, ns; 0: not armed */
	/* SOURCE_DEFERRED: turn in which it is due; 0: not pending */
	uint64_t due_turn;
	struct loop_source *next_due;
};

struct slot {
	struct loop_source *source; /* NULL: free */
	uint32_t tag;               /* of the last arming */
	uint32_t next_free;
};

struct loop {
	struct io_uring ring;
	struct loop_source *sources;
	struct slot *slots;
	uint32_t slot_count, free_slot;
	struct loop_source *due_head, *due_tail; /* deferred, in order; due_turn never falls along it */
	uint64_t turn;
	int error; /* the ring failed in the middle of a turn: loop_run() returns it */
	/* From other threads: the flag and the queue; the eventfd wakes us. */
	int wake_fd;
	struct loop_source *wake;
	atomic_bool stop;
	struct post_queue *posts;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* ---- the ring --------------------------------------------------------------------------------------- */

/* A free submission entry; a full queue is submitted first. */
static struct io_uring_sqe *ring_entry(struct loop *loop)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->ring);
	int rc;

	if (sqe)
		return sqe;
	rc = io_uring_submit(&loop->ring);
	sqe = io_uring_get_sqe(&loop->ring);
	if (!sqe && !loop->error)
		loop->error = rc < 0 ? rc : -EBUSY;
	return sqe;
}

static uint64_t slot_user_data(const struct loop *loop, uint32_t slot)
{
	return (uint64_t)loop->slots[slot].tag << 32 | slot;
}

static int source_poll(struct loop_source *s)
{
	struct loop *loop = s->loop;
	struct io_uring_sqe *sqe;

	if (s->armed || !s->events)
		return 0;
	sqe = ring_entry(loop);
	if (!sqe)
		return loop->error;
	loop->slots[s->slot].tag++;
	io_uring_prep_poll_add(sqe, s->fd, s->events);
	io_uring_sqe_set_data64(sqe, slot_user_data(loop, s->slot));
	s->armed = true;
	return 0;
}

/* Whatever the poll in the ring still says is stale from here on. */
static int source_unpoll(struct loop_source *s)
{
	struct loop *loop = s->loop;
	uint64_t user_data = slot_user_data(loop, s->slot);
	struct io_uring_sqe *sqe;

	if (!s->armed)
		return 0;
	s->armed = false;
	loop->slots[s->slot].tag++;
	sqe = ring_entry(loop);
	if (!sqe)
		return loop->error;
	io_uring_prep_cancel64(sqe, user_data, 0);
	io_uring_sqe_set_data64(sqe, TAG_CANCEL);
	return 0;
}

/* ---- slots ------------------------------------------------------------------------------------------ */

static int slots_grow(struct loop *loop)
{
	uint32_t count = loop->slot_count ? 2 * loop->slot_count : 16;
	struct slot *slots = reallocarray(loop->slots, count, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (uint32_t i = loop->slot_count; i < count; i++)
		slots[i] = (struct slot){.next_free = i + 1 < count ? i + 1 : NO_SLOT};
	loop->free_slot = loop->slot_count;
	loop->slots = slots;
	loop->slot_count = count;
	return 0;
}

static int slot_take(struct loop_source *s)
{
	struct loop *loop = s->loop;
	int rc;

	if (loop->free_slot == NO_SLOT) {
		rc = slots_grow(loop);
		if (rc)
			return rc;
	}
	s->slot = loop->free_slot;
	loop->free_slot = loop->slots[s->slot].next_free;
	loop->slots[s->slot].source = s;
	return 0;
}

/* The tag stays, so that the slot's next source starts where this one ended. */
static void slot_drop(struct loop_source *s)
{
	struct slot *slot = &s->loop->slots[s->slot];

	slot->source = NULL;
	slot->tag++;
	slot->next_free = s->loop->free_slot;
	s->loop->free_slot = s->slot;
}

/* ---- sources ---------------------------------------------------------------------------------------- */

static struct loop_source *source_new(struct loop *loop, enum source_kind kind, loop_fn *fn, void *arg)
{
	struct loop_source *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->loop = loop;
	s->kind = kind;
	s->fn = fn;
	s->arg = arg;
	s->slot = NO_SLOT;
	s->next = loop->sources;
	if (s->next)
		s->next->prev = s;
	loop->sources = s;
	return s;
}

static void source_free(struct loop_source *s)
{
	if (s->prev)
		s->prev->next = s->next;
	else
		s->loop->sources = s->next;
	if (s->next)
		s->next->prev = s->prev;
	free(s);
}

int loop_add_fd(struct loop *loop, int fd, uint32_t events, loop_fd_fn *fn, void *arg, struct loop_source **out)
{
	struct loop_source *s;
	int rc;

	if (fd < 0)
		return -EBADF;
	s = source_new(loop, SOURCE_FD, NULL, arg);
	if (!s)
		return -ENOMEM;
	s->fd_fn = fn;
	s->fd = fd;
	s->events = events;
	rc = slot_take(s);
	if (rc) {
		source_free(s);
		return rc;
	}
	rc = source_poll(s);
	if (rc) {
		slot_drop(s);
		source_free(s);
		return rc;
	}
	*out = s;
	return 0;
}

int loop_set_events(struct loop_source *source, uint32_t events)
{
	int rc;

	if (source->events == events)
		return 0;
	rc = source_unpoll(source);
	if (rc)
		return rc;
	source->events = events;
	return source_poll(source);
}

int loop_add_timer(struct loop *loop, loop_fn *fn, void *arg, struct loop_source **out)
{
	*out = source_new(loop, SOURCE_TIMER, fn, arg);
	return *out ? 0 : -ENOMEM;
}

int loop_arm_timer(struct loop_source *source, uint64_t delay_ns)
{
	uint64_t now = now_ns();

	if (!delay_ns)
		source->deadline = 0;
	else
		source->deadline = delay_ns < UINT64_MAX - now ? now + delay_ns : UINT64_MAX;
	return 0;
}

int loop_add_deferred(struct loop *loop, loop_fn *fn, void *arg, struct loop_source **out)
{
	*out = source_new(loop, SOURCE_DEFERRED, fn, arg);
	return *out ? 0 : -ENOMEM;
}

void loop_defer(struct loop_source *source)
{
	struct loop *loop = source->loop;

	if (source->due_turn)
		return;
	source->due_turn = loop->turn + 1;
	source->next_due = NULL;
	if (loop->due_tail)
		loop->due_tail->next_due = source;
	else
		loop->due_head = source;
	loop->due_tail = source;
}

static void due_unlink(struct loop_source *s)
{
	struct loop *loop = s->loop;
	struct loop_source *before = NULL;

	if (!s->due_turn)
		return;
	s->due_turn = 0;
	if (loop->due_head != s)
		for (before = loop->due_head; before->next_due != s;)
			before = before->next_due;
	if (before)
		before->next_due = s->next_due;
	else
		loop->due_head = s->next_due;
	if (loop->due_tail == s)
		loop->due_tail = before;
}

void loop_remove(struct loop_source *source)
{
	struct loop *loop = source->loop;

	if (source->kind == SOURCE_FD) {
		/* Submitted at once: a poll in the ring holds the open file, and the caller is about to close
		 * it. */
		if (source->armed && !source_unpoll(source))
			io_uring_submit(&loop->ring);
		slot_drop(source);
	} else if (source->kind == SOURCE_DEFERRED) {
		due_unlink(source);
	}
	source_free(source);
}

/* ---- a turn ----------------------------------------------------------------------------------------- */

/* The source that this completion is for, or NULL if it is stale. */
static struct loop_source *source_of(const struct loop *loop, uint64_t user_data)
{
	uint32_t slot = (uint32_t)user_data;

	if (slot >= loop->slot_count || loop->slots[slot].tag != user_data >> 32)
		return NULL;
	return loop->slots[slot].source;
}

static uint32_t events_of(int res)
{
	if (res >= 0)
		return (uint32_t)res;
	return res == -EBADF ? POLLNVAL : POLLERR;
}

static void deliver(struct loop *loop, uint64_t user_data, int res)
{
	struct loop_source *s = source_of(loop, user_data);

	if (!s || !s->armed)
		return;
	s->armed = false;
	if (res != -ECANCELED)
		s->fd_fn(s->arg, s->fd, events_of(res));
	/* The callback may have removed it, or armed it anew with other events: then the tag has moved on. */
	s = source_of(loop, user_data);
	if (s)
		source_poll(s);
}

static void run_descriptors(struct loop *loop)
{
	struct io_uring_cqe *cqes[BATCH];
	struct {
		uint64_t user_data;
		int res;
	} ready[BATCH];
	unsigned count = io_uring_peek_batch_cqe(&loop->ring, cqes, BATCH);

	for (unsigned i = 0; i < count; i++) {
		ready[i].user_data = cqes[i]->user_data;
		ready[i].res = cqes[i]->res;
	}
	io_uring_cq_advance(&loop->ring, count);
	for (unsigned i = 0; i < count; i++)
		if (ready[i].user_data != TAG_CANCEL)
			deliver(loop, ready[i].user_data, ready[i].res);
}

static struct loop_source *earliest_timer(const struct loop *loop)
{
	struct loop_source *first = NULL;

	for (struct loop_source *s = loop->sources; s; s = s->next)
		if (s->kind == SOURCE_TIMER && s->deadline && (!first || s->deadline < first->deadline))
			first = s;
	return first;
}

/* What a callback arms lies after now, so this ends. */
static void run_timers(struct loop *loop)
{
	uint64_t now = now_ns();
	struct loop_source *s;

	while ((s = earliest_timer(loop)) && s->deadline <= now) {
		s->deadline = 0;
		s->fn(s->arg);
	}
}

/* What a callback defers is due in the next turn, so this ends. */
static void run_deferred(struct loop *loop)
{
	struct loop_source *s;

	while ((s = loop->due_head) && s->due_turn <= loop->turn) {
		due_unlink(s);
		s->fn(s->arg);
	}
}

/* Submits what is queued, and waits until something may be ready. */
static int turn_wait(struct loop *loop)
{
	struct loop_source *timer = earliest_timer(loop);
	struct __kernel_timespec ts = {0, 0};
	struct io_uring_cqe *cqe;
	uint64_t now, delay;
	int rc;

	if (loop->due_head || atomic_load_explicit(&loop->stop, memory_order_relaxed)) {
		rc = io_uring_submit_and_get_events(&loop->ring);
	} else if (timer) {
		now = now_ns();
		delay = timer->deadline > now ? timer->deadline - now : 0;
		ts.tv_sec = (int64_t)(delay / NS_PER_S);
		ts.tv_nsec = (int64_t)(delay % NS_PER_S);
		rc = io_uring_submit_and_wait_timeout(&loop->ring, &cqe, 1, &ts, NULL);
	} else {
		rc = io_uring_submit_and_wait(&loop->ring, 1);
	}
	/* Time is up; a signal; completions to be reaped before more fits: all of them lead on. */
	if (rc >= 0 || rc == -ETIME || rc == -EINTR || rc == -EAGAIN || rc == -EBUSY)
		return 0;
	return rc;
}

int loop_run(struct loop *loop)
{
	/* Acquire pairs with the release in loop_stop(): what its caller wrote before is seen after the run. */
	while (!atomic_exchange_explicit(&loop->stop, false, memory_order_acquire)) {
		int rc = turn_wait(loop);

		if (rc)
			return rc;
		loop->turn++;
		run_descriptors(loop);
		run_timers(loop);
		run_deferred(loop);
		if (loop->error)
			return loop->error;
	}
	return 0;
}

/* ---- other threads ---------------------------------------------------------------------------------- */

/* A full counter (EAGAIN) means that a wake-up is pending anyway. */
static void loop_wake(struct loop *loop)
{
	uint64_t one = 1;
	ssize_t n;

	do {
		n = write(loop->wake_fd, &one, sizeof(one));
	} while (n < 0 && errno == EINTR);
}

void loop_stop(struct loop *loop)
{
	atomic_store_explicit(&loop->stop, true, memory_order_release);
	loop_wake(loop);
}

int loop_post(struct loop *loop, loop_fn *fn, void *arg)
{
	if (!post_queue_put(loop->posts, fn, arg))
		return -EAGAIN;
	loop_wake(loop);
	return 0;
}

/*
 * The counter is cleared before the calls are taken, so that a post in between wakes us once more. Calls
 * that are posted by the calls themselves wait for the next turn, by the bound.
 */
static void run_posts(void *arg, int fd, uint32_t events)
{
	struct loop *loop = arg;
	struct post post;
	unsigned bound;
	uint64_t value;

	(void)events;
	if (read(fd, &value, sizeof(value)) < 0 && errno != EAGAIN && errno != EINTR) {
		loop->error = -errno;
		return;
	}
	bound = post_queue_count(loop->posts);
	while (bound-- && post_queue_take(loop->posts, &post))
		post.fn(post.arg);
}

/* ---- life ------------------------------------------------------------------------------------------- */

static int ring_create(struct loop *loop)
{
	struct io_uring_params params;
	int rc;

	memset(&params, 0, sizeof(params));
	rc = io_uring_queue_init_params(RING_ENTRIES, &loop->ring, &params);
	if (rc)
		return rc;
	/* Waits with a time limit, and completions that are never dropped: since Linux 5.11. */
	if (!(params.features & IORING_FEAT_EXT_ARG) || !(params.features & IORING_FEAT_NODROP)) {
		io_uring_queue_exit(&loop->ring);
		return -ENOSYS;
	}
	return 0;
}

int loop_create(struct loop **out)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int rc;

	if (!loop)
		return -ENOMEM;
	loop->free_slot = NO_SLOT;
	atomic_init(&loop->stop, false);
	rc = ring_create(loop);
	if (rc)
		goto fail;
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wake_fd < 0) {
		rc = -errno;
		goto fail_ring;
	}
	loop->posts = post_queue_create();
	rc = loop->posts ? loop_add_fd(loop, loop->wake_fd, POLLIN, run_posts, loop, &loop->wake) : -ENOMEM;
	if (rc)
		goto fail_wake;
	*out = loop;
	return 0;

fail_wake:
	close(loop->wake_fd);
fail_ring:
	io_uring_queue_exit(&loop->ring);
fail:
	post_queue_destroy(loop->posts);
	free(loop->slots);
	free(loop);
	return rc;
}

void loop_destroy(struct loop *loop)
{
	if (!loop)
		return;
	while (loop->sources)
		source_free(loop->sources);
	io_uring_queue_exit(&loop->ring);
	close(loop->wake_fd);
	post_queue_destroy(loop->posts);
	free(loop->slots);
	free(loop);
}
