/* SPDX-License-Identifier: MIT */
/* options.c - see options.h. */
#include "options.h"

#include "error.h"
#include "options_disk.h"
#include "size.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HUGE_BYTES     (UINT64_C(2) << 20)
#define GIANT_BYTES    (UINT64_C(1) << 30)
#define CPUS_MAX       1024
#define NAME_MAX_BYTES 63

enum option_number {
	OPT_NAME = 256,
	OPT_MEMORY,
	OPT_MAX_MEMORY,
	OPT_MEMORY_BLOCK,
	OPT_MEMORY_MIN,
	OPT_OVERCOMMIT,
	OPT_CPUS,
	OPT_CPU_DISABLE,
	OPT_BACKING,
	OPT_POOL,
	OPT_BUDGET,
	OPT_BALLOON,
	OPT_PREALLOC,
	OPT_KERNEL,
	OPT_INITRD,
	OPT_APPEND,
	OPT_DISK,
	OPT_RNG,
	OPT_QMP,
	OPT_SERIAL,
	OPT_VERBOSE,
	OPT_QUIET,
	OPT_VERSION,
};

static const struct option longopts[] = {
    /* clang-format off */
    {"name", required_argument, NULL, OPT_NAME},
    {"memory", required_argument, NULL, OPT_MEMORY},
    {"max-memory", required_argument, NULL, OPT_MAX_MEMORY},
    {"memory-block", required_argument, NULL, OPT_MEMORY_BLOCK},
    {"memory-min", required_argument, NULL, OPT_MEMORY_MIN},
    {"overcommit", no_argument, NULL, OPT_OVERCOMMIT},
    {"cpus", required_argument, NULL, OPT_CPUS},
    {"cpu-disable", required_argument, NULL, OPT_CPU_DISABLE},
    {"backing", required_argument, NULL, OPT_BACKING},
    {"pool", required_argument, NULL, OPT_POOL},
    {"budget", required_argument, NULL, OPT_BUDGET},
    {"balloon", required_argument, NULL, OPT_BALLOON},
    {"prealloc", no_argument, NULL, OPT_PREALLOC},
    {"kernel", required_argument, NULL, OPT_KERNEL},
    {"initrd", required_argument, NULL, OPT_INITRD},
    {"append", required_argument, NULL, OPT_APPEND},
    {"disk", required_argument, NULL, OPT_DISK},
    {"rng", no_argument, NULL, OPT_RNG},
    {"qmp", required_argument, NULL, OPT_QMP},
    {"serial", required_argument, NULL, OPT_SERIAL},
    {"verbose", no_argument, NULL, OPT_VERBOSE},
    {"quiet", no_argument, NULL, OPT_QUIET},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
    /* clang-format on */
};

static const char help[] =
    "usage: memback-vmm --kernel FILE --memory SIZE [OPTION...]\n"
    "Launches a guest on KVM whose memory is tracked frame by frame, and can be taken and given back while\n"
    "it runs (see membackctl).\n"
    "\n"
    "The guest\n"
    "  --kernel FILE       a bzImage (vmlinuz, memtest86+), or an ELF image with a PVH entry point (vmlinux)\n"
    "  --initrd FILE       its initial RAM disk\n"
    "  --append STRING     its command line\n"
    "  --disk FILE[,readonly][,serial=ID]\n"
    "                      a raw image or block device as a disk; up to 5 of them\n"
    "  --rng               a source of random numbers\n"
    "  --memory SIZE       its memory: a multiple of 2M (default 256M)\n"
    "  --max-memory SIZE   what it can have at most: what is above --memory can be plugged while it runs\n"
    "                      (virtio-mem), in blocks of --memory-block (default 2M)\n"
    "  --cpus N            its processors (default 1)\n"
    "  --cpu-disable FEATURE,...\n"
    "                      features of the host's processor that they shall not have, as in /proc/cpuinfo\n"
    "  --name NAME         its name, for messages and in the pool (default vm-PID)\n"
    "  --serial WHERE      its serial port: stdio (default), pty, file:PATH or none;\n"
    "                      on a terminal, Ctrl-A x ends the VM and Ctrl-A h helps\n"
    "\n"
    "Its memory\n"
    "  --backing KIND      where the bytes live: anon (default), memfd, hugetlb=2M, hugetlb=1G, or\n"
    "                      file:PATH (made, and removed at the end)\n"
    "  --pool PATH         take it from this pool file, which other VMs share (membackctl pool create)\n"
    "  --budget SIZE       the most bytes that the guest may have out (default: all of --memory, or\n"
    "                      of --max-memory)\n"
    "  --balloon SIZE      what the guest shall give back at once when it has started (default 0)\n"
    "  --overcommit        take bytes when the guest touches them, not at launch; when there are none left it\n"
    "                      is paused until there are (wants userfaultfd, see memback-vmm(1))\n"
    "  --memory-min SIZE   with --overcommit: bytes that are this guest's own, touched or not\n"
    "  --prealloc          make all of it resident before the guest starts, and again what it gets back\n"
    "\n"
    "Control\n"
    "  --qmp PATH          listen here for QMP (QEMU's machine protocol), and for membackctl\n"
    "  --verbose           say more; --quiet: errors only\n"
    "  -h, --help; --version\n"
    "\n"
    "Sizes are bytes, or have a unit: K, M, G, T (powers of 1024).\n"
    "The exit status is the guest's (what it wrote to port 0xf4), 0 when it switched itself off or the VM was\n"
    "ended from outside (quit, Ctrl-A x, SIGTERM, SIGINT), 3 when the guest was reset (reboot, panic=-1: the\n"
    "VM ends, and does not start anew), and 1 when it could not start or the guest crashed.\n";

