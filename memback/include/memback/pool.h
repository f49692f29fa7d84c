/* SPDX-License-Identifier: MIT */
/*
 * memback/pool.h - pools of host memory, their owners, and guest address spaces made of their frames.
 *
 * A pool is a backing (where the bytes live), an allocator of frame numbers (memback/frames.h), a byte
 * budget (how many bytes may be out with owners, apart from how many frame numbers there are) and a ledger
 * (for every huge frame its owner and guest physical address, and the reverse). A private pool belongs to
 * one process; a pool file is attached by any number of processes.
 *
 * The library never prints and never exits. A function that fails returns a negative errno and, where it
 * takes one, fills a struct mb_error with one line that names the cause and the remedy.
 */
#ifndef MEMBACK_POOL_H
#define MEMBACK_POOL_H

#include <memback/frames.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mb_error {
	int code;       /* negative errno */
	char text[400]; /* one line: cause and remedy, no newline */
};

enum mb_backing {
	MB_BACKING_ANON,       /* private anonymous memory, transparent huge pages */
	MB_BACKING_MEMFD,      /* memfd, transparent huge pages where the kernel lets it */
	MB_BACKING_HUGETLB_2M, /* reserved huge pages */
	MB_BACKING_HUGETLB_1G,
	MB_BACKING_FILE, /* a file: tmpfs, hugetlbfs or disk */
};

/* "anon", "memfd", "hugetlb=2M", "hugetlb=1G", "file"; and the reverse (-EINVAL; "hugetlb" means 2M). */
const char *mb_backing_name(enum mb_backing backing);
MB_MUST_CHECK int mb_backing_parse(const char *text, enum mb_backing *out);

struct mb_pool_config {
	enum mb_backing backing;
	uint64_t size;   /* bytes of frame numbers; a multiple of 2 MiB (1 GiB for hugetlb=1G) */
	uint64_t budget; /* bytes that may be out with owners; 0 means size */
	/*
	 * Pool file: where the memory file goes; NULL: PATH.mem. Private pool with MB_BACKING_FILE: a
	 * directory, or a file that is not there yet and whose name is removed at once.
	 */
	const char *memory_path;
	unsigned mode; /* pool file: its permission bits, whatever the umask; 0 means 0600 */
	/* pool file: the group that its files are given to, if any; the bytes that it may grow to, 0: size */
	bool has_group;
	uint32_t group;
	uint64_t maximum;
	bool tmpfs; /* pool file, with MB_BACKING_FILE: -EINVAL where its memory would lie on no tmpfs */
};

struct mb_pool;

/* Makes a private pool, all of it online. The warning (may be NULL) gets text where something is not as good as it
 * could be (no huge pages...) and code 0; empty text means none. -EINVAL, or the kernel's error. Any thread. */
MB_MUST_CHECK int mb_pool_create_private(const struct mb_pool_config *config, struct mb_pool **out,
					 struct mb_error *warning, struct mb_error *err);
/*
 * Makes a pool file and its memory file (sparse); does not attach. Refuses to overwrite. Not for anon and
 * memfd, which no other process can open; hugetlb wants memory_path on a hugetlbfs mount. -ENOSPC where the
 * file system has less room than the budget. The files get their names when they are complete: who is killed in
 * here leaves nothing, or a pool without its memory file, which mb_pool_destroy() removes.
 */
MB_MUST_CHECK int mb_pool_create_file(const char *path, const struct mb_pool_config *config,
				      struct mb_error *warning, struct mb_error *err);
/*
 * Attaches to a pool file. Whatever is not a whole pool file of this version, with the very memory file that
 * it was made with, is refused: -EILSEQ (foreign, truncated, damaged), -EPROTO (another version), -ESTALE
 * (another memory file). What owners without a process had is taken back first. A child process does not
 * inherit an attached pool: it attaches for itself.
 */
MB_MUST_CHECK int mb_pool_attach(const char *path, struct mb_pool **out, struct mb_error *err);
/* Detaches; a private pool is gone with it. Its spaces must be gone, and no call be under way. May be NULL. */
void mb_pool_close(struct mb_pool *pool);

/* What recovery found and did. */
struct mb_recovered {
	uint64_t owners;  /* that were dead */
	uint64_t frames;  /* bytes of frame numbers that were theirs */
	uint64_t charged; /* bytes that they were charged */
	uint64_t
	    freed; /* bytes of frame numbers that they had in hand and that were nobody's yet or any more */
	uint64_t completed; /* operations cut in the middle that were completed */
	uint64_t undone;    /* ... that were undone */
	/* Of attaching only: the pool was of another boot, and was made empty, or repaired (mb_pool_attach_kept()). */
	bool rebuilt, kept;
};
/* mb_pool_attach(), which says what it took back from the dead. */
MB_MUST_CHECK int mb_pool_attach_recovered(const char *path, struct mb_pool **out, struct mb_recovered *did,
					   struct mb_error *err);
