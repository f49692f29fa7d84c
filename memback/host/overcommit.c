/* SPDX-License-Identifier: MIT */
/* overcommit.c - what is present and what is charged for it; see overcommit.h. */
#include "charge.h"
#include "error.h"
#include "overcommit_state.h"
#include "uffd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- the bits ------------------------------------------------------------------------------------------- */

/* Pages of the regions, laid end to end. */
static uint64_t page_index(const struct mb_space *space, uint64_t gpa)
{
	return space_index(space, gpa) * HUGE_PAGES + ((gpa % HUGE_BYTES) >> BASE_SHIFT);
}

bool overcommit_present(const struct mb_space *space, uint64_t gpa)
{
	uint64_t i = page_index(space, gpa);

	/* Acquire: who sees the bit finds the page in the page cache. */
	return atomic_load_explicit(&space->over->bits[i / 64], memory_order_acquire) >> (i % 64) & 1;
}

/* The bits of the word that [i, end) begins in, and how many. */
static uint64_t word_mask(uint64_t i, uint64_t end, uint64_t *n)
{
	uint64_t left = 64 - i % 64;

	*n = end - i < left ? end - i : left;
	return (*n == 64 ? UINT64_MAX : (UINT64_C(1) << *n) - 1) << (i % 64);
}

/* Sets or clears the bits of a range; returns the bytes that changed. Under the lock. */
static uint64_t change_bits(struct mb_space *space, uint64_t gpa, uint64_t len, bool set)
{
	struct overcommit *o = space->over;
	uint64_t i = page_index(space, gpa), end = i + (len >> BASE_SHIFT), n, changed = 0;

	for (; i < end; i += n) {
		uint64_t mask = word_mask(i, end, &n);
		uint64_t old = set ? atomic_fetch_or_explicit(&o->bits[i / 64], mask, memory_order_release)
				   : atomic_fetch_and_explicit(&o->bits[i / 64], ~mask, memory_order_release);

		changed += (uint64_t)__builtin_popcountll((set ? ~old : old) & mask);
	}
	return changed << BASE_SHIFT;
}

/* ---- the charge ----------------------------------------------------------------------------------------- */

static uint64_t above_minimum(const struct overcommit *o, uint64_t present)
{
	return present > o->minimum ? present - o->minimum : 0;
}

int overcommit_charge(struct mb_space *space, uint64_t bytes)
{
	struct overcommit *o = space->over;
	uint64_t more = above_minimum(o, o->present + bytes) - above_minimum(o, o->present);
	int rc = space_charge(space, more, &o->missing);

	if (rc)
		return rc;
	o->present += bytes;
	return 0;
}

void overcommit_uncharge(struct mb_space *space, uint64_t bytes)
{
	struct overcommit *o = space->over;
	uint64_t less = above_minimum(o, o->present) - above_minimum(o, o->present - bytes);

	o->present -= bytes;
	space_uncharge(space, less);
}

/* From the reserve: what was charged for it becomes the charge for the page. */
static int charge_reserve(struct mb_space *space, uint64_t bytes)
{
	struct overcommit *o = space->over;
	uint64_t more = above_minimum(o, o->present + bytes) - above_minimum(o, o->present);

	if (o->reserve < more)
		return -EDQUOT;
	o->reserve -= more;
	o->present += bytes;
	return 0;
}

/* Fills the reserve again; -EDQUOT. */
int overcommit_refill(struct mb_space *space)
{
	struct overcommit *o = space->over;
	uint64_t more = o->reserve_full - o->reserve;
	int rc = more ? space_charge(space, more, &o->missing) : 0;

	if (!rc)
		o->reserve = o->reserve_full;
	return rc;
}

uint64_t overcommit_first_charge(const struct mb_space *space)
{
	return space->over->minimum + space->over->reserve_full;
}

uint64_t overcommit_expected_charge(const struct mb_space *space)
{
	const struct overcommit *o = space->over;
	uint64_t words = (space->maximum >> BASE_SHIFT) / 64, present = 0;

	for (uint64_t i = 0; i < words; i++)
		present +=
		    (uint64_t)__builtin_popcountll(atomic_load_explicit(&o->bits[i], memory_order_relaxed))
		    << BASE_SHIFT;
	return o->minimum + above_minimum(o, present) + o->reserve;
}

/* ---- making present ------------------------------------------------------------------------------------- */

