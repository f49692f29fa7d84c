/* SPDX-License-Identifier: MIT */
/*
 * starve.c - see starve.h. What was heard last is kept, and what the loop knows, so that nothing is lost nor
 * told twice, however late the loop comes to look. A descriptor wakes it: unlike a posted call it cannot be
 * refused.
 */
#include "starve.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct starve {
	int fd;
	struct loop_source *source;
	starve_fn *fn;
	void *arg;
	_Atomic bool heard; /* what is */
	_Atomic bool told;  /* what fn knows */
	_Atomic bool again; /* heard a second time that there is none: all others wait, too */
	uint64_t since_ns;  /* loop thread */
};

static uint64_t now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void tell(struct starve *s, bool starved)
{
	uint64_t now = now_ns();
	atomic_store(&s->told, starved);
	s->fn(s->arg, starved, starved ? 0 : now - s->since_ns);
	s->since_ns = now;
}

static void on_event(void *arg, int fd, uint32_t events)
{
	struct starve *s = arg;
	uint64_t count;
	(void)events;
	if (read(fd, &count, sizeof(count)) != (ssize_t)sizeof(count))
		return;
	bool heard = atomic_load(&s->heard);
	/* it came and went before we looked: that is told too; one that we saw early wakes us once more */
	if (heard == atomic_load(&s->told) && count > 1)
		tell(s, !heard);
	if (heard != atomic_load(&s->told))
		tell(s, heard);
	if (atomic_exchange(&s->again, false) && heard)
		s->fn(s->arg, true, 0);
}

int starve_create(struct loop *loop, starve_fn *fn, void *arg, struct starve **out)
{
	struct starve *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	s->fn = fn;
	s->arg = arg;
	s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int rc = s->fd < 0 ? -errno : loop_add_fd(loop, s->fd, POLLIN, on_event, s, &s->source);
	if (rc != 0) {
		if (s->fd >= 0)
			close(s->fd);
		free(s);
		return rc;
	}
	*out = s;
	return 0;
}

void starve_destroy(struct starve *s)
{
	if (s == NULL)
		return;
	loop_remove(s->source);
	close(s->fd);
	free(s);
}

bool starve_now(const struct starve *s)
{
	return atomic_load(&s->told);
}

void starve_heard(void *arg, bool starved)
{
	struct starve *s = arg;
	uint64_t one = 1;
	if (atomic_exchange(&s->heard, starved) && starved)
		atomic_store(&s->again, true);
	(void)!write(s->fd, &one, sizeof(one));
}
