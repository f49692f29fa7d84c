/* SPDX-License-Identifier: MIT */
/*
 * replay.c - runs a libFuzzer target without libFuzzer: on the files named, or on seeded random inputs.
 *
 *   replay FILE|FOLDER...       each file, and each file of a folder, is an input
 *   replay --random COUNT SEED  so many inputs; a failing one is told by its number, and can be had again
 *                               with the same seed
 */
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_MAX_INPUT 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t next(uint64_t *x)
{
	*x ^= *x << 13, *x ^= *x >> 7, *x ^= *x << 17;
	return *x * 0x2545f4914f6cdd1d;
}

static int run_random(unsigned long count, uint64_t seed)
{
	static uint8_t data[SIZE_MAX_INPUT];

	for (unsigned long i = 0; i < count; i++) {
		uint64_t x = (seed + i) * 0x9e3779b97f4a7c15 + 1;
		size_t size = next(&x) % sizeof(data);

		for (size_t n = 0; n < size; n++)
			data[n] = (uint8_t)(next(&x) >> 32);
		/* Said before, so that it stands there if the input kills us. */
		if (i % 500 == 0)
			printf("# inputs from %lu on, seed %llu\n", i, (unsigned long long)seed);
		fflush(stdout);
		LLVMFuzzerTestOneInput(data, size);
	}
	return 0;
}

static int run_file(const char *path)
{
	static uint8_t data[1 << 20];
	FILE *f = fopen(path, "rb");
	size_t size;

	if (!f) {
		perror(path);
		return 1;
	}
	size = fread(data, 1, sizeof(data), f);
	fclose(f);
	LLVMFuzzerTestOneInput(data, size);
	printf("ok %s\n", path);
	return 0;
}

/* All of a folder, in no order; -1: it is none. */
static int run_folder(const char *path)
{
	DIR *folder = opendir(path);
	char name[4096];
	struct dirent *e;
	int rc = 0;

	if (!folder)
		return -1;
	while (!rc && (e = readdir(folder))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
		rc = run_file(name);
	}
	closedir(folder);
	return rc;
}

int main(int argc, char **argv)
{
	int rc = 0;

	if (argc == 4 && !strcmp(argv[1], "--random"))
		return run_random(strtoul(argv[2], NULL, 0), strtoull(argv[3], NULL, 0));
	if (argc < 2 || argv[1][0] == '-') {
		bool help = argc == 2 && !strcmp(argv[1], "--help");

		fprintf(help ? stdout : stderr, "usage: %s FILE|FOLDER... | --random COUNT SEED\n", argv[0]);
		return help ? 0 : 2;
	}
	for (int i = 1; i < argc && !rc; i++) {
		rc = run_folder(argv[i]);
		if (rc < 0)
			rc = run_file(argv[i]);
	}
	return rc;
}
