/* SPDX-License-Identifier: MIT */
/*
 * ctl_resize.c - membackctl resize: gives the VM a size by what it has, and says by what: pluggable memory
 * (virtio-mem) for what is above its base memory, the balloon for what is below.
 *
 *   size above base:  requested = size - base    balloon's target = base
 *   size below base:  requested = 0              balloon's target = size
 *
 * The VM's size is then what the balloon leaves of the base, and what is plugged.
 */
#include "control/ctl.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#define LOOK_MS  200
#define STALL_MS 10000 /* without --timeout: nothing has moved for so long means it will not */

/* What is asked for, and where the VM is. */
struct resize {
	uint64_t size;                            /* as on the command line */
	uint64_t base, pluggable, block;          /* the VM's */
	uint64_t requested, target;               /* to be set */
	uint64_t requested_before, target_before; /* as they were */
	uint64_t plugged, actual;                 /* as they are */
	bool has_mem;
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void read_status(struct resize *r, const json_t *status)
{
	r->base = ctl_u64(status, "maximum");
	r->has_mem = ctl_get_u64(status, "pluggable", &r->pluggable);
	r->block = ctl_u64(status, "block-size");
	r->plugged = ctl_u64(status, "plugged");
	r->actual = ctl_u64(status, "actual");
}

/* What to set for this size. */
static int plan(struct resize *r, const json_t *status)
{
	read_status(r, status);
	r->requested_before = ctl_u64(status, "requested");
	r->target_before = ctl_u64(status, "target");
	r->target = r->size < r->base ? r->size : r->base;
	r->requested = r->size - r->target;
	if (r->requested > r->pluggable)
		return ctl_fail("the VM can have %s at most%s", ctl_size(r->base + r->pluggable).text,
				r->has_mem ? "" : ": it was started without --max-memory");
	if (r->block)
		r->requested = (r->requested + r->block - 1) / r->block * r->block;
	return 0;
}

static bool set_requested(struct qmp_client *client, uint64_t bytes)
{
	json_t *result = ctl_call(client, "qom-set",
				  json_pack("{s:s,s:s,s:I}", "path", "/machine/peripheral/vmem0", "property",
					    "requested-size", "value", (json_int_t)bytes));

	json_decref(result);
	return result != NULL;
}

static bool set_target(struct qmp_client *client, uint64_t bytes)
{
	json_t *result = ctl_call(client, "balloon", json_pack("{s:I}", "value", (json_int_t)bytes));

	json_decref(result);
	return result != NULL;
}

/* Only what changes is set; what gives memory back to the guest goes first. */
static int apply(struct resize *r, struct qmp_client *client)
{
	bool ok = true;

	if (r->target > r->target_before)
		ok = set_target(client, r->target);
	if (ok && r->requested != r->requested_before)
		ok = set_requested(client, r->requested);
	if (ok && r->target < r->target_before)
		ok = set_target(client, r->target);
	return ok ? 0 : 1;
}

static bool arrived(const struct resize *r)
{
	return r->plugged == r->requested && r->actual == (r->target + 4095) / 4096 * 4096;
}

static int gave_up(const struct resize *r, const json_t *status, const char *when)
{
	if (r->plugged != r->requested)
		return ctl_fail("%s with %s plugged of %s requested: %s", when, ctl_size(r->plugged).text,
				ctl_size(r->requested).text,
				json_is_false(json_object_get(status, "mem-driver"))
				    ? "the guest runs no virtio-mem driver"
				    : "the guest holds what it still has, or the pool's budget lacks bytes");
	return ctl_fail("%s with %s of %s: %s", when, ctl_size(r->actual).text, ctl_size(r->target).text,
			json_is_false(json_object_get(status, "driver")) ? "the guest runs no balloon driver"
									 : "the guest cooperates no more");
}

static int look(struct resize *r, struct qmp_client *client, json_t **status)
{
	json_decref(*status);
	*status = ctl_call(client, "memback-status", NULL);
	if (!*status)
		return 1;
	read_status(r, *status);
	return 0;
}

static int wait_for_it(struct resize *r, const struct ctl_options *o, struct qmp_client *client,
		       json_t **status)
{
	int64_t began = now_ms(), moved = began;
	struct mb_error err;
	json_t *event;

	for (;;) {
		uint64_t before = r->plugged ^ r->actual;

		if (look(r, client, status))
			return 1;
		if (arrived(r))
			return 0;
		if ((r->plugged ^ r->actual) != before)
			moved = now_ms();
		if (o->timeout_s && now_ms() - began >= (int64_t)o->timeout_s * 1000)
			return gave_up(r, *status, "time is up");
		if (!o->timeout_s && now_ms() - moved >= STALL_MS)
			return gave_up(r, *status, "nothing moves any more");
		int rc = qmp_client_event(client, LOOK_MS, &event, &err);

		if (rc < 0)
			return ctl_fail("%s", err.text);
		if (rc > 0)
			json_decref(event);
	}
}

static void say(const struct ctl_options *o, const struct resize *r, const json_t *status)
{
	if (o->json) {
		ctl_print_json(status);
		return;
	}
	if (r->has_mem)
		printf("by virtio-mem: %s plugged of %s requested, beside %s of base memory\n",
		       ctl_size(r->plugged).text, ctl_size(r->requested).text, ctl_size(r->base).text);
	if (!r->has_mem || r->target < r->base || r->actual < r->base)
		printf("by the balloon: %s of %s, target %s\n", ctl_size(r->actual).text,
		       ctl_size(r->base).text, ctl_size(r->target).text);
}

int ctl_resize(const struct ctl_options *o, struct qmp_client *client, char **args)
{
	struct resize r = {0};
	json_t *status;
	int rc;

	if (size_parse(args[0], &r.size) || r.size > INT64_MAX || !r.size)
		return ctl_fail("'%s' is no size: give bytes, or a number with K, M, G or T, such as 512M",
				args[0]);
	status = ctl_call(client, "memback-status", NULL);
	if (!status)
		return 1;
	rc = plan(&r, status);
	if (!rc)
		rc = apply(&r, client);
	if (!rc)
		rc = o->wait ? wait_for_it(&r, o, client, &status) : look(&r, client, &status);
	if (!rc)
		say(o, &r, status);
	json_decref(status);
	return rc;
}
