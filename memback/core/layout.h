/* SPDX-License-Identifier: MIT */
/*
 * layout.h - where everything lies, as arithmetic.
 *
 *   a line  = 64 bytes = 8 words = 512 bits, one cache line; bit set = that frame is free
 *   a block = 4 KiB = 62 lines + 128 bytes about them = 31,744 frames of the level's size
 *
 *   level   frame     a line covers   a block covers
 *     0     4 KiB         2 MiB          124 MiB        (with a base of 4 KiB)
 *     1     2 MiB         1 GiB           62 GiB
 *     2     1 GiB       512 GiB           31 TiB
 *
 * One frame of a level is one line of the level below, so frame X of level n + 1 is line X of level n.
 * Indices in the core: X counts frames of its own level, W = X / 64 words, L = X / 512 lines.
 *
 * The metadata area, all offsets from its start (in band: from the start of the memory that is managed):
 *
 *   struct mb_frames | slots | their journals (pools with owners: intent.h) | trees | online and drain masks of
 *   levels 2, 1 | edges | blocks 2 | blocks 1 |
 *   out of band: blocks 0              in band: directory of the level-0 blocks, block 0
 *
 * Truth, and nothing else, decides about a frame:
 *
 *   bit of X set                          X is free (in a pool with owners, at level 0: X is a hole)
 *   bit of X clear, line X below split    look one level down (`owned` there: X is allocated whole, with holes)
 *   bit of X clear, line X not split      X is allocated whole, or offline; `gone` there (X a giant frame of a
 *                                         pool with owners): X is allocated whole, and all of it is holes
 *   line not split  =>  its 8 words are 0
 *   `special` of a line clear  =>  all of it is online, nothing of it drains, it hosts no block
 *   `special` set   =>  levels 1, 2: the online and drain masks of the line hold;
 *                       level 0: `ragged` - the masks in an edge hold; `drain` - all of the line is leaving,
 *                       and a set bit there has left; `host` - one frame of it holds the block itself
 *
 * Hints (`part`, `held`, trees, rings) may be stale and follow from the truth.
 */
#ifndef MBC_LAYOUT_H
#define MBC_LAYOUT_H

#include "atomic.h"
#include "bits.h"

#include <memback/frames.h>

#include <stddef.h>

/* The errno values of the interface; the core has no <errno.h>, and these are the same on every Linux. */
#define MBC_EPERM    1
#define MBC_ENOENT   2
#define MBC_ENXIO    6
#define MBC_EBADF    9
#define MBC_EAGAIN   11 /* within the core only: lost a race, go elsewhere */
#define MBC_ENOMEM   12
#define MBC_EBUSY    16
#define MBC_EEXIST   17
#define MBC_EINVAL   22
#define MBC_EFBIG    27
#define MBC_ENOSPC   28
#define MBC_ERANGE   34
#define MBC_EILSEQ   84
#define MBC_EUSERS   87
#define MBC_EALREADY 114

#define MBC_LINE_WORDS     8u
#define MBC_LINE_FRAMES    512u
#define MBC_BLOCK_LINES    62u
#define MBC_PAGE           4096u
#define MBC_NONE           UINT64_MAX          /* no line is held */
#define MBC_TIERS          5u                  /* 64^5 blocks are more than the 2^41 frames that there may be */
#define MBC_MAX_FRAMES     (UINT64_C(1) << 37) /* so that 32 bits count the words of the metadata */
#define MBC_EDGES          128u                /* ragged level-0 lines that a pool may have at once */
#define MBC_EDGES_IN_BAND  16u
#define MBC_RING0          8u
#define MBC_RING1          4u
#define MBC_MAX_SLOTS      65536u
#define MBC_BASE_SHIFT_MIN 12u
#define MBC_BASE_SHIFT_MAX 30u

struct mbc_line {
	mbc_a64 word[MBC_LINE_WORDS];
};

struct mbc_block {
	/* first, so that line i is the page's cache line i: whoever has a word's address needs no division */
	struct mbc_line line[MBC_BLOCK_LINES];
	/* truth, one cache line; bit i speaks of line i */
	mbc_a64 split;   /* the frame above is split: the line is valid */
	mbc_a64 special; /* not all of it is plain: look at the words below, and at the masks */
	mbc_a64 ragged;  /* level 0: some of it is offline or leaving, see its edge */
	mbc_a64 drain;   /* level 0: all of it is leaving; a set bit has left */
	mbc_a64 owned;   /* the frame above is allocated whole to an owner, who has holes in it */
	mbc_a64 host;    /* level 0, in band: the block itself lies in a frame of this line */
	mbc_a64 gone;    /* level 1: the giant frame above is allocated whole to an owner, all of it holes */
	mbc_a64 plain;   /* levels 0 and 1, out of band, without owners: split, not special, and no frame of it
			    was ever split itself: all that a free of one of its frames has to know */
	/* hints, another cache line */
	mbc_a64 part; /* something is free, and it is nobody's */
	mbc_a64 held; /* a slot allocates from it (or somebody has it for a moment) */
	mbc_a64 hint_spare[6];
};

