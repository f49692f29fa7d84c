/* SPDX-License-Identifier: MIT */
/*
 * memback/frames.h - the lock-free page-frame allocator.
 *
 * The core hands out frame numbers, never addresses: a frame number counts base frames (4 KiB unless
 * configured otherwise) from the start of the pool's backing memory. All state lies in one metadata area
 * that the caller provides; it holds offsets only, so that several processes may map it at different
 * addresses and use it at once. The core is freestanding: no libc, no heap, at most 8 KiB of stack.
 *
 * Errors are negative errno values, each with one meaning throughout:
 *
 *   -EINVAL    misaligned frame, bad level, bad count, bad configuration
 *   -ERANGE    a frame beyond the capacity (foreign)
 *   -ENXIO     a frame that is within the capacity but offline (never added, removed, draining), or that
 *              holds the allocator's own state (in band)
 *   -EEXIST    adding a range that overlaps what is online already
 *   -EFBIG     adding a range beyond the capacity
 *   -EALREADY  freeing what is free already (a double free)
 *   -ENOENT    freeing at a level at which the frame was never allocated (it is split there, or a part of
 *              a larger one); making holes in a frame that nobody owns
 *   -EBUSY     taking a frame, or removing a range, that is (partly) in use; draining a range that cuts
 *              through a frame that is allocated whole
 *   -ENOMEM    no free frame of that level
 *   -EUSERS    no slot left
 *   -EBADF     a slot that is not open
 *   -EPERM     an operation that this kind of pool does not have (base frames of a pool with owners)
 *   -ENOSPC    the metadata area is too small; or it has no room for another ragged end of a range (one
 *              that is no multiple of a huge frame: 128 at a time, 16 in band)
 *   -EILSEQ    a metadata area that is not one (attach)
 *   -EAGAIN    recovery only: somebody alive stands in the way for the moment
 *
 * A failed call has changed nothing. Unless stated otherwise every function may be called by any number of
 * threads and processes at once; a slot belongs to one thread at a time.
 */
#ifndef MEMBACK_FRAMES_H
#define MEMBACK_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define MB_MUST_CHECK __attribute__((warn_unused_result))
#else
#define MB_MUST_CHECK
#endif

/* A frame number: base frames from the start of the pool. */
typedef struct mb_frame {
	uint64_t n;
} mb_frame;

/* A slot number, see mb_slot_open(). */
typedef struct mb_slot {
	uint32_t n;
} mb_slot;

/* The three frame sizes; each is 512 of the one below. Names as with a 4 KiB base. */
enum mb_level {
	MB_BASE = 0,  /*   4 KiB */
	MB_HUGE = 1,  /*   2 MiB */
	MB_GIANT = 2, /*   1 GiB */
};
#define MB_LEVELS 3
#define MB_LEVEL_SHIFT 9 /* log2 of the frames of one level in one of the next */

/* Base frames in one frame of a level. */
static inline uint64_t mb_level_frames(enum mb_level level)
{
	return UINT64_C(1) << (MB_LEVEL_SHIFT * (unsigned)level);
}

/* The allocator: opaque, lies at the start of its metadata area. */
struct mb_frames;

enum mb_frames_flags {
	/*
	 * Frames have owners: only MB_HUGE and MB_GIANT are handed out, and a base frame that its owner has
	 * given back is a hole, which stays its owner's: see mb_frame_holes_add().
	 */
	MB_FRAMES_OWNED = 1u << 0,
};

struct mb_frames_config {
	uint64_t capacity;   /* highest frame number + 1, in base frames; at most 2^37 */
	uint32_t base_shift; /* log2 of the bytes of a base frame, 12 to 30; 12 for 4 KiB */
	uint32_t slots;      /* how many slots; 1 to 65536 */
	uint32_t flags;      /* enum mb_frames_flags */
};

/* ---- life ------------------------------------------------------------------------------------------- */

/* Bytes of metadata that an out-of-band allocator of this configuration needs; 0 for a bad configuration. */
size_t mb_frames_meta_bytes(const struct mb_frames_config *config);

