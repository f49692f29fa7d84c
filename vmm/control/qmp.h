/* SPDX-License-Identifier: MIT */
/*
 * qmp.h - a QMP server on a UNIX socket (QEMU's machine protocol): framing, negotiation, dispatch, events.
 *
 * It knows no command but those of the protocol itself (qmp_capabilities, query-commands, query-events);
 * the others come in a table. Loop thread only.
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
	/* args is an object that fits the list below. Returns an object or array (a new reference), or NULL
	 * with *err filled. */
	json_t *(*run)(void *arg, const json_t *args, struct qmp_error *err);
	struct qmp_arg args[QMP_ARGS_MAX];
};

struct qmp_config {
	const char *path;                   /* of the socket: mode 0600; stale replaced, live refused */
	const struct qmp_command *commands; /* ends with a NULL name */
	const char *const *events;          /* names, for query-events; ends with NULL */
	void *arg;                          /* for the commands */
};

int qmp_create(struct loop *loop, const struct qmp_config *config, struct qmp **out, struct mb_error *err);
/* Flushes what it can, closes all, removes the socket. */
void qmp_destroy(struct qmp *qmp);
/* Sends an event to every client that has negotiated; data (may be NULL) is stolen. */
void qmp_event(struct qmp *qmp, const char *name, json_t *data);

#endif
