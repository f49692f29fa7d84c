/* SPDX-License-Identifier: MIT */
/*
 * ctl_vm.c - membackctl: a VM's status, check, pause, end, and bare QMP.
 */
#include "control/ctl.h"

#include <string.h>

struct ctl_text ctl_size(uint64_t bytes)
{
	struct ctl_text t;

	size_format(bytes, t.text);
	return t;
}

bool ctl_get_u64(const json_t *object, const char *name, uint64_t *out)
{
	const json_t *value = json_object_get(object, name);

	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*out = (uint64_t)json_integer_value(value);
	return true;
}

uint64_t ctl_u64(const json_t *object, const char *name)
{
	uint64_t value = 0;

	ctl_get_u64(object, name, &value);
	return value;
}

const char *ctl_string(const json_t *object, const char *name)
{
	const char *value = json_string_value(json_object_get(object, name));

	return value ? value : "";
}

void ctl_print_json(const json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	putchar('\n');
}

json_t *ctl_call(struct qmp_client *client, const char *command, json_t *args)
{
	struct mb_error err;
	json_t *result = qmp_client_call(client, command, args, &err);

	if (!result)
		ctl_fail("%s", err.text);
	return result;
}

/* ---- status -------------------------------------------------------------------------------------------- */

static void print_size(const json_t *status, const char *name, const char *what)
{
	uint64_t value;

	if (ctl_get_u64(status, name, &value))
		printf("%-10s %11s  %s\n", name, ctl_size(value).text, what);
}

static void print_budget(const json_t *status)
{
	uint64_t value;

	if (!ctl_get_u64(status, "budget", &value))
		return;
	printf("%-10s %11s ", "budget", ctl_size(value).text);
	printf(" bytes that may be out with VMs");
	if (ctl_get_u64(status, "budget-used", &value))
		printf(": %s used", ctl_size(value).text);
	if (ctl_get_u64(status, "budget-left", &value))
		printf(", %s left", ctl_size(value).text);
	putchar('\n');
}

static void print_out_of_memory(const json_t *status)
{
	const json_t *out = json_object_get(status, "out-of-memory");

	if (out)
		printf(
		    "%-10s %11s  lacking for what the guest touched (%s): it is paused until there is memory\n",
		    "starved", ctl_size(ctl_u64(out, "missing")).text, ctl_string(out, "reason"));
	if (out && json_is_true(json_object_get(out, "everyone")))
		printf("%-10s %11s  all VMs of the pool are: raise its budget, or end one of them\n", "", "");
}

static void print_waiting(const json_t *status)
{
	const json_t *waiting = json_object_get(status, "waiting");
	uint64_t missing;

	if (waiting && ctl_get_u64(waiting, "missing", &missing))
		printf("%-10s %11s  are missing in the %s: a deflation is held back until they are there\n",
		       "waiting", ctl_size(missing).text, ctl_string(waiting, "reason"));
}

static void print_guest(const json_t *status)
{
	uint64_t value;

	if (json_is_false(json_object_get(status, "driver")))
		printf("%-10s %11s  the guest runs no balloon driver (yet): its size stays as it is\n",
		       "driver", "none");
	if (json_is_true(json_object_get(status, "broken")))
		printf("%-10s %11s  the guest broke the protocol: its balloon waits for a reset\n", "driver",
		       "broken");
	if (ctl_get_u64(status, "rejected-frames", &value) && value)
		printf("%-10s %11llu  frames that the guest named were refused\n", "rejected",
		       (unsigned long long)value);
	if (ctl_get_u64(status, "guest-stats-age", &value))
		printf("%-10s %10llus  age of the guest's last sample of statistics\n", "sample",
		       (unsigned long long)value);
}