/* ---- values ----------------------------------------------------------------------------------------- */

static int bad_size(const char *option, const char *text, int rc, struct mb_error *err)
{
	if (rc == -ERANGE)
		return error_set(err, -EINVAL, "%s '%s': more than 64 bits can hold; at most 8E", option, text);
	if (rc == -EDOM)
		return error_set(
		    err, -EINVAL,
		    "%s '%s': no whole number of bytes; write it without a fraction, in a smaller unit", option,
		    text);
	return error_set(err, -EINVAL, "%s '%s': not a size; write bytes, or a number with K, M, G or T",
			 option, text);
}

static int take_size(const char *option, const char *text, uint64_t *out, struct mb_error *err)
{
	int rc = size_parse(text, out);
	return rc == 0 ? 0 : bad_size(option, text, rc, err);
}

static int take_cpus(const char *text, unsigned *out, struct mb_error *err)
{
	char *end;
	errno = 0;
	unsigned long n = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || n == 0 || n > CPUS_MAX)
		return error_set(err, -EINVAL, "--cpus '%s': give a number from 1 to %d", text, CPUS_MAX);
	*out = (unsigned)n;
	return 0;
}

static int take_backing(const char *text, struct vm_config *c, struct mb_error *err)
{
	if (strncmp(text, "file:", 5) == 0 && text[5] != '\0') {
		c->backing = MB_BACKING_FILE;
		c->backing_path = text + 5;
		return 0;
	}
	if (strcmp(text, "file") == 0)
		return error_set(err, -EINVAL, "--backing file: name it, as file:PATH");
	if (mb_backing_parse(text, &c->backing) != 0)
		return error_set(err, -EINVAL,
				 "--backing '%s': there is anon, memfd, hugetlb=2M, hugetlb=1G and file:PATH",
				 text);
	c->backing_path = NULL;
	return 0;
}

static int take_serial(const char *text, struct vm_config *c, struct mb_error *err)
{
	c->serial_path = NULL;
	if (strcmp(text, "stdio") == 0) {
		c->serial = CONSOLE_STDIO;
	} else if (strcmp(text, "pty") == 0) {
		c->serial = CONSOLE_PTY;
	} else if (strcmp(text, "none") == 0) {
		c->serial = CONSOLE_NONE;
	} else if (strncmp(text, "file:", 5) == 0 && text[5] != '\0') {
		c->serial = CONSOLE_FILE;
		c->serial_path = text + 5;
	} else {
		return error_set(err, -EINVAL, "--serial '%s': there is stdio, pty, file:PATH and none", text);
	}
	return 0;
}

static int take_name(const char *text, struct vm_config *c, struct mb_error *err)
{
	if (text[0] == '\0' || strlen(text) > NAME_MAX_BYTES)
		return error_set(err, -EINVAL, "--name '%.70s': give a name of 1 to %d bytes", text,
				 NAME_MAX_BYTES);
	for (const char *p = text; *p != '\0'; p++) {
		if ((unsigned char)*p <= ' ' || *p == 0x7f)
			return error_set(err, -EINVAL,
					 "--name: a name has no blanks and no control characters");
	}
	c->name = text;
	return 0;
}

