/* SPDX-License-Identifier: MIT */
/* guestmem.c - see guestmem.h. */
#include "machine/guestmem.h"

#include <errno.h>
#include <string.h>

void *guestmem_hva(const struct guestmem *mem, uint64_t gpa, uint64_t len)
{
	return len == 0 ? NULL : mb_space_hva(mem->space, gpa, len);
}

int guestmem_read(const struct guestmem *mem, uint64_t gpa, void *to, size_t len)
{
	const void *hva = guestmem_hva(mem, gpa, len);
	if (hva == NULL)
		return -EFAULT;
	memcpy(to, hva, len);
	return 0;
}

int guestmem_write(const struct guestmem *mem, uint64_t gpa, const void *from, size_t len)
{
	void *hva = guestmem_hva(mem, gpa, len);
	if (hva == NULL)
		return -EFAULT;
	memcpy(hva, from, len);
	return 0;
}
