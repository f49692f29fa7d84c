/* SPDX-License-Identifier: MIT */
/*
 * test-commands.c - the commands of a VM's control socket, over a socket, on a fake VM.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "control/commands_memory.h"
#include "fake-vm.h"
#include "qmp-talk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB     (UINT64_C(1) << 20)
#define GIB     (UINT64_C(1) << 30)
#define TIB     (UINT64_C(1) << 40)
#define PAGE    4096
#define GENERIC "GenericError"

struct fixture {
	char dir[32], path[64];
	struct fake_vm *vm;
	struct talk talk;
};

static struct fixture *start(const struct fake_config *config)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/test-cmd-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/socket", f->dir);
	f->vm = fake_start(config, f->path);
	assert_non_null(f->vm);
	talk_open_negotiated(&f->talk, f->path);
	return f;
}

static void end(struct fixture *f)
{
	talk_close(&f->talk);
	fake_stop(f->vm);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
}

/* The "return" of a command; a new reference. args: JSON, or NULL. */
static json_t *call(struct fixture *f, const char *command, const char *args)
{
	char text[300];
	json_t *answer, *result;

	snprintf(text, sizeof(text), "{\"execute\": \"%s\"%s%s}", command, args ? ", \"arguments\": " : "",
		 args ? args : "");
	answer = talk_ask(&f->talk, text);
	result = json_incref(json_object_get(answer, "return"));
	if (!result)
		fail_msg("%s: %s", text, json_dumps(answer, 0));
	json_decref(answer);
	return result;
}

static void fails(struct fixture *f, const char *command, const char *args, const char *class, const char *word)
{
	char text[300];

	snprintf(text, sizeof(text), "{\"execute\": \"%s\"%s%s}", command, args ? ", \"arguments\": " : "",
		 args ? args : "");
	talk_is_error(talk_ask(&f->talk, text), class, word);
}

static uint64_t number(const json_t *object, const char *name)
{
	assert_true(json_is_integer(json_object_get(object, name)));
	return (uint64_t)json_integer_value(json_object_get(object, name));
}

/* ---- run state ----------------------------------------------------------------------------------------- */

static void test_run_state(void **state)
{
	struct fixture *f = start(&(struct fake_config){.maximum = GIB});

	(void)state;
	talk_is(call(f, "query-status", NULL),
		"{\"status\": \"running\", \"singlestep\": false, \"running\": true}");
	talk_is(call(f, "query-name", NULL), "{\"name\": \"fake\"}");
	talk_send(&f->talk, "{\"execute\": \"stop\"}");
	assert_null(talk_event(&f->talk, "STOP"));
	talk_is(talk_answer(&f->talk), "{\"return\": {}}");
	talk_is(call(f, "query-status", NULL),
		"{\"status\": \"paused\", \"singlestep\": false, \"running\": false}");
	talk_is(call(f, "stop", NULL), "{}"); /* again: nothing happens */
	talk_send(&f->talk, "{\"execute\": \"cont\"}");
	assert_null(talk_event(&f->talk, "RESUME"));
	talk_is(talk_answer(&f->talk), "{\"return\": {}}");
	talk_is(call(f, "cont", NULL), "{}");
	end(f);
}

static void ends_with(const char *command, const char *first, enum vm_reason reason)
{
	struct fixture *f = start(&(struct fake_config){.maximum = GIB});
	char text[100];

	snprintf(text, sizeof(text), "{\"execute\": \"%s\"}", command);
	talk_send(&f->talk, text);
	if (first)
		assert_null(talk_event(&f->talk, first));
	talk_is(talk_event(&f->talk, "SHUTDOWN"), "{\"guest\": false, \"reason\": \"host-qmp-quit\"}");
	talk_is(talk_answer(&f->talk), "{\"return\": {}}");
	assert_null(talk_line(&f->talk));
	fake_wait(f->vm);
	assert_int_equal(fake_end_reason(f->vm), reason);
	end(f);
}

static void test_quit_and_powerdown(void **state)
{
	(void)state;
	ends_with("quit", NULL, VM_HOST_QMP_QUIT);
	ends_with("system_powerdown", "POWERDOWN", VM_HOST_QMP_QUIT);
}

