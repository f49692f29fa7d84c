/* SPDX-License-Identifier: MIT */
/*
 * test-membackctl.c - the client program, run as users run it, on a fake VM and on a real pool file.
 *
 * The program's path is in $MEMBACKCTL.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "control/unix_socket.h"
#include "fake-vm.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

struct fixture {
	char dir[32], path[64];
	struct fake_vm *vm;
	/* of the last call */
	char out[65536], err[4096];
	int status;
};

static struct fixture *start(const struct fake_config *config)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/test-ctl-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/socket", f->dir);
	if (config) {
		f->vm = fake_start(config, f->path);
		assert_non_null(f->vm);
	}
	return f;
}

static void end(struct fixture *f)
{
	if (f->vm)
		fake_stop(f->vm);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
}

static void read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, text, size - 1);

	assert_true(n >= 0);
	text[n] = '\0';
	close(fd);
	unlink(path);
}

/* Runs the program through the shell, with these arguments and words before it. */
static int run_with(struct fixture *f, const char *before, const char *args)
{
	char command[1000], out[64], err[64];
	int status;

	snprintf(out, sizeof(out), "%s/out", f->dir);
	snprintf(err, sizeof(err), "%s/err", f->dir);
	snprintf(command, sizeof(command), "%s MEMBACK_SOCKET=%s \"$MEMBACKCTL\" %s >%s 2>%s </dev/null",
		 before, f->path, args, out, err);
	status = system(command);
	assert_true(WIFEXITED(status));
	read_file(out, f->out, sizeof(f->out));
	read_file(err, f->err, sizeof(f->err));
	f->status = WEXITSTATUS(status);
	return f->status;
}

static int run(struct fixture *f, const char *args)
{
	return run_with(f, "", args);
}

static void has(const char *text, const char *word)
{
	if (!strstr(text, word))
		fail_msg("'%s' is not in '%s'", word, text);
}

static void runs(struct fixture *f, const char *args, const char *word)
{
	if (run(f, args))
		fail_msg("membackctl %s: %s", args, f->err);
	has(f->out, word);
}

/* Exit status 1 and one line that has this word. */
static void fails(struct fixture *f, const char *args, const char *word)
{
	assert_int_equal(run(f, args), 1);
	has(f->err, word);
	assert_true(!strncmp(f->err, "membackctl: ", 12));
	assert_ptr_equal(strchr(f->err, '\n'), f->err + strlen(f->err) - 1);
}

static json_t *json_out(struct fixture *f, const char *args)
{
	json_t *value;

	if (run(f, args))
		fail_msg("membackctl %s: %s", args, f->err);
	value = json_loads(f->out, 0, NULL);
	assert_non_null(value);
	return value;
}

static uint64_t member(struct fixture *f, const char *name)
{
	json_t *status = json_out(f, "--json status");
	uint64_t value = (uint64_t)json_integer_value(json_object_get(status, name));

	json_decref(status);
	return value;
}

/* ---- the command line ------------------------------------------------------------------------------------ */

static void test_help_and_version(void **state)
{
	static const char *const commands[] = {"status",      "inflate",     "deflate",    "set-size",    "map",
					       "check",       "stop",        "cont",       "quit",        "qmp",
					       "pool create", "pool status", "pool check", "pool destroy"};
	struct fixture *f = start(NULL);
	char args[64];

	(void)state;
	runs(f, "--version", "membackctl ");
	runs(f, "--help", "Usage: membackctl");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		has(f->out, commands[i]);
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		snprintf(args, sizeof(args), "%s --help", commands[i]);
		runs(f, args, commands[i]);
		snprintf(args, sizeof(args), "help %s", commands[i]);
		runs(f, args, "Usage: membackctl");
	}
	end(f);
}

static void test_bad_command_lines(void **state)
{
	struct fixture *f = start(NULL);

	(void)state;
	fails(f, "", "--help");
	fails(f, "nix", "nix is no command");
	fails(f, "pool", "pool is no command alone");
	fails(f, "pool nix", "pool nix is no command");
	fails(f, "--nix", "--nix is no option");
	fails(f, "status -s", "needs a value");
	fails(f, "status more", "no argument");
	fails(f, "inflate", "inflate takes SIZE");
	fails(f, "inflate 1M 2M", "inflate takes SIZE");
	fails(f, "status --wait", "does not take --wait");
	fails(f, "stop --json", "does not take --json");
	fails(f, "status --size 1G", "does not take --size");
	fails(f, "pool status x --socket y", "does not take --socket");
	fails(f, "inflate 1M --timeout 5", "--wait");
	fails(f, "inflate 1M --wait --timeout 0", "--timeout 0");
	fails(f, "inflate 1M --wait --timeout 5s", "--timeout 5s");
	fails(f, "-s '' status", "empty");
	end(f);
}

