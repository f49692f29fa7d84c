/* SPDX-License-Identifier: MIT */
/*
 * state.h - what a pool and a space are made of, for the host side's own modules.
 */
#ifndef HOST_STATE_H
#define HOST_STATE_H

#include "backing.h"
#include "format.h"
#include "guard.h"
#include "ledger.h"
#include <memback/pool.h>
#include <pthread.h>

struct overcommit;

struct mb_pool {
	struct backing mem;
	uint64_t size; /* bytes of frame numbers */
	bool shared;   /* a pool file: several processes, locks, a memory file with a name */
	uint8_t *map;  /* the records, see format.h; this process' mapping of them */
	uint64_t map_bytes;
	struct pool_vars *vars;     /* all three point into map */
	struct owner_entry *owners; /* OWNERS_MAX */
	ledger_word *ledger;        /* size / 2 MiB words */
	struct mb_frames *frames;
	char *mem_path;            /* pool file: where the memory file is */
	uint64_t mem_dev, mem_ino; /* and what it is */
	pthread_mutex_t lock;      /* the serial lock among this process' threads */
	uint64_t bury_until;       /* under it: burying stops for now at this time, ns; 0: it is done */
	pthread_mutex_t list_lock; /* spaces; nothing is waited for under it */
	struct mb_space *spaces;
	bool keep;         /* while attaching: a pool of another boot shall be repaired, not made empty */
	bool kept;         /* it was of another boot, and was repaired when it was attached */
	bool rebuilt;      /* made empty when it was attached, since it was of another boot */
	unsigned fault_in; /* tests: the so-manyth step from now fails; 0: none does */
};

struct mb_space {
	struct mb_pool *pool;
	struct mb_space *next;
	struct backing mem; /* the pool's; of a pool file with a descriptor of its own, which is locked */
	uint32_t owner;     /* index */
	uint32_t generation;
	struct owner_entry *entry; /* others read it; what we rely on is copied below */
	mb_slot slot;
	bool has_slot, has_charge, has_entry, has_ledger, linked; /* how far it is made, for the undoing */
	bool prealloc;
	struct mb_region *region; /* ascending, neighbours merged */
	unsigned regions;
	struct extent *extent; /* ascending by gpa */
	unsigned extents;
	uint64_t taken; /* base frames of the extents that are taken, from the first one on */
	uint8_t *window;
	uint64_t window_bytes;
	uint64_t maximum;                            /* bytes */
	uint64_t out;                                /* bytes of the last regions, which began inflated */
	unsigned first_out;                          /* of region[]: the first of those */
	_Atomic uint64_t charged, inflated, pending; /* bytes; space_total(), space_add() */
	uint16_t *holes;         /* by huge frame (space_index()): how many of its base frames are holes */
	uint32_t *granule_holes; /* by granule; NULL where the granule is a base frame */
	_Atomic uint32_t wake_seen; /* vars.wake before the last try to charge */
	bool buries;                /* of the dead there is more to bury: space_sleep() */
	struct guard guard;
	struct overcommit *over; /* charged when touched; NULL: charged when made */
};

/* Tests make any step fail: 0, or -EIO once. */
static inline int pool_fault(struct mb_pool *pool)
{
	return pool->fault_in && !--pool->fault_in ? -5 : 0;
}

/* The region that holds all of [gpa, gpa + len), or NULL. */
const struct mb_region *space_region(const struct mb_space *space, uint64_t gpa, uint64_t len);
/* Index of gpa's huge frame in the regions laid end to end; gpa must be in a region. */
uint64_t space_index(const struct mb_space *space, uint64_t gpa);
/* The reverse, for an index below maximum / 2 MiB. */
uint64_t space_gpa(const struct mb_space *space, uint64_t index);
/* The extent that holds gpa, or NULL. */
const struct extent *space_extent(const struct mb_space *space, uint64_t gpa);
static inline void *space_at(const struct mb_space *space, uint64_t gpa)
{
	return space->window + gpa;
}

/* A contiguous run of frames and of guest physical addresses within one extent. */
struct space_run {
	uint64_t gpa;
	uint64_t frame; /* base frames */
	uint64_t len;   /* bytes */
};
/* The longest run that starts at gpa (which is in a region) and is at most len bytes. */
struct space_run space_run_at(const struct mb_space *space, uint64_t gpa, uint64_t len);

/*
 * The space's totals: written by its one thread, read by any for a status. Relaxed: they guard nothing, and a
 * reader that sees one new and one old sees what it may see a moment later as well.
 */
static inline uint64_t space_total(const _Atomic uint64_t *total)
{
	return atomic_load_explicit(total, memory_order_relaxed);
}
static inline void space_add(_Atomic uint64_t *total, uint64_t bytes)
{
	atomic_store_explicit(total, space_total(total) + bytes, memory_order_relaxed);
}

/* Makes holes of the regions that begin inflated; their frames are taken, and nothing of them is mapped yet. */
int space_begin_out(struct mb_space *space);

/* Publishes the totals in the owner's entry. */
void space_publish(struct mb_space *space);

#endif
