/* SPDX-License-Identifier: MIT */
/*
 * commands_qom.h - as much of QEMU's object tree as clients need that read a balloon's guest statistics:
 * the balloon device by its name and by its place, its statistics and how often they are asked for.
 *
 * Loop thread only.
 */
#ifndef VMM_CONTROL_COMMANDS_QOM_H
#define VMM_CONTROL_COMMANDS_QOM_H

#include "control/qmp.h"
#include "vm.h"

json_t *commands_qom_list(struct vm *vm, const json_t *args, struct qmp_error *err);
json_t *commands_qom_get(struct vm *vm, const json_t *args, struct qmp_error *err);
json_t *commands_qom_set(struct vm *vm, const json_t *args, struct qmp_error *err);

#endif
