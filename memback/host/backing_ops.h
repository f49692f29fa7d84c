/* SPDX-License-Identifier: MIT */
/* backing_ops.h - the tables of operations, one a kind of memory; only backing.c chooses among them. */
#ifndef HOST_BACKING_OPS_H
#define HOST_BACKING_OPS_H

#include "backing.h"

extern const struct backing_ops backing_anon_ops;    /* backing_anon.c */
extern const struct backing_ops backing_file_ops;    /* backing_file.c: memfd, tmpfs, disk */
extern const struct backing_ops backing_hugetlb_ops; /* backing_hugetlb.c: both sizes */

/* Punches a hole: what frees memory of any file. Granule-aligned. */
int backing_punch(const struct backing *b, uint64_t offset, uint64_t len);
/* -ENOMEM with text: so many bytes of huge pages of this backing are wanted and too few are free. */
int backing_hugetlb_lacks(const struct backing *b, uint64_t bytes, struct mb_error *err);

#endif
