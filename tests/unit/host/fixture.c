/* SPDX-License-Identifier: MIT */
/* fixture.c - see fixture.h. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHMEM_ENABLED "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define NR_HUGEPAGES  "/proc/sys/vm/nr_hugepages"

static char dir[64];
static pid_t owner; /* the process that began */
static bool have_tmpfs, have_hugetlb, have_hugetlbfs;

/* ---- settings ------------------------------------------------------------------------------------------ */

static struct {
	char path[128];
	char old[64];
} changed[16];
static unsigned changes;

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = write(fd, text, strlen(text));
	close(fd);
	return n == (ssize_t)strlen(text);
}

/* The value; of a choice such as "always [never]", the chosen word. */
static bool read_setting(const char *path, char *out, size_t room)
{
	char buf[256], *open_bracket, *close_bracket;
	FILE *f = fopen(path, "re");

	if (!f)
		return false;
	if (!fgets(buf, sizeof(buf), f))
		buf[0] = '\0';
	fclose(f);
	open_bracket = strchr(buf, '[');
	close_bracket = strchr(buf, ']');
	if (open_bracket && close_bracket) {
		*close_bracket = '\0';
		snprintf(out, room, "%s", open_bracket + 1);
	} else {
		buf[strcspn(buf, "\n")] = '\0';
		snprintf(out, room, "%s", buf);
	}
	return true;
}

bool setting(const char *path, const char *text)
{
	unsigned i = 0;

	while (i < changes && strcmp(changed[i].path, path) != 0)
		i++;
	if (i == changes) {
		if (changes == sizeof(changed) / sizeof(changed[0]) ||
		    !read_setting(path, changed[i].old, sizeof(changed[i].old)))
			return false;
		snprintf(changed[i].path, sizeof(changed[i].path), "%s", path);
		changes++;
	}
	return write_text(path, text);
}

uint64_t read_number(const char *path)
{
	char text[64];

	return read_setting(path, text, sizeof(text)) ? strtoull(text, NULL, 10) : 0;
}

/* ---- the surroundings ---------------------------------------------------------------------------------- */

const char *fixture_dir(void)
{
	return dir;
}

const char *fixture_path(const char *name)
{
	static char buf[8][256];
	static unsigned next;
	char *out = buf[next++ % 8];

	snprintf(out, sizeof(buf[0]), "%s/%s", dir, name);
	return out;
}

static bool mount_at(const char *name, const char *type, const char *options)
{
	mkdir(fixture_path(name), 0700);
	return !mount(type, fixture_path(name), type, 0, options);
}

static bool get_hugepages(unsigned count)
{
	char text[32];
	uint64_t old = read_number(NR_HUGEPAGES);

	snprintf(text, sizeof(text), "%llu", (unsigned long long)old + count);
	return count && setting(NR_HUGEPAGES, text) && read_number(NR_HUGEPAGES) == old + count;
}

static void restore_settings(void)
{
	while (changes > 0) {
		changes--;
		write_text(changed[changes].path, changed[changes].old);
	}
}

/* A test that is told to stop (it took too long) still puts the host's settings back. */
static void on_signal(int number)
{
	if (owner == getpid())
		restore_settings();
	_exit(128 + number);
}

