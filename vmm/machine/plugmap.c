/* SPDX-License-Identifier: MIT */
/* plugmap.c - see plugmap.h. */
#include "machine/plugmap.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define WORD 64u

int plugmap_init(struct plugmap *map, uint64_t gpa, uint64_t size, uint64_t block)
{
	if (block == 0 || (block & (block - 1)) != 0 || size == 0 || ((gpa | size) & (block - 1)) != 0)
		return -EINVAL;
	*map = (struct plugmap){.gpa = gpa, .size = size, .block = block};
	map->bytes = (size_t)((size / block + WORD - 1) / WORD * sizeof(*map->bits));
	map->bits =
	    mmap(NULL, map->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map->bits == MAP_FAILED) {
		map->bits = NULL;
		return -ENOMEM;
	}
	pthread_rwlock_init(&map->lock, NULL);
	return 0;
}

void plugmap_free(struct plugmap *map)
{
	if (map->bits == NULL)
		return;
	munmap(map->bits, map->bytes);
	pthread_rwlock_destroy(&map->lock);
	map->bits = NULL;
}

bool plugmap_holds(const struct plugmap *map, uint64_t gpa, uint64_t len)
{
	return gpa >= map->gpa && gpa - map->gpa < map->size && len <= map->size - (gpa - map->gpa);
}

bool plugmap_touches(const struct plugmap *map, uint64_t gpa, uint64_t len)
{
	if (gpa >= map->gpa)
		return gpa - map->gpa < map->size;
	return len > map->gpa - gpa;
}

/* The lock is no part of what is const. */
static pthread_rwlock_t *lock_of(const struct plugmap *map)
{
	return (pthread_rwlock_t *)&map->lock;
}

void plugmap_read_lock(const struct plugmap *map)
{
	pthread_rwlock_rdlock(lock_of(map));
}

void plugmap_write_lock(struct plugmap *map)
{
	pthread_rwlock_wrlock(&map->lock);
}

void plugmap_unlock(const struct plugmap *map)
{
	pthread_rwlock_unlock(lock_of(map));
}

/* The bits of blocks [first, end) in first's word, and how many blocks that are. */
static uint64_t mask_at(uint64_t first, uint64_t end, unsigned *count)
{
	unsigned at = (unsigned)(first % WORD);
	*count = end - first < WORD - at ? (unsigned)(end - first) : WORD - at;
	return (*count == WORD ? UINT64_MAX : (UINT64_C(1) << *count) - 1) << at;
}

bool plugmap_all(const struct plugmap *map, uint64_t gpa, uint64_t len, bool plugged)
{
	uint64_t first = (gpa - map->gpa) / map->block, end = (gpa - map->gpa + len - 1) / map->block + 1;
	unsigned n;
	for (uint64_t i = first; i < end; i += n) {
		uint64_t mask = mask_at(i, end, &n);
		if ((map->bits[i / WORD] & mask) != (plugged ? mask : 0))
			return false;
	}
	return true;
}

void plugmap_set(struct plugmap *map, uint64_t gpa, uint64_t len, bool plugged)
{
	uint64_t first = (gpa - map->gpa) / map->block, end = first + len / map->block;
	unsigned n;
	for (uint64_t i = first; i < end; i += n) {
		uint64_t mask = mask_at(i, end, &n);
		map->bits[i / WORD] = plugged ? map->bits[i / WORD] | mask : map->bits[i / WORD] & ~mask;
	}
}

/* The first block in [i, end) in this state, or end. */
static uint64_t find(const struct plugmap *map, uint64_t i, uint64_t end, bool plugged)
{
	unsigned n;
	for (; i < end; i += n) {
		uint64_t mask = mask_at(i, end, &n), word = map->bits[i / WORD];
		uint64_t hits = (plugged ? word : ~word) & mask;
		if (hits != 0)
			return i / WORD * WORD + (unsigned)__builtin_ctzll(hits);
	}
	return end;
}

bool plugmap_next(const struct plugmap *map, uint64_t gpa, uint64_t end, uint64_t *start, uint64_t *len)
{
	uint64_t last = (end - map->gpa + map->block - 1) / map->block;
	uint64_t first = find(map, (gpa - map->gpa) / map->block, last, true);
	if (first >= last)
		return false;
	*start = map->gpa + first * map->block;
	*len = (find(map, first, last, false) - first) * map->block;
	return true;
}
