/* SPDX-License-Identifier: MIT */
/* frames.c - lay out, make and attach an allocator. */
#include "inband.h"
#include "intent.h"
#include "mem.h"
#include "range.h"

static uint64_t div_up(uint64_t n, uint64_t by)
{
	return n / by + (n % by != 0);
}

static uint64_t page_up(uint64_t n)
{
	return div_up(n, MBC_PAGE) * MBC_PAGE;
}

/* Places one level's tree from *off on. */
static void place_tree(struct mb_frames *f, unsigned level, uint64_t *off)
{
	uint64_t n = f->blocks[level];

	f->tiers[level] = 0;
	do {
		n = div_up(n, MBC_WORD_BITS);
		f->off_tree[level][f->tiers[level]++] = *off;
		*off += n * sizeof(mbc_a64);
	} while (n > 1);
}

/*
 * Lays everything out; returns the end. The order puts what is small and touched early into the first pages,
 * and the level-0 blocks, which are all of the bulk, last.
 */
static uint64_t place(struct mb_frames *f)
{
	uint64_t off = MBC_PAGE;

	for (unsigned level = 0; level < MB_LEVELS; level++) {
		f->lines[level] = div_up(f->capacity, mb_level_frames((enum mb_level)level) * MBC_LINE_FRAMES);
		f->blocks[level] = div_up(f->lines[level], MBC_BLOCK_LINES);
	}
	off += (uint64_t)(f->slots + 1) * sizeof(struct mbc_slot);
	f->off_journals = mbc_owned_pool(f) ? off : 0;
	if (mbc_owned_pool(f))
		off += (uint64_t)(f->slots + 1) * sizeof(struct mbc_journal);
	for (unsigned level = MB_GIANT + 1; level-- > 0;)
		place_tree(f, level, &off);
	off = div_up(off, 64) * 64;
	for (unsigned level = MB_GIANT; level > 0; level--) {
		f->off_online[level] = off;
		f->off_drain[level] = off + f->lines[level] * sizeof(struct mbc_line);
		off += 2 * f->lines[level] * sizeof(struct mbc_line);
	}
	f->edges = f->in_band ? MBC_EDGES_IN_BAND : MBC_EDGES;
	f->off_edges = off;
	off = page_up(off + f->edges * sizeof(struct mbc_edge));
	for (unsigned level = MB_GIANT; level > 0; level--) {
		f->off_block[level] = off;
		off += f->blocks[level] * MBC_PAGE;
	}
	f->off_block[0] = off;
	if (!f->in_band)
		return off + f->blocks[0] * MBC_PAGE;
	f->off_directory = off;
	return page_up(off + f->blocks[0] * sizeof(mbc_a32));
}

static int check_config(const struct mb_frames_config *c)
{
	if (!c->capacity || c->capacity > MBC_MAX_FRAMES || !c->slots || c->slots > MBC_MAX_SLOTS ||
	    c->base_shift < MBC_BASE_SHIFT_MIN || c->base_shift > MBC_BASE_SHIFT_MAX ||
	    (c->flags & ~(uint32_t)MB_FRAMES_OWNED))
		return -MBC_EINVAL;
	return 0;
}

/* Everything of the head that follows from the configuration; the rest of it is 0. */
static void fill_head(struct mb_frames *f, const struct mb_frames_config *c, bool in_band)
{
	mbc_zero(f, sizeof(*f));
	f->capacity = c->capacity;
	f->slots = c->slots;
	f->flags = c->flags;
	f->base_shift = c->base_shift;
	f->lowest = c->flags & MB_FRAMES_OWNED ? MB_HUGE : MB_BASE;
	f->in_band = in_band;
	f->base_end = in_band || f->lowest != MB_BASE ? 0 : f->capacity;
	f->meta_bytes = place(f);
}

size_t mb_frames_meta_bytes(const struct mb_frames_config *config)
{
	struct mb_frames f;

	if (!config || check_config(config))
		return 0;
	fill_head(&f, config, false);
	return (size_t)f.meta_bytes;
}

