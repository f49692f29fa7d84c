/* SPDX-License-Identifier: MIT */
/* records.c - the arithmetic of the records. */
#include "records.h"
#include "error.h"
#include "state.h"

#include <errno.h>

/* One slot an owner, and a few for those who look after the dead. */
#define SLOTS (OWNERS_MAX + 8)

static uint64_t page_up(uint64_t bytes)
{
	return (bytes + POOL_PAGE - 1) & ~(uint64_t)(POOL_PAGE - 1);
}

struct mb_frames_config records_frames(uint64_t size)
{
	return (struct mb_frames_config){
	    .capacity = size >> BASE_SHIFT,
	    .base_shift = BASE_SHIFT,
	    .slots = SLOTS,
	    .flags = MB_FRAMES_OWNED,
	};
}

int records_place(uint64_t size, struct records *out)
{
	struct mb_frames_config frames = records_frames(size);

	if (!size || size % HUGE_BYTES || size > POOL_SIZE_MAX)
		return -EINVAL;
	out->vars = POOL_PAGE;
	out->owners = out->vars + POOL_PAGE;
	out->ledger = page_up(out->owners + OWNERS_MAX * sizeof(struct owner_entry));
	out->frames = page_up(out->ledger + (size >> HUGE_SHIFT) * sizeof(ledger_word));
	out->frames_bytes = page_up(mb_frames_meta_bytes(&frames));
	out->total = out->frames + out->frames_bytes;
	return out->frames_bytes ? 0 : -EINVAL;
}

void records_bind(struct mb_pool *pool, const struct records *l)
{
	pool->vars = (struct pool_vars *)(void *)(pool->map + l->vars);
	pool->owners = (struct owner_entry *)(void *)(pool->map + l->owners);
	pool->ledger = (ledger_word *)(void *)(pool->map + l->ledger);
}

int records_check_config(const struct mb_pool_config *config, uint64_t *budget, struct mb_error *err)
{
	uint64_t unit = config->backing == MB_BACKING_HUGETLB_1G ? GIANT_BYTES : HUGE_BYTES;

	if (config->backing < MB_BACKING_ANON || config->backing > MB_BACKING_FILE)
		return host_error(err, -EINVAL,
				  "no such backing; there are anon, memfd, hugetlb=2M, hugetlb=1G and file");
	if (!config->size || config->size > POOL_SIZE_MAX || config->size % unit)
		return host_error(
		    err, -EINVAL,
		    "the size of a pool with backing %s must be a multiple of %s, up to 64 TiB, not "
		    "%s (%llu bytes)",
		    mb_backing_name(config->backing), host_size(unit).text, host_size(config->size).text,
		    (unsigned long long)config->size);
	if (config->maximum &&
	    (config->maximum < config->size || config->maximum > POOL_SIZE_MAX || config->maximum % unit))
		return host_error(
		    err, -EINVAL,
		    "the most that a pool may grow to must be a multiple of %s, at least its size and "
		    "at most 64 TiB, not %s",
		    host_size(unit).text, host_size(config->maximum).text);
	if (config->budget > config->size || config->budget % BASE_BYTES)
		return host_error(
		    err, -EINVAL,
		    "the budget must be a multiple of 4 KiB and at most the pool's size (%s), not %s",
		    host_size(config->size).text, host_size(config->budget).text);
	*budget = config->budget ? config->budget : config->size;
	return 0;
}
