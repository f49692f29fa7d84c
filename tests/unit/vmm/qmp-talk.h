/* SPDX-License-Identifier: MIT */
/*
 * qmp-talk.h - a client for tests, as bare as can be: bytes out, lines in. Fails the test where the server
 * is silent for too long.
 */
#ifndef TESTS_QMP_TALK_H
#define TESTS_QMP_TALK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct talk {
	int fd;
	char *buf; /* [used, len) has come and was not asked for yet */
	size_t used, len, room;
};

/* Connects; the greeting stays to be read. */
void talk_open(struct talk *t, const char *path);
/* Connects, reads the greeting, negotiates. */
void talk_open_negotiated(struct talk *t, const char *path);
void talk_close(struct talk *t);

void talk_send(struct talk *t, const char *text);
void talk_send_bytes(struct talk *t, const void *data, size_t len);
/* The next line without its CRLF, which it must have; valid until the next call. NULL: the end. */
const char *talk_line(struct talk *t);
/* The next object; a new reference. */
json_t *talk_object(struct talk *t);
/* The next object that is no event. */
json_t *talk_answer(struct talk *t);
/* Sends and gets the answer. */
json_t *talk_ask(struct talk *t, const char *text);
/* Events up to the one of this name; its data (a new reference, may be NULL). */
json_t *talk_event(struct talk *t, const char *name);

/* The answer (stolen) is an error of this class, and its text has this word. */
void talk_is_error(json_t *answer, const char *class, const char *word);
/* The answer (stolen) equals this JSON text. */
void talk_is(json_t *answer, const char *json);

#endif
