/* SPDX-License-Identifier: MIT */
/*
 * qmp.c - the QMP server: its socket, its clients, its events.
 */
#include "control/qmp.h"

#include "control/qmp_conn.h"
#include "control/unix_socket.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS_MAX 32
#define RETRY_NS    UINT64_C(200000000)  /* until accept() is tried again where descriptors are short */
#define FLUSH_NS    UINT64_C(1000000000) /* what a client does not take in this time at the end is lost to it */

struct qmp {
	struct loop *loop;
	struct qmp_config config;
	struct unix_socket socket;
	struct loop_source *source;
	struct loop_source *retry;
	struct qmp_conn *conns[CLIENTS_MAX];
	unsigned count;
};

/* While no more clients fit, they wait in the socket's backlog. */
static void update_listening(struct qmp *q)
{
	loop_set_events(q->source, q->count < CLIENTS_MAX ? POLLIN : 0);
}

static void on_retry(void *arg)
{
	update_listening(arg);
}

static void on_gone(void *arg, struct qmp_conn *conn)
{
	struct qmp *q = arg;

	for (unsigned i = 0; i < q->count; i++) {
		if (q->conns[i] == conn) {
			q->conns[i] = q->conns[--q->count];
			break;
		}
	}
	qmp_conn_destroy(conn, 0);
	update_listening(q);
}

static void on_listen(void *arg, int fd, uint32_t events)
{
	struct qmp *q = arg;
	int conn_fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (conn_fd < 0) {
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return;
		/* Out of descriptors or memory. The client waits; spinning here would help nobody. */
		loop_set_events(q->source, 0);
		loop_arm_timer(q->retry, RETRY_NS);
		return;
	}
	if (qmp_conn_create(q->loop, conn_fd, &q->config, on_gone, q, &q->conns[q->count])) {
		close(conn_fd);
		return;
	}
	q->count++;
	update_listening(q);
}

int qmp_create(struct loop *loop, const struct qmp_config *config, struct qmp **out, struct mb_error *err)
{
	struct qmp *q = calloc(1, sizeof(*q));
	int rc = -ENOMEM;

	if (!q)
		goto fail;
	q->loop = loop;
	q->config = *config;
	q->config.path = q->socket.path;
	rc = unix_socket_listen(config->path, &q->socket, err);
	if (rc) {
		free(q);
		return rc;
	}
	rc = loop_add_timer(loop, on_retry, q, &q->retry);
	if (rc)
		goto fail_socket;
	rc = loop_add_fd(loop, q->socket.fd, POLLIN, on_listen, q, &q->source);
	if (rc)
		goto fail_retry;
	*out = q;
	return 0;

fail_retry:
	loop_remove(q->retry);
fail_socket:
	unix_socket_close(&q->socket);
	free(q);
fail:
	err->code = rc;
	snprintf(err->text, sizeof(err->text), "no control socket: %s", strerror(-rc));
	return rc;
}

void qmp_destroy(struct qmp *qmp)
{
	struct timespec ts;
	uint64_t deadline;

	if (!qmp)
		return;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	deadline = (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec + FLUSH_NS;
	for (unsigned i = 0; i < qmp->count; i++)
		qmp_conn_destroy(qmp->conns[i], deadline);
	loop_remove(qmp->source);
	loop_remove(qmp->retry);
	unix_socket_close(&qmp->socket);
	if (qmp->config.free_arg)
		qmp->config.free_arg(qmp->config.arg);
	free(qmp);
}

void qmp_event(struct qmp *qmp, const char *name, json_t *data)
{
	struct timespec ts;
	json_t *event;
	size_t len;
	char *line;

	if (!qmp) {
		json_decref(data);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &ts);
	event = json_pack("{s:{s:I,s:I},s:s}", "timestamp", "seconds", (json_int_t)ts.tv_sec, "microseconds",
			  (json_int_t)(ts.tv_nsec / 1000), "event", name);
	if (data)
		json_object_set_new(event, "data", data);
	line = qmp_line(event, &len);
	for (unsigned i = 0; line && i < qmp->count; i++)
		if (qmp_conn_negotiated(qmp->conns[i]))
			qmp_conn_send(qmp->conns[i], line, len);
	free(line);
}
