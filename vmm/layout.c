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

/* The least of two ends, less a beginning that may lie beyond it. */
static uint64_t room_from(uint64_t at, uint64_t end, uint64_t limit)
{
	end = end < limit ? end : limit;
	return at < end ? end - at : 0;
}

/*
 * The pluggable region begins on a GiB of its own, above all RAM and above 4 GiB, in one piece. False: the largest
 * piece is *most.
 */
static bool place_pluggable(const struct layout_config *c, uint64_t limit, struct layout *l, uint64_t *most)
{
	const struct mb_region *last = &l->region[l->ram - 1];
	uint64_t at = (last->gpa + last->size + GIANT_BYTES - 1) & ~(GIANT_BYTES - 1), below = 0;
	if (at < PLATFORM_HOLE_END)
		at = PLATFORM_HOLE_END;
	if (c->amd && at < LAYOUT_HT_END) {
		below = room_from(at, LAYOUT_HT_START, limit);
		if (at > LAYOUT_HT_START || c->pluggable > LAYOUT_HT_START - at)
			at = LAYOUT_HT_END;
	}
	*most = room_from(at, limit, limit);
	if (at <= limit && c->pluggable <= *most) {
		l->region[l->ram] = (struct mb_region){at, c->pluggable};
		l->pluggable = true;
		return true;
	}
	*most = below > *most ? below : *most;
	return false;
}

static int refuse_pluggable(const struct layout_config *c, uint64_t most, struct mb_error *err)
{
	char wanted[SIZE_TEXT], text[SIZE_TEXT];
	return error_set(
	    err, -EFBIG,
	    "--max-memory: %s more than --memory do not fit in one piece: guest physical addresses have %u "
	    "bits on this host; at most --max-memory %s fits",
	    size_format(c->pluggable, wanted), c->address_bits, size_exact(c->memory + most, text));
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
		    size_format(config->memory, wanted), bits, size_exact(room, most));
	if (config->pluggable > 0 && !place_pluggable(config, limit, out, &room))
		return refuse_pluggable(config, room, err);
	return 0;
}
