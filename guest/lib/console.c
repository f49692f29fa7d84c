/* SPDX-License-Identifier: MIT */
/*
 * console.c - 8250 serial port. Each port access may cost an exit of 15 microseconds, so the line status is
 * asked once for a FIFO's worth of bytes, and never more often than needed.
 */
#include "console.h"

#include "cpu.h"
#include "text.h"
#include <platform.h>

#define REG_DATA (PLATFORM_SERIAL_PORT + 0)
#define REG_IER  (PLATFORM_SERIAL_PORT + 1)
#define REG_FCR  (PLATFORM_SERIAL_PORT + 2)
#define REG_LCR  (PLATFORM_SERIAL_PORT + 3)
#define REG_MCR  (PLATFORM_SERIAL_PORT + 4)
#define REG_LSR  (PLATFORM_SERIAL_PORT + 5)

#define LSR_DATA_READY 0x01
#define LSR_THR_EMPTY  0x20
#define FIFO_BYTES     16

static struct cpu_lock print_lock;
static char input[CONSOLE_LINE];
static size_t input_used;

void console_init(void)
{
	cpu_outb(REG_LCR, 0x03); /* 8 bits, no parity */
	cpu_outb(REG_FCR, 0x05); /* FIFOs on; what was typed so far stays */
	cpu_outb(REG_MCR, 0x0b); /* DTR, RTS, OUT2: interrupts reach the line */
	cpu_outb(REG_IER, 0x01); /* an interrupt when something was typed */
}

static void put_bytes(const char *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (i % FIFO_BYTES == 0)
			while (!(cpu_inb(REG_LSR) & LSR_THR_EMPTY))
				cpu_pause();
		cpu_outb(REG_DATA, (uint8_t)bytes[i]);
	}
}

void print(const char *format, ...)
{
	char line[CONSOLE_LINE];
	va_list args;
	size_t used;

	va_start(args, format);
	used = text_format(line, sizeof(line), format, args);
	va_end(args);
	cpu_lock(&print_lock);
	put_bytes(line, used);
	cpu_unlock(&print_lock);
}

bool console_read_line(char *line)
{
	while (cpu_inb(REG_LSR) & LSR_DATA_READY) {
		char c = (char)cpu_inb(REG_DATA);

		if (c == '\r' || c == '\n') {
			if (!input_used)
				continue;
			memcpy(line, input, input_used);
			line[input_used] = '\0';
			input_used = 0;
			return true;
		}
		if (input_used < sizeof(input) - 1)
			input[input_used++] = c;
	}
	return false;
}
