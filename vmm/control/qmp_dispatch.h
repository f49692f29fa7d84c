/* SPDX-License-Identifier: MIT */
/*
 * qmp_dispatch.h - what a QMP server answers to one input of one client: checks, negotiation, commands.
 *
 * No sockets here: text in, JSON out. Loop thread only.
 */
#ifndef VMM_CONTROL_QMP_DISPATCH_H
#define VMM_CONTROL_QMP_DISPATCH_H

#include "control/json_stream.h"
#include "control/qmp.h"

/* One client's side of the protocol. */
struct qmp_session {
	const struct qmp_config *config; /* not owned */
	bool negotiated;
};

/* The greeting, without its line end; a new reference, NULL: out of memory. */
json_t *qmp_greeting(void);
/*
 * Answers what the stream has told (anything but JSON_STREAM_MORE). Always a new reference, unless memory
 * is out.
 */
json_t *qmp_dispatch(struct qmp_session *session, enum json_stream_event event, const char *text, size_t len);

#endif
