/* SPDX-License-Identifier: MIT */
/* slots.c - see slots.h. */
#include "machine/slots.h"

#include "error.h"
#include "machine/hostmem.h"
#include "size.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_BYTES     UINT64_C(4096)
#define HUGE_BYTES     (UINT64_C(2) << 20)
#define GIANT_BYTES    (UINT64_C(1) << 30)
#define HUGE_PRICE     16 /* bytes a 2 MiB page, and nearly nothing for larger ones */
#define PAGE_PRICE_MAX 10
#define SLOTS_LEAST    32 /* what the oldest KVM takes */

/* The trial slot of slots_check(): large enough to be seen among what else goes on, small enough to be quick.
 */
#define TRIAL_GPA   (UINT64_C(4) << 30)
#define TRIAL_BYTES (UINT64_C(64) << 30)

/* What is left to the host besides: a sixteenth of what it has available. */
static uint64_t spendable(uint64_t available)
{
	return available - available / 16;
}

/* ---- kinds -------------------------------------------------------------------------------------------- */

/* A module's parameter of type bool: "Y" or "1". */
static bool parameter_is_set(const char *path)
{
	char text = '\0';
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, &text, 1);
	close(fd);
	return n == 1 && (text == 'Y' || text == '1');
}

static enum slots_kind find_kind(void)
{
	if (!parameter_is_set("/sys/module/kvm_intel/parameters/ept") &&
	    !parameter_is_set("/sys/module/kvm_amd/parameters/npt"))
		return SLOTS_SHADOW;
	return parameter_is_set("/sys/module/kvm/parameters/tdp_mmu") ? SLOTS_TDP_MMU : SLOTS_TDP;
}

const char *slots_kind_text(enum slots_kind kind)
{
	return kind == SLOTS_SHADOW ? "shadow paging" : kind == SLOTS_TDP ? "nested paging" : "the TDP MMU";
}

void slots_init(struct slots *s, int kvm, int vm)
{
	int limit = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);
	*s = (struct slots){.vm = vm, .kind = find_kind(), .limit = limit > 0 ? (unsigned)limit : SLOTS_LEAST};
}

/* ---- prices ------------------------------------------------------------------------------------------- */

static uint64_t page_price(enum slots_kind kind)
{
	return kind == SLOTS_TDP_MMU ? 2 : PAGE_PRICE_MAX;
}

uint64_t slots_price(enum slots_kind kind, uint64_t bytes)
{
	return bytes / PAGE_BYTES * page_price(kind) + bytes / HUGE_BYTES * HUGE_PRICE;
}

uint64_t slots_afford(enum slots_kind kind, uint64_t price)
{
	return price / slots_price(kind, GIANT_BYTES) * GIANT_BYTES;
}

/*
 * With the TDP MMU the kernel's configuration decides whether pages are tracked. A slot of nothing tells; its
 * cost, scaled, never exceeds the price, and what others do to the host's memory meanwhile only adds to it.
 */
static uint64_t try_price(const struct slots *s, uint64_t bytes)
{
	struct hostmem before, after;
	uint64_t price = slots_price(s->kind, bytes);
	void *hva = mmap(NULL, TRIAL_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (hva == MAP_FAILED)
		return price;
	hostmem_read(&before);
	if (slots_put(s, s->limit - 1, TRIAL_GPA, TRIAL_BYTES, hva) == 0) {
		hostmem_read(&after);
		(void)slots_put(s, s->limit - 1, TRIAL_GPA, 0, hva);
		uint64_t spent = after.vmalloc > before.vmalloc ? after.vmalloc - before.vmalloc : 0;
		uint64_t scaled = (spent + (UINT64_C(1) << 20)) * (bytes / TRIAL_BYTES + 1);
		if (before.vmalloc != UINT64_MAX && scaled < price)
			price = scaled;
	}
	munmap(hva, TRIAL_BYTES);
	return price;
}

int slots_check(struct slots *s, uint64_t bytes, struct mb_error *err)
{
	struct hostmem host;
	char wanted[SIZE_TEXT], cost[SIZE_TEXT], available[SIZE_TEXT], most[SIZE_TEXT];
	hostmem_read(&host);
	uint64_t price = slots_price(s->kind, bytes);
	if (host.available == UINT64_MAX || price <= spendable(host.available))
		return 0;
	if (s->kind == SLOTS_TDP_MMU)
		price = try_price(s, bytes);
	if (price <= spendable(host.available))
		return 0;
	return error_set(
	    err, -ENOMEM,
	    "%s of guest memory: KVM's own tables for it take %s of the host's memory at once (%s), and "
	    "%s are available; at most %s would work now",
	    size_format(bytes, wanted), size_format(price, cost), slots_kind_text(s->kind),
	    size_format(host.available, available),
	    size_exact(slots_afford(s->kind, spendable(host.available)), most));
}

/* ---- making ------------------------------------------------------------------------------------------- */

int slots_put(const struct slots *s, unsigned n, uint64_t gpa, uint64_t size, void *hva)
{
	struct kvm_userspace_memory_region slot = {
	    .slot = n,
	    .guest_phys_addr = gpa,
	    .memory_size = size,
	    .userspace_addr = (uintptr_t)hva,
	};
	if (n >= s->limit)
		return -ENOSPC;
	return ioctl(s->vm, KVM_SET_USER_MEMORY_REGION, &slot) == 0 ? 0 : -errno;
}

int slots_add(struct slots *s, uint64_t gpa, uint64_t size, void *hva, struct mb_error *err)
{
	for (uint64_t done = 0, part; done < size; done += part) {
		uint64_t room = SLOTS_BYTES_MAX - (gpa + done) % SLOTS_BYTES_MAX;
		part = size - done < room ? size - done : room;
		int rc = slots_put(s, s->count, gpa + done, part, (char *)hva + done);
		if (rc != 0)
			return error_set(
			    err, rc,
			    "KVM refuses %llu MiB of guest memory at %#llx: %s; try a smaller --memory",
			    (unsigned long long)(part >> 20), (unsigned long long)(gpa + done), strerror(-rc));
		s->count++;
	}
	return 0;
}