static bool has_name(const json_t *list, const char *name)
{
	const json_t *entry;
	size_t i;

	json_array_foreach(list, i, entry)
	{
		if (!strcmp(json_string_value(json_object_get(entry, "name")), name))
			return true;
	}
	return false;
}

static void test_lists(void **state)
{
	static const char *const commands[] = {
	    "qmp_capabilities",
	    "query-version",
	    "query-commands",
	    "query-events",
	    "query-status",
	    "query-name",
	    "query-balloon",
	    "query-memory-size-summary",
	    "query-memory-devices",
	    "balloon",
	    "qom-list",
	    "qom-get",
	    "qom-set",
	    "stop",
	    "cont",
	    "quit",
	    "system_powerdown",
	    "memback-status",
	    "memback-map",
	    "memback-check",
	};
	static const char *const events[] = {"BALLOON_CHANGE",
					     "STOP",
					     "RESUME",
					     "SHUTDOWN",
					     "POWERDOWN",
					     "MEMBACK_DEFLATE_WAITING",
					     "MEMBACK_DEFLATE_RESUMED",
					     "MEMBACK_OUT_OF_MEMORY",
					     "MEMBACK_MEMORY_AVAILABLE",
					     "MEMORY_DEVICE_SIZE_CHANGE"};
	struct fixture *f = start(&(struct fake_config){.maximum = GIB});
	json_t *list = call(f, "query-commands", NULL);

	(void)state;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		assert_true(has_name(list, commands[i]));
	assert_int_equal(json_array_size(list), sizeof(commands) / sizeof(commands[0]));
	json_decref(list);
	list = call(f, "query-events", NULL);
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		assert_true(has_name(list, events[i]));
	assert_int_equal(json_array_size(list), sizeof(events) / sizeof(events[0]));
	json_decref(list);
	end(f);
}

/* ---- the balloon --------------------------------------------------------------------------------------- */

static void test_balloon(void **state)
{
	struct fixture *f = start(&(struct fake_config){.maximum = GIB, .step = 128 * MIB});
	json_t *data;

	(void)state;
	talk_is(call(f, "query-balloon", NULL), "{\"actual\": 1073741824}");
	talk_is(call(f, "query-memory-size-summary", NULL),
		"{\"base-memory\": 1073741824, \"plugged-memory\": 0}");
	talk_is(call(f, "balloon", "{\"value\": 536870912}"), "{}");
	for (uint64_t actual = 0; actual != GIB / 2; json_decref(data)) {
		data = talk_event(&f->talk, "BALLOON_CHANGE");
		actual = number(data, "actual");
		assert_int_equal(json_object_size(data), 1);
	}
	talk_is(call(f, "query-balloon", NULL), "{\"actual\": 536870912}");
	/* More than the maximum is the maximum; nothing, and less, is an error. */
	talk_is(call(f, "balloon", "{\"value\": 9223372036854775807}"), "{}");
	for (uint64_t actual = 0; actual != GIB; json_decref(data)) {
		data = talk_event(&f->talk, "BALLOON_CHANGE");
		actual = number(data, "actual");
	}
	fails(f, "balloon", "{\"value\": 0}", GENERIC, "Parameter 'target' expects a size");
	fails(f, "balloon", "{\"value\": -1}", GENERIC, "Parameter 'target' expects a size");
	talk_is(call(f, "query-balloon", NULL), "{\"actual\": 1073741824}");
	end(f);
}

static void test_deflation_that_waits(void **state)
{
	struct fixture *f = start(&(struct fake_config){
	    .maximum = GIB, .step = GIB, .ceiling = 768 * MIB, .ceiling_later = GIB, .ceiling_after = 20});
	json_t *data, *status;

	(void)state;
	talk_is(call(f, "balloon", "{\"value\": 536870912}"), "{}");
	talk_is(talk_event(&f->talk, "BALLOON_CHANGE"), "{\"actual\": 536870912}");
	talk_is(call(f, "balloon", "{\"value\": 1073741824}"), "{}");
	talk_is(
	    talk_event(&f->talk, "MEMBACK_DEFLATE_WAITING"),
	    "{\"actual\": 805306368, \"target\": 1073741824, \"missing\": 268435456, \"reason\": \"budget\"}");
	status = call(f, "memback-status", NULL);
	if (number(status, "actual") != GIB) /* it may have gone on meanwhile */
		talk_is(json_incref(json_object_get(status, "waiting")),
			"{\"reason\": \"budget\", \"missing\": 268435456}");
	json_decref(status);
	do {
		status = call(f, "memback-status", NULL);
		data = json_incref(json_object_get(status, "waiting"));
		json_decref(status);
		json_decref(data);
	} while (data);
	talk_is(call(f, "query-balloon", NULL), "{\"actual\": 1073741824}");
	end(f);
}

