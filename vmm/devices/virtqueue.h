/* SPDX-License-Identifier: MIT */
/*
 * virtqueue.h - a split virtqueue (virtio 1.2, 2.7) as the device sees it.
 *
 * All of it is the guest's memory and therefore hostile: whatever is read is read once, then checked. The
 * rings are looked up through the guest-memory gate at each use, so that a guest which takes their memory
 * away, or overlaps them, harms nobody but itself. After -EPROTO the queue is not usable until it is
 * started anew; flaw says why.
 *
 * No thread safety of its own: the device's lock protects it.
 */
#ifndef VMM_DEVICES_VIRTQUEUE_H
#define VMM_DEVICES_VIRTQUEUE_H

#include "machine/guestmem.h"
#include <stdbool.h>

#define VIRTQUEUE_SIZE_MAX 1024 /* descriptors; a power of two */
/*
 * Segments of one chain. A direct chain is bounded by the queue's size, which also ends a loop. An indirect
 * table may be longer than that (Linux's drivers do so), hence a bound of its own.
 */
#define VIRTQUEUE_SEGMENTS_MAX 1024

struct virtqueue_setup {
	uint16_t size;  /* descriptors: a power of two, at most the device's maximum */
	uint64_t desc;  /* gpa, 16-aligned: 16 bytes a descriptor */
	uint64_t avail; /* gpa, 2-aligned: 6 + 2 bytes a descriptor */
	uint64_t used;  /* gpa, 4-aligned: 6 + 8 bytes a descriptor */
	bool indirect;  /* VIRTIO_F_INDIRECT_DESC was negotiated */
	bool event_idx; /* VIRTIO_F_EVENT_IDX was negotiated */
};

struct virtqueue {
	const struct guestmem *mem;
	struct virtqueue_setup setup;
	bool ready;
	uint32_t generation; /* counts starts and stops: a chain popped in another generation is void */
	uint16_t avail_next; /* next entry of the available ring to be taken */
	uint16_t avail_seen; /* the driver's index when it was read last */
	uint16_t used_next;  /* next entry of the used ring to be written */
	uint16_t used_told;  /* our index when it was published last */
	const char *flaw;    /* static text: why -EPROTO */
};

struct virtqueue_segment {
	uint64_t gpa;
	uint32_t len; /* > 0 */
};

/* A chain of buffers: [0, readable_count) are for the device to read, the others for it to write. */
struct virtqueue_chain {
	uint16_t head;
	unsigned count, readable_count;
	uint64_t readable, writable; /* bytes; their sum is at most 2^32 (2.7.4.2) */
	struct virtqueue_segment segments[VIRTQUEUE_SEGMENTS_MAX];
};

/* A place in one half of a chain. The chain must outlive it. */
struct virtqueue_cursor {
	const struct virtqueue_segment *segments;
	unsigned next, end;
	uint32_t offset; /* in segments[next] */
	uint64_t left;   /* bytes */
};

/* 0, or -EINVAL and the flaw: nothing has changed but that. */
MB_MUST_CHECK int virtqueue_start(struct virtqueue *vq, const struct guestmem *mem,
				  const struct virtqueue_setup *setup, uint16_t size_max);
/* Forgets all; what was taken and not given back is void. */
void virtqueue_stop(struct virtqueue *vq);
/* Where the rings lie: i = 0, 1, 2 for descriptors, available and used ring. */
void virtqueue_area(const struct virtqueue *vq, unsigned i, uint64_t *gpa, uint64_t *len);

/* Takes the next chain: 1, or 0 if there is none, or -EPROTO. */
MB_MUST_CHECK int virtqueue_pop(struct virtqueue *vq, struct virtqueue_chain *chain);
/* The chain that was taken last is as if it had not been: it comes again, and is read and checked again. */
void virtqueue_put_back(struct virtqueue *vq);
/* Notes that a chain goes back with so many bytes written; the driver sees it at the next publish. */
void virtqueue_push(struct virtqueue *vq, uint16_t head, uint32_t written);
/* Shows the driver all that was pushed. true: it wants an interrupt for it. */
bool virtqueue_publish(struct virtqueue *vq);
/* Asks the driver, as far as that goes, not to notify us while we look anyway. */
void virtqueue_look(struct virtqueue *vq);
/* true: the queue is empty and the driver will notify us. false: there is more, or a flaw; go on. */
bool virtqueue_sleep(struct virtqueue *vq);

void virtqueue_to_read(const struct virtqueue_chain *chain, struct virtqueue_cursor *cursor);
void virtqueue_to_write(const struct virtqueue_chain *chain, struct virtqueue_cursor *cursor);
/* The next contiguous piece, at most max bytes; false at the end. */
bool virtqueue_next(struct virtqueue_cursor *cursor, uint64_t max, struct virtqueue_segment *piece);
/* Copy up to len bytes; how many, or -EFAULT. */
int64_t virtqueue_read(const struct virtqueue *vq, struct virtqueue_cursor *cursor, void *to, size_t len);
int64_t virtqueue_write(const struct virtqueue *vq, struct virtqueue_cursor *cursor, const void *from,
			size_t len);

#endif
