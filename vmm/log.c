/* SPDX-License-Identifier: MIT */
/* log.c - see log.h. */
#include "log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024

/* A guest may say so much at once, and then one line a second. */
#define GUEST_BURST 20

static struct {
	pthread_mutex_t lock;
	enum log_level level;
	char name[64];
	uint64_t guest_count;
	uint64_t guest_unsaid;
	unsigned guest_tokens;
	time_t guest_last;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER, .level = LOG_INFO, .guest_tokens = GUEST_BURST};

void log_init(const char *name, enum log_level level)
{
	snprintf(state.name, sizeof(state.name), "%s", name);
	state.level = level;
}

__attribute__((format(printf, 2, 0))) static void say(enum log_level level, const char *fmt, va_list args)
{
	static const char *const words[] = {"error", "warning", "info", "debug"};
	char line[LINE_MAX_BYTES];
	int n = snprintf(line, sizeof(line), "memback-vmm%s%s%s: %s: ", state.name[0] ? "[" : "", state.name,
			 state.name[0] ? "]" : "", words[level]);
	vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, args);
	/* one line, whatever a guest or a file name put into it */
	for (char *c = line; *c != '\0'; c++) {
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	}
	size_t length = strlen(line);
	line[length++] = '\n';
	/* one write: lines of several processes do not mix. Nobody is left to tell if it fails. */
	if (write(STDERR_FILENO, line, length) < 0)
		return;
}

void log_at(enum log_level level, const char *fmt, ...)
{
	va_list args;
	if (level > state.level)
		return;
	va_start(args, fmt);
	say(level, fmt, args);
	va_end(args);
}

/* Whether a guest's line may be said now; *unsaid: how many were not since the last one that was. */
static bool guest_may_speak(uint64_t *unsaid)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	pthread_mutex_lock(&state.lock);
	state.guest_count++;
	time_t passed = now.tv_sec - state.guest_last;
	state.guest_last = now.tv_sec;
	if (passed >= GUEST_BURST - (time_t)state.guest_tokens)
		state.guest_tokens = GUEST_BURST;
	else
		state.guest_tokens += (unsigned)passed;
	bool may = state.guest_tokens > 0;
	if (may) {
		state.guest_tokens--;
		*unsaid = state.guest_unsaid;
		state.guest_unsaid = 0;
	} else {
		state.guest_unsaid++;
	}
	pthread_mutex_unlock(&state.lock);
	return may;
}

void log_guest(const char *fmt, ...)
{
	uint64_t unsaid;
	va_list args;
	if (!guest_may_speak(&unsaid) || state.level < LOG_WARN)
		return;
	if (unsaid > 0)
		log_at(LOG_WARN, "%llu warnings about the guest were left out", (unsigned long long)unsaid);
	va_start(args, fmt);
	say(LOG_WARN, fmt, args);
	va_end(args);
}

uint64_t log_guest_count(void)
{
	pthread_mutex_lock(&state.lock);
	uint64_t count = state.guest_count;
	pthread_mutex_unlock(&state.lock);
	return count;
}
