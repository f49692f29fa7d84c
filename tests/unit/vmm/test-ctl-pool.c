/* SPDX-License-Identifier: MIT */
/*
 * test-ctl-pool.c - the client's pool commands, run as users run them, on pool files whose owners are this process.
 *
 * The program's path is in $MEMBACKCTL.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <memback/pool.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

struct fixture {
	char dir[40], pool[64];
	/* of the last call */
	char out[65536], err[4096];
};

static int begin(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/dev/shm/test-ctl-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->pool, sizeof(f->pool), "%s/pool", f->dir);
	*state = f;
	return 0;
}

/* Of a test that failed, too, nothing is left. */
static int end(void **state)
{
	struct fixture *f = *state;
	char command[80];
	int rc;

	snprintf(command, sizeof(command), "rm -rf %s", f->dir);
	rc = system(command);
	free(f);
	return rc;
}

static void read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, text, size - 1);

	assert_true(n >= 0);
	text[n] = '\0';
	close(fd);
	unlink(path);
}

/* `membackctl pool COMMAND POOL ARGS`; an exit status, never a signal. */
static int pool(struct fixture *f, const char *command, const char *args)
{
	char line[600], out[64], err[64];
	int status;

	snprintf(out, sizeof(out), "%s/out", f->dir);
	snprintf(err, sizeof(err), "%s/err", f->dir);
	snprintf(line, sizeof(line), "exec \"$MEMBACKCTL\" pool %s %s %s >%s 2>%s </dev/null", command, f->pool,
		 args, out, err);
	status = system(line);
	read_file(out, f->out, sizeof(f->out));
	read_file(err, f->err, sizeof(f->err));
	if (!WIFEXITED(status))
		fail_msg("pool %s %s: status 0x%x", command, args, (unsigned)status);
	return WEXITSTATUS(status);
}

static void has(const char *text, const char *word)
{
	if (!strstr(text, word))
		fail_msg("'%s' is not in '%s'", word, text);
}

static void runs(struct fixture *f, const char *command, const char *args)
{
	if (pool(f, command, args))
		fail_msg("pool %s %s: %s%s", command, args, f->out, f->err);
}

static struct mb_pool *attach(const struct fixture *f)
{
	struct mb_pool *p = NULL;
	struct mb_error err;

	if (mb_pool_attach(f->pool, &p, &err))
		fail_msg("%s", err.text);
	return p;
}

static struct mb_space *owner(struct mb_pool *p, const char *name, uint64_t size)
{
	struct mb_region region = {0, size};
	struct mb_space_config config = {.name = name, .regions = &region, .region_count = 1};
	struct mb_space *space = NULL;
	struct mb_error err;

	if (mb_space_create(p, &config, &space, &err))
		fail_msg("%s: %s", name, err.text);
	return space;
}

/* ---- the map --------------------------------------------------------------------------------------------- */

/* Cells of one kind in the rows of the map that was printed last. */
static unsigned cells(const struct fixture *f, char kind)
{
	const char *end = strstr(f->out, "\n\n");
	unsigned count = 0;

	assert_non_null(end);
	for (const char *row = f->out; row < end; row = strchr(row, '\n') + 1)
		for (const char *c = strchr(row, ' '); *c && *c != '\n'; c++)
			count += *c == kind;
	return count;
}

/* What a pool may grow to is drawn, and is not free: the room for it was once that of the size alone. */
static void map_of_a_pool_that_can_grow(void **state)
{
	struct fixture *f = *state;
	struct mb_pool *p;
	struct mb_space *space;
	char svg[100];

	runs(f, "create", "--size 64M --max-size 32G --budget 64M");
	p = attach(f);
	space = owner(p, "a", 32 * MIB);
	runs(f, "map", "");
	has(f->out, "offline");
	assert_true(cells(f, '-') > 1);
	assert_int_equal(cells(f, 'A') + cells(f, 'a'), 1); /* a cell is larger than the pool is now */
	snprintf(svg, sizeof(svg), "--svg %s/svg", f->dir);
	runs(f, "map", svg);
	runs(f, "map", "--json");
	has(f->out, "\"offline\"");
	mb_space_destroy(space);
	mb_pool_close(p);
	runs(f, "destroy", "");
}

static void map_of_a_pool_that_shrank(void **state)
{
	struct fixture *f = *state;

	runs(f, "create", "--size 64M");
	runs(f, "map", "");
	assert_int_equal(cells(f, '.'), 32);
	assert_int_equal(cells(f, '-'), 0);
	runs(f, "shrink", "16M");
	runs(f, "map", "");
	assert_int_equal(cells(f, '.'), 8);
	assert_int_equal(cells(f, '-'), 24);
	runs(f, "destroy", "");
}

/* ---- where the memory lies ------------------------------------------------------------------------------- */

static void the_file_system_is_named(void **state)
{
	struct fixture *f = *state;
	char args[200], disk[] = "/var/tmp/test-ctl-XXXXXX";
	struct statfs fs;

	runs(f, "create", "--size 64M --backing tmpfs");
	runs(f, "status", "");
	has(f->out, "frame numbers, tmpfs");
	runs(f, "destroy", "");
	assert_non_null(mkdtemp(disk));
	assert_int_equal(statfs(disk, &fs), 0);
	if (fs.f_type == TMPFS_MAGIC) {
		rmdir(disk);
		skip();
	}
	snprintf(args, sizeof(args), "--size 64M --backing tmpfs --memory-file %s/mem", disk);
	assert_int_equal(pool(f, "create", args), 1);
	has(f->err, "/dev/shm/NAME");
	snprintf(args, sizeof(args), "--size 64M --memory-file %s/mem", disk);
	runs(f, "create", args);
	has(f->err, "warning");
	runs(f, "status", "");
	has(f->out, "frame numbers, disk");
	runs(f, "destroy", "");
	assert_int_equal(rmdir(disk), 0);
}