/*
 * Makes an allocator without frames in [meta, meta + bytes), out of band. The area is page-aligned and
 * zero-filled (fresh from mmap or a hole of a file); only a few pages of it are touched. It stays the
 * caller's and must outlive the allocator. Stores to it must not fail: a caller whose area is a sparse file
 * makes it real first. Not thread-safe.
 */
MB_MUST_CHECK int mb_frames_init(void *meta, size_t bytes, const struct mb_frames_config *config,
				 struct mb_frames **out);

/*
 * Makes an allocator in band: its state lies in the first frames of [mem, mem + bytes) itself, and the
 * rest is online and free when it returns. mem is aligned to the base frame. Frame 0 is at mem.
 * config->capacity is ignored. Not for pools with owners. Not thread-safe.
 *
 * The level-0 blocks come and go within the memory: each lies in the first frame of the huge frame that was
 * split first, which is not handed out meanwhile and is counted as used.
 */
MB_MUST_CHECK int mb_frames_init_in_band(void *mem, size_t bytes, const struct mb_frames_config *config,
					 struct mb_frames **out);

/* Attaches to the allocator that another thread or process made in this area; checks its header. */
MB_MUST_CHECK int mb_frames_attach(void *meta, size_t bytes, struct mb_frames **out);

/* ---- slots ------------------------------------------------------------------------------------------ */

/*
 * A slot keeps a thread's frames apart from the others'. Open one per thread that allocates or frees;
 * closing gives back what it held. A slot must not be used by two threads at once.
 */
MB_MUST_CHECK int mb_slot_open(struct mb_frames *f, mb_slot *out);
int mb_slot_close(struct mb_frames *f, mb_slot slot);

/*
 * Opens this very slot; -EBUSY: it is in use. Who numbers its slots itself, by something that outlives a process,
 * knows which slot to recover if that process is killed while it opens one.
 */
MB_MUST_CHECK int mb_slot_open_at(struct mb_frames *f, mb_slot slot);
/* Is the slot anything but closed: open, being opened, or of the dead? False beyond the last one. */
bool mb_slot_in_use(const struct mb_frames *f, mb_slot slot);

/* ---- ranges ----------------------------------------------------------------------------------------- */

/*
 * Brings [first, first + count) online and free. In a pool with owners ranges are multiples of a huge frame.
 * The calls that change ranges exclude one another: each waits for the one that is at work.
 */
MB_MUST_CHECK int mb_range_add(struct mb_frames *f, mb_frame first, uint64_t count);

/*
 * Takes [first, first + count) offline, if all of it is free. -EBUSY names the first frame in use in
 * *busy (may be NULL) and changes nothing. Held lines of other slots in the range are revoked first.
 */
MB_MUST_CHECK int mb_range_remove(struct mb_frames *f, mb_frame first, uint64_t count, mb_frame *busy);

/*
 * Starts taking the range offline: what is free leaves now, what is in use leaves when it is freed, and
 * nothing of it is handed out again. *left (may be NULL): base frames still in use. Call it again to see
 * how it goes; when *left is 0 the range is offline.
 */
MB_MUST_CHECK int mb_range_drain(struct mb_frames *f, mb_frame first, uint64_t count, uint64_t *left);

/* ---- frames ----------------------------------------------------------------------------------------- */

/*
 * Allocates one frame. -ENOMEM while other threads split or merge: all that was free may have been in their
 * hands for that moment.
 */
MB_MUST_CHECK int mb_frame_alloc(struct mb_frames *f, mb_slot slot, enum mb_level level, mb_frame *out);
/* Frees one. In a pool with owners the frame may have holes: they are freed with it. */
MB_MUST_CHECK int mb_frame_free(struct mb_frames *f, mb_slot slot, enum mb_level level, mb_frame frame);

/*
 * Allocates up to count frames into out[]; returns how many (at least one), or a negative errno. Frames of
 * one batch tend to be neighbours, in ascending order.
 */
MB_MUST_CHECK int mb_frame_alloc_batch(struct mb_frames *f, mb_slot slot, enum mb_level level, mb_frame *out,
				       unsigned count);

/*
 * Frees count frames; neighbours in ascending order cost least. Stops at the first bad one: returns how
 * many were freed, or the errno if that is none.
 */