/* Pages [gpa, gpa + len) of one unit, charged already: makes them so, or takes the charge back. */
static int make_present(struct mb_space *space, uint64_t gpa, uint64_t len, bool small)
{
	struct overcommit *o = space->over;
	struct space_run run;
	int rc = 0;

	for (uint64_t pos = gpa; pos < gpa + len && !rc; pos += run.len) {
		run = space_run_at(space, pos, gpa + len - pos);
		if (space->mem.ops->reserve)
			rc = fallocate(space->mem.fd, FALLOC_FL_KEEP_SIZE, (off_t)(run.frame << BASE_SHIFT),
				       (off_t)run.len)
				 ? -errno
				 : 0;
		else
			rc = backing_populate((small ? o->small : o->alias) + pos, run.len);
	}
	if (!rc) {
		change_bits(space, gpa, len, true);
		o->stats.populated += len;
		return 0;
	}
	/* A part may be there: it goes again, so that nothing is present that is not charged. */
	for (uint64_t pos = gpa; pos < gpa + len; pos += run.len) {
		run = space_run_at(space, pos, gpa + len - pos);
		(void)space->mem.ops->purge(&space->mem, NULL, run.frame << BASE_SHIFT, run.len);
	}
	overcommit_uncharge(space, len);
	return rc == -EINTR ? -EAGAIN : -ENOMEM;
}

static int provide_pages(struct mb_space *space, uint64_t gpa, uint64_t len)
{
	int rc = overcommit_charge(space, len);

	return rc ? rc : make_present(space, gpa, len, len != HUGE_BYTES);
}

/* Pages of a huge frame that are neither present nor holes, a bit each. */
struct frame_pages {
	uint64_t first; /* base frame */
	uint64_t bit[HUGE_PAGES / 64];
	unsigned count;
};

static int drop_holes(void *arg, const struct mb_run *run)
{
	struct frame_pages *p = arg;

	for (uint64_t f = run->first.n; run->state == MB_HOLE && f < run->first.n + run->count; f++)
		p->bit[(f - p->first) / 64] &= ~(UINT64_C(1) << ((f - p->first) % 64));
	return 0;
}

static void find_missing(const struct mb_space *space, uint64_t frame_gpa, struct frame_pages *p)
{
	uint64_t word = space_index(space, frame_gpa) * (HUGE_PAGES / 64);

	p->first = space_run_at(space, frame_gpa, HUGE_BYTES).frame;
	p->count = 0;
	for (unsigned i = 0; i < HUGE_PAGES / 64; i++)
		p->bit[i] = ~atomic_load_explicit(&space->over->bits[word + i], memory_order_relaxed);
	(void)mb_frames_walk(space->pool->frames, (mb_frame){p->first}, HUGE_PAGES, drop_holes, p);
	for (unsigned i = 0; i < HUGE_PAGES / 64; i++)
		p->count += (unsigned)__builtin_popcountll(p->bit[i]);
}

static bool missing_at(const struct frame_pages *p, uint64_t page)
{
	return page < HUGE_PAGES && (p->bit[page / 64] >> (page % 64) & 1);
}

/* What a frame with some pages lacks, run by run. */
static int provide_rest(struct mb_space *space, uint64_t frame_gpa, const struct frame_pages *p)
{
	int rc = 0;

	for (uint64_t page = 0; page < HUGE_PAGES && !rc;) {
		uint64_t n = 0;

		while (missing_at(p, page + n))
			n++;
		if (n)
			rc = provide_pages(space, frame_gpa + (page << BASE_SHIFT), n << BASE_SHIFT);
		page += n ? n : 1;
	}
	return rc;
}

int overcommit_provide_frame(struct mb_space *space, uint64_t gpa)
{
	uint64_t frame_gpa = gpa & ~(HUGE_BYTES - 1);
	struct frame_pages p;

	find_missing(space, frame_gpa, &p);
	if (p.count < HUGE_PAGES)
		return -EEXIST;
	return provide_pages(space, frame_gpa, HUGE_BYTES);
}

int overcommit_provide(struct mb_space *space, uint64_t gpa, bool page_will_do)
{
	struct overcommit *o = space->over;
	uint64_t frame_gpa = gpa & ~(HUGE_BYTES - 1), page = (gpa % HUGE_BYTES) >> BASE_SHIFT;
	struct frame_pages p;
	int rc;

	if (overcommit_present(space, gpa))
		return 0;
	if (space->mem.granule > BASE_BYTES)
		return provide_pages(space, gpa & ~(o->unit - 1), o->unit);
	find_missing(space, frame_gpa, &p);
	if (!missing_at(&p, page)) {
		o->stats.hole_touches++;
		return provide_pages(space, gpa & ~(BASE_BYTES - 1), BASE_BYTES);
	}
	rc = p.count == HUGE_PAGES ? provide_pages(space, frame_gpa, HUGE_BYTES)
				   : provide_rest(space, frame_gpa, &p);
	if (overcommit_present(space, gpa))
		return 0;
	/* A first page in a frame that cannot be had whole: khugepaged must not fill up the rest, see guard.c
	 */
	if (rc && page_will_do && p.count == HUGE_PAGES && space->mem.collapses) {
		(void)madvise(space_at(space, frame_gpa), HUGE_BYTES, MADV_NOHUGEPAGE);
		overcommit_advise(space, frame_gpa, HUGE_BYTES, MADV_NOHUGEPAGE);
	}
	return rc && page_will_do ? provide_pages(space, gpa & ~(BASE_BYTES - 1), BASE_BYTES) : rc;
}

