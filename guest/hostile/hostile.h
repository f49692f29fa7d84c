/* SPDX-License-Identifier: MIT */
/*
 * hostile.h - what the cases of the hostile guest share.
 *
 * A case gets a freshly started balloon device, does its worst, and returns. What the device made of it is
 * printed, then the device is reset and has to work properly again.
 */
#ifndef GUEST_HOSTILE_H
#define GUEST_HOSTILE_H

#include "lib/balloon_driver.h"
#include "lib/blk_driver.h"
#include "lib/boot.h"
#include "lib/console.h"
#include "lib/machine.h"

#define AREA_PAGES  1024
#define NUMBERS_MAX 16384
#define ANSWER_MS   200

struct hostile {
	struct balloon_driver b;
	struct blk_driver disk; /* frames: NULL until it is opened */
	uint64_t area;     /* guest physical address of memory to inflate, 2 MiB aligned, AREA_PAGES pages */
	uint32_t *numbers; /* NUMBERS_MAX page numbers, page-aligned */
	uint64_t random;   /* state of hostile_random() */
};

enum hostile_kind {
	CASE_SURVIVES, /* the guest goes on, the device recovers */
	CASE_ENDS,     /* the VM ends, by the guest or by the VMM; never part of case=all */
};

struct hostile_case {
	const char *name, *what;
	void (*run)(struct hostile *h);
	enum hostile_kind kind;
};

/* One table a file; each ends with a case without a name. */
extern const struct hostile_case hostile_queue_cases[];
extern const struct hostile_case hostile_frame_cases[];
extern const struct hostile_case hostile_register_cases[];
extern const struct hostile_case hostile_machine_cases[];
extern const struct hostile_case hostile_fuzz_cases[];
extern const struct hostile_case hostile_disk_cases[];

/* The first count page numbers of the area into numbers[]. */
void hostile_fill_numbers(struct hostile *h, unsigned count);
/* Fills the area with its own page numbers, so that it does no harm as a buffer. What follows it in memory is
 * zero, or never touched: page 0, which nobody needs. */
void hostile_fill_area(struct hostile *h);
/* Posts numbers[0..count) as one buffer of this queue and kicks. */
void hostile_post_numbers(struct hostile *h, struct virtq *q, unsigned count);
/* Waits until the device has used a buffer of the queue, or asks for a reset, or ANSWER_MS have passed; says
 * which. true: used. */
bool hostile_answer(struct hostile *h, struct virtq *q);
/* The same of another device than the balloon. */
bool hostile_answer_of(const struct virtio *dev, struct virtq *q);
/* Starts the device anew. Ends the VM with EXIT_FAIL if it does not start. */
void hostile_restart(struct hostile *h);
/* Restart, then inflates and deflates properly; ends the VM with EXIT_FAIL if that does not work. */
void hostile_recover(struct hostile *h);
/* xorshift64*: the same sequence for the same seed. */
uint64_t hostile_random(struct hostile *h);

#endif
