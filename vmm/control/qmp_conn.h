/* SPDX-License-Identifier: MIT */
/*
 * qmp_conn.h - one client of a QMP server: its input, its output, its end.
 *
 * Loop thread only.
 */
#ifndef VMM_CONTROL_QMP_CONN_H
#define VMM_CONTROL_QMP_CONN_H

#include "control/loop.h"
#include "control/qmp.h"

struct qmp_conn;

/* The client is gone (or was dropped): the owner calls qmp_conn_destroy(), in this call or later. Never called
 * from within qmp_conn_create() or qmp_conn_send(). */
typedef void qmp_conn_gone_fn(void *arg, struct qmp_conn *conn);

/* Takes over fd (non-blocking) if it succeeds, and greets. config must outlive it. */
MB_MUST_CHECK int qmp_conn_create(struct loop *loop, int fd, const struct qmp_config *config,
				  qmp_conn_gone_fn *gone, void *arg, struct qmp_conn **out);
/* Sends text (which ends its own line). A client that has too much unread already is dropped instead. */
void qmp_conn_send(struct qmp_conn *conn, const char *text, size_t len);
bool qmp_conn_negotiated(const struct qmp_conn *conn);
/* Writes what the client takes until the deadline (CLOCK_MONOTONIC, ns; 0: nothing), and closes. */
void qmp_conn_destroy(struct qmp_conn *conn, uint64_t deadline_ns);

/* The JSON text of value with CRLF at its end, as it goes over the wire; value is stolen. The caller frees
 * it; NULL: out of memory. */
char *qmp_line(json_t *value, size_t *len);

#endif
