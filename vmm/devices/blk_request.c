/* SPDX-License-Identifier: MIT */
/* blk_request.c - see blk_request.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "devices/blk_request.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <string.h>

#define IOV_ROOM_FIRST 16

/* It is over: what the guest is told. */
static bool over(struct blk_request *r, uint8_t status)
{
	r->status = status;
	if (status != VIRTIO_BLK_S_OK)
		r->written = 0;
	return false;
}

/* Sectors as bytes; false: not all of them are the disk's. */
static bool on_disk(const struct disk *disk, uint64_t sector, uint64_t bytes, uint64_t *offset)
{
	if (sector > disk->bytes / DISK_SECTOR || bytes > disk->bytes - sector * DISK_SECTOR)
		return false;
	*offset = sector * DISK_SECTOR;
	return *offset % disk->block_size == 0 && bytes % disk->block_size == 0;
}

/* ---- data ---------------------------------------------------------------------------------------------- */

static bool iov_reserve(struct blk_request *r, unsigned count)
{
	unsigned room = count > IOV_ROOM_FIRST ? count : IOV_ROOM_FIRST;
	struct iovec *iov;

	if (count <= r->iov_room)
		return true;
	iov = reallocarray(r->iov, room, sizeof(*iov));
	if (!iov)
		return false;
	r->iov = iov;
	r->iov_room = room;
	return true;
}

/* The next len bytes of the chain as host memory: 0, -EAGAIN (it is not there now), -ENOMEM or -EFAULT. */
static int map_data(struct blk_request *r, const struct virtqueue *vq, struct virtqueue_cursor *cursor,
		    uint64_t len)
{
	struct virtqueue_segment piece;
	unsigned count = 0;

	/* A segment gives one piece; the first may be the rest of the header's. */
	if (!iov_reserve(r, cursor->end - cursor->next))
		return -ENOMEM;
	for (uint64_t left = len; virtqueue_next(cursor, left, &piece); left -= piece.len) {
		int rc = guestmem_ready(vq->mem, piece.gpa, piece.len);
		void *hva = rc ? NULL : guestmem_hva(vq->mem, piece.gpa, piece.len);

		if (!hva)
			return rc ? rc : -EFAULT;
		r->iov[count++] = (struct iovec){.iov_base = hva, .iov_len = piece.len};
	}
	r->op.iov = r->iov;
	r->op.iov_count = count;
	return 0;
}

/* VIRTIO_BLK_T_IN and _OUT. As blk_request_begin(). */
static int begin_data(struct blk_request *r, const struct blk_rules *rules, const struct virtqueue *vq,
		      struct virtqueue_cursor *cursor, uint64_t sector, uint64_t len)
{
	bool in = r->type == VIRTIO_BLK_T_IN;
	int rc;

	if (!in && rules->disk->readonly)
		return over(r, VIRTIO_BLK_S_IOERR);
	if (!on_disk(rules->disk, sector, len, &r->op.offset))
		return over(r, VIRTIO_BLK_S_IOERR);
	r->op.kind = in ? BLK_READ : BLK_WRITE;
	r->op.len = r->bytes = len;
	if (!len)
		return over(r, VIRTIO_BLK_S_OK);
	rc = map_data(r, vq, cursor, len);
	if (rc == -EAGAIN)
		return rc;
	return rc ? over(r, VIRTIO_BLK_S_IOERR) : true;
}

/* Less than asked for: goes on behind what was done. */
static bool advance_data(struct blk_request *r, uint64_t done)
{
	struct iovec *iov = r->iov + (r->op.iov - r->iov);

	if (!done || done > r->op.len) /* 0: the file has become shorter */
		return over(r, VIRTIO_BLK_S_IOERR);
	if (r->op.kind == BLK_READ)
		r->written += (uint32_t)done;
	r->op.len -= done;
	r->op.offset += done;
	if (!r->op.len)
		return over(r, VIRTIO_BLK_S_OK);
	while (done >= iov->iov_len) {
		done -= iov->iov_len;
		iov++;
		r->op.iov_count--;
	}
	iov->iov_base = (char *)iov->iov_base + done;
	iov->iov_len -= done;
	r->op.iov = iov;
	return true;
}