/* A size beyond JSON's integers is left out; the event keeps its data. */
static void test_a_size_that_does_not_fit(void **state)
{
	struct fixture *f = start(&(struct fake_config){.maximum = UINT64_MAX - 4095, .step = PAGE});

	(void)state;
	talk_send(&f->talk, "{\"execute\": \"balloon\", \"arguments\": {\"value\": 1073741824}}");
	talk_is(talk_event(&f->talk, "BALLOON_CHANGE"), "{}");
	end(f);
}

static void test_waiting_and_going_on_are_told(void **state)
{
	struct fixture *f = start(&(struct fake_config){
	    .maximum = GIB, .step = GIB, .ceiling = 768 * MIB, .ceiling_later = GIB, .ceiling_after = 3});

	(void)state;
	talk_is(call(f, "balloon", "{\"value\": 536870912}"), "{}");
	talk_is(talk_event(&f->talk, "BALLOON_CHANGE"), "{\"actual\": 536870912}");
	talk_send(&f->talk, "{\"execute\": \"balloon\", \"arguments\": {\"value\": 1073741824}}");
	json_decref(talk_event(&f->talk, "MEMBACK_DEFLATE_WAITING"));
	talk_is(talk_event(&f->talk, "MEMBACK_DEFLATE_RESUMED"),
		"{\"actual\": 805306368, \"target\": 1073741824}");
	talk_is(talk_event(&f->talk, "BALLOON_CHANGE"), "{\"actual\": 1073741824}");
	end(f);
}

/* ---- statistics ---------------------------------------------------------------------------------------- */

struct stats {
	uint64_t last_update_s;
	unsigned known;
	uint64_t values[BALLOON_STATS];
};

static void set_stats(void *arg, struct vm *vm, struct qmp *qmp)
{
	struct stats *s = arg;

	(void)qmp;
	fake_set_stats(vm, s->last_update_s, s->known, s->values);
}

static void test_guest_statistics(void **state)
{
	static const char *const paths[] = {"/machine/peripheral/balloon0",
					    "/machine/peripheral-anon/device[0]"};
	struct fixture *f = start(&(struct fake_config){.maximum = GIB, .step = GIB});
	/* Tag 4 is free memory, 5 total; tag 6 was sent as unset. */
	struct stats stats = {.last_update_s = 1234567, .known = 1u << 4 | 1u << 5 | 1u << 6};
	char args[200];

	(void)state;
	stats.values[4] = 4096;
	stats.values[5] = GIB;
	stats.values[6] = UINT64_MAX;
	for (int i = 0; i < 2; i++) {
		struct stats none = {0};

		fake_call(f->vm, set_stats, &none);
		snprintf(args, sizeof(args), "{\"path\": \"%s\", \"property\": \"guest-stats\"}", paths[i]);
		talk_is(call(f, "qom-get", args), "{\"stats\": {}, \"last-update\": 0}");
		fake_call(f->vm, set_stats, &stats);
		talk_is(call(f, "qom-get", args),
			"{\"stats\": {\"stat-free-memory\": 4096, \"stat-total-memory\": 1073741824}, "
			"\"last-update\": 1234567}");
		snprintf(args, sizeof(args),
			 "{\"path\": \"%s\", \"property\": \"guest-stats-polling-interval\", \"value\": %d}",
			 paths[i], i + 2);
		talk_is(call(f, "qom-set", args), "{}");
		snprintf(args, sizeof(args),
			 "{\"path\": \"%s\", \"property\": \"guest-stats-polling-interval\"}", paths[i]);
		talk_is(call(f, "qom-get", args), i ? "3" : "2");
		snprintf(args, sizeof(args), "{\"path\": \"%s\"}", paths[i]);
		talk_is(call(f, "qom-list", args),
			"[{\"name\": \"type\", \"type\": \"string\"}, "
			"{\"name\": \"guest-stats\", \"type\": \"guest statistics\"}, "
			"{\"name\": \"guest-stats-polling-interval\", \"type\": \"int\"}]");
	}
	end(f);
}