MB_MUST_CHECK int mb_frame_free_batch(struct mb_frames *f, mb_slot slot, enum mb_level level,
				      const mb_frame *frames, unsigned count);

/* Takes this very frame if it is free, else -EBUSY. */
MB_MUST_CHECK int mb_frame_take(struct mb_frames *f, mb_slot slot, enum mb_level level, mb_frame frame);

/*
 * Frees the base frames [first, first + count), which are a part (or all) of frames allocated at any
 * level; what remains of those is then allocated at the levels below. Not for pools with owners.
 */
MB_MUST_CHECK int mb_frame_free_part(struct mb_frames *f, mb_slot slot, mb_frame first, uint64_t count);

/* ---- holes: pools with owners only ------------------------------------------------------------------- */

/*
 * Marks the base frames [first, first + count), all of them owned and none a hole yet, as holes: their
 * bytes are given back, their place stays their owner's. Only the owner may call this for its frames, and
 * one thread at a time for one huge frame. -EALREADY: one of them is a hole already (nothing changed).
 * A giant frame that becomes holes as a whole costs one bit, however large the run; while it is that, taking
 * back a part of it counts as work on all of it, so one thread at a time then.
 */
MB_MUST_CHECK int mb_frame_holes_add(struct mb_frames *f, mb_slot slot, mb_frame first, uint64_t count);

/* The reverse. -EALREADY: one of them is no hole (nothing changed). */
MB_MUST_CHECK int mb_frame_holes_remove(struct mb_frames *f, mb_slot slot, mb_frame first, uint64_t count);
/*
 * A giant frame whose holes were added piece by piece, until all of it is holes, becomes one bit again and gives
 * up its lines. Counts as work on all of it. -EBUSY: it is not all holes, or not a giant frame of one owner.
 */
MB_MUST_CHECK int mb_frame_holes_merge(struct mb_frames *f, mb_slot slot, mb_frame giant);

/* ---- killed at any instruction: pools with owners only ------------------------------------------------ */

/*
 * A thread may be killed between any two instructions; what it had in hand is not lost. *Lost* is a frame that
 * is not free, that nobody's record (the caller's ledger) holds, and that no living slot's intent names.
 *
 * Each slot says beforehand what it is about to do: its intent. What a call of mb_frame_alloc(), _alloc_batch()
 * (which gives at most 64 frames at a time here) or _take() hands out stays named by the intent, until
 * mb_slot_settle(): the caller records the frames, with release, then settles. The next call with the slot that
 * allocates, takes, frees or makes holes settles as well. To free, the other way round: intend, clear the record
 * with release, free. The intent of a free covers all frames within the one that it names: a giant frame may be
 * intended at once, and freed huge frame by huge frame; then it stays until settled.
 *
 *	mb_frame_take(f, slot, level, x);          mb_slot_intend_free(f, slot, level, x);
 *	store_release(&ledger[x], me);             store_release(&ledger[x], nobody);
 *	mb_slot_settle(f, slot);                   mb_frame_free(f, slot, level, x);
 */
MB_MUST_CHECK int mb_slot_intend_free(struct mb_frames *f, mb_slot slot, enum mb_level level, mb_frame frame);
int mb_slot_settle(struct mb_frames *f, mb_slot slot);

/*
 * Does anybody's record hold this frame, be it by itself or as part of a larger one? Asked for huge frames only.
 * Read the record with acquire. (Where a giant frame is recorded in part, its owner was killed while he wrote or
 * cleared the records: then the frame becomes huge ones, and those without a record are freed.)
 */
typedef bool mb_recorded_fn(void *arg, enum mb_level level, mb_frame frame);

/* What recovery did; the calls add to it. */
struct mb_recovery {
	uint64_t freed;     /* base frames that were nobody's: free again (or offline, where they were leaving) */
	uint64_t completed; /* operations cut in the middle that were completed */
	uint64_t undone;    /* ... that were undone; a change of holes always is */
	uint64_t lines;     /* lines that it held, or was about to hold or leave */
};

