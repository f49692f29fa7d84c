/* SPDX-License-Identifier: MIT */
/*
 * qmp_conn.c - one client of a QMP server.
 *
 * Input waits while there is a command to be run or much output unread, so that what a client can make us
 * keep is bounded: one packet, one object, OUT_PAUSE of answers and the events up to OUT_MAX. One command is
 * run in a turn of the loop; the rest of the packet is deferred to the next.
 */
#include "control/qmp_conn.h"

#include "control/json_stream.h"
#include "control/qmp_dispatch.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PACKET    8192
#define INPUT_MAX (1u << 20)   /* bytes of one object */
#define OUT_PAUSE (256u << 10) /* unread bytes at which no more commands are taken */
#define OUT_MAX   (4u << 20)   /* unread bytes at which the client is dropped */

struct qmp_conn {
	struct loop *loop;
	int fd;
	struct loop_source *source;
	struct loop_source *later; /* goes on with the packet, or tells that the client is gone */
	struct qmp_session session;
	struct json_stream stream;
	qmp_conn_gone_fn *gone;
	void *arg;
	char packet[PACKET];
	size_t packet_len, packet_used;
	char *out; /* unread: [out_sent, out_len) */
	size_t out_sent, out_len, out_room;
	bool eof;  /* the client writes no more; it may still read */
	bool dead; /* of no use any more: the deferred call says so */
};

char *qmp_line(json_t *value, size_t *len)
{
	char *text = value ? json_dumps(value, 0) : NULL;
	size_t n = text ? strlen(text) : 0;
	char *line = text ? realloc(text, n + 3) : NULL;

	json_decref(value);
	if (!line) {
		free(text);
		return NULL;
	}
	memcpy(line + n, "\r\n", 3);
	*len = n + 2;
	return line;
}

static void die(struct qmp_conn *c)
{
	c->dead = true;
	loop_set_events(c->source, 0);
	loop_defer(c->later);
}

static size_t unread(const struct qmp_conn *c)
{
	return c->out_len - c->out_sent;
}

static bool has_packet(const struct qmp_conn *c)
{
	return c->packet_used < c->packet_len;
}

/* What to wait for next, or that there is nothing more to wait for. */
static void update_events(struct qmp_conn *c)
{
	uint32_t events = 0;

	if (c->dead)
		return;
	if (c->eof && !has_packet(c) && !unread(c)) {
		die(c);
		return;
	}
	if (unread(c))
		events |= POLLOUT;
	if (!c->eof && !has_packet(c) && unread(c) < OUT_PAUSE)
		events |= POLLIN;
	if (loop_set_events(c->source, events)) {
		die(c);
		return;
	}
	if (has_packet(c) && unread(c) < OUT_PAUSE)
		loop_defer(c->later);
}

/* ---- output ------------------------------------------------------------------------------------------- */

