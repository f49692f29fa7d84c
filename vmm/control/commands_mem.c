/* SPDX-License-Identifier: MIT */
/*
 * commands_mem.c - see commands_mem.h. Names and shapes are those of QEMU's QMP reference
 * (VirtioMEMDeviceInfo).
 */
#include "control/commands_mem.h"

#include "control/commands_memory.h"

#include <errno.h>
#include <string.h>

#define REQUESTED "requested-size"

/* What can be read of the object; all are sizes but the first two. */
enum property { PROP_ID, PROP_NODE, PROP_MEMADDR, PROP_REQUESTED, PROP_SIZE, PROP_BLOCK, PROP_MAX, PROPS };

static const char *const names[PROPS] = {"id", "node", "memaddr", REQUESTED, "size", "block-size", "max-size"};

static json_t *value_of(const struct mem_status *s, enum property property)
{
	switch (property) {
	case PROP_ID:
		return json_string(COMMANDS_MEM_ID);
	case PROP_NODE:
		return json_integer(0);
	case PROP_MEMADDR:
		return commands_u64(s->gpa);
	case PROP_REQUESTED:
		return commands_u64(s->requested);
	case PROP_SIZE:
		return commands_u64(s->plugged);
	case PROP_BLOCK:
		return commands_u64(s->block);
	case PROP_MAX:
		return commands_u64(s->size);
	case PROPS:
		break;
	}
	return NULL;
}

json_t *commands_query_memory_devices(struct vm *vm, const json_t *args, struct qmp_error *err)
{
	json_t *list = json_array();
	struct mem *mem = vm_get_mem(vm);

	(void)args;
	(void)err;
	if (mem) {
		struct mem_status s;
		json_t *data = json_object();

		mem_get_status(mem, &s);
		for (unsigned i = 0; i < PROPS; i++)
			json_object_set_new(data, names[i], value_of(&s, (enum property)i));
		json_object_set_new(data, "memdev", json_string("/objects/" COMMANDS_MEM_ID));
		json_array_append_new(list, json_pack("{s:s,s:o}", "type", "virtio-mem", "data", data));
	}
	return list;
}

void commands_mem_list(json_t *list)
{
	for (unsigned i = PROP_NODE; i < PROPS; i++)
		json_array_append_new(list, json_pack("{s:s,s:s}", "name", names[i], "type", "size"));
}

bool commands_mem_has(const char *property)
{
	for (unsigned i = PROP_NODE; i < PROPS; i++)
		if (!strcmp(property, names[i]))
			return true;
	return false;
}

json_t *commands_mem_get(struct mem *mem, const char *property)
{
	struct mem_status s;

	mem_get_status(mem, &s);
	for (unsigned i = PROP_NODE; i < PROPS; i++)
		if (!strcmp(property, names[i]))
			return value_of(&s, (enum property)i);
	return NULL;
}

json_t *commands_mem_set(struct mem *mem, const char *property, const json_t *value, struct qmp_error *err)
{
	json_int_t bytes = json_integer_value(value);
	struct mem_status s;

	mem_get_status(mem, &s);
	if (strcmp(property, REQUESTED) != 0)
		return qmp_fail(err, "Property '%s.%.200s' is not writable", COMMANDS_MEM_TYPE, property);
	if (!json_is_integer(value) || bytes < 0)
		return qmp_fail(err, "Invalid parameter type for '%s', expected: size", REQUESTED);
	switch (mem_request(mem, (uint64_t)bytes)) {
	case 0:
		return json_object();
	case -EINVAL:
		return qmp_fail(err, "'%s' has to be multiples of 'block-size' (%llu)", REQUESTED,
				(unsigned long long)s.block);
	default:
		return qmp_fail(err, "'%s' cannot exceed the memory backend size (%llu)", REQUESTED,
				(unsigned long long)s.size);
	}
}

void commands_mem_status(struct vm *vm, json_t *status)
{
	struct mem *mem = vm_get_mem(vm);
	struct mem_status s;

	if (!mem)
		return;
	mem_get_status(mem, &s);
	json_object_set_new(status, "pluggable", commands_u64(s.size));
	json_object_set_new(status, "block-size", commands_u64(s.block));
	json_object_set_new(status, "requested", commands_u64(s.requested));
	json_object_set_new(status, "plugged", commands_u64(s.plugged));
	json_object_set_new(status, "mem-driver", json_boolean(s.driver_ok));
	json_object_set_new(status, "mem-broken", json_boolean(s.broken));
	json_object_set_new(status, "mem-busy", commands_u64(s.busy));
	json_object_set_new(status, "mem-refused", commands_u64(s.refused));
}

uint64_t commands_mem_plugged(struct vm *vm)
{
	struct mem_status s = {0};

	if (vm_get_mem(vm))
		mem_get_status(vm_get_mem(vm), &s);
	return s.plugged;
}

uint64_t commands_mem_pluggable(struct vm *vm)
{
	struct mem_status s = {0};

	if (vm_get_mem(vm))
		mem_get_status(vm_get_mem(vm), &s);
	return s.size;
}

void commands_mem_event(struct qmp *qmp, struct vm *vm)
{
	qmp_event(qmp, "MEMORY_DEVICE_SIZE_CHANGE",
		  json_pack("{s:s,s:o,s:s}", "id", COMMANDS_MEM_ID, "size",
			    commands_u64(commands_mem_plugged(vm)), "qom-path", COMMANDS_MEM_PATH));
}
