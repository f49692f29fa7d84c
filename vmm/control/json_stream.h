/* SPDX-License-Identifier: MIT */
/*
 * json_stream.h - cuts a stream of bytes into JSON objects and arrays, wherever the packets end.
 *
 * It knows strings and nesting and nothing more, in bounded memory; what it cuts out is then given to a
 * real parser. As QEMU's lexer does, it takes strings in single quotes too, and turns them into standard
 * ones. Not thread-safe.
 */
#ifndef VMM_CONTROL_JSON_STREAM_H
#define VMM_CONTROL_JSON_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_STREAM_DEPTH 64 /* brackets that may be open at once */

enum json_stream_state {
	JSON_STREAM_OUTSIDE, /* between values */
	JSON_STREAM_INSIDE,  /* in an object or array, outside its strings */
	JSON_STREAM_STRING,
	JSON_STREAM_STRAY, /* something else than an object or array, up to the end of its line */
	JSON_STREAM_SKIP,  /* the rest of a line that was given up */
};

struct json_stream {
	size_t limit; /* bytes of the longest value */
	char *text;   /* of the value so far; NUL-terminated when an event says so */
	size_t len, room;
	enum json_stream_state state;
	char quote;     /* of the string that is open */
	bool escape;    /* a backslash came last */
	bool done;      /* the text was handed out: the next byte begins anew */
	unsigned depth; /* open brackets; bit i of curly: the one at depth i is a { */
	uint64_t curly;
};

enum json_stream_event {
	JSON_STREAM_MORE,  /* all bytes are used up */
	JSON_STREAM_VALUE, /* text holds a whole object or array, its brackets balanced */
	JSON_STREAM_BAD,   /* text holds something that is none, cut short perhaps; len 0: nothing, a lone 0xff
				 came, and text is no text */
	JSON_STREAM_TOO_LONG, /* over the limit; the rest of the line is skipped */
	JSON_STREAM_TOO_DEEP, /* over JSON_STREAM_DEPTH; the rest of the line is skipped */
	JSON_STREAM_NO_MEMORY,
};

void json_stream_init(struct json_stream *s, size_t limit);
void json_stream_free(struct json_stream *s);
/*
 * Reads on in data until something can be told; *used is how many bytes that took. Call it again with the
 * rest. text and len are valid until the next call.
 */
enum json_stream_event json_stream_feed(struct json_stream *s, const char *data, size_t len, size_t *used);

#endif
