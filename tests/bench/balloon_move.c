/* SPDX-License-Identifier: MIT */
/* balloon_move.c - see balloon_move.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "balloon_move.h"

#include "bare.h"
#include "bench_vm.h"

#include <memback/pool.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#define BATCH (UINT64_C(32) << 20)

struct pair {
	struct bench_vm vm[2];
	uint64_t bytes;
};

static struct bench_vm_config config_of(const char *vmm, const char *guest, const char *pool, uint64_t bytes,
					const char *name)
{
	return (struct bench_vm_config){.vmm = vmm,
					.guest = guest,
					.append = "bench",
					.name = name,
					.memory = 3 * bytes,
					.memory_option = "--pool",
					.from = pool};
}

/* The budget lacks what moves: the first guest gives it before the second starts. */
static bool start_both(struct pair *p, const char *vmm, const char *guest, const char *pool)
{
	struct bench_vm_config a = config_of(vmm, guest, pool, p->bytes, "a"),
			       b = config_of(vmm, guest, pool, p->bytes, "b");

	if (!bench_vm_start(&p->vm[0], &a))
		return false;
	bench_vm_set_size(&p->vm[0], 2 * p->bytes);
	if (bench_vm_start(&p->vm[1], &b))
		return true;
	bench_vm_end(&p->vm[0]);
	return false;
}

/* From one to the other, which goes on only when it has touched all of it. */
static int64_t move_once(struct pair *p, unsigned from)
{
	struct bench_vm *giver = &p->vm[from], *taker = &p->vm[!from];
	uint64_t begin = bare_now_ns();

	bench_vm_set_size(giver, 2 * p->bytes);
	bench_vm_set_size(taker, 3 * p->bytes);
	if (bench_vm_wait_line(taker, "balloon: refilled", "us=") < 0)
		bench_die("the guest that got memory", "did not touch it");
	return (int64_t)(bare_now_ns() - begin);
}

static const char *measure(struct pair *p, struct balloon_move *out)
{
	struct bare bare;

	if (!bare_open(&bare, BARE_MEMFD, p->bytes, BATCH)) {
		bare_close(&bare);
		return "the kernel does not give such memory";
	}
	/* what was launched first has given; the first move brings that back, and is not counted */
	move_once(p, 1);
	bare_touch(&bare);
	for (unsigned i = 0; i < out->rounds; i++) {
		out->moved[i] = move_once(p, i % 2);
		out->bare[i] = bare_discard_beside_thread(&bare);
		out->bare[i] += bare_touch(&bare);
	}
	bare_close(&bare);
	return NULL;
}

static const char *on_pool(struct pair *p, const char *vmm, const char *guest, const char *dir,
			   struct balloon_move *out)
{
	struct mb_pool_config config = {
	    .backing = MB_BACKING_FILE, .size = 6 * p->bytes, .budget = 5 * p->bytes};
	struct mb_error warning, err;
	const char *why;
	char path[80];

	snprintf(path, sizeof(path), "%s/pool", dir);
	if (mb_pool_create_file(path, &config, &warning, &err))
		bench_die(path, err.text);
	if (!start_both(p, vmm, guest, path))
		return "the VMs do not start";
	why = measure(p, out);
	bench_vm_end(&p->vm[0]);
	bench_vm_end(&p->vm[1]);
	if (mb_pool_destroy(path, &err))
		bench_die(path, err.text);
	return why;
}

const char *balloon_move(const char *vmm, const char *guest, uint64_t bytes, unsigned rounds,
			 struct balloon_move *out)
{
	struct pair p = {.bytes = bytes};
	char dir[] = "/tmp/bench-move-XXXXXX";
	const char *why;

	out->rounds = rounds;
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return "it makes a mount of its own, which only root may";
	if (!mkdtemp(dir) || mount("tmpfs", dir, "tmpfs", 0, "huge=advise"))
		why = "a tmpfs with huge pages cannot be mounted";
	else
		why = on_pool(&p, vmm, guest, dir, out);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
	return why;
}