static int take_disk(char *text, struct vm_config *c, struct mb_error *err)
{
	if (c->disk_count == VM_DISKS_MAX)
		return error_set(err, -EINVAL, "--disk '%s': a VM has at most %d disks", text, VM_DISKS_MAX);
	return options_parse_disk(text, &c->disks[c->disk_count++], err);
}

static int take_option(int option, char *value, struct options *o, bool *backing_given, struct mb_error *err)
{
	struct vm_config *c = &o->vm;
	switch (option) {
	case OPT_NAME:
		return take_name(value, c, err);
	case OPT_MEMORY:
		return take_size("--memory", value, &c->memory, err);
	case OPT_MAX_MEMORY:
		return take_size("--max-memory", value, &c->max_memory, err);
	case OPT_MEMORY_BLOCK:
		return take_size("--memory-block", value, &c->memory_block, err);
	case OPT_MEMORY_MIN:
		return take_size("--memory-min", value, &c->memory_min, err);
	case OPT_OVERCOMMIT:
		c->overcommit = true;
		return 0;
	case OPT_CPUS:
		return take_cpus(value, &c->cpus, err);
	case OPT_CPU_DISABLE:
		return cpu_mask_add(&c->cpu_disable, value, err);
	case OPT_BACKING:
		*backing_given = true;
		return take_backing(value, c, err);
	case OPT_POOL:
		c->pool_path = value;
		return 0;
	case OPT_BUDGET:
		if (take_size("--budget", value, &c->budget, err) != 0)
			return err->code;
		return c->budget != 0 ? 0
				      : error_set(err, -EINVAL, "--budget 0: no guest can run with no memory");
	case OPT_BALLOON:
		return take_size("--balloon", value, &c->balloon, err);
	case OPT_PREALLOC:
		c->prealloc = true;
		return 0;
	case OPT_KERNEL:
		c->kernel = value;
		return 0;
	case OPT_INITRD:
		c->initrd = value;
		return 0;
	case OPT_APPEND:
		c->append = value;
		return 0;
	case OPT_DISK:
		return take_disk(value, c, err);
	case OPT_RNG:
		c->rng = true;
		return 0;
	case OPT_QMP:
		c->qmp_path = value;
		return 0;
	case OPT_SERIAL:
		return take_serial(value, c, err);
	case OPT_VERBOSE:
		o->level = LOG_DEBUG;
		return 0;
	default:
		o->level = LOG_ERROR;
		return 0;
	}
}

/* ---- what goes together ------------------------------------------------------------------------------- */

static int check_memory(const struct vm_config *c, struct mb_error *err)
{
	char given[SIZE_TEXT], below[SIZE_TEXT], above[SIZE_TEXT];
	uint64_t down = c->memory / HUGE_BYTES * HUGE_BYTES;
	if (c->memory == 0)
		return error_set(err, -EINVAL, "--memory 0: no guest can run without; give at least 2M");
	if (c->memory != down && c->memory < HUGE_BYTES)
		return error_set(err, -EINVAL, "--memory %s: it must be a multiple of 2M; give at least 2M",
				 size_format(c->memory, given));
	if (c->memory != down && c->memory > UINT64_MAX - HUGE_BYTES)
		return error_set(err, -EINVAL, "--memory: too large");
	if (c->memory != down)
		return error_set(err, -EINVAL,
				 "--memory %llu: it must be a multiple of 2M; the next are %s and %s",
				 (unsigned long long)c->memory, size_exact(down, below),
				 size_exact(down + HUGE_BYTES, above));
	return 0;
}

/* The region is what --max-memory has beyond --memory: whole blocks of a size that a bit can stand for. */
static int check_pluggable(const struct vm_config *c, struct mb_error *err)
{
	char text[SIZE_TEXT], memory[SIZE_TEXT];
	uint64_t block = c->memory_block;
	if (block < HUGE_BYTES || block > GIANT_BYTES || (block & (block - 1)) != 0)
		return error_set(err, -EINVAL, "--memory-block %s: a power of two from 2M to 1G is wanted",
				 size_format(block, text));
	if (c->max_memory == 0)
		return 0;
	if (c->max_memory < c->memory)
		return error_set(err, -EINVAL, "--max-memory %s is less than --memory %s",
				 size_format(c->max_memory, text), size_format(c->memory, memory));
	if ((c->max_memory - c->memory) % block != 0)
		return error_set(
		    err, -EINVAL,
		    "--max-memory %s: it must be --memory (%s) and a multiple of --memory-block (%s)",
		    size_format(c->max_memory, text), size_format(c->memory, memory),
		    size_format(block, (char[SIZE_TEXT]){0}));
	return 0;
}

