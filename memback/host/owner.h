/* SPDX-License-Identifier: MIT */
/*
 * owner.h - the owners' table, who of them lives, and taking back what the dead had.
 *
 * An owner of a pool file lives as long as it holds an OFD lock on one byte of the memory file, through the
 * very open file description by which its memory is mapped. The kernel lets go of that lock when the last
 * mapping and the last descriptor are gone, which is when nobody can write to the memory any more; a pid
 * would say less. One more byte is the serial lock: owners are made, and dead ones buried, one at a time.
 *
 *   byte i        owner i lives
 *   SERIAL_BYTE   making, burying, destroying
 */
#ifndef HOST_OWNER_H
#define HOST_OWNER_H

#include "state.h"

#define OWNER_SERIAL_BYTE (UINT64_C(1) << 20)

/* Waits for the serial lock (in this process: the pool's mutex; between processes: the byte). */
int owner_serial_lock(struct mb_pool *pool);
/* The same without waiting; -EBUSY (or another error): somebody has it. */
int owner_serial_trylock(struct mb_pool *pool);
void owner_serial_unlock(struct mb_pool *pool);

/* Whether the entry's owner lives: its lock is held. In a private pool: the entry is in use. */
bool owner_lives(const struct mb_pool *pool, uint32_t index);
/*
 * Under the serial lock: takes back what owners without a lock had, and what others had in hand who died. May
 * be killed and done again. 0, or the first error; what was done in *did (may be NULL).
 */
int owner_bury_dead(struct mb_pool *pool, struct mb_recovered *did);
/* Without a lock, in passing: is there an owner to bury? */
bool owner_some_dead(const struct mb_pool *pool);
/*
 * Buries them, unless somebody is at it already or has the serial lock for another reason: nothing is waited for.
 * Takes about so long at most; what is left is for the next call, by whomever. True: there is more to bury.
 */
bool owner_bury_some(struct mb_pool *pool, unsigned ms);

/*
 * Under the serial lock: claims a free entry for the space's owner and locks its byte on space->mem.fd.
 * -EEXIST: the name is taken by a live owner; -EUSERS: the table is full.
 */
int owner_claim(struct mb_space *space, const char *name, struct mb_error *err);
/* Marks the entry free; the lock goes with the descriptor. */
void owner_release(struct mb_space *space);

/* Frees the frames [first, first + count), all of them one owner's, holes included, and clears their ledger. */
int owner_free_frames(struct mb_pool *pool, mb_slot slot, uint64_t first, uint64_t count);

uint32_t owner_id(uint32_t index, uint32_t generation);

#endif