_Static_assert(sizeof(struct mbc_line) == 64, "a line is a cache line");
_Static_assert(offsetof(struct mbc_block, split) == MBC_PAGE - 128, "what speaks of the lines has 128 bytes");
_Static_assert(offsetof(struct mbc_block, part) == MBC_PAGE - 64, "truth and hints do not share a cache line");
_Static_assert(sizeof(struct mbc_block) == MBC_PAGE, "a block is a page");

enum mbc_slot_state {
	MBC_SLOT_CLOSED = 0,
	MBC_SLOT_OPEN = 1,
	MBC_SLOT_OPENING = 2, /* holds nothing yet */
	MBC_SLOT_DEAD = 3,    /* its thread is gone, and it is being recovered */
};

/*
 * at[n]: the word W that the slot allocates from at level n. The line of that word is the slot's alone at
 * levels 0 and 1 (its `held` bit says so), and only a hint at level 2. Its owner moves it by CAS, everybody
 * else may only exchange it for MBC_NONE.
 * ring[]: lines (L + 1) that the slot freed into and that no part bit names; only its owner writes it.
 *
 * where[] and base[] are what the common path reads, and all that it reads: the place of a word, as words from
 * f->nowhere, and the number of its first frame.
 *
 * Fact 1: where[n] != 0 => the line of that word was held when it was stored. Its owner stores where[], then
 * exchanges or compares and swaps at[]; who takes the line away exchanges at[] for MBC_NONE, then stores 0 to
 * where[]. So where[] names a line that was taken away only until whoever took it has stored the 0, and only to
 * whoever was about to move on to it; nobody goes on to allocate from it. A 0 that comes late, when the owner has
 * moved on, costs him a look at at[] once. Out of band no harm comes of a word that is read late (fact 1 of line.h);
 * in band nobody else takes a line of level 0 away (inband.h).
 * Fact 2: back[n] != 0 => at[n] was MBC_NONE when it was stored, and where[n] is 0: base[n] is of one of them.
 */
struct mbc_slot {
	mbc_a64 at[MB_LEVELS];
	mbc_a32 state; /* enum mbc_slot_state */
	mbc_a32 guard; /* in band: the level-0 block (+ 1) that it looks into and that must not vanish */
	mbc_a32 where[MB_LEVELS]; /* the place of word at[]; 0: unknown, or none. Level 2: never taken away */
	mbc_a32 slot_spare;
	mbc_a64 base[2]; /* levels 0 and 1: the first base frame of the word that where[] or back[] names */
	mbc_a32 back[2]; /* levels 0 and 1: the place of a word that came to have something free while no line
			     was held; it is before those of the ring. 0: none */
	mbc_a32 ring[MBC_RING0 + MBC_RING1];
	mbc_a32 turn[2]; /* of the rings of levels 0 and 1: where the next line goes, entries in use << 16 */
};

_Static_assert(sizeof(struct mbc_slot) == 128, "a slot is two cache lines");

/* The masks of a ragged level-0 line. */
struct mbc_edge {
	mbc_a64 line; /* L + 1, or 0: not in use */
	mbc_a64 spare[7];
	struct mbc_line online;
	struct mbc_line drain;
};

