/* SPDX-License-Identifier: MIT */
/*
 * qmp-talk.c - a client for tests.
 */
#include "qmp-talk.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_S 30

void talk_open(struct talk *t, const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct timeval limit = {LIMIT_S, 0};
	int rc;

	assert_true(strlen(path) < sizeof(addr.sun_path));
	memcpy(addr.sun_path, path, strlen(path));
	memset(t, 0, sizeof(*t));
	t->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	setsockopt(t->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(t->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	/* The kernel interrupts us when a ring that this thread has made is torn down. */
	do {
		rc = connect(t->fd, (struct sockaddr *)&addr, sizeof(addr));
	} while (rc && errno == EINTR);
	assert_int_equal(rc, 0);
}

void talk_open_negotiated(struct talk *t, const char *path)
{
	talk_open(t, path);
	json_decref(talk_object(t));
	talk_is(talk_ask(t, "{\"execute\": \"qmp_capabilities\"}"), "{\"return\": {}}");
}

void talk_close(struct talk *t)
{
	close(t->fd);
	free(t->buf);
}

void talk_send_bytes(struct talk *t, const void *data, size_t len)
{
	const char *at = data;

	while (len) {
		ssize_t n = send(t->fd, at, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		assert_true(n > 0);
		at += n;
		len -= (size_t)n;
	}
}

void talk_send(struct talk *t, const char *text)
{
	talk_send_bytes(t, text, strlen(text));
}

/* More bytes; false at the end. */
static bool talk_fill(struct talk *t)
{
	ssize_t n;

	if (t->used) {
		memmove(t->buf, t->buf + t->used, t->len - t->used);
		t->len -= t->used;
		t->used = 0;
	}
	if (t->len == t->room) {
		t->room = t->room ? 2 * t->room : 65536;
		t->buf = realloc(t->buf, t->room);
	}
	do {
		n = recv(t->fd, t->buf + t->len, t->room - t->len, 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno != ECONNRESET)
		fail_msg("the server is silent: %s", strerror(errno));
	t->len += n > 0 ? (size_t)n : 0;
	return n > 0;
}

const char *talk_line(struct talk *t)
{
	size_t seen = 0;
	char *end, *line;

	while (!t->len || !(end = memchr(t->buf + t->used + seen, '\n', t->len - t->used - seen))) {
		seen = t->len - t->used;
		if (!talk_fill(t))
			return NULL;
	}
	line = t->buf + t->used;
	assert_true(end - line >= 2); /* never an empty line */
	assert_int_equal(end[-1], '\r');
	end[-1] = '\0';
	t->used = (size_t)(end - t->buf) + 1;
	return line;
}

json_t *talk_object(struct talk *t)
{
	const char *line = talk_line(t);
	json_t *object;

	assert_non_null(line);
	object = json_loads(line, 0, NULL);
	assert_true(json_is_object(object));
	return object;
}

json_t *talk_answer(struct talk *t)
{
	for (;;) {
		json_t *object = talk_object(t);

		if (!json_object_get(object, "event"))
			return object;
		json_decref(object);
	}
}

json_t *talk_ask(struct talk *t, const char *text)
{
	talk_send(t, text);
	return talk_answer(t);
}

json_t *talk_event(struct talk *t, const char *name)
{
	for (;;) {
		json_t *object = talk_object(t), *data = json_incref(json_object_get(object, "data"));
		const char *event = json_string_value(json_object_get(object, "event"));
		const json_t *stamp = json_object_get(object, "timestamp");
		bool found = event && !strcmp(event, name);

		if (event) {
			assert_true(json_is_integer(json_object_get(stamp, "seconds")));
			assert_in_range(json_integer_value(json_object_get(stamp, "microseconds")), 0, 999999);
		}
		json_decref(object);
		if (found)
			return data;
		json_decref(data);
	}
}

void talk_is_error(json_t *answer, const char *class, const char *word)
{
	const json_t *error = json_object_get(answer, "error");
	const char *desc = json_string_value(json_object_get(error, "desc"));

	assert_non_null(error);
	assert_null(json_object_get(answer, "return"));
	assert_string_equal(json_string_value(json_object_get(error, "class")), class);
	assert_non_null(desc);
	if (!strstr(desc, word))
		fail_msg("'%s' is not in '%s'", word, desc);
	json_decref(answer);
}

void talk_is(json_t *answer, const char *json)
{
	json_t *expected = json_loads(json, JSON_DECODE_ANY, NULL);
	char *text = json_dumps(answer, JSON_ENCODE_ANY);

	assert_non_null(expected);
	if (!json_equal(answer, expected))
		fail_msg("expected %s, got %s", json, text);
	free(text);
	json_decref(expected);
	json_decref(answer);
}
