/* SPDX-License-Identifier: MIT */
/*
 * virtqueue.c - a split virtqueue as the device sees it (virtio 1.2, 2.7).
 *
 * Who pairs with whom:
 *
 *   driver                                    device
 *   descriptors, ring entry                   avail.idx, acquire (avail_load)
 *   avail.idx, after a write barrier          ring entry, descriptors
 *
 *   used.idx, then a read barrier             used elements
 *   used elements                             used.idx, seq_cst, thus release (virtqueue_publish)
 *
 * and, for notifications, a store and then a load on both sides, where at least one must see the other's:
 *
 *   avail.idx; full barrier; avail_event      avail_event; avail.idx   (virtqueue_sleep)
 *   used_event; full barrier; used.idx        used.idx; used_event     (virtqueue_publish)
 *
 * which is why these four of ours are sequentially consistent.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "devices/virtqueue.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

#define CHAIN_BYTES_MAX (UINT64_C(1) << 32)

enum { AREA_DESC, AREA_AVAIL, AREA_USED };

/* ---- the rings' places ------------------------------------------------------------------------------ */

static uint64_t avail_flags_at(const struct virtqueue *vq)
{
	return vq->setup.avail;
}

static uint64_t avail_idx_at(const struct virtqueue *vq)
{
	return vq->setup.avail + 2;
}

static uint64_t avail_entry_at(const struct virtqueue *vq, uint16_t n)
{
	return vq->setup.avail + 4 + UINT64_C(2) * (n & (vq->setup.size - 1));
}

static uint64_t used_event_at(const struct virtqueue *vq)
{
	return vq->setup.avail + 4 + UINT64_C(2) * vq->setup.size;
}

static uint64_t used_flags_at(const struct virtqueue *vq)
{
	return vq->setup.used;
}

static uint64_t used_idx_at(const struct virtqueue *vq)
{
	return vq->setup.used + 2;
}

static uint64_t used_entry_at(const struct virtqueue *vq, uint16_t n)
{
	return vq->setup.used + 4 + UINT64_C(8) * (n & (vq->setup.size - 1));
}

static uint64_t avail_event_at(const struct virtqueue *vq)
{
	return vq->setup.used + 4 + UINT64_C(8) * vq->setup.size;
}

static uint64_t area_len(unsigned i, uint16_t size)
{
	switch (i) {
	case AREA_DESC:
		return UINT64_C(16) * size;
	case AREA_AVAIL:
		return 6 + UINT64_C(2) * size;
	default:
		return 6 + UINT64_C(8) * size;
	}
}

static uint64_t area_gpa(const struct virtqueue_setup *setup, unsigned i)
{
	return i == AREA_DESC ? setup->desc : i == AREA_AVAIL ? setup->avail : setup->used;
}

void virtqueue_area(const struct virtqueue *vq, unsigned i, uint64_t *gpa, uint64_t *len)
{
	*gpa = area_gpa(&vq->setup, i);
	*len = area_len(i, vq->setup.size);
}

/* The rings were inside guest memory when the queue started, and guest memory does not shrink. What was never
 * written is 0. Of the memory that is touched where the host has none left, a reserve is kept for what we write
 * here; should the gate refuse all the same, a store is lost: a guest that sees a dead queue. */
static uint16_t ring_load(const struct virtqueue *vq, uint64_t gpa, int order)
{
	const uint16_t *p = guestmem_peek(vq->mem, gpa, sizeof(*p));

	if (!p)
		return 0;
	return le16toh(order == __ATOMIC_SEQ_CST ? __atomic_load_n(p, __ATOMIC_SEQ_CST)
						 : __atomic_load_n(p, __ATOMIC_ACQUIRE));
}

static void ring_store(const struct virtqueue *vq, uint64_t gpa, uint16_t value)
{
	uint16_t *p = guestmem_touch(vq->mem, gpa, sizeof(*p));

	if (p)
		__atomic_store_n(p, htole16(value), __ATOMIC_SEQ_CST);
}

static int flawed(struct virtqueue *vq, const char *flaw)
{
	vq->flaw = flaw;
	return -EPROTO;
}

/* ---- life ------------------------------------------------------------------------------------------- */

static const char *setup_flaw(const struct guestmem *mem, const struct virtqueue_setup *setup,
			      uint16_t size_max)
{
	static const unsigned align[] = {[AREA_DESC] = 16, [AREA_AVAIL] = 2, [AREA_USED] = 4};

	if (!setup->size || setup->size & (setup->size - 1))
		return "queue size is not a power of two";
	if (setup->size > size_max || setup->size > VIRTQUEUE_SIZE_MAX)
		return "queue size exceeds the maximum";
	for (unsigned i = AREA_DESC; i <= AREA_USED; i++) {
		if (area_gpa(setup, i) % align[i])
			return "misaligned ring";
		if (!guestmem_hva(mem, area_gpa(setup, i), area_len(i, setup->size)))
			return "ring outside of guest memory";
	}
	return NULL;
}

