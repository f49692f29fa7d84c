/* SPDX-License-Identifier: MIT */
/*
 * discard.c - memory that a guest says is free, and keeps: its bytes go back to the kernel, and come again,
 * zero, when it is touched. No hole is marked and the charge stays, since nobody asks before touching it.
 */
#include "overcommit.h"
#include "state.h"

#include <errno.h>

/*
 * Not where the kernel wants memory reserved: what is charged is reserved there, so nothing would be had. Not
 * where all is to be resident from the start.
 */
bool mb_space_can_discard(const struct mb_space *space)
{
	return !space->mem.ops->reserve && !space->prealloc;
}

int mb_space_discard(struct mb_space *space, uint64_t gpa, uint64_t len)
{
	int rc = 0;

	if (!mb_space_can_discard(space))
		return -EOPNOTSUPP;
	if (!len || gpa % BASE_BYTES || len % BASE_BYTES)
		return -EINVAL;
	if (!space_region(space, gpa, len))
		return -ERANGE;
	for (uint64_t pos = gpa; pos < gpa + len && !rc;) {
		struct space_run run = space_run_at(space, pos, gpa + len - pos);

		rc = pool_fault(space->pool);
		if (!rc)
			rc = space->over ? overcommit_give_back(space, &run)
					 : space->mem.ops->give_back(&space->mem, space_at(space, run.gpa),
								     run.frame << BASE_SHIFT, run.len);
		pos += run.len;
	}
	return rc;
}
