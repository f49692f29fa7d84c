/* SPDX-License-Identifier: MIT */
/*
 * boot.c - a pool file that outlives the machine's boot, on a disk: all its owners are dead, and what was in
 * flight then is of no use to anybody. It is made empty again, in steps that may be killed and done again: that
 * it is of this boot is written last.
 */
#include "boot.h"
#include "backing_ops.h"
#include "error.h"
#include "owner.h"
#include "pool_open.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

/* 128 bits in hexadecimal, with dashes. Without /proc: zeros, so that all boots look the same. */
static void read_boot(uint64_t out[2])
{
	char text[64] = "";
	int fd = open(BOOT_ID, O_RDONLY | O_CLOEXEC);
	unsigned digits = 0;
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	out[0] = out[1] = 0;
	for (ssize_t i = 0; i < n && digits < 32; i++) {
		const char *hex = "0123456789abcdef", *at = text[i] ? strchr(hex, text[i]) : NULL;

		if (!at)
			continue;
		out[digits / 16] = out[digits / 16] << 4 | (uint64_t)(at - hex);
		digits++;
	}
}

void boot_mark(struct mb_pool *pool)
{
	uint64_t now[2];

	read_boot(now);
	atomic_store(&pool->vars->boot[0], now[0]);
	atomic_store(&pool->vars->boot[1], now[1]);
}

bool boot_is_ours(const struct mb_pool *pool)
{
	uint64_t now[2];

	read_boot(now);
	return atomic_load(&pool->vars->boot[0]) == now[0] && atomic_load(&pool->vars->boot[1]) == now[1];
}

/* Generations stay, so that ids stay unique. */
static void empty_records(struct mb_pool *pool, const struct records *r)
{
	struct pool_vars *vars = pool->vars;

	for (uint64_t i = 0; i < pool->size >> HUGE_SHIFT; i++)
		atomic_store_explicit(&pool->ledger[i], 0, memory_order_relaxed);
	for (uint32_t i = 0; i < OWNERS_MAX; i++) {
		atomic_store_explicit(&pool->owners[i].state, OWNER_FREE, memory_order_relaxed);
		atomic_store_explicit(&vars->wait[i].ticket, 0, memory_order_relaxed);
	}
	memset(pool->map + r->frames, 0, r->frames_bytes);
}

int boot_check(struct mb_pool *pool, const struct records *r, struct mb_error *err)
{
	uint64_t budget = atomic_load(&pool->vars->budget);
	int rc;

	if (boot_is_ours(pool))
		return 0;
	for (uint32_t i = 0; i < OWNERS_MAX; i++)
		if (owner_lives(pool, i))
			return host_error(err, -EBUSY,
					  "the pool is of another boot, and yet an owner in it is alive: it is "
					  "damaged; end all VMs of it, destroy it and make it anew");
	rc = backing_punch(&pool->mem, 0, pool->size);
	if (rc)
		return host_error(err, rc, "cannot empty the memory file after the boot: %s", strerror(-rc));
	empty_records(pool, r);
	rc = pool_start(pool, r, budget, err);
	if (rc)
		return rc;
	boot_mark(pool);
	pool->rebuilt = true;
	return 0;
}
