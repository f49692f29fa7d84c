/* SPDX-License-Identifier: MIT */
/*
 * tuning.c - kernel settings for the time of a benchmark, see tuning.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tuning.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHMEM     "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define HUGEPAGES "/proc/sys/vm/nr_hugepages"

/* For the signal handler, which has no other way to know. */
static const struct tuning *active;

/* Async-signal-safe. */
static void write_setting(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, value, strlen(value)) < 0) {
		/* Then it stays as it is. */
	}
	close(fd);
}

static void read_setting(const char *path, char *value, size_t size)
{
	FILE *f = fopen(path, "r");

	value[0] = '\0';
	if (!f)
		return;
	if (!fgets(value, (int)size, f))
		value[0] = '\0';
	fclose(f);
	value[strcspn(value, "\n")] = '\0';
}

static void put_back(const struct tuning *t)
{
	if (t->shmem[0])
		write_setting(SHMEM, t->shmem);
	if (t->hugepages[0])
		write_setting(HUGEPAGES, t->hugepages);
}

static void on_signal(int signal)
{
	if (active)
		put_back(active);
	_exit(128 + signal);
}

void tuning_begin(struct tuning *t, uint64_t hugepages)
{
	char text[128], *word;

	memset(t, 0, sizeof(*t));
	active = t;
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	signal(SIGHUP, on_signal);
	read_setting(SHMEM, text, sizeof(text));
	word = strchr(text, '[');
	if (word && strchr(word, ']') && (size_t)(strchr(word, ']') - word) < sizeof(t->shmem)) {
		*strchr(word, ']') = '\0';
		strcpy(t->shmem, word + 1);
		write_setting(SHMEM, "advise");
	}
	read_setting(HUGEPAGES, t->hugepages, sizeof(t->hugepages));
	if (t->hugepages[0]) {
		snprintf(text, sizeof(text), "%llu",
			 strtoull(t->hugepages, NULL, 10) + (unsigned long long)hugepages);
		write_setting(HUGEPAGES, text);
	}
}

void tuning_end(struct tuning *t)
{
	put_back(t);
	active = NULL;
}
