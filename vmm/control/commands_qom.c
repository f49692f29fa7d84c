/* SPDX-License-Identifier: MIT */
/*
 * commands_qom.c - the balloon device in QEMU's object tree.
 */
#include "control/commands_qom.h"

#include "control/commands_mem.h"
#include "control/commands_memory.h"

#include <string.h>

#define BALLOON_TYPE     "virtio-balloon-device"
#define PROPERTY_STATS   "guest-stats"
#define PROPERTY_POLLING "guest-stats-polling-interval"

/* A node: its children are those whose path continues its own by one name. */
struct node {
	const char *path;
	const char *type;
	bool balloon, mem;
};

static const struct node nodes[] = {
    {"/", "container", false, false},
    {"/machine", "memback-machine", false, false},
    {"/machine/peripheral", "container", false, false},
    {"/machine/peripheral/balloon0", BALLOON_TYPE, true, false},
    {COMMANDS_MEM_PATH, COMMANDS_MEM_TYPE, false, true},
    {"/machine/peripheral-anon", "container", false, false},
    {"/machine/peripheral-anon/device[0]", BALLOON_TYPE, true, false},
};
#define NODES (sizeof(nodes) / sizeof(nodes[0]))

/* Names of statistics in QEMU's words, by tag (virtio 1.2, 5.5.6.4; from 10 on as in Linux's header). */
static const char *const stat_names[BALLOON_STATS] = {
    "stat-swap-in",      "stat-swap-out",     "stat-major-faults",     "stat-minor-faults",
    "stat-free-memory",  "stat-total-memory", "stat-available-memory", "stat-disk-caches",
    "stat-htlb-pgalloc", "stat-htlb-pgfail",  "stat-oom-kills",        "stat-alloc-stalls",
    "stat-async-scans",  "stat-direct-scans", "stat-async-reclaims",   "stat-direct-reclaims",
};

/* Only a VM with pluggable memory has its object. */
static bool is_there(struct vm *vm, const struct node *node)
{
	return !node->mem || vm_get_mem(vm);
}

static const struct node *node_find(struct vm *vm, const json_t *args, struct qmp_error *err)
{
	const char *path = json_string_value(json_object_get(args, "path"));

	for (unsigned i = 0; i < NODES; i++)
		if (!strcmp(nodes[i].path, path) && is_there(vm, &nodes[i]))
			return &nodes[i];
	qmp_fail(err, "Device '%.200s' not found", path);
	err->class = "DeviceNotFound";
	return NULL;
}

/* The name of child under parent, or NULL if it is none. */
static const char *child_name(const struct node *parent, const struct node *child)
{
	size_t len = strlen(parent->path);
	const char *name;

	if (child == parent || strncmp(child->path, parent->path, len))
		return NULL;
	name = child->path + len;
	if (parent->path[len - 1] != '/') {
		if (*name != '/')
			return NULL;
		name++;
	}
	return strchr(name, '/') ? NULL : name;
}

static void list_add(json_t *list, const char *name, json_t *type)
{
	json_array_append_new(list, json_pack("{s:s,s:o}", "name", name, "type", type));
}

json_t *commands_qom_list(struct vm *vm, const json_t *args, struct qmp_error *err)
{
	const struct node *node = node_find(vm, args, err);
	json_t *list;

	if (!node)
		return NULL;
	list = json_array();
	list_add(list, "type", json_string("string"));
	for (unsigned i = 0; i < NODES; i++) {
		const char *name = is_there(vm, &nodes[i]) ? child_name(node, &nodes[i]) : NULL;

		if (name)
			list_add(list, name, json_sprintf("child<%s>", nodes[i].type));
	}
	if (node->balloon) {
		list_add(list, PROPERTY_STATS, json_string("guest statistics"));
		list_add(list, PROPERTY_POLLING, json_string("int"));
	}
	if (node->mem)
		commands_mem_list(list);
	return list;
}

/* A statistic that the guest did not send is left out: QEMU's 2^64 - 1 is no number of anything. */
static json_t *guest_stats(struct balloon *balloon)
{
	struct balloon_stats stats;
	json_t *list = json_object();

	balloon_get_stats(balloon, &stats);
	for (unsigned i = 0; i < BALLOON_STATS; i++) {
		json_t *value = stats.known[i] ? commands_u64(stats.value[i]) : NULL;

		if (value)
			json_object_set_new(list, stat_names[i], value);
	}
	return json_pack("{s:o,s:I}", "stats", list, "last-update", (json_int_t)stats.last_update_s);
}

static json_t *no_property(const struct node *node, const char *property, struct qmp_error *err)
{
	return qmp_fail(err, "Property '%s.%.200s' not found", node->type, property);
}

json_t *commands_qom_get(struct vm *vm, const json_t *args, struct qmp_error *err)
{
	const char *property = json_string_value(json_object_get(args, "property"));
	const struct node *node = node_find(vm, args, err);

	if (!node)
		return NULL;
	if (!strcmp(property, "type"))
		return json_string(node->type);
	if (node->balloon && !strcmp(property, PROPERTY_STATS))
		return guest_stats(vm_balloon(vm));
	if (node->balloon && !strcmp(property, PROPERTY_POLLING))
		return json_integer(balloon_get_stats_interval(vm_balloon(vm)));
	json_t *value = node->mem ? commands_mem_get(vm_get_mem(vm), property) : NULL;
	if (value)
		return value;
	return no_property(node, property, err);
}

static json_t *set_polling(struct balloon *balloon, const json_t *value, struct qmp_error *err)
{
	json_int_t seconds = json_integer_value(value);
	int rc;

	if (!json_is_integer(value))
		return qmp_fail(err, "Invalid parameter type for '%s', expected: integer", PROPERTY_POLLING);
	if (seconds < 0)
		return qmp_fail(err, "timer value must be greater than zero");
	if (seconds > UINT32_MAX)
		return qmp_fail(err, "timer value is too big");
	rc = balloon_set_stats_interval(balloon, (unsigned)seconds);
	if (rc)
		return qmp_fail(err, "statistics cannot be asked for: %s", strerror(-rc));
	return json_object();
}

json_t *commands_qom_set(struct vm *vm, const json_t *args, struct qmp_error *err)
{
	const char *property = json_string_value(json_object_get(args, "property"));
	const struct node *node = node_find(vm, args, err);

	if (!node)
		return NULL;
	if (node->balloon && !strcmp(property, PROPERTY_POLLING))
		return set_polling(vm_balloon(vm), json_object_get(args, "value"), err);
	if (node->mem && commands_mem_has(property))
		return commands_mem_set(vm_get_mem(vm), property, json_object_get(args, "value"), err);
	if (!strcmp(property, "type") || (node->balloon && !strcmp(property, PROPERTY_STATS)))
		return qmp_fail(err, "Property '%s.%.200s' is not writable", node->type, property);
	return no_property(node, property, err);
}
