/* SPDX-License-Identifier: MIT */
/* vm.c - see vm.h. */
#include "vm.h"

#include "control/commands.h"
#include "control/commands_mem.h"
#include "devices/exit_port.h"
#include "devices/pit.h"
#include "devices/power.h"
#include "devices/rng.h"
#include "devices/serial.h"
#include "error.h"
#include "layout.h"
#include "log.h"
#include "machine/boot.h"
#include "machine/machine.h"
#include "size.h"
#include "starve.h"
#include "vm_devices.h"
#include "vm_load.h"
#include "vm_mem.h"

#include <errno.h>
#include <platform.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HUGE_BYTES  (UINT64_C(2) << 20)
#define GIANT_BYTES (UINT64_C(1) << 30)

struct vm {
	struct vm_config config;
	struct loop *loop;
	struct machine *machine;
	struct mb_pool *pool;
	struct mb_space *space;
	struct layout layout;
	struct console console;
	struct serial *serial;
	struct exit_port *exit_port;
	struct pit *pit;
	struct power *power;
	struct vm_devices devices;
	struct balloon *balloon;
	struct vm_disks disks;
	struct rng *rng;
	struct starve *starve; /* NULL: all memory was taken at launch */
	struct vm_mem mem;
	struct qmp *qmp;
	struct device_host host;
	pthread_mutex_t lock; /* protects the rest */
	enum vm_state state;
	bool ending;
	enum vm_reason reason;
	int status;
};

const char *vm_name(const struct vm *vm)
{
	return vm->config.name;
}

const struct vm_config *vm_get_config(const struct vm *vm)
{
	return &vm->config;
}

struct mb_pool *vm_pool(struct vm *vm)
{
	return vm->pool;
}

struct mb_space *vm_space(struct vm *vm)
{
	return vm->space;
}

struct balloon *vm_balloon(struct vm *vm)
{
	return vm->balloon;
}

struct mem *vm_get_mem(struct vm *vm)
{
	return vm->mem.device;
}

enum vm_state vm_get_state(const struct vm *vm)
{
	struct vm *v = (struct vm *)vm; /* the lock is no part of what is const */
	pthread_mutex_lock(&v->lock);
	enum vm_state state = v->state;
	pthread_mutex_unlock(&v->lock);
	return state == VM_RUNNING && vm_is_starved(vm) ? VM_PAUSED : state;
}

bool vm_is_starved(const struct vm *vm)
{
	return vm->starve != NULL && starve_now(vm->starve);
}

int vm_exit_status(const struct vm *vm)
{
	return vm->status;
}

/* ---- its end ---------------------------------------------------------------------------------------- */

void vm_end(struct vm *vm, enum vm_reason reason, int status)
{
	pthread_mutex_lock(&vm->lock);
	if (!vm->ending) {
		vm->ending = true;
		vm->reason = reason;
		vm->status = status;
		vm->state = reason == VM_GUEST_PANIC ? VM_CRASHED : VM_SHUTDOWN;
	}
	pthread_mutex_unlock(&vm->lock);
	loop_stop(vm->loop);
}

static void on_guest_exit(void *arg, uint8_t status)
{
	vm_end(arg, VM_GUEST_SHUTDOWN, status);
}

/* A reset ends the VM, as with QEMU's -no-reboot: whoever wants it to start again starts it again. */
static void on_power(void *arg, enum power_event event)
{
	switch (event) {
	case POWER_OFF:
		vm_end(arg, VM_GUEST_SHUTDOWN, 0);
		break;
	case POWER_RESET:
		vm_end(arg, VM_GUEST_RESET, VM_STATUS_RESET);
		break;
	case POWER_PANIC:
		log_at(LOG_ERROR, "the guest's kernel says that it has panicked");
		vm_end(arg, VM_GUEST_PANIC, 1);
		break;
	}
}

static void on_escape(void *arg)
{
	vm_end(arg, VM_HOST_UI, 0);
}

static bool is_ending(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	bool ending = vm->ending;
	pthread_mutex_unlock(&vm->lock);
	return ending;
}

static void on_machine_end(void *arg, enum machine_end end, const char *text)
{
	/* a guest that was told to go may go on until it crashes: that is no news */
	if (!is_ending(arg))
		log_at(LOG_ERROR, "%s", text);
	vm_end(arg, end == MACHINE_END_CRASH ? VM_GUEST_PANIC : VM_GUEST_SHUTDOWN, 1);
}

