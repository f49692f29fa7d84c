/* SPDX-License-Identifier: MIT */
/*
 * fake-vm.c - a VM without a machine: stands in for vm.c, the balloon device and the space.
 *
 * Its guest fills its memory from below and gives it from the top. Of what it has, the lower half is resident,
 * and the first 64 MiB of it are split: every second page of them is a hole.
 */
#include "fake-vm.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICK_NS UINT64_C(5000000)
#define GIB     (UINT64_C(1) << 30)
#define MIB     (UINT64_C(1) << 20)
#define LOW_END (3 * GIB) /* RAM goes on at 4 GiB */
#define SPLIT   (64 * MIB)

#define MEM_BLOCK (2 * MIB)

struct balloon {
	struct vm *vm;
	uint64_t target, actual, waits_for;
	unsigned waited, interval;
	struct balloon_stats stats;
};

struct mem {
	struct vm *vm;
	uint64_t requested, plugged;
};

struct mb_space {
	struct vm *vm;
};

struct mb_pool {
	struct vm *vm;
};

struct vm {
	struct fake_config config;
	struct vm_config vm_config;
	struct balloon balloon;
	struct mem mem;
	struct mb_space space;
	struct mb_pool pool;
	enum vm_state state;
	int end_reason;
	struct loop *loop;
	struct qmp *qmp;
	struct loop_source *tick;
};

struct fake_vm {
	struct vm vm;
	pthread_t thread;
	bool joined;
};

/* ---- what the commands ask of a VM ---------------------------------------------------------------------- */

const char *mb_version(void)
{
	return "0.0.0-fake";
}

const char *mb_backing_name(enum mb_backing backing)
{
	return backing == MB_BACKING_ANON ? "anon" : "other";
}

const char *vm_name(const struct vm *vm)
{
	return vm->vm_config.name;
}

enum vm_state vm_get_state(const struct vm *vm)
{
	return vm->state;
}

const struct vm_config *vm_get_config(const struct vm *vm)
{
	return &vm->vm_config;
}

struct mb_pool *vm_pool(struct vm *vm)
{
	return &vm->pool;
}

struct mb_space *vm_space(struct vm *vm)
{
	return &vm->space;
}

struct balloon *vm_balloon(struct vm *vm)
{
	return &vm->balloon;
}

struct mem *vm_get_mem(struct vm *vm)
{
	vm->mem.vm = vm;
	return vm->config.pluggable ? &vm->mem : NULL;
}

int mem_request(struct mem *m, uint64_t bytes)
{
	if (bytes % MEM_BLOCK)
		return -EINVAL;
	if (bytes > m->vm->config.pluggable)
		return -ERANGE;
	m->requested = bytes;
	return 0;
}

/* Its guest comes half of the way towards what was requested each time that somebody looks. */
void mem_get_status(struct mem *m, struct mem_status *out)
{
	uint64_t way = m->requested > m->plugged ? m->requested - m->plugged : m->plugged - m->requested;
	uint64_t part = way / 2 >= MEM_BLOCK ? way / 2 / MEM_BLOCK * MEM_BLOCK : way;

	if (m->vm->config.step)
		m->plugged = m->requested > m->plugged ? m->plugged + part : m->plugged - part;
	*out = (struct mem_status){.driver_ok = m->vm->config.step > 0,
				   .gpa = 8 * GIB,
				   .size = m->vm->config.pluggable,
				   .block = MEM_BLOCK,
				   .requested = m->requested,
				   .plugged = m->plugged};
}

int vm_stop(struct vm *vm)
{
	if (vm->state == VM_RUNNING) {
		vm->state = VM_PAUSED;
		commands_run_event(vm->qmp, false);
	}
	return 0;
}

int vm_cont(struct vm *vm)
{
	if (vm->state == VM_PAUSED) {
		vm->state = VM_RUNNING;
		commands_run_event(vm->qmp, true);
	}
	return 0;
}

bool mb_space_get_overcommit(struct mb_space *space, struct mb_overcommit_status *out)
{
	(void)space;
	*out = (struct mb_overcommit_status){0};
	return false;
}

bool vm_press_power(struct vm *vm)
{
	(void)vm;
	return false; /* no guest listens */
}

void vm_end(struct vm *vm, enum vm_reason reason, int status)
{
	(void)status;
	vm->state = VM_SHUTDOWN;
	vm->end_reason = (int)reason;
	commands_shutdown_event(vm->qmp, reason);
	loop_stop(vm->loop);
}

int balloon_set_target(struct balloon *b, uint64_t bytes)
{
	b->target = (bytes + 4095) / 4096 * 4096;
	return 0;
}

