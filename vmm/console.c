/* SPDX-License-Identifier: MIT */
/* console.c - see console.h. */
#include "console.h"

#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

/* The process has one terminal, and whoever ends it must put it back: so this one is a global. */
static struct {
	volatile bool changed;
	struct termios before;
} terminal;

void console_restore_terminal(void)
{
	if (terminal.changed)
		tcsetattr(STDIN_FILENO, TCSANOW, &terminal.before);
	terminal.changed = false;
}

/* Dies of the signal that came, and leaves the terminal behind as it was. */
static void on_fatal(int number)
{
	console_restore_terminal();
	raise(number); /* its disposition is the default again */
}

static void restore_when_killed(void)
{
	static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGQUIT};
	const struct sigaction ours = {.sa_handler = on_fatal, .sa_flags = (int)SA_RESETHAND};
	struct sigaction old;
	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++) {
		if (sigaction(fatal[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			sigaction(fatal[i], &ours, NULL);
	}
}

static void make_raw(void)
{
	static bool registered;
	struct termios raw;
	if (tcgetattr(STDIN_FILENO, &terminal.before) != 0)
		return;
	raw = terminal.before;
	cfmakeraw(&raw);
	raw.c_oflag |= OPOST | ONLCR; /* our own lines on stderr stay readable */
	if (!registered) {
		atexit(console_restore_terminal);
		restore_when_killed();
	}
	registered = true;
	terminal.changed = true;
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

/* A job in the background would be stopped when it changed the terminal, or read from it. */
static bool in_background(void)
{
	pid_t foreground = tcgetpgrp(STDIN_FILENO);
	return foreground >= 0 && foreground != getpgrp();
}

static int open_stdio(struct console *c, struct mb_error *err)
{
	struct stat st;
	bool terminal_in = isatty(STDIN_FILENO);
	if (!terminal_in || !in_background())
		c->in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	/* a terminal and a pipe are opened anew, so that non-blocking stays our affair; a file never blocks,
	 * and its position is shared with whoever gave it to us */
	if (fstat(STDOUT_FILENO, &st) == 0 && (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode)))
		c->out = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (c->out < 0)
		c->out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	if (c->out < 0)
		return error_set(err, -errno, "--serial stdio: standard output: %s; use --serial none",
				 strerror(errno));
	c->escape = terminal_in && c->in >= 0;
	if (c->escape)
		make_raw();
	return 0;
}

static int open_pty(struct console *c, struct mb_error *err)
{
	struct termios raw;
	c->in = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (c->in < 0 || grantpt(c->in) != 0 || unlockpt(c->in) != 0 ||
	    ptsname_r(c->in, c->pty, sizeof(c->pty)) != 0)
		return error_set(err, -errno, "--serial pty: cannot make a pseudo-terminal: %s",
				 strerror(errno));
	c->keep = open(c->pty, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (c->keep < 0 || tcgetattr(c->keep, &raw) != 0)
		return error_set(err, -errno, "--serial pty: %s: %s", c->pty, strerror(errno));
	cfmakeraw(&raw);
	tcsetattr(c->keep, TCSANOW, &raw);
	c->out = fcntl(c->in, F_DUPFD_CLOEXEC, 3);
	return c->out < 0 ? error_set(err, -errno, "--serial pty: %s", strerror(errno)) : 0;
}

static int open_file(struct console *c, const char *path, struct mb_error *err)
{
	c->out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0600);
	return c->out < 0 ? error_open(err, -errno, "--serial file", path) : 0;
}

int console_open(enum console_kind kind, const char *path, struct console *out, struct mb_error *err)
{
	int rc = 0;
	*out = (struct console){.in = -1, .out = -1, .keep = -1};
	if (kind == CONSOLE_STDIO)
		rc = open_stdio(out, err);
	else if (kind == CONSOLE_PTY)
		rc = open_pty(out, err);
	else if (kind == CONSOLE_FILE)
		rc = open_file(out, path, err);
	if (rc != 0)
		console_close(out);
	return rc;
}

void console_close(struct console *c)
{
	console_restore_terminal();
	if (c->in >= 0)
		close(c->in);
	if (c->out >= 0)
		close(c->out);
	if (c->keep >= 0)
		close(c->keep);
	*c = (struct console){.in = -1, .out = -1, .keep = -1};
}
