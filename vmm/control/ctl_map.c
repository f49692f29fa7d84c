/* SPDX-License-Identifier: MIT */
/*
 * ctl_map.c - membackctl: draws the guest's address space.
 *
 *   0x000000000 ▒▒▒▒████████████████████████····················
 *   0x060000000 ················································
 *               --- 1G of addresses without memory ---
 *   0x100000000 ················░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░
 *
 * The runs that the VM gives may be shorter or longer than a cell: a cell adds up what lies in it.
 */
#include "control/ctl.h"

#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PAGE          UINT64_C(4096)
#define ADDRESS_WIDTH 15 /* "0x" and 12 digits, and a space */
#define CELLS_MIN     16
#define CELLS_MAX     256
#define ROWS          16

enum cell { CELL_WHOLE, CELL_PART, CELL_SPLIT, CELL_BALLOONED, CELL_UNTOUCHED, CELLS };

static const struct look {
	const char *utf8, *ascii, *colour, *name;
} looks[CELLS] = {
    [CELL_WHOLE] = {"\u2588", "#", "\033[32m", "whole"},
    [CELL_PART] = {"\u2593", "+", "\033[36m", "touched in part"},
    [CELL_SPLIT] = {"\u2592", "%", "\033[33m", "split"},
    [CELL_BALLOONED] = {"\u2591", "o", "\033[34m", "ballooned"},
    [CELL_UNTOUCHED] = {"\u00b7", ".", "\033[90m", "untouched"},
};

/* What lies in a cell, bytes. */
struct sum {
	uint64_t size, inflated, resident;
};

static enum cell cell_of(const struct sum *s)
{
	if (s->inflated >= s->size)
		return CELL_BALLOONED;
	if (s->inflated)
		return CELL_SPLIT;
	if (!s->resident)
		return CELL_UNTOUCHED;
	return s->resident >= s->size ? CELL_WHOLE : CELL_PART;
}

/* The share of part in value, where value is spread over whole; in floating point, since it is a picture. */
static uint64_t share(uint64_t value, uint64_t part, uint64_t whole)
{
	if (part == whole || value == 0)
		return value;
	if (value == whole)
		return part;
	return (uint64_t)((double)value * (double)part / (double)whole + 0.5);
}

static void sum_run(struct sum *sum, const json_t *run, uint64_t from, uint64_t to)
{
	uint64_t gpa = ctl_u64(run, "gpa"), size = ctl_u64(run, "size"), part;

	if (gpa < from)
		part = gpa + size > from ? gpa + size - from : 0;
	else
		part = gpa < to ? size : 0;
	if (gpa + size > to)
		part -= gpa + size - to < part ? gpa + size - to : part;
	if (!part)
		return;
	sum->size += part;
	sum->inflated += share(ctl_u64(run, "inflated"), part, size);
	sum->resident += share(ctl_u64(run, "resident"), part, size);
}

/* ---- drawing ------------------------------------------------------------------------------------------- */

struct drawing {
	FILE *to;
	const json_t *runs;
	size_t next; /* the first run that does not end before the row that is drawn */
	uint64_t step;
	unsigned cells; /* in a row */
	const struct ctl_map_style *style;
	uint64_t totals[CELLS]; /* bytes in cells of each kind */
};

static uint64_t run_end(const json_t *runs, size_t i)
{
	const json_t *run = json_array_get(runs, i);

	return ctl_u64(run, "gpa") + ctl_u64(run, "size");
}

static struct sum sum_cell(struct drawing *d, uint64_t from, uint64_t to)
{
	struct sum sum = {0};

	while (d->next < json_array_size(d->runs) && run_end(d->runs, d->next) <= from)
		d->next++;
	for (size_t i = d->next; i < json_array_size(d->runs); i++) {
		const json_t *run = json_array_get(d->runs, i);

		if (ctl_u64(run, "gpa") >= to)
			break;
		sum_run(&sum, run, from, to);
	}
	return sum;
}

static void draw_cell(struct drawing *d, enum cell cell, enum cell *before)
{
	if (d->style->colour && cell != *before)
		fputs(looks[cell].colour, d->to);
	fputs(d->style->utf8 ? looks[cell].utf8 : looks[cell].ascii, d->to);
	*before = cell;
}

