/* SPDX-License-Identifier: MIT */
/*
 * machine.h - starting, ending, time, sleep; and the function that each guest provides.
 */
#ifndef GUEST_MACHINE_H
#define GUEST_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

/* Exit statuses of the guests. */
#define EXIT_OK    0
#define EXIT_FAIL  1 /* what the guest checks did not hold */
#define EXIT_USAGE 2 /* bad command line, or a machine that the guest cannot use */
#define EXIT_TRAP  3 /* an exception that nobody expected */

/* The guest itself; its result is the exit status. Runs at CPL3 on the first CPU. */
int guest_main(void);

/* Ends the VM. */
_Noreturn void machine_exit(int status);
/* Prints the line and ends the VM with EXIT_USAGE. */
_Noreturn void machine_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