/*
 * The same, but a pool of another boot of the machine, which lies on a disk or a persistent device, is not simply
 * made empty: what its owners had, all of whom are dead, is taken back as ever, and if the check finds nothing
 * then it goes on as it is. If the check does find something, it is made empty all the same. The status says which.
 */
MB_MUST_CHECK int mb_pool_attach_kept(const char *path, struct mb_pool **out, struct mb_recovered *did,
				      struct mb_error *err);
/*
 * Takes back all that dead owners had, whatever they were in the middle of when they died, and wakes who waits
 * for memory. Attaching, making a space and waiting do the same. Two that recover at once do it once; one that
 * is killed in here leaves the rest to the next. out and err may be NULL. -EAGAIN: somebody alive stood in the
 * way all the while, so that something is left for the next. Any thread; it must not hold up a space's thread.
 */
MB_MUST_CHECK int mb_pool_recover(struct mb_pool *pool, struct mb_recovered *out, struct mb_error *err);
/*
 * Makes the pool so many bytes of frame numbers large, at most the maximum it was made with. Growing is done when
 * it returns; -EBUSY: what an earlier shrinking took is still in use there, -EAGAIN: what somebody who was killed
 * left half done cannot be completed now; in both cases nothing has changed. Shrinking takes what is free now,
 * what is in use leaves when its owner ends; *left (may be NULL): bytes of it in use. Call it again to see how it
 * goes. The owners are not moved: mb_pool_frame_owner() tells who they are. The budget stays as it is.
 */
MB_MUST_CHECK int mb_pool_resize(struct mb_pool *pool, uint64_t size, uint64_t *left, struct mb_error *err);
/*
 * Changes the budget at once. Who waits goes on if it was raised. A budget below what is used takes nothing
 * from anybody: nobody is charged more until enough was given back. -ENOSPC where the file system has no room for
 * what the memory file does not hold of it yet, unless the budget falls. The warning (may be NULL) gets text where
 * the host, the memory cgroup or the reserved huge pages have less than that left.
 */
MB_MUST_CHECK int mb_pool_set_budget(struct mb_pool *pool, uint64_t budget, struct mb_error *warning,
				     struct mb_error *err);
/*
 * Removes a pool file and its memory file (if that is still the pool's), whatever became of its length; -EBUSY
 * while an owner lives. If the memory file cannot be removed, the pool is as it was.
 */
MB_MUST_CHECK int mb_pool_destroy(const char *path, struct mb_error *err);

struct mb_pool_status {
	enum mb_backing backing;
	uint64_t granule;     /* bytes: the least that the backing can give back */
	uint64_t size;        /* bytes of frame numbers online */
	uint64_t maximum;     /* bytes of frame numbers that it may grow to */
	uint64_t draining;    /* bytes of size that leave as soon as their owners end, see mb_pool_resize() */
	uint64_t budget;      /* bytes */
	uint64_t budget_used; /* bytes out with owners (holes not included, pending included); may be more than
				 the budget, if that was lowered */
	uint64_t resident;    /* bytes that the kernel says the backing holds */
	uint64_t owners;      /* live owners */
	struct mb_frames_count frames;
	/* Where the memory file lies: "tmpfs", "hugetlbfs" or "disk"; "" for anon and memfd. Static. */
	const char *file_system;
	bool huge_pages; /* large pages can be had */
	bool kept;       /* it was of another boot, and this attaching repaired it, see mb_pool_attach_kept() */
	bool rebuilt;    /* it was of another boot of the machine, so that this attaching made it empty */
};
/* Any thread. The resident bytes of a pool without a file are counted page by page. */
MB_MUST_CHECK int mb_pool_get_status(struct mb_pool *pool, struct mb_pool_status *out, struct mb_error *err);

struct mb_owner_status {
	char name[64];
	uint32_t id; /* with its generation: never used again for another owner */
	int64_t pid; /* as it said; shown, not trusted */
	bool live;
	uint64_t maximum;    /* bytes of guest physical memory */
	uint64_t actual;     /* bytes charged: maximum - inflated + pending */
	uint64_t inflated;   /* bytes of holes */
	uint64_t pending;    /* bytes of holes that the backing cannot give back yet (below its granule) */
	uint64_t waiting;    /* bytes that it waits for in the queue; 0: does not */
	uint64_t waiting_ns; /* and how long */
};
/* Calls fn for each owner in the pool's table, dead ones (live = false) included; a non-zero return ends the
 * walk and is returned. Any thread. */
