/* SPDX-License-Identifier: MIT */
/*
 * poolfile.c - pool files: what makes one, and attaching to it. (Making: pool_make.c; removing: pool_destroy.c)
 *
 * The header is written last and its checksum covers all of its page, so that a file which is not complete,
 * not ours, of another version or damaged in any byte of it is refused. What lies behind the header changes
 * all the time; whoever reads it bounds it.
 */
#include "poolfile.h"
#include "boot.h"
#include "error.h"
#include "owner.h"
#include "pool_open.h"
#include "records.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the header ---------------------------------------------------------------------------------------- */

/* Every claim of a header against what it must be; h is a private copy. */
static int check_header(const struct pool_header *h, const char *path, uint64_t file_bytes, struct records *r,
			struct mb_error *err)
{
	if (h->magic != POOL_MAGIC)
		return host_error(err, -EILSEQ, "%s is not a pool file: make one with `membackctl pool create`",
				  path);
	if (h->version != POOL_VERSION)
		return host_error(
		    err, -EPROTO,
		    "%s has version %u of the pool format, this program knows version %u: use the "
		    "programs that made it, or make it anew",
		    path, h->version, POOL_VERSION);
	if (h->checksum != pool_checksum(h, offsetof(struct pool_header, checksum)))
		return host_error(err, -EILSEQ,
				  "%s is damaged: its header's checksum is wrong; remove it and its memory "
				  "file, and make it anew",
				  path);
	if (h->header_bytes != sizeof(*h) || h->owners != OWNERS_MAX || h->backing > MB_BACKING_FILE ||
	    records_place(h->size, r) || h->vars_offset != r->vars || h->owners_offset != r->owners ||
	    h->ledger_offset != r->ledger || h->frames_offset != r->frames ||
	    h->frames_bytes != r->frames_bytes || h->total_bytes != r->total ||
	    !memchr(h->mem_path, '\0', sizeof(h->mem_path)))
		return host_error(err, -EILSEQ,
				  "%s is damaged: its header contradicts itself; remove it and make "
				  "it anew",
				  path);
	if (file_bytes != r->total)
		return host_error(
		    err, -EILSEQ,
		    "%s is damaged: it has %llu bytes instead of %llu; remove it and its memory file, and "
		    "make it anew",
		    path, (unsigned long long)file_bytes, (unsigned long long)r->total);
	return 0;
}

int poolfile_open(const char *path, int *fd_out, struct pool_header *h, struct records *r, struct mb_error *err)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK), rc;
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return host_error(err, -errno, "cannot open the pool %s: %s", path, strerror(errno));
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		close(fd);
		return host_error(err, -EILSEQ, "%s is not a pool file: it is no regular file", path);
	}
	n = pread(fd, h, sizeof(*h), 0);
	if (n != (ssize_t)sizeof(*h))
		rc = host_error(err, -EILSEQ, "%s is not a pool file: it is too short", path);
	else
		rc = check_header(h, path, (uint64_t)st.st_size, r, err);
	if (rc) {
		close(fd);
		return rc;
	}
	*fd_out = fd;
	return 0;
}

int poolfile_open_memory(struct mb_pool *pool, const struct pool_header *h, struct mb_error *err)
{
	struct stat st;
	int rc = backing_open_file(&pool->mem, (enum mb_backing)h->backing, h->mem_path, err);

	if (rc)
		return rc;
	if (fstat(pool->mem.fd, &st))
		return host_error(err, -errno, "cannot examine %s: %s", h->mem_path, strerror(errno));
	if (st.st_dev != h->mem_dev || st.st_ino != h->mem_ino)
		return host_error(
		    err, -ESTALE,
		    "%s is not the memory file that the pool was made with: destroy the pool and make "
		    "it anew",
		    h->mem_path);
	pool->mem_dev = h->mem_dev;
	pool->mem_ino = h->mem_ino;
	pool->mem_path = strdup(h->mem_path);
	return pool->mem_path ? 0 : host_error(err, -ENOMEM, "out of memory");
}

