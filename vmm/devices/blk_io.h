/* SPDX-License-Identifier: MIT */
/*
 * blk_io.h - a disk's requests on their way: an io_uring of the disk's own, whose completions wake the loop.
 *
 * A ring of its own, rather than the loop's, so that a reset by the guest can wait for what is in flight, on
 * a vCPU's thread, without anybody else's completions.
 *
 * No thread safety of its own: the device's lock protects it; any thread that holds it may call. Only
 * blk_io_wait() is called without.
 */
#ifndef VMM_DEVICES_BLK_IO_H
#define VMM_DEVICES_BLK_IO_H

#include "control/loop.h"

#include <memback/pool.h>
#include <sys/uio.h>

enum blk_op_kind { BLK_READ, BLK_WRITE, BLK_SYNC, BLK_PUNCH, BLK_ZERO };

/* One system call's worth of work. */
struct blk_op {
	enum blk_op_kind kind;
	const struct iovec *iov; /* BLK_READ, BLK_WRITE: stays valid until the operation is done */
	unsigned iov_count;
	uint64_t offset, len; /* bytes */
};

struct blk_io;

/* The operation of this slot is done: bytes, or a negative errno. May start the next one. */
typedef void blk_io_done_fn(void *arg, unsigned slot, int result);

struct blk_io_config {
	struct loop *loop;
	int fd;            /* not owned */
	unsigned slots;    /* operations in flight, at most */
	bool elsewhere;    /* none is done by whoever submits it: touching their memory may take long */
	loop_fn *on_ready; /* on the loop's thread: something is done, so lock and call blk_io_reap() */
	blk_io_done_fn *on_done;
	void *arg;
};

MB_MUST_CHECK int blk_io_create(const struct blk_io_config *config, struct blk_io **out);
/* Nothing may be in flight (blk_io_drain()). NULL is fine. */
void blk_io_destroy(struct blk_io *io);

/* Queues an operation; a slot has one at a time. It begins at the next submit. */
void blk_io_start(struct blk_io *io, unsigned slot, const struct blk_op *op);
/* 0, or -EAGAIN: the kernel takes no more now; call again, later. */
MB_MUST_CHECK int blk_io_submit(struct blk_io *io);
/* Calls on_done() for all that are done; how many. */
unsigned blk_io_reap(struct blk_io *io);
/*
 * This slot's operation is not wanted any more, from the next submit on: if it has not begun yet, it ends with
 * -ECANCELED. If it has, it is to be waited for all the same: only then does the kernel let go of the memory.
 */
void blk_io_cancel(struct blk_io *io, unsigned slot);
/* Without the lock: waits so long at most for something to reap; false: there was nothing. */
bool blk_io_wait(const struct blk_io *io, unsigned ms);
/*
 * Cancels all, and waits until nothing is in flight; on_done() is called for each, and what it starts is waited
 * for as well. For the end only: memory that is missing may keep it for ever.
 */
void blk_io_drain(struct blk_io *io);
bool blk_io_is_busy(const struct blk_io *io, unsigned slot);
unsigned blk_io_in_flight(const struct blk_io *io);

#endif