/* The last resort of who runs the guest: a page out of the reserve; half of it is for what cannot be put off. */
static int provide_reserved(struct mb_space *space, uint64_t gpa, bool urgent)
{
	struct overcommit *o = space->over;
	uint64_t unit = o->unit, spared = urgent ? 0 : o->reserve_full / 2;
	int rc = o->reserve < spared + unit ? -EDQUOT : charge_reserve(space, unit);

	return rc ? rc : make_present(space, gpa & ~(unit - 1), unit, true);
}

/* The thread waits for the page, or for the reserve, in our stead, as it does for who touches one. */
static void ask_for(struct overcommit *o, uint64_t gpa, bool page)
{
	const uint64_t one = 1;

	if (page)
		o->wanted = gpa + 1;
	else
		o->refill = true;
	(void)!write(o->ask, &one, sizeof(one)); /* full: it is awake already */
}

bool mb_space_is_present(struct mb_space *space, uint64_t gpa, uint64_t len)
{
	struct overcommit *o = space->over;
	bool there = space_region(space, gpa, len) != NULL;

	for (uint64_t pos = gpa & ~(BASE_BYTES - 1); o && there && pos < gpa + len; pos += BASE_BYTES) {
		if (overcommit_present(space, pos))
			continue;
		/* It may be coming: the guest finds a page, and writes there, a moment before its bit is set. */
		pthread_mutex_lock(&o->lock);
		there = overcommit_present(space, pos);
		pthread_mutex_unlock(&o->lock);
	}
	return there;
}

static int make_range_present(struct mb_space *space, uint64_t gpa, uint64_t len, bool urgent)
{
	struct overcommit *o = space->over;
	int rc = 0;

	if (!len || !space_region(space, gpa, len))
		return -ERANGE;
	for (uint64_t pos = gpa & ~(BASE_BYTES - 1); o && !rc && pos < gpa + len; pos += BASE_BYTES) {
		if (atomic_load_explicit(&o->abandoned, memory_order_acquire))
			return -EFAULT;
		if (overcommit_present(space, pos))
			continue;
		pthread_mutex_lock(&o->lock);
		rc = overcommit_provide(space, pos, true);
		if (rc)
			rc = provide_reserved(space, pos, urgent);
		if (!rc)
			o->stats.by_gate++;
		if (rc || o->reserve < o->reserve_full / 2)
			ask_for(o, pos, rc != 0);
		pthread_mutex_unlock(&o->lock);
	}
	return rc ? -EAGAIN : 0;
}

int mb_space_present(struct mb_space *space, uint64_t gpa, uint64_t len)
{
	return make_range_present(space, gpa, len, false);
}

int mb_space_present_now(struct mb_space *space, uint64_t gpa, uint64_t len)
{
	return make_range_present(space, gpa, len, true);
}

/* ---- giving back ---------------------------------------------------------------------------------------- */

int overcommit_give_back(struct mb_space *space, const struct space_run *run)
{
	struct overcommit *o = space->over;
	int rc;

	pthread_mutex_lock(&o->lock);
	rc = space->mem.ops->purge(&space->mem, space_at(space, run->gpa), run->frame << BASE_SHIFT, run->len);
	if (!rc)
		overcommit_uncharge(space, change_bits(space, run->gpa, run->len, false));
	pthread_mutex_unlock(&o->lock);
	return rc;
}

void overcommit_zero(struct mb_space *space, uint64_t gpa, uint64_t len)
{
	struct overcommit *o = space->over;

	pthread_mutex_lock(&o->lock);
	for (uint64_t pos = gpa; pos < gpa + len; pos += BASE_BYTES)
		if (overcommit_present(space, pos))
			memset(o->alias + pos, 0, BASE_BYTES);
	pthread_mutex_unlock(&o->lock);
}

void overcommit_advise(const struct mb_space *space, uint64_t gpa, uint64_t len, int advice)
{
	if (space->over->alias)
		(void)madvise(space->over->alias + gpa, len, advice);
}

void overcommit_lock(struct mb_space *space)
{
	pthread_mutex_lock(&space->over->lock);
}

void overcommit_unlock(struct mb_space *space)
{
	pthread_mutex_unlock(&space->over->lock);
}

/* ---- making it ------------------------------------------------------------------------------------------ */