struct mb_frames {
	/* what the common path reads, one cache line; constant after init */
	uint64_t magic;
	uint64_t capacity; /* base frames */
	uint32_t slots;
	uint32_t flags;
	uint32_t lowest; /* the lowest level that is handed out */
	uint32_t
	    in_band; /* blocks of the levels below this one are found through the directory: 0, or 1 in band */
	uint64_t base_end; /* base frames below it are freed without looking anything up: capacity, or 0 */
	uint64_t off_block[MB_LEVELS]; /* [0]: out of band only */
	/* the rest is constant too */
	uint64_t off_directory;
	mbc_a64 nowhere; /* always 0: the word of who holds nothing, so that a common path less is told apart */
	uint64_t off_journals; /* in pools with owners: intent.h */
	uint64_t off_edges;
	uint64_t off_online[MB_LEVELS]; /* [1], [2] */
	uint64_t off_drain[MB_LEVELS];
	uint64_t off_tree[MB_LEVELS][MBC_TIERS];
	uint64_t lines[MB_LEVELS];
	uint64_t blocks[MB_LEVELS];
	uint32_t tiers[MB_LEVELS];
	uint32_t base_shift;
	uint32_t edges;
	uint32_t head_spare;
	uint64_t meta_bytes; /* out of band: the area; in band: the first frames */
	uint64_t reserved;   /* in band: base frames that hold the above, and block 0 */
	/* what changes */
	mbc_a64 range_lock; /* one change of ranges at a time */
	mbc_a64 vanished;   /* in band: counts blocks that went away, for readers to notice */
	/* in pools with owners: what recovery looks at (intent.h), and where a change of ranges stands
	 * (range.h) */
	mbc_a64 judging;   /* the giant frame (+ 1) that is looked into on behalf of a dead slot */
	mbc_a64 disturbed; /* counts who changed something of it meanwhile */
	mbc_a64 range_op;  /* enum mbc_range_op */
	mbc_a64 range_first;
	mbc_a64 range_end;
	mbc_a64 range_at;   /* pieces before this one are added, or taken */
	mbc_a64 range_gone; /* pieces before this one are forgotten */
	mbc_a64 range_tidy; /* the giant frame (+ 1) that is being forgotten */
};

_Static_assert(sizeof(struct mb_frames) <= MBC_PAGE, "the head is a page");
_Static_assert(offsetof(struct mb_frames, off_directory) == 64, "the common path's fields lie together");

/* Do two heads agree in all that follows from the configuration? */
static inline bool mbc_head_equal(const struct mb_frames *a, const struct mb_frames *b)
{
	bool same = a->lowest == b->lowest && a->base_end == b->base_end && a->off_edges == b->off_edges &&
		    a->off_directory == b->off_directory && a->nowhere.raw == b->nowhere.raw &&
		    a->off_journals == b->off_journals && a->edges == b->edges &&
		    a->meta_bytes == b->meta_bytes;

	for (unsigned n = 0; n < MB_LEVELS; n++) {
		same = same && a->off_block[n] == b->off_block[n] && a->off_online[n] == b->off_online[n] &&
		       a->off_drain[n] == b->off_drain[n] && a->lines[n] == b->lines[n] &&
		       a->blocks[n] == b->blocks[n] && a->tiers[n] == b->tiers[n];
		for (unsigned t = 0; t < MBC_TIERS; t++)
			same = same && a->off_tree[n][t] == b->off_tree[n][t];
	}
	return same;
}

#define MBC_MAGIC UINT64_C(0x324b434142424d4d) /* "MMBBACK2" */

/*
 * An entry of the in-band directory: 0, the frame of the block, or MBC_DIR_BUSY while the block is being made.
 * GOING beside the frame: it may vanish. Who owns something in the block still finds it, and by that keeps it;
 * who only looks waits.
 */
#define MBC_DIR_GOING 0x80000000u
#define MBC_DIR_BUSY  UINT32_MAX

/* ---- addresses -------------------------------------------------------------------------------------- */

static inline void *mbc_at(const struct mb_frames *f, uint64_t off)
{
	return (void *)((uintptr_t)f + (uintptr_t)off);
}

#define MBC_OFF_SLOTS MBC_PAGE /* a constant: a load less on every path */

static inline struct mbc_slot *mbc_slot_at(const struct mb_frames *f, uint32_t n)
{
	/* in this order: the constant becomes part of the accesses */
	return (struct mbc_slot *)((uintptr_t)f + (uint64_t)n * sizeof(struct mbc_slot) + MBC_OFF_SLOTS);
}

/* Is it the number of a slot that is open? */
static inline bool mbc_slot_is_open(const struct mb_frames *f, mb_slot slot)
{
	return slot.n < f->slots && mbc_own32(&mbc_slot_at(f, slot.n)->state) == MBC_SLOT_OPEN;
}

/* The slot, or NULL: not a slot, or not open. */
static inline struct mbc_slot *mbc_slot_get(const struct mb_frames *f, mb_slot slot)
{
	return mbc_slot_is_open(f, slot) ? mbc_slot_at(f, slot.n) : NULL;
}

static inline mbc_a32 *mbc_dir(const struct mb_frames *f, uint64_t b)
{
	return (mbc_a32 *)mbc_at(f, f->off_directory + b * sizeof(mbc_a32));
}