static void on_balloon(void *arg, enum balloon_event event)
{
	struct vm *vm = arg;
	if (vm->balloon != NULL)
		commands_balloon_event(vm->qmp, vm, event);
}

/* ---- its making ------------------------------------------------------------------------------------- */

/* The wish to run is the user's, and is kept while there is no memory for it. */
static void on_starved(void *arg, bool starved, uint64_t ns)
{
	struct vm *vm = arg;
	commands_starved_event(vm->qmp, vm, starved, ns);
	pthread_mutex_lock(&vm->lock);
	bool wish = vm->state == VM_RUNNING && !vm->ending;
	pthread_mutex_unlock(&vm->lock);
	if (!wish)
		return;
	if (starved)
		machine_pause(vm->machine);
	else
		machine_resume(vm->machine);
}

/* Where memory shall lie, and whether this host can have a guest of that size at all. */
static int lay_out(struct vm *vm, struct mb_error *err)
{
	char host_text[SIZE_TEXT], wanted[SIZE_TEXT];
	struct layout_config config = {
	    .memory = vm->config.memory,
	    .address_bits = machine_address_bits(vm->machine),
	    .amd = machine_is_amd(vm->machine),
	};
	if (vm->config.max_memory > vm->config.memory)
		config.pluggable = vm->config.max_memory - vm->config.memory;
	uint64_t host = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	int rc = layout_make(&config, &vm->layout, err);
	if (rc == 0)
		rc = machine_check_memory(vm->machine, vm->config.memory, err);
	if (rc == 0 && vm->config.memory > host)
		log_at(LOG_WARN,
		       "--memory %s is more than the host's %s: a guest that touches all of it will not get it",
		       size_format(vm->config.memory, wanted), size_format(host, host_text));
	return rc;
}

/* A death or a boot of the machine that attaching found: nobody who attaches later will hear of it. */
static void say_what_attaching_did(const struct vm *vm, const struct mb_recovered *did)
{
	char frames[SIZE_TEXT], charged[SIZE_TEXT];
	if (did->rebuilt || did->kept)
		log_at(LOG_WARN, "the pool %s was of another boot of this machine: %s", vm->config.pool_path,
		       did->kept ? "it was checked and repaired" : "it is empty now");
	if (did->owners != 0)
		log_at(LOG_INFO, "the pool %s had %llu dead VM%s: %s of frames and %s of the budget taken back",
		       vm->config.pool_path, (unsigned long long)did->owners, did->owners == 1 ? "" : "s",
		       size_format(did->frames, frames), size_format(did->charged, charged));
	else if (did->freed != 0 || did->completed != 0 || did->undone != 0)
		log_at(LOG_INFO, "what somebody was killed over in the pool %s was completed or undone",
		       vm->config.pool_path);
}

static int open_pool(struct vm *vm, struct mb_error *err)
{
	const struct vm_config *c = &vm->config;
	struct mb_error warning = {0};
	if (c->pool_path != NULL) {
		struct mb_recovered did = {0};
		int rc = mb_pool_attach_recovered(c->pool_path, &vm->pool, &did, err);
		if (rc == 0)
			say_what_attaching_did(vm, &did);
		return rc;
	}
	uint64_t unit = c->backing == MB_BACKING_HUGETLB_1G ? GIANT_BYTES : HUGE_BYTES;
	uint64_t all = c->max_memory > c->memory ? c->max_memory : c->memory;
	struct mb_pool_config config = {
	    .backing = c->backing,
	    .size = (all + unit - 1) / unit * unit,
	    .budget = c->budget,
	    .memory_path = c->backing_path,
	};
	int rc = mb_pool_create_private(&config, &vm->pool, &warning, err);
	if (rc == 0 && warning.text[0] != '\0')
		log_at(LOG_WARN, "%s", warning.text);
	return rc;
}

static int take_memory(struct vm *vm, struct mb_error *err)
{
	struct mb_space_config config = {
	    .name = vm->config.name,
	    .regions = vm->layout.region,
	    .region_count = vm->layout.ram + vm->layout.pluggable,
	    .regions_out = vm->layout.pluggable,
	    .prealloc = vm->config.prealloc,
	    .overcommit = vm->config.overcommit,
	    .minimum = vm->config.memory_min,
	    .on_starved = starve_heard,
	};
	int rc = vm->config.overcommit ? mb_overcommit_check(err) : 0;
	if (rc == 0)
		rc = vm->config.overcommit ? starve_create(vm->loop, on_starved, vm, &vm->starve) : 0;
	config.starved_arg = vm->starve;
	if (rc == 0)
		rc = open_pool(vm, err);
	if (rc == 0)
		rc = mb_space_create(vm->pool, &config, &vm->space, err);
	return rc == 0 ? machine_set_memory(vm->machine, vm->space, vm->layout.region, vm->layout.ram, err)
		       : rc;
}

