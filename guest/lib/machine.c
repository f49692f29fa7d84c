/* SPDX-License-Identifier: MIT */
/*
 * machine.c - the first C code at CPL3, and the last.
 */
#include "machine.h"

#include "boot.h"
#include "console.h"
#include "cpu.h"
#include "irq.h"
#include "paging.h"
#include "text.h"
#include "trap.h"
#include <platform.h>

_Noreturn void start_main(void);

_Noreturn void start_main(void)
{
	trap_init();
	/* before the console may pull its line: the old interrupt controller would take it for an exception */
	irq_init();
	console_init();
	boot_parse();
	paging_init();
	machine_exit(guest_main());
}

_Noreturn void machine_exit(int status)
{
	for (;;) {
		cpu_outb(PLATFORM_EXIT_PORT, (uint8_t)status);
		cpu_call0(cpl0_hang, 0, 0);
	}
}

_Noreturn void machine_die(const char *format, ...)
{
	char line[CONSOLE_LINE];
	va_list args;

	va_start(args, format);
	text_format(line, sizeof(line), format, args);
	va_end(args);
	print("%s\n", line);
	machine_exit(EXIT_USAGE);
}
