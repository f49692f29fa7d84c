/* SPDX-License-Identifier: MIT */
/*
 * client.h - a QMP client: connects, negotiates, asks, waits for events.
 *
 * Blocking, with time limits throughout; one thread at a time. Works with any QMP server. Errors fill a
 * struct mb_error: -EREMOTEIO is an answer of the server's ("error"), anything else the connection's.
 */
#ifndef VMM_CONTROL_CLIENT_H
#define VMM_CONTROL_CLIENT_H

#include <jansson.h>
#include <memback/pool.h>

#define QMP_CLIENT_GREETING_MS 5000   /* a server that has not greeted by then is none */
#define QMP_CLIENT_ANSWER_MS   120000 /* a check of a terabyte takes its time */

struct qmp_client;

/* Connects, reads the greeting and negotiates. */
MB_MUST_CHECK int qmp_client_connect(const char *path, struct qmp_client **out, struct mb_error *err);
void qmp_client_close(struct qmp_client *c);

/* Runs a command; args (may be NULL) is stolen. What "return" held (a new reference), or NULL and *err. */
json_t *qmp_client_call(struct qmp_client *c, const char *command, json_t *args, struct mb_error *err);
/* Sends a JSON object as it is, and gives the whole answer (a new reference), an error's too. */
json_t *qmp_client_raw(struct qmp_client *c, const json_t *request, struct mb_error *err);
/*
 * The next event, waiting for it timeout_ms at most: 1 with *event (a new reference), 0 without. Events that
 * come while a command is answered are kept for it, the last 64.
 */
MB_MUST_CHECK int qmp_client_event(struct qmp_client *c, int timeout_ms, json_t **event, struct mb_error *err);

#endif
