/* SPDX-License-Identifier: MIT */
/*
 * hello.c - the smallest guest: says what machine it finds, and ends with status 0.
 *
 * Options:
 *   cpus=N    start N CPUs (the VMM says how many there are)
 *   exit=N    end with this status instead
 *   echo      print each typed line until "quit"
 */
#include "lib/boot.h"
#include "lib/console.h"
#include "lib/irq.h"
#include "lib/machine.h"
#include "lib/smp.h"
#include "lib/text.h"
#include <platform.h>

static void echo(void)
{
	char line[CONSOLE_LINE];

	irq_enable(PLATFORM_SERIAL_GSI);
	for (;;) {
		while (console_read_line(line)) {
			print("hello: you said '%s'\n", line);
			if (!strcmp(line, "quit"))
				return;
		}
		irq_wait(0);
	}
}

int guest_main(void)
{
	unsigned cpus;

	print("hello: here I am, with %lu MiB of memory in %u range%s\n",
	      (unsigned long)(boot_ram_bytes() >> 20), boot.ram_count, boot.ram_count == 1 ? "" : "s");
	for (unsigned i = 0; i < boot.ram_count; i++)
		print("hello: memory 0x%lx to 0x%lx\n", boot.ram[i].start, boot.ram[i].end);
	for (unsigned i = 0; i < boot_words(); i++)
		print("hello: option %s\n", boot_word(i));
	cpus = smp_start();
	for (unsigned i = 0; i < cpus; i++)
		print("hello: cpu %u is up, local apic id %u\n", i, smp_apic_id(i));
	if (boot_option("echo"))
		echo();
	print("hello: goodbye\n");
	return (int)boot_option_number("exit", EXIT_OK);
}