void balloon_get_status(struct balloon *b, struct balloon_status *out)
{
	memset(out, 0, sizeof(*out));
	out->driver_ok = b->vm->config.step > 0;
	out->maximum = b->vm->config.maximum;
	out->target = b->target;
	out->actual = b->actual;
	out->guest_says = out->maximum - b->actual;
	out->waits_for = b->waits_for;
}

int balloon_set_stats_interval(struct balloon *b, unsigned seconds)
{
	b->interval = seconds;
	return 0;
}

unsigned balloon_get_stats_interval(struct balloon *b)
{
	return b->interval;
}

void balloon_get_stats(struct balloon *b, struct balloon_stats *out)
{
	*out = b->stats;
}

void fake_set_stats(struct vm *vm, uint64_t last_update_s, unsigned known, const uint64_t *values)
{
	vm->balloon.stats.last_update_s = last_update_s;
	for (unsigned i = 0; i < BALLOON_STATS; i++) {
		vm->balloon.stats.known[i] = known >> i & 1;
		vm->balloon.stats.value[i] = values[i];
	}
}

/* ---- memory --------------------------------------------------------------------------------------------- */

uint64_t mb_space_budget_left(const struct mb_space *space)
{
	return space->vm->config.ceiling - space->vm->balloon.actual;
}

static int refuse(struct mb_error *err)
{
	err->code = -EIO;
	snprintf(err->text, sizeof(err->text), "the fake fails");
	return -EIO;
}

int mb_space_get_status(struct mb_space *space, struct mb_space_status *out, struct mb_error *err)
{
	struct vm *vm = space->vm;

	if (vm->config.fails)
		return refuse(err);
	memset(out, 0, sizeof(*out));
	out->owner.id = 7;
	out->owner.maximum = vm->config.maximum;
	out->owner.actual = vm->balloon.actual;
	out->owner.inflated = vm->config.maximum - vm->balloon.actual;
	out->resident = vm->balloon.actual / 2;
	out->extents = 2;
	return 0;
}

int mb_pool_get_status(struct mb_pool *pool, struct mb_pool_status *out, struct mb_error *err)
{
	if (pool->vm->config.fails)
		return refuse(err);
	memset(out, 0, sizeof(*out));
	out->backing = MB_BACKING_ANON;
	out->granule = 4096;
	out->size = pool->vm->config.maximum;
	out->budget = pool->vm->config.ceiling;
	out->budget_used = pool->vm->balloon.actual;
	out->huge_pages = true;
	return 0;
}

/* Bytes of [a, a + len) that lie in [from, to). */
static uint64_t overlap(uint64_t a, uint64_t len, uint64_t from, uint64_t to)
{
	uint64_t end = a + len < to ? a + len : to;
	uint64_t start = a > from ? a : from;

	return end > start ? end - start : 0;
}

/* at: how many bytes of RAM lie below it. */
static struct mb_stretch look(const struct vm *vm, uint64_t gpa, uint64_t at, uint64_t len)
{
	uint64_t actual = vm->balloon.actual, split = overlap(at, len, 0, SPLIT < actual ? SPLIT : actual);
	struct mb_stretch s = {.gpa = gpa, .len = len, .frame = at / 4096};

	s.split = split;
	s.inflated = split / 2 + overlap(at, len, actual, UINT64_MAX);
	s.resident = overlap(at, len, 0, actual / 2) - split / 2;
	return s;
}

int mb_space_walk(struct mb_space *space, uint64_t step, mb_stretch_fn *fn, void *arg)
{
	uint64_t maximum = space->vm->config.maximum, at = 0;
	int rc = 0;

	if (space->vm->config.fails)
		return -EIO;
	while (at < maximum && !rc) {
		uint64_t gpa = at < LOW_END ? at : at - LOW_END + 4 * GIB;
		uint64_t end = at < LOW_END && LOW_END < maximum ? LOW_END : maximum;
		uint64_t len = end - at < step ? end - at : step;
		struct mb_stretch s = look(space->vm, gpa, at, len);

		rc = fn(arg, &s);
		at += len;
	}
	return rc;
}

int mb_space_check(struct mb_space *space, mb_discrepancy_fn *fn, void *arg)
{
	unsigned count = space->vm->config.discrepancies;

	if (space->vm->config.fails)
		return -EIO;
	for (unsigned i = 0; i < count; i++) {
		struct mb_discrepancy d = {
		    .kind = "intruder", .gpa = i * 4096, .frame = UINT64_MAX, .len = 4096};

		snprintf(d.text, sizeof(d.text), "page %u is a hole, and resident", i);
		fn(arg, &d);
	}
	return (int)count;
}

int mb_pool_check(struct mb_pool *pool, mb_discrepancy_fn *fn, void *arg)
{
	struct mb_discrepancy d = {
	    .kind = "budget", .gpa = UINT64_MAX, .frame = UINT64_MAX, .text = "sums differ"};

	if (!pool->vm->config.discrepancies)
		return 0;
	fn(arg, &d);
	return 1;
}

