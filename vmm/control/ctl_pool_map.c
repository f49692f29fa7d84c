/* SPDX-License-Identifier: MIT */
/*
 * ctl_pool_map.c - membackctl: draws a pool, who has what of it.
 *
 *   0x000000000 AAAAAAAAaaaaaaaaBBBBBBBBBBBBBBBB................
 *
 * A letter is an owner: a capital where three quarters or more of it are there, a small one where less is: the
 * rest was given back or never touched, so that it holds the place and no bytes. '.' is free, '-' offline: what the
 * pool may grow to, or what left when it shrank.
 */
#include "control/ctl_pool_map.h"

#include "control/ctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define HUGE_PAGE     (UINT64_C(2) << 20)
#define ADDRESS_WIDTH 15
#define ROWS          24
#define CAPITAL       0.75
#define SVG_CELLS     (64 * 48)

static const char *const colours[] = {"\033[32m", "\033[33m", "\033[34m", "\033[35m", "\033[36m", "\033[31m"};
#define COLOURS (sizeof(colours) / sizeof(colours[0]))

unsigned pool_map_owner(const struct pool_map *m, const struct mb_pool_stretch *s)
{
	unsigned i = 0;

	while (i + 1 < m->owners && m->owner[i].id != s->owner)
		i++;
	return i;
}

bool pool_map_offline(const struct mb_pool_stretch *s)
{
	return !s->owned && s->offline > s->len / 2;
}

double pool_map_share(const struct mb_pool_stretch *s)
{
	if (!s->owned || s->resident == UINT64_MAX)
		return 1;
	return s->resident < s->owned ? (double)s->resident / (double)s->owned : 1;
}

/* ---- what there is --------------------------------------------------------------------------------------- */

static int add_owner(void *arg, const struct mb_owner_status *owner)
{
	struct pool_map *m = arg;

	if (m->owners < POOL_MAP_OWNERS)
		m->owner[m->owners++] = *owner;
	return 0;
}

static int add_cell(void *arg, const struct mb_pool_stretch *s)
{
	struct pool_map *m = arg;

	if (m->cells == m->room)
		return -ENOSPC;
	m->cell[m->cells++] = *s;
	return 0;
}

/* At most so many cells, each a power of two of huge frames. */
static int fill_map(struct pool_map *m, struct mb_pool *pool, size_t most)
{
	struct mb_error err = {0};

	if (mb_pool_get_status(pool, &m->status, &err))
		return ctl_fail("%s", err.text);
	/* The walk goes through all that the pool may grow to, not just through what is online. */
	for (m->step = HUGE_PAGE; m->status.maximum / m->step > most;)
		m->step *= 2;
	m->room = m->status.maximum / m->step + 1;
	m->cell = calloc(m->room, sizeof(m->cell[0]));
	if (!m->cell)
		return ctl_fail("out of memory");
	mb_pool_walk_owners(pool, add_owner, m);
	if (mb_pool_walk(pool, m->step, add_cell, m))
		return ctl_fail("the pool cannot be walked");
	return 0;
}

/* ---- in the terminal ------------------------------------------------------------------------------------- */

static char letter(unsigned owner, bool there)
{
	return (char)((there ? 'A' : 'a') + (owner < 26 ? owner : 25));
}

static void draw_cell(const struct pool_map *m, const struct mb_pool_stretch *s, bool colour)
{
	unsigned owner = pool_map_owner(m, s);

	if (!s->owned || !m->owners) {
		putchar(pool_map_offline(s) ? '-' : '.');
		return;
	}
	if (colour)
		fputs(colours[owner % COLOURS], stdout);
	putchar(letter(owner, pool_map_share(s) >= CAPITAL));
	if (colour)
		fputs("\033[0m", stdout);
}

static void draw_rows(const struct pool_map *m, unsigned columns, bool colour)
{
	for (size_t i = 0; i < m->cells; i++) {
		if (i % columns == 0)
			printf("%s0x%0*llx ", i ? "\n" : "", ADDRESS_WIDTH - 3,
			       (unsigned long long)m->cell[i].offset);
		draw_cell(m, &m->cell[i], colour);
	}
	putchar('\n');
}

