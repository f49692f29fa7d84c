/* SPDX-License-Identifier: MIT */
/*
 * loop.h - the one event loop, on io_uring: sockets, signals, timers, queue notifications.
 *
 * Callbacks run on the loop's thread, one at a time, and must be short: longer work does a bounded slice
 * and defers the rest with loop_defer(), so that the control socket is answered all the while. Only
 * loop_post() and loop_stop() may be called from other threads.
 */
#ifndef VMM_CONTROL_LOOP_H
#define VMM_CONTROL_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
struct loop_source; /* a watched descriptor, a timer or a deferred call */

typedef void loop_fn(void *arg);
typedef void loop_fd_fn(void *arg, int fd, uint32_t events); /* events: POLLIN... */

/* 0 or a negative errno; loop_explain() puts it into words (io_uring may be forbidden, or missing). */
int loop_create(struct loop **out);
/* What an error of loop_create() means and what helps: one line of at most size bytes. */
void loop_explain(int code, char *text, size_t size);
void loop_destroy(struct loop *loop); /* frees the sources that are left, does not close descriptors */
/*
 * Runs until loop_stop(); returns at once if that was called since the last return. 0, or the negative
 * errno of a ring that cannot go on. May be called again.
 */
int loop_run(struct loop *loop);
/* Any thread. The turn that runs is finished first. */
void loop_stop(struct loop *loop);

/*
 * Watches fd (not owned; remove the source before closing it) level-triggered for events until removed.
 * POLLERR, POLLHUP and POLLNVAL are told whether asked for or not, so that whoever gets them must remove the
 * source, or be called for ever. events = 0 watches nothing at all, not even those. A descriptor without
 * poll (a file, /dev/null) is always ready.
 */
int loop_add_fd(struct loop *loop, int fd, uint32_t events, loop_fd_fn *fn, void *arg,
		struct loop_source **out);
int loop_set_events(struct loop_source *source, uint32_t events);
/* A timer, not armed. */
int loop_add_timer(struct loop *loop, loop_fn *fn, void *arg, struct loop_source **out);
/* Fires once in delay_ns (in place of what was armed before); 0 disarms. */
int loop_arm_timer(struct loop_source *source, uint64_t delay_ns);
/* A call to be deferred, not pending. */
int loop_add_deferred(struct loop *loop, loop_fn *fn, void *arg, struct loop_source **out);
/* Calls it once, in the next turn, after what is ready then. */
void loop_defer(struct loop_source *source);
/* Never called again after this returns, not even if it was ready; may be called from its own callback. */
void loop_remove(struct loop_source *source);

/* Calls fn(arg) on the loop's thread, soon; in order. Any thread. -EAGAIN: too many are waiting. */
int loop_post(struct loop *loop, loop_fn *fn, void *arg);

#endif