int fixture_begin(unsigned hugepages)
{
	snprintf(dir, sizeof(dir), "/tmp/memback-test-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	owner = getpid();
	atexit(fixture_end);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	signal(SIGHUP, on_signal);
	/* Mounts of ours must not outlive us nor be seen by others. */
	if (!unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
		have_tmpfs = mount_at("tmpfs", "tmpfs", "huge=advise");
		have_hugetlb = get_hugepages(hugepages);
		have_hugetlbfs = have_hugetlb && mount_at("hugetlbfs", "hugetlbfs", "pagesize=2M");
	}
	setting(SHMEM_ENABLED, "advise");
	return 0;
}

void fixture_end(void)
{
	static const char *const mounts[] = {"tmpfs", "hugetlbfs"};
	char command[128];

	/* Children of a test inherit atexit(): only the one that began may end. */
	if (!dir[0] || owner != getpid())
		return;
	restore_settings();
	for (unsigned i = 0; i < 2; i++)
		umount2(fixture_path(mounts[i]), MNT_DETACH);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	if (system(command))
		perror(dir);
	dir[0] = '\0';
}

/* ---- places -------------------------------------------------------------------------------------------- */

const char *place_name(enum place place)
{
	static const char *const name[] = {"anon", "memfd", "hugetlb", "tmpfs", "disk", "hugetlbfs"};

	return name[place];
}

bool place_shared(enum place place)
{
	return place >= ON_TMPFS;
}

bool place_ready(enum place place, const char **why)
{
	*why = "";
	if (place == ON_TMPFS && !have_tmpfs)
		*why = "cannot mount a tmpfs (not root?)";
	if ((place == ON_HUGETLB || place == ON_HUGETLBFS) && !have_hugetlb)
		*why = "cannot reserve huge pages (not root, or too little memory)";
	if (place == ON_HUGETLBFS && have_hugetlb && !have_hugetlbfs)
		*why = "cannot mount a hugetlbfs";
	return !**why;
}

static enum mb_backing backing_of(enum place place)
{
	static const enum mb_backing backing[] = {MB_BACKING_ANON, MB_BACKING_MEMFD, MB_BACKING_HUGETLB_2M,
						  MB_BACKING_FILE, MB_BACKING_FILE,  MB_BACKING_FILE};

	return backing[place];
}

static const char *dir_of(enum place place)
{
	return place == ON_TMPFS       ? fixture_path("tmpfs")
	       : place == ON_HUGETLBFS ? fixture_path("hugetlbfs")
				       : dir;
}

struct mb_pool *pool_at(enum place place, uint64_t size, uint64_t budget)
{
	struct mb_pool_config config = {.backing = backing_of(place), .size = size, .budget = budget};
	struct mb_pool *pool = NULL;
	struct mb_error warning, err;

	config.memory_path = place_shared(place) ? dir_of(place) : NULL;
	if (mb_pool_create_private(&config, &pool, &warning, &err))
		fail_msg("%s: %s", place_name(place), err.text);
	return pool;
}

void pool_file_at(enum place place, const char *name, uint64_t size, uint64_t budget)
{
	struct mb_pool_config config = {.backing = backing_of(place), .size = size, .budget = budget};
	struct mb_error warning, err;
	char memory[256];

	snprintf(memory, sizeof(memory), "%s/%s.mem", dir_of(place), name);
	config.memory_path = memory;
	if (place == ON_HUGETLBFS)
		config.backing = MB_BACKING_HUGETLB_2M;
	if (mb_pool_create_file(fixture_path(name), &config, &warning, &err))
		fail_msg("%s: %s", place_name(place), err.text);
}

struct mb_pool *attach(const char *path)
{
	struct mb_pool *pool = NULL;
	struct mb_error err;

	if (mb_pool_attach(path, &pool, &err))
		fail_msg("%s: %s", path, err.text);
	return pool;
}

struct mb_space *space_of(struct mb_pool *pool, const char *name, uint64_t size, bool prealloc)
{
	struct mb_region region = {0, size};
	struct mb_space_config config = {
	    .name = name, .regions = &region, .region_count = 1, .prealloc = prealloc};
	struct mb_space *space = NULL;
	struct mb_error err;

	if (mb_space_create(pool, &config, &space, &err))
		fail_msg("%s: %s", name, err.text);
	return space;
}

/* ---- looking ------------------------------------------------------------------------------------------- */

uint64_t budget_used(struct mb_pool *pool)
{
	struct mb_pool_status s;

	assert_int_equal(mb_pool_get_status(pool, &s, NULL), 0);
	return s.budget_used;
}

uint64_t resident(struct mb_space *space, uint64_t gpa, uint64_t len)
{
	unsigned char *vec = malloc(len / PAGE);
	uint64_t pages = 0;

	assert_non_null(vec);
	assert_int_equal(mincore((char *)mb_space_window(space) + gpa, len, vec), 0);
	for (uint64_t i = 0; i < len / PAGE; i++)
		pages += vec[i] & 1;
	free(vec);
	return pages * PAGE;
}

uint64_t pool_resident_bytes(struct mb_pool *pool)
{
	struct mb_pool_status s;

	assert_int_equal(mb_pool_get_status(pool, &s, NULL), 0);
	return s.resident;
}

struct mb_owner_status owner_of(struct mb_space *space)
{
	struct mb_space_status s;

	assert_int_equal(mb_space_get_status(space, &s, NULL), 0);
	return s.owner;
}

bool all_zero(const void *at, uint64_t len)
{
	const unsigned char *p = at;

	return !p[0] && !memcmp(p, p + 1, len - 1);
}

void fill(struct mb_space *space, uint64_t gpa, uint64_t len, unsigned char byte)
{
	void *p = mb_space_hva(space, gpa, len);

	assert_non_null(p);
	memset(p, byte, len);
}

void assert_error(const struct mb_error *err, int code)
{
	size_t n = strlen(err->text);

	assert_int_equal(err->code, code);
	assert_true(n > 0 && n < sizeof(err->text) - 1);
	for (size_t i = 0; i < n; i++)
		assert_true((unsigned char)err->text[i] >= 0x20);
}

/* ---- checks -------------------------------------------------------------------------------------------- */

struct kinds {
	const char *kind;
	int of_kind;
	int all;
	bool say;
};

static int see(void *arg, const struct mb_discrepancy *d)
{
	struct kinds *k = arg;

	assert_non_null(d->kind);
	assert_true(d->text[0] && !strchr(d->text, '\n'));
	k->all++;
	if (k->kind && !strcmp(d->kind, k->kind))
		k->of_kind++;
	if (k->say)
		print_error("%s: %s\n", d->kind, d->text);
	return 0;
}

int count_kind(struct mb_space *space, const char *kind, int *all)
{
	struct kinds k = {.kind = kind};
	int found = mb_space_check(space, see, &k);

	assert_int_equal(found, k.all);
	if (all)
		*all = k.all;
	return k.of_kind;
}

int count_pool_kind(struct mb_pool *pool, const char *kind, int *all)
{
	struct kinds k = {.kind = kind};
	int found = mb_pool_check(pool, see, &k);

	assert_int_equal(found, k.all);
	if (all)
		*all = k.all;
	return k.of_kind;
}

void assert_clean(struct mb_space *space)
{
	struct kinds k = {.say = true};

	assert_int_equal(mb_space_check(space, see, &k), 0);
}

void assert_pool_clean(struct mb_pool *pool)
{
	struct kinds k = {.say = true};

	assert_int_equal(mb_pool_check(pool, see, &k), 0);
}

int fixture_run(unsigned hugepages, enum place first, enum place *place, const struct CMUnitTest *tests,
		size_t count)
{
	int failed = 0;

	if (fixture_begin(hugepages))
		return 1;
	for (*place = first; *place < PLACES; ++*place) {
		const char *why;

		printf("# %s\n", place_name(*place));
		if (!place_ready(*place, &why)) {
			printf("# left out: %s\n", why);
			continue;
		}
		failed += _cmocka_run_group_tests(place_name(*place), tests, count, NULL, NULL);
	}
	fixture_end();
	return failed ? 1 : 0;
}
