/* SPDX-License-Identifier: MIT */
/*
 * test-qmp.c - the QMP server: wire rules that clients depend on, hostile clients, its last words.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "control/unix_socket.h"
#include "fake-vm.h"
#include "qmp-talk.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)

#define GENERIC   "GenericError"
#define NOT_FOUND "CommandNotFound"
#define ASK       "{\"execute\": \"query-name\"}"
#define NAME      "{\"return\": {\"name\": \"fake\"}}"

struct fixture {
	char dir[32], path[64];
	struct fake_vm *vm;
	struct talk talk;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct fake_config config = {.maximum = 256 * MIB, .step = 64 * MIB};

	strcpy(f->dir, "/tmp/test-qmp-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->path, sizeof(f->path), "%s/socket", f->dir);
	f->vm = fake_start(&config, f->path);
	if (!f->vm)
		return -1;
	talk_open_negotiated(&f->talk, f->path);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	talk_close(&f->talk);
	fake_stop(f->vm);
	if (rmdir(f->dir)) /* the socket is gone, and nothing is left besides */
		return -1;
	free(f);
	return 0;
}

/* ---- wire rules -------------------------------------------------------------------------------------- */

static void test_greeting_is_one_line_in_one_write(void **state)
{
	struct fixture *f = *state;
	struct talk t;
	char buf[4096];
	ssize_t n;
	json_t *greeting;

	talk_open(&t, f->path);
	n = recv(t.fd, buf, sizeof(buf) - 1, 0);
	assert_true(n > 2);
	buf[n] = '\0';
	assert_string_equal(strchr(buf, '\r'), "\r\n");
	greeting = json_loads(buf, 0, NULL);
	assert_int_equal(json_unpack(greeting, "{s:{s:{s:{s:i,s:i,s:i!},s:s!},s:[!]!}!}", "QMP", "version",
				     "qemu", "major", &(int){0}, "minor", &(int){0}, "micro", &(int){0},
				     "package", &(const char *){NULL}, "capabilities"),
			 0);
	json_decref(greeting);
	talk_close(&t);
}

static void test_negotiation_comes_first_and_once(void **state)
{
	struct fixture *f = *state;
	struct talk t;

	talk_open(&t, f->path);
	json_decref(talk_object(&t));
	talk_is_error(talk_ask(&t, ASK), NOT_FOUND,
		      "Expecting capabilities negotiation with 'qmp_capabilities'");
	talk_is_error(talk_ask(&t, "{\"execute\": \"nonsense\"}"), NOT_FOUND, "Expecting");
	talk_is_error(
	    talk_ask(&t, "{\"execute\": \"qmp_capabilities\", \"arguments\": {\"enable\": [\"oob\"]}}"),
	    GENERIC, "oob");
	talk_is_error(talk_ask(&t, ASK), NOT_FOUND, "Expecting");
	talk_is(talk_ask(&t, "{\"execute\": \"qmp_capabilities\", \"arguments\": {\"enable\": []}, \"id\": 1}"),
		"{\"return\": {}, \"id\": 1}");
	talk_is_error(talk_ask(&t, "{\"execute\": \"qmp_capabilities\"}"), NOT_FOUND,
		      "Capabilities negotiation is already complete, command ignored");
	talk_is(talk_ask(&t, ASK), NAME);
	talk_close(&t);
}