static inline bool mbc_by_directory(const struct mb_frames *f, unsigned level)
{
	return level == MB_BASE && f->in_band;
}

/*
 * A block by number; NULL in band where a level-0 block does not exist. In band a level-0 block stays only
 * while one of its frames is the caller's, a line of it is held by the caller, or the caller's slot guards it.
 */
static inline struct mbc_block *mbc_block_at(const struct mb_frames *f, unsigned level, uint64_t b)
{
	if (mbc_by_directory(f, level)) {
		/* acquire: pairs with the release in mbc_block_make(), the block is zeroed before it is seen */
		uint32_t e = mbc_load32_acquire(mbc_dir(f, b));

		if (e == 0 || e == MBC_DIR_BUSY)
			return NULL;
		return (struct mbc_block *)mbc_at(f, (uint64_t)(e & ~MBC_DIR_GOING) << f->base_shift);
	}
	return (struct mbc_block *)mbc_at(f, f->off_block[level] + b * MBC_PAGE);
}

/* The same for a block that is there beyond doubt. */
static inline struct mbc_block *mbc_block_sure(const struct mb_frames *f, unsigned level, uint64_t b)
{
	uint64_t off = f->off_block[level] + b * MBC_PAGE;

	if (mbc_by_directory(f, level))
		off = (uint64_t)(mbc_load32_acquire(mbc_dir(f, b)) & ~MBC_DIR_GOING) << f->base_shift;
	return (struct mbc_block *)mbc_at(f, off);
}

/*
 * The block of frame X of a level, X / (512 * 62). There are 2^37 frames at most, so that Y = X / 1024 < 2^27, and
 * 31 * 0x42108422 = 2^35 + 30: the product is too large by less than Y * 30 / (31 * 2^35) < 1 / 31 block.
 */
static inline uint64_t mbc_block_of_frame(uint64_t X)
{
	return (X >> 10) * 0x42108422u >> 35;
}

/* The block of a line. There are less than 2^32 lines: dividing 32 bits costs one multiplication. */
static inline uint64_t mbc_block_of(uint64_t L)
{
	return (uint32_t)L / MBC_BLOCK_LINES;
}

/* A line and the block that it lies in. */
struct mbc_ref {
	struct mbc_block *block;
	struct mbc_line *line;
	uint64_t bit; /* of the line in the words of the header */
	uint64_t L;
	unsigned level;
};

/* Line L of block number b. */
static inline struct mbc_ref mbc_ref_in(struct mbc_block *block, uint64_t b, unsigned level, uint64_t L)
{
	/* L - b * 62 < 64 */
	unsigned i = (unsigned)(L + 2 * b) % MBC_WORD_BITS;

	return (struct mbc_ref){block, &block->line[i], UINT64_C(1) << i, L, level};
}

static inline struct mbc_ref mbc_ref_at(struct mbc_block *block, unsigned level, uint64_t L)
{
	return mbc_ref_in(block, mbc_block_of(L), level, L);
}

/* As mbc_block_at(): block is NULL where there is none. */
static inline struct mbc_ref mbc_ref_get(const struct mb_frames *f, unsigned level, uint64_t L)
{
	uint64_t b = mbc_block_of(L);
	struct mbc_block *block = mbc_block_at(f, level, b);

	if (mbc_by_directory(f, level) && !block)
		return (struct mbc_ref){NULL, NULL, 0, L, level};
	return mbc_ref_in(block, b, level, L);
}

/* The same for a line whose block is there beyond doubt. */
static inline struct mbc_ref mbc_ref_sure(const struct mb_frames *f, unsigned level, uint64_t L)
{
	uint64_t b = mbc_block_of(L);

	return mbc_ref_in(mbc_block_sure(f, level, b), b, level, L);
}

/* The block that a word lies in; and the line of it there, modulo 64. */
static inline struct mbc_block *mbc_block_around(const mbc_a64 *word)
{
	return (struct mbc_block *)((uintptr_t)word & ~(uintptr_t)(MBC_PAGE - 1));
}

static inline uint64_t mbc_line_around(const mbc_a64 *word)
{
	return (uintptr_t)word / sizeof(struct mbc_line);
}

/* What a word of a block says of line i, modulo 64. */
static inline bool mbc_says(uint64_t word, uint64_t i)
{
	return word >> i % MBC_WORD_BITS & 1;
}