int virtqueue_start(struct virtqueue *vq, const struct guestmem *mem, const struct virtqueue_setup *setup,
		    uint16_t size_max)
{
	const char *flaw = setup_flaw(mem, setup, size_max);

	if (flaw) {
		vq->flaw = flaw;
		return -EINVAL;
	}
	*vq = (struct virtqueue){
	    .mem = mem,
	    .setup = *setup,
	    .ready = true,
	    .generation = vq->generation + 1,
	};
	return 0;
}

void virtqueue_stop(struct virtqueue *vq)
{
	vq->ready = false;
	vq->flaw = NULL;
	vq->generation++;
}

/* ---- taking chains ---------------------------------------------------------------------------------- */

/* How many entries the driver has made available beyond those taken; -EPROTO if it claims too many. */
static int avail_load(struct virtqueue *vq, int order)
{
	uint16_t pending;

	vq->avail_seen = ring_load(vq, avail_idx_at(vq), order);
	pending = (uint16_t)(vq->avail_seen - vq->avail_next);
	if (pending > vq->setup.size)
		return flawed(vq, "available index jumps by more than the queue's size");
	return pending;
}

static int desc_read(struct virtqueue *vq, uint64_t table, uint64_t n, struct vring_desc *d)
{
	if (guestmem_read(vq->mem, table + n * sizeof(*d), d, sizeof(*d)))
		return flawed(vq, "descriptor outside of guest memory");
	d->addr = le64toh(d->addr);
	d->len = le32toh(d->len);
	d->flags = le16toh(d->flags);
	d->next = le16toh(d->next);
	return 0;
}

static int chain_add(struct virtqueue *vq, struct virtqueue_chain *chain, const struct vring_desc *d)
{
	bool writable = d->flags & VRING_DESC_F_WRITE;

	if (!writable && chain->count > chain->readable_count)
		return flawed(vq, "readable descriptor after a writable one");
	if (!d->len)
		return 0;
	if (chain->count == VIRTQUEUE_SEGMENTS_MAX)
		return flawed(vq, "chain too long");
	if (!guestmem_hva(vq->mem, d->addr, d->len))
		return flawed(vq, "buffer outside of guest memory");
	/* Neither sum can overflow: 1024 segments of less than 2^32 bytes. */
	if (chain->readable + chain->writable + d->len > CHAIN_BYTES_MAX)
		return flawed(vq, "chain of more than 4 GiB");
	chain->segments[chain->count++] = (struct virtqueue_segment){.gpa = d->addr, .len = d->len};
	if (writable) {
		chain->writable += d->len;
	} else {
		chain->readable += d->len;
		chain->readable_count++;
	}
	return 0;
}

/* Follows next from entry n of a table of so many entries; at the end, *last is the last descriptor. */
static int chain_follow(struct virtqueue *vq, struct virtqueue_chain *chain, uint64_t table, uint16_t entries,
			uint16_t n, struct vring_desc *last)
{
	int rc;

	/* A chain visits no entry twice, so one of more steps than entries is a loop. */
	for (unsigned steps = 0; steps < entries; steps++) {
		if (n >= entries)
			return flawed(vq, "descriptor index beyond the table");
		rc = desc_read(vq, table, n, last);
		if (rc || last->flags & VRING_DESC_F_INDIRECT)
			return rc;
		rc = chain_add(vq, chain, last);
		if (rc || !(last->flags & VRING_DESC_F_NEXT))
			return rc;
		n = last->next;
	}
	return flawed(vq, "descriptor loop");
}

/* An indirect table: the last descriptor of a chain, maybe the only one (2.7.5.3). */
static int chain_indirect(struct virtqueue *vq, struct virtqueue_chain *chain, const struct vring_desc *d)
{
	uint32_t entries = d->len / sizeof(*d);
	struct vring_desc last = {.flags = 0};
	int rc;

	if (!vq->setup.indirect)
		return flawed(vq, "indirect descriptor, which was not negotiated");
	if (d->flags & VRING_DESC_F_NEXT)
		return flawed(vq, "indirect descriptor with a next one");
	if (!entries || d->len % sizeof(*d))
		return flawed(vq, "indirect table of a bad length");
	if (entries > VIRTQUEUE_SEGMENTS_MAX)
		return flawed(vq, "indirect table too long");
	if (!guestmem_hva(vq->mem, d->addr, d->len))
		return flawed(vq, "indirect table outside of guest memory");
	rc = chain_follow(vq, chain, d->addr, (uint16_t)entries, 0, &last);
	if (!rc && last.flags & VRING_DESC_F_INDIRECT)
		return flawed(vq, "indirect descriptor in an indirect table");
	return rc;
}

