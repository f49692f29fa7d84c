/* SPDX-License-Identifier: MIT */
/* vm_load.c - see vm_load.h. */
#include "vm_load.h"

#include "cmdline.h"
#include "error.h"
#include "log.h"
#include "machine/acpi.h"

#include <errno.h>
#include <platform.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HUGE_BYTES    (UINT64_C(2) << 20)
#define CMDLINE_EXTRA 128

static int write_acpi(const struct vm_load *load, uint64_t *rsdp, struct mb_error *err)
{
	struct acpi_virtio virtio[PLATFORM_VIRTIO_COUNT];
	struct acpi_config config = {.cpus = load->config->cpus,
				     .virtio = virtio,
				     .virtio_count = load->devices->count,
				     .regions = load->layout->region,
				     .region_count = load->layout->ram + load->layout->pluggable,
				     .pluggable = load->layout->pluggable};
	for (unsigned i = 0; i < load->devices->count; i++) {
		const struct vm_device *d = &load->devices->list[i];
		virtio[i] = (struct acpi_virtio){(uint32_t)d->base, d->size, d->gsi};
	}
	return acpi_write(machine_mem(load->machine), &config, rsdp, err);
}

/* Guest memory could not be had while the guest was loaded: the pool's budget has no bytes, or the host has none. */
static int explain_lack(const struct vm_load *load, struct mb_error *err)
{
	if (load->config->overcommit && mb_space_budget_left(load->space) < HUGE_BYTES)
		return error_set(err, -EDQUOT,
				 "the pool has no bytes left to load the kernel into: inflate or end "
				 "another guest, or give this one a --memory-min");
	return error_set(err, -ENOMEM,
			 "the host has no memory to load the kernel into: the file system of the pool is full, "
			 "or all its huge pages are in use; enlarge it, or lower the budgets of its pools");
}

/* The guest's command line, with the devices for those without ACPI; the caller frees it. NULL: no memory. */
static char *make_cmdline(const struct vm_load *load, bool is_linux)
{
	const char *append = load->config->append != NULL ? load->config->append : "";
	char added[VM_DEVICES_CMDLINE + CMDLINE_EXTRA];
	size_t size = strlen(append) + sizeof(added) + 1;
	char *cmdline = malloc(size);
	if (cmdline == NULL)
		return NULL;
	vm_devices_cmdline(load->devices, added, sizeof(added));
	/* our own guests have no ACPI to count by; Linux would hand the word on to its init */
	size_t used = strlen(added);
	if (load->config->cpus > 1 && !is_linux)
		snprintf(added + used, sizeof(added) - used, " cpus=%u", load->config->cpus);
	cmdline_make(cmdline, size, append, added);
	return cmdline;
}

int vm_load(const struct vm_load *load, const struct boot *boot, struct mb_error *err)
{
	uint64_t rsdp;
	bool lacking = false;
	char *cmdline = make_cmdline(load, boot_is_linux(boot));
	if (machine_emulates_ring0() && boot_is_linux(boot))
		log_at(LOG_WARN,
		       "this host's KVM emulates guest ring 0: Linux will hardly come up; it needs a KVM "
		       "that is backed by hardware (VMX or SVM)");
	if (cmdline == NULL)
		return error_set(err, -ENOMEM, "out of memory");
	machine_set_loading(load->machine, &lacking);
	int rc = write_acpi(load, &rsdp, err);
	if (rc == 0)
		rc = machine_load(load->machine, boot, cmdline, rsdp, err);
	machine_set_loading(load->machine, NULL);
	free(cmdline);
	return rc != 0 && lacking ? explain_lack(load, err) : rc;
}
