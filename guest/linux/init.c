/* SPDX-License-Identifier: MIT */
/*
 * init.c - the first process of a Linux guest: loads modules, then does as it is told over the console.
 *
 * A static program for Linux, not a freestanding guest like its neighbours. One command a line; each is
 * answered by lines that begin with "linux: ", the last of which is "linux: ok" or "linux: error ...".
 *
 *   alloc SIZE    takes memory (bytes, or with K, M, G) and writes a pattern to it
 *   verify        reads all of it; an error names the first wrong word
 *   free          gives all of it back to the kernel
 *   memory        MemTotal, MemFree and MemAvailable in KiB
 *   cpus          how many are up
 *   load MODULE   loads a further module of /modules
 *   sh COMMAND    runs it with busybox; what it prints follows, and its status is the answer
 *   watch-power   says "linux: power button" when that is pressed, and switches off
 *   poweroff, reboot, panic
 *
 * All of /modules/order is loaded first, but for A and B with without=A,B on the kernel's command line.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/input.h>
#include <linux/reboot.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define LINE_BYTES 4096

/* The memory that was taken, as words. */
struct memory {
	uint64_t *words;
	size_t size; /* bytes */
	uint64_t seed;
};

static void ok(void)
{
	printf("linux: ok\n");
}

static void failed(const char *what, int error)
{
	printf("linux: error %s: %s\n", what, strerror(error));
}

/* ---- set-up ----------------------------------------------------------------------------------------- */

