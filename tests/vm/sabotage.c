// SPDX-License-Identifier: MIT
/*
 * sabotage.c - does to a pool file, behind the back of those who use it, what memback-check must find.
 *
 * Opens the private headers of memback/host, as a test may. For pools with one owner: a guest physical
 * address then names one frame.
 */
#define _GNU_SOURCE
#include "format.h"
#include "ledger.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct pool {
	uint8_t *map;
	uint64_t bytes;
	const struct pool_header *header;
	ledger_word *ledger;
	uint64_t entries;
	int memory; /* descriptor of the memory file */
};

static int fail(const char *what)
{
	fprintf(stderr, "sabotage: %s: %s\n", what, strerror(errno));
	return 1;
}

static int open_pool(struct pool *p, const char *path)
{
	struct stat status;
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &status))
		return fail(path);
	p->bytes = (uint64_t)status.st_size;
	p->map = mmap(NULL, p->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p->map == MAP_FAILED)
		return fail(path);
	p->header = (const struct pool_header *)(const void *)p->map;
	p->entries = p->header->size >> HUGE_SHIFT;
	if (p->bytes < sizeof(*p->header) || p->header->magic != POOL_MAGIC ||
	    p->header->ledger_offset + p->entries * sizeof(ledger_word) > p->bytes) {
		errno = EINVAL;
		return fail(path);
	}
	p->ledger = (ledger_word *)(void *)(p->map + p->header->ledger_offset);
	p->memory = open(p->header->mem_path, O_RDWR | O_CLOEXEC);
	return p->memory < 0 ? fail(p->header->mem_path) : 0;
}

/* The ledger's entry for a guest physical address. */
static ledger_word *find(const struct pool *p, uint64_t gpa)
{
	for (uint64_t i = 0; i < p->entries; i++) {
		struct ledger_entry entry = ledger_unpack(p->ledger[i]);
		if (entry.valid && entry.gpa == (gpa & ~(HUGE_BYTES - 1)))
			return &p->ledger[i];
	}
	fprintf(stderr, "sabotage: the ledger has no guest physical address 0x%llx\n", (unsigned long long)gpa);
	return NULL;
}

/* Where in the memory file the page at a guest physical address lies; -1: nowhere. */
static off_t offset_of(const struct pool *p, uint64_t gpa)
{
	const ledger_word *word = find(p, gpa);

	if (!word)
		return -1;
	return (off_t)((uint64_t)(word - p->ledger) << HUGE_SHIFT | (gpa & (HUGE_BYTES - 1)));
}

/* Takes a page of the guest's out of the memory file. */
static int punch(const struct pool *p, uint64_t gpa)
{
	off_t offset = offset_of(p, gpa);

	if (offset < 0)
		return 1;
	if (fallocate(p->memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, (off_t)BASE_BYTES))
		return fail("fallocate");
	return 0;
}

/* Writes to a page, as if somebody had kept hold of it. */
static int touch(const struct pool *p, uint64_t gpa)
{
	off_t offset = offset_of(p, gpa);

	if (offset < 0)
		return 1;
	if (pwrite(p->memory, "intruder", 8, offset) != 8)
		return fail("pwrite");
	return 0;
}

/* Exchanges the ledger's entries of two frames; done twice, all is as before. */
static int swap(const struct pool *p, uint64_t gpa, uint64_t other_gpa)
{
	ledger_word *a = find(p, gpa), *b = find(p, other_gpa);

	if (!a || !b)
		return 1;
	uint64_t value = *a;
	*a = *b;
	*b = value;
	return 0;
}

int main(int argc, char **argv)
{
	struct pool p;

	if (argc < 4 || (!strcmp(argv[1], "swap") && argc < 5)) {
		fprintf(stderr, "usage: sabotage punch|touch POOL GPA\n       sabotage swap POOL GPA GPA\n");
		return 1;
	}
	if (open_pool(&p, argv[2]))
		return 1;
	uint64_t gpa = strtoull(argv[3], NULL, 0);
	if (!strcmp(argv[1], "punch"))
		return punch(&p, gpa);
	if (!strcmp(argv[1], "touch"))
		return touch(&p, gpa);
	if (!strcmp(argv[1], "swap"))
		return swap(&p, gpa, strtoull(argv[4], NULL, 0));
	fprintf(stderr, "sabotage: what is '%s'?\n", argv[1]);
	return 1;
}