int ctl_status(const struct ctl_options *o, struct qmp_client *client, char **args)
{
	json_t *status = ctl_call(client, "memback-status", NULL);
	const char *pool;

	(void)args;
	if (!status)
		return 1;
	if (o->json) {
		ctl_print_json(status);
	} else {
		pool = ctl_string(status, "pool");
		printf("%-10s %s, %s\n", "name", ctl_string(status, "name"), ctl_string(status, "status"));
		print_size(status, "maximum", "the VM's memory without a balloon");
		print_size(status, "target", "what it was asked to have");
		print_size(status, "actual", "what it has: the maximum less what the guest has given");
		print_size(status, "plugged", "beside that, of pluggable memory");
		print_size(status, "requested", "what was asked to be plugged");
		print_size(status, "pluggable", "what can be plugged at most");
		print_size(status, "resident", "what the kernel holds for it now");
		print_size(status, "inflated", "given by the guest, and gone back to the kernel");
		print_size(status, "pending",
			   "given by the guest, in pieces too small for the backing to return");
		print_budget(status);
		printf("%-10s %s%s%s%s\n", "memory", ctl_string(status, "backing"),
		       json_is_true(json_object_get(status, "huge-pages")) ? ", huge pages" : ", no huge pages",
		       *pool ? ", pool " : "", pool);
		print_waiting(status);
		print_out_of_memory(status);
		print_guest(status);
	}
	json_decref(status);
	return 0;
}

/* ---- check --------------------------------------------------------------------------------------------- */

int ctl_print_discrepancies(const json_t *list, uint64_t count)
{
	const json_t *d;
	uint64_t gpa, frame;
	size_t i;

	json_array_foreach(list, i, d)
	{
		printf("%-10s", ctl_string(d, "kind"));
		if (ctl_get_u64(d, "gpa", &gpa))
			printf(" gpa 0x%010llx", (unsigned long long)gpa);
		if (ctl_get_u64(d, "frame", &frame))
			printf(" frame %llu", (unsigned long long)frame);
		if (ctl_u64(d, "len"))
			printf(" %s", ctl_size(ctl_u64(d, "len")).text);
		printf(": %s\n", ctl_string(d, "text"));
	}
	if (count > json_array_size(list))
		printf("... and %llu more\n", (unsigned long long)(count - json_array_size(list)));
	return count ? 1 : 0;
}

int ctl_check(const struct ctl_options *o, struct qmp_client *client, char **args)
{
	json_t *result = ctl_call(client, "memback-check", NULL);
	const json_t *list = json_object_get(result, "discrepancies"),
		     *summary = json_object_get(result, "summary");
	uint64_t count = ctl_u64(result, "count");

	(void)args;
	if (!result)
		return 1;
	if (o->json) {
		ctl_print_json(result);
	} else {
		ctl_print_discrepancies(list, count);
		printf("%llu discrepanc%s; the ledger charges %s of %s, the kernel holds %s resident\n",
		       (unsigned long long)count, count == 1 ? "y" : "ies",
		       ctl_size(ctl_u64(summary, "ledger")).text, ctl_size(ctl_u64(summary, "maximum")).text,
		       ctl_size(ctl_u64(summary, "kernel")).text);
	}
	json_decref(result);
	return count ? 1 : 0;
}

/* ---- one command each ---------------------------------------------------------------------------------- */

static int simple(struct qmp_client *client, const char *command)
{
	json_t *result = ctl_call(client, command, NULL);

	json_decref(result);
	return result ? 0 : 1;
}

int ctl_stop(const struct ctl_options *o, struct qmp_client *client, char **args)
{
	(void)o;
	(void)args;
	return simple(client, "stop");
}

int ctl_cont(const struct ctl_options *o, struct qmp_client *client, char **args)
{
	(void)o;
	(void)args;
	return simple(client, "cont");
}

int ctl_quit(const struct ctl_options *o, struct qmp_client *client, char **args)
{
	(void)o;
	(void)args;
	return simple(client, "quit");
}

int ctl_qmp(const struct ctl_options *o, struct qmp_client *client, char **args)
{
	json_error_t error;
	json_t *request = json_loads(args[0], 0, &error);
	struct mb_error err;
	json_t *answer;
	int status;

	(void)o;
	if (!json_is_object(request)) {
		json_decref(request);
		return ctl_fail("that is no JSON object (%s): write it as '{\"execute\": \"query-status\"}'",
				request ? "it is something else" : error.text);
	}
	answer = qmp_client_raw(client, request, &err);
	json_decref(request);
	if (!answer)
		return ctl_fail("%s", err.text);
	ctl_print_json(answer);
	status = json_object_get(answer, "return") ? 0 : 1;
	json_decref(answer);
	return status;
}
