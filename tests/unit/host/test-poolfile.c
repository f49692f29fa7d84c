/* SPDX-License-Identifier: MIT */
/*
 * test-poolfile.c - pool files: several processes, who lives, who died, and files that are not what they
 * claim to be.
 */
#include "fixture.h"
#include "format.h"
#include "records.h"
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE (64 * MiB)

/* ---- other processes ------------------------------------------------------------------------------------- */

struct peer {
	pid_t pid;
	int to, from;
};

/* A process that attaches, has a guest of 16 MiB, all touched, 4 MiB and a page of it given back; waits. */
static void peer_main(const char *path, const char *name, int from, int to)
{
	struct mb_region r = {0, 16 * MiB};
	struct mb_space_config config = {.name = name, .regions = &r, .region_count = 1};
	struct mb_pool *pool = NULL;
	struct mb_space *space = NULL;
	char c = 'e';

	/* a test that fails ends before it has ended its peers */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!mb_pool_attach(path, &pool, NULL) && !mb_space_create(pool, &config, &space, NULL)) {
		memset(mb_space_window(space), 0xee, 16 * MiB);
		if (!mb_space_inflate(space, 4 * MiB, 4 * MiB) && !mb_space_inflate(space, PAGE, PAGE))
			c = 'r';
	}
	if (write(to, &c, 1) != 1 || read(from, &c, 1) != 1)
		_exit(2);
	mb_space_destroy(space);
	mb_pool_close(pool);
	_exit(0);
}

static struct peer peer_start(const char *path, const char *name)
{
	int down[2], up[2];
	struct peer p;
	char c = 0;

	assert_int_equal(pipe2(down, O_CLOEXEC), 0);
	assert_int_equal(pipe2(up, O_CLOEXEC), 0);
	p.pid = fork();
	if (!p.pid)
		peer_main(path, name, down[0], up[1]);
	close(down[0]);
	close(up[1]);
	p.to = down[1];
	p.from = up[0];
	assert_int_equal(read(p.from, &c, 1), 1);
	assert_int_equal(c, 'r');
	return p;
}

static int peer_wait(struct peer *p)
{
	int status;

	assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
	close(p->to);
	close(p->from);
	return status;
}

static void peer_end(struct peer *p)
{
	assert_int_equal(write(p->to, "x", 1), 1);
	assert_int_equal(peer_wait(p), 0);
}

static void peer_kill(struct peer *p)
{
	kill(p->pid, SIGKILL);
	peer_wait(p);
}

static uint64_t live_owners(struct mb_pool *pool)
{
	struct mb_pool_status s;

	assert_int_equal(mb_pool_get_status(pool, &s, NULL), 0);
	return s.owners;
}

static uint64_t used_frames(struct mb_pool *pool)
{
	struct mb_pool_status s;

	assert_int_equal(mb_pool_get_status(pool, &s, NULL), 0);
	return s.frames.used + s.frames.holes;
}

static int see_owner(void *arg, const struct mb_owner_status *o)
{
	struct mb_owner_status *out = arg;

	*out = *o;
	return 1;
}

static enum place place; /* of the run */

/* What a peer is charged, with the granule of the place. */
static uint64_t peer_charge(void)
{
	return place == ON_HUGETLBFS ? 12 * MiB : 12 * MiB - PAGE;
}