/* The lines of the top level are there from the beginning, and nothing in them is online. */
static void open_top(struct mb_frames *f)
{
	for (uint64_t L = 0; L < f->lines[MB_GIANT]; L++) {
		struct mbc_ref r = mbc_ref_get(f, MB_GIANT, L);

		mbc_or_seq(&r.block->split, r.bit);
		mbc_or_seq(&r.block->special, r.bit);
	}
}

/* The magic number comes last: whoever attaches by it sees all the rest. */
static void seal(struct mb_frames *f)
{
	__atomic_store_n(&f->magic, MBC_MAGIC, __ATOMIC_RELEASE);
}

int mb_frames_init(void *meta, size_t bytes, const struct mb_frames_config *config, struct mb_frames **out)
{
	struct mb_frames *f = (struct mb_frames *)meta;
	int rc = config ? check_config(config) : -MBC_EINVAL;

	if (rc || !meta || (uintptr_t)meta % MBC_PAGE)
		return -MBC_EINVAL;
	if (bytes < mb_frames_meta_bytes(config))
		return -MBC_ENOSPC;
	fill_head(f, config, false);
	open_top(f);
	seal(f);
	*out = f;
	return 0;
}

int mb_frames_init_in_band(void *mem, size_t bytes, const struct mb_frames_config *config,
			   struct mb_frames **out)
{
	struct mb_frames head, *f = (struct mb_frames *)mem;
	struct mb_frames_config c;
	uint64_t end, frames;

	if (!config || !mem || (config->flags & MB_FRAMES_OWNED))
		return -MBC_EINVAL;
	c = *config;
	if (c.base_shift < MBC_BASE_SHIFT_MIN || c.base_shift > MBC_BASE_SHIFT_MAX)
		return -MBC_EINVAL;
	c.capacity = (uint64_t)bytes >> c.base_shift;
	/* the directory has 32-bit frame numbers */
	if (!c.capacity || c.capacity >= MBC_DIR_GOING)
		return c.capacity ? -MBC_EINVAL : -MBC_ENOSPC;
	if (check_config(&c) || (uintptr_t)mem & ((UINT64_C(1) << c.base_shift) - 1))
		return -MBC_EINVAL;
	fill_head(&head, &c, true);
	/* block 0 is for good: the line of our own frames is split for ever */
	end = head.meta_bytes + MBC_PAGE;
	if (c.base_shift > 12)
		end = (div_up(head.meta_bytes, UINT64_C(1) << c.base_shift) + 1) << c.base_shift;
	frames = div_up(end, UINT64_C(1) << c.base_shift);
	if (frames >= c.capacity)
		return -MBC_ENOSPC;
	mbc_zero(mem, (size_t)end);
	fill_head(f, &c, true);
	f->reserved = frames;
	mbc_store32_release(mbc_dir(f, 0), (uint32_t)(frames - 1));
	open_top(f);
	seal(f);
	*out = f;
	return mb_range_add(f, (mb_frame){frames}, c.capacity - frames);
}

int mb_frames_attach(void *meta, size_t bytes, struct mb_frames **out)
{
	struct mb_frames *f = (struct mb_frames *)meta, again;
	struct mb_frames_config c;

	if (!meta || (uintptr_t)meta % MBC_PAGE)
		return -MBC_EINVAL;
	if (bytes < MBC_PAGE)
		return -MBC_ENOSPC;
	/* acquire: pairs with seal() */
	if (__atomic_load_n(&f->magic, __ATOMIC_ACQUIRE) != MBC_MAGIC || f->in_band > 1)
		return -MBC_EILSEQ;
	c = (struct mb_frames_config){f->capacity, f->base_shift, f->slots, f->flags};
	if (check_config(&c))
		return -MBC_EILSEQ;
	/* every offset follows from the configuration: it must be what we would have chosen */
	fill_head(&again, &c, f->in_band);
	if (!mbc_head_equal(f, &again))
		return -MBC_EILSEQ;
	if (bytes < f->meta_bytes || (f->in_band && bytes >> f->base_shift < f->capacity))
		return -MBC_ENOSPC;
	*out = f;
	return 0;
}

void mb_frames_get_config(const struct mb_frames *f, struct mb_frames_config *out)
{
	*out = (struct mb_frames_config){f->capacity, f->base_shift, f->slots, f->flags};
}
