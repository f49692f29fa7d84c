/* SPDX-License-Identifier: MIT */
/*
 * qmp_dispatch.c - what a QMP server answers to one input.
 *
 * The messages are QEMU's, word for word where a client might look at them.
 */
#include "control/qmp_dispatch.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The version whose shapes we follow. */
#define QEMU_MAJOR 7
#define QEMU_MINOR 2
#define QEMU_MICRO 0

static const char generic[] = "GenericError";
static const char not_found[] = "CommandNotFound";

/* {"qemu": ..., "package": ...}: what query-version answers. */
static json_t *version(void)
{
	return json_pack("{s:{s:i,s:i,s:i},s:o}", "qemu", "micro", QEMU_MICRO, "minor", QEMU_MINOR, "major",
			 QEMU_MAJOR, "package", json_sprintf("memback-%s", mb_version()));
}

json_t *qmp_greeting(void)
{
	return json_pack("{s:{s:o,s:[]}}", "QMP", "version", version(), "capabilities");
}

json_t *qmp_fail(struct qmp_error *err, const char *fmt, ...)
{
	va_list args;

	err->class = generic;
	va_start(args, fmt);
	vsnprintf(err->desc, sizeof(err->desc), fmt, args);
	va_end(args);
	return NULL;
}

/*
 * For a message that quotes the client: jansson takes valid UTF-8 only, and a quotation may have been cut in
 * the middle of a character.
 */
static json_t *clean_string(const char *text)
{
	json_t *string = json_string(text);
	char clean[sizeof(((struct qmp_error *)0)->desc)];
	size_t n = 0;

	if (string)
		return string;
	for (; text[n] && n + 1 < sizeof(clean); n++)
		clean[n] = (text[n] >= 0x20 && text[n] < 0x7f) ? text[n] : '?';
	clean[n] = '\0';
	return json_string(clean);
}

static json_t *error_answer(const char *class, const char *desc)
{
	return json_pack("{s:{s:s,s:o}}", "error", "class", class, "desc", clean_string(desc));
}

/* ---- arguments --------------------------------------------------------------------------------------- */

static bool is_of_type(const json_t *value, json_type type)
{
	if (type == JSON_NULL)
		return true;
	if (type == JSON_TRUE || type == JSON_FALSE)
		return json_is_boolean(value);
	if (type == JSON_REAL)
		return json_is_number(value);
	return json_typeof(value) == type;
}

static const char *type_name(json_type type)
{
	switch (type) {
	case JSON_OBJECT:
		return "object";
	case JSON_ARRAY:
		return "array";
	case JSON_STRING:
		return "string";
	case JSON_INTEGER:
		return "integer";
	case JSON_REAL:
		return "number";
	case JSON_TRUE:
	case JSON_FALSE:
		return "boolean";
	case JSON_NULL:
		break;
	}
	return "any";
}

static const struct qmp_arg *arg_find(const struct qmp_arg *list, const char *name)
{
	for (unsigned i = 0; i < QMP_ARGS_MAX && list[i].name; i++)
		if (!strcmp(list[i].name, name))
			return &list[i];
	return NULL;
}

static bool args_fit(const struct qmp_arg *list, json_t *args, struct qmp_error *err)
{
	const char *name;
	json_t *value;

	for (unsigned i = 0; i < QMP_ARGS_MAX && list[i].name; i++) {
		value = json_object_get(args, list[i].name);
		if (!value && !list[i].optional) {
			qmp_fail(err, "Parameter '%s' is missing", list[i].name);
			return false;
		}
		if (value && !is_of_type(value, list[i].type)) {
			qmp_fail(err, "Invalid parameter type for '%s', expected: %s", list[i].name,
				 type_name(list[i].type));
			return false;
		}
	}
	json_object_foreach(args, name, value)
	{
		if (!arg_find(list, name)) {
			qmp_fail(err, "Parameter '%.200s' is unexpected", name);
			return false;
		}
	}
	return true;
}

/* ---- the protocol's own commands ----------------------------------------------------------------------- */

struct builtin {
	const char *name;
	json_t *(*run)(struct qmp_session *session, const json_t *args, struct qmp_error *err);
	struct qmp_arg args[QMP_ARGS_MAX];
};

static json_t *run_capabilities(struct qmp_session *session, const json_t *args, struct qmp_error *err)
{
	const json_t *enable = json_object_get(args, "enable");

	if (session->negotiated) {
		qmp_fail(err, "Capabilities negotiation is already complete, command ignored");
		err->class = not_found;
		return NULL;
	}
	if (json_array_size(enable))
		return qmp_fail(err, "Capability '%.100s' is not available: the greeting offers none",
				json_is_string(json_array_get(enable, 0))
				    ? json_string_value(json_array_get(enable, 0))
				    : "?");
	session->negotiated = true;
	return json_object();
}

static json_t *run_query_version(struct qmp_session *session, const json_t *args, struct qmp_error *err)
{
	(void)session;
	(void)args;
	(void)err;
	return version();
}

static json_t *run_query_commands(struct qmp_session *session, const json_t *args, struct qmp_error *err);

static json_t *run_query_events(struct qmp_session *session, const json_t *args, struct qmp_error *err)
{
	const char *const *events = session->config->events;
	json_t *list = json_array();

	(void)args;
	(void)err;
	for (unsigned i = 0; events && events[i]; i++)
		json_array_append_new(list, json_pack("{s:s}", "name", events[i]));
	return list;
}