static void two_processes(void **state)
{
	const char *path = fixture_path("pool");
	struct mb_owner_status o;
	struct mb_pool *pool;
	struct mb_space *space;
	struct peer p;

	(void)state;
	pool_file_at(place, "pool", SIZE, 32 * MiB);
	p = peer_start(path, "peer");
	pool = attach(path);
	assert_int_equal(live_owners(pool), 1);
	assert_int_equal(budget_used(pool), peer_charge());
	assert_int_equal(mb_pool_walk_owners(pool, see_owner, &o), 1);
	assert_string_equal(o.name, "peer");
	assert_int_equal(o.pid, p.pid);
	assert_true(o.live);
	assert_int_equal(o.maximum, 16 * MiB);
	assert_int_equal(o.inflated, 4 * MiB + PAGE);
	space = space_of(pool, "mine", 16 * MiB, true);
	assert_true(all_zero(mb_space_window(space), 16 * MiB));
	assert_int_equal(live_owners(pool), 2);
	assert_clean(space);
	assert_pool_clean(pool);
	if (place != ON_DISK)
		assert_int_equal(pool_resident_bytes(pool), 16 * MiB + peer_charge());
	/* the peer's end is seen here */
	peer_end(&p);
	assert_int_equal(live_owners(pool), 1);
	assert_int_equal(budget_used(pool), 16 * MiB);
	assert_pool_clean(pool);
	mb_space_destroy(space);
	assert_int_equal(used_frames(pool), 0);
	mb_pool_close(pool);
	assert_int_equal(mb_pool_destroy(path, NULL), 0);
	assert_int_equal(access(path, F_OK), -1);
}

static void the_living_are_respected(void **state)
{
	const char *path = fixture_path("pool");
	struct mb_region r = {0, HUGE_2M};
	struct mb_space_config config = {.name = "peer", .regions = &r, .region_count = 1};
	struct mb_pool *pool;
	struct mb_space *space = NULL;
	struct mb_error err;
	struct peer p;

	(void)state;
	pool_file_at(place, "pool", SIZE, 0);
	p = peer_start(path, "peer");
	assert_int_equal(mb_pool_destroy(path, &err), -EBUSY);
	assert_error(&err, -EBUSY);
	assert_non_null(strstr(err.text, "peer"));
	pool = attach(path);
	assert_int_equal(mb_space_create(pool, &config, &space, &err), -EEXIST);
	assert_error(&err, -EEXIST);
	config.name = "other";
	assert_int_equal(mb_space_create(pool, &config, &space, &err), 0);
	/* our own owner keeps the pool as well */
	peer_end(&p);
	assert_int_equal(mb_pool_destroy(path, &err), -EBUSY);
	mb_space_destroy(space);
	assert_int_equal(mb_pool_destroy(path, &err), 0);
	/* who is still attached can do no more than leave */
	assert_int_equal(mb_space_create(pool, &config, &space, &err), -ENOENT);
	assert_error(&err, -ENOENT);
	mb_pool_close(pool);
}

static void the_dead_are_buried(void **state)
{
	const char *path = fixture_path("pool");
	struct mb_pool *watcher, *pool;
	struct mb_space *space;
	struct peer p, q;

	(void)state;
	pool_file_at(place, "pool", SIZE, 40 * MiB);
	watcher = attach(path);
	p = peer_start(path, "peer");
	q = peer_start(path, "stays");
	peer_kill(&p);
	assert_int_equal(live_owners(watcher), 1);
	assert_int_equal(budget_used(watcher), 2 * peer_charge());
	pool = attach(path);
	assert_int_equal(budget_used(pool), peer_charge());
	assert_int_equal(used_frames(pool), 16 * MiB / PAGE);
	assert_pool_clean(pool);
	if (place != ON_DISK)
		assert_int_equal(pool_resident_bytes(pool), peer_charge());
	peer_kill(&q);
	/* making an owner buries the dead, too, and their names are free */
	space = space_of(watcher, "stays", 40 * MiB, false);
	assert_true(all_zero(mb_space_window(space), 40 * MiB));
	assert_int_equal(budget_used(pool), 40 * MiB);
	assert_clean(space);
	assert_pool_clean(pool);
	mb_space_destroy(space);
	assert_int_equal(used_frames(pool), 0);
	assert_int_equal(budget_used(pool), 0);
	mb_pool_close(pool);
	mb_pool_close(watcher);
	assert_int_equal(mb_pool_destroy(path, NULL), 0);
}

/* A child that outlives its parent holds neither lock nor memory: close-on-exec and DONTFORK. */
static void children_hold_nothing(void **state)
{
	const char *path = fixture_path("pool");
	struct mb_pool *pool;
	struct peer p;
	int gate[2];
	char c;
	pid_t child;

	(void)state;
	pool_file_at(place, "pool", SIZE, 0);
	assert_int_equal(pipe(gate), 0);
	p = peer_start(path, "peer");
	child = fork();
	if (!child) {
		close(gate[1]);
		_exit(read(gate[0], &c, 1) == 0 ? 0 : 1);
	}
	close(gate[0]);
	peer_kill(&p);
	pool = attach(path);
	assert_int_equal(budget_used(pool), 0);
	mb_pool_close(pool);
	close(gate[1]);
	waitpid(child, NULL, 0);
	assert_int_equal(mb_pool_destroy(path, NULL), 0);
}

