/* SPDX-License-Identifier: MIT */
/*
 * fuzz-qmp.c - whatever a client of the control socket sends: cut into objects, parsed, checked, answered.
 *
 * Two properties are held against every input, besides that nothing breaks: each answer is a JSON object with
 * either a return or an error, and where the packets end makes no difference to the answers.
 *
 * With libFuzzer: LLVMFuzzerTestOneInput(). Without it (FUZZ_REPLAY): a program that makes inputs of its own
 * from a seed, fuzz-qmp [SEED [COUNT]], or replays the files that it is given with -- FILE...
 */
#include "control/qmp_dispatch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LIMIT 4096 /* bytes of an object: small, so that the limit is met */

static json_t *run_echo(void *arg, const json_t *args, struct qmp_error *err)
{
	(void)arg;
	if (json_object_get(args, "fail"))
		return qmp_fail(err, "%s", json_string_value(json_object_get(args, "text")));
	return json_deep_copy(args);
}

static const struct qmp_command commands[] = {
    {"echo",
     run_echo,
     {{"text", JSON_STRING, false},
      {"number", JSON_INTEGER, true},
      {"any", JSON_NULL, true},
      {"list", JSON_ARRAY, true},
      {"fail", JSON_TRUE, true}}},
    {0},
};
static const char *const events[] = {"EVENT", NULL};

#define CHECK(condition)                                                                                       \
	do {                                                                                                   \
		if (!(condition)) {                                                                            \
			fprintf(stderr, "fuzz-qmp: %s does not hold\n", #condition);                           \
			abort();                                                                               \
		}                                                                                              \
	} while (0)

/* All answers as text, one a line. */
struct log {
	char *text;
	size_t len, room;
};

static void log_answer(struct log *log, json_t *answer)
{
	char *line;
	size_t len;

	CHECK(json_is_object(answer));
	CHECK(!json_object_get(answer, "return") != !json_object_get(answer, "error"));
	line = json_dumps(answer, 0);
	CHECK(line);
	CHECK(!strchr(line, '\n'));
	len = strlen(line);
	while (log->len + len + 2 > log->room) {
		log->room = log->room ? 2 * log->room : 4096;
		log->text = realloc(log->text, log->room);
		CHECK(log->text);
	}
	memcpy(log->text + log->len, line, len);
	log->len += len;
	log->text[log->len++] = '\n';
	log->text[log->len] = '\0';
	free(line);
	json_decref(answer);
}

/* Feeds the input in packets of this size. */
static void feed(const char *data, size_t size, size_t packet, struct log *log)
{
	struct qmp_config config = {.commands = commands, .events = events};
	struct qmp_session session = {.config = &config};
	struct json_stream stream;

	json_stream_init(&stream, LIMIT);
	for (size_t at = 0; at < size; at += packet) {
		const char *p = data + at;
		size_t left = size - at < packet ? size - at : packet;

		while (left) {
			size_t used = 0;
			enum json_stream_event event = json_stream_feed(&stream, p, left, &used);

			CHECK(used <= left);
			CHECK(stream.len <= LIMIT);
			p += used;
			left -= used;
			if (event == JSON_STREAM_MORE)
				CHECK(!left);
			else
				log_answer(log, qmp_dispatch(&session, event, stream.text, stream.len));
		}
	}
	json_stream_free(&stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct log whole = {0}, cut = {0};
	size_t packet = size ? 1 + data[0] % 7 : 1;

	feed((const char *)data, size, size ? size : 1, &whole);
	feed((const char *)data, size, packet, &cut);
	CHECK(whole.len == cut.len);
	CHECK(!whole.len || !memcmp(whole.text, cut.text, whole.len));
	free(whole.text);
	free(cut.text);
	return 0;
}

#ifdef FUZZ_REPLAY

static uint64_t next(uint64_t *state)
{
	/* splitmix64 (Steele, Lea, Flood 2014) */
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Pieces that inputs are put together from: good ones, and what breaks them. */
static const char *const pieces[] = {
    "{\"execute\": \"qmp_capabilities\"}",
    "{\"execute\": \"query-commands\", \"id\": 1}",
    "{\"execute\": \"query-events\"}\r\n",
    "{\"execute\": \"query-version\"}",
    "{\"execute\": \"echo\", \"arguments\": {\"text\": \"a\\u00e4\\n\"}}",
    "{'execute': 'echo', 'arguments': {'text': 'it\\'s \"q\"'}}",
    "{\"execute\": \"echo\", \"arguments\": {\"text\": \"\xc3\xa4\", \"fail\": true}}",
    "{\"execute\": \"echo\", \"arguments\": {\"text\": \"t\", \"number\": 1.5}, \"id\": [null]}",
    "{\"exec-oob\": \"echo\"}",
    "{\"execute\": \"nix\", \"id\": {\"a\": -0.0}}",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "\\",
    "\n",
    "\r\n",
    " ",
    ",",
    ":",
    "1e999",
    "99999999999999999999",
    "null",
    "stray",
    "\xff",
    "\xc3",
    "\x01",
    "\\u0000",
    "\\ud800",
    "\"id\": ",
    "\"arguments\": {",
};
#define PIECES (sizeof(pieces) / sizeof(pieces[0]))

static size_t make_input(uint64_t *seed, uint8_t *data, size_t room)
{
	size_t len = 0, parts = next(seed) % 40;

	while (parts--) {
		const char *piece = pieces[next(seed) % PIECES];
		size_t repeat = next(seed) % 50 ? 1 : next(seed) % 6000, n = strlen(piece);

		while (repeat-- && len + n <= room) {
			memcpy(data + len, piece, n);
			len += n;
		}
	}
	for (size_t flips = next(seed) % 4; flips-- && len;)
		data[next(seed) % len] = (uint8_t)next(seed);
	return len;
}

static int replay_file(const char *path)
{
	static uint8_t data[1 << 20];
	FILE *file = fopen(path, "rb");
	size_t len;

	if (!file) {
		perror(path);
		return 1;
	}
	len = fread(data, 1, sizeof(data), file);
	fclose(file);
	return LLVMFuzzerTestOneInput(data, len);
}

static int usage(const char *program, int status)
{
	fprintf(status ? stderr : stdout, "usage: %s [SEED [COUNT]] | -- FILE...\n", program);
	return status;
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	unsigned long count = argc > 2 ? strtoul(argv[2], NULL, 0) : 1500;
	static uint8_t data[1 << 16];

	if (argc > 1 && !strcmp(argv[1], "--")) {
		for (int i = 2; i < argc; i++)
			if (replay_file(argv[i]))
				return 1;
		return 0;
	}
	if (argc > 1 && argv[1][0] == '-')
		return usage(argv[0], !strcmp(argv[1], "--help") ? 0 : 2);
	while (count--) {
		uint8_t *exact;
		size_t len = make_input(&seed, data, sizeof(data));

		/* A block of exactly this size, so that a checker sees one byte too far. */
		exact = malloc(len ? len : 1);
		CHECK(exact);
		memcpy(exact, data, len);
		LLVMFuzzerTestOneInput(exact, len);
		free(exact);
	}
	return 0;
}

#endif
