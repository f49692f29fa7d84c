/* SPDX-License-Identifier: MIT */
/*
 * commands.c - the commands and events of a VM's control socket.
 */
#include "control/commands.h"

#include "control/commands_mem.h"
#include "control/commands_memory.h"
#include "control/commands_qom.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What commands act on. */
struct commands {
	struct vm *vm;
	struct qmp *qmp;
};

static const char *const event_names[] = {
    "BALLOON_CHANGE",
    "MEMBACK_DEFLATE_RESUMED",
    "MEMBACK_DEFLATE_WAITING",
    "MEMBACK_MEMORY_AVAILABLE",
    "MEMBACK_OUT_OF_MEMORY",
    "MEMORY_DEVICE_SIZE_CHANGE",
    "POWERDOWN",
    "RESUME",
    "SHUTDOWN",
    "STOP",
    NULL,
};

/* ---- run state ----------------------------------------------------------------------------------------- */

static json_t *run_query_status(void *arg, const json_t *args, struct qmp_error *err)
{
	struct commands *c = arg;
	enum vm_state state = vm_get_state(c->vm);

	(void)args;
	(void)err;
	return json_pack("{s:s,s:b,s:b}", "status", commands_state_name(state), "singlestep", false, "running",
			 state == VM_RUNNING);
}

static json_t *run_query_name(void *arg, const json_t *args, struct qmp_error *err)
{
	struct commands *c = arg;
	const char *name = vm_name(c->vm);

	(void)args;
	(void)err;
	return name && *name ? json_pack("{s:s}", "name", name) : json_object();
}

static json_t *run_stop(void *arg, const json_t *args, struct qmp_error *err)
{
	struct commands *c = arg;
	int rc = vm_stop(c->vm);

	(void)args;
	if (rc)
		return qmp_fail(err, "the VM cannot be stopped: %s", strerror(-rc));
	return json_object();
}

static json_t *run_cont(void *arg, const json_t *args, struct qmp_error *err)
{
	struct commands *c = arg;
	enum vm_state state = vm_get_state(c->vm);
	int rc;

	(void)args;
	if (state == VM_SHUTDOWN || state == VM_CRASHED)
		return qmp_fail(err, "Resetting the Virtual Machine is required");
	rc = vm_cont(c->vm);
	if (rc)
		return qmp_fail(err, "the VM cannot go on: %s", strerror(-rc));
	return json_object();
}

static json_t *run_quit(void *arg, const json_t *args, struct qmp_error *err)
{
	struct commands *c = arg;

	(void)args;
	(void)err;
	vm_end(c->vm, VM_HOST_QMP_QUIT, 0);
	return json_object();
}

/* Presses the power button. A guest that does not know of it (no ACPI) has nothing to say: the VM ends. */
static json_t *run_powerdown(void *arg, const json_t *args, struct qmp_error *err)
{
	struct commands *c = arg;

	qmp_event(c->qmp, "POWERDOWN", NULL);
	return vm_press_power(c->vm) ? json_object() : run_quit(arg, args, err);
}

/* ---- the balloon --------------------------------------------------------------------------------------- */

static json_t *run_query_balloon(void *arg, const json_t *args, struct qmp_error *err)
{
	struct commands *c = arg;
	struct balloon_status status;

	(void)args;
	(void)err;
	balloon_get_status(vm_balloon(c->vm), &status);
	return json_pack("{s:o}", "actual", commands_u64(status.actual));
}

/* As in QEMU: more than the maximum means the maximum, nothing and less is an error. */
static json_t *run_balloon(void *arg, const json_t *args, struct qmp_error *err)
{
	struct commands *c = arg;
	json_int_t value = json_integer_value(json_object_get(args, "value"));
	struct balloon_status status;
	int rc;

	if (value <= 0)
		return qmp_fail(err, "Parameter 'target' expects a size");
	balloon_get_status(vm_balloon(c->vm), &status);
	rc = balloon_set_target(vm_balloon(c->vm),
				(uint64_t)value < status.maximum ? (uint64_t)value : status.maximum);
	if (rc)
		return qmp_fail(err, "the balloon cannot be set: %s", strerror(-rc));
	return json_object();
}

static json_t *run_query_memory_size_summary(void *arg, const json_t *args, struct qmp_error *err)
{
	struct commands *c = arg;
	struct balloon_status status;

	(void)args;
	(void)err;
	balloon_get_status(vm_balloon(c->vm), &status);
	return json_pack("{s:o,s:o}", "base-memory", commands_u64(status.maximum), "plugged-memory",
			 commands_u64(commands_mem_plugged(c->vm)));
}

/* ---- those that need the VM only ------------------------------------------------------------------------ */

static json_t *run_query_memory_devices(void *arg, const json_t *args, struct qmp_error *err)
{
	return commands_query_memory_devices(((struct commands *)arg)->vm, args, err);
}

static json_t *run_qom_list(void *arg, const json_t *args, struct qmp_error *err)
{
	return commands_qom_list(((struct commands *)arg)->vm, args, err);
}

static json_t *run_qom_get(void *arg, const json_t *args, struct qmp_error *err)
{
	return commands_qom_get(((struct commands *)arg)->vm, args, err);
}