/* ---- files that are not right ---------------------------------------------------------------------------- */

static void assert_refused(const char *path, int code)
{
	struct mb_pool *pool = NULL;
	struct mb_error err;
	int rc = mb_pool_attach(path, &pool, &err);

	assert_null(pool);
	assert_true(rc < 0);
	if (code)
		assert_int_equal(rc, code);
	assert_error(&err, rc);
}

static void poke(const char *path, off_t at, const void *bytes, size_t n)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, n, at), n);
	close(fd);
}

static void every_header_byte(void **state)
{
	const char *path = fixture_path("pool");
	struct pool_header h;
	struct mb_pool *pool;
	int fd;

	(void)state;
	pool_file_at(place, "pool", SIZE, 0);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, &h, sizeof(h)), sizeof(h));
	close(fd);
	for (size_t i = 0; i < sizeof(h); i++) {
		unsigned char bad = ((unsigned char *)&h)[i] ^ (unsigned char)(1u << (i % 8));

		poke(path, (off_t)i, &bad, 1);
		assert_refused(path, 0);
		poke(path, (off_t)i, (unsigned char *)&h + i, 1);
	}
	pool = attach(path);
	assert_pool_clean(pool);
	mb_pool_close(pool);
	assert_int_equal(mb_pool_destroy(path, NULL), 0);
}

/* A header that is whole and lies. */
static void lying_headers(void **state)
{
	const char *path = fixture_path("pool");
	struct pool_header good, h;
	int fd;

	(void)state;
	pool_file_at(place, "pool", SIZE, 0);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, &good, sizeof(good)), sizeof(good));
	close(fd);
	for (int lie = 0; lie < 14; lie++) {
		int code = -EILSEQ;

		h = good;
		switch (lie) {
		case 0:
			h.version++;
			code = -EPROTO;
			break;
		case 1:
			h.size += HUGE_2M;
			break;
		case 2:
			h.size = UINT64_MAX;
			break;
		case 3:
			h.owners = 1u << 30;
			break;
		case 4:
			h.backing = 99;
			break;
		case 5:
			h.ledger_offset = UINT64_MAX - 7;
			break;
		case 6:
			h.frames_offset += 4096;
			break;
		case 7:
			h.frames_bytes = 1;
			break;
		case 8:
			h.total_bytes = 0;
			break;
		case 9:
			h.vars_offset = 3;
			break;
		case 10:
			memset(h.mem_path, 'x', sizeof(h.mem_path));
			break;
		case 11:
			h.mem_ino++;
			code = -ESTALE;
			break;
		case 12:
			snprintf(h.mem_path, sizeof(h.mem_path), "/dev/null");
			code = -EINVAL;
			break;
		default:
			snprintf(h.mem_path, sizeof(h.mem_path), "/nonexistent");
			code = -ENOENT;
			break;
		}
		h.checksum = pool_checksum(&h, offsetof(struct pool_header, checksum));
		poke(path, 0, &h, sizeof(h));
		assert_refused(path, code);
	}
	poke(path, 0, &good, sizeof(good));
	assert_int_equal(mb_pool_destroy(path, NULL), 0);
}

