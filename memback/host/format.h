/* SPDX-License-Identifier: MIT */
/*
 * format.h - the pool's records: the layout of a pool file, and of a private pool's anonymous copy of it.
 *
 *   page 0   header: immutable, versioned, checksummed as a whole
 *   page 1   vars: the budget, what is used of it, who waits for it; the mark of a destroyed pool
 *   ...      owners: OWNERS_MAX entries, each with its table of extents
 *   ...      ledger: 8 bytes per huge frame (see ledger.h)
 *   ...      frames: the allocator's metadata
 *
 * The memory itself lies in another, sparse file, so that its st_blocks is the resident bytes and nothing
 * else. Everything behind page 0 is written by every attached process: whatever is read from there is
 * copied once and bounds-checked before it is used as an index.
 */
#ifndef HOST_FORMAT_H
#define HOST_FORMAT_H

#include <assert.h>
#include <stdatomic.h>
#include <stdint.h>

#define POOL_MAGIC     UINT64_C(0x31306b6361626d4d) /* "Mmback01" */
#define POOL_VERSION   3u
#define POOL_PAGE      4096u
#define POOL_PATH_MAX  3072u
#define POOL_SIZE_MAX  (UINT64_C(64) << 40)
#define OWNERS_MAX     128u
#define EXTENTS_MAX    4096u
#define OWNER_NAME_MAX 64u

#define BASE_SHIFT  12u
#define BASE_BYTES  (UINT64_C(1) << BASE_SHIFT)
#define HUGE_SHIFT  21u
#define HUGE_BYTES  (UINT64_C(1) << HUGE_SHIFT)
#define GIANT_SHIFT 30u
#define GIANT_BYTES (UINT64_C(1) << GIANT_SHIFT)
#define HUGE_PAGES  (1u << (HUGE_SHIFT - BASE_SHIFT)) /* base pages in a huge frame */
/* Guest physical addresses end here: what a ledger entry can hold, and x86's widest MAXPHYADDR. */
#define GPA_END (UINT64_C(1) << 52)

struct pool_header {
	uint64_t magic;
	uint32_t version;
	uint32_t header_bytes;
	uint32_t backing; /* enum mb_backing */
	uint32_t owners;  /* entries in the table */
	uint64_t size;    /* bytes of frame numbers */
	uint64_t granule; /* bytes */
	uint64_t vars_offset;
	uint64_t owners_offset;
	uint64_t ledger_offset;
	uint64_t frames_offset;
	uint64_t frames_bytes;
	uint64_t total_bytes; /* of the pool file */
	uint64_t mem_dev;     /* the memory file's identity */
	uint64_t mem_ino;
	char mem_path[POOL_PATH_MAX];
	uint8_t zero[POOL_PAGE - POOL_PATH_MAX - 112];
	uint64_t checksum; /* of all bytes before it */
};
static_assert(sizeof(struct pool_header) == POOL_PAGE, "the header is one page, checksummed to its last byte");

/* An owner that waits for bytes; at his number. */
struct budget_waiter {
	_Atomic uint64_t ticket; /* 0: does not wait; the smallest of the living is served first */
	_Atomic uint64_t bytes;
	_Atomic uint64_t since_ns; /* CLOCK_MONOTONIC */
};

struct pool_vars {
	_Atomic uint64_t budget;      /* bytes that may be out with owners */
	_Atomic uint64_t budget_used; /* bytes; <= budget, unless the budget was lowered since */
	_Atomic uint32_t destroyed;   /* set once, under the serial lock: the memory has no name any more */
	_Atomic uint32_t wake;        /* futex: changes when waiting may have an end */
	_Atomic uint64_t online;      /* bytes of frame numbers that shall be online; header.size is the most */
	_Atomic uint64_t boot[2];     /* the boot of the machine in which all of it was written */
	_Atomic uint64_t next_ticket;
	struct budget_waiter wait[OWNERS_MAX];
};
static_assert(sizeof(struct pool_vars) <= POOL_PAGE, "the variables fit their page");

enum owner_state {
	OWNER_FREE = 0, /* the entry is anybody's, under the serial lock */
	OWNER_MAKING,   /* its space is being made; dead if its lock is gone */
	OWNER_LIVE,     /* its space exists; dead if its lock is gone */
};

/* A contiguous run of frames at a contiguous run of guest physical addresses. */
struct extent {
	uint64_t gpa;   /* bytes, a multiple of 2 MiB */
	uint64_t frame; /* base frames, a multiple of 512 */
	uint64_t count; /* base frames, a multiple of 512 */
};

/*
 * maximum = sum of the extents; charged = maximum - inflated + pending, once the owner is live.
 * sum over owners of charged = vars.budget_used, at rest.
 */
struct owner_entry {
	_Atomic uint32_t state;      /* enum owner_state */
	_Atomic uint32_t generation; /* how often the entry has been used; 24 bits, never reused */
	_Atomic uint32_t slot;       /* the allocator's slot + 1; 0: none */
	_Atomic uint32_t prealloc;
	_Atomic int64_t pid;
	_Atomic uint64_t maximum;  /* bytes */
	_Atomic uint64_t charged;  /* bytes */
	_Atomic uint64_t inflated; /* bytes */
	_Atomic uint64_t pending;  /* bytes */
	_Atomic uint32_t extents;  /* valid entries of extent[] */
	_Atomic uint32_t charging; /* odd while charged and the pool's sum change, see charge.h */
	char name[OWNER_NAME_MAX]; /* terminated by its maker; a reader bounds it */
	struct extent extent[EXTENTS_MAX];
};
static_assert(sizeof(struct owner_entry) % 8 == 0 && sizeof(struct extent) == 24, "no padding surprises");
static_assert(OWNERS_MAX <= 256, "a ledger entry has 8 bits for the owner");

/* FNV-1a, 64 bits: every step is a bijection, so that a change of any single byte changes the sum. */
static inline uint64_t pool_checksum(const void *bytes, uint64_t count)
{
	const uint8_t *p = bytes;
	uint64_t sum = UINT64_C(0xcbf29ce484222325);

	for (uint64_t i = 0; i < count; i++)
		sum = (sum ^ p[i]) * UINT64_C(0x100000001b3);
	return sum;
}

#endif
