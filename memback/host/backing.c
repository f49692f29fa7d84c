/* SPDX-License-Identifier: MIT */
/*
 * backing.c - opens backings: picks the operations by kind and by file system, tells the granule, and
 * warns where large pages cannot be had.
 */
#include "backing.h"
#include "backing_ops.h"
#include "error.h"
#include "format.h"
#include "hostinfo.h"
#include "newfile.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21u << 26)
#endif
#ifndef MFD_HUGE_1GB
#define MFD_HUGE_1GB (30u << 26)
#endif
#define SMALL_HINT "guests run slower, and inflate and deflate slower"

static bool is_hugetlb(enum mb_backing kind)
{
	return kind == MB_BACKING_HUGETLB_2M || kind == MB_BACKING_HUGETLB_1G;
}

static uint64_t hugetlb_page(enum mb_backing kind)
{
	return kind == MB_BACKING_HUGETLB_1G ? GIANT_BYTES : HUGE_BYTES;
}

static void warn_memfd(const struct backing *b, struct mb_error *warning)
{
	if (!b->huge_pages)
		host_warn(warning, "memfd gets no huge pages (" SMALL_HINT "): `echo advise > "
				   "/sys/kernel/mm/transparent_hugepage/shmem_enabled`");
}

static void describe_tmpfs(struct backing *b, dev_t dev, struct mb_error *warning)
{
	char option[32];

	b->huge_pages = hostinfo_thp_mount(dev);
	b->collapses = b->huge_pages;
	b->blocks_exact = true;
	hostinfo_thp_mount_option(dev, option, sizeof(option));
	if (!b->huge_pages)
		host_warn(warning,
			  "this tmpfs is mounted with huge=%s and gives no huge pages (" SMALL_HINT
			  "): use a mount of its own, `mount -t tmpfs -o huge=advise tmpfs DIR`",
			  option);
}

/* Fills in what the file system of b->fd decides. */
static int describe_file(struct backing *b, const char *path, struct mb_error *warning, struct mb_error *err)
{
	struct statfs fs;
	struct stat st;

	if (fstatfs(b->fd, &fs) || fstat(b->fd, &st))
		return host_error(err, -errno, "cannot examine %s: %s", path, strerror(errno));
	if ((unsigned long)fs.f_type == HUGETLBFS_MAGIC) {
		b->ops = &backing_hugetlb_ops;
		b->granule = (uint64_t)fs.f_bsize;
		b->huge_pages = b->blocks_exact = true;
		if (b->granule == HUGE_BYTES || b->granule == GIANT_BYTES)
			return 0;
		return host_error(err, -EINVAL,
				  "%s: huge pages of %s cannot be used; mount hugetlbfs with "
				  "pagesize=2M or pagesize=1G",
				  path, host_size(b->granule).text);
	}
	b->ops = &backing_file_ops;
	b->granule = BASE_BYTES;
	if ((unsigned long)fs.f_type == TMPFS_MAGIC) {
		describe_tmpfs(b, st.st_dev, warning);
		return 0;
	}
	if (fs.f_bsize > (long)BASE_BYTES && fs.f_bsize <= (long)HUGE_BYTES && !(fs.f_bsize & (fs.f_bsize - 1)))
		b->granule = (uint64_t)fs.f_bsize;
	host_warn(warning, "a file on a disk has no huge pages, and its pages are written back: put it on a "
			   "tmpfs mounted with huge=advise, or on hugetlbfs");
	return 0;
}

/* After describe_file(): is it what was asked for? */
static int check_kind(const struct backing *b, const char *path, struct mb_error *err)
{
	if (is_hugetlb(b->kind) && (b->ops != &backing_hugetlb_ops || b->granule != hugetlb_page(b->kind)))
		return host_error(err, -EINVAL,
				  "%s is not on a hugetlbfs mount with pages of %s: `mount -t hugetlbfs -o "
				  "pagesize=%s none DIR`, and name a file there with --memory-file",
				  path, host_size(hugetlb_page(b->kind)).text,
				  b->kind == MB_BACKING_HUGETLB_1G ? "1G" : "2M");
	return 0;
}

/* Gives the file its size, and tries at once what giving back will need. */
static int size_file(const struct backing *b, const char *path, uint64_t size, struct mb_error *err)
{
	int rc;

	if (size % b->granule)
		return host_error(err, -EINVAL, "the pool's size must be a multiple of %s with this backing",
				  host_size(b->granule).text);
	if (ftruncate(b->fd, (off_t)size))
		return host_error(err, -errno, "cannot make %s %s large: %s", path, host_size(size).text,
				  strerror(errno));
	rc = backing_punch(b, 0, b->granule);
	if (rc)
		return host_error(err, rc,
				  "%s: its file system cannot give memory back (%s); use tmpfs, "
				  "hugetlbfs, ext4 or xfs",
				  path, strerror(-rc));
	return 0;
}