static void test_object_tree(void **state)
{
	struct fixture *f = start(&(struct fake_config){.maximum = GIB});
#define BALLOON "\"path\": \"/machine/peripheral/balloon0\", \"property\": "

	(void)state;
	talk_is(call(f, "qom-list", "{\"path\": \"/\"}"),
		"[{\"name\": \"type\", \"type\": \"string\"}, "
		"{\"name\": \"machine\", \"type\": \"child<memback-machine>\"}]");
	talk_is(call(f, "qom-list", "{\"path\": \"/machine/peripheral\"}"),
		"[{\"name\": \"type\", \"type\": \"string\"}, "
		"{\"name\": \"balloon0\", \"type\": \"child<virtio-balloon-device>\"}]");
	talk_is(call(f, "qom-get", "{" BALLOON "\"type\"}"), "\"virtio-balloon-device\"");
	fails(f, "qom-list", "{\"path\": \"/machine/nix\"}", "DeviceNotFound",
	      "Device '/machine/nix' not found");
	fails(f, "qom-get", "{\"path\": \"/x\", \"property\": \"y\"}", "DeviceNotFound", "'/x'");
	fails(f, "qom-set", "{\"path\": \"/x\", \"property\": \"y\", \"value\": 1}", "DeviceNotFound", "'/x'");
	fails(f, "qom-get", "{" BALLOON "\"nix\"}", GENERIC, "Property 'virtio-balloon-device.nix' not found");
	fails(f, "qom-get", "{\"path\": \"/machine\", \"property\": \"guest-stats\"}", GENERIC, "not found");
	fails(f, "qom-set", "{" BALLOON "\"nix\", \"value\": 1}", GENERIC, "not found");
	fails(f, "qom-set", "{" BALLOON "\"guest-stats\", \"value\": 1}", GENERIC, "is not writable");
	fails(f, "qom-set", "{" BALLOON "\"type\", \"value\": 1}", GENERIC, "is not writable");
	fails(f, "qom-set", "{" BALLOON "\"guest-stats-polling-interval\", \"value\": -2}", GENERIC, "greater");
	fails(f, "qom-set", "{" BALLOON "\"guest-stats-polling-interval\", \"value\": 9999999999}", GENERIC,
	      "big");
	fails(f, "qom-set", "{" BALLOON "\"guest-stats-polling-interval\", \"value\": \"a\"}", GENERIC,
	      "integer");
	fails(f, "qom-set", "{" BALLOON "\"guest-stats-polling-interval\"}", GENERIC, "'value' is missing");
	end(f);
}

/* ---- memback-status ------------------------------------------------------------------------------------ */

static void test_status_says_what_is_known(void **state)
{
	struct fixture *f =
	    start(&(struct fake_config){.maximum = GIB, .step = GIB, .pool_path = "/some/pool"});
	struct stats stats = {.last_update_s = (uint64_t)time(NULL) - 100};
	json_t *s = call(f, "memback-status", NULL);

	(void)state;
	assert_int_equal(number(s, "maximum"), GIB);
	assert_int_equal(number(s, "target"), GIB);
	assert_int_equal(number(s, "actual"), GIB);
	assert_int_equal(number(s, "resident"), GIB / 2);
	assert_int_equal(number(s, "inflated"), 0);
	assert_int_equal(number(s, "pending"), 0);
	assert_int_equal(number(s, "budget"), GIB);
	assert_int_equal(number(s, "budget-used"), GIB);
	assert_int_equal(number(s, "budget-left"), 0);
	assert_int_equal(number(s, "rejected-frames"), 0);
	assert_string_equal(json_string_value(json_object_get(s, "pool")), "/some/pool");
	assert_string_equal(json_string_value(json_object_get(s, "backing")), "anon");
	assert_true(json_is_true(json_object_get(s, "huge-pages")));
	assert_true(json_is_true(json_object_get(s, "driver")));
	assert_null(json_object_get(s, "waiting"));
	assert_null(json_object_get(s, "guest-stats-age"));
	json_decref(s);
	fake_call(f->vm, set_stats, &stats);
	s = call(f, "memback-status", NULL);
	assert_in_range(number(s, "guest-stats-age"), 100, 10000);
	json_decref(s);
	/* A clock that was set back. */
	stats.last_update_s += 100000;
	fake_call(f->vm, set_stats, &stats);
	s = call(f, "memback-status", NULL);
	assert_int_equal(number(s, "guest-stats-age"), 0);
	json_decref(s);
	end(f);
}

