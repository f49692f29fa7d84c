/* SPDX-License-Identifier: MIT */
/*
 * console.h - the serial port as a console: lines out, lines in. Any CPU may print; one reads.
 */
#ifndef GUEST_CONSOLE_H
#define GUEST_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>

#define CONSOLE_LINE 512

void console_init(void);

/* Prints at once, without holding other CPUs' lines apart; for console_lines of CONSOLE_LINE bytes at most. */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Takes what has been typed so far. true: line (CONSOLE_LINE bytes) holds a complete line, without its end.
 * Does not wait.
 */
bool console_read_line(char *line);

#endif
