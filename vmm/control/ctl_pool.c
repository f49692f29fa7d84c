/* SPDX-License-Identifier: MIT */
/*
 * ctl_pool.c - membackctl: pool files, straight on the library.
 */
#include "control/ctl.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>

/* ---- create -------------------------------------------------------------------------------------------- */

static int parse_size(const char *option, const char *text, uint64_t *out)
{
	if (size_parse(text, out) || !*out)
		return ctl_fail("%s %s is no size: give bytes, or a number with K, M, G or T, such as 2G",
				option, text);
	return 0;
}

/* A pool file's memory is a file whatever its kind: with tmpfs it must lie on such a mount. */
static int parse_backing(const char *text, struct mb_pool_config *config)
{
	config->tmpfs = !strcmp(text, "tmpfs");
	if (mb_backing_parse(config->tmpfs ? "file" : text, &config->backing))
		return ctl_fail("--backing %s is no kind of memory: tmpfs, hugetlb=2M, hugetlb=1G or file",
				text);
	if (config->backing == MB_BACKING_ANON || config->backing == MB_BACKING_MEMFD)
		return ctl_fail(
		    "--backing %s is memory of one process only: a pool file has tmpfs, hugetlb=2M, "
		    "hugetlb=1G or file",
		    text);
	return 0;
}

static int parse_mode(const char *text, unsigned *out)
{
	char *end;
	unsigned long mode = strtoul(text, &end, 8);

	if (!*text || *end || text[0] == '-' || mode > 0777 || !mode)
		return ctl_fail("--mode %s is no set of permissions: give it in octal, such as 0660", text);
	*out = (unsigned)mode;
	return 0;
}

static int parse_group(const char *text, struct mb_pool_config *config)
{
	struct group *group = getgrnam(text);
	char *end;
	unsigned long id = strtoul(text, &end, 10);

	if (!group && (text[0] < '0' || text[0] > '9' || *end || id >= UINT32_MAX))
		return ctl_fail("--group %s: there is no such group", text);
	config->has_group = true;
	config->group = group ? group->gr_gid : (uint32_t)id;
	return 0;
}

int ctl_pool_create(const struct ctl_options *o, struct qmp_client *client, char **args)
{
	struct mb_pool_config config = {.backing = MB_BACKING_FILE, .memory_path = o->memory_file};
	struct mb_error warning = {0}, err = {0};

	(void)client;
	if (!o->size)
		return ctl_fail("how large? Give --size SIZE, such as --size 2G");
	if (parse_size("--size", o->size, &config.size) ||
	    (o->budget && parse_size("--budget", o->budget, &config.budget)) ||
	    (o->backing && parse_backing(o->backing, &config)) ||
	    (o->max_size && parse_size("--max-size", o->max_size, &config.maximum)) ||
	    (o->group && parse_group(o->group, &config)) || (o->mode && parse_mode(o->mode, &config.mode)))
		return 1;
	if (mb_pool_create_file(args[0], &config, &warning, &err))
		return ctl_fail("%s", err.text);
	if (warning.text[0])
		fprintf(stderr, "membackctl: warning: %s\n", warning.text);
	return 0;
}

/* ---- status -------------------------------------------------------------------------------------------- */

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)(value <= INT64_MAX ? value : INT64_MAX));
}

static int collect_owner(void *arg, const struct mb_owner_status *w)
{
	json_t *list = arg;

	json_array_append_new(list, json_pack("{s:s,s:o,s:I,s:b,s:o,s:o,s:o,s:o,s:o}", "name", w->name, "id",
					      number(w->id), "pid", (json_int_t)w->pid, "live", w->live,
					      "maximum", number(w->maximum), "actual", number(w->actual),
					      "inflated", number(w->inflated), "pending", number(w->pending),
					      "waiting", number(w->waiting)));
	return 0;
}

static json_t *pool_json(struct mb_pool *pool, struct mb_error *err)
{
	struct mb_pool_status s;
	json_t *owners, *o;

	if (mb_pool_get_status(pool, &s, err))
		return NULL;
	owners = json_array();
	mb_pool_walk_owners(pool, collect_owner, owners);
	o = json_pack("{s:s,s:b,s:o,s:o,s:o,s:o,s:o}", "backing", mb_backing_name(s.backing), "huge-pages",
		      s.huge_pages, "granule", number(s.granule), "size", number(s.size), "budget",
		      number(s.budget), "budget-used", number(s.budget_used), "resident", number(s.resident));
	json_object_set_new(o, "max-size", number(s.maximum));
	json_object_set_new(o, "file-system", json_string(s.file_system));
	json_object_set_new(o, "draining", number(s.draining));
	json_object_set_new(o, "rebuilt", json_boolean(s.rebuilt));
	json_object_set_new(o, "free-frames",
			    json_pack("{s:o,s:o,s:o}", "4K", number(s.frames.free), "2M",
				      number(s.frames.whole[MB_HUGE]), "1G", number(s.frames.whole[MB_GIANT])));
	json_object_set_new(o, "owners", owners);
	return o;
}

