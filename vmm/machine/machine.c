/* SPDX-License-Identifier: MIT */
/* machine.c - see machine.h. */
#include "machine/machine.h"

#include "error.h"
#include "log.h"
#include "machine/elf.h"
#include "machine/hostmem.h"
#include "machine/pvh.h"
#include "machine/slots.h"
#include "machine/vcpu.h"
#include "size.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* In the 32-bit MMIO hole, below the virtio transports: three pages that some processors need for a TSS, and
 * one for an identity map (KVM API, KVM_SET_TSS_ADDR and KVM_SET_IDENTITY_MAP_ADDR). */
#define IDENTITY_MAP_GPA UINT64_C(0xfeab0000)
#define TSS_GPA          (IDENTITY_MAP_GPA + 0x1000)

/* Their ids fit into a byte, in which 0xff means all of them. */
#define XAPIC_CPUS 255

/* What vCPUs are given to leave the guest, while one of them waits for memory. */
#define STARVED_WAIT_NS 20000000

struct machine {
	struct machine_config config;
	int kvm;
	int vm;
	struct slots slots;
	struct bus *bus;
	struct guestmem mem;
	struct mb_region *regions;
	unsigned region_count;
	struct vcpu_control control;
	struct vcpu *vcpus;
	unsigned vcpu_count; /* that exist */
};

struct bus *machine_bus(struct machine *m)
{
	return m->bus;
}

void machine_set_loading(struct machine *m, bool *lacking)
{
	m->mem.lacking = lacking;
}

const struct guestmem *machine_mem(struct machine *m)
{
	return &m->mem;
}

struct vcpu_control *machine_control(struct machine *m)
{
	return &m->control;
}

const struct cpu_mask *machine_cpu_mask(const struct machine *m)
{
	return &m->config.without;
}

unsigned machine_cpus(const struct machine *m)
{
	return m->config.cpus;
}

unsigned machine_address_bits(const struct machine *m)
{
	return cpuid_address_bits(m->kvm);
}

bool machine_is_amd(const struct machine *m)
{
	return cpuid_is_amd(m->kvm);
}

/* ---- creation --------------------------------------------------------------------------------------- */

static int open_kvm(struct machine *m, struct mb_error *err)
{
	static const struct {
		int cap;
		const char *name;
	} needed[] = {{KVM_CAP_IRQCHIP, "IRQCHIP"},     {KVM_CAP_USER_MEMORY, "USER_MEMORY"},
		      {KVM_CAP_IRQFD, "IRQFD"},         {KVM_CAP_IOEVENTFD, "IOEVENTFD"},
		      {KVM_CAP_EXT_CPUID, "EXT_CPUID"}, {KVM_CAP_IMMEDIATE_EXIT, "IMMEDIATE_EXIT"}};
	m->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (m->kvm < 0) {
		int code = -errno;
		const char *advice = code == -ENOENT
					 ? "load the kvm_intel or kvm_amd module, or enable virtualisation "
					   "in the firmware"
				     : code == -EACCES || code == -EPERM ? "add yourself to the group kvm"
									 : "check that KVM works on this host";
		return error_set(err, code, "cannot open /dev/kvm: %s; %s", strerror(-code), advice);
	}
	int version = ioctl(m->kvm, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION)
		return error_set(err, -ENOTSUP,
				 "/dev/kvm is not KVM with API version %d%s; load kvm_intel or kvm_amd, or "
				 "bind the host's /dev/kvm here",
				 KVM_API_VERSION, version < 0 ? ": it does not answer" : "");
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (ioctl(m->kvm, KVM_CHECK_EXTENSION, needed[i].cap) <= 0)
			return error_set(err, -ENOTSUP, "this kernel's KVM lacks %s; use a newer kernel",
					 needed[i].name);
	}
	return 0;
}