static void write_out(struct qmp_conn *c)
{
	while (unread(c)) {
		ssize_t n = send(c->fd, c->out + c->out_sent, unread(c), MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (n < 0) {
			die(c);
			return;
		}
		c->out_sent += (size_t)n;
	}
	c->out_sent = c->out_len = 0;
}

static bool out_reserve(struct qmp_conn *c, size_t len)
{
	size_t room = c->out_room ? c->out_room : 4096;
	char *out;

	if (c->out_sent) {
		memmove(c->out, c->out + c->out_sent, unread(c));
		c->out_len = unread(c);
		c->out_sent = 0;
	}
	while (room - c->out_len < len)
		room *= 2;
	if (room == c->out_room)
		return true;
	out = realloc(c->out, room);
	if (!out)
		return false;
	c->out = out;
	c->out_room = room;
	return true;
}

void qmp_conn_send(struct qmp_conn *conn, const char *text, size_t len)
{
	if (conn->dead)
		return;
	if (unread(conn) > OUT_MAX || !out_reserve(conn, len)) {
		die(conn);
		return;
	}
	memcpy(conn->out + conn->out_len, text, len);
	conn->out_len += len;
	write_out(conn);
	update_events(conn);
}

static void send_json(struct qmp_conn *c, json_t *value)
{
	size_t len;
	char *line = qmp_line(value, &len);

	if (line)
		qmp_conn_send(c, line, len);
	else
		die(c); /* out of memory: better no client than one that waits for an answer */
	free(line);
}

/* ---- input -------------------------------------------------------------------------------------------- */

/* Goes on in the packet up to the end of one command. */
static void take_one(struct qmp_conn *c)
{
	enum json_stream_event event;
	size_t used;

	event = json_stream_feed(&c->stream, c->packet + c->packet_used, c->packet_len - c->packet_used, &used);
	c->packet_used += used;
	if (event != JSON_STREAM_MORE)
		send_json(c, qmp_dispatch(&c->session, event, c->stream.text, c->stream.len));
	update_events(c);
}

static void on_later(void *arg)
{
	struct qmp_conn *c = arg;

	if (c->dead)
		c->gone(c->arg, c);
	else if (has_packet(c) && unread(c) < OUT_PAUSE)
		take_one(c);
}

static void read_packet(struct qmp_conn *c)
{
	ssize_t n = recv(c->fd, c->packet, sizeof(c->packet), MSG_DONTWAIT);

	if (n < 0) {
		if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
			die(c);
		return;
	}
	c->eof = n == 0;
	c->packet_len = (size_t)n;
	c->packet_used = 0;
	if (n)
		take_one(c);
}

static void on_socket(void *arg, int fd, uint32_t events)
{
	struct qmp_conn *c = arg;

	(void)fd;
	if (events & (POLLERR | POLLNVAL)) {
		die(c);
		return;
	}
	if (events & (POLLOUT | POLLHUP))
		write_out(c);
	/* A hang-up with nothing left to be read shows as the end of the input. */
	if (!c->dead && !c->eof && !has_packet(c) && unread(c) < OUT_PAUSE && events & (POLLIN | POLLHUP))
		read_packet(c);
	else if (events & POLLHUP && !has_packet(c))
		die(c);
	update_events(c);
}

/* ---- life --------------------------------------------------------------------------------------------- */

bool qmp_conn_negotiated(const struct qmp_conn *conn)
{
	return conn->session.negotiated && !conn->dead;
}

int qmp_conn_create(struct loop *loop, int fd, const struct qmp_config *config, qmp_conn_gone_fn *gone,
		    void *arg, struct qmp_conn **out)
{
	struct qmp_conn *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return -ENOMEM;
	c->loop = loop;
	c->fd = fd;
	c->session.config = config;
	c->gone = gone;
	c->arg = arg;
	json_stream_init(&c->stream, INPUT_MAX);
	rc = loop_add_deferred(loop, on_later, c, &c->later);
	if (rc)
		goto fail;
	rc = loop_add_fd(loop, fd, POLLIN, on_socket, c, &c->source);
	if (rc)
		goto fail_later;
	*out = c;
	send_json(c, qmp_greeting());
	return 0;

fail_later:
	loop_remove(c->later);
fail:
	free(c);
	return rc;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

static void flush_until(struct qmp_conn *c, uint64_t deadline_ns)
{
	uint64_t now;

	while (!c->dead && unread(c) && (now = now_ns()) < deadline_ns) {
		struct pollfd p = {c->fd, POLLOUT, 0};

		if (poll(&p, 1, (int)((deadline_ns - now) / 1000000) + 1) <= 0)
			return;
		write_out(c);
	}
}

void qmp_conn_destroy(struct qmp_conn *conn, uint64_t deadline_ns)
{
	flush_until(conn, deadline_ns);
	loop_remove(conn->source);
	loop_remove(conn->later);
	close(conn->fd);
	json_stream_free(&conn->stream);
	free(conn->out);
	free(conn);
}
