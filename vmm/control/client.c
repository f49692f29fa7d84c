/* SPDX-License-Identifier: MIT */
/*
 * client.c - a QMP client.
 */
#include "control/client.h"

#include "control/json_stream.h"
#include "control/unix_socket.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PACKET     16384
#define ANSWER_MAX (64u << 20) /* bytes of one answer */
#define EVENTS_MAX 64

struct qmp_client {
	int fd;
	struct json_stream stream;
	char packet[PACKET];
	size_t packet_len, packet_used;
	json_t *events; /* that came and were not asked for yet */
};

__attribute__((format(printf, 3, 4))) static int fail(struct mb_error *err, int code, const char *fmt, ...)
{
	va_list args;

	err->code = code;
	va_start(args, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, args);
	va_end(args);
	return code;
}

static const char closed[] = "the VM has closed the connection: it has ended, or dropped us";

/* A connection that broke; that the other side closed it shows in several ways. */
static int fail_io(struct mb_error *err, int error)
{
	if (error == EPIPE || error == ECONNRESET)
		return fail(err, -ECONNRESET, "%s", closed);
	return fail(err, -error, "the connection broke: %s", strerror(error));
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- one object ---------------------------------------------------------------------------------------- */

/* 0 when there is input (or its end), -ETIMEDOUT when the deadline has passed. */
static int wait_input(struct qmp_client *c, int64_t deadline_ms, struct mb_error *err)
{
	struct pollfd p = {c->fd, POLLIN, 0};
	int64_t left;
	int n;

	do {
		left = deadline_ms - now_ms();
		n = poll(&p, 1, left > 0 ? (int)left : 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return fail(err, -errno, "the connection cannot be waited for: %s", strerror(errno));
	return n ? 0 : -ETIMEDOUT;
}

static int read_packet(struct qmp_client *c, int64_t deadline_ms, struct mb_error *err)
{
	ssize_t n;
	int rc = wait_input(c, deadline_ms, err);

	if (rc)
		return rc;
	do {
		n = recv(c->fd, c->packet, sizeof(c->packet), 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return fail_io(err, errno);
	if (!n)
		return fail(err, -ECONNRESET, "%s", closed);
	c->packet_len = (size_t)n;
	c->packet_used = 0;
	return 0;
}

/* The next object from the server: 0, -ETIMEDOUT (err is left alone), or another error. */
static int read_object(struct qmp_client *c, int64_t deadline_ms, json_t **out, struct mb_error *err)
{
	enum json_stream_event event;
	size_t used;
	int rc;

	for (;;) {
		event = json_stream_feed(&c->stream, c->packet + c->packet_used, c->packet_len - c->packet_used,
					 &used);
		c->packet_used += used;
		if (event != JSON_STREAM_MORE)
			break;
		rc = read_packet(c, deadline_ms, err);
		if (rc)
			return rc;
	}
	*out = event == JSON_STREAM_VALUE ? json_loadb(c->stream.text, c->stream.len, 0, NULL) : NULL;
	if (!json_is_object(*out)) {
		json_decref(*out);
		return fail(err, -EPROTO,
			    "what the server sends is no QMP: is this the control socket of a VM?");
	}
	return 0;
}

static int send_text(struct qmp_client *c, const char *text, size_t len, struct mb_error *err)
{
	while (len) {
		ssize_t n = send(c->fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return fail(err, -ETIMEDOUT,
				    "the VM takes no commands: it hangs, or is stopped by a debugger");
		if (n < 0)
			return fail_io(err, errno);
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

/* ---- commands and events ------------------------------------------------------------------------------- */

static void keep_event(struct qmp_client *c, json_t *event)
{
	json_array_append_new(c->events, event);
	if (json_array_size(c->events) > EVENTS_MAX)
		json_array_remove(c->events, 0);
}

json_t *qmp_client_raw(struct qmp_client *c, const json_t *request, struct mb_error *err)
{
	int64_t deadline = now_ms() + QMP_CLIENT_ANSWER_MS;
	char *text = json_dumps(request, JSON_COMPACT);
	json_t *answer;
	int rc = text ? send_text(c, text, strlen(text), err) : fail(err, -ENOMEM, "out of memory");

	free(text);
	while (!rc) {
		rc = read_object(c, deadline, &answer, err);
		if (rc == -ETIMEDOUT)
			fail(err, rc, "no answer from the VM within %d s", QMP_CLIENT_ANSWER_MS / 1000);
		if (rc)
			break;
		if (!json_object_get(answer, "event"))
			return answer;
		keep_event(c, answer);
	}
	return NULL;
}

json_t *qmp_client_call(struct qmp_client *c, const char *command, json_t *args, struct mb_error *err)
{
	json_t *request = json_pack("{s:s}", "execute", command);
	json_t *answer, *result;
	const char *desc;

	if (args)
		json_object_set_new(request, "arguments", args);
	answer = qmp_client_raw(c, request, err);
	json_decref(request);
	if (!answer)
		return NULL;
	result = json_incref(json_object_get(answer, "return"));
	if (!result) {
		desc = json_string_value(json_object_get(json_object_get(answer, "error"), "desc"));
		fail(err, -EREMOTEIO, "%s", desc ? desc : "the server's answer has neither return nor error");
	}
	json_decref(answer);
	return result;
}

int qmp_client_event(struct qmp_client *c, int timeout_ms, json_t **event, struct mb_error *err)
{
	int64_t deadline = now_ms() + timeout_ms;
	int rc;

	if (json_array_size(c->events)) {
		*event = json_incref(json_array_get(c->events, 0));
		json_array_remove(c->events, 0);
		return 1;
	}
	for (;;) {
		rc = read_object(c, deadline, event, err);
		if (rc)
			return rc == -ETIMEDOUT ? 0 : rc;
		if (json_object_get(*event, "event"))
			return 1;
		json_decref(*event); /* an answer that nobody waits for any more */
	}
}

/* ---- life ---------------------------------------------------------------------------------------------- */

static int negotiate(struct qmp_client *c, const char *path, struct mb_error *err)
{
	json_t *object;
	int rc = read_object(c, now_ms() + QMP_CLIENT_GREETING_MS, &object, err);

	if (rc == -ETIMEDOUT)
		return fail(err, rc,
			    "%s does not greet within %d s: its VM hangs, or serves another client only", path,
			    QMP_CLIENT_GREETING_MS / 1000);
	if (rc)
		return rc;
	rc = json_object_get(object, "QMP") ? 0 : -EPROTO;
	json_decref(object);
	if (rc)
		return fail(err, rc, "%s does not greet as QMP does: is it the control socket of a VM?", path);
	object = qmp_client_call(c, "qmp_capabilities", NULL, err);
	json_decref(object);
	return object ? 0 : err->code;
}

int qmp_client_connect(const char *path, struct qmp_client **out, struct mb_error *err)
{
	struct qmp_client *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return fail(err, -ENOMEM, "out of memory");
	rc = unix_socket_connect(path, &c->fd, err);
	if (rc) {
		free(c);
		return rc;
	}
	json_stream_init(&c->stream, ANSWER_MAX);
	c->events = json_array();
	rc = negotiate(c, path, err);
	if (rc) {
		qmp_client_close(c);
		return rc;
	}
	*out = c;
	return 0;
}

void qmp_client_close(struct qmp_client *c)
{
	if (!c)
		return;
	close(c->fd);
	json_stream_free(&c->stream);
	json_decref(c->events);
	free(c);
}