/* ---- the connection -------------------------------------------------------------------------------------- */

static int listen_at(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(addr.sun_path, path, strlen(path));
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 5), 0);
	return fd;
}

/* A server that says this to everybody and hangs up. */
static pid_t say_and_hang_up(int fd, const char *text)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* should the test fail */
	for (;;) {
		int c = accept(fd, NULL, NULL);
		char drain[200];

		if (c < 0 || write(c, text, strlen(text)) < 0 || shutdown(c, SHUT_WR))
			_exit(1);
		while (read(c, drain, sizeof(drain)) > 0)
			;
		close(c);
	}
}

static void no_good_server(struct fixture *f, const char *text, const char *word)
{
	int fd = listen_at(f->path);
	pid_t pid = say_and_hang_up(fd, text);

	fails(f, "status", word);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(fd);
	unlink(f->path);
}

static void test_no_vm_there(void **state)
{
	struct fixture *f = start(NULL);
	int fd;

	(void)state;
	fails(f, "status", "there is no socket");
	fd = listen_at(f->path);
	close(fd);
	fails(f, "status", "nobody listens");
	unlink(f->path);
	fails(f, "status -s /etc/passwd", "is no socket");
	no_good_server(f, "", "closed the connection");
	no_good_server(f, "SSH-2.0-whatever\r\n", "no QMP");
	no_good_server(f, "{\"hello\": 1}\r\n", "does not greet as QMP does");
	no_good_server(f, "{\"QMP\": {}}\r\n", "closed the connection");
	no_good_server(f, "{\"QMP\": {}}\r\n{\"error\": {\"class\": \"x\", \"desc\": \"go away\"}}\r\n",
		       "go away");
	no_good_server(f, "{\"QMP\": {}}\r\n{\"return\": {}}\r\n[1]\r\n", "no QMP");
	end(f);
}