static int open_memfd(struct backing *b, uint64_t size, struct mb_error *warning, struct mb_error *err)
{
	unsigned flags = MFD_CLOEXEC;
	const char *what = mb_backing_name(b->kind);

	if (is_hugetlb(b->kind))
		flags |= MFD_HUGETLB | (b->kind == MB_BACKING_HUGETLB_1G ? MFD_HUGE_1GB : MFD_HUGE_2MB);
	b->fd = memfd_create("memback", flags);
	if (b->fd < 0)
		return host_error(err, -errno,
				  "cannot make a memory file for %s: %s; is it built into the kernel?", what,
				  strerror(errno));
	b->blocks_exact = true;
	if (is_hugetlb(b->kind)) {
		b->ops = &backing_hugetlb_ops;
		b->granule = hugetlb_page(b->kind);
		b->huge_pages = true;
	} else {
		b->ops = &backing_file_ops;
		b->granule = BASE_BYTES;
		b->huge_pages = b->collapses = hostinfo_thp_memfd();
		warn_memfd(b, warning);
	}
	return size_file(b, what, size, err);
}

static int open_anon(struct backing *b, struct mb_error *warning)
{
	b->ops = &backing_anon_ops;
	b->granule = BASE_BYTES;
	b->huge_pages = b->collapses = hostinfo_thp_anon();
	if (!b->huge_pages)
		host_warn(warning, "anonymous memory gets no huge pages (" SMALL_HINT "): `echo madvise > "
				   "/sys/kernel/mm/transparent_hugepage/enabled`");
	return 0;
}

/* A directory: a file without a name in it. Else a new file, whose name goes at once: it is private. */
static int open_private_file(struct backing *b, const char *path, uint64_t size, struct mb_error *warning,
			     struct mb_error *err)
{
	int rc;

	if (!path)
		return host_error(err, -EINVAL, "backing file needs a path: a directory, or a file to be made");
	b->fd = open(path, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	if (b->fd < 0) {
		b->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (b->fd >= 0)
			unlink(path);
	}
	if (b->fd < 0)
		return host_error(err, -errno, "cannot make the memory file %s: %s", path, strerror(errno));
	rc = describe_file(b, path, warning, err);
	return rc ? rc : size_file(b, path, size, err);
}

int backing_open_private(struct backing *b, enum mb_backing kind, const char *path, uint64_t size,
			 struct mb_error *warning, struct mb_error *err)
{
	int rc;

	*b = (struct backing){.kind = kind, .fd = -1};
	if (kind == MB_BACKING_ANON)
		rc = open_anon(b, warning);
	else if (kind == MB_BACKING_FILE)
		rc = open_private_file(b, path, size, warning, err);
	else
		rc = open_memfd(b, size, warning, err);
	if (rc)
		backing_close(b);
	return rc;
}

int backing_create_file(struct backing *b, enum mb_backing kind, struct newfile *file, const char *path,
			uint64_t size, unsigned mode, struct mb_error *warning, struct mb_error *err)
{
	int rc;

	*b = (struct backing){.kind = kind, .fd = -1};
	b->fd = newfile_open(file, path, mode);
	if (b->fd < 0)
		return host_error(err, b->fd, "cannot make the memory file %s: %s", path, strerror(-b->fd));
	rc = describe_file(b, path, warning, err);
	if (!rc)
		rc = check_kind(b, path, err);
	if (!rc)
		rc = size_file(b, path, size, err);
	if (rc)
		backing_close(b);
	return rc;
}

int backing_open_file(struct backing *b, enum mb_backing kind, const char *path, struct mb_error *err)
{
	struct stat st;
	int rc;

	*b = (struct backing){.kind = kind, .fd = -1};
	b->fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (b->fd < 0)
		return host_error(err, -errno, "cannot open the memory file %s: %s", path, strerror(errno));
	if (fstat(b->fd, &st) || !S_ISREG(st.st_mode)) {
		backing_close(b);
		return host_error(err, -EINVAL, "%s is not a regular file", path);
	}
	rc = describe_file(b, path, NULL, err);
	if (!rc)
		rc = check_kind(b, path, err);
	if (rc)
		backing_close(b);
	return rc;
}

const char *backing_file_system(const struct backing *b)
{
	if (b->kind == MB_BACKING_MEMFD || b->fd < 0)
		return "";
	return b->ops == &backing_hugetlb_ops ? "hugetlbfs" : b->blocks_exact ? "tmpfs" : "disk";
}

void backing_close(struct backing *b)
{
	if (b->fd >= 0)
		close(b->fd);
	b->fd = -1;
}

const char *mb_backing_name(enum mb_backing backing)
{
	static const char *const name[] = {"anon", "memfd", "hugetlb=2M", "hugetlb=1G", "file"};

	return (unsigned)backing < sizeof(name) / sizeof(name[0]) ? name[backing] : "unknown";
}

int mb_backing_parse(const char *text, enum mb_backing *out)
{
	for (int i = MB_BACKING_ANON; i <= MB_BACKING_FILE; i++) {
		if (!strcmp(text, mb_backing_name((enum mb_backing)i))) {
			*out = (enum mb_backing)i;
			return 0;
		}
	}
	if (!strcmp(text, "hugetlb")) {
		*out = MB_BACKING_HUGETLB_2M;
		return 0;
	}
	return -EINVAL;
}