/* ---- ranges: discard and write zeroes ------------------------------------------------------------------ */

static bool range_op(struct blk_request *r)
{
	const struct blk_range *range = &r->ranges[r->range];

	r->op = (struct blk_op){
	    .kind = range->unmap || r->type == VIRTIO_BLK_T_DISCARD ? BLK_PUNCH : BLK_ZERO,
	    .offset = range->offset,
	    .len = range->len,
	};
	return true;
}

static bool next_range(struct blk_request *r)
{
	/* Ranges of no length have nothing to be done. */
	while (r->range < r->range_count && !r->ranges[r->range].len)
		r->range++;
	return r->range < r->range_count ? range_op(r) : over(r, VIRTIO_BLK_S_OK);
}

/* One range as the guest has it: a status. */
static uint8_t check_range(const struct blk_request *r, const struct disk *disk,
			   const struct virtio_blk_discard_write_zeroes *raw, struct blk_range *range)
{
	uint32_t flags = le32toh(raw->flags), sectors = le32toh(raw->num_sectors);
	bool discard = r->type == VIRTIO_BLK_T_DISCARD;

	/* 5.2.6.2: unknown flags, and a discard with unmap set, are not supported. */
	if (flags & ~(uint32_t)VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP || (discard && flags))
		return VIRTIO_BLK_S_UNSUPP;
	if (sectors > (discard ? BLK_DISCARD_SECTORS : BLK_ZEROES_SECTORS))
		return VIRTIO_BLK_S_IOERR;
	range->len = (uint64_t)sectors * DISK_SECTOR;
	range->unmap = flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	if (!on_disk(disk, le64toh(raw->sector), range->len, &range->offset))
		return VIRTIO_BLK_S_IOERR;
	return VIRTIO_BLK_S_OK;
}

static bool begin_ranges(struct blk_request *r, const struct blk_rules *rules, const struct virtqueue *vq,
			 struct virtqueue_cursor *cursor, uint64_t len)
{
	struct virtio_blk_discard_write_zeroes raw[BLK_RANGES_MAX];
	uint8_t status;

	if (rules->disk->readonly)
		return over(r, VIRTIO_BLK_S_IOERR);
	if (!len || len > sizeof(raw) || len % sizeof(raw[0]))
		return over(r, VIRTIO_BLK_S_IOERR);
	/* Copied once, then checked, and all of them before the first is done. */
	if (virtqueue_read(vq, cursor, raw, (size_t)len) != (int64_t)len)
		return over(r, VIRTIO_BLK_S_IOERR);
	r->range = 0;
	r->range_count = (unsigned)(len / sizeof(raw[0]));
	for (unsigned i = 0; i < r->range_count; i++) {
		status = check_range(r, rules->disk, &raw[i], &r->ranges[i]);
		if (status != VIRTIO_BLK_S_OK)
			return over(r, status);
	}
	return next_range(r);
}

/* The file system cannot zero a range: zeros are written. */
static bool write_zeros(struct blk_request *r, const struct blk_rules *rules)
{
	uint64_t len = r->op.len;
	unsigned count = (unsigned)((len + rules->zeros_size - 1) / rules->zeros_size);

	if (!iov_reserve(r, count))
		return over(r, VIRTIO_BLK_S_IOERR);
	for (unsigned i = 0; i < count; i++) {
		uint64_t part = len < rules->zeros_size ? len : rules->zeros_size;

		/* writev() reads only. */
		r->iov[i] = (struct iovec){.iov_base = (void *)(uintptr_t)rules->zeros, .iov_len = part};
		len -= part;
	}
	r->op.kind = BLK_WRITE;
	r->op.iov = r->iov;
	r->op.iov_count = count;
	return true;
}