static void test_status_leaves_out_what_is_not(void **state)
{
	struct fixture *f = start(&(struct fake_config){.maximum = GIB, .fails = true});
	static const char *const unknown[] = {"resident",    "inflated", "pending", "budget",
					      "budget-used", "backing",  "pool"};
	json_t *s = call(f, "memback-status", NULL);

	(void)state;
	assert_int_equal(number(s, "actual"), GIB);
	assert_true(json_is_false(json_object_get(s, "driver")));
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		assert_null(json_object_get(s, unknown[i]));
	json_decref(s);
	fails(f, "memback-map", NULL, GENERIC, "cannot be looked at");
	fails(f, "memback-check", NULL, GENERIC, "the fake fails");
	end(f);
}

/* ---- memback-map --------------------------------------------------------------------------------------- */

/* Runs ascend without overlap and cover all memory; the sums of their parts are right. */
static void check_map(const json_t *runs, uint64_t maximum, uint64_t inflated, uint64_t resident)
{
	uint64_t end = 0, sum_size = 0, sum_inflated = 0, sum_resident = 0;
	const json_t *run;
	size_t i;

	json_array_foreach(runs, i, run)
	{
		assert_true(number(run, "gpa") >= end);
		end = number(run, "gpa") + number(run, "size");
		sum_size += number(run, "size");
		sum_inflated += number(run, "inflated");
		sum_resident += number(run, "resident");
	}
	assert_int_equal(sum_size, maximum);
	assert_int_equal(sum_inflated, inflated);
	assert_int_equal(sum_resident, resident);
}

static json_t *run_at(const json_t *runs, uint64_t gpa)
{
	json_t *run;
	size_t i;

	json_array_foreach(runs, i, run)
	{
		if (gpa - number(run, "gpa") < number(run, "size"))
			return run;
	}
	return NULL;
}

static const char *state_at(const json_t *runs, uint64_t gpa)
{
	return json_string_value(json_object_get(run_at(runs, gpa), "state"));
}

static void test_map(void **state)
{
	struct fixture *f = start(&(struct fake_config){.maximum = 4 * GIB, .step = 4 * GIB});
	json_t *runs;

	(void)state;
	talk_is(call(f, "balloon", "{\"value\": 2147483648}"), "{}");
	json_decref(talk_event(&f->talk, "BALLOON_CHANGE"));
	/* 2 GiB are left, 1 GiB of it is resident, and half of the first 64 MiB are holes. */
	runs = call(f, "memback-map", "{\"step\": 2097152}");
	check_map(runs, 4 * GIB, 2 * GIB + 32 * MIB, GIB - 32 * MIB);
	assert_string_equal(state_at(runs, 0), "split");
	assert_string_equal(state_at(runs, 64 * MIB), "whole");
	assert_string_equal(state_at(runs, GIB - 1), "whole");
	assert_string_equal(state_at(runs, GIB), "untouched");
	assert_string_equal(state_at(runs, 2 * GIB), "ballooned");
	assert_null(run_at(runs, 3 * GIB)); /* no memory there */
	assert_string_equal(state_at(runs, 4 * GIB), "ballooned");
	/* What is alike is one run: whole, untouched, ballooned below and above the gap; 32 that are split. */
	assert_int_equal(json_array_size(runs), 32 + 4);
	assert_int_equal(number(run_at(runs, 64 * MIB), "size"), GIB - 64 * MIB);
	assert_int_equal(number(run_at(runs, 64 * MIB), "frame"), 64 * MIB / PAGE);
	assert_int_equal(number(run_at(runs, 0), "split"), 2 * MIB);
	json_decref(runs);
	/* A cell in which everything happens at once. */
	runs = call(f, "memback-map", "{\"cells\": 1}");
	check_map(runs, 4 * GIB, 2 * GIB + 32 * MIB, GIB - 32 * MIB);
	assert_string_equal(state_at(runs, 0), "split");
	json_decref(runs);
	end(f);
}