/* ---- its guest ------------------------------------------------------------------------------------------ */

static void guest_shrinks(struct vm *vm)
{
	struct balloon *b = &vm->balloon;
	uint64_t least = b->target > vm->config.floor ? b->target : vm->config.floor;
	uint64_t can = b->actual > least ? b->actual - least : 0;

	b->waits_for = 0;
	if (!can)
		return;
	b->actual -= can < vm->config.step ? can : vm->config.step;
	commands_balloon_event(vm->qmp, vm, BALLOON_CHANGED);
}

static void guest_grows(struct vm *vm)
{
	struct balloon *b = &vm->balloon;
	uint64_t ceiling = b->waited > vm->config.ceiling_after && vm->config.ceiling_later
			       ? vm->config.ceiling_later
			       : vm->config.ceiling;
	uint64_t most = b->target < ceiling ? b->target : ceiling;
	uint64_t can = most > b->actual ? most - b->actual : 0;

	if (!can) {
		if (!b->waits_for) {
			b->waits_for = b->target - b->actual;
			commands_balloon_event(vm->qmp, vm, BALLOON_WAITS);
		}
		b->waited++;
		return;
	}
	if (b->waits_for) {
		b->waits_for = 0;
		commands_balloon_event(vm->qmp, vm, BALLOON_GOES_ON);
	}
	b->actual += can < vm->config.step ? can : vm->config.step;
	commands_balloon_event(vm->qmp, vm, BALLOON_CHANGED);
}

static void on_tick(void *arg)
{
	struct vm *vm = arg;

	if (vm->state == VM_RUNNING && vm->balloon.actual > vm->balloon.target)
		guest_shrinks(vm);
	else if (vm->state == VM_RUNNING && vm->config.step && vm->balloon.actual < vm->balloon.target)
		guest_grows(vm);
	else
		vm->balloon.waits_for = 0;
	loop_arm_timer(vm->tick, TICK_NS);
}

/* ---- life ----------------------------------------------------------------------------------------------- */

static void *serve(void *arg)
{
	struct vm *vm = arg;

	loop_run(vm->loop);
	qmp_destroy(vm->qmp);
	return NULL;
}

static bool set_up(struct vm *vm, const char *path)
{
	struct mb_error err;

	if (loop_create(&vm->loop))
		return false;
	if (commands_create(vm->loop, vm, path, &vm->qmp, &err)) {
		fprintf(stderr, "fake VM: %s\n", err.text);
		loop_destroy(vm->loop);
		return false;
	}
	if (loop_add_timer(vm->loop, on_tick, vm, &vm->tick))
		abort();
	loop_arm_timer(vm->tick, TICK_NS);
	return true;
}

struct fake_vm *fake_start(const struct fake_config *config, const char *path)
{
	struct fake_vm *f = calloc(1, sizeof(*f));
	struct vm *vm = &f->vm;

	vm->config = *config;
	if (!vm->config.ceiling)
		vm->config.ceiling = config->maximum;
	vm->vm_config.name = "fake";
	vm->vm_config.memory = config->maximum;
	vm->vm_config.pool_path = config->pool_path;
	vm->balloon.vm = vm->space.vm = vm->pool.vm = vm;
	vm->balloon.target = vm->balloon.actual = config->maximum;
	vm->state = VM_RUNNING;
	vm->end_reason = -1;
	if (!set_up(vm, path)) {
		free(f);
		return NULL;
	}
	if (pthread_create(&f->thread, NULL, serve, vm))
		abort();
	return f;
}

/* The loop goes last: whoever stops it may still be in loop_stop() when its thread ends. */
void fake_wait(struct fake_vm *f)
{
	if (f->joined)
		return;
	pthread_join(f->thread, NULL);
	loop_destroy(f->vm.loop);
	f->joined = true;
}

void fake_stop(struct fake_vm *f)
{
	if (!f->joined)
		loop_stop(f->vm.loop);
	fake_wait(f);
	free(f);
}

int fake_end_reason(const struct fake_vm *f)
{
	return f->vm.end_reason;
}

struct call {
	void (*fn)(void *arg, struct vm *vm, struct qmp *qmp);
	void *arg;
	struct vm *vm;
	sem_t done;
};

static void on_call(void *arg)
{
	struct call *call = arg;

	call->fn(call->arg, call->vm, call->vm->qmp);
	sem_post(&call->done);
}

void fake_call(struct fake_vm *f, void (*fn)(void *arg, struct vm *vm, struct qmp *qmp), void *arg)
{
	struct call call = {.fn = fn, .arg = arg, .vm = &f->vm};

	sem_init(&call.done, 0, 0);
	if (loop_post(f->vm.loop, on_call, &call))
		abort();
	sem_wait(&call.done);
	sem_destroy(&call.done);
}
