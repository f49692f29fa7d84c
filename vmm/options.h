/* SPDX-License-Identifier: MIT */
/*
 * options.h - the command line of memback-vmm.
 */
#ifndef VMM_OPTIONS_H
#define VMM_OPTIONS_H

#include "log.h"
#include "vm.h"

struct options {
	struct vm_config vm;
	enum log_level level;
	char name[64]; /* vm.name points here if none was given */
};

enum options_result {
	OPTIONS_RUN,
	OPTIONS_DONE, /* --help or --version: it was printed */
	OPTIONS_BAD,  /* err says why */
};

/* Reads argv; strings of *out point into it. Checks all that can be checked without looking at the host. */
enum options_result options_parse(int argc, char **argv, struct options *out, struct mb_error *err);

#endif
