/* SPDX-License-Identifier: MIT */
/* vcpu.c - see vcpu.h. */
#include "machine/vcpu.h"

#include "error.h"
#include "machine/memmap.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* Where a processor begins after a reset. */
#define RESET_CS_BASE 0xffff0000u
#define RESET_RIP     0xfff0u

/* Ends KVM_RUN; its handler does nothing. */
#define KICK_SIGNAL SIGRTMIN

static void on_kick(int signal)
{
	(void)signal;
}

/* ---- where it is ------------------------------------------------------------------------------------ */

/* The bytes at rip, through the guest's own page tables; returns how many could be read. */
static size_t read_instruction(struct vcpu *v, uint64_t linear, unsigned char *bytes, size_t size)
{
	size_t n = 0;
	for (; n < size; n++) {
		struct kvm_translation t = {.linear_address = linear + n};
		if (ioctl(v->fd, KVM_TRANSLATE, &t) != 0 || !t.valid)
			break;
		if (guestmem_read(machine_mem(v->machine), t.physical_address, &bytes[n], 1) != 0)
			break;
	}
	return n;
}

void vcpu_describe(struct vcpu *v, char *text, size_t size)
{
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	unsigned char bytes[15];
	if (ioctl(v->fd, KVM_GET_REGS, &regs) != 0 || ioctl(v->fd, KVM_GET_SREGS, &sregs) != 0) {
		snprintf(text, size, "vCPU %u (its registers cannot be read: %s)", v->id, strerror(errno));
		return;
	}
	uint64_t linear = sregs.cs.base + regs.rip;
	if (!sregs.cs.l)
		linear &= UINT32_MAX;
	size_t n = read_instruction(v, linear, bytes, sizeof(bytes));
	/* after a triple fault AMD's processors keep nothing, and KVM resets the vCPU */
	if (sregs.cs.base == RESET_CS_BASE && regs.rip == RESET_RIP) {
		snprintf(
		    text, size,
		    "vCPU %u, rip %#x, CPL 0, as after a reset: this host's processor forgets where it was",
		    v->id, RESET_RIP);
		return;
	}
	int at = snprintf(text, size, "vCPU %u, rip %#llx, CPL %u, instruction bytes", v->id,
			  (unsigned long long)regs.rip, (unsigned)sregs.ss.dpl);
	for (size_t i = 0; i < n && at > 0 && (size_t)at < size; i++)
		at += snprintf(text + at, size - (size_t)at, " %02x", bytes[i]);
	if (n == 0 && at > 0 && (size_t)at < size)
		snprintf(text + at, size - (size_t)at, " unreadable");
}

/* ---- exits ------------------------------------------------------------------------------------------ */

static void on_port(struct vcpu *v)
{
	const struct kvm_run *run = v->run;
	struct bus *bus = machine_bus(v->machine);
	uint64_t offset = run->io.data_offset;
	uint64_t bytes = (uint64_t)run->io.count * run->io.size;
	if (offset > v->run_bytes || bytes > v->run_bytes - offset)
		return;
	char *data = (char *)v->run + offset;
	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_IN)
			bus_read(bus, BUS_PIO, run->io.port, data, run->io.size);
		else
			bus_write(bus, BUS_PIO, run->io.port, data, run->io.size);
	}
}

