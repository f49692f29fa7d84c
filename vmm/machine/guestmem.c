/* SPDX-License-Identifier: MIT */
/* guestmem.c - see guestmem.h. */
#include "machine/guestmem.h"

#include "machine/plugmap.h"

#include <errno.h>
#include <string.h>

#define PAGE UINT64_C(4096)

/* Is none of it in the pluggable region, or all of it there and plugged? The map's lock is held, if there is
 * one. */
static bool is_plugged(const struct guestmem *mem, uint64_t gpa, uint64_t len)
{
	if (mem->plug == NULL || !plugmap_touches(mem->plug, gpa, len))
		return true;
	return plugmap_holds(mem->plug, gpa, len) && plugmap_all(mem->plug, gpa, len, true);
}

/* With the map's lock held. */
static void *find(const struct guestmem *mem, uint64_t gpa, uint64_t len)
{
	void *hva = len == 0 ? NULL : mb_space_hva(mem->space, gpa, len);
	return hva != NULL && is_plugged(mem, gpa, len) ? hva : NULL;
}

static void lock(const struct guestmem *mem)
{
	if (mem->plug != NULL)
		plugmap_read_lock(mem->plug);
}

static void unlock(const struct guestmem *mem)
{
	if (mem->plug != NULL)
		plugmap_unlock(mem->plug);
}

void *guestmem_hva(const struct guestmem *mem, uint64_t gpa, uint64_t len)
{
	lock(mem);
	void *hva = find(mem, gpa, len);
	unlock(mem);
	return hva;
}

/* The same, and all of it is there: touching it waits for nobody. */
static void *find_present(const struct guestmem *mem, uint64_t gpa, uint64_t len)
{
	void *hva = find(mem, gpa, len);
	if (hva == NULL)
		return NULL;
	int rc = mb_space_present_now(mem->space, gpa, len);
	if (rc == 0 && mem->lacking != NULL)
		rc = mb_space_populate(mem->space, gpa, len);
	if (rc != 0 && mem->lacking != NULL)
		*mem->lacking = true;
	return rc == 0 ? hva : NULL;
}

void *guestmem_touch(const struct guestmem *mem, uint64_t gpa, uint64_t len)
{
	lock(mem);
	void *hva = find_present(mem, gpa, len);
	unlock(mem);
	return hva;
}

int guestmem_ready(const struct guestmem *mem, uint64_t gpa, uint64_t len)
{
	lock(mem);
	int rc = find(mem, gpa, len) != NULL ? mb_space_present(mem->space, gpa, len) : -EFAULT;
	unlock(mem);
	return rc == 0 || rc == -EAGAIN ? rc : -EFAULT;
}

const void *guestmem_peek(const struct guestmem *mem, uint64_t gpa, uint64_t len)
{
	lock(mem);
	const void *hva = find(mem, gpa, len);
	if (hva != NULL && !mb_space_is_present(mem->space, gpa, len))
		hva = NULL;
	unlock(mem);
	return hva;
}

/* Page by page: what nobody has written yet is zero, and takes no memory. */
static void copy_out(const struct guestmem *mem, uint64_t gpa, const unsigned char *from, unsigned char *to,
		     size_t len)
{
	for (size_t done = 0, n; done < len; done += n) {
		n = PAGE - (gpa + done) % PAGE;
		if (n > len - done)
			n = len - done;
		if (mb_space_is_present(mem->space, gpa + done, n))
			memcpy(to + done, from + done, n);
		else
			memset(to + done, 0, n);
	}
}

int guestmem_read(const struct guestmem *mem, uint64_t gpa, void *to, size_t len)
{
	lock(mem);
	const void *hva = find(mem, gpa, len);
	if (hva != NULL)
		copy_out(mem, gpa, hva, to, len);
	unlock(mem);
	return hva != NULL ? 0 : -EFAULT;
}

int guestmem_write(const struct guestmem *mem, uint64_t gpa, const void *from, size_t len)
{
	lock(mem);
	void *hva = find_present(mem, gpa, len);
	if (hva != NULL)
		memcpy(hva, from, len);
	unlock(mem);
	return hva != NULL ? 0 : -EFAULT;
}
