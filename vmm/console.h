/* SPDX-License-Identifier: MIT */
/*
 * console.h - where the guest's serial port leads: the terminal, a pseudo-terminal, a file, or nowhere.
 *
 * A terminal is put into raw mode and restored by console_close(), and also when the process ends by exit()
 * or by a deadly signal. A process in the background leaves it alone: then nothing can be typed.
 */
#ifndef VMM_CONSOLE_H
#define VMM_CONSOLE_H

#include <memback/pool.h>
#include <stdbool.h>

enum console_kind { CONSOLE_STDIO, CONSOLE_PTY, CONSOLE_FILE, CONSOLE_NONE };

struct console {
	int in;      /* -1: none */
	int out;     /* -1: none; non-blocking */
	int keep;    /* the other end of a pseudo-terminal, so that it outlives its readers; -1 */
	bool escape; /* a person types here */
	char pty[64]; /* path of the other end, or empty */
};

/* path: of the file. */
MB_MUST_CHECK int console_open(enum console_kind kind, const char *path, struct console *out, struct mb_error *err);
void console_close(struct console *c);
/* Puts the terminal back as it was, if it was changed. Async-signal-safe. */
void console_restore_terminal(void);

#endif
