/* SPDX-License-Identifier: MIT */
/*
 * ctl_balloon.c - membackctl: inflate, deflate and set-size, and the waiting for the guest.
 */
#include "control/ctl.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAGE     UINT64_C(4096)
#define LOOK_MS  200   /* between two looks at the VM, unless an event comes first */
#define STALL_MS 10000 /* without --timeout: nothing has moved for so long means it will not */
#define BAR      24

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- waiting ------------------------------------------------------------------------------------------- */

struct wait {
	struct qmp_client *client;
	json_t *status; /* the last look */
	uint64_t start, target, actual;
	int64_t began_ms, moved_ms;
	uint64_t timeout_ms; /* 0: none */
	bool terminal;       /* progress may be shown */
	bool drawn;          /* a line of progress is on the terminal */
	bool told;           /* that it is held back */
};

static bool wait_look(struct wait *w)
{
	uint64_t actual;

	json_decref(w->status);
	w->status = ctl_call(w->client, "memback-status", NULL);
	if (!w->status)
		return false;
	actual = ctl_u64(w->status, "actual");
	if (actual != w->actual)
		w->moved_ms = now_ms();
	w->actual = actual;
	return true;
}

static uint64_t distance(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

static unsigned percent_done(const struct wait *w)
{
	uint64_t all = distance(w->start, w->target), left = distance(w->actual, w->target);

	if (left >= all)
		return 0;
	/* In pages, so that nothing overflows. */
	return (unsigned)((all - left) / PAGE * 100 / (all / PAGE ? all / PAGE : 1));
}

static void wait_erase(struct wait *w)
{
	if (w->drawn)
		fputs("\r\033[K", stderr);
	w->drawn = false;
}

static void wait_draw(struct wait *w)
{
	const json_t *waiting = json_object_get(w->status, "waiting");
	unsigned percent = percent_done(w), filled = percent * BAR / 100;
	char bar[BAR + 1];

	if (!w->terminal)
		return;
	memset(bar, '.', BAR);
	memset(bar, '#', filled);
	bar[BAR] = '\0';
	wait_erase(w);
	fprintf(stderr, "[%s] %3u %%  actual %s, target %s", bar, percent, ctl_size(w->actual).text,
		ctl_size(w->target).text);
	if (waiting)
		fprintf(stderr, ", held back: the %s lacks %s", ctl_string(waiting, "reason"),
			ctl_size(ctl_u64(waiting, "missing")).text);
	fflush(stderr);
	w->drawn = true;
}

/* Where there is no terminal to draw on, once. */
static void wait_tell(struct wait *w)
{
	const json_t *waiting = json_object_get(w->status, "waiting");

	if (!waiting || w->told || w->terminal)
		return;
	fprintf(stderr, "held back: the %s lacks %s; waiting for it\n", ctl_string(waiting, "reason"),
		ctl_size(ctl_u64(waiting, "missing")).text);
	w->told = true;
}

/* Why nothing moves, in words that lead on. */
static void explain(const struct wait *w, char *text, size_t size)
{
	const json_t *waiting = json_object_get(w->status, "waiting");

	if (waiting)
		snprintf(text, size, "the %s lacks %s: inflate another VM of the pool first",
			 ctl_string(waiting, "reason"), ctl_size(ctl_u64(waiting, "missing")).text);
	else if (!strcmp(ctl_string(w->status, "status"), "paused"))
		snprintf(text, size, "the VM is paused: 'membackctl cont' lets it go on");
	else if (json_is_true(json_object_get(w->status, "broken")))
		snprintf(text, size, "the guest broke the balloon's protocol, and must reset it");
	else if (json_is_false(json_object_get(w->status, "driver")))
		snprintf(text, size, "the guest runs no balloon driver");
	else if (w->actual > w->target)
		snprintf(text, size, "the guest stopped cooperating: it may need what it still has");
	else
		snprintf(text, size, "the guest stopped taking memory back");
}

static int wait_gave_up(struct wait *w, const char *when)
{
	char why[200];

	wait_erase(w);
	explain(w, why, sizeof(why));
	return ctl_fail("%s after %s of %s (%u %%): actual %s, target %s, %s", when,
			ctl_size(distance(w->actual, w->start)).text,
			ctl_size(distance(w->target, w->start)).text, percent_done(w), ctl_size(w->actual).text,
			ctl_size(w->target).text, why);
}

static int wait_changed(struct wait *w, uint64_t target)
{
	wait_erase(w);
	return ctl_fail("another client has set the target to %s meanwhile: actual is %s",
			ctl_size(target).text, ctl_size(w->actual).text);
}

/* 0: there; 1: given up, and said so; -1: go on. */
static int wait_judge(struct wait *w)
{
	uint64_t target = ctl_u64(w->status, "target");
	int64_t now = now_ms();

	if (target != w->target)
		return wait_changed(w, target);
	if (w->actual == w->target)
		return 0;
	if (w->timeout_ms && (uint64_t)(now - w->began_ms) >= w->timeout_ms)
		return wait_gave_up(w, "time is up");
	if (!w->timeout_ms && !json_object_get(w->status, "waiting") && now - w->moved_ms >= STALL_MS)
		return wait_gave_up(w, "nothing moves any more");
	return -1;
}

/* Until something is told, or it is time for the next look. Returns 0, or 1 if the VM is gone. */
static int wait_event(struct wait *w)
{
	struct mb_error err;
	json_t *event;
	int rc = qmp_client_event(w->client, LOOK_MS, &event, &err);

	if (rc > 0) {
		bool ended = !strcmp(ctl_string(event, "event"), "SHUTDOWN");

		json_decref(event);
		if (ended) {
			wait_erase(w);
			return ctl_fail("the VM has ended: its actual size was %s last",
					ctl_size(w->actual).text);
		}
	} else if (rc < 0) {
		wait_erase(w);
		return ctl_fail("%s", err.text);
	}
	return 0;
}

static int wait_run(struct wait *w)
{
	int verdict;

	for (;;) {
		if (!wait_look(w)) {
			wait_erase(w);
			return 1;
		}
		wait_draw(w);
		wait_tell(w);
		verdict = wait_judge(w);
		if (verdict >= 0)
			break;
		if (wait_event(w))
			return 1;
	}
	wait_erase(w);
	return verdict;
}

/* ---- setting the target -------------------------------------------------------------------------------- */

static void say(const struct ctl_options *o, const json_t *status, uint64_t before)
{
	uint64_t target = ctl_u64(status, "target"), actual = ctl_u64(status, "actual");

	if (o->json)
		ctl_print_json(status);
	else if (target == actual)
		printf("target and actual are %s\n", ctl_size(target).text);
	else
		printf("target is %s (was %s), actual is %s: the guest has been asked\n", ctl_size(target).text,
		       ctl_size(before).text, ctl_size(actual).text);
}

static int set_target(const struct ctl_options *o, struct qmp_client *client, const json_t *before,
		      uint64_t target)
{
	struct wait w = {
	    .client = client,
	    .start = ctl_u64(before, "actual"),
	    .actual = ctl_u64(before, "actual"),
	    .target = (target + PAGE - 1) / PAGE * PAGE,
	    .began_ms = now_ms(),
	    .moved_ms = now_ms(),
	    .timeout_ms = o->timeout_s * 1000,
	    .terminal = isatty(STDERR_FILENO),
	};
	json_t *result = ctl_call(client, "balloon", json_pack("{s:I}", "value", (json_int_t)target));
	int status;

	if (!result)
		return 1;
	json_decref(result);
	status = o->wait ? wait_run(&w) : wait_look(&w) ? 0 : 1;
	if (!status || (o->json && w.status))
		say(o, w.status, ctl_u64(before, "target"));
	json_decref(w.status);
	return status;
}

static int parse_size(const char *text, uint64_t *out)
{
	int rc = size_parse(text, out);

	if (rc == -EDOM)
		return ctl_fail(
		    "'%s' is no whole number of bytes: write it without a fraction, in a smaller unit", text);
	if (rc || *out > INT64_MAX)
		return ctl_fail("'%s' is no size: give bytes, or a number with K, M, G or T, such as 512M",
				text);
	if (!*out)
		return ctl_fail("a size of 0 makes no sense here: give one such as 512M");
	return 0;
}

/* The size on the command line, and the VM's status before anything is done. */
static int prepare(struct qmp_client *client, const char *text, uint64_t *size, json_t **before)
{
	if (parse_size(text, size))
		return 1;
	*before = ctl_call(client, "memback-status", NULL);
	return *before ? 0 : 1;
}

int ctl_inflate(const struct ctl_options *o, struct qmp_client *client, char **args)
{
	json_t *before;
	uint64_t size, target;
	int status;

	if (prepare(client, args[0], &size, &before))
		return 1;
	target = ctl_u64(before, "target");
	if (size >= target)
		status = ctl_fail("the VM's target is %s: it cannot give %s more of that",
				  ctl_size(target).text, ctl_size(size).text);
	else
		status = set_target(o, client, before, target - size);
	json_decref(before);
	return status;
}

int ctl_deflate(const struct ctl_options *o, struct qmp_client *client, char **args)
{
	uint64_t size, target, maximum;
	json_t *before;
	int status;

	if (prepare(client, args[0], &size, &before))
		return 1;
	target = ctl_u64(before, "target");
	maximum = ctl_u64(before, "maximum");
	if (size > maximum - target)
		status = ctl_fail("the VM's target is %s of at most %s: %s can be given back, not %s",
				  ctl_size(target).text, ctl_size(maximum).text,
				  ctl_size(maximum - target).text, ctl_size(size).text);
	else
		status = set_target(o, client, before, target + size);
	json_decref(before);
	return status;
}

int ctl_set_size(const struct ctl_options *o, struct qmp_client *client, char **args)
{
	uint64_t size, maximum;
	json_t *before;
	int status;

	if (prepare(client, args[0], &size, &before))
		return 1;
	maximum = ctl_u64(before, "maximum");
	if (size > maximum)
		status = ctl_fail("the VM's maximum is %s: it cannot have %s", ctl_size(maximum).text,
				  ctl_size(size).text);
	else
		status = set_target(o, client, before, size);
	json_decref(before);
	return status;
}