/* Root may open anything, so it becomes somebody else in a child. */
static void test_no_permission(void **state)
{
	struct fixture *f = start(&(struct fake_config){.maximum = GIB});
	struct mb_error err = {0};
	int status, fd;
	pid_t pid;

	(void)state;
	assert_int_equal(chmod(f->dir, 0755), 0);
	pid = fork();
	if (!pid) {
		if (!geteuid() && (setgid(65534) || setuid(65534)))
			_exit(77);
		if (geteuid() == getuid() && geteuid() != 65534)
			_exit(77);
		_exit(unix_socket_connect(f->path, &fd, &err) == -EACCES && strstr(err.text, "belongs to") ? 0
													   : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	end(f);
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

/* ---- a VM ------------------------------------------------------------------------------------------------ */

static void test_status(void **state)
{
	struct fixture *f = start(&(struct fake_config){.maximum = GIB, .pool_path = "/some/pool"});

	(void)state;
	runs(f, "status", "fake, running");
	has(f->out, "maximum");
	has(f->out, "1 GiB");
	has(f->out, "512 MiB");
	has(f->out, "/some/pool");
	has(f->out, "no balloon driver");
	assert_null(strstr(f->out, "waiting"));
	assert_null(strstr(f->out, "18446744073709551615"));
	runs(f, "stop", "");
	runs(f, "status", "fake, paused");
	runs(f, "cont", "");
	runs(f, "status", "fake, running");
	end(f);
}

static void test_relative_and_absolute_sizes(void **state)
{
	struct fixture *f = start(&(struct fake_config){.maximum = GIB, .step = 64 * MIB});

	(void)state;
	runs(f, "inflate 512M --wait", "target and actual are 512 MiB");
	assert_int_equal(member(f, "actual"), GIB / 2);
	runs(f, "inflate 0.25G -w", "256 MiB"); /* beyond what it gave so far */
	assert_int_equal(member(f, "actual"), GIB / 4);
	runs(f, "deflate 128M -w -t 60", "384 MiB");
	assert_int_equal(member(f, "actual"), 384 * MIB);
	runs(f, "set-size 700M -w", "700 MiB");
	assert_int_equal(member(f, "actual"), 700 * MIB);
	runs(f, "set-size 700000001 -w", "target and actual"); /* rounded up to pages */
	assert_int_equal(member(f, "actual"), 700002304);
	fails(f, "inflate 1G", "cannot give 1 GiB more");
	fails(f, "deflate 1G", "can be given back");
	fails(f, "set-size 2G", "maximum is 1 GiB");
	fails(f, "set-size 0", "0 makes no sense");
	fails(f, "set-size 12Q", "'12Q' is no size");
	fails(f, "set-size 999999999999999999999", "is no size");
	fails(f, "inflate -- -5M", "is no size");
	assert_int_equal(member(f, "target"), 700002304);
	end(f);
}

static void test_without_waiting(void **state)
{
	struct fixture *f = start(&(struct fake_config){.maximum = GIB, .step = 0});
	json_t *status;

	(void)state;
	runs(f, "inflate 512M", "target is 512 MiB (was 1 GiB), actual is 1 GiB");
	status = json_out(f, "--json deflate 256M");
	assert_int_equal(json_integer_value(json_object_get(status, "target")), 768 * MIB);
	assert_int_equal(json_integer_value(json_object_get(status, "actual")), GIB);
	json_decref(status);
	end(f);
}

static void test_guest_that_stops_cooperating(void **state)
{
	struct fixture *f = start(
	    &(struct fake_config){.maximum = GIB, .step = 64 * MIB, .floor = 640 * MIB, .pool_path = "/p"});

	(void)state;
	fails(f, "inflate 512M --wait --timeout 1", "384 MiB of 512 MiB (75 %)");
	has(f->err, "actual 640 MiB, target 512 MiB");
	has(f->err, "stopped cooperating");
	end(f);
}

static void test_reasons_for_standing_still(void **state)
{
	struct fixture *f = start(&(struct fake_config){.maximum = GIB, .step = 0});

	(void)state;
	fails(f, "inflate 512M -w -t 1", "runs no balloon driver");
	runs(f, "stop", "");
	fails(f, "inflate 1M -w -t 1", "the VM is paused");
	end(f);
}

static void test_deflation_that_is_held_back(void **state)
{
	struct fixture *f = start(&(struct fake_config){.maximum = GIB, .step = GIB, .ceiling = 768 * MIB});

	(void)state;
	runs(f, "set-size 512M -w", "512 MiB");
	assert_int_equal(run(f, "deflate 512M -w -t 1"), 1);
	has(f->err, "held back: the budget lacks 256 MiB; waiting for it\n");
	has(f->err, "time is up after 256 MiB of 512 MiB (50 %)");
	has(f->err, "inflate another VM");
	runs(f, "status", "a deflation is held back");
	end(f);
}

static void test_deflation_that_goes_on(void **state)
{
	struct fixture *f = start(&(struct fake_config){
	    .maximum = GIB, .step = GIB, .ceiling = 768 * MIB, .ceiling_later = GIB, .ceiling_after = 100});

	(void)state;
	runs(f, "set-size 512M -w", "512 MiB");
	runs(f, "deflate 512M -w", "target and actual are 1 GiB");
	has(f->err, "held back: the budget lacks 256 MiB");
	end(f);
}

/* Once the client has set the target, it waits; then the guest shuts down. */
static void end_when_asked(void *arg, struct vm *vm, struct qmp *qmp)
{
	struct balloon_status status;

	(void)qmp;
	balloon_get_status(vm_balloon(vm), &status);
	if (status.target == status.maximum)
		return;
	vm_end(vm, VM_GUEST_SHUTDOWN, 0);
	*(bool *)arg = true;
}

static void *end_soon(void *arg)
{
	bool ended = false;

	while (!ended) {
		usleep(20000);
		fake_call(arg, end_when_asked, &ended);
	}
	return NULL;
}

static void test_vm_that_ends_meanwhile(void **state)
{
	struct fixture *f = start(&(struct fake_config){.maximum = GIB, .step = 0});
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, end_soon, f->vm), 0);
	fails(f, "inflate 512M -w -t 30", "the VM has");
	pthread_join(thread, NULL);
	end(f);
}

static void test_other_client_changes_the_target(void **state)
{
	struct fixture *f = start(&(struct fake_config){.maximum = GIB, .step = 0});
	char command[300];

	(void)state;
	snprintf(command, sizeof(command),
		 "sleep 0.5; MEMBACK_SOCKET=%s \"$MEMBACKCTL\" set-size 800M >/dev/null", f->path);
	if (!fork())
		_exit(system(command));
	fails(f, "set-size 512M -w -t 30", "another client has set the target to 800 MiB");
	wait(NULL);
	end(f);
}

static void test_check(void **state)
{
	struct fixture *f = start(&(struct fake_config){.maximum = GIB});

	(void)state;
	runs(f, "check",
	     "0 discrepancies; the ledger charges 1 GiB of 1 GiB, the kernel holds 512 MiB resident");
	fake_stop(f->vm);
	f->vm = fake_start(&(struct fake_config){.maximum = GIB, .discrepancies = 2}, f->path);
	assert_int_equal(run(f, "check"), 1);
	has(f->out, "intruder   gpa 0x0000001000 4 KiB: page 1 is a hole, and resident\n");
	has(f->out, "budget    : sums differ\n");
	has(f->out, "3 discrepancies");
	assert_int_equal(run(f, "check --json"), 1);
	has(f->out, "\"count\": 3");
	end(f);
}

static void test_bare_qmp(void **state)
{
	struct fixture *f = start(&(struct fake_config){.maximum = GIB});

	(void)state;
	runs(f, "qmp '{\"execute\": \"query-name\", \"id\": 5}'", "\"id\": 5");
	has(f->out, "\"name\": \"fake\"");
	assert_int_equal(run(f, "qmp '{\"execute\": \"nix\"}'"), 1);
	has(f->out, "CommandNotFound");
	fails(f, "qmp '{'", "is no JSON object");
	fails(f, "qmp '[]'", "is no JSON object");
	runs(f, "quit", "");
	fake_wait(f->vm);
	assert_int_equal(fake_end_reason(f->vm), VM_HOST_QMP_QUIT);
	end(f);
}

/* ---- the map --------------------------------------------------------------------------------------------- */

/* 4 GiB, shrunk to 2 GiB: 64 MiB split, whole up to 1 GiB, untouched up to 2 GiB, ballooned above. */
static const char map_4g[] = "0x000000000000 %%%%%%%%########################\n"
			     "0x000010000000 ################################\n"
			     "0x000020000000 ################################\n"
			     "0x000030000000 ################################\n"
			     "0x000040000000 ................................\n"
			     "0x000050000000 ................................\n"
			     "0x000060000000 ................................\n"
			     "0x000070000000 ................................\n"
			     "0x000080000000 oooooooooooooooooooooooooooooooo\n"
			     "0x000090000000 oooooooooooooooooooooooooooooooo\n"
			     "0x0000a0000000 oooooooooooooooooooooooooooooooo\n"
			     "0x0000b0000000 oooooooooooooooooooooooooooooooo\n"
			     "               --- 1 GiB of addresses without memory ---\n"
			     "0x000100000000 oooooooooooooooooooooooooooooooo\n"
			     "0x000110000000 oooooooooooooooooooooooooooooooo\n"
			     "0x000120000000 oooooooooooooooooooooooooooooooo\n"
			     "0x000130000000 oooooooooooooooooooooooooooooooo\n"
			     "\nA cell is 8 MiB:  # whole 960 MiB  + touched in part 0 B  % split 64 MiB  o "
			     "ballooned 2 GiB  . untouched "
			     "1 GiB\n";

static void test_map_is_drawn(void **state)
{
	struct fixture *f = start(&(struct fake_config){.maximum = 4 * GIB, .step = 4 * GIB});
	json_t *runs_json;

	(void)state;
	runs(f, "set-size 2G --wait", "2 GiB");
	assert_int_equal(run_with(f, "LC_ALL=C COLUMNS=50", "map"), 0);
	assert_string_equal(f->out, map_4g);
	/* UTF-8; a file gets no colours. */
	assert_int_equal(run_with(f, "LC_ALL=C.UTF-8 COLUMNS=50", "map"), 0);
	has(f->out, "0x000000000000 \u2592\u2592\u2592\u2592\u2592\u2592\u2592\u2592\u2588");
	has(f->out, "\u2591\u2591\u2591\n");
	assert_null(strchr(f->out, '\033'));
	/* Every row is as wide as the terminal lets it be, and no wider. */
	assert_int_equal(run_with(f, "LC_ALL=C COLUMNS=135", "map"), 0);
	assert_int_equal(strcspn(f->out, "\n"), 135);
	assert_int_equal(run_with(f, "LC_ALL=C COLUMNS=1", "map"), 0);
	assert_int_equal(strcspn(f->out, "\n"), 15 + 16);
	runs_json = json_out(f, "map --json");
	assert_true(json_is_array(runs_json));
	json_decref(runs_json);
	end(f);
}

static void test_map_of_a_terabyte(void **state)
{
	struct fixture *f = start(&(struct fake_config){.maximum = UINT64_C(4) << 40});
	unsigned lines = 0;

	(void)state;
	assert_int_equal(run_with(f, "LC_ALL=C COLUMNS=80", "map"), 0);
	for (const char *c = f->out; *c; c++)
		lines += *c == '\n';
	assert_in_range(lines, 10, 40);
	end(f);
}

static void test_colours_on_a_terminal_only(void **state)
{
	struct fixture *f = start(&(struct fake_config){.maximum = GIB});
	char command[300], out[1 << 16];
	FILE *p;

	(void)state;
	if (system("script --version >/dev/null 2>&1"))
		skip(); /* the program that gives us a terminal */
	for (int colour = 1; colour >= 0; colour--) {
		snprintf(
		    command, sizeof(command),
		    "%s TERM=xterm LC_ALL=C.UTF-8 script -qec \"$MEMBACKCTL -s %s map\" /dev/null </dev/null",
		    colour ? "" : "NO_COLOR=1", f->path);
		p = popen(command, "r");
		assert_non_null(p);
		out[fread(out, 1, sizeof(out) - 1, p)] = '\0';
		assert_int_equal(pclose(p), 0);
		has(out, "\u2588");
		assert_int_equal(strstr(out, "\033[32m") != NULL, colour);
	}
	end(f);
}

/* ---- pools ----------------------------------------------------------------------------------------------- */

static void test_pool(void **state)
{
	struct fixture *f = start(NULL);
	char args[300];
	json_t *pool;

	(void)state;
	snprintf(args, sizeof(args), "pool create %s/pool --size 1G --budget 768M --mode 0640", f->dir);
	runs(f, args, "");
	fails(f, args, "pool");
	snprintf(args, sizeof(args), "pool status %s/pool", f->dir);
	runs(f, args, "768 MiB");
	has(f->out, "1 GiB");
	has(f->out, "No VM has memory of it");
	snprintf(args, sizeof(args), "--json pool status %s/pool", f->dir);
	pool = json_out(f, args);
	assert_int_equal(json_integer_value(json_object_get(pool, "size")), GIB);
	assert_int_equal(json_integer_value(json_object_get(pool, "budget")), 768 * MIB);
	assert_int_equal(json_integer_value(json_object_get(pool, "budget-used")), 0);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(pool, "free-frames"), "2M")), 512);
	assert_int_equal(json_array_size(json_object_get(pool, "owners")), 0);
	json_decref(pool);
	snprintf(args, sizeof(args), "pool check %s/pool", f->dir);
	runs(f, args, "0 discrepancies");
	snprintf(args, sizeof(args), "pool destroy %s/pool", f->dir);
	runs(f, args, "");
	fails(f, args, "pool");
	snprintf(args, sizeof(args), "pool status %s/pool", f->dir);
	fails(f, args, "pool");
	end(f);
}

