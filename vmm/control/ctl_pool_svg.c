/* SPDX-License-Identifier: MIT */
/*
 * ctl_pool_svg.c - membackctl: a pool as a picture. A square is a stretch of frames: its colour says whose it
 * is, how far it is filled from below how much of it is there. What is offline is an empty frame.
 */
#include "control/ctl.h"
#include "control/ctl_pool_map.h"

#define CELL    12
#define COLUMNS 64
#define LEFT    120
#define TOP     64
#define LINE    22

/* Told apart also by those who see no red and green (after Okabe and Ito). */
static const char *const fills[] = {"#0072b2", "#e69f00", "#009e73", "#cc79a7",
				    "#56b4e9", "#d55e00", "#7a6a00"};
#define FILLS (sizeof(fills) / sizeof(fills[0]))

/* Names are other people's. */
static void put_escaped(FILE *to, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '<' || c == '>' || c == '&' || c == '"' || c < ' ' || c >= 0x7f)
			fprintf(to, c < ' ' || c >= 0x7f ? "?" : "&#%u;", c);
		else
			fputc(c, to);
	}
}

static void put_text(FILE *to, unsigned x, unsigned y, const char *class, const char *text)
{
	fprintf(to, "<text x=\"%u\" y=\"%u\" class=\"%s\">", x, y, class);
	put_escaped(to, text);
	fputs("</text>\n", to);
}

/* Nobody's. */
static void put_free(FILE *to, unsigned x, unsigned y, bool offline)
{
	if (offline)
		fprintf(to,
			"<rect x=\"%u.5\" y=\"%u.5\" width=\"%d\" height=\"%d\" fill=\"none\" "
			"stroke=\"#c4c4c4\"/>\n",
			x, y, CELL - 2, CELL - 2);
	else
		fprintf(to, "<rect x=\"%u\" y=\"%u\" width=\"%d\" height=\"%d\" fill=\"#e6e6e6\"/>\n", x, y,
			CELL - 1, CELL - 1);
}

static void put_cell(FILE *to, const struct pool_map *m, size_t i)
{
	const struct mb_pool_stretch *s = &m->cell[i];
	unsigned x = LEFT + (unsigned)(i % COLUMNS) * CELL, y = TOP + (unsigned)(i / COLUMNS) * CELL;
	double high = pool_map_share(s) * (CELL - 1);
	const char *fill;

	if (!s->owned || !m->owners) {
		put_free(to, x, y, pool_map_offline(s));
		return;
	}
	fill = fills[pool_map_owner(m, s) % FILLS];
	fprintf(to, "<rect x=\"%u\" y=\"%u\" width=\"%d\" height=\"%d\" fill=\"%s\" fill-opacity=\".22\"/>\n",
		x, y, CELL - 1, CELL - 1, fill);
	if (high > 0)
		fprintf(to, "<rect x=\"%u\" y=\"%.1f\" width=\"%d\" height=\"%.1f\" fill=\"%s\"/>\n", x,
			y + CELL - 1 - high, CELL - 1, high, fill);
}

static void put_legend(FILE *to, const struct pool_map *m, unsigned y)
{
	char line[256];

	snprintf(line, sizeof(line),
		 "A square is %s. Filled from below: what is there; pale: given back or untouched; "
		 "grey: free; an empty frame: offline.",
		 ctl_size(m->step).text);
	put_text(to, LEFT, y, "t", line);
	for (unsigned i = 0; i < m->owners; i++) {
		const struct mb_owner_status *o = &m->owner[i];

		y += LINE;
		fprintf(to, "<rect x=\"%d\" y=\"%u\" width=\"12\" height=\"12\" fill=\"%s\"/>\n", LEFT, y - 11,
			fills[i % FILLS]);
		snprintf(line, sizeof(line), "%.63s: %s charged of %s, %s inflated%s", o->name,
			 ctl_size(o->actual).text, ctl_size(o->maximum).text, ctl_size(o->inflated).text,
			 o->live ? "" : ", gone");
		put_text(to, LEFT + 20, y, "t", line);
	}
}

int pool_map_svg(FILE *to, const struct pool_map *m)
{
	unsigned rows = (unsigned)((m->cells + COLUMNS - 1) / COLUMNS), legend = TOP + rows * CELL + 2 * LINE;
	unsigned width = LEFT + COLUMNS * CELL + 24, height = legend + (m->owners + 1) * LINE;
	char line[256];

	fprintf(to,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%u\" viewBox=\"0 0 %u %u\">\n",
		width, height, width, height);
	fprintf(to,
		"<style>.t{font:13px sans-serif;fill:#222}.h{font:bold 17px sans-serif;fill:#222}"
		".a{font:11px monospace;fill:#666}</style>\n"
		"<rect width=\"%u\" height=\"%u\" fill=\"#fff\"/>\n",
		width, height);
	snprintf(line, sizeof(line), "%.150s", m->path);
	put_text(to, 16, 26, "h", line);
	snprintf(line, sizeof(line), "%s of frame numbers, budget %s, used %s, resident %s",
		 ctl_size(m->status.size).text, ctl_size(m->status.budget).text,
		 ctl_size(m->status.budget_used).text, ctl_size(m->status.resident).text);
	put_text(to, 16, 48, "t", line);
	for (unsigned row = 0; row < rows; row += 4) {
		snprintf(line, sizeof(line), "0x%010llx",
			 (unsigned long long)m->cell[(size_t)row * COLUMNS].offset);
		put_text(to, 16, TOP + row * CELL + 10, "a", line);
	}
	for (size_t i = 0; i < m->cells; i++)
		put_cell(to, m, i);
	put_legend(to, m, legend);
	fputs("</svg>\n", to);
	return ferror(to) ? -1 : 0;
}