static void test_packets_end_anywhere(void **state)
{
	struct fixture *f = *state;
	static const char text[] = " \r\n{\"execute\": \"query-name\", \"id\": \"a\\\"}{[\\\\\"}\t";

	/* Two commands in a packet, no newline between or after them. */
	talk_send(&f->talk, ASK ASK);
	talk_is(talk_answer(&f->talk), NAME);
	talk_is(talk_answer(&f->talk), NAME);
	for (size_t cut = 1; cut < sizeof(text) - 1; cut++) {
		talk_send_bytes(&f->talk, text, cut);
		talk_send_bytes(&f->talk, text + cut, sizeof(text) - 1 - cut);
		talk_is(talk_answer(&f->talk), "{\"return\": {\"name\": \"fake\"}, \"id\": \"a\\\"}{[\\\\\"}");
	}
	for (const char *c = text; *c; c++)
		talk_send_bytes(&f->talk, c, 1);
	json_decref(talk_answer(&f->talk));
	/* Many in one packet are answered in order. */
	for (int i = 0; i < 300; i++) {
		char ask[80];

		snprintf(ask, sizeof(ask), "{\"execute\": \"query-name\", \"id\": %d}", i);
		talk_send(&f->talk, ask);
	}
	for (int i = 0; i < 300; i++) {
		json_t *answer = talk_answer(&f->talk);

		assert_int_equal(json_integer_value(json_object_get(answer, "id")), i);
		json_decref(answer);
	}
}

static void test_id_of_any_type_is_echoed(void **state)
{
	static const char *const ids[] = {"0",
					  "-1",
					  "2.5",
					  "1e300",
					  "null",
					  "true",
					  "\"\"",
					  "\"\\u00e4\\u20ac\\ud83d\\ude00\"",
					  "[]",
					  "{}",
					  "[1, {\"a\": [null]}]",
					  "9007199254740992"};
	struct fixture *f = *state;
	char text[200], expected[200];

	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		snprintf(text, sizeof(text), "{\"execute\": \"query-name\", \"id\": %s}", ids[i]);
		snprintf(expected, sizeof(expected), "{\"return\": {\"name\": \"fake\"}, \"id\": %s}", ids[i]);
		talk_is(talk_ask(&f->talk, text), expected);
		snprintf(text, sizeof(text), "{\"execute\": \"nix\", \"id\": %s}", ids[i]);
		snprintf(
		    expected, sizeof(expected),
		    "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"The command nix has not been "
		    "found\"}, \"id\": %s}",
		    ids[i]);
		talk_is(talk_ask(&f->talk, text), expected);
	}
}

