/* SPDX-License-Identifier: MIT */
/* cmdline.h - the guest's command line: what the user gave, and where what the VMM adds to it goes. */
#ifndef VMM_CMDLINE_H
#define VMM_CMDLINE_H

#include <stddef.h>

/*
 * Writes append with the words of added (each with a blank in front) to out; cuts at size, for which the lengths
 * of both and the NUL are enough. They go in front of a word "--", behind which all is the init's of Linux (see
 * its kernel-parameters.rst), else to the end.
 */
void cmdline_make(char *out, size_t size, const char *append, const char *added);

#endif
