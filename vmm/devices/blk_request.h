/* SPDX-License-Identifier: MIT */
/*
 * blk_request.h - one request of virtio-blk (virtio 1.2, 5.2.6): from a chain of descriptors, which is a
 * guest's and says anything, to operations on a disk, to a status byte.
 *
 * A pure state machine, without I/O of its own: begin() says what to do first, advance() what to do after
 * the result of that.
 *
 *   chain --begin--> op --result, advance--> op ... --advance--> status
 *           \------> status
 */
#ifndef VMM_DEVICES_BLK_REQUEST_H
#define VMM_DEVICES_BLK_REQUEST_H

#include "devices/blk_io.h"
#include "devices/disk.h"
#include "devices/virtqueue.h"

/* What we announce; the device enforces what would else cost us something. */
#define BLK_DISCARD_SECTORS (UINT32_C(1) << 22) /* of one range: 2 GiB */
#define BLK_ZEROES_SECTORS  (UINT32_C(1) << 17) /* of one range: 64 MiB, which may have to be written */
#define BLK_RANGES_MAX      16                  /* of one request */

struct blk_range {
	uint64_t offset, len; /* bytes */
	bool unmap;
};

struct blk_request {
	/* What goes back to the driver. */
	uint16_t head;
	uint32_t generation; /* of the queue */
	uint64_t status_gpa;
	uint8_t status;   /* VIRTIO_BLK_S_*, once it is final */
	uint32_t written; /* bytes of data that the guest was given */
	/* What is to be done. */
	uint32_t type;  /* VIRTIO_BLK_T_* */
	uint64_t bytes; /* of data, in all */
	struct blk_op op;
	struct iovec *iov; /* kept from request to request */
	unsigned iov_room;
	unsigned range, range_count;
	struct blk_range ranges[BLK_RANGES_MAX];
};

/* What a disk's requests have in common. */
struct blk_rules {
	const struct disk *disk;
	/* Memory that reads as zero, for file systems that cannot zero a range by themselves. */
	const void *zeros;
	uint64_t zeros_size; /* bytes */
};

/*
 * 1: do r->op. 0: it is over, with r->status. -EPROTO: a chain without room for a status. -EAGAIN: the host
 * lacks memory for its data now; nothing was done, begin again later.
 */
int blk_request_begin(struct blk_request *r, const struct blk_rules *rules, const struct virtqueue *vq,
		      const struct virtqueue_chain *chain);
/* The operation's result, as blk_io_done_fn has it; true: go on with r->op. */
bool blk_request_advance(struct blk_request *r, const struct blk_rules *rules, int result);
void blk_request_free(struct blk_request *r);

#endif
