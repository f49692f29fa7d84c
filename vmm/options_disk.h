/* SPDX-License-Identifier: MIT */
/*
 * options_disk.h - the value of --disk: FILE[,readonly][,serial=ID], where a comma in a name is doubled.
 */
#ifndef VMM_OPTIONS_DISK_H
#define VMM_OPTIONS_DISK_H

#include "vm_disks.h"

/* Takes text apart in place; what *out has points into it. -EINVAL and err. */
MB_MUST_CHECK int options_parse_disk(char *text, struct vm_disk_config *out, struct mb_error *err);

#endif
