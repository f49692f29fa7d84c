/* SPDX-License-Identifier: MIT */
/* step.c - see step.h. */
#include "step.h"

#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t start(const struct step_run *r)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		_exit(1);
	raise(SIGSTOP);
	r->run(r->arg);
	_exit(0);
}

static void end(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

static int trace(struct step_run *r, pid_t pid, struct world *last)
{
	int status;

	for (;;) {
		if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) || waitpid(pid, &status, 0) != pid)
			return -errno;
		if (WIFEXITED(status))
			return WEXITSTATUS(status) ? -EINVAL : 0;
		if (WIFSIGNALED(status) || WSTOPSIG(status) != SIGTRAP)
			return -EFAULT;
		r->steps++;
		if (r->steps == r->kill_at) {
			end(pid);
			return 0;
		}
		if (r->kill_at || !world_differs(r->w, last))
			continue;
		world_copy(last, r->w);
		r->states++;
		if (!r->each(r->each_arg, r->steps)) {
			end(pid);
			return 1;
		}
	}
}

int step_through(struct step_run *r)
{
	struct world last;
	pid_t pid;
	int rc, status;

	r->steps = r->states = 0;
	if (!world_room(&last, r->w))
		return -ENOMEM;
	world_copy(&last, r->w);
	pid = start(r);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		rc = -errno;
	else if (!WIFSTOPPED(status))
		rc = -EPERM;
	else
		rc = trace(r, pid, &last);
	world_drop(&last);
	return rc;
}
