/* SPDX-License-Identifier: MIT */
/* bench_vm.c - see bench_vm.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "bench_vm.h"

#include "bare.h"
#include "control/client.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB      (UINT64_C(1) << 20)
#define READY_S  120
#define EVENT_MS 60000

extern char **environ;

_Noreturn void bench_die(const char *what, const char *why)
{
	fprintf(stderr, "bench-balloon: %s: %s\n", what, why);
	exit(1);
}

void bench_vm_end(struct bench_vm *vm)
{
	qmp_client_close(vm->client);
	kill(vm->pid, SIGTERM);
	waitpid(vm->pid, NULL, 0);
	unlink(vm->serial);
	unlink(vm->socket);
	rmdir(vm->dir);
}

int64_t bench_vm_wait_line(struct bench_vm *vm, const char *words, const char *key)
{
	char line[512], *p;
	int64_t value = -1;

	for (unsigned tries = 0; tries < READY_S * 1000 && value < 0; tries++) {
		FILE *f = fopen(vm->serial, "r");

		if (f && !fseek(f, vm->seen, SEEK_SET))
			while (value < 0 && fgets(line, sizeof(line), f) && strchr(line, '\n')) {
				vm->seen = ftell(f);
				p = strstr(line, words) ? strstr(line, key) : NULL;
				value = p ? strtoll(p + strlen(key), NULL, 10) : -1;
			}
		if (f)
			fclose(f);
		if (value < 0 && (waitpid(vm->pid, NULL, WNOHANG) || usleep(1000)))
			return -1;
	}
	return value;
}

static void spawn(struct bench_vm *vm, const struct bench_vm_config *c)
{
	char memory[32], serial[BENCH_VM_NAMES + 8];
	const char *argv[] = {c->vmm,
			      "--quiet",
			      "--name",
			      c->name,
			      "--memory",
			      memory,
			      c->memory_option,
			      c->from,
			      "--kernel",
			      c->guest,
			      "--append",
			      c->append,
			      "--qmp",
			      vm->socket,
			      "--serial",
			      serial,
			      c->prealloc ? "--prealloc" : NULL,
			      NULL};

	snprintf(memory, sizeof(memory), "%lluM", (unsigned long long)(c->memory / MIB));
	snprintf(serial, sizeof(serial), "file:%s", vm->serial);
	/* posix_spawn() does not write to the strings. */
	if (posix_spawn(&vm->pid, c->vmm, NULL, NULL, (char *const *)(uintptr_t)argv, environ))
		bench_die(c->vmm, "cannot be started");
}

bool bench_vm_start(struct bench_vm *vm, const struct bench_vm_config *config)
{
	struct mb_error err;

	memset(vm, 0, sizeof(*vm));
	strcpy(vm->dir, "/tmp/bench-balloon-XXXXXX");
	if (!mkdtemp(vm->dir))
		bench_die(vm->dir, strerror(errno));
	snprintf(vm->socket, sizeof(vm->socket), "%s/qmp", vm->dir);
	snprintf(vm->serial, sizeof(vm->serial), "%s/serial", vm->dir);
	spawn(vm, config);
	if (bench_vm_wait_line(vm, "balloon: ready", "us=") >= 0 &&
	    !qmp_client_connect(vm->socket, &vm->client, &err))
		return true;
	bench_vm_end(vm);
	return false;
}

int64_t bench_vm_set_size(struct bench_vm *vm, uint64_t bytes)
{
	uint64_t begin = bare_now_ns();
	struct mb_error err;
	json_t *event, *answer;
	bool done = false;

	answer = qmp_client_call(vm->client, "balloon", json_pack("{sI}", "value", (json_int_t)bytes), &err);
	if (!answer)
		bench_die("balloon", err.text);
	json_decref(answer);
	while (!done) {
		json_t *data;

		if (qmp_client_event(vm->client, EVENT_MS, &event, &err) != 1)
			bench_die("BALLOON_CHANGE", "did not come in time");
		data = json_object_get(event, "data");
		done = !strcmp(json_string_value(json_object_get(event, "event")), "BALLOON_CHANGE") &&
		       (uint64_t)json_integer_value(json_object_get(data, "actual")) == bytes;
		json_decref(event);
	}
	return (int64_t)(bare_now_ns() - begin);
}

uint64_t bench_vm_memory(struct bench_vm *vm)
{
	struct mb_error err;
	json_t *answer = qmp_client_call(vm->client, "query-balloon", NULL, &err);
	uint64_t bytes;

	if (!answer)
		bench_die("query-balloon", err.text);
	bytes = (uint64_t)json_integer_value(json_object_get(answer, "actual"));
	json_decref(answer);
	return bytes;
}