static void test_pool_arguments(void **state)
{
	struct fixture *f = start(NULL);

	(void)state;
	fails(f, "pool create /tmp/nix", "--size");
	fails(f, "pool create /tmp/nix --size x", "--size x");
	fails(f, "pool create /tmp/nix --size 0", "--size 0");
	fails(f, "pool create /tmp/nix --size 1G --budget 1Q", "--budget 1Q");
	fails(f, "pool create /tmp/nix --size 1G --backing wood", "--backing wood");
	fails(f, "pool create /tmp/nix --size 1G --backing anon", "one process");
	fails(f, "pool create /tmp/nix --size 1G --mode 999", "--mode 999");
	fails(f, "pool create /nonexistent/nix --size 1G", "nonexistent");
	fails(f, "pool check /etc/passwd", "/etc/passwd");
	assert_int_equal(access("/tmp/nix", F_OK), -1);
	end(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_help_and_version),
	    cmocka_unit_test(test_bad_command_lines),
	    cmocka_unit_test(test_no_vm_there),
	    cmocka_unit_test(test_no_permission),
	    cmocka_unit_test(test_status),
	    cmocka_unit_test(test_relative_and_absolute_sizes),
	    cmocka_unit_test(test_without_waiting),
	    cmocka_unit_test(test_guest_that_stops_cooperating),
	    cmocka_unit_test(test_reasons_for_standing_still),
	    cmocka_unit_test(test_deflation_that_is_held_back),
	    cmocka_unit_test(test_deflation_that_goes_on),
	    cmocka_unit_test(test_vm_that_ends_meanwhile),
	    cmocka_unit_test(test_other_client_changes_the_target),
	    cmocka_unit_test(test_check),
	    cmocka_unit_test(test_bare_qmp),
	    cmocka_unit_test(test_map_is_drawn),
	    cmocka_unit_test(test_map_of_a_terabyte),
	    cmocka_unit_test(test_colours_on_a_terminal_only),
	    cmocka_unit_test(test_pool),
	    cmocka_unit_test(test_pool_arguments),
	};

	if (!getenv("MEMBACKCTL")) {
		fprintf(stderr, "set MEMBACKCTL to the path of the program\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
