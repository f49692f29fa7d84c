/* SPDX-License-Identifier: MIT */
/*
 * disk.c - a guest that uses its disks, and verifies what they do.
 *
 * Options, done in the order in which they come:
 *   disk=N        the following is for disk number N (default 0)
 *   info          print its size, block size, features and serial number
 *   write=SEED    fill all of it with the pattern of this seed, in requests of all sizes, several at once
 *   verify=SEED   read all of it and compare
 *   flush         make it safe
 *   sum           print a checksum (FNV-1a, 64 bits, over 64-bit words) of all of it
 *   discard=S+N   discard N sectors from S on, which read as zero then
 *   zero=S+N      write zeroes there
 *   zeros=S+N     verify that they are zero
 *   refuse        verify that nothing can be written, discarded or zeroed
 *   reset=N       N times: requests in flight, a reset, and memory that is the guest's own from then on
 *   random=N      N bytes of virtio-rng's; verify that they look like random ones
 *   exit=N        end with this status at the end
 *   serve         then wait for lines of such words on the serial port, until "quit"
 *
 * Each prints a line "disk: WORD ...: ok", or what is wrong, which ends the VM with status 1.
 */
#include "guest.h"

#include "lib/boot.h"
#include "lib/console.h"
#include "lib/cpu.h"
#include "lib/irq.h"
#include "lib/machine.h"
#include "lib/text.h"
#include <platform.h>
#include <stddef.h>

struct word {
	const char *name;
	void (*run)(struct guest *g, const char *value);
};

void fail(const struct guest *g, const char *what, uint64_t at)
{
	print("disk: FAILED: disk %u: %s (at %lu)\n", g->number, what, (unsigned long)at);
	machine_exit(EXIT_FAIL);
}

uint64_t number_of(const char *text, const char **end)
{
	uint64_t n;

	if (!text_parse_size(text, &n, end))
		machine_die("disk: '%s' is no number", text);
	return n;
}

static void choose(struct guest *g, const char *value)
{
	uint64_t n = number_of(value, NULL);
	const char *error;

	if (n >= DISKS_MAX)
		machine_die("disk: there is no disk %lu", (unsigned long)n);
	g->number = (unsigned)n;
	g->b = &g->disks[n];
	if (g->b->frames)
		return;
	error = blk_driver_open(g->b, g->number);
	if (error)
		machine_die("disk: disk %u: %s", g->number, error);
}

static void info(struct guest *g, const char *value)
{
	char *id = (char *)g->buffer;

	(void)value;
	memset(id, 0, BLK_ID_BYTES + 1);
	if (blk_driver_do(g->b, BLK_T_GET_ID, 0, id, BLK_ID_BYTES, true) != BLK_S_OK)
		fail(g, "the serial number cannot be had", 0);
	print("disk: info: disk %u has %lu sectors in blocks of %u bytes, serial '%s'%s%s%s: ok\n", g->number,
	      (unsigned long)g->b->sectors, g->b->block_size, id, g->b->readonly ? ", read only" : "",
	      g->b->can_discard ? ", discard" : "", g->b->can_zero ? ", write zeroes" : "");
}

static void flush(struct guest *g, const char *value)
{
	(void)value;
	if (blk_driver_do(g->b, BLK_T_FLUSH, 0, NULL, 0, false) != BLK_S_OK)
		fail(g, "flush", 0);
	print("disk: flush: ok\n");
}

static void nothing(struct guest *g, const char *value)
{
	(void)g;
	(void)value;
}

static const struct word table[] = {
    {"disk", choose},
    {"info", info},
    {"write", transfer_write},
    {"verify", transfer_verify},
    {"flush", flush},
    {"sum", transfer_sum},
    {"discard", ranges_discard},
    {"zero", ranges_zero},
    {"zeros", ranges_check},
    {"refuse", ranges_refuse},
    {"reset", reset_rounds},
    {"random", random_bytes},
    {"exit", nothing},
    {"serve", nothing},
};

/* One word; false: not known. */
static bool run_word(struct guest *g, const char *text)
{
	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		size_t len = strlen(table[i].name);

		if (strncmp(text, table[i].name, len) || (text[len] && text[len] != '='))
			continue;
		if (!g->b && table[i].run != nothing && table[i].run != random_bytes && table[i].run != choose)
			choose(g, "0");
		table[i].run(g, text[len] ? text + len + 1 : "");
		return true;
	}
	return false;
}

static void run_line(struct guest *g, char *line)
{
	for (char *end; *line; line = end) {
		for (end = line; *end && *end != ' '; end++)
			;
		if (*end)
			*end++ = '\0';
		if (*line && !run_word(g, line))
			print("disk: '%s' is not known\n", line);
	}
	print("disk: done\n");
}

static void serve(struct guest *g)
{
	char line[CONSOLE_LINE];

	irq_enable(PLATFORM_SERIAL_GSI);
	print("disk: ready\n");
	for (;;) {
		while (console_read_line(line)) {
			if (!strcmp(line, "quit"))
				return;
			run_line(g, line);
		}
		irq_wait(0);
	}
}

int guest_main(void)
{
	static struct guest g;

	g.buffer = boot_reserve(BLK_SLOTS * BUFFER_BYTES, HUGE_SIZE);
	for (unsigned i = 0; i < boot_words(); i++)
		run_word(&g, boot_word(i));
	if (boot_option("serve"))
		serve(&g);
	print("disk: goodbye\n");
	return (int)boot_option_number("exit", EXIT_OK);
}
