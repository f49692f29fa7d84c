/* SPDX-License-Identifier: MIT */
/*
 * backing.h - where the bytes live: the one seam between pools and the kernel's kinds of memory.
 *
 * Preconditions, for every operation: addresses, offsets and lengths are multiples of 4 KiB, and of the
 * granule where the operation says so; a length is not zero; [offset, offset + len) lies in the backing;
 * [at, at + len) is where map() put exactly that. All return 0 or a negative errno, and any thread may call
 * them.
 */
#ifndef HOST_BACKING_H
#define HOST_BACKING_H

#include <memback/pool.h>
#include <stdbool.h>
#include <stdint.h>

struct backing_ops;
struct newfile;

/* One open backing. A space has a copy of its pool's with a descriptor of its own. */
struct backing {
	const struct backing_ops *ops;
	enum mb_backing kind; /* as configured */
	int fd;               /* the memory file; -1: none */
	uint64_t granule;     /* bytes: the least that give_back() frees */
	bool huge_pages;      /* large pages can be had */
	bool collapses;       /* khugepaged may fill holes: frames with holes want MADV_NOHUGEPAGE */
	bool noreserve;       /* of a space: pages are not reserved when they are mapped */
	bool blocks_exact;    /* st_blocks counts resident bytes and nothing else */
};

struct backing_ops {
	const char *what; /* for messages */
	/*
	 * Maps [offset, offset + len) at the fixed address, readable and writable. Where the kernel wants
	 * memory reserved (hugetlb) this reserves it, and fails with text when there is too little.
	 */
	int (*map)(const struct backing *b, void *at, uint64_t offset, uint64_t len, struct mb_error *err);
	/*
	 * Before memory that was given back is used again: whatever keeps a touch from failing later
	 * (hugetlb: reserves the pages; -ENOMEM). Granule-aligned. NULL: nothing needed.
	 */
	int (*reserve)(const struct backing *b, uint64_t offset, uint64_t len);
	/*
	 * Really frees memory that is in use, and what was reserved for it; it reads as zero afterwards.
	 * Granule-aligned, mapped at at.
	 */
	int (*give_back)(const struct backing *b, void *at, uint64_t offset, uint64_t len);
	/* The same for memory that was given back and that a guest may have touched since. */
	int (*purge)(const struct backing *b, void *at, uint64_t offset, uint64_t len);
	/* The same for a range of either kind that is not mapped here. NULL: it went with its mapping. */
	int (*forget)(const struct backing *b, uint64_t offset, uint64_t len);
	/* Breaks large pages that [at, at + len) covers in part, so that give_back() frees at once; may fail
	 * silently. NULL: give_back() does it itself. */
	void (*split)(const struct backing *b, void *at, uint64_t len);
};

/* Makes the backing of a private pool; size bytes. */
int backing_open_private(struct backing *b, enum mb_backing kind, const char *path, uint64_t size,
			 struct mb_error *warning, struct mb_error *err);
/* Creates the memory file of a pool file, open and without its name, which newfile_publish() gives it. */
int backing_create_file(struct backing *b, enum mb_backing kind, struct newfile *file, const char *path,
			uint64_t size, unsigned mode, struct mb_error *warning, struct mb_error *err);
/* Where the memory file lies: "tmpfs", "hugetlbfs", "disk"; "" for anon and memfd. */
const char *backing_file_system(const struct backing *b);
/* Opens an existing memory file and checks that it is of this kind and granule. */
int backing_open_file(struct backing *b, enum mb_backing kind, const char *path, struct mb_error *err);
void backing_close(struct backing *b);

/*
 * Can a budget be kept, of which so many bytes are charged? -ENOSPC with text unless the file system has room for
 * what of it the memory file does not hold yet.
 */
int backing_check_room(const struct backing *b, uint64_t budget, uint64_t charged, struct mb_error *err);
/* Warns where that is more than the host, or our memory cgroup, or the kernel's huge pages, have left. */
void backing_warn_memory(const struct backing *b, uint64_t budget, uint64_t charged, struct mb_error *warning);
/* Can so many bytes be made resident now? -ENOMEM with text where that would end in the OOM killer's hands. */
int backing_check_memory(const struct backing *b, uint64_t bytes, struct mb_error *err);
/* Makes [at, at + len) resident and writable. -ENOMEM, -EFAULT (the kernel would have sent SIGBUS). */
int backing_populate(void *at, uint64_t len);
/* One byte a 4 KiB page, bit 0 set: resident. From the kernel (mincore). */
int backing_residency(const void *at, uint64_t len, unsigned char *vec);
/*
 * How many bytes from the start of [at, at + len), which is mapped from offset, the kernel can tell at once
 * not to be resident; 0: look closer. Makes looking at terabytes of which little is touched cheap.
 */
uint64_t backing_skip(const struct backing *b, const void *at, uint64_t offset, uint64_t len);
/* Resident bytes of [at, at + len), which is mapped from offset, from the kernel. */
int backing_resident_range(const struct backing *b, const void *at, uint64_t offset, uint64_t len,
			   uint64_t *bytes);
/* Resident bytes of the whole memory file, from the kernel (st_blocks); -ENOTSUP without a file. */
int backing_resident_total(const struct backing *b, uint64_t *bytes);

#endif
