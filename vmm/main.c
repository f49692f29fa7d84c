/* SPDX-License-Identifier: MIT */
/*
 * main.c - memback-vmm: reads the options, makes one VM, runs its loop, and ends with its status.
 */
#include "console.h"
#include "control/loop.h"
#include "log.h"
#include "options.h"
#include "vm.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct running {
	struct vm *vm;
	struct loop *loop;
	struct loop_source *signals;
	int fd;
};

/* Whether a signal has asked us to end; a handler looks at it, so it is a global. */
static volatile sig_atomic_t asked_to_end;

/* SIGINT, SIGTERM or SIGHUP end the VM cleanly. */
static void on_signal(void *arg, int fd, uint32_t events)
{
	struct running *r = arg;
	struct signalfd_siginfo info;
	(void)events;
	/* all that came so far, so that none of these counts as the second one */
	while (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		log_at(LOG_INFO, "%s from process %u: the VM ends", strsignal((int)info.ssi_signo),
		       info.ssi_pid);
		vm_end(r->vm, VM_HOST_SIGNAL, 0);
		asked_to_end = 1;
	}
}

/* The first one has its will already: the VM is being taken apart. */
static void on_late_signal(int number)
{
	if (!asked_to_end) {
		asked_to_end = 1;
		return;
	}
	console_restore_terminal();
	signal(number, SIG_DFL);
	raise(number);
}

/*
 * While the VM is taken apart a second SIGINT or SIGTERM ends us at once: whoever attaches to the pool next
 * takes back what we had. SIGHUP stays blocked: service managers send it after SIGTERM, and mean no haste.
 */
static void let_signals_hurry(void)
{
	const struct sigaction action = {.sa_handler = on_late_signal};
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* Blocks the signals that end us and makes them readable. Before any thread is started. */
static int open_signals(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int run(struct running *r, const struct options *o, struct mb_error *err)
{
	int rc = vm_create(r->loop, &o->vm, &r->vm, err);
	if (rc == 0)
		rc = loop_add_fd(r->loop, r->fd, POLLIN, on_signal, r, &r->signals);
	if (rc == 0)
		rc = vm_start(r->vm, err);
	if (rc == 0)
		rc = loop_run(r->loop);
	return rc;
}

int main(int argc, char **argv)
{
	struct options options;
	struct mb_error err = {0};
	struct running running = {.fd = -1};
	int status = 1;
	switch (options_parse(argc, argv, &options, &err)) {
	case OPTIONS_DONE:
		return 0;
	case OPTIONS_BAD:
		log_at(LOG_ERROR, "%s", err.text);
		return 1;
	case OPTIONS_RUN:
		break;
	}
	log_init(options.vm.name, options.level);
	running.fd = open_signals();
	int rc = loop_create(&running.loop);
	if (rc != 0)
		loop_explain(rc, err.text, sizeof(err.text));
	else
		rc = run(&running, &options, &err);
	if (rc != 0) {
		log_at(LOG_ERROR, "%s", err.text[0] ? err.text : strerror(-rc));
	} else {
		status = vm_exit_status(running.vm);
	}
	let_signals_hurry();
	vm_destroy(running.vm);
	if (running.loop != NULL)
		loop_destroy(running.loop);
	if (running.fd >= 0)
		close(running.fd);
	return status;
}
