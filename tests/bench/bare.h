/* SPDX-License-Identifier: MIT */
/*
 * bare.h - the system calls that giving memory back and taking it again come down to, with nothing around
 * them: what a balloon is measured against.
 */
#ifndef TESTS_BENCH_BARE_H
#define TESTS_BENCH_BARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum bare_backing { BARE_ANON, BARE_MEMFD, BARE_HUGETLB };

struct bare {
	enum bare_backing backing;
	int fd;
	unsigned char *mem;
	size_t size, batch;
};

uint64_t bare_now_ns(void);
/* false: this backing cannot be had. size and batch: bytes, multiples of 2 MiB. */
bool bare_open(struct bare *b, enum bare_backing backing, size_t size, size_t batch);
void bare_close(struct bare *b);
/* All of it, in batches; ns that it took. -1: the kernel refused. */
int64_t bare_populate(struct bare *b); /* MADV_POPULATE_WRITE */
int64_t bare_touch(struct bare *b);    /* a word in each 4 KiB */
int64_t bare_discard(struct bare *b);  /* MADV_DONTNEED or FALLOC_FL_PUNCH_HOLE */
/* The same while another thread runs in this address space, as a vCPU does in its VMM's. */
int64_t bare_discard_beside_thread(struct bare *b);

#endif