static void test_requests_are_checked_in_qemu_s_words(void **state)
{
	static const struct {
		const char *ask, *class, *desc;
	} cases[] = {
	    {"{}", GENERIC, "QMP input lacks member 'execute'"},
	    {"{\"foo\": 1}", GENERIC, "QMP input member 'foo' is unexpected"},
	    {"{\"execute\": \"query-name\", \"bar\": 1}", GENERIC, "QMP input member 'bar' is unexpected"},
	    {"{\"execute\": 5}", GENERIC, "QMP input member 'execute' must be a string"},
	    {"{\"execute\": null}", GENERIC, "QMP input member 'execute' must be a string"},
	    {"{\"execute\": \"query-name\", \"arguments\": []}", GENERIC,
	     "QMP input member 'arguments' must be an object"},
	    {"{\"execute\": \"query-name\", \"arguments\": {\"x\": 1}}", GENERIC,
	     "Parameter 'x' is unexpected"},
	    {"{\"execute\": \"balloon\"}", GENERIC, "Parameter 'value' is missing"},
	    {"{\"execute\": \"balloon\", \"arguments\": {\"value\": \"1\"}}", GENERIC,
	     "Invalid parameter type for 'value', expected: integer"},
	    {"{\"execute\": \"balloon\", \"arguments\": {\"value\": 1.5}}", GENERIC, "expected: integer"},
	    {"{\"execute\": \"balloon\", \"arguments\": {\"value\": true}}", GENERIC, "expected: integer"},
	    {"{\"execute\": \"balloon\", \"arguments\": {\"value\": 5, \"more\": 1}}", GENERIC,
	     "Parameter 'more' is unexpected"},
	    {"{\"execute\": \"nix\"}", NOT_FOUND, "The command nix has not been found"},
	    {"{\"exec-oob\": \"query-name\"}", GENERIC, "QMP input member 'exec-oob' is unexpected"},
	    {"[]", GENERIC, "QMP input must be a JSON object"},
	    {"[1, 2]", GENERIC, "QMP input must be a JSON object"},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		talk_is_error(talk_ask(&f->talk, cases[i].ask), cases[i].class, cases[i].desc);
	talk_is(talk_ask(&f->talk, ASK), NAME);
}

static void test_bad_json_is_told_and_parsing_goes_on(void **state)
{
	static const char *const bad[] = {
	    "nonsense\n",
	    "}\n",
	    "]\n",
	    "5\n",
	    "\"text\"\n",
	    "\x01\x02\n",
	    "\xff",
	    "{\"execute\": }",
	    "{\"a\": 1,}",
	    "{\"execute\": nonsense}",
	    "{\"execute\": \"query-name\n",
	    "{\"a\": ]",
	    "[}",
	    "{\"execute\": \"query-name\"\xff",
	    "{\"execute\": \"a\", \"execute\": \"b\"}",
	    "{\"execute\": \"\xc3\x28\"}",
	    "{\"execute\": \"\\u0000\"}",
	    "{\"execute\": \"balloon\", \"arguments\": {\"value\": 99999999999999999999999}}",
	    "\xc3\xa4\xc3 stray \xe2\x82\n",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		talk_is_error(talk_ask(&f->talk, bad[i]), GENERIC, "JSON");
		talk_is(talk_ask(&f->talk, ASK), NAME);
	}
	/* In one packet, with the stray word cut off by the object. */
	talk_send(&f->talk, "stray" ASK);
	talk_is_error(talk_answer(&f->talk), GENERIC, "stray 'stray'");
	talk_is(talk_answer(&f->talk), NAME);
}

/* What clients send to make a parser begin anew: alone it is a value of no bytes, first of all or after another. */
static void test_lone_ff_is_no_text(void **state)
{
	struct fixture *f = *state;
	struct talk t;

	talk_open(&t, f->path);
	json_decref(talk_object(&t));
	talk_is_error(talk_ask(&t, "\xff"), GENERIC, "stray byte 0xff");
	talk_is(talk_ask(&t, "{\"execute\": \"qmp_capabilities\"}"), "{\"return\": {}}");
	talk_is(talk_ask(&t, ASK), NAME);
	talk_is_error(talk_ask(&t, "\xff"), GENERIC, "stray byte 0xff");
	talk_is(talk_ask(&t, ASK), NAME);
	talk_close(&t);
}

static void test_single_quotes_as_qemu_takes_them(void **state)
{
	struct fixture *f = *state;

	talk_is(talk_ask(&f->talk, "{'execute': 'query-name', 'id': 'a\"b\\'c\\n'}"),
		"{\"return\": {\"name\": \"fake\"}, \"id\": \"a\\\"b'c\\n\"}");
}

/* ---- bounds ------------------------------------------------------------------------------------------ */

static void test_long_and_deep_input(void **state)
{
	struct fixture *f = *state;
	size_t len = 3u << 20;
	char *text = malloc(len);

	memset(text, 'x', len);
	memcpy(text, "{\"execute\": \"", 13);
	memcpy(text + len - 3, "\"}\n", 3);
	talk_send_bytes(&f->talk, text, len);
	talk_is_error(talk_answer(&f->talk), GENERIC, "size limit");
	talk_is(talk_ask(&f->talk, ASK), NAME);
	/* As long as is allowed: answered as what it is. */
	len = (1u << 20) - 64;
	memcpy(text + len - 3, "\"}\n", 3);
	talk_send_bytes(&f->talk, text, len);
	talk_is_error(talk_answer(&f->talk), NOT_FOUND, "has not been found");

	memset(text, '[', 100000);
	text[100000] = '\n';
	talk_send_bytes(&f->talk, text, 100001);
	talk_is_error(talk_answer(&f->talk), GENERIC, "nesting depth");
	talk_is(talk_ask(&f->talk, ASK), NAME);
	free(text);
}

static void flood(void *arg, struct vm *vm, struct qmp *qmp)
{
	(void)vm;
	for (unsigned i = 0; i < *(unsigned *)arg; i++)
		qmp_event(qmp, "STOP", NULL);
}

static void test_client_that_does_not_read_is_dropped(void **state)
{
	struct fixture *f = *state;
	struct talk deaf;
	unsigned n = 10000;

	talk_open_negotiated(&deaf, f->path);
	/* Some ten megabytes of events, taken by the other client all the while. */
	for (int i = 0; i < 12; i++) {
		fake_call(f->vm, flood, &n);
		for (unsigned k = 0; k < n; k++)
			json_decref(talk_event(&f->talk, "STOP"));
	}
	talk_is(talk_ask(&f->talk, ASK), NAME);
	/* What was under way is still there, and then comes the end. */
	for (n = 0; talk_line(&deaf); n++)
		;
	assert_in_range(n, 1, 12 * 10000 - 1);
	talk_close(&deaf);
}

/* Commands without end, and nothing read: the input stops being taken, and nobody else is held up. */
static void test_deaf_client_s_commands_wait(void **state)
{
	struct fixture *f = *state;
	struct talk deaf;
	ssize_t n, total = 0;

	talk_open_negotiated(&deaf, f->path);
	do {
		struct pollfd p = {deaf.fd, POLLOUT, 0};

		n = send(deaf.fd, ASK ASK ASK ASK, strlen(ASK) * 4, MSG_DONTWAIT | MSG_NOSIGNAL);
		total += n > 0 ? n : 0;
		if (n < 0 && poll(&p, 1, 300) <= 0)
			break;
	} while (total < 100 << 20);
	assert_in_range(total, 1, 20 << 20);
	talk_is(talk_ask(&f->talk, ASK), NAME);
	/* It changes its mind: every command is answered. */
	for (ssize_t i = 0; i < total / (ssize_t)strlen(ASK); i++)
		talk_is(talk_answer(&deaf), NAME);
	talk_close(&deaf);
}

static void test_half_closed_client_gets_its_answers(void **state)
{
	struct fixture *f = *state;
	struct talk t;

	talk_open_negotiated(&t, f->path);
	talk_send(&t, ASK ASK ASK);
	shutdown(t.fd, SHUT_WR);
	for (int i = 0; i < 3; i++)
		talk_is(talk_answer(&t), NAME);
	assert_null(talk_line(&t));
	talk_close(&t);
}

/* More answers than a socket takes at once, and yet so few that commands do not wait for them to be read. */
#define MUCH 400

static void ask_much(struct talk *t, const char *last)
{
	static const char ask[] = "{\"execute\": \"query-commands\"}";
	char *text = malloc(MUCH * sizeof(ask) + 100);

	text[0] = '\0';
	for (int i = 0; i < MUCH; i++)
		memcpy(text + i * (sizeof(ask) - 1), ask, sizeof(ask));
	strcat(text, last);
	talk_send(t, text);
	free(text);
}

static void take_much(struct talk *t)
{
	for (int i = 0; i < MUCH; i++) {
		json_t *answer = talk_answer(t);

		assert_in_range(json_array_size(json_object_get(answer, "return")), 10, 100);
		json_decref(answer);
	}
}

static void test_half_closed_client_gets_all_of_much(void **state)
{
	struct fixture *f = *state;
	struct talk t;

	talk_open_negotiated(&t, f->path);
	ask_much(&t, "");
	shutdown(t.fd, SHUT_WR);
	/* Clients take turns: by then the server has seen the end, and still has something to say. */
	for (int i = 0; i < 2 * MUCH; i++)
		talk_is(talk_ask(&f->talk, ASK), NAME);
	take_much(&t);
	assert_null(talk_line(&t));
	talk_close(&t);
}

static void test_several_clients(void **state)
{
	struct fixture *f = *state;
	struct talk t[40]; /* more than are served at once: the rest waits */
	unsigned n = 1;

	for (int i = 0; i < 31; i++)
		talk_open_negotiated(&t[i], f->path);
	for (int i = 31; i < 40; i++)
		talk_open(&t[i], f->path);
	fake_call(f->vm, flood, &n);
	for (int i = 30; i >= 0; i--)
		json_decref(talk_event(&t[i], "STOP"));
	json_decref(talk_event(&f->talk, "STOP"));
	for (int i = 0; i < 31; i++)
		talk_close(&t[i]);
	for (int i = 31; i < 40; i++) {
		json_decref(talk_object(&t[i]));
		talk_is_error(talk_ask(&t[i], ASK), NOT_FOUND, "Expecting");
		talk_close(&t[i]);
	}
	talk_is(talk_ask(&f->talk, ASK), NAME);
}

/* Who has not negotiated gets no events. */
static void test_events_only_after_negotiation(void **state)
{
	struct fixture *f = *state;
	struct talk t;
	unsigned n = 3;

	talk_open(&t, f->path);
	json_decref(talk_object(&t));
	fake_call(f->vm, flood, &n);
	talk_send(&t, "{\"execute\": \"qmp_capabilities\"}");
	talk_is(talk_object(&t), "{\"return\": {}}");
	fake_call(f->vm, flood, &n);
	assert_null(talk_event(&t, "STOP"));
	talk_close(&t);
}

static void test_clients_that_vanish(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 200; i++) {
		struct talk t;

		talk_open(&t, f->path);
		if (i % 2)
			talk_send(&t, "{\"execute\": \"qmp_capabilities\"}{\"execute\": \"query-comm");
		if (i % 4 == 3)
			talk_send(&t, "ands\"}" ASK ASK ASK ASK);
		talk_close(&t);
	}
	talk_is(talk_ask(&f->talk, ASK), NAME);
}