static const struct builtin builtins[] = {
    {"qmp_capabilities", run_capabilities, {{"enable", JSON_ARRAY, true}}},
    {"query-version", run_query_version, {{0}}},
    {"query-commands", run_query_commands, {{0}}},
    {"query-events", run_query_events, {{0}}},
};
#define BUILTINS (sizeof(builtins) / sizeof(builtins[0]))

static json_t *run_query_commands(struct qmp_session *session, const json_t *args, struct qmp_error *err)
{
	json_t *list = json_array();

	(void)args;
	(void)err;
	for (unsigned i = 0; i < BUILTINS; i++)
		json_array_append_new(list, json_pack("{s:s}", "name", builtins[i].name));
	for (const struct qmp_command *c = session->config->commands; c && c->name; c++)
		json_array_append_new(list, json_pack("{s:s}", "name", c->name));
	return list;
}

/* ---- one command --------------------------------------------------------------------------------------- */

static const struct builtin *builtin_find(const char *name)
{
	for (unsigned i = 0; i < BUILTINS; i++)
		if (!strcmp(builtins[i].name, name))
			return &builtins[i];
	return NULL;
}

static const struct qmp_command *command_find(const struct qmp_config *config, const char *name)
{
	for (const struct qmp_command *c = config->commands; c && c->name; c++)
		if (!strcmp(c->name, name))
			return c;
	return NULL;
}

static json_t *run_command(struct qmp_session *session, const char *name, json_t *args, struct qmp_error *err)
{
	const struct builtin *builtin = builtin_find(name);
	const struct qmp_command *command = builtin ? NULL : command_find(session->config, name);

	if (!session->negotiated && strcmp(name, "qmp_capabilities")) {
		qmp_fail(err, "Expecting capabilities negotiation with 'qmp_capabilities'");
		err->class = not_found;
		return NULL;
	}
	if (!builtin && !command) {
		qmp_fail(err, "The command %.200s has not been found", name);
		err->class = not_found;
		return NULL;
	}
	if (!args_fit(builtin ? builtin->args : command->args, args, err))
		return NULL;
	if (builtin)
		return builtin->run(session, args, err);
	return command->run(session->config->arg, args, err);
}

/* The name, or NULL with *err filled. */
static const char *request_check(json_t *request, struct qmp_error *err)
{
	const json_t *execute = json_object_get(request, "execute");
	const json_t *args = json_object_get(request, "arguments");
	const char *name;
	json_t *value;

	json_object_foreach(request, name, value)
	{
		if (strcmp(name, "execute") && strcmp(name, "arguments") && strcmp(name, "id")) {
			qmp_fail(err, "QMP input member '%.200s' is unexpected", name);
			return NULL;
		}
	}
	if (!execute)
		qmp_fail(err, "QMP input lacks member 'execute'");
	else if (!json_is_string(execute))
		qmp_fail(err, "QMP input member 'execute' must be a string");
	else if (args && !json_is_object(args))
		qmp_fail(err, "QMP input member 'arguments' must be an object");
	else
		return json_string_value(execute);
	return NULL;
}

static json_t *answer_request(struct qmp_session *session, json_t *request)
{
	struct qmp_error err = {generic, "out of memory"};
	const char *name = request_check(request, &err);
	json_t *id = json_object_get(request, "id");
	json_t *args = json_incref(json_object_get(request, "arguments"));
	json_t *result = NULL;
	json_t *answer;

	if (!args)
		args = json_object();
	if (name && args)
		result = run_command(session, name, args, &err);
	json_decref(args);
	answer = result ? json_pack("{s:o}", "return", result) : error_answer(err.class, err.desc);
	if (answer && id)
		json_object_set(answer, "id", id);
	return answer;
}

static json_t *answer_text(struct qmp_session *session, const char *text, size_t len)
{
	json_error_t error;
	json_t *request = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	char desc[300];
	json_t *answer;

	if (!request) {
		snprintf(desc, sizeof(desc), "JSON parse error, %s", error.text);
		return error_answer(generic, desc);
	}
	if (json_is_object(request))
		answer = answer_request(session, request);
	else
		answer = error_answer(generic, "QMP input must be a JSON object");
	json_decref(request);
	return answer;
}

/* A number or string alone is JSON, and yet no command. */
static json_t *answer_bad(const char *text, size_t len)
{
	json_t *scalar;
	char desc[160];

	if (!len)
		return error_answer(generic, "JSON parse error, stray byte 0xff");
	scalar = json_loadb(text, len, JSON_DECODE_ANY, NULL);
	if (scalar) {
		json_decref(scalar);
		return error_answer(generic, "QMP input must be a JSON object");
	}
	snprintf(desc, sizeof(desc), "JSON parse error, stray '%.64s'", text);
	return error_answer(generic, desc);
}

json_t *qmp_dispatch(struct qmp_session *session, enum json_stream_event event, const char *text, size_t len)
{
	switch (event) {
	case JSON_STREAM_VALUE:
		return answer_text(session, text, len);
	case JSON_STREAM_BAD:
		return answer_bad(text, len);
	case JSON_STREAM_TOO_LONG:
		return error_answer(generic, "JSON token size limit exceeded");
	case JSON_STREAM_TOO_DEEP:
		return error_answer(generic, "JSON nesting depth limit exceeded");
	case JSON_STREAM_MORE:
	case JSON_STREAM_NO_MEMORY:
		break;
	}
	return error_answer(generic, "out of memory");
}