typedef int mb_owner_fn(void *arg, const struct mb_owner_status *owner);
int mb_pool_walk_owners(struct mb_pool *pool, mb_owner_fn *fn, void *arg);

/* A stretch of a pool's frames, for a picture of it. */
struct mb_pool_stretch {
	uint64_t offset;   /* bytes from the start of the memory */
	uint64_t len;      /* bytes */
	uint64_t owned;    /* bytes in frames that are somebody's */
	uint64_t offline;  /* bytes in frame numbers that are not online: never were, or have left */
	uint32_t owner;    /* mb_owner_status.id of who has most of them; valid if owned > 0 */
	uint64_t resident; /* bytes, as the kernel says; UINT64_MAX: it does not say (huge pages, no file) */
};
typedef int mb_pool_stretch_fn(void *arg, const struct mb_pool_stretch *stretch);
/* Cuts the pool, all of its maximum, into stretches of step bytes (a multiple of 2 MiB); a non-zero return of fn
 * ends the walk and is returned. -EINVAL. Any thread. */
int mb_pool_walk(struct mb_pool *pool, uint64_t step, mb_pool_stretch_fn *fn, void *arg);

/* Whose a frame is, as the ledger says. */
struct mb_frame_owner {
	uint32_t owner; /* mb_owner_status.id */
	uint64_t gpa;   /* guest physical address of the frame, bytes */
};
/* -ENOENT: nobody's; -ERANGE: not in the pool. Any thread. The reverse is mb_space_frame(). */
MB_MUST_CHECK int mb_pool_frame_owner(struct mb_pool *pool, mb_frame frame, struct mb_frame_owner *out);

/* ---- owners and their guest address spaces ----------------------------------------------------------- */

/* A region of guest physical memory; both are multiples of 2 MiB. */
struct mb_region {
	uint64_t gpa;
	uint64_t size;
};

struct mb_space_config {
	const char *name;                /* the owner's: unique among the live owners of the pool, < 64 bytes */
	const struct mb_region *regions; /* ascending, not overlapping */
	unsigned region_count;
	bool prealloc; /* make all of it resident now, and again what is deflated */
	/*
	 * The last so many regions begin inflated, at no cost a page: nothing of them is charged or resident
	 * until mb_space_deflate() takes it in. For memory that a guest may be given later.
	 */
	unsigned regions_out;
	/*
	 * Charge bytes when they are touched, not now, see mb_overcommit_check(). The space has a thread of its
	 * own for it. on_starved (may be NULL) is told on that thread when a touch must wait for memory, once
	 * more when all other owners of the pool wait as well, and when it goes on; it must be short, and call
	 * nothing that takes a space but mb_space_starved().
	 */
	bool overcommit;
	uint64_t
	    minimum; /* with overcommit: so many bytes are charged from the start, whether touched or not */
	void (*on_starved)(void *arg, bool starved);
	void *starved_arg;
};

/*
 * An owner together with its guest address space. Made in one step: the budget is charged with the sum of
 * the regions (but for those that begin inflated), frames are taken in runs as large and contiguous as there
 * are, the ledger is written, and the memory is mapped linearly at window + gpa. On failure nothing is charged
 * or taken: -EDQUOT names the bytes that the budget lacks, -ENOMEM the frames, or what the host lacks for prealloc,
 * -EEXIST the owner of that name.
 *
 * Thread safety: mb_space_hva() from any thread; all else from one thread at a time.
 */
struct mb_space;
MB_MUST_CHECK int mb_space_create(struct mb_pool *pool, const struct mb_space_config *config,
				  struct mb_space **out, struct mb_error *err);
/* Unmaps, gives all bytes back to the kernel and all frames to the pool, and forgets the owner. NULL is nothing. */
void mb_space_destroy(struct mb_space *space);

/* Start of the window: guest physical address 0. Only the regions are mapped in it. */
void *mb_space_window(const struct mb_space *space);
/* Host address of [gpa, gpa + len), or NULL unless all of it lies in one region. len > 0. */
void *mb_space_hva(const struct mb_space *space, uint64_t gpa, uint64_t len);
/* The frame that backs guest physical address gpa; -ERANGE: no guest memory. Any thread. */
MB_MUST_CHECK int mb_space_frame(const struct mb_space *space, uint64_t gpa, mb_frame *out);

