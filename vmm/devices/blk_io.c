/* SPDX-License-Identifier: MIT */
/* blk_io.c - see blk_io.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "devices/blk_io.h"

#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/*
 * Longer operations go to the kernel's own threads at once. Else a submission would do them on the spot where
 * the page cache has the data, and a guest that reads much would keep the loop, and us the device's lock.
 */
#define INLINE_MAX  (UINT64_C(64) << 10)
#define BATCH       64
#define DATA_CANCEL UINT64_MAX

struct blk_io {
	struct blk_io_config config;
	struct io_uring ring;
	bool has_ring;
	int ready_fd;
	struct loop_source *ready;
	unsigned in_flight;
	bool busy[]; /* slot */
};

static void on_ready(void *arg, int fd, uint32_t events)
{
	struct blk_io *io = arg;
	uint64_t count;

	(void)events;
	/* Cleared first: what completes from here on is told again. */
	if (read(fd, &count, sizeof(count)) < 0)
		return;
	io->config.on_ready(io->config.arg);
}

static int open_ring(struct blk_io *io)
{
	int rc;

	io->ready_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (io->ready_fd < 0)
		return -errno;
	/* Room for every slot's operation and its cancellation, so that an entry is always there. */
	rc = io_uring_queue_init(2 * io->config.slots, &io->ring, 0);
	if (rc)
		return rc;
	io->has_ring = true;
	rc = io_uring_register_eventfd(&io->ring, io->ready_fd);
	return rc ? rc : loop_add_fd(io->config.loop, io->ready_fd, POLLIN, on_ready, io, &io->ready);
}

int blk_io_create(const struct blk_io_config *config, struct blk_io **out)
{
	struct blk_io *io = calloc(1, sizeof(*io) + config->slots * sizeof(io->busy[0]));
	int rc;

	if (!io)
		return -ENOMEM;
	io->config = *config;
	rc = open_ring(io);
	if (rc) {
		blk_io_destroy(io);
		return rc;
	}
	*out = io;
	return 0;
}

void blk_io_destroy(struct blk_io *io)
{
	if (!io)
		return;
	if (io->ready)
		loop_remove(io->ready);
	if (io->has_ring)
		io_uring_queue_exit(&io->ring);
	if (io->ready_fd >= 0)
		close(io->ready_fd);
	free(io);
}

static struct io_uring_sqe *entry(struct blk_io *io)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);

	/* Only if earlier submissions were refused and many cancelled since. */
	while (!sqe) {
		io_uring_submit(&io->ring);
		sqe = io_uring_get_sqe(&io->ring);
	}
	return sqe;
}

void blk_io_start(struct blk_io *io, unsigned slot, const struct blk_op *op)
{
	struct io_uring_sqe *sqe = entry(io);
	int fd = io->config.fd;

	switch (op->kind) {
	case BLK_READ:
		io_uring_prep_readv(sqe, fd, op->iov, op->iov_count, op->offset);
		break;
	case BLK_WRITE:
		io_uring_prep_writev(sqe, fd, op->iov, op->iov_count, op->offset);
		break;
	case BLK_SYNC:
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
		break;
	case BLK_PUNCH:
		io_uring_prep_fallocate(sqe, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)op->offset,
					(off_t)op->len);
		break;
	case BLK_ZERO:
		io_uring_prep_fallocate(sqe, fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)op->offset,
					(off_t)op->len);
		break;
	}
	if (io->config.elsewhere || op->kind > BLK_WRITE || op->len > INLINE_MAX)
		io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
	io_uring_sqe_set_data64(sqe, slot);
	io->busy[slot] = true;
	io->in_flight++;
}

int blk_io_submit(struct blk_io *io)
{
	int rc = 0;

	if (io_uring_sq_ready(&io->ring))
		rc = io_uring_submit(&io->ring);
	return rc < 0 ? -EAGAIN : 0;
}

unsigned blk_io_reap(struct blk_io *io)
{
	struct io_uring_cqe *cqes[BATCH];
	struct {
		uint64_t slot;
		int result;
	} done[BATCH];
	unsigned count, total = 0;

	do {
		count = io_uring_peek_batch_cqe(&io->ring, cqes, BATCH);
		for (unsigned i = 0; i < count; i++) {
			done[i].slot = cqes[i]->user_data;
			done[i].result = cqes[i]->res;
		}
		io_uring_cq_advance(&io->ring, count);
		for (unsigned i = 0; i < count; i++) {
			if (done[i].slot == DATA_CANCEL)
				continue;
			io->busy[done[i].slot] = false;
			io->in_flight--;
			total++;
			io->config.on_done(io->config.arg, (unsigned)done[i].slot, done[i].result);
		}
	} while (count == BATCH);
	return total;
}

void blk_io_cancel(struct blk_io *io, unsigned slot)
{
	struct io_uring_sqe *sqe = entry(io);

	io_uring_prep_cancel64(sqe, slot, 0);
	io_uring_sqe_set_data64(sqe, DATA_CANCEL);
}

/* Of the ring only the descriptor, which never changes: so whoever holds the lock may go on meanwhile. */
bool blk_io_wait(const struct blk_io *io, unsigned ms)
{
	struct pollfd p = {.fd = io->ring.ring_fd, .events = POLLIN};

	return poll(&p, 1, (int)ms) > 0;
}

void blk_io_drain(struct blk_io *io)
{
	int rc;

	for (unsigned i = 0; i < io->config.slots; i++)
		if (io->busy[i])
			blk_io_cancel(io, i);
	while (io->in_flight) {
		rc = io_uring_submit_and_wait(&io->ring, 1);
		if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY) {
			log_at(LOG_ERROR, "disk: cannot wait for what is in flight: %s", strerror(-rc));
			return;
		}
		blk_io_reap(io);
	}
}

bool blk_io_is_busy(const struct blk_io *io, unsigned slot)
{
	return io->busy[slot];
}

unsigned blk_io_in_flight(const struct blk_io *io)
{
	return io->in_flight;
}
