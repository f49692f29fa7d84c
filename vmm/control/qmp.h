/* SPDX-License-Identifier: MIT */
/*
 * qmp.h - a QMP server on a UNIX socket (QEMU's machine protocol): framing, negotiation, dispatch, events.
 *
 * It knows no command but those of the protocol itself (qmp_capabilities, query-version, query-commands,
 * query-events); the others come in a table. Any number of clients up to a bound is served at once, each with
 * one command in a turn of the loop. What a client does not read is kept up to a bound, and then the client
 * is dropped. Loop thread only.
 *
 * Shapes and messages follow QEMU 7.2, and so the greeting says that version to clients that look at it; ours
 * is in its "package".
 */
#ifndef VMM_CONTROL_QMP_H
#define VMM_CONTROL_QMP_H

#include "control/loop.h"
#include <jansson.h>
#include <memback/pool.h>

struct qmp;

/* How a command fails. */
struct qmp_error {
	const char *class; /* "GenericError", "CommandNotFound"... ; static */
	char desc[480];
};

/* The arguments that a command takes: anything else is an error, and so is a missing one. */
struct qmp_arg {
	const char *name;
	json_type type; /* JSON_TRUE means a boolean; JSON_NULL any type */
	bool optional;
};
#define QMP_ARGS_MAX 6

struct qmp_command {
	const char *name;
	/* args is an object that fits the list below. Returns an object or array (a new reference; a plain
	 * value only from qom-get, whose values are bare in QEMU too), or NULL with *err filled. It may send
	 * events, which clients then see before the answer. */
	json_t *(*run)(void *arg, const json_t *args, struct qmp_error *err);
	struct qmp_arg args[QMP_ARGS_MAX];
};

struct qmp_config {
	const char *path;                   /* of the socket: mode 0600; stale replaced, live refused */
	const struct qmp_command *commands; /* ends with a NULL name */
	const char *const *events;          /* names, for query-events; ends with NULL */
	void *arg;                          /* for the commands */
	void (*free_arg)(void *arg);        /* called by qmp_destroy() at its end; may be NULL */
};

/* On failure arg stays the caller's. */
MB_MUST_CHECK int qmp_create(struct loop *loop, const struct qmp_config *config, struct qmp **out,
			     struct mb_error *err);
/* Fills err and returns NULL: for commands that fail. */
json_t *qmp_fail(struct qmp_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Flushes what clients take within a moment (they shall see the last events), closes all, removes the
 * socket. NULL is allowed. Not from within a command. */
void qmp_destroy(struct qmp *qmp);
/* Sends an event to every client that has negotiated; data (may be NULL) is stolen. Without a
 * server (NULL) it does nothing. */
void qmp_event(struct qmp *qmp, const char *name, json_t *data);

#endif
