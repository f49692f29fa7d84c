/* SPDX-License-Identifier: MIT */
/*
 * blk_driver.h - the virtio-blk driver (virtio 1.2, 5.2): several requests in flight, one a slot.
 *
 * First CPU only.
 */
#ifndef GUEST_BLK_DRIVER_H
#define GUEST_BLK_DRIVER_H

#include "virtio.h"

#define BLK_DEVICE_ID 2
#define BLK_SLOTS     16
#define BLK_SECTOR    512

#define BLK_F_RO           5
#define BLK_F_BLK_SIZE     6
#define BLK_F_FLUSH        9
#define BLK_F_DISCARD      13
#define BLK_F_WRITE_ZEROES 14

#define BLK_T_IN           0
#define BLK_T_OUT          1
#define BLK_T_FLUSH        4
#define BLK_T_GET_ID       8
#define BLK_T_DISCARD      11
#define BLK_T_WRITE_ZEROES 13

#define BLK_S_OK      0
#define BLK_S_IOERR   1
#define BLK_S_UNSUPP  2
#define BLK_S_NOTHING 0xff /* no answer has come */

#define BLK_ID_BYTES 20

/* What the device reads, and the status that it writes: one a slot. */
struct blk_frame {
	uint32_t type, priority;
	uint64_t sector;
	volatile uint8_t status;
	uint8_t pad[15];
};

/* A range of T_DISCARD and T_WRITE_ZEROES. */
struct blk_range {
	uint64_t sector;
	uint32_t count, flags;
};

struct blk_driver {
	struct virtio dev;
	struct virtq q;
	uint64_t sectors;
	uint32_t block_size;
	bool readonly, can_discard, can_zero;
	struct blk_frame *frames; /* BLK_SLOTS */
	bool busy[BLK_SLOTS];
};

/* Finds and starts disk number n, from 0. NULL, or why not. */
const char *blk_driver_open(struct blk_driver *b, unsigned n);
/* Starts it again after a reset; requests in flight are forgotten. */
const char *blk_driver_start(struct blk_driver *b);

/* A slot that is free, or BLK_SLOTS. */
unsigned blk_driver_slot(const struct blk_driver *b);
/* Sends a request off. Data that is for the device to write: in. */
void blk_driver_send(struct blk_driver *b, unsigned slot, uint32_t type, uint64_t sector,
		     const volatile void *data, uint32_t len, bool in);
/* A request that is over: its slot, free again, and its status; BLK_SLOTS: none. */
unsigned blk_driver_used(struct blk_driver *b, uint8_t *status);
/* Sleeps until there is one, or until the deadline (TSC) has passed. */
void blk_driver_sleep(struct blk_driver *b, uint64_t deadline);
/* Sends a request and waits: its status, BLK_S_NOTHING if none comes within seconds. Nothing else in flight. */
uint8_t blk_driver_do(struct blk_driver *b, uint32_t type, uint64_t sector, const volatile void *data,
		      uint32_t len, bool in);

#endif