static int check_together(const struct options *o, bool backing_given, struct mb_error *err)
{
	const struct vm_config *c = &o->vm;
	char memory[SIZE_TEXT], other[SIZE_TEXT];
	if (c->kernel == NULL)
		return error_set(err, -EINVAL, "no kernel: name an image with --kernel FILE (see --help)");
	int rc = check_memory(c, err);
	if (rc == 0)
		rc = check_pluggable(c, err);
	if (rc != 0)
		return rc;
	if (c->balloon > c->memory - HUGE_BYTES)
		return error_set(err, -EINVAL, "--balloon %s: a guest of %s cannot give so much; at most %s",
				 size_format(c->balloon, other), size_format(c->memory, memory),
				 size_exact(c->memory - HUGE_BYTES, (char[SIZE_TEXT]){0}));
	if (c->memory_min != 0 && !c->overcommit)
		return error_set(err, -EINVAL,
				 "--memory-min goes with --overcommit: without it all of --memory is the "
				 "guest's own");
	if (c->pool_path != NULL && (backing_given || c->budget != 0))
		return error_set(err, -EINVAL, "--pool has its own backing and budget: leave out %s",
				 backing_given ? "--backing" : "--budget");
	return 0;
}

/* How many options begin with the name in this word "--NAME=VALUE". */
static unsigned count_options(const char *word)
{
	unsigned count = 0;
	size_t length = strcspn(word, "=");
	for (const struct option *o = longopts; length > 2 && o->name != NULL; o++)
		count += strncmp(o->name, word + 2, length - 2) == 0;
	return count;
}

static enum options_result unknown_option(const char *word, struct mb_error *err)
{
	int length = (int)strcspn(word, "=");
	/* a single letter is named by optopt: the word that it is in may not be over yet */
	if (optopt > 0 && optopt < OPT_NAME)
		error_set(err, -EINVAL, "option '-%c' is not known (see --help)", optopt);
	else if (optopt >= OPT_NAME)
		error_set(err, -EINVAL, "option '%.*s' takes no value; leave out '%s'", length, word,
			  word + length);
	else if (count_options(word) > 1)
		error_set(err, -EINVAL, "option '%.*s' is not clear: %u options begin like this (see --help)",
			  length, word, count_options(word));
	else
		error_set(err, -EINVAL, "option '%.*s' is not known (see --help)", length, word);
	return OPTIONS_BAD;
}

enum options_result options_parse(int argc, char **argv, struct options *out, struct mb_error *err)
{
	bool backing_given = false;
	int option;
	*out = (struct options){.level = LOG_INFO};
	out->vm = (struct vm_config){
	    .memory = UINT64_C(256) << 20, .memory_block = HUGE_BYTES, .cpus = 1, .backing = MB_BACKING_ANON};
	snprintf(out->name, sizeof(out->name), "vm-%d", (int)getpid());
	out->vm.name = out->name;
	opterr = 0;
	optind = 0; /* begins anew, within a word too */
	while ((option = getopt_long(argc, argv, ":h", longopts, NULL)) != -1) {
		const char *word = argv[optind - 1];
		if (option == 'h' || option == OPT_VERSION) {
			if (option == 'h')
				fputs(help, stdout);
			else
				printf("memback-vmm %s\n", mb_version());
			return OPTIONS_DONE;
		}
		if (option == ':') {
			error_set(err, -EINVAL, "option '%s' needs a value (see --help)", word);
			return OPTIONS_BAD;
		}
		if (option == '?')
			return unknown_option(word, err);
		if (take_option(option, optarg, out, &backing_given, err) != 0)
			return OPTIONS_BAD;
	}
	if (optind < argc) {
		error_set(err, -EINVAL, "'%s' is no option (see --help)", argv[optind]);
		return OPTIONS_BAD;
	}
	return check_together(out, backing_given, err) == 0 ? OPTIONS_RUN : OPTIONS_BAD;
}