static void on_mmio(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	struct bus *bus = machine_bus(v->machine);
	if (run->mmio.len == 0 || run->mmio.len > sizeof(run->mmio.data))
		return;
	if (run->mmio.is_write)
		bus_write(bus, BUS_MMIO, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	else
		bus_read(bus, BUS_MMIO, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
}

bool machine_emulates_ring0(void)
{
	return access("/sys/module/kvm_pvm", F_OK) == 0;
}

static void crash(struct vcpu *v, enum machine_end end, const char *what, const char *advice)
{
	char where[160], text[480];
	vcpu_describe(v, where, sizeof(where));
	snprintf(text, sizeof(text), "%s at %s%s%s", what, where, advice[0] ? "; " : "", advice);
	machine_ended(v->machine, end, text);
}

static void on_internal_error(struct vcpu *v)
{
	struct kvm_sregs sregs;
	char what[96];
	if (v->run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION) {
		bool ring0 = ioctl(v->fd, KVM_GET_SREGS, &sregs) == 0 && sregs.ss.dpl == 0;
		crash(v, MACHINE_END_CRASH, "KVM cannot emulate an instruction of the guest",
		      ring0 && machine_emulates_ring0()
			  ? "this host's KVM emulates guest ring 0 and lacks this instruction; Linux needs a "
			    "KVM that is backed by hardware (VMX or SVM)"
			  : "");
		return;
	}
	snprintf(what, sizeof(what), "internal error %u of KVM", v->run->internal.suberror);
	crash(v, MACHINE_END_CRASH, what, "");
}

/* Whether the vCPU may go on. */
static bool on_exit_reason(struct vcpu *v)
{
	char what[96];
	switch (v->run->exit_reason) {
	case KVM_EXIT_IO:
		on_port(v);
		return true;
	case KVM_EXIT_MMIO:
		on_mmio(v);
		return true;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		return true;
	case KVM_EXIT_SHUTDOWN:
		crash(v, MACHINE_END_SHUTDOWN, "the guest ended in a triple fault", "");
		return false;
	case KVM_EXIT_SYSTEM_EVENT:
		snprintf(what, sizeof(what), "system event %u", v->run->system_event.type);
		crash(v, MACHINE_END_SHUTDOWN, what, "");
		return false;
	case KVM_EXIT_INTERNAL_ERROR:
		on_internal_error(v);
		return false;
	case KVM_EXIT_FAIL_ENTRY:
		snprintf(what, sizeof(what), "the processor refuses the guest's state (reason %#llx)",
			 (unsigned long long)v->run->fail_entry.hardware_entry_failure_reason);
		crash(v, MACHINE_END_CRASH, what, "");
		return false;
	default:
		snprintf(what, sizeof(what), "unexpected KVM exit %u", v->run->exit_reason);
		crash(v, MACHINE_END_CRASH, what, "");
		return false;
	}
}

/* KVM_RUN found no host memory behind a page. */
static void on_fault(struct vcpu *v)
{
	char what[160];
	char where[48] = "";
	struct {
		uint64_t flags, gpa, size;
	} fault;
	/* newer kernels say where: KVM_EXIT_MEMORY_FAULT, which linux/kvm.h has since 6.8 */
	enum { EXIT_MEMORY_FAULT = 39 };
	if (v->run->exit_reason == EXIT_MEMORY_FAULT) {
		memcpy(&fault, &v->run->io, sizeof(fault)); /* all of the union's members begin there */
		snprintf(where, sizeof(where), " at %#llx", (unsigned long long)fault.gpa);
	}
	bool plugs = machine_mem(v->machine)->plug != NULL;
	snprintf(what, sizeof(what),
		 "the host has no memory for a page that the guest touched%s (KVM_RUN: EFAULT)", where);
	crash(v, MACHINE_END_CRASH, what,
	      plugs ? "it may be memory that is not plugged; see memback-check and the host's free memory"
		    : "see memback-check and the host's free memory");
}

/* One stay in the guest. False: this vCPU ended the VM. */
static bool run_once(struct vcpu *v)
{
	char what[128];
	v->run->exit_reason = KVM_EXIT_UNKNOWN; /* not every error sets it */
	if (ioctl(v->fd, KVM_RUN, 0) == 0)
		return on_exit_reason(v);
	int why = errno;
	if (why == EINTR || why == EAGAIN)
		return true;
	if (why == EFAULT) {
		on_fault(v);
		return false;
	}
	snprintf(what, sizeof(what), "KVM_RUN fails: %s", strerror(why));
	crash(v, MACHINE_END_CRASH, what, "");
	return false;
}

/* ---- the thread ------------------------------------------------------------------------------------- */

/* Waits while the machine shall not run. False: end. */
static bool park(struct vcpu *v, bool dead)
{
	struct vcpu_control *c = machine_control(v->machine);
	pthread_mutex_lock(&c->lock);
	/*
	 * The kicker changes the wish, then sets immediate_exit, then signals. We clear it before we look at
	 * the wish, with the lock held: so either we see the wish, or immediate_exit is set after this.
	 */
	__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_RELAXED);
	while (!c->quit && (!c->run || dead)) {
		v->parked = true;
		pthread_cond_broadcast(&c->changed);
		pthread_cond_wait(&c->changed, &c->lock);
	}
	v->parked = c->quit;
	bool go_on = !c->quit;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	return go_on;
}

static void *thread_main(void *arg)
{
	struct vcpu *v = arg;
	bool dead = false;
	char name[16];
	snprintf(name, sizeof(name), "vcpu%u", v->id % 100000);
	pthread_setname_np(pthread_self(), name);
	while (park(v, dead))
		dead = !run_once(v);
	return NULL;
}

void vcpu_kick(struct vcpu *v)
{
	if (!v->started)
		return;
	/* pairs with the clearing in park(), which comes after a look at the wish that we changed */
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	pthread_kill(v->thread, KICK_SIGNAL);
}

int vcpu_start(struct vcpu *v, struct mb_error *err)
{
	struct sigaction action = {.sa_handler = on_kick};
	sigset_t all, old;
	sigemptyset(&action.sa_mask);
	sigaction(KICK_SIGNAL, &action, NULL);
	/* the thread is born with all signals blocked but the kick */
	sigfillset(&all);
	sigdelset(&all, KICK_SIGNAL);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int rc = pthread_create(&v->thread, NULL, thread_main, v);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc != 0)
		return error_set(err, -rc, "cannot start a thread for vCPU %u: %s", v->id, strerror(rc));
	v->started = true;
	return 0;
}

/* ---- set-up ----------------------------------------------------------------------------------------- */