static void print_owner(const json_t *w)
{
	printf("  %-20s %8llu %11s %11s %11s %11s%s\n", ctl_string(w, "name"),
	       (unsigned long long)ctl_u64(w, "pid"), ctl_size(ctl_u64(w, "maximum")).text,
	       ctl_size(ctl_u64(w, "actual")).text, ctl_size(ctl_u64(w, "inflated")).text,
	       ctl_size(ctl_u64(w, "pending")).text,
	       !json_is_true(json_object_get(w, "live")) ? "  gone"
	       : ctl_u64(w, "waiting")                   ? "  waits for memory"
							 : "");
}

static void print_owners(const json_t *owners)
{
	const json_t *w;
	size_t i;

	if (!json_array_size(owners)) {
		printf("No VM has memory of it.\n");
		return;
	}
	printf("\n  %-20s %8s %11s %11s %11s %11s\n", "VM", "pid", "maximum", "actual", "inflated", "pending");
	json_array_foreach(owners, i, w)
	{
		print_owner(w);
	}
}

static void print_pool(const json_t *pool)
{
	const json_t *owners = json_object_get(pool, "owners"), *frames = json_object_get(pool, "free-frames");
	uint64_t budget = ctl_u64(pool, "budget"), used = ctl_u64(pool, "budget-used");

	printf("%-10s %11s  of frame numbers, %s%s\n", "size", ctl_size(ctl_u64(pool, "size")).text,
	       ctl_string(pool, !strcmp(ctl_string(pool, "backing"), "file") ? "file-system" : "backing"),
	       json_is_true(json_object_get(pool, "huge-pages")) ? ", huge pages" : ", no huge pages");
	if (ctl_u64(pool, "draining"))
		printf("%-10s %11s  of the size: still in use, and leaves with the VMs that have it\n",
		       "leaving", ctl_size(ctl_u64(pool, "draining")).text);
	printf("%-10s %11s  bytes that may be out with VMs\n", "budget", ctl_size(budget).text);
	if (used > budget)
		printf("%-10s %11s  %s more than the budget: nobody gets more before that is given back\n",
		       "used", ctl_size(used).text, ctl_size(used - budget).text);
	else
		printf("%-10s %11s  of the budget, %s left\n", "used", ctl_size(used).text,
		       ctl_size(budget - used).text);
	printf("%-10s %11s  as the kernel counts\n", "resident", ctl_size(ctl_u64(pool, "resident")).text);
	printf("%-10s %11llu  of 4K, which contain %llu whole ones of 2M and %llu of 1G\n", "free",
	       (unsigned long long)ctl_u64(frames, "4K"), (unsigned long long)ctl_u64(frames, "2M"),
	       (unsigned long long)ctl_u64(frames, "1G"));
	print_owners(owners);
}

int ctl_pool_status(const struct ctl_options *o, struct qmp_client *client, char **args)
{
	struct mb_error err = {0};
	struct mb_pool *pool;
	json_t *status;

	(void)client;
	if (ctl_pool_open(args[0], false, &pool, NULL))
		return 1;
	status = pool_json(pool, &err);
	mb_pool_close(pool);
	if (!status)
		return ctl_fail("%s", err.text);
	if (o->json)
		ctl_print_json(status);
	else
		print_pool(status);
	json_decref(status);
	return 0;
}

int ctl_pool_owners(const struct ctl_options *o, struct qmp_client *client, char **args)
{
	struct mb_pool *pool;
	json_t *list;

	(void)client;
	if (ctl_pool_open(args[0], false, &pool, NULL))
		return 1;
	list = json_array();
	mb_pool_walk_owners(pool, collect_owner, list);
	mb_pool_close(pool);
	if (o->json)
		ctl_print_json(list);
	else
		print_owners(list);
	json_decref(list);
	return 0;
}

/* ---- check, destroy ------------------------------------------------------------------------------------ */

static int collect_discrepancy(void *arg, const struct mb_discrepancy *d)
{
	json_t *o = json_pack("{s:s,s:s,s:o}", "kind", d->kind, "text", d->text, "len", number(d->len));

	if (d->gpa != UINT64_MAX)
		json_object_set_new(o, "gpa", number(d->gpa));
	if (d->frame != UINT64_MAX)
		json_object_set_new(o, "frame", number(d->frame));
	json_array_append_new(arg, o);
	return 0;
}

int ctl_pool_check(const struct ctl_options *o, struct qmp_client *client, char **args)
{
	struct mb_pool *pool;
	json_t *list;
	size_t count;
	int rc;

	(void)client;
	if (ctl_pool_open(args[0], false, &pool, NULL))
		return 1;
	list = json_array();
	rc = mb_pool_check(pool, collect_discrepancy, list);
	mb_pool_close(pool);
	count = json_array_size(list);
	if (rc < 0) {
		ctl_fail("%s cannot be checked: %s", args[0], strerror(-rc));
	} else if (o->json) {
		ctl_print_json(list);
	} else {
		ctl_print_discrepancies(list, count);
		printf("%zu discrepanc%s\n", count, count == 1 ? "y" : "ies");
	}
	json_decref(list);
	return rc < 0 || count ? 1 : 0;
}

int ctl_pool_destroy(const struct ctl_options *o, struct qmp_client *client, char **args)
{
	struct mb_error err = {0};

	(void)o;
	(void)client;
	if (mb_pool_destroy(args[0], &err))
		return ctl_fail("%s", err.text);
	return 0;
}
