/* SPDX-License-Identifier: MIT */
/* owner.c - the owners' table; see owner.h. */
#include "owner.h"
#include "charge.h"
#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef F_OFD_GETLK
#define F_OFD_GETLK  36
#define F_OFD_SETLK  37
#define F_OFD_SETLKW 38
#endif

static int lock_byte(int fd, int cmd, short type, uint64_t byte)
{
	struct flock fl = {.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
	int rc;

	do {
		rc = fcntl(fd, cmd, &fl);
	} while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return -errno;
	return cmd == F_OFD_GETLK && fl.l_type != F_UNLCK;
}

int owner_serial_lock(struct mb_pool *pool)
{
	int rc = 0;

	pthread_mutex_lock(&pool->lock);
	if (pool->shared)
		rc = lock_byte(pool->mem.fd, F_OFD_SETLKW, F_WRLCK, OWNER_SERIAL_BYTE);
	if (rc)
		pthread_mutex_unlock(&pool->lock);
	return rc;
}

int owner_serial_trylock(struct mb_pool *pool)
{
	int rc = pthread_mutex_trylock(&pool->lock);

	if (rc)
		return -rc;
	if (pool->shared)
		rc = lock_byte(pool->mem.fd, F_OFD_SETLK, F_WRLCK, OWNER_SERIAL_BYTE);
	if (rc)
		pthread_mutex_unlock(&pool->lock);
	return rc;
}

void owner_serial_unlock(struct mb_pool *pool)
{
	if (pool->shared)
		(void)lock_byte(pool->mem.fd, F_OFD_SETLK, F_UNLCK, OWNER_SERIAL_BYTE);
	pthread_mutex_unlock(&pool->lock);
}

uint32_t owner_id(uint32_t index, uint32_t generation)
{
	return generation << 8 | index;
}

bool owner_lives(const struct mb_pool *pool, uint32_t index)
{
	if (atomic_load_explicit(&pool->owners[index].state, memory_order_acquire) == OWNER_FREE)
		return false;
	/* An answer that is no answer counts as life: nobody is buried on a guess. */
	return !pool->shared || lock_byte(pool->mem.fd, F_OFD_GETLK, F_WRLCK, index) != 0;
}

static int claim_entry(struct mb_space *space, uint32_t index, const char *name)
{
	struct owner_entry *e = &space->pool->owners[index];
	uint32_t generation = atomic_load_explicit(&e->generation, memory_order_relaxed);

	/* An entry whose generations are used up is never used again: ids stay unique. */
	if (atomic_load_explicit(&e->state, memory_order_acquire) != OWNER_FREE ||
	    generation >= LEDGER_GENERATION_MAX)
		return -EBUSY;
	/* Its last owner may have freed the entry and not yet closed its descriptor. */
	if (space->pool->shared && lock_byte(space->mem.fd, F_OFD_SETLK, F_WRLCK, index))
		return -EBUSY;
	space->owner = index;
	space->generation = generation + 1;
	space->entry = e;
	space->has_entry = true;
	memset(e->name, 0, sizeof(e->name));
	memcpy(e->name, name, strlen(name));
	atomic_store_explicit(&e->generation, generation + 1, memory_order_relaxed);
	atomic_store(&e->charging, 0);
	atomic_store(&space->pool->vars->wait[index].ticket, 0);
	atomic_store_explicit(&e->slot, 0, memory_order_relaxed);
	atomic_store_explicit(&e->prealloc, space->prealloc, memory_order_relaxed);
	atomic_store_explicit(&e->pid, getpid(), memory_order_relaxed);
	atomic_store_explicit(&e->maximum, space->maximum, memory_order_relaxed);
	atomic_store_explicit(&e->extents, 0, memory_order_relaxed);
	space_publish(space);
	/* Release: whoever sees the entry in use sees its name and zeroed totals. */
	atomic_store_explicit(&e->state, OWNER_MAKING, memory_order_release);
	return 0;
}

int owner_claim(struct mb_space *space, const char *name, struct mb_error *err)
{
	struct mb_pool *pool = space->pool;

	for (uint32_t i = 0; i < OWNERS_MAX; i++)
		if (owner_lives(pool, i) && !strncmp(pool->owners[i].name, name, OWNER_NAME_MAX))
			return host_error(
			    err, -EEXIST,
			    "the pool has a live owner named '%s' (pid %lld): end it, or choose "
			    "another name",
			    name, (long long)atomic_load_explicit(&pool->owners[i].pid, memory_order_relaxed));
	for (uint32_t i = 0; i < OWNERS_MAX; i++)
		if (!claim_entry(space, i, name))
			return 0;
	return host_error(err, -EUSERS, "the pool's table of owners is full (%u): end one of them", OWNERS_MAX);
}

void owner_release(struct mb_space *space)
{
	space_leave_queue(space);
	atomic_store_explicit(&space->entry->state, OWNER_FREE, memory_order_release);
	space->has_entry = false;
}

/* Two words that change apart: shown, not relied on. */
static void owner_waits(const struct mb_pool *pool, uint32_t index, struct mb_owner_status *out)
{
	const struct budget_waiter *w = &pool->vars->wait[index];
	struct timespec ts;
	uint64_t now, since = atomic_load_explicit(&w->since_ns, memory_order_relaxed);

	if (!atomic_load_explicit(&w->ticket, memory_order_relaxed))
		return;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
	out->waiting = atomic_load_explicit(&w->bytes, memory_order_relaxed);
	out->waiting_ns = now > since ? now - since : 0;
}

int mb_pool_walk_owners(struct mb_pool *pool, mb_owner_fn *fn, void *arg)
{
	for (uint32_t i = 0; i < OWNERS_MAX; i++) {
		const struct owner_entry *e = &pool->owners[i];
		struct mb_owner_status s = {0};
		int rc;

		if (atomic_load_explicit(&e->state, memory_order_acquire) == OWNER_FREE)
			continue;
		memcpy(s.name, e->name, sizeof(s.name));
		s.name[sizeof(s.name) - 1] = '\0';
		s.id = owner_id(i, atomic_load_explicit(&e->generation, memory_order_relaxed));
		s.pid = atomic_load_explicit(&e->pid, memory_order_relaxed);
		s.live = owner_lives(pool, i);
		s.maximum = atomic_load_explicit(&e->maximum, memory_order_relaxed);
		s.actual = atomic_load_explicit(&e->charged, memory_order_relaxed);
		s.inflated = atomic_load_explicit(&e->inflated, memory_order_relaxed);
		s.pending = atomic_load_explicit(&e->pending, memory_order_relaxed);
		owner_waits(pool, i, &s);
		rc = fn(arg, &s);
		if (rc)
			return rc;
	}
	return 0;
}
