/* SPDX-License-Identifier: MIT */
/*
 * ctl_pool_change.c - membackctl: pools that change while they are in use: their size, their budget, and what
 * dead VMs left in them.
 */
#include "control/ctl.h"

#include <string.h>
#include <time.h>

static int size_argument(const char *text, uint64_t *out)
{
	if (size_parse(text, out) || !*out)
		return ctl_fail("%s is no size: give bytes, or a number with K, M, G or T, such as 2G", text);
	return 0;
}

/* ---- grow, shrink -------------------------------------------------------------------------------------- */

struct holders {
	struct mb_pool *pool;
	FILE *to;
	uint64_t from; /* base frames */
	uint64_t held[256], maximum;
	uint32_t id[256];
	unsigned count;
};

static void holder_add(struct holders *h, uint32_t id)
{
	unsigned i = 0;

	while (i < h->count && h->id[i] != id)
		i++;
	if (i == sizeof(h->id) / sizeof(h->id[0]))
		return;
	if (i == h->count)
		h->id[h->count++] = id;
	h->held[i] += UINT64_C(2) << 20;
}

static int name_holder(void *arg, const struct mb_owner_status *w)
{
	struct holders *h = arg;

	for (unsigned i = 0; i < h->count; i++)
		if (h->id[i] == w->id)
			fprintf(h->to, "  %-20s %8lld %11s\n", w->name, (long long)w->pid,
				ctl_size(h->held[i]).text);
	return 0;
}

/* Who has frames beyond the new size, so that the pool must wait for them. */
static void print_holders(FILE *to, struct mb_pool *pool, uint64_t size, uint64_t maximum)
{
	struct holders h = {.pool = pool, .to = to};

	for (uint64_t f = size >> 12; f < maximum >> 12; f += 512) {
		struct mb_frame_owner owner;

		if (!mb_pool_frame_owner(pool, (mb_frame){f}, &owner))
			holder_add(&h, owner.owner);
	}
	if (h.count)
		fprintf(to, "  %-20s %8s %11s\n", "VM", "pid", "holds");
	mb_pool_walk_owners(pool, name_holder, &h);
}

/* With --wait: until it has left, or the time is over. Whom it waits for is said first, then how it goes. */
static int resize(struct mb_pool *pool, const struct ctl_options *o, uint64_t size, uint64_t maximum,
		  uint64_t *left, struct mb_error *err)
{
	const struct timespec pause = {0, 200000000};
	time_t end = time(NULL) + (time_t)o->timeout_s;
	int rc = mb_pool_resize(pool, size, left, err);

	if (!rc && *left && o->wait) {
		fprintf(stderr, "waiting for %s that is still in use:\n", ctl_size(*left).text);
		print_holders(stderr, pool, size, maximum);
	}
	while (!rc && *left && o->wait && (!o->timeout_s || time(NULL) < end)) {
		uint64_t before = *left;

		nanosleep(&pause, NULL);
		rc = mb_pool_resize(pool, size, left, err);
		if (!rc && *left != before)
			fprintf(stderr, "%s left\n", ctl_size(*left).text);
	}
	return rc;
}

static int change_size(const struct ctl_options *o, char **args, bool grow)
{
	struct mb_pool_status status;
	struct mb_error err = {0};
	struct mb_pool *pool;
	uint64_t size, left = 0;
	int rc = 1;

	if (size_argument(args[1], &size) || ctl_pool_open(args[0], false, &pool, NULL))
		return 1;
	if (mb_pool_get_status(pool, &status, &err))
		ctl_fail("%s", err.text);
	else if (grow ? size < status.size : size > status.size)
		ctl_fail("the pool is %s large, so that %s would make it %s: use pool %s",
			 ctl_size(status.size).text, ctl_size(size).text, grow ? "smaller" : "larger",
			 grow ? "shrink" : "grow");
	else if (resize(pool, o, size, status.maximum, &left, &err))
		ctl_fail("%s", err.text);
	else
		rc = 0;
	if (!rc && left) {
		printf("%s of it is still in use, and leaves as soon as it is free:\n", ctl_size(left).text);
		print_holders(stdout, pool, size, status.maximum);
		rc = 1;
	}
	mb_pool_close(pool);
	return rc;
}

int ctl_pool_grow(const struct ctl_options *o, struct qmp_client *client, char **args)
{
	(void)client;
	return change_size(o, args, true);
}

int ctl_pool_shrink(const struct ctl_options *o, struct qmp_client *client, char **args)
{
	(void)client;
	return change_size(o, args, false);
}

/* ---- budget, recovery ---------------------------------------------------------------------------------- */

int ctl_pool_set_budget(const struct ctl_options *o, struct qmp_client *client, char **args)
{
	struct mb_pool_status status;
	struct mb_error warning = {0}, err = {0};
	struct mb_pool *pool;
	uint64_t budget;
	int rc = 0;

	(void)o;
	(void)client;
	if (size_argument(args[1], &budget) || ctl_pool_open(args[0], false, &pool, NULL))
		return 1;
	if (mb_pool_set_budget(pool, budget, &warning, &err) || mb_pool_get_status(pool, &status, &err))
		rc = ctl_fail("%s", err.text);
	else if (warning.text[0])
		fprintf(stderr, "membackctl: warning: %s\n", warning.text);
	if (!rc && status.budget_used > budget)
		printf("%s more than that is used: nobody gets more until so much is given back\n",
		       ctl_size(status.budget_used - budget).text);
	mb_pool_close(pool);
	return rc;
}

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)(value <= INT64_MAX ? value : INT64_MAX));
}

int ctl_pool_recover(const struct ctl_options *o, struct qmp_client *client, char **args)
{
	struct mb_recovered did, more = {0};
	struct mb_error err = {0};
	struct mb_pool *pool;
	int rc = 0;

	(void)client;
	if (ctl_pool_open(args[0], o->keep, &pool, &did))
		return 1;
	if (mb_pool_recover(pool, &more, &err))
		rc = ctl_fail("%s", err.text);
	mb_pool_close(pool);
	did.owners += more.owners;
	did.frames += more.frames;
	did.charged += more.charged;
	did.freed += more.freed;
	did.completed += more.completed;
	did.undone += more.undone;
	if (o->json)
		ctl_print_json(json_pack("{s:o,s:o,s:o,s:o,s:o,s:o}", "owners", number(did.owners), "frames",
					 number(did.frames), "charged", number(did.charged), "freed",
					 number(did.freed), "completed", number(did.completed), "undone",
					 number(did.undone)));
	else if (!did.owners && !did.freed && !did.completed && !did.undone)
		printf("nobody is dead\n");
	else
		printf(
		    "%llu dead: %s of frames and %s of the budget taken back; %s was in hand, %llu operations "
		    "completed, %llu undone\n",
		    (unsigned long long)did.owners, ctl_size(did.frames).text, ctl_size(did.charged).text,
		    ctl_size(did.freed).text, (unsigned long long)did.completed,
		    (unsigned long long)did.undone);
	return rc;
}
