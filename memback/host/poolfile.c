/* SPDX-License-Identifier: MIT */
/*
 * poolfile.c - pool files: made, attached, destroyed.
 *
 * The header is written last and its checksum covers all of its page, so that a file which is not complete,
 * not ours, of another version or damaged in any byte of it is refused. What lies behind the header changes
 * all the time; whoever reads it bounds it.
 */
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

static int fill_header(struct pool_header *h, const struct mb_pool *pool, const struct records *r)
{
	struct stat st;

	memset(h, 0, sizeof(*h));
	if (fstat(pool->mem.fd, &st))
		return -errno;
	h->magic = POOL_MAGIC;
	h->version = POOL_VERSION;
	h->header_bytes = sizeof(*h);
	h->backing = (uint32_t)pool->mem.kind;
	h->owners = OWNERS_MAX;
	h->size = pool->size;
	h->granule = pool->mem.granule;
	h->vars_offset = r->vars;
	h->owners_offset = r->owners;
	h->ledger_offset = r->ledger;
	h->frames_offset = r->frames;
	h->frames_bytes = r->frames_bytes;
	h->total_bytes = r->total;
	h->mem_dev = st.st_dev;
	h->mem_ino = st.st_ino;
	if (strlen(pool->mem_path) >= sizeof(h->mem_path))
		return -ENAMETOOLONG;
	memcpy(h->mem_path, pool->mem_path, strlen(pool->mem_path));
	h->checksum = pool_checksum(h, offsetof(struct pool_header, checksum));
	return 0;
}

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
		return host_error(err, -EILSEQ, "%s is damaged: it has %llu bytes instead of %llu", path,
				  (unsigned long long)file_bytes, (unsigned long long)r->total);
	return 0;
}

/* Opens a pool file and returns a checked copy of its header. */
static int open_header(const char *path, int *fd_out, struct pool_header *h, struct records *r,
		       struct mb_error *err)
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

/* Opens the memory file that a header names, and makes sure that it is the very one. */
static int open_memory(struct mb_pool *pool, const struct pool_header *h, struct mb_error *err)
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
	if ((uint64_t)st.st_size != h->size || pool->mem.granule != h->granule)
		return host_error(err, -EILSEQ, "%s is damaged: it has %llu bytes instead of %llu", h->mem_path,
				  (unsigned long long)st.st_size, (unsigned long long)h->size);
	pool->mem_dev = h->mem_dev;
	pool->mem_ino = h->mem_ino;
	pool->mem_path = strdup(h->mem_path);
	return pool->mem_path ? 0 : host_error(err, -ENOMEM, "out of memory");
}

static int map_records(struct mb_pool *pool, int fd, const struct records *r, struct mb_error *err)
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

/* ---- create -------------------------------------------------------------------------------------------- */

/* Where the memory goes: given, or beside the pool file; absolute, since processes have other directories. */
static char *memory_path(const char *path, const struct mb_pool_config *config)
{
	char *joined = NULL, *dir = NULL, *out = NULL;
	const char *base;

	if (config->memory_path)
		joined = strdup(config->memory_path);
	else if (asprintf(&joined, "%s.mem", path) < 0)
		joined = NULL;
	if (!joined)
		return NULL;
	base = strrchr(joined, '/');
	if (base && base != joined) {
		char *cut = strndup(joined, (size_t)(base - joined));

		dir = cut ? realpath(cut, NULL) : NULL;
		free(cut);
	} else {
		dir = realpath(base ? "/" : ".", NULL);
	}
	if (dir && asprintf(&out, "%s/%s", strcmp(dir, "/") ? dir : "", base ? base + 1 : joined) < 0)
		out = NULL;
	free(dir);
	free(joined);
	return out;
}

/* All blocks of the file are allocated now, so that no store to the records can fail later. */
static int size_records(int fd, const char *path, const struct records *r, struct mb_error *err)
{
	int rc;

	do {
		rc = fallocate(fd, 0, 0, (off_t)r->total);
	} while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return host_error(err, -errno, "cannot allocate %s for %s: %s", host_size(r->total).text, path,
				  strerror(errno));
	return 0;
}

static int write_header(struct mb_pool *pool, int fd, const struct records *r, struct mb_error *err)
{
	struct pool_header h;
	int rc = fill_header(&h, pool, r);

	if (!rc && pwrite(fd, &h, sizeof(h), 0) != (ssize_t)sizeof(h))
		rc = -EIO;
	return rc ? host_error(err, rc, "cannot write the pool's header: %s", strerror(-rc)) : 0;
}

/* Fills the new, empty pool file. */
static int build_file(struct mb_pool *pool, int fd, const char *path, uint64_t online, uint64_t budget,
		      struct mb_error *err)
{
	struct records r;
	int rc = records_place(pool->size, &r);