static int host_irqfd(void *machine, unsigned gsi, int *fd)
{
	return machine_irqfd(machine, gsi, fd);
}

static int host_ioeventfd(void *machine, uint64_t gpa, unsigned len, uint32_t value, int *fd)
{
	return machine_ioeventfd(machine, gpa, len, value, fd);
}

static int add_serial(struct vm *vm)
{
	struct serial_config serial = {
	    .in = vm->console.in,
	    .out = vm->console.out,
	    .escape = vm->console.escape,
	    .on_escape = on_escape,
	    .arg = vm,
	};
	return serial_create(&vm->host, &serial, &vm->serial);
}

static int add_balloon(struct vm *vm)
{
	const struct vm_device *place;
	const struct mb_region *last = &vm->layout.region[vm->layout.ram + vm->layout.pluggable - 1];
	struct balloon_config balloon = {
	    .space = vm->space,
	    .maximum = vm->config.memory,
	    .memory_end = last->gpa + last->size,
	    .initial_target = vm->config.memory - vm->config.balloon,
	    .deflate_on_oom = true,
	    .on_event = on_balloon,
	    .arg = vm,
	};
	int rc = vm_devices_add(&vm->devices, VM_DEVICE_BALLOON, &place);
	if (rc != 0)
		return rc;
	balloon.index = place->index;
	return balloon_create(&vm->host, &balloon, &vm->balloon);
}

static int add_rng(struct vm *vm)
{
	const struct vm_device *place;
	int rc = vm->config.rng ? vm_devices_add(&vm->devices, VM_DEVICE_RNG, &place) : 0;
	if (rc != 0 || !vm->config.rng)
		return rc;
	return rng_create(&vm->host, place->index, &vm->rng);
}

static void on_mem_change(void *arg)
{
	struct vm *vm = arg;
	commands_mem_event(vm->qmp, vm);
}

static int add_mem(struct vm *vm)
{
	struct vm_mem_config mem = {
	    .host = &vm->host,
	    .machine = vm->machine,
	    .space = vm->space,
	    .region = &vm->layout.region[vm->layout.ram],
	    .block = vm->config.memory_block,
	    .devices = &vm->devices,
	    .on_change = on_mem_change,
	    .arg = vm,
	};
	return vm->layout.pluggable ? vm_mem_create(&vm->mem, &mem) : 0;
}

static int add_devices(struct vm *vm, struct mb_error *err)
{
	vm->host = (struct device_host){
	    .bus = machine_bus(vm->machine),
	    .mem = machine_mem(vm->machine),
	    .loop = vm->loop,
	    .irqfd = host_irqfd,
	    .ioeventfd = host_ioeventfd,
	    .machine = vm->machine,
	};
	int rc = exit_port_create(&vm->host, on_guest_exit, vm, &vm->exit_port);
	if (rc == 0)
		rc = pit_create(&vm->host, NULL, &vm->pit);
	if (rc == 0)
		rc = power_create(&vm->host, on_power, vm, &vm->power);
	if (rc == 0)
		rc = add_serial(vm);
	if (rc == 0)
		rc = add_balloon(vm);
	if (rc == 0)
		rc = vm_disks_create(&vm->disks, &vm->host, &vm->devices);
	if (rc == 0)
		rc = add_rng(vm);
	if (rc == 0)
		rc = add_mem(vm);
	return rc == 0 ? 0 : error_set(err, rc, "cannot make the guest's devices: %s", strerror(-rc));
}

static int make(struct vm *vm, const struct boot *boot, struct mb_error *err)
{
	struct machine_config machine = {
	    .cpus = vm->config.cpus, .without = vm->config.cpu_disable, .on_end = on_machine_end, .arg = vm};
	int rc = machine_create(&machine, &vm->machine, err);
	if (rc == 0)
		rc = lay_out(vm, err);
	if (rc == 0 && vm->config.qmp_path != NULL)
		rc = commands_create(vm->loop, vm, vm->config.qmp_path, &vm->qmp, err);
	if (rc == 0)
		rc = vm_disks_open(&vm->disks, vm->config.disks, vm->config.disk_count, err);
	if (rc == 0)
		rc = take_memory(vm, err);
	if (rc == 0)
		rc = console_open(vm->config.serial, vm->config.serial_path, &vm->console, err);
	if (rc == 0 && vm->console.pty[0] != '\0')
		log_at(LOG_INFO, "the serial port is at %s", vm->console.pty);
	if (rc == 0)
		rc = add_devices(vm, err);
	if (rc != 0)
		return rc;
	struct vm_load load = {
	    .config = &vm->config,
	    .machine = vm->machine,
	    .space = vm->space,
	    .layout = &vm->layout,
	    .devices = &vm->devices,
	};
	return vm_load(&load, boot, err);
}