static void draw_row(struct drawing *d, uint64_t from, uint64_t to)
{
	enum cell before = CELLS;

	fprintf(d->to, "0x%0*llx ", ADDRESS_WIDTH - 3, (unsigned long long)from);
	for (uint64_t at = from; at < to;) {
		uint64_t end = to - at < d->step ? to : at + d->step;
		struct sum sum = sum_cell(d, at, end);
		enum cell cell = cell_of(&sum);

		d->totals[cell] += sum.size;
		draw_cell(d, cell, &before);
		at = end;
	}
	fputs(d->style->colour ? "\033[0m\n" : "\n", d->to);
}

static void draw_region(struct drawing *d, uint64_t from, uint64_t to)
{
	while (from < to) {
		uint64_t row = d->cells * d->step;
		uint64_t end = to - from < row ? to : from + row;

		draw_row(d, from, end);
		from = end;
	}
}

static void draw_hole(struct drawing *d, uint64_t size)
{
	const char *line = d->style->utf8 ? "\u2500\u2500\u2500" : "---";

	fprintf(d->to, "%*s%s %s of addresses without memory %s\n", ADDRESS_WIDTH, "", line,
		ctl_size(size).text, line);
}

static void draw_legend(struct drawing *d)
{
	fprintf(d->to, "\nA cell is %s:", ctl_size(d->step).text);
	for (unsigned i = 0; i < CELLS; i++) {
		fprintf(d->to, "  %s%s%s %s", d->style->colour ? looks[i].colour : "",
			d->style->utf8 ? looks[i].utf8 : looks[i].ascii, d->style->colour ? "\033[0m" : "",
			looks[i].name);
		fprintf(d->to, " %s", ctl_size(d->totals[i]).text);
	}
	fputc('\n', d->to);
}

unsigned ctl_map_cells(unsigned columns)
{
	unsigned cells = columns > ADDRESS_WIDTH ? (columns - ADDRESS_WIDTH) / 8 * 8 : 0;

	if (cells < CELLS_MIN)
		return CELLS_MIN;
	return cells < CELLS_MAX ? cells : CELLS_MAX;
}

void ctl_map_draw(FILE *to, const json_t *runs, uint64_t step, const struct ctl_map_style *style)
{
	struct drawing d = {
	    .to = to,
	    .runs = runs,
	    .step = step,
	    .cells = ctl_map_cells(style->columns),
	    .style = style,
	};
	size_t count = json_array_size(runs);
	uint64_t end = 0;

	/* A region is a series of runs without a gap. */
	for (size_t i = 0; i < count;) {
		uint64_t start = ctl_u64(json_array_get(runs, i), "gpa");

		if (start > end)
			draw_hole(&d, start - end);
		end = run_end(runs, i++);
		while (i < count && ctl_u64(json_array_get(runs, i), "gpa") == end)
			end = run_end(runs, i++);
		draw_region(&d, start, end);
	}
	draw_legend(&d);
}

/* ---- the command --------------------------------------------------------------------------------------- */

static unsigned terminal_columns(void)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;

	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col)
		return size.ws_col;
	return columns && atoi(columns) > 0 ? (unsigned)atoi(columns) : 80;
}

/* A power of two, so that the addresses of the rows are round. */
static uint64_t choose_step(uint64_t maximum, unsigned cells)
{
	uint64_t step = PAGE;

	while (step < UINT64_C(1) << 62 && maximum / step > (uint64_t)cells * ROWS)
		step *= 2;
	return step;
}

int ctl_map(const struct ctl_options *o, struct qmp_client *client, char **args)
{
	const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
	struct ctl_map_style style = {
	    .columns = terminal_columns(),
	    .utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8"),
	    .colour = isatty(STDOUT_FILENO) && !(no_colour && *no_colour) && !(term && !strcmp(term, "dumb")),
	};
	json_t *status = ctl_call(client, "memback-status", NULL), *runs;
	uint64_t step;

	(void)args;
	if (!status)
		return 1;
	step = choose_step(ctl_u64(status, "maximum"), ctl_map_cells(style.columns));
	json_decref(status);
	runs = ctl_call(client, "memback-map", json_pack("{s:I}", "step", (json_int_t)step));
	if (!runs)
		return 1;
	if (o->json)
		ctl_print_json(runs);
	else
		ctl_map_draw(stdout, runs, step, &style);
	json_decref(runs);
	return 0;
}
