/* SPDX-License-Identifier: MIT */
/*
 * pool_destroy.c - pool files are removed: the memory first, then the records. Who is killed or refused between the
 * two leaves a pool without memory, which nobody can attach to and which can be removed again.
 */
#include "error.h"
#include "owner.h"
#include "pool_open.h"
#include "poolfile.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static int refuse_if_alive(const struct mb_pool *pool, const char *path, struct mb_error *err)
{
	for (uint32_t i = 0; i < OWNERS_MAX; i++)
		if (owner_lives(pool, i))
			return host_error(
			    err, -EBUSY, "%s is in use by '%.63s' (pid %lld): end it first", path,
			    pool->owners[i].name,
			    (long long)atomic_load_explicit(&pool->owners[i].pid, memory_order_relaxed));
	return 0;
}

/*
 * Under the serial lock. Nothing is marked before the memory's name is gone: as long as that can be refused, the pool
 * is as good as ever. Between the two, somebody who is attached may still make a space, of memory without a name: it
 * lives as long as he does.
 */
static int remove_both(struct mb_pool *pool, const char *path, struct mb_error *err)
{
	int rc = refuse_if_alive(pool, path, err);

	if (rc)
		return rc;
	if (unlink(pool->mem_path))
		return host_error(err, -errno, "cannot remove %s: %s; the pool is as it was", pool->mem_path,
				  strerror(errno));
	atomic_store_explicit(&pool->vars->destroyed, 1, memory_order_relaxed);
	if (unlink(path))
		return host_error(err, -errno,
				  "the memory is gone, but %s cannot be removed: %s; whoever owns it must",
				  path, strerror(errno));
	return 0;
}

/* With the memory file in place, only who holds the serial lock may; without it, nobody can live there. */
static int destroy_opened(struct mb_pool *pool, const char *path, const struct pool_header *h,
			  struct mb_error *err)
{
	int rc = poolfile_open_memory(pool, h, err);

	if (rc == -ENOENT || rc == -ESTALE)
		return unlink(path) ? host_error(err, -errno, "cannot remove %s: %s", path, strerror(errno))
				    : 0;
	if (rc)
		return rc;
	rc = owner_serial_lock(pool);
	if (rc)
		return host_error(err, rc, "cannot lock the pool: %s", strerror(-rc));
	rc = remove_both(pool, path, err);
	owner_serial_unlock(pool);
	return rc;
}

/* A pool whose allocator is damaged must still be removable: only header and locks are needed. */
int mb_pool_destroy(const char *path, struct mb_error *err)
{
	struct mb_pool *pool = pool_new();
	struct pool_header h;
	struct records r;
	int fd = -1, rc;

	host_clear(err);
	if (!pool)
		return host_error(err, -ENOMEM, "out of memory");
	rc = poolfile_open(path, &fd, &h, &r, err);
	if (!rc) {
		pool->shared = true;
		pool->size = h.size;
		rc = poolfile_map(pool, fd, &r, err);
		close(fd);
	}
	if (!rc)
		rc = destroy_opened(pool, path, &h, err);
	if (!rc)
		host_clear(err);
	pool_free(pool);
	return rc;
}