/* The reverse of make(), from wherever it came to. */
static void unmake(struct vm *vm)
{
	if (vm->machine != NULL)
		machine_pause(vm->machine);
	/* nobody waits for memory from here on, so that all threads can end */
	if (vm->space != NULL)
		mb_space_abandon(vm->space);
	balloon_destroy(vm->balloon);
	vm->balloon = NULL;
	vm_disks_destroy(&vm->disks);
	rng_destroy(vm->rng);
	vm_mem_destroy(&vm->mem);
	serial_destroy(vm->serial);
	exit_port_destroy(vm->exit_port);
	pit_destroy(vm->pit);
	power_destroy(vm->power);
	console_close(&vm->console);
	if (vm->qmp != NULL)
		qmp_destroy(vm->qmp);
	machine_destroy(vm->machine);
	if (vm->space != NULL)
		mb_space_destroy(vm->space);
	if (vm->pool != NULL)
		mb_pool_close(vm->pool);
	starve_destroy(vm->starve);
	pthread_mutex_destroy(&vm->lock);
	free(vm);
}

int vm_create(struct loop *loop, const struct vm_config *config, struct vm **out, struct mb_error *err)
{
	struct boot *boot;
	int rc = boot_open(config->kernel, config->initrd, &boot, err);
	if (rc != 0)
		return rc;
	struct vm *vm = calloc(1, sizeof(*vm));
	if (vm == NULL) {
		boot_close(boot);
		return error_set(err, -ENOMEM, "out of memory");
	}
	vm->config = *config;
	vm->loop = loop;
	vm->console = (struct console){.in = -1, .out = -1, .keep = -1};
	pthread_mutex_init(&vm->lock, NULL);
	rc = make(vm, boot, err);
	boot_close(boot);
	if (rc != 0) {
		unmake(vm);
		return rc;
	}
	*out = vm;
	return 0;
}

void vm_destroy(struct vm *vm)
{
	if (vm == NULL)
		return;
	machine_pause(vm->machine);
	for (unsigned i = 0; i < vm->config.cpus; i++) {
		char text[160];
		machine_describe(vm->machine, i, text, sizeof(text));
		log_at(LOG_DEBUG, "at the end: %s", text);
	}
	if (vm->ending)
		commands_shutdown_event(vm->qmp, vm->reason);
	unmake(vm);
}

bool vm_press_power(struct vm *vm)
{
	if (!machine_line_enabled(vm->machine, PLATFORM_POWER_GSI))
		return false;
	power_press(vm->power);
	return true;
}

/* ---- run and pause ---------------------------------------------------------------------------------- */

/* From one of two states to another; false: it was in neither, or is ending. */
static bool change_state(struct vm *vm, enum vm_state from, enum vm_state to)
{
	pthread_mutex_lock(&vm->lock);
	bool ok = vm->state == from && !vm->ending;
	if (ok)
		vm->state = to;
	pthread_mutex_unlock(&vm->lock);
	return ok;
}

int vm_start(struct vm *vm, struct mb_error *err)
{
	if (!change_state(vm, VM_PRELAUNCH, VM_RUNNING))
		return error_set(err, -EINVAL, "the VM was started before");
	return machine_start(vm->machine, err);
}

int vm_stop(struct vm *vm)
{
	if (change_state(vm, VM_RUNNING, VM_PAUSED)) {
		machine_pause(vm->machine);
		vm_disks_pause(&vm->disks);
		commands_run_event(vm->qmp, false);
		return 0;
	}
	return vm_get_state(vm) == VM_PAUSED ? 0 : -EINVAL;
}

int vm_cont(struct vm *vm)
{
	if (change_state(vm, VM_PAUSED, VM_RUNNING)) {
		vm_disks_resume(&vm->disks);
		if (!vm_is_starved(vm))
			machine_resume(vm->machine);
		commands_run_event(vm->qmp, true);
		return 0;
	}
	return vm_get_state(vm) == VM_RUNNING || vm_is_starved(vm) ? 0 : -EINVAL;
}