static void wrong_files(void **state)
{
	const char *path = fixture_path("pool"), *other = fixture_path("other");
	char memory[300], moved[320];
	struct stat st;
	FILE *f;

	(void)state;
	assert_refused(fixture_path("absent"), -ENOENT);
	assert_refused(fixture_dir(), 0);
	f = fopen(other, "we");
	assert_refused(other, -EILSEQ);
	fprintf(f, "%5000s", "not a pool");
	fclose(f);
	assert_refused(other, -EILSEQ);
	unlink(other);
	assert_int_equal(mkfifo(other, 0600), 0);
	assert_refused(other, -EILSEQ);
	unlink(other);
	pool_file_at(place, "pool", SIZE, 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	/* truncated, extended */
	assert_int_equal(truncate(path, st.st_size - 4096), 0);
	assert_refused(path, -EILSEQ);
	assert_int_equal(truncate(path, 100), 0);
	assert_refused(path, -EILSEQ);
	assert_int_equal(truncate(path, st.st_size + 1), 0);
	assert_refused(path, -EILSEQ);
	unlink(path);
	snprintf(memory, sizeof(memory), "%s/pool.mem",
		 place == ON_DISK ? fixture_dir() : fixture_path(place_name(place)));
	assert_int_equal(unlink(memory), 0);
	/* memory gone, another, too short */
	pool_file_at(place, "pool", SIZE, 0);
	assert_int_equal(truncate(memory, SIZE / 2), 0);
	assert_refused(path, -EILSEQ);
	assert_int_equal(truncate(memory, SIZE), 0);
	snprintf(moved, sizeof(moved), "%s.moved", memory);
	assert_int_equal(rename(memory, moved), 0);
	assert_refused(path, -ENOENT);
	f = fopen(memory, "we");
	assert_non_null(f);
	fclose(f);
	assert_refused(path, -ESTALE);
	unlink(moved);
	/* it can still be removed, and the stranger's file stays */
	assert_int_equal(mb_pool_destroy(path, NULL), 0);
	assert_int_equal(access(memory, F_OK), 0);
	unlink(memory);
	unlink(path);
}

static void making_refuses(void **state)
{
	struct mb_pool_config config = {.backing = MB_BACKING_ANON, .size = SIZE};
	const char *path = fixture_path("pool");
	struct mb_error err;
	struct stat st;

	(void)state;
	assert_int_equal(mb_pool_create_file(path, &config, NULL, &err), -EINVAL);
	assert_error(&err, -EINVAL);
	config.backing = MB_BACKING_FILE;
	assert_int_equal(mb_pool_create_file(fixture_path("no/such/dir"), &config, NULL, &err), -ENOENT);
	assert_error(&err, -ENOENT);
	config.memory_path = "/nonexistent/mem";
	assert_int_equal(mb_pool_create_file(path, &config, NULL, &err), -ENOENT);
	assert_error(&err, -ENOENT);
	assert_int_equal(access(path, F_OK), -1);
	config.memory_path = NULL;
	config.mode = 0640;
	assert_int_equal(mb_pool_create_file(path, &config, NULL, &err), 0);
	assert_int_equal(stat(fixture_path("pool.mem"), &st), 0);
	assert_int_equal(st.st_size, SIZE);
	assert_int_equal(st.st_blocks, 0);
	assert_int_equal(mb_pool_create_file(path, &config, NULL, &err), -EEXIST);
	assert_error(&err, -EEXIST);
	assert_int_equal(mb_pool_destroy(path, &err), 0);
	assert_int_equal(access(fixture_path("pool.mem"), F_OK), -1);
	assert_int_equal(mb_pool_destroy(path, &err), -ENOENT);
	assert_error(&err, -ENOENT);
	/* more than the disk has room for, in budget or in numbers: nothing is left lying about */
	config.size = 60 * TiB;
	assert_true(mb_pool_create_file(path, &config, NULL, &err) < 0);
	assert_error(&err, err.code);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(access(fixture_path("pool.mem"), F_OK), -1);
}

/* ---- damage behind the header -----------------------------------------------------------------------------
 */

static uint64_t seed = 88172645463325252u;

static uint64_t dice(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static int ignore(void *arg, const struct mb_discrepancy *d)
{
	(void)arg;
	return d->text[0] == '\0';
}

static int ignore_owner(void *arg, const struct mb_owner_status *o)
{
	(void)arg;
	return memchr(o->name, '\0', sizeof(o->name)) == NULL;
}

/* Uses all there is of a damaged pool; whatever comes of it, it comes as a return value. */
static void use_damaged(const char *path)
{
	static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
	struct mb_region r = {0, 8 * MiB};
	struct mb_space_config config = {.name = "x", .regions = &r, .region_count = 1};
	struct mb_pool *pool = NULL;
	struct mb_space *space = NULL;
	struct mb_pool_status s;
	struct mb_frame_owner o;

	/* cmocka's handlers would go on with the tests in this child */
	for (unsigned i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		signal(fatal[i], SIG_DFL);
	alarm(20);
	if (mb_pool_attach(path, &pool, NULL))
		return;
	(void)!mb_pool_get_status(pool, &s, NULL);
	(void)mb_pool_walk_owners(pool, ignore_owner, NULL);
	(void)!mb_pool_check(pool, ignore, NULL);
	(void)!mb_pool_frame_owner(pool, (mb_frame){dice() % (SIZE / PAGE)}, &o);
	if (!mb_space_create(pool, &config, &space, NULL)) {
		(void)!mb_space_inflate(space, PAGE, 3 * MiB);
		(void)!mb_space_deflate(space, MiB, MiB);
		(void)!mb_space_check(space, ignore, NULL);
		mb_space_destroy(space);
	}
	(void)!mb_pool_check(pool, ignore, NULL);
	mb_pool_close(pool);
}

/* Flips in [from, from + bytes) of a pool in which an owner died with frames and holes. */
static void flip_and_use(const char *path, uint64_t from, uint64_t bytes, unsigned flips)
{
	int fd = open(path, O_RDWR | O_CLOEXEC), status;
	pid_t pid;

	assert_true(fd >= 0);
	for (unsigned i = 0; i < flips; i++) {
		off_t at = (off_t)(from + dice() % bytes);
		unsigned char c;

		assert_int_equal(pread(fd, &c, 1, at), 1);
		c ^= (unsigned char)(1u << (dice() & 7));
		assert_int_equal(pwrite(fd, &c, 1, at), 1);
	}
	close(fd);
	pid = fork();
	if (!pid) {
		use_damaged(path);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status)
		print_error("flips in [%llu, +%llu): status 0x%x\n", (unsigned long long)from,
			    (unsigned long long)bytes, (unsigned)status);
	assert_int_equal(status, 0);
}

static void flips_never_crash(void **state)
{
	const char *path = fixture_path("pool");
	struct records r;
	struct peer p;

	(void)state;
	assert_int_equal(records_place(SIZE, &r), 0);
	for (int round = 0; round < 60; round++) {
		pool_file_at(place, "pool", SIZE, 0);
		p = peer_start(path, "peer");
		peer_kill(&p);
		switch (round % 6) {
		case 0:
			flip_and_use(path, r.vars, round % 4 ? 32 : sizeof(struct pool_vars), 3);
			break;
		case 1:
			flip_and_use(path, r.owners, 200, 6);
			break;
		case 2:
			flip_and_use(path, r.ledger, SIZE / HUGE_2M * 8, 6);
			break;
		case 3:
			flip_and_use(path, r.frames, 4096, 2);
			break;
		case 4:
			flip_and_use(path, r.frames, r.frames_bytes, 300);
			break;
		default:
			flip_and_use(path, r.owners, r.frames - r.owners, 100);
			break;
		}
		(void)!mb_pool_destroy(path, NULL);
		unlink(path);
	}
}

/* What a test that failed left lying about is not the next one's failure. */
static int clean_slate(void **state)
{
	static const char *const left[] = {"pool", "pool.mem", "tmpfs/pool.mem", "hugetlbfs/pool.mem", "other"};

	(void)state;
	for (unsigned i = 0; i < sizeof(left) / sizeof(left[0]); i++)
		unlink(fixture_path(left[i]));
	return 0;
}

#define TEST(name) cmocka_unit_test_setup(name, clean_slate)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(two_processes),         TEST(the_living_are_respected), TEST(the_dead_are_buried),
	    TEST(children_hold_nothing), TEST(every_header_byte),        TEST(lying_headers),
	    TEST(wrong_files),           TEST(making_refuses),           TEST(flips_never_crash),
	};

	return fixture_run(72, ON_TMPFS, &place, tests, sizeof(tests) / sizeof(tests[0]));
}