/*
 * What firmware leaves behind. Without it Linux takes memory types for disabled and leaves the PAT alone, and
 * on Intel's processors drops its fast string instructions. A KVM that refuses one may: Linux runs without.
 */
static void set_boot_msrs(int vcpu)
{
	enum {
		MISC_ENABLE = 0x1a0,
		FAST_STRINGS = 1,
		MTRR_DEF_TYPE = 0x2ff,
		/* On, and write-back for all: the ranges of fixed size stay off, which after a reset say uncached. */
		MTRR_WRITE_BACK = 0x806,
	};
	union {
		struct kvm_msrs list;
		unsigned char room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} one = {.room = {0}};
	struct kvm_msr_entry *msr = one.list.entries;
	one.list.nmsrs = 1;
	*msr = (struct kvm_msr_entry){.index = MTRR_DEF_TYPE, .data = MTRR_WRITE_BACK};
	(void)ioctl(vcpu, KVM_SET_MSRS, &one);
	*msr = (struct kvm_msr_entry){.index = MISC_ENABLE};
	if (ioctl(vcpu, KVM_GET_MSRS, &one) != 1)
		return;
	msr->data |= FAST_STRINGS;
	(void)ioctl(vcpu, KVM_SET_MSRS, &one);
}

int vcpu_create(struct machine *m, int kvm, int vm, unsigned id, struct vcpu *out, struct mb_error *err)
{
	*out = (struct vcpu){.machine = m, .id = id, .fd = -1};
	int bytes = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	out->fd = ioctl(vm, KVM_CREATE_VCPU, (unsigned long)id);
	if (bytes < (int)sizeof(*out->run) || out->fd < 0)
		return error_set(err, out->fd < 0 ? -errno : -EINVAL,
				 "cannot create vCPU %u: %s; try fewer --cpus", id,
				 out->fd < 0 ? strerror(errno) : "KVM is too old");
	out->run_bytes = (size_t)bytes;
	out->run = mmap(NULL, out->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, out->fd, 0);
	if (out->run == MAP_FAILED) {
		out->run = NULL;
		return error_set(err, -errno, "cannot map vCPU %u: %s", id, strerror(errno));
	}
	int rc = cpuid_set(kvm, out->fd, id, machine_cpus(m), machine_cpu_mask(m), err);
	if (rc == 0)
		set_boot_msrs(out->fd);
	return rc;
}

void vcpu_destroy(struct vcpu *v)
{
	if (v->started)
		pthread_join(v->thread, NULL);
	if (v->run != NULL)
		munmap(v->run, v->run_bytes);
	if (v->fd >= 0)
		close(v->fd);
	*v = (struct vcpu){.fd = -1};
}

/* Flat segments as the boot protocols want them, with base 0 and no limit; no table is read for them. */
static void set_segments(struct kvm_sregs *sregs, bool wide)
{
	const struct kvm_segment code = {.limit = 0xffffffff,
					 .selector = wide ? 0x10 : 0x8,
					 .type = 11,
					 .present = 1,
					 .s = 1,
					 .db = !wide,
					 .l = wide,
					 .g = 1};
	const struct kvm_segment data = {.limit = 0xffffffff,
					 .selector = wide ? 0x18 : 0x10,
					 .type = 3,
					 .present = 1,
					 .s = 1,
					 .db = 1,
					 .g = 1};
	const struct kvm_segment task = {
	    .limit = 0x67, .selector = wide ? 0x20 : 0x18, .type = 11, .present = 1};
	sregs->cs = code;
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
	sregs->tr = task;
}

int vcpu_set_entry(struct vcpu *v, const struct boot_entry *entry, struct mb_error *err)
{
	enum { CR0_PE_ET = 0x11, CR4_PAE = 1 << 5, EFER_LME_LMA = 1 << 8 | 1 << 10 };
	struct kvm_regs regs = {.rip = entry->rip, .rflags = 2};
	struct kvm_sregs sregs;
	if (ioctl(v->fd, KVM_GET_SREGS, &sregs) != 0)
		return error_set(err, -errno, "cannot read the state of vCPU %u: %s", v->id, strerror(errno));
	set_segments(&sregs, entry->wide);
	sregs.cr0 = CR0_PE_ET;
	sregs.cr4 = 0;
	sregs.efer = 0;
	if (entry->wide) {
		sregs.cr0 |= UINT64_C(1) << 31; /* PG */
		sregs.cr3 = MEMMAP_PAGE_TABLES;
		sregs.cr4 = CR4_PAE;
		sregs.efer = EFER_LME_LMA;
		sregs.gdt.base = MEMMAP_GDT;
		sregs.gdt.limit = MEMMAP_GDT_LIMIT;
		regs.rsi = entry->info;
	} else {
		regs.rbx = entry->info;
	}
	if (ioctl(v->fd, KVM_SET_SREGS, &sregs) != 0 || ioctl(v->fd, KVM_SET_REGS, &regs) != 0)
		return error_set(err, -errno, "cannot set the state of vCPU %u: %s", v->id, strerror(errno));
	return 0;
}