	if (rc)
		return host_error(err, rc, "no allocator can be made for %s", host_size(pool->size).text);
	rc = size_records(fd, path, &r, err);
	if (!rc)
		rc = map_records(pool, fd, &r, err);
	if (!rc) {
		atomic_store_explicit(&pool->vars->online, online, memory_order_relaxed);
		rc = pool_start(pool, &r, budget, err);
		boot_mark(pool);
	}
	if (!rc)
		rc = write_header(pool, fd, &r, err);
	return rc;
}

/* Exactly these, whatever the umask of whoever makes the pool: another user's VMs shall be able to open it. */
static int set_access(int fd, const char *path, const struct mb_pool_config *config, unsigned mode,
		      struct mb_error *err)
{
	if (config->has_group && fchown(fd, (uid_t)-1, (gid_t)config->group))
		return host_error(err, -errno, "cannot give %s to group %u: %s; be in that group, or root",
				  path, config->group, strerror(errno));
	if (fchmod(fd, (mode_t)mode))
		return host_error(err, -errno, "cannot set the permissions of %s: %s", path, strerror(errno));
	return 0;
}

static int create_both(struct mb_pool *pool, const char *path, const struct mb_pool_config *config,
		       uint64_t budget, struct mb_error *warning, struct mb_error *err)
{
	unsigned mode = config->mode ? config->mode : 0600;
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, (mode_t)mode), rc;

	if (fd < 0)
		return host_error(err, -errno, "cannot make the pool %s: %s", path, strerror(errno));
	rc = backing_create_file(&pool->mem, config->backing, pool->mem_path, pool->size, mode, warning, err);
	if (!rc) {
		rc = backing_check_room(&pool->mem, budget, err);
		backing_warn_memory(&pool->mem, budget, warning);
		if (!rc)
			rc = set_access(pool->mem.fd, pool->mem_path, config, mode, err);
		if (!rc)
			rc = set_access(fd, path, config, mode, err);
		if (!rc)
			rc = build_file(pool, fd, path, config->size, budget, err);
		if (rc)
			unlink(pool->mem_path);
	}
	if (rc)
		unlink(path);
	close(fd);
	return rc;
}

int mb_pool_create_file(const char *path, const struct mb_pool_config *config, struct mb_error *warning,
			struct mb_error *err)
{
	struct mb_pool *pool;
	uint64_t budget;
	int rc;

	host_clear(warning);
	host_clear(err);
	rc = records_check_config(config, &budget, err);
	if (rc)
		return rc;
	if (config->backing == MB_BACKING_ANON || config->backing == MB_BACKING_MEMFD)
		return host_error(
		    err, -EINVAL,
		    "a pool file cannot have backing %s, which no other process can open: use file, "
		    "hugetlb=2M or hugetlb=1G",
		    mb_backing_name(config->backing));
	pool = pool_new();
	if (!pool)
		return host_error(err, -ENOMEM, "out of memory");
	pool->size = config->maximum ? config->maximum : config->size;
	pool->shared = true;
	pool->mem_path = memory_path(path, config);
	if (!pool->mem_path || strlen(pool->mem_path) >= POOL_PATH_MAX)
		rc = host_error(err, -ENOENT,
				"the directory of the memory file is not there, or its path is too "
				"long: %s",
				config->memory_path ? config->memory_path : path);
	else
		rc = create_both(pool, path, config, budget, warning, err);
	pool_free(pool);
	return rc;
}

/* ---- attach -------------------------------------------------------------------------------------------- */

static int attach_records(struct mb_pool *pool, const char *path, struct records *r, struct mb_error *err)
{
	struct pool_header h;
	int fd = -1, rc = open_header(path, &fd, &h, r, err);

	if (rc)
		return rc;
	pool->shared = true;
	pool->size = h.size;
	rc = map_records(pool, fd, r, err);
	close(fd); /* the mapping stays; locks are on the memory file */
	if (!rc)
		rc = open_memory(pool, &h, err);
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

/* ---- destroy ------------------------------------------------------------------------------------------- */

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

/* Under the serial lock. */
static int remove_both(struct mb_pool *pool, const char *path, struct mb_error *err)
{
	int rc = refuse_if_alive(pool, path, err);

	if (rc)
		return rc;
	atomic_store_explicit(&pool->vars->destroyed, 1, memory_order_relaxed);
	if (unlink(pool->mem_path) || unlink(path))
		return host_error(err, -errno, "cannot remove %s: %s", path, strerror(errno));
	return 0;
}

/* With the memory file in place, only who holds the serial lock may; without it, nobody can live there. */
static int destroy_opened(struct mb_pool *pool, const char *path, const struct pool_header *h,
			  struct mb_error *err)
{
	int rc = open_memory(pool, h, err);

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
	rc = open_header(path, &fd, &h, &r, err);
	if (!rc) {
		pool->shared = true;
		pool->size = h.size;
		rc = map_records(pool, fd, &r, err);
		close(fd);
	}
	if (!rc)
		rc = destroy_opened(pool, path, &h, err);
	if (!rc)
		host_clear(err);
	pool_free(pool);
	return rc;
}