/*
 * Takes [gpa, gpa + len) away from the guest: gives its bytes back to the kernel (as far as the granule
 * lets it; the rest is pending), lowers the charge, marks holes. Both 4 KiB aligned. Longer is faster: one
 * call to the kernel per contiguous run of frames. -ERANGE: not all guest memory; -EALREADY: part of it is
 * inflated already; then nothing has changed.
 */
MB_MUST_CHECK int mb_space_inflate(struct mb_space *space, uint64_t gpa, uint64_t len);
/*
 * The reverse: charges the budget, clears the holes; memory that comes back reads as zero. -EDQUOT: the
 * budget lacks the bytes; -EALREADY: part of it is not inflated; -ENOMEM: the kernel lacks the (huge) pages;
 * then nothing has changed. Where the granule is larger than 4 KiB, taking back a part of a granule charges
 * all of it, and its rest is pending.
 */
MB_MUST_CHECK int mb_space_deflate(struct mb_space *space, uint64_t gpa, uint64_t len);
/*
 * As mb_space_deflate(), for a guest that does not wait for it: one that was reset thinks that all its memory
 * is its own, and may have written there already. What it wrote stays; the rest reads as zero or, where the
 * bytes were pending, as it did.
 */
MB_MUST_CHECK int mb_space_restore(struct mb_space *space, uint64_t gpa, uint64_t len);
/*
 * Gives back to the kernel what a guest wrote to memory that is inflated; what is pending stays so. 4 KiB aligned.
 * -EINVAL, -ERANGE, and -EALREADY: part of it is not inflated; then nothing has changed.
 */
MB_MUST_CHECK int mb_space_purge(struct mb_space *space, uint64_t gpa, uint64_t len);
/*
 * Gives the bytes of [gpa, gpa + len) back to the kernel, and leaves all else as it is: the memory stays the
 * guest's, charged and without holes, and reads as zero when it is touched again. For what a guest reports as
 * free but may use at any time. Both 4 KiB aligned; what the backing cannot free (a part of a large page of
 * anonymous memory) may stay resident. -EOPNOTSUPP where it cannot be had, see mb_space_can_discard().
 */
MB_MUST_CHECK int mb_space_discard(struct mb_space *space, uint64_t gpa, uint64_t len);
/* Not on reserved huge pages, whose reservation is the charge; not with prealloc. Any thread. */
bool mb_space_can_discard(const struct mb_space *space);
/*
 * A place in the queue of those who wait for the pool's bytes: as long as somebody stands there, nobody who came later
 * is charged any. For who could not deflate (-EDQUOT) and tries again every few milliseconds; a deflation that
 * succeeds leaves the queue, and so does the second call. A place is kept; bytes is shown in the owner's status.
 * With overcommit nothing happens: there the space's own thread waits. From the space's thread.
 */
void mb_space_queue_up(struct mb_space *space, uint64_t bytes);
void mb_space_leave_queue(struct mb_space *space);
/* Bytes that the budget could still charge now, if nobody waited for them. Any thread. */
uint64_t mb_space_budget_left(const struct mb_space *space);

/* ---- overcommit ------------------------------------------------------------------------------------- */

/*
 * A space with overcommit is charged for what is touched: the window is watched (userfaultfd), whoever touches
 * a page that is missing waits until it is charged and present. When the budget has nothing left, it waits
 * until there is something; nothing fails, and no signal comes. What is inflated and yet touched is charged
 * like all else. Deflating such a space charges nothing, so that it cannot fail for want of bytes.
 */
typedef void mb_starved_fn(void *arg, bool starved);

/* May this process watch memory? -EPERM, -EACCES... with the remedy. Takes nothing. */
MB_MUST_CHECK int mb_overcommit_check(struct mb_error *err);
/*
 * Makes [gpa, gpa + len) present, so that touching it now waits for nothing. -EAGAIN: the budget lacks the
 * bytes (a small reserve included), touching it would wait; from now on the space's thread waits for them as it
 * does for a touch (on_starved), and the call is to be made again later. -EFAULT: the space was abandoned;
 * -ERANGE. Any thread. Without overcommit: 0 for all that is guest memory. The second one is for what cannot be
 * put off, such as the word by which a request is answered: half of the reserve is kept for it.
 */
MB_MUST_CHECK int mb_space_present(struct mb_space *space, uint64_t gpa, uint64_t len);
MB_MUST_CHECK int mb_space_present_now(struct mb_space *space, uint64_t gpa, uint64_t len);
/*
 * Makes [gpa, gpa + len) resident now, where touching it would end in a signal if the host had nothing: a file system
 * that is full, say. -ENOMEM: it has not; -ERANGE: no guest memory. With overcommit what is present is. Any thread.
 */
