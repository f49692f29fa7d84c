/* SPDX-License-Identifier: MIT */
/*
 * pool_make.c - pool files are made: both files without a name, which they get when all of them is there. Whoever
 * is killed on the way leaves nothing that anybody must clear away, see publish().
 */
#include "boot.h"
#include "error.h"
#include "newfile.h"
#include "pool_open.h"
#include "poolfile.h"
#include "records.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the pool promises, and who is told that it may be too much. */
struct budget_claim {
	uint64_t budget;
	struct mb_error *warning;
};

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
static int build_file(struct mb_pool *pool, int fd, const char *path, uint64_t online,
		      const struct budget_claim *claim, struct mb_error *err)
{
	struct records r;
	int rc = records_place(pool->size, &r);

	if (rc)
		return host_error(err, rc, "no allocator can be made for %s", host_size(pool->size).text);
	/* The records may lie on the same file system, so their room is taken before the budget's is asked for; once
	 * more before, since terabytes of memory have gigabytes of records. */
	rc = backing_check_room(&pool->mem, claim->budget, 0, err);
	if (!rc)
		rc = size_records(fd, path, &r, err);
	if (!rc)
		rc = backing_check_room(&pool->mem, claim->budget, 0, err);
	if (!rc)
		backing_warn_memory(&pool->mem, claim->budget, 0, claim->warning);
	if (!rc)
		rc = poolfile_map(pool, fd, &r, err);
	if (!rc) {
		atomic_store_explicit(&pool->vars->online, online, memory_order_relaxed);
		rc = pool_start(pool, &r, claim->budget, err);
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

/* Early, before anything costs time; newfile_publish() decides. */
static int refuse_taken(const char *path, const char *mem_path, struct mb_error *err)
{
	struct stat st;

	if (!lstat(path, &st))
		return host_error(err, -EEXIST,
				  "%s is there already: `membackctl pool destroy` it, or choose another name",
				  path);
	if (!lstat(mem_path, &st))
		return host_error(err, -EEXIST,
				  "the memory file %s is there already: remove it if it is no pool's, or give "
				  "another with --memory-file",
				  mem_path);
	return 0;
}

/*
 * The pool's name first: killed between the two, it is a pool without memory, which mb_pool_destroy() removes. A
 * memory file alone would be in everybody's way.
 */
static int publish(struct newfile *file, int fd, struct newfile *memory, int memory_fd, struct mb_error *err)
{
	int rc = newfile_publish(file, fd);

	if (rc)
		return host_error(err, rc, "cannot make the pool %s: %s", file->path, strerror(-rc));
	rc = newfile_publish(memory, memory_fd);
	if (!rc)
		return 0;
	unlink(file->path);
	return host_error(err, rc, "cannot make the memory file %s: %s", memory->path, strerror(-rc));
}

static int create_pool_file(struct mb_pool *pool, const char *path, const struct mb_pool_config *config,
			    struct newfile *memory, const struct budget_claim *claim, struct mb_error *err)
{
	unsigned mode = config->mode ? config->mode : 0600;
	struct newfile file = {0};
	int fd = newfile_open(&file, path, mode), rc;

	if (fd < 0)
		return host_error(err, fd, "cannot make the pool %s: %s", path, strerror(-fd));
	rc = set_access(pool->mem.fd, pool->mem_path, config, mode, err);
	if (!rc)
		rc = set_access(fd, path, config, mode, err);
	if (!rc)
		rc = build_file(pool, fd, path, config->size, claim, err);
	if (!rc)
		rc = publish(&file, fd, memory, pool->mem.fd, err);
	newfile_end(&file);
	close(fd);
	return rc;
}

static int create_both(struct mb_pool *pool, const char *path, const struct mb_pool_config *config,
		       uint64_t budget, struct mb_error *warning, struct mb_error *err)
{
	struct budget_claim claim = {.budget = budget, .warning = warning};
	struct newfile memory = {0};
	int rc = refuse_taken(path, pool->mem_path, err);

	if (!rc)
		rc = backing_create_file(&pool->mem, config->backing, &memory, pool->mem_path, pool->size,
					 config->mode ? config->mode : 0600, warning, err);
	if (!rc && config->tmpfs && strcmp(backing_file_system(&pool->mem), "tmpfs") != 0)
		rc = host_error(
		    err, -EINVAL,
		    "%s would lie on no tmpfs: name a file on one with --memory-file, such as /dev/shm/NAME, "
		    "or use --backing file",
		    pool->mem_path);
	if (!rc)
		rc = create_pool_file(pool, path, config, &memory, &claim, err);
	newfile_end(&memory);
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