/*
 * The thread of slot `dead` is gone, killed at any instruction: completes or undoes what it was in the middle of,
 * gives back what it had in hand, closes the slot. What the records say stays as it is: give that back
 * afterwards, not before. A slot that is closed: 0, nothing done. It looks only at what the slot's intent names:
 * the cost does not depend on the size of the pool.
 *
 * mine: a slot of the caller's, open. One recovery at a time (the caller's lock); all else may go on meanwhile.
 * Whoever is killed in here has left nothing worse behind: recover his slot as well.
 *
 * -EAGAIN: the intent of another slot, or a change of ranges, stands in the way. The call has marked its slot as
 * dead, so that this one is in nobody's way any more: so call it for all slots of the dead (and the ranges), and
 * again while one of them says so. -EPERM: not a pool with owners. -EINVAL: mine is dead.
 */
MB_MUST_CHECK int mb_slot_recover(struct mb_frames *f, mb_slot mine, mb_slot dead, mb_recorded_fn *recorded,
				  void *arg, struct mb_recovery *out);

/* Is a change of ranges under way, or was one left by somebody who was killed? Any thread. */
bool mb_ranges_are_changing(const struct mb_frames *f);
/*
 * The same for a change of ranges: if one was begun (mb_range_add(), _remove(), _drain()) whose thread is gone,
 * it is completed (adding; draining; removing, once all of it was taken) or undone. The caller vouches that
 * nobody alive is in such a call: the core cannot tell. Before the slots, since those may need it.
 */
MB_MUST_CHECK int mb_ranges_recover(struct mb_frames *f, mb_slot mine, mb_recorded_fn *recorded, void *arg,
				    struct mb_recovery *out);

/* ---- looking ---------------------------------------------------------------------------------------- */

/* What became of a base frame. MB_HOLE occurs only in pools with owners. */
enum mb_state {
	MB_OFFLINE,
	MB_FREE,
	MB_USED,
	MB_HOLE,
	MB_DRAINING, /* in use, and offline as soon as it is freed */
};

struct mb_run {
	mb_frame first;
	uint64_t count; /* base frames */
	enum mb_state state;
};

/*
 * Calls fn for each maximal run of one state in [first, first + count), ascending; a non-zero return ends
 * the walk and is returned. A wholly free or wholly allocated giant frame is one step. While others
 * allocate, each word is read once: the result is a mixture of moments. -EINVAL: no frames; -ERANGE: not all of them
 * lie within the capacity, and fn was not called.
 */
typedef int mb_run_fn(void *arg, const struct mb_run *run);
int mb_frames_walk(const struct mb_frames *f, mb_frame first, uint64_t count, mb_run_fn *fn, void *arg);

/* The state of one base frame; beyond the capacity it is MB_OFFLINE. */
enum mb_state mb_frame_state(const struct mb_frames *f, mb_frame frame);

struct mb_frames_count {
	uint64_t capacity;                /* base frames, as configured */
	uint64_t offline;                 /* base frames */
	uint64_t used;                    /* base frames allocated, holes not included */
	uint64_t holes;                   /* base frames */
	uint64_t free;                    /* base frames; capacity = offline + used + holes + free */
	uint64_t whole[MB_LEVELS];        /* free frames of each level: a free giant frame counts 512 huge */
	uint64_t lines;                   /* lines that exist: huge or giant frames that are split */
};

/*
 * Goes through the whole pool, word by word and without waiting for anybody: while others allocate, each word is right
 * for a moment of its own, and the sum above holds all the same.
 */
void mb_frames_count(const struct mb_frames *f, struct mb_frames_count *out);
/* What the pool was made with; it never changes. */
void mb_frames_get_config(const struct mb_frames *f, struct mb_frames_config *out);

enum mb_validate {
	MB_VALIDATE_CHEAP, /* headers, hints' bounds; may run while others allocate */
	MB_VALIDATE_FULL,  /* every invariant of every line; only at rest */
};

/* What is wrong, in words that a log can take; static storage. */
struct mb_flaw {
	const char *what;
	mb_frame frame;
};

/* 0, or -EILSEQ and the first flaw. */
MB_MUST_CHECK int mb_frames_validate(const struct mb_frames *f, enum mb_validate how, struct mb_flaw *flaw);

#ifdef __cplusplus
}
#endif
#endif
