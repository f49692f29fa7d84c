/* SPDX-License-Identifier: MIT */
/*
 * commands.h - the commands and events of a VM's control socket.
 *
 * Loop thread only. Sizes are bytes. Four words have one meaning throughout: maximum (the VM's memory without
 * a balloon), target (what it was asked to shrink to), actual (maximum less what the guest has given so far),
 * resident (what the kernel holds for it now). What is not known is left out of an answer.
 */
#ifndef VMM_CONTROL_COMMANDS_H
#define VMM_CONTROL_COMMANDS_H

#include "control/qmp.h"
#include "vm.h"

/* Opens the control socket of a VM. Its commands act on vm, which must outlive it. */
MB_MUST_CHECK int commands_create(struct loop *loop, struct vm *vm, const char *path, struct qmp **out,
				  struct mb_error *err);

/* Events that the VM sends through it; a VM without a control socket passes NULL. */
void commands_balloon_event(struct qmp *qmp, struct vm *vm, enum balloon_event event);
/* It waits for memory; or, after so many ns, goes on. */
void commands_starved_event(struct qmp *qmp, struct vm *vm, bool starved, uint64_t ns);
void commands_run_event(struct qmp *qmp, bool running);
void commands_shutdown_event(struct qmp *qmp, enum vm_reason reason);

#endif
