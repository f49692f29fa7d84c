/* SPDX-License-Identifier: MIT */
/* layout.c - see layout.h. */
#include "layout.h"

#include "error.h"
#include "size.h"

#include <errno.h>
#include <platform.h>

#define GIANT_BYTES (UINT64_C(1) << 30)

/* The stretches that may hold memory, ascending; how many. */
static unsigned stretches(const struct layout_config *c, uint64_t limit, struct mb_region out[LAYOUT_REGIONS])
{
	unsigned n = 0;
	out[n++] = (struct mb_region){0, PLATFORM_HOLE_START};
	if (limit <= PLATFORM_HOLE_END)
		return n;
	if (!c->amd || limit <= LAYOUT_HT_START) {
		out[n++] = (struct mb_region){PLATFORM_HOLE_END, limit - PLATFORM_HOLE_END};
		return n;
	}
	out[n++] = (struct mb_region){PLATFORM_HOLE_END, LAYOUT_HT_START - PLATFORM_HOLE_END};
	if (limit > LAYOUT_HT_END)
		out[n++] = (struct mb_region){LAYOUT_HT_END, limit - LAYOUT_HT_END};
	return n;
}

/* The pluggable region begins on a GiB of its own, above all RAM and above 4 GiB, in one piece. */
static bool place_pluggable(const struct layout_config *c, uint64_t limit, struct layout *l)
{
	const struct mb_region *last = &l->region[l->ram - 1];
	uint64_t at = (last->gpa + last->size + GIANT_BYTES - 1) & ~(GIANT_BYTES - 1);
	if (at < PLATFORM_HOLE_END)
		at = PLATFORM_HOLE_END;
	if (c->amd && at < LAYOUT_HT_END && (at > LAYOUT_HT_START || c->pluggable > LAYOUT_HT_START - at))
		at = LAYOUT_HT_END;
	if (at > limit || c->pluggable > limit - at)
		return false;
	l->region[l->ram] = (struct mb_region){at, c->pluggable};
	l->pluggable = true;
	return true;
}

int layout_make(const struct layout_config *config, struct layout *out, struct mb_error *err)
{
	struct mb_region free[LAYOUT_REGIONS];
	unsigned bits = config->address_bits;
	uint64_t limit = bits >= 63 ? UINT64_C(1) << 63 : UINT64_C(1) << bits, left = config->memory, room = 0;
	unsigned n = stretches(config, limit, free);
	char wanted[SIZE_TEXT], most[SIZE_TEXT];
	*out = (struct layout){.ram = 0};
	for (unsigned i = 0; i < n && left > 0; i++) {
		uint64_t part = left < free[i].size ? left : free[i].size;
		out->region[out->ram++] = (struct mb_region){free[i].gpa, part};
		left -= part;
	}
	for (unsigned i = 0; i < n; i++)
		room += free[i].size;
	if (left > 0)
		return error_set(
		    err, -EFBIG,
		    "--memory %s: guest physical addresses have %u bits on this host; at most %s fit",
		    size_format(config->memory, wanted), bits, size_format(room, most));
	if (config->pluggable > 0 && !place_pluggable(config, limit, out))
		return error_set(err, -EFBIG,
				 "--max-memory: %s more than --memory do not fit in one piece: guest physical "
				 "addresses have %u bits on this host",
				 size_format(config->pluggable, wanted), bits);
	return 0;
}