static void test_map_is_bounded(void **state)
{
	struct fixture *f = start(&(struct fake_config){.maximum = 4 * TIB});
	json_t *runs;

	(void)state;
	fails(f, "memback-map", "{\"step\": 4096}", GENERIC, "536870912");
	fails(f, "memback-map", "{\"step\": 0}", GENERIC, "multiple of 4096");
	fails(f, "memback-map", "{\"step\": -4096}", GENERIC, "multiple of 4096");
	fails(f, "memback-map", "{\"step\": 536870913}", GENERIC, "multiple of 4096");
	fails(f, "memback-map", "{\"cells\": 0}", GENERIC, "expects 1 to 8192");
	fails(f, "memback-map", "{\"cells\": 8193}", GENERIC, "expects 1 to 8192");
	fails(f, "memback-map", "{\"cells\": 9, \"step\": 4096}", GENERIC, "exclude");
	runs = call(f, "memback-map", "{\"step\": 536870912}");
	check_map(runs, 4 * TIB, 32 * MIB, 2 * TIB - 32 * MIB);
	assert_in_range(json_array_size(runs), 1, COMMANDS_MAP_CELLS);
	json_decref(runs);
	runs = call(f, "memback-map", "{\"step\": 9223372036854771712}");
	check_map(runs, 4 * TIB, 32 * MIB, 2 * TIB - 32 * MIB);
	json_decref(runs);
	runs = call(f, "memback-map", NULL);
	check_map(runs, 4 * TIB, 32 * MIB, 2 * TIB - 32 * MIB);
	json_decref(runs);
	end(f);
}

/* ---- memback-check ------------------------------------------------------------------------------------- */

static void test_check(void **state)
{
	struct fixture *f = start(&(struct fake_config){.maximum = GIB});
	json_t *result = call(f, "memback-check", NULL);

	(void)state;
	assert_int_equal(number(result, "count"), 0);
	assert_int_equal(json_array_size(json_object_get(result, "discrepancies")), 0);
	assert_int_equal(number(json_object_get(result, "summary"), "ledger"), GIB);
	assert_int_equal(number(json_object_get(result, "summary"), "kernel"), GIB / 2);
	json_decref(result);
	end(f);
}

static void test_check_finds_and_is_bounded(void **state)
{
	struct fixture *f = start(&(struct fake_config){.maximum = GIB, .discrepancies = 3});
	json_t *result = call(f, "memback-check", NULL);
	const json_t *list = json_object_get(result, "discrepancies");

	(void)state;
	assert_int_equal(number(result, "count"), 4); /* the pool is its own: its sums are checked too */
	talk_is(json_incref(json_array_get(list, 1)), "{\"kind\": \"intruder\", \"gpa\": 4096, \"len\": 4096, "
						      "\"text\": \"page 1 is a hole, and resident\"}");
	talk_is(json_incref(json_array_get(list, 3)),
		"{\"kind\": \"budget\", \"len\": 0, \"text\": \"sums differ\"}");
	json_decref(result);
	end(f);
	f = start(&(struct fake_config){.maximum = GIB, .discrepancies = 5000, .pool_path = "/shared"});
	result = call(f, "memback-check", NULL);
	assert_int_equal(number(result, "count"), 5000);
	assert_int_equal(json_array_size(json_object_get(result, "discrepancies")), COMMANDS_CHECK_LIST);
	json_decref(result);
	end(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_run_state),
	    cmocka_unit_test(test_quit_and_powerdown),
	    cmocka_unit_test(test_lists),
	    cmocka_unit_test(test_balloon),
	    cmocka_unit_test(test_deflation_that_waits),
	    cmocka_unit_test(test_a_size_that_does_not_fit),
	    cmocka_unit_test(test_waiting_and_going_on_are_told),
	    cmocka_unit_test(test_guest_statistics),
	    cmocka_unit_test(test_object_tree),
	    cmocka_unit_test(test_status_says_what_is_known),
	    cmocka_unit_test(test_status_leaves_out_what_is_not),
	    cmocka_unit_test(test_map),
	    cmocka_unit_test(test_map_is_bounded),
	    cmocka_unit_test(test_check),
	    cmocka_unit_test(test_check_finds_and_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
