/* SPDX-License-Identifier: MIT */
/*
 * json_stream.c - cuts a stream of bytes into JSON objects and arrays.
 *
 * After an error it begins anew with the next byte, as QEMU does: a raw control character ends a string that
 * was never closed, so a client that has lost its place finds it again at the end of the line at the latest.
 */
#include "control/json_stream.h"

#include <stdlib.h>
#include <string.h>

#define STRAY_MAX 64    /* of what is no JSON at all, only so much is kept for the message */
#define KEEP_ROOM 65536 /* a longer buffer is given back after its value */

void json_stream_init(struct json_stream *s, size_t limit)
{
	memset(s, 0, sizeof(*s));
	s->limit = limit;
}

void json_stream_free(struct json_stream *s)
{
	free(s->text);
	s->text = NULL;
	s->len = s->room = 0;
}

static void begin_anew(struct json_stream *s)
{
	if (s->room > KEEP_ROOM) {
		free(s->text);
		s->text = NULL;
		s->room = 0;
	}
	s->len = 0;
	s->depth = 0;
	s->curly = 0;
	s->escape = false;
	s->done = false;
}

/* Appends, and keeps a NUL after it. */
static enum json_stream_event append(struct json_stream *s, char c)
{
	if (s->len >= s->limit)
		return JSON_STREAM_TOO_LONG;
	if (s->len + 2 > s->room) {
		size_t room = s->room ? 2 * s->room : 256;
		char *text = realloc(s->text, room);

		if (!text)
			return JSON_STREAM_NO_MEMORY;
		s->text = text;
		s->room = room;
	}
	s->text[s->len++] = c;
	s->text[s->len] = '\0';
	return JSON_STREAM_MORE;
}

static enum json_stream_event tell(struct json_stream *s, enum json_stream_event event,
				   enum json_stream_state next)
{
	s->done = true;
	s->state = next;
	return event;
}

/* A byte that JSON has nowhere outside its strings. 0xff is what clients send to make a parser begin anew. */
static bool is_control(char c)
{
	unsigned char u = (unsigned char)c;

	return (u < 0x20 && c != '\t' && c != '\n' && c != '\r') || u == 0xff;
}

static enum json_stream_event open_bracket(struct json_stream *s, char c)
{
	if (s->depth == JSON_STREAM_DEPTH)
		return tell(s, JSON_STREAM_TOO_DEEP, JSON_STREAM_SKIP);
	if (c == '{')
		s->curly |= UINT64_C(1) << s->depth;
	else
		s->curly &= ~(UINT64_C(1) << s->depth);
	s->depth++;
	s->state = JSON_STREAM_INSIDE;
	return append(s, c);
}

static enum json_stream_event close_bracket(struct json_stream *s, char c)
{
	enum json_stream_event event = append(s, c);
	bool curly;

	if (event != JSON_STREAM_MORE)
		return event;
	curly = s->curly >> (s->depth - 1) & 1;
	if (curly != (c == '}'))
		return tell(s, JSON_STREAM_BAD, JSON_STREAM_OUTSIDE);
	if (--s->depth)
		return JSON_STREAM_MORE;
	return tell(s, JSON_STREAM_VALUE, JSON_STREAM_OUTSIDE);
}

/* A line of no JSON is told once, and begins no value unless a bracket comes. */
static enum json_stream_event stray_byte(struct json_stream *s, char c)
{
	if ((unsigned char)c == 0xff || c == '\n')
		return tell(s, JSON_STREAM_BAD, JSON_STREAM_OUTSIDE);
	if (s->len >= STRAY_MAX)
		return JSON_STREAM_MORE;
	return append(s, (unsigned char)c < 0x20 ? ' ' : c);
}

static enum json_stream_event outside_byte(struct json_stream *s, char c)
{
	if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
		return JSON_STREAM_MORE;
	begin_anew(s);
	if (c == '{' || c == '[')
		return open_bracket(s, c);
	s->state = JSON_STREAM_STRAY;
	return stray_byte(s, c);
}

static enum json_stream_event inside_byte(struct json_stream *s, char c)
{
	switch (c) {
	case '{':
	case '[':
		return open_bracket(s, c);
	case '}':
	case ']':
		return close_bracket(s, c);
	case '"':
	case '\'':
		s->quote = c;
		s->state = JSON_STREAM_STRING;
		return append(s, '"');
	default:
		if (is_control(c))
			return tell(s, JSON_STREAM_BAD, JSON_STREAM_OUTSIDE);
		return append(s, c);
	}
}

/* In single quotes a " is an ordinary character, and \' is one; standard JSON has it the other way round. */
static enum json_stream_event string_byte(struct json_stream *s, char c)
{
	enum json_stream_event event;

	if ((unsigned char)c < 0x20 || (unsigned char)c == 0xff)
		return tell(s, JSON_STREAM_BAD, JSON_STREAM_OUTSIDE);
	if (s->escape) {
		s->escape = false;
		if (c == '\'')
			return append(s, c);
		event = append(s, '\\');
		return event == JSON_STREAM_MORE ? append(s, c) : event;
	}
	if (c == '\\') {
		s->escape = true;
		return JSON_STREAM_MORE;
	}
	if (c == s->quote) {
		s->state = JSON_STREAM_INSIDE;
		return append(s, '"');
	}
	if (c == '"') {
		event = append(s, '\\');
		return event == JSON_STREAM_MORE ? append(s, c) : event;
	}
	return append(s, c);
}

static enum json_stream_event one_byte(struct json_stream *s, char c, bool *again)
{
	switch (s->state) {
	case JSON_STREAM_OUTSIDE:
		return outside_byte(s, c);
	case JSON_STREAM_INSIDE:
		return inside_byte(s, c);
	case JSON_STREAM_STRING:
		return string_byte(s, c);
	case JSON_STREAM_STRAY:
		/* A bracket may begin something good: it is looked at again, once this is told. */
		*again = c == '{' || c == '[';
		return *again ? tell(s, JSON_STREAM_BAD, JSON_STREAM_OUTSIDE) : stray_byte(s, c);
	case JSON_STREAM_SKIP:
		if (c == '\n')
			s->state = JSON_STREAM_OUTSIDE;
		break;
	}
	return JSON_STREAM_MORE;
}

enum json_stream_event json_stream_feed(struct json_stream *s, const char *data, size_t len, size_t *used)
{
	if (s->done)
		begin_anew(s);
	for (size_t i = 0; i < len; i++) {
		bool again = false;
		enum json_stream_event event = one_byte(s, data[i], &again);

		if (event == JSON_STREAM_MORE)
			continue;
		/* append() does not know what comes after it. */
		if (event == JSON_STREAM_TOO_LONG || event == JSON_STREAM_NO_MEMORY)
			tell(s, event, JSON_STREAM_SKIP);
		*used = again ? i : i + 1;
		return event;
	}
	*used = len;
	return JSON_STREAM_MORE;
}