int virtqueue_pop(struct virtqueue *vq, struct virtqueue_chain *chain)
{
	struct vring_desc last = {.flags = 0};
	int rc;

	if (vq->flaw)
		return -EPROTO;
	if (!vq->ready)
		return 0;
	if (vq->avail_seen == vq->avail_next) {
		rc = avail_load(vq, __ATOMIC_ACQUIRE);
		if (rc <= 0)
			return rc;
	}
	chain->count = chain->readable_count = 0;
	chain->readable = chain->writable = 0;
	/* The acquire is that of avail_load(); a second one costs nothing. */
	chain->head = ring_load(vq, avail_entry_at(vq, vq->avail_next), __ATOMIC_ACQUIRE);
	rc = chain_follow(vq, chain, vq->setup.desc, vq->setup.size, chain->head, &last);
	if (!rc && last.flags & VRING_DESC_F_INDIRECT)
		rc = chain_indirect(vq, chain, &last);
	if (rc)
		return rc;
	vq->avail_next++;
	return 1;
}

void virtqueue_put_back(struct virtqueue *vq)
{
	vq->avail_next--;
}

/* ---- giving them back -------------------------------------------------------------------------------- */

void virtqueue_push(struct virtqueue *vq, uint16_t head, uint32_t written)
{
	struct vring_used_elem elem = {.id = htole32(head), .len = htole32(written)};

	/* -EFAULT: see ring_load(). */
	(void)guestmem_write(vq->mem, used_entry_at(vq, vq->used_next), &elem, sizeof(elem));
	vq->used_next++;
}

bool virtqueue_publish(struct virtqueue *vq)
{
	uint16_t now = vq->used_next, before = vq->used_told, event;

	if (now == before)
		return false;
	ring_store(vq, used_idx_at(vq), now);
	vq->used_told = now;
	if (!vq->setup.event_idx)
		return !(ring_load(vq, avail_flags_at(vq), __ATOMIC_SEQ_CST) & VRING_AVAIL_F_NO_INTERRUPT);
	event = ring_load(vq, used_event_at(vq), __ATOMIC_SEQ_CST);
	/* Did we pass the entry that it waits for? 2.7.7.2, in 16-bit arithmetic. */
	return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

void virtqueue_look(struct virtqueue *vq)
{
	/* With the event index it waits for an entry that we are past, and says nothing anyway. */
	if (vq->ready && !vq->setup.event_idx)
		ring_store(vq, used_flags_at(vq), VRING_USED_F_NO_NOTIFY);
}

bool virtqueue_sleep(struct virtqueue *vq)
{
	if (!vq->ready)
		return true;
	if (vq->setup.event_idx)
		ring_store(vq, avail_event_at(vq), vq->avail_next);
	else
		ring_store(vq, used_flags_at(vq), 0);
	return avail_load(vq, __ATOMIC_SEQ_CST) == 0;
}

/* ---- reading and writing chains ---------------------------------------------------------------------- */

void virtqueue_to_read(const struct virtqueue_chain *chain, struct virtqueue_cursor *cursor)
{
	*cursor = (struct virtqueue_cursor){
	    .segments = chain->segments, .end = chain->readable_count, .left = chain->readable};
}

void virtqueue_to_write(const struct virtqueue_chain *chain, struct virtqueue_cursor *cursor)
{
	*cursor = (struct virtqueue_cursor){.segments = chain->segments,
					    .next = chain->readable_count,
					    .end = chain->count,
					    .left = chain->writable};
}

bool virtqueue_next(struct virtqueue_cursor *cursor, uint64_t max, struct virtqueue_segment *piece)
{
	const struct virtqueue_segment *s = &cursor->segments[cursor->next];

	if (cursor->next == cursor->end || !max)
		return false;
	piece->gpa = s->gpa + cursor->offset;
	piece->len = s->len - cursor->offset;
	if (piece->len > max)
		piece->len = (uint32_t)max;
	cursor->left -= piece->len;
	cursor->offset += piece->len;
	if (cursor->offset == s->len) {
		cursor->next++;
		cursor->offset = 0;
	}
	return true;
}

int64_t virtqueue_read(const struct virtqueue *vq, struct virtqueue_cursor *cursor, void *to, size_t len)
{
	struct virtqueue_segment piece;
	unsigned char *p = to;
	size_t done = 0;

	while (virtqueue_next(cursor, len - done, &piece)) {
		if (guestmem_read(vq->mem, piece.gpa, p + done, piece.len))
			return -EFAULT;
		done += piece.len;
	}
	return (int64_t)done;
}

int64_t virtqueue_write(const struct virtqueue *vq, struct virtqueue_cursor *cursor, const void *from,
			size_t len)
{
	const unsigned char *p = from;
	struct virtqueue_segment piece;
	size_t done = 0;

	while (virtqueue_next(cursor, len - done, &piece)) {
		if (guestmem_write(vq->mem, piece.gpa, p + done, piece.len))
			return -EFAULT;
		done += piece.len;
	}
	return (int64_t)done;
}
