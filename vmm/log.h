/* SPDX-License-Identifier: MIT */
/*
 * log.h - what the VMM says on stderr, by level: one line each, "memback-vmm[NAME]: level: text".
 *
 * Thread-safe. What a guest can trigger goes through log_guest(), which is rate-limited: after a burst it
 * counts, and says later how many lines it left out.
 */
#ifndef VMM_LOG_H
#define VMM_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Once, before any thread starts: the VM's name (copied) and the least urgent level that is said. */
void log_init(const char *name, enum log_level level);
void log_at(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A warning that the guest caused. */
void log_guest(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* How many of those there were, said or not. */
uint64_t log_guest_count(void);

#endif