static int create_vm(struct machine *m, struct mb_error *err)
{
	uint64_t identity = IDENTITY_MAP_GPA;
	do
		m->vm = ioctl(m->kvm, KVM_CREATE_VM, 0);
	while (m->vm < 0 && errno == EINTR);
	if (m->vm < 0)
		return error_set(err, -errno,
				 "KVM cannot create a virtual machine: %s; is another hypervisor using it?",
				 strerror(errno));
	if (ioctl(m->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity) != 0 ||
	    ioctl(m->vm, KVM_SET_TSS_ADDR, TSS_GPA) != 0)
		return error_set(err, -errno, "KVM refuses its own pages: %s", strerror(errno));
	if (ioctl(m->vm, KVM_CREATE_IRQCHIP, 0) != 0)
		return error_set(err, -errno, "KVM cannot create its interrupt controller: %s",
				 strerror(errno));
	return 0;
}

/*
 * Until a guest enables the x2APIC, ids from 256 on are cut to a byte: a start that is sent to id 1 would start vCPU
 * 257 as well, on the same stack. With ids of 32 bits KVM tells them apart.
 */
static int use_long_ids(struct machine *m, struct mb_error *err)
{
	struct kvm_enable_cap cap = {
	    .cap = KVM_CAP_X2APIC_API,
	    .args = {KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK}};
	if (m->config.cpus <= XAPIC_CPUS || ioctl(m->vm, KVM_ENABLE_CAP, &cap) == 0)
		return 0;
	return error_set(err, -EINVAL,
			 "--cpus %u: this host's KVM has no x2APIC ids (%s), without which at most %d work",
			 m->config.cpus, strerror(errno), XAPIC_CPUS);
}

