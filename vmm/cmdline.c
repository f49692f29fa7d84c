/* SPDX-License-Identifier: MIT */
/* cmdline.c - see cmdline.h. */
#include "cmdline.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Where the first word "--" begins, or the end. A quoted value may have blanks and dashes in it. */
static size_t find_end_of_options(const char *line)
{
	bool quoted = false;
	size_t i = 0;
	for (; line[i] != '\0'; i++) {
		if (line[i] == '"')
			quoted = !quoted;
		bool begins = !quoted && (i == 0 || is_blank(line[i - 1]));
		if (begins && strncmp(line + i, "--", 2) == 0 && (line[i + 2] == '\0' || is_blank(line[i + 2])))
			break;
	}
	return i;
}

void cmdline_make(char *out, size_t size, const char *append, const char *added)
{
	size_t front = find_end_of_options(append);
	const char *rest = append + front;
	while (*rest != '\0' && front > 0 && is_blank(append[front - 1]))
		front--;
	if (front == 0 && added[0] != '\0')
		added++; /* nothing in front of its blank */
	snprintf(out, size, "%.*s%s%s%s", (int)front, append, added,
		 *rest != '\0' && added[0] != '\0' ? " " : "", rest);
}