static json_t *run_qom_set(void *arg, const json_t *args, struct qmp_error *err)
{
	return commands_qom_set(((struct commands *)arg)->vm, args, err);
}

static json_t *run_memback_status(void *arg, const json_t *args, struct qmp_error *err)
{
	return commands_memback_status(((struct commands *)arg)->vm, args, err);
}

static json_t *run_memback_map(void *arg, const json_t *args, struct qmp_error *err)
{
	return commands_memback_map(((struct commands *)arg)->vm, args, err);
}

static json_t *run_memback_check(void *arg, const json_t *args, struct qmp_error *err)
{
	return commands_memback_check(((struct commands *)arg)->vm, args, err);
}

static const struct qmp_command table[] = {
    {"query-status", run_query_status, {{0}}},
    {"query-name", run_query_name, {{0}}},
    {"query-balloon", run_query_balloon, {{0}}},
    {"balloon", run_balloon, {{"value", JSON_INTEGER, false}}},
    {"query-memory-size-summary", run_query_memory_size_summary, {{0}}},
    {"query-memory-devices", run_query_memory_devices, {{0}}},
    {"qom-list", run_qom_list, {{"path", JSON_STRING, false}}},
    {"qom-get", run_qom_get, {{"path", JSON_STRING, false}, {"property", JSON_STRING, false}}},
    {"qom-set",
     run_qom_set,
     {{"path", JSON_STRING, false}, {"property", JSON_STRING, false}, {"value", JSON_NULL, false}}},
    {"stop", run_stop, {{0}}},
    {"cont", run_cont, {{0}}},
    {"system_powerdown", run_powerdown, {{0}}},
    {"quit", run_quit, {{0}}},
    {"memback-status", run_memback_status, {{0}}},
    {"memback-map", run_memback_map, {{"step", JSON_INTEGER, true}, {"cells", JSON_INTEGER, true}}},
    {"memback-check", run_memback_check, {{0}}},
    {0},
};

int commands_create(struct loop *loop, struct vm *vm, const char *path, struct qmp **out, struct mb_error *err)
{
	struct commands *c = calloc(1, sizeof(*c));
	struct qmp_config config = {
	    .path = path,
	    .commands = table,
	    .events = event_names,
	    .arg = c,
	    .free_arg = free,
	};
	int rc;

	if (!c) {
		err->code = -ENOMEM;
		snprintf(err->text, sizeof(err->text), "no control socket: out of memory");
		return -ENOMEM;
	}
	c->vm = vm;
	rc = qmp_create(loop, &config, &c->qmp, err);
	if (rc) {
		free(c);
		return rc;
	}
	*out = c->qmp;
	return 0;
}

/* ---- events -------------------------------------------------------------------------------------------- */

void commands_balloon_event(struct qmp *qmp, struct vm *vm, enum balloon_event event)
{
	struct balloon_status s;
	json_t *data;

	balloon_get_status(vm_balloon(vm), &s);
	data = json_object();
	commands_put(data, "actual", s.actual);
	if (event == BALLOON_CHANGED) {
		qmp_event(qmp, "BALLOON_CHANGE", data);
		return;
	}
	commands_put(data, "target", s.target);
	if (event == BALLOON_WAITS) {
		commands_put(data, "missing", s.waits_for);
		json_object_set_new(data, "reason", json_string("budget"));
		qmp_event(qmp, "MEMBACK_DEFLATE_WAITING", data);
	} else {
		qmp_event(qmp, "MEMBACK_DEFLATE_RESUMED", data);
	}
}

void commands_starved_event(struct qmp *qmp, struct vm *vm, bool starved, uint64_t ns)
{
	struct mb_overcommit_status s;
	json_t *data;

	mb_space_get_overcommit(vm_space(vm), &s);
	data = json_object();
	if (starved) {
		json_object_set_new(data, "reason", json_string(s.reason ? s.reason : "budget"));
		commands_put(data, "missing", s.missing);
		json_object_set_new(data, "everyone", json_boolean(s.everyone));
	} else {
		commands_put(data, "paused-ms", ns / 1000000);
	}
	commands_put(data, "present", s.present);
	qmp_event(qmp, starved ? "MEMBACK_OUT_OF_MEMORY" : "MEMBACK_MEMORY_AVAILABLE", data);
}

void commands_run_event(struct qmp *qmp, bool running)
{
	qmp_event(qmp, running ? "RESUME" : "STOP", NULL);
}

static const char *reason_name(enum vm_reason reason)
{
	switch (reason) {
	case VM_HOST_QMP_QUIT:
		return "host-qmp-quit";
	case VM_HOST_SIGNAL:
		return "host-signal";
	case VM_HOST_UI:
		return "host-ui";
	case VM_GUEST_SHUTDOWN:
		return "guest-shutdown";
	case VM_GUEST_RESET:
		return "guest-reset";
	case VM_GUEST_PANIC:
		break;
	}
	return "guest-panic";
}

void commands_shutdown_event(struct qmp *qmp, enum vm_reason reason)
{
	bool guest = reason == VM_GUEST_SHUTDOWN || reason == VM_GUEST_RESET || reason == VM_GUEST_PANIC;

	qmp_event(qmp, "SHUTDOWN", json_pack("{s:b,s:s}", "guest", guest, "reason", reason_name(reason)));
}