/* ---- changes --------------------------------------------------------------------------------------------- */

/* A legal command is no discrepancy; the status says what came of it. */
static void budget_below_what_is_used(void **state)
{
	struct fixture *f = *state;
	struct mb_space *space;
	struct mb_pool *p;

	runs(f, "create", "--size 64M");
	p = attach(f);
	space = owner(p, "a", 32 * MIB);
	runs(f, "set-budget", "16M");
	has(f->out, "16 MiB more");
	runs(f, "check", "");
	runs(f, "status", "");
	has(f->out, "16 MiB more than the budget");
	mb_space_destroy(space);
	mb_pool_close(p);
	runs(f, "destroy", "");
}

static void growing_what_still_leaves(void **state)
{
	struct fixture *f = *state;
	struct mb_space *space;
	struct mb_pool *p;
	char before[4096];

	runs(f, "create", "--size 64M");
	p = attach(f);
	space = owner(p, "a", 32 * MIB);
	assert_int_equal(pool(f, "shrink", "2M"), 1);
	has(f->out, "a  ");
	runs(f, "status", "");
	has(f->out, "leaving");
	strcpy(before, f->out);
	assert_int_equal(pool(f, "grow", "64M"), 1);
	has(f->err, "nothing has changed");
	runs(f, "status", "");
	assert_string_equal(f->out, before);
	mb_space_destroy(space);
	mb_pool_close(p);
	runs(f, "grow", "64M");
	runs(f, "status", "");
	assert_null(strstr(f->out, "leaving"));
	runs(f, "destroy", "");
}

static unsigned times(const char *text, const char *word)
{
	unsigned count = 0;

	for (const char *at = strstr(text, word); at; at = strstr(at + 1, word))
		count++;
	return count;
}

static void who_shrinks_and_waits_is_told_for_whom(void **state)
{
	struct fixture *f = *state;
	struct mb_space *space;
	struct mb_pool *p;

	runs(f, "create", "--size 64M");
	p = attach(f);
	space = owner(p, "in-the-way", 32 * MIB);
	assert_int_equal(pool(f, "shrink", "2M --wait --timeout 1"), 1);
	has(f->err, "waiting for");
	assert_int_equal(times(f->err, "in-the-way"), 1);
	has(f->out, "in-the-way"); /* who still is at the end */
	mb_space_destroy(space);
	mb_pool_close(p);
	runs(f, "shrink", "2M --wait");
	runs(f, "destroy", "");
}

/* ---- deaths and boots ------------------------------------------------------------------------------------ */

static const char *const attaching[][2] = {{"status", ""}, {"status", "--json"},  {"owners", ""}, {"check", ""},
					   {"map", ""},    {"set-budget", "16M"}, {"grow", "64M"}};
#define ATTACHING (sizeof(attaching) / sizeof(attaching[0]))

/* Somebody who has 16 MiB is killed. */
static void let_one_die(const struct fixture *f)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		mb_space_window(owner(attach(f), "dead", 16 * MIB));
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

/* Whichever command is the first to attach says it; the next one has nothing to say. */
static void deaths_are_said(void **state)
{
	struct fixture *f = *state;

	runs(f, "create", "--size 64M");
	for (unsigned i = 0; i < ATTACHING; i++) {
		let_one_die(f);
		runs(f, attaching[i][0], attaching[i][1]);
		has(f->err, "1 dead VM found");
		has(f->err, "16 MiB");
		assert_ptr_equal(strchr(f->err, '\n'), f->err + strlen(f->err) - 1);
		runs(f, attaching[i][0], attaching[i][1]);
		assert_string_equal(f->err, "");
	}
	let_one_die(f);
	runs(f, "recover", "");
	has(f->out, "1 dead");
	assert_string_equal(f->err, "");
	runs(f, "destroy", "");
}

/* The mark of the boot, in the page behind the header (memback/host/format.h). */
static void age(const struct fixture *f)
{
	int fd = open(f->pool, O_RDWR | O_CLOEXEC);
	uint64_t mark;

	assert_int_equal(pread(fd, &mark, sizeof(mark), 4096 + 32), sizeof(mark));
	mark ^= 1;
	assert_int_equal(pwrite(fd, &mark, sizeof(mark), 4096 + 32), sizeof(mark));
	close(fd);
}

static void boots_are_said(void **state)
{
	struct fixture *f = *state;

	runs(f, "create", "--size 64M");
	for (unsigned i = 0; i < ATTACHING; i++) {
		age(f);
		runs(f, attaching[i][0], attaching[i][1]);
		has(f->err, "another boot");
		runs(f, attaching[i][0], attaching[i][1]);
		assert_string_equal(f->err, "");
	}
	runs(f, "destroy", "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(map_of_a_pool_that_can_grow),
	    TEST(map_of_a_pool_that_shrank),
	    TEST(the_file_system_is_named),
	    TEST(budget_below_what_is_used),
	    TEST(growing_what_still_leaves),
	    TEST(who_shrinks_and_waits_is_told_for_whom),
	    TEST(deaths_are_said),
	    TEST(boots_are_said),
	};

	if (!getenv("MEMBACKCTL")) {
		fprintf(stderr, "MEMBACKCTL is not set\n");
		return 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