MB_MUST_CHECK int mb_space_populate(struct mb_space *space, uint64_t gpa, uint64_t len);
/* Is all of it present? What is not reads as zero, and reading need not take memory for it. Any thread. */
bool mb_space_is_present(struct mb_space *space, uint64_t gpa, uint64_t len);
/* Somebody waits for memory that the budget lacks. Any thread. */
bool mb_space_starved(const struct mb_space *space);
/*
 * Ends all waiting: from now on touching the window is an error (KVM_RUN: EFAULT), and takes no memory. What is
 * left to do is to destroy the space. Without overcommit nothing happens. It waits for the space's own thread: from the
 * space's thread, not from on_starved.
 */
void mb_space_abandon(struct mb_space *space);

struct mb_overcommit_status {
	uint64_t present;      /* bytes that are charged and there */
	uint64_t reserve;      /* bytes that are charged besides, for mb_space_present() when nothing is left */
	uint64_t minimum;      /* as configured */
	uint64_t faults;       /* that were heard of */
	uint64_t populated;    /* bytes made present in all, of which */
	uint64_t ahead;        /* bytes before they were asked for */
	uint64_t by_gate;      /* pages that mb_space_present() lacked */
	uint64_t hole_touches; /* pages touched although they were inflated */
	uint64_t starved_count; /* how often somebody had to wait for the budget */
	uint64_t starved_ns;    /* and how long in all */
	bool starved;           /* right now; the rest is valid then */
	uint64_t missing;       /* bytes that the budget lacks */
	const char *reason;     /* "budget", or "host": its kernel has none */
	bool everyone;          /* all owners of the pool wait like this: none of them will give */
};
/* False: no overcommit here. Any thread. */
bool mb_space_get_overcommit(struct mb_space *space, struct mb_overcommit_status *out);

struct mb_space_status {
	struct mb_owner_status owner;
	uint64_t resident; /* bytes, as the kernel counts them for the mapped window */
	uint64_t extents;  /* contiguous runs of frames */
};
/* Fails only where the kernel does not say what is resident. From the space's thread. */
MB_MUST_CHECK int mb_space_get_status(struct mb_space *space, struct mb_space_status *out,
				      struct mb_error *err);

/* One stretch of guest memory, for a picture of it. */
struct mb_stretch {
	uint64_t gpa;
	uint64_t len;
	uint64_t frame;    /* of its first byte, if it lies in one extent; else UINT64_MAX */
	uint64_t inflated; /* bytes */
	uint64_t resident; /* bytes, as the kernel says */
	uint64_t split;    /* bytes that lie in huge frames with holes and without */
};
typedef int mb_stretch_fn(void *arg, const struct mb_stretch *stretch);
/*
 * Cuts the regions into stretches of step bytes (a multiple of 4 KiB) and calls fn for each; a non-zero
 * return of fn ends the walk and is returned. Asks the kernel about each page of what is resident. -EINVAL: no
 * such step; else the kernel's. From the space's thread.
 */
int mb_space_walk(struct mb_space *space, uint64_t step, mb_stretch_fn *fn, void *arg);

/* ---- the check -------------------------------------------------------------------------------------- */

/* One place where two records disagree. */
struct mb_discrepancy {
	const char *kind; /* "missing": charged and preallocated but not resident; "intruder": a hole that is
			     resident; "ledger": ledger and extents disagree; "allocator"; "budget" */
	uint64_t gpa;     /* UINT64_MAX: none */
	uint64_t frame;   /* UINT64_MAX: none */
	uint64_t len;     /* bytes */
	char text[200];   /* one line */
};
typedef int mb_discrepancy_fn(void *arg, const struct mb_discrepancy *d);
/*
 * Compares the ledger, the allocator and the charge of this space with each other and with what the kernel
 * says is resident (mincore, pagemap, SEEK_DATA, st_blocks: never our own counters). Returns the number of
 * discrepancies, or a negative errno. fn may be NULL; a non-zero return of it ends the check. A page that was
 * swapped out of a tmpfs counts as missing. From the space's thread.
 */
int mb_space_check(struct mb_space *space, mb_discrepancy_fn *fn, void *arg);
/* The same for a pool as a whole: sums, ledger, allocator, resident bytes against the charge. Any thread;
 * owners that come or go wait meanwhile. */
int mb_pool_check(struct mb_pool *pool, mb_discrepancy_fn *fn, void *arg);

const char *mb_version(void); /* of the library that is linked, such as "0.1.0"; static. Any thread. */

#ifdef __cplusplus
}
#endif
#endif