int mb_overcommit_check(struct mb_error *err)
{
	int fd;

	host_clear(err);
	fd = uffd_open(err);
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int check_config(const struct mb_space *space, const struct mb_space_config *config,
			struct mb_error *err)
{
	const struct backing *b = &space->pool->mem;

	if (b->fd < 0)
		return host_error(err, -EOPNOTSUPP,
				  "anonymous memory cannot be overcommitted: use memfd, hugetlb=2M, "
				  "hugetlb=1G or a pool file");
	if (!b->blocks_exact)
		return host_error(err, -EOPNOTSUPP,
				  "a file on a disk cannot be overcommitted: use a pool on tmpfs "
				  "or hugetlbfs");
	if (config->prealloc)
		return host_error(err, -EINVAL,
				  "overcommit takes memory when it is touched, prealloc takes it at "
				  "once: choose one of them");
	if (config->minimum > space->maximum)
		return host_error(err, -EINVAL, "the minimum (%s) is more than the guest's memory (%s)",
				  host_size(config->minimum).text, host_size(space->maximum).text);
	return 0;
}

int overcommit_prepare(struct mb_space *space, const struct mb_space_config *config, struct mb_error *err)
{
	struct overcommit *o;
	int rc = check_config(space, config, err);

	if (rc)
		return rc;
	o = calloc(1, sizeof(*o));
	if (!o)
		return host_error(err, -ENOMEM, "out of memory");
	space->over = o;
	o->stop = o->ask = -1;
	o->minimum = config->minimum;
	o->on_starved = config->on_starved;
	o->arg = config->starved_arg;
	o->unit = space->pool->mem.granule;
	o->reserve_full = o->unit > OVERCOMMIT_RESERVE ? o->unit : OVERCOMMIT_RESERVE;
	o->bits_bytes = (space->maximum >> BASE_SHIFT) / 8;
	o->bits = mmap(NULL, o->bits_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);
	pthread_mutex_init(&o->lock, NULL);
	o->fd = uffd_open(err);
	if (o->fd < 0)
		return o->fd;
	o->stop = eventfd(0, EFD_CLOEXEC);
	o->ask = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (o->bits == MAP_FAILED || o->stop < 0 || o->ask < 0)
		return host_error(err, -ENOMEM, "out of memory");
	return 0;
}

/* Another mapping of all extents, at the same distances. */
static uint8_t *map_alias(struct mb_space *space, int advice)
{
	uint8_t *p =
	    mmap(NULL, space->window_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	for (unsigned i = 0; p != MAP_FAILED && i < space->extents; i++) {
		const struct extent *x = &space->extent[i];

		if (mmap(p + x->gpa, x->count << BASE_SHIFT, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_NORESERVE | MAP_FIXED, space->mem.fd,
			 (off_t)(x->frame << BASE_SHIFT)) == MAP_FAILED) {
			munmap(p, space->window_bytes);
			return NULL;
		}
	}
	if (p == MAP_FAILED)
		return NULL;
	(void)madvise(p, space->window_bytes, MADV_DONTFORK);
	(void)madvise(p, space->window_bytes, MADV_DONTDUMP);
	if (advice >= 0)
		for (unsigned i = 0; i < space->regions; i++)
			(void)madvise(p + space->region[i].gpa, space->region[i].size, advice);
	return p;
}

int overcommit_start(struct mb_space *space, struct mb_error *err)
{
	struct overcommit *o = space->over;
	int rc = 0;

	o->reserve = o->reserve_full;
	o->alias = map_alias(space, space->mem.huge_pages && !space->mem.ops->reserve ? MADV_HUGEPAGE : -1);
	o->small = map_alias(space, space->mem.ops->reserve ? -1 : MADV_NOHUGEPAGE);
	if (!o->alias || !o->small)
		return host_error(err, -ENOMEM, "cannot map guest memory once more: %s; check `ulimit -v`",
				  strerror(errno));
	for (unsigned i = 0; i < space->regions && !rc; i++)
		rc = uffd_register(o->fd, space_at(space, space->region[i].gpa), space->region[i].size, err);
	if (!rc && overcommit_start_thread(space)) {
		rc = host_error(err, -EAGAIN, "cannot start the thread that takes memory");
	}
	return rc;
}

void overcommit_free(struct mb_space *space)
{
	struct overcommit *o = space->over;

	if (!o)
		return;
	overcommit_stop_thread(o);
	if (o->alias)
		munmap(o->alias, space->window_bytes);
	if (o->small)
		munmap(o->small, space->window_bytes);
	if (o->bits != MAP_FAILED)
		munmap((void *)o->bits, o->bits_bytes);
	if (o->fd >= 0)
		close(o->fd);
	if (o->stop >= 0)
		close(o->stop);
	if (o->ask >= 0)
		close(o->ask);
	pthread_mutex_destroy(&o->lock);
	space->over = NULL;
	free(o);
}