static int load_module(const char *name)
{
	char path[256];
	snprintf(path, sizeof(path), "/modules/%s", name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int rc = syscall(SYS_finit_module, fd, "", 0) == 0 || errno == EEXIST ? 0 : -errno;
	close(fd);
	return rc;
}

/* The value of an option on the kernel's command line; false: it is not there. */
static bool kernel_option(const char *name, char *out, size_t size)
{
	char line[LINE_BYTES] = "", *rest = line, *word;
	FILE *f = fopen("/proc/cmdline", "re");
	if (f == NULL)
		return false;
	if (fgets(line, sizeof(line), f) == NULL)
		line[0] = '\0';
	fclose(f);
	size_t length = strlen(name);
	while ((word = strsep(&rest, " \n")) != NULL) {
		if (strncmp(word, name, length) == 0 && word[length] == '=') {
			snprintf(out, size, "%s", word + length + 1);
			return true;
		}
	}
	return false;
}

/* All of /modules/order, in which what others need comes first, but for those that shall be left out. */
static void load_modules(void)
{
	char without[1024] = "", name[128], key[140], list[1040];
	kernel_option("without", without, sizeof(without));
	snprintf(list, sizeof(list), ",%s,", without);
	FILE *f = fopen("/modules/order", "re");
	if (f == NULL)
		return;
	while (fgets(name, sizeof(name), f) != NULL) {
		name[strcspn(name, "\n")] = '\0';
		snprintf(key, sizeof(key), ",%s,", name);
		if (strstr(list, key) != NULL)
			continue;
		int rc = load_module(name);
		if (rc != 0)
			printf("linux: module %s: %s\n", name, strerror(-rc));
	}
	fclose(f);
}

static void set_up(void)
{
	struct termios t;
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/dev", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	/* what is typed is no echo of ours */
	if (tcgetattr(STDIN_FILENO, &t) == 0) {
		t.c_lflag &= ~(tcflag_t)(ECHO | ICANON | ISIG);
		tcsetattr(STDIN_FILENO, TCSANOW, &t);
	}
	setenv("PATH", "/bin", 1); /* busybox' shell finds its own programs without */
	load_modules();
}

/* ---- memory ----------------------------------------------------------------------------------------- */

static uint64_t pattern(const struct memory *m, size_t word)
{
	return (m->seed << 48 ^ word) * UINT64_C(0x9e3779b97f4a7c15);
}

static void do_free(struct memory *m)
{
	if (m->words != NULL)
		munmap(m->words, m->size);
	m->words = NULL;
	m->size = 0;
	ok();
}

static void do_alloc(struct memory *m, const char *text)
{
	char *end;
	uint64_t size = strtoull(text, &end, 10);
	size <<= *end == 'G' ? 30 : *end == 'M' ? 20 : *end == 'K' ? 10 : 0;
	if (m->words != NULL || size == 0) {
		failed("alloc", m->words != NULL ? EBUSY : EINVAL);
		return;
	}
	void *words = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (words == MAP_FAILED) {
		failed("alloc", errno);
		return;
	}
	m->words = words;
	m->size = size;
	m->seed++;
	for (size_t i = 0; i < size / sizeof(*m->words); i++)
		m->words[i] = pattern(m, i);
	ok();
}

static void do_verify(const struct memory *m)
{
	for (size_t i = 0; i < m->size / sizeof(*m->words); i++) {
		if (m->words[i] != pattern(m, i)) {
			printf("linux: error word %zu is %#" PRIx64 ", not %#" PRIx64 "\n", i, m->words[i],
			       pattern(m, i));
			return;
		}
	}
	ok();
}

static void do_memory(void)
{
	char line[256];
	FILE *f = fopen("/proc/meminfo", "re");
	if (f == NULL) {
		failed("meminfo", errno);
		return;
	}
	while (fgets(line, sizeof(line), f) != NULL) {
		if (strncmp(line, "Mem", 3) == 0)
			printf("linux: %s", line);
	}
	fclose(f);
	ok();
}

/* ---- the machine ------------------------------------------------------------------------------------ */

static void do_sh(const char *command)
{
	int status;
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		execl("/bin/busybox", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		failed("sh", errno);
		return;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		ok();
	else
		printf("linux: error status %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
}

static int open_power_button(void)
{
	char path[32], name[64];
	for (unsigned i = 0; i < 8; i++) {
		snprintf(path, sizeof(path), "/dev/input/event%u", i);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (ioctl(fd, (unsigned long)EVIOCGNAME(sizeof(name)), name) > 0 &&
		    strcmp(name, "Power Button") == 0)
			return fd;
		close(fd);
	}
	return -ENODEV;
}

static void power_off(void)
{
	fflush(stdout);
	tcdrain(STDOUT_FILENO);
	sync();
	reboot(LINUX_REBOOT_CMD_POWER_OFF);
}

static void do_watch_power(void)
{
	struct input_event event;
	int fd = open_power_button();
	if (fd < 0) {
		failed("power button", -fd);
		return;
	}
	printf("linux: watching\n");
	while (read(fd, &event, sizeof(event)) == (ssize_t)sizeof(event)) {
		if (event.type != EV_KEY || event.code != KEY_POWER || event.value != 1)
			continue;
		printf("linux: power button\n");
		power_off();
	}
	close(fd);
	failed("power button", EIO);
}

static void do_panic(void)
{
	int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "c", 1) != 1)
		failed("panic", errno);
	if (fd >= 0)
		close(fd);
}

static void obey(struct memory *m, char *line)
{
	char *argument = line + strcspn(line, " ");
	if (*argument != '\0')
		*argument++ = '\0';
	if (strcmp(line, "alloc") == 0) {
		do_alloc(m, argument);
	} else if (strcmp(line, "verify") == 0) {
		do_verify(m);
	} else if (strcmp(line, "free") == 0) {
		do_free(m);
	} else if (strcmp(line, "memory") == 0) {
		do_memory();
	} else if (strcmp(line, "cpus") == 0) {
		printf("linux: cpus %ld\n", sysconf(_SC_NPROCESSORS_ONLN));
		ok();
	} else if (strcmp(line, "load") == 0) {
		int rc = load_module(argument);
		rc == 0 ? ok() : failed("load", -rc);
	} else if (strcmp(line, "sh") == 0) {
		do_sh(argument);
	} else if (strcmp(line, "watch-power") == 0) {
		do_watch_power();
	} else if (strcmp(line, "poweroff") == 0) {
		power_off();
	} else if (strcmp(line, "reboot") == 0) {
		reboot(LINUX_REBOOT_CMD_RESTART);
	} else if (strcmp(line, "panic") == 0) {
		do_panic();
	} else if (line[0] != '\0') {
		printf("linux: error unknown command '%s'\n", line);
	}
}

int main(void)
{
	static char line[LINE_BYTES];
	struct memory memory = {0};
	struct utsname name = {0};
	size_t used = 0;
	set_up();
	uname(&name);
	printf("linux: ready %s\n", name.release);
	for (;;) {
		ssize_t n = read(STDIN_FILENO, line + used, 1);
		if (n != 1) {
			/* nobody types any more */
			sleep(1);
			continue;
		}
		if (line[used] != '\n' && line[used] != '\r') {
			used += used < sizeof(line) - 2;
			continue;
		}
		line[used] = '\0';
		used = 0;
		obey(&memory, line);
	}
}