static int create_vcpus(struct machine *m, struct mb_error *err)
{
	int most = ioctl(m->kvm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	if (most > 0 && m->config.cpus > (unsigned)most)
		return error_set(err, -EINVAL, "--cpus %u: this host's KVM takes at most %d", m->config.cpus,
				 most);
	int rc = use_long_ids(m, err);
	if (rc != 0)
		return rc;
	m->vcpus = calloc(m->config.cpus, sizeof(*m->vcpus));
	if (m->vcpus == NULL)
		return error_set(err, -ENOMEM, "out of memory for %u vCPUs", m->config.cpus);
	while (m->vcpu_count < m->config.cpus) {
		unsigned id = m->vcpu_count++;
		rc = vcpu_create(m, m->kvm, m->vm, id, &m->vcpus[id], err);
		if (rc != 0)
			return rc;
	}
	return 0;
}

int machine_create(const struct machine_config *config, struct machine **out, struct mb_error *err)
{
	struct machine *m = calloc(1, sizeof(*m));
	if (m == NULL)
		return error_set(err, -ENOMEM, "out of memory");
	m->config = *config;
	m->kvm = m->vm = -1;
	pthread_mutex_init(&m->control.lock, NULL);
	pthread_cond_init(&m->control.changed, NULL);
	m->bus = bus_create();
	int rc = m->bus == NULL ? error_set(err, -ENOMEM, "out of memory") : open_kvm(m, err);
	if (rc == 0)
		rc = create_vm(m, err);
	if (rc == 0)
		slots_init(&m->slots, m->kvm, m->vm);
	if (rc == 0)
		rc = create_vcpus(m, err);
	if (rc != 0) {
		machine_destroy(m);
		return rc;
	}
	*out = m;
	return 0;
}

void machine_destroy(struct machine *m)
{
	if (m == NULL)
		return;
	pthread_mutex_lock(&m->control.lock);
	m->control.quit = true;
	for (unsigned i = 0; i < m->vcpu_count; i++)
		vcpu_kick(&m->vcpus[i]);
	pthread_cond_broadcast(&m->control.changed);
	pthread_mutex_unlock(&m->control.lock);
	for (unsigned i = 0; i < m->vcpu_count; i++)
		vcpu_destroy(&m->vcpus[i]);
	if (m->vm >= 0)
		close(m->vm);
	if (m->kvm >= 0)
		close(m->kvm);
	pthread_cond_destroy(&m->control.changed);
	pthread_mutex_destroy(&m->control.lock);
	bus_destroy(m->bus);
	free(m->vcpus);
	free(m->regions);
	free(m);
}

/* ---- memory ----------------------------------------------------------------------------------------- */

int machine_check_memory(struct machine *m, uint64_t bytes, struct mb_error *err)
{
	return slots_check(&m->slots, bytes, err);
}

/* What the slots cost, as far as that can be seen from here: others use the host's memory too. */
static void say_price(const struct machine *m, uint64_t bytes, const struct hostmem *before, uint64_t ns)
{
	struct hostmem after;
	char all[SIZE_TEXT], price[SIZE_TEXT], left[SIZE_TEXT], vmalloc[SIZE_TEXT], slab[SIZE_TEXT];
	hostmem_read(&after);
	log_at(
	    LOG_DEBUG,
	    "%u memory slots for %s with %s: at most %s of the host's memory expected; %s less is available, "
	    "%s more is in the kernel's vmalloc area and %s in its slabs; %llu ms",
	    m->slots.count, size_format(bytes, all), slots_kind_text(m->slots.kind),
	    size_format(slots_price(m->slots.kind, bytes), price),
	    size_format(before->available > after.available ? before->available - after.available : 0, left),
	    size_format(after.vmalloc > before->vmalloc ? after.vmalloc - before->vmalloc : 0, vmalloc),
	    size_format(after.slab > before->slab ? after.slab - before->slab : 0, slab),
	    (unsigned long long)(ns / 1000000));
}

static uint64_t now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

int machine_set_memory(struct machine *m, struct mb_space *space, const struct mb_region *regions,
		       unsigned count, struct mb_error *err)
{
	m->mem.space = space;
	m->regions = calloc(count, sizeof(*regions));
	if (m->regions == NULL)
		return error_set(err, -ENOMEM, "out of memory");
	memcpy(m->regions, regions, count * sizeof(*regions));
	m->region_count = count;
	struct hostmem before;
	uint64_t bytes = 0, start = now_ns();
	hostmem_read(&before);
	for (unsigned i = 0; i < count; i++) {
		void *hva = mb_space_hva(space, regions[i].gpa, regions[i].size);
		int rc = slots_add(&m->slots, regions[i].gpa, regions[i].size, hva, err);
		if (rc != 0)
			return rc;
		bytes += regions[i].size;
	}
	say_price(m, bytes, &before, now_ns() - start);
	return 0;
}

int machine_put_slot(struct machine *m, unsigned n, uint64_t gpa, uint64_t size)
{
	void *hva = size > 0 ? mb_space_hva(m->mem.space, gpa, size) : NULL;
	return slots_put(&m->slots, m->slots.count + n, gpa, size, hva);
}

int machine_open_memory(struct machine *m, uint64_t gpa, uint64_t len, bool open)
{
	void *hva = mb_space_hva(m->mem.space, gpa, len);
	if (hva == NULL)
		return -ERANGE;
	return mprotect(hva, len, open ? PROT_READ | PROT_WRITE : PROT_NONE) == 0 ? 0 : -errno;
}

void machine_set_plugmap(struct machine *m, const struct plugmap *map)
{
	m->mem.plug = map;
}

void machine_stop_guest(struct machine *m, const char *text)
{
	machine_ended(m, MACHINE_END_CRASH, text);
}

unsigned machine_slots_left(const struct machine *m)
{
	return m->slots.limit - m->slots.count;
}

int machine_load(struct machine *m, const struct boot *boot, const char *cmdline, uint64_t rsdp,
		 struct mb_error *err)
{
	struct boot_facts facts = {
	    .regions = m->regions,
	    .region_count = m->region_count,
	    .cmdline = cmdline,
	    .rsdp = rsdp,
	};
	struct boot_entry entry;
	int rc = boot_load(boot, &m->mem, &facts, &entry, err);
	return rc == 0 ? vcpu_set_entry(&m->vcpus[0], &entry, err) : rc;
}

/* ---- interrupts and notifications ------------------------------------------------------------------- */

static int new_eventfd(int *fd)
{
	*fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return *fd < 0 ? -errno : 0;
}

/* Hands the eventfd to KVM, or closes it. */
static int give_eventfd(struct machine *m, unsigned long request, void *arg, int *fd)
{
	if (ioctl(m->vm, request, arg) == 0)
		return 0;
	int rc = -errno;
	close(*fd);
	*fd = -1;
	return rc;
}

int machine_irqfd(struct machine *m, unsigned gsi, int *fd)
{
	int rc = new_eventfd(fd);
	if (rc != 0)
		return rc;
	struct kvm_irqfd irqfd = {.fd = (uint32_t)*fd, .gsi = gsi};
	return give_eventfd(m, KVM_IRQFD, &irqfd, fd);
}

bool machine_line_enabled(const struct machine *m, unsigned gsi)
{
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};
	if (gsi >= KVM_IOAPIC_NUM_PINS || ioctl(m->vm, KVM_GET_IRQCHIP, &chip) != 0)
		return false;
	return !chip.chip.ioapic.redirtbl[gsi].fields.mask;
}