/* Word W of a level whose line exists. Each block before it shifts it by the 128 bytes about its lines. */
static inline mbc_a64 *mbc_word_at(const struct mb_frames *f, unsigned level, uint64_t W)
{
	uint64_t b = mbc_block_of(W / MBC_LINE_WORDS);
	uint64_t start = (uint64_t)(uintptr_t)f + f->off_block[level];

	if (mbc_by_directory(f, level))
		start = (uint64_t)(uintptr_t)mbc_block_sure(f, level, b) - b * MBC_PAGE;
	return (mbc_a64 *)(uintptr_t)(start + W * sizeof(mbc_a64) +
				      b * (MBC_PAGE - MBC_BLOCK_LINES * sizeof(struct mbc_line)));
}

/* The word of the online or drain masks of levels 1 and 2. */
static inline mbc_a64 *mbc_online_at(const struct mb_frames *f, unsigned level, uint64_t W)
{
	return (mbc_a64 *)mbc_at(f, f->off_online[level] + W * sizeof(mbc_a64));
}

static inline mbc_a64 *mbc_drain_at(const struct mb_frames *f, unsigned level, uint64_t W)
{
	return (mbc_a64 *)mbc_at(f, f->off_drain[level] + W * sizeof(mbc_a64));
}

static inline bool mbc_has(const mbc_a64 *word, uint64_t bit)
{
	return (mbc_load_seq(word) & bit) != 0;
}

/*
 * plain: whoever frees looks at this one word, before he sets the bit and again afterwards. To clear it is always
 * right, and costs time only.
 *
 * Fact 3: plain => split, not special, no line below it is split; but for whoever is about to clear it.
 *   - It is set by whoever splits the frame above, after `split`, and before any frame of the line is anybody's. He
 *     looks at `special` after that, and clears it again; who sets `special` looks at `plain` after that: one of the
 *     two sees the other.
 *   - It is cleared before `split` is, by who has all frames of the line; and, by who has a frame of it, before that
 *     one is split.
 *   - Who sets `special`, and then sweeps what is free: a free whose second look was too early is swept (drain.h).
 */
static inline void mbc_plain_clear(struct mbc_ref r)
{
	if (mbc_has(&r.block->plain, r.bit))
		mbc_and_seq(&r.block->plain, ~r.bit);
}

static inline void mbc_special_set(struct mbc_ref r)
{
	mbc_or_seq(&r.block->special, r.bit);
	mbc_plain_clear(r);
}

/* The line comes to be: its frame above is the caller's, and lies in line up (levels 0 and 1). */
static inline void mbc_split_set_below(const struct mb_frames *f, struct mbc_ref up, struct mbc_ref r)
{
	bool common = f->base_end && r.level < MB_GIANT;

	if (common && r.level == MB_BASE)
		mbc_plain_clear(up);
	mbc_or_seq(&r.block->split, r.bit);
	if (!common || mbc_has(&r.block->special, r.bit))
		return;
	mbc_or_seq(&r.block->plain, r.bit);
	if (mbc_has(&r.block->special, r.bit))
		mbc_plain_clear(r);
}

static inline void mbc_split_set(const struct mb_frames *f, struct mbc_ref r)
{
	mbc_split_set_below(f, mbc_ref_sure(f, r.level + 1, r.L / MBC_LINE_FRAMES), r);
}

static inline void mbc_split_clear(struct mbc_ref r)
{
	mbc_plain_clear(r);
	mbc_and_seq(&r.block->split, ~r.bit);
}

static inline bool mbc_is_split(struct mbc_ref r)
{
	return r.block && mbc_has(&r.block->split, r.bit);
}

/*
 * Reading in band without a guard: a block may vanish under the reader, who then has read what has become
 * somebody's data. Whoever looks so asks for the count of vanished blocks before, and looks again if it has
 * changed.
 */
static inline uint64_t mbc_look_begin(const struct mb_frames *f)
{
	return f->in_band ? mbc_load_seq(&f->vanished) : 0;
}

static inline bool mbc_look_again(const struct mb_frames *f, uint64_t begun)
{
	return f->in_band && mbc_load_seq(&f->vanished) != begun;
}

static inline bool mbc_owned_pool(const struct mb_frames *f)
{
	return (f->flags & MB_FRAMES_OWNED) != 0;
}

static inline uint64_t mbc_bit(uint64_t X)
{
	return UINT64_C(1) << (X % MBC_WORD_BITS);
}

#define MBC_OFTEN(x)  __builtin_expect(!!(x), 1)
#define MBC_SELDOM(x) __builtin_expect(!!(x), 0)

#define MBC_COLD   __attribute__((noinline))
#define MBC_INLINE inline __attribute__((always_inline))

static inline void mbc_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

#endif