int poolfile_map(struct mb_pool *pool, int fd, const struct records *r, struct mb_error *err)
{
	void *p = mmap(NULL, r->total, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return host_error(err, -errno, "cannot map %s of pool records: %s", host_size(r->total).text,
				  strerror(errno));
	madvise(p, r->total, MADV_DONTFORK);
	pool->map = p;
	pool->map_bytes = r->total;
	records_bind(pool, r);
	return 0;
}

/* ---- attach -------------------------------------------------------------------------------------------- */

/* A memory file that was cut would be SIGBUS for whoever touches what is gone. */
static int check_memory(const struct mb_pool *pool, const struct pool_header *h, struct mb_error *err)
{
	struct stat st;

	if (fstat(pool->mem.fd, &st))
		return host_error(err, -errno, "cannot examine %s: %s", h->mem_path, strerror(errno));
	if ((uint64_t)st.st_size == h->size && pool->mem.granule == h->granule)
		return 0;
	return host_error(err, -EILSEQ,
			  "%s is damaged: it has %llu bytes instead of %llu; destroy the pool and make it anew",
			  h->mem_path, (unsigned long long)st.st_size, (unsigned long long)h->size);
}

static int attach_records(struct mb_pool *pool, const char *path, struct records *r, struct mb_error *err)
{
	struct pool_header h;
	int fd = -1, rc = poolfile_open(path, &fd, &h, r, err);

	if (rc)
		return rc;
	pool->shared = true;
	pool->size = h.size;
	rc = poolfile_map(pool, fd, r, err);
	close(fd); /* the mapping stays; locks are on the memory file */
	if (!rc)
		rc = poolfile_open_memory(pool, &h, err);
	if (!rc)
		rc = check_memory(pool, &h, err);
	return rc;
}

static int attach_frames(struct mb_pool *pool, const char *path, const struct records *r, struct mb_error *err)
{
	int rc = mb_frames_attach(pool->map + r->frames, r->frames_bytes, &pool->frames);

	if (rc)
		return host_error(err, rc,
				  "%s is damaged: its allocator's records are (%s); destroy it and make it "
				  "anew",
				  path, strerror(-rc));
	return 0;
}

/*
 * The allocator in the file must be of the pool's own shape, or frames would lie outside of the memory; and
 * its slots and hints must be in bounds, since it follows them. (A full validation wants the pool at rest.)
 */
static int check_frames(struct mb_pool *pool, const char *path, struct mb_error *err)
{
	struct mb_frames_config want = records_frames(pool->size), have;
	struct mb_flaw flaw = {.what = "it is of another shape"};

	mb_frames_get_config(pool->frames, &have);
	if (have.capacity != want.capacity || have.base_shift != want.base_shift || have.slots != want.slots ||
	    have.flags != want.flags || mb_frames_validate(pool->frames, MB_VALIDATE_CHEAP, &flaw))
		return host_error(err, -EILSEQ, "%s is damaged: its allocator: %s; destroy it and make it anew",
				  path, flaw.what ? flaw.what : "bad records");
	return 0;
}

/*
 * A pool of another boot, as it was left: all its owners are dead and are buried, and what the check says then
 * decides. What a crash of the machine left half written back is not worth keeping.
 */
static bool keep_pool(struct mb_pool *pool, const char *path, const struct records *r, struct mb_recovered *did)
{
	if (attach_frames(pool, path, r, NULL) || check_frames(pool, path, NULL) ||
	    owner_bury_dead(pool, did) || pool_check_locked(pool, NULL, NULL))
		return false;
	boot_mark(pool);
	pool->kept = true;
	return true;
}

static int attach_serial(struct mb_pool *pool, const char *path, const struct records *r,
			 struct mb_recovered *did, struct mb_error *err)
{
	int rc = owner_serial_lock(pool);

	if (rc)
		return host_error(err, rc, "cannot lock the pool: %s", strerror(-rc));
	if (pool->keep && !boot_is_ours(pool) && keep_pool(pool, path, r, did)) {
		owner_serial_unlock(pool);
		return 0;
	}
	rc = boot_check(pool, r, err);
	if (!rc)
		rc = attach_frames(pool, path, r, err);
	if (!rc)
		rc = check_frames(pool, path, err);
	if (!rc)
		/* What the dead left and cannot be taken back now costs its bytes, not the attaching. */
		(void)owner_bury_dead(pool, did);
	owner_serial_unlock(pool);
	return rc;
}

static int attach_pool(const char *path, bool keep, struct mb_pool **out, struct mb_recovered *did,
		       struct mb_error *err)
{
	struct mb_pool *pool = pool_new();
	struct records r;
	int rc;

	host_clear(err);
	if (!pool)
		return host_error(err, -ENOMEM, "out of memory");
	pool->keep = keep;
	rc = attach_records(pool, path, &r, err);
	if (!rc)
		rc = attach_serial(pool, path, &r, did, err);
	if (rc) {
		pool_free(pool);
		return rc;
	}
	if (did) {
		did->rebuilt = pool->rebuilt;
		did->kept = pool->kept;
	}
	*out = pool;
	return 0;
}

int mb_pool_attach(const char *path, struct mb_pool **out, struct mb_error *err)
{
	return attach_pool(path, false, out, NULL, err);
}

int mb_pool_attach_recovered(const char *path, struct mb_pool **out, struct mb_recovered *did,
			     struct mb_error *err)
{
	return attach_pool(path, false, out, did, err);
}

int mb_pool_attach_kept(const char *path, struct mb_pool **out, struct mb_recovered *did, struct mb_error *err)
{
	return attach_pool(path, true, out, did, err);
}