static void draw_legend(const struct pool_map *m, bool colour)
{
	const struct mb_pool_status *s = &m->status;

	printf("\nA cell is %s. A capital: three quarters or more are there; a small letter: less is,\n"
	       "the rest was given back or is untouched; '.': free; '-': offline, see pool grow.\n",
	       ctl_size(m->step).text);
	for (unsigned i = 0; i < m->owners; i++) {
		const struct mb_owner_status *o = &m->owner[i];

		printf("  %s%c%s %-20s pid %-8lld maximum %9s", colour ? colours[i % COLOURS] : "",
		       letter(i, true), colour ? "\033[0m" : "", o->name, (long long)o->pid,
		       ctl_size(o->maximum).text);
		printf("  charged %9s", ctl_size(o->actual).text);
		printf("  inflated %9s%s\n", ctl_size(o->inflated).text, o->live ? "" : "  gone");
	}
	printf("  budget %s, ", ctl_size(s->budget).text);
	printf("used %s, ", ctl_size(s->budget_used).text);
	printf("resident %s\n", ctl_size(s->resident).text);
}

static unsigned terminal_columns(void)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;

	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col)
		return size.ws_col;
	return columns && atoi(columns) > 0 ? (unsigned)atoi(columns) : 80;
}

static void draw(const struct pool_map *m, unsigned columns)
{
	const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
	bool colour = isatty(STDOUT_FILENO) && !(no_colour && *no_colour) && !(term && !strcmp(term, "dumb"));

	draw_rows(m, columns, colour);
	draw_legend(m, colour);
}

/* ---- the command ----------------------------------------------------------------------------------------- */

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)(value <= INT64_MAX ? value : INT64_MAX));
}

static void print_json(const struct pool_map *m)
{
	json_t *cells = json_array(), *owners = json_array(), *all;

	for (size_t i = 0; i < m->cells; i++) {
		const struct mb_pool_stretch *s = &m->cell[i];
		json_t *o = json_pack("{s:o,s:o,s:o,s:o}", "offset", number(s->offset), "size", number(s->len),
				      "owned", number(s->owned), "offline", number(s->offline));

		if (s->owned)
			json_object_set_new(o, "owner", number(s->owner));
		if (s->resident != UINT64_MAX)
			json_object_set_new(o, "resident", number(s->resident));
		json_array_append_new(cells, o);
	}
	for (unsigned i = 0; i < m->owners; i++)
		json_array_append_new(
		    owners, json_pack("{s:o,s:s}", "id", number(m->owner[i].id), "name", m->owner[i].name));
	all = json_pack("{s:o,s:o,s:o}", "step", number(m->step), "owners", owners, "cells", cells);
	ctl_print_json(all);
	json_decref(all);
}

static int write_svg(const char *name, const struct pool_map *m)
{
	FILE *to = fopen(name, "w");
	int rc;

	if (!to)
		return ctl_fail("cannot write %s: %s", name, strerror(errno));
	rc = pool_map_svg(to, m);
	if (fclose(to) || rc)
		return ctl_fail("cannot write %s: %s", name, strerror(errno));
	return 0;
}

int ctl_pool_map(const struct ctl_options *o, struct qmp_client *client, char **args)
{
	unsigned columns = ctl_map_cells(terminal_columns());
	struct pool_map map = {.path = args[0]};
	struct mb_pool *pool;
	int status;

	(void)client;
	if (ctl_pool_open(args[0], false, &pool, NULL))
		return 1;
	status = fill_map(&map, pool, o->svg ? SVG_CELLS : (size_t)columns * ROWS);
	mb_pool_close(pool);
	if (!status && o->svg)
		status = write_svg(o->svg, &map);
	else if (!status && o->json)
		print_json(&map);
	else if (!status)
		draw(&map, columns);
	free(map.cell);
	return status;
}