static bool advance_range(struct blk_request *r, const struct blk_rules *rules, int result)
{
	bool again;

	if (result == -EOPNOTSUPP && r->type == VIRTIO_BLK_T_WRITE_ZEROES && r->op.kind != BLK_WRITE)
		return write_zeros(r, rules);
	if (result < 0)
		return over(r, result == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR);
	if (r->op.kind == BLK_WRITE) {
		again = advance_data(r, (uint64_t)result);
		if (again || r->status != VIRTIO_BLK_S_OK)
			return again;
	}
	r->range++;
	return next_range(r);
}

/* ---- all requests -------------------------------------------------------------------------------------- */

static bool begin_id(struct blk_request *r, const struct blk_rules *rules, const struct virtqueue *vq,
		     struct virtqueue_cursor *cursor, uint64_t len)
{
	size_t room = len < DISK_ID_BYTES ? (size_t)len : DISK_ID_BYTES;
	int64_t n = virtqueue_write(vq, cursor, rules->disk->id, room);

	if (n < 0)
		return over(r, VIRTIO_BLK_S_IOERR);
	r->written = (uint32_t)n;
	return over(r, VIRTIO_BLK_S_OK);
}

/* The last byte of the chain that we may write is the status (5.2.6). */
static bool find_status(const struct virtqueue_chain *chain, uint64_t *gpa)
{
	const struct virtqueue_segment *last;

	/* Of an empty chain there is no last one either. */
	if (!chain->writable)
		return false;
	last = &chain->segments[chain->count - 1];
	*gpa = last->gpa + last->len - 1;
	return true;
}

int blk_request_begin(struct blk_request *r, const struct blk_rules *rules, const struct virtqueue *vq,
		      const struct virtqueue_chain *chain)
{
	struct virtqueue_cursor readable, writable;
	struct virtio_blk_outhdr header;
	uint64_t in, out;

	r->head = chain->head;
	r->generation = vq->generation;
	r->written = 0;
	r->bytes = 0;
	r->op = (struct blk_op){.kind = BLK_SYNC};
	if (!find_status(chain, &r->status_gpa))
		return -EPROTO;
	/* It must not be missing when all is done. */
	if (guestmem_ready(vq->mem, r->status_gpa, sizeof(r->status)) == -EAGAIN)
		return -EAGAIN;
	virtqueue_to_read(chain, &readable);
	virtqueue_to_write(chain, &writable);
	if (virtqueue_read(vq, &readable, &header, sizeof(header)) != sizeof(header))
		return over(r, VIRTIO_BLK_S_IOERR);
	in = chain->writable - 1;
	out = chain->readable - sizeof(header);
	r->type = le32toh(header.type);
	switch (r->type) {
	case VIRTIO_BLK_T_IN:
		return begin_data(r, rules, vq, &writable, le64toh(header.sector), in);
	case VIRTIO_BLK_T_OUT:
		return begin_data(r, rules, vq, &readable, le64toh(header.sector), out);
	case VIRTIO_BLK_T_FLUSH:
		return rules->disk->readonly ? over(r, VIRTIO_BLK_S_OK) : true;
	case VIRTIO_BLK_T_GET_ID:
		return begin_id(r, rules, vq, &writable, in);
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return begin_ranges(r, rules, vq, &readable, out);
	default:
		return over(r, VIRTIO_BLK_S_UNSUPP);
	}
}

bool blk_request_advance(struct blk_request *r, const struct blk_rules *rules, int result)
{
	/* Not done, and nothing wrong with it either. */
	if (result == -EINTR || result == -EAGAIN)
		return true;
	if (r->type == VIRTIO_BLK_T_DISCARD || r->type == VIRTIO_BLK_T_WRITE_ZEROES)
		return advance_range(r, rules, result);
	if (result < 0)
		return over(r, VIRTIO_BLK_S_IOERR);
	return r->type == VIRTIO_BLK_T_FLUSH ? over(r, VIRTIO_BLK_S_OK) : advance_data(r, (uint64_t)result);
}

void blk_request_free(struct blk_request *r)
{
	free(r->iov);
	r->iov = NULL;
	r->iov_room = 0;
}