int machine_ioeventfd(struct machine *m, uint64_t gpa, unsigned len, uint32_t value, int *fd)
{
	int rc = new_eventfd(fd);
	if (rc != 0)
		return rc;
	struct kvm_ioeventfd ioeventfd = {
	    .datamatch = value,
	    .addr = gpa,
	    .len = len,
	    .fd = *fd,
	    .flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
	};
	return give_eventfd(m, KVM_IOEVENTFD, &ioeventfd, fd);
}

/* ---- running ---------------------------------------------------------------------------------------- */

int machine_start(struct machine *m, struct mb_error *err)
{
	for (unsigned i = 0; i < m->vcpu_count; i++) {
		int rc = vcpu_start(&m->vcpus[i], err);
		if (rc != 0)
			return rc;
	}
	machine_resume(m);
	return 0;
}

/*
 * Waits for a change. True: enough was waited, since a vCPU whose touch waits for memory cannot be had out of
 * the kernel (before Linux 6.2). It cannot go on without passing park(), either.
 */
static bool wait_parked(struct machine *m)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += STARVED_WAIT_NS;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	int rc = pthread_cond_timedwait(&m->control.changed, &m->control.lock, &until);
	return rc == ETIMEDOUT && m->mem.space != NULL && mb_space_starved(m->mem.space);
}

void machine_pause(struct machine *m)
{
	pthread_mutex_lock(&m->control.lock);
	m->control.run = false;
	for (unsigned i = 0; i < m->vcpu_count; i++)
		vcpu_kick(&m->vcpus[i]);
	for (unsigned i = 0; i < m->vcpu_count; i++) {
		while (m->vcpus[i].started && !m->vcpus[i].parked && !wait_parked(m))
			continue;
	}
	pthread_mutex_unlock(&m->control.lock);
}

void machine_resume(struct machine *m)
{
	pthread_mutex_lock(&m->control.lock);
	m->control.run = true;
	pthread_cond_broadcast(&m->control.changed);
	pthread_mutex_unlock(&m->control.lock);
}

void machine_describe(struct machine *m, unsigned cpu, char *text, size_t size)
{
	vcpu_describe(&m->vcpus[cpu], text, size);
}

void machine_ended(struct machine *m, enum machine_end end, const char *text)
{
	pthread_mutex_lock(&m->control.lock);
	bool first = !m->control.ended;
	m->control.ended = true;
	m->control.run = false;
	for (unsigned i = 0; i < m->vcpu_count; i++) {
		if (!pthread_equal(m->vcpus[i].thread, pthread_self()))
			vcpu_kick(&m->vcpus[i]);
	}
	pthread_mutex_unlock(&m->control.lock);
	if (first)
		m->config.on_end(m->config.arg, end, text);
}