/* ---- the end ----------------------------------------------------------------------------------------- */

static void test_last_words_arrive(void **state)
{
	struct fixture *f = *state;
	struct talk other;

	talk_open_negotiated(&other, f->path);
	talk_send(&f->talk, "{\"execute\": \"quit\", \"id\": 7}");
	talk_is(talk_answer(&f->talk), "{\"return\": {}, \"id\": 7}");
	assert_null(talk_line(&f->talk));
	talk_is(talk_event(&other, "SHUTDOWN"), "{\"guest\": false, \"reason\": \"host-qmp-quit\"}");
	assert_null(talk_line(&other));
	talk_close(&other);
	fake_wait(f->vm);
	assert_int_equal(access(f->path, F_OK), -1);
}

static void test_last_words_arrive_after_much(void **state)
{
	struct fixture *f = *state;
	struct talk other;

	talk_open_negotiated(&other, f->path);
	ask_much(&f->talk, "{\"execute\": \"quit\", \"id\": 7}");
	json_decref(talk_event(&other, "SHUTDOWN"));
	talk_close(&other);
	take_much(&f->talk);
	talk_is(talk_event(&f->talk, "SHUTDOWN"), "{\"guest\": false, \"reason\": \"host-qmp-quit\"}");
	talk_is(talk_answer(&f->talk), "{\"return\": {}, \"id\": 7}");
	assert_null(talk_line(&f->talk));
}

#define QMP_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    QMP_TEST(test_greeting_is_one_line_in_one_write),
	    QMP_TEST(test_negotiation_comes_first_and_once),
	    QMP_TEST(test_packets_end_anywhere),
	    QMP_TEST(test_id_of_any_type_is_echoed),
	    QMP_TEST(test_requests_are_checked_in_qemu_s_words),
	    QMP_TEST(test_bad_json_is_told_and_parsing_goes_on),
	    QMP_TEST(test_lone_ff_is_no_text),
	    QMP_TEST(test_single_quotes_as_qemu_takes_them),
	    QMP_TEST(test_long_and_deep_input),
	    QMP_TEST(test_client_that_does_not_read_is_dropped),
	    QMP_TEST(test_deaf_client_s_commands_wait),
	    QMP_TEST(test_half_closed_client_gets_its_answers),
	    QMP_TEST(test_half_closed_client_gets_all_of_much),
	    QMP_TEST(test_several_clients),
	    QMP_TEST(test_events_only_after_negotiation),
	    QMP_TEST(test_clients_that_vanish),
	    QMP_TEST(test_last_words_arrive),
	    QMP_TEST(test_last_words_arrive_after_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
