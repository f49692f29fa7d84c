/* SPDX-License-Identifier: MIT */
/*
 * elf.c - see elf.h. Headers of both classes are brought into one form, checked, and loaded.
 */
#include "machine/elf.h"

#include "error.h"
#include "machine/memmap.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENTS_MAX             64
#define NOTE_BYTES               65536 /* no kernel has more; what lies beyond is not looked at */
#define XEN_ELFNOTE_GUEST_OS     6
#define XEN_ELFNOTE_PHYS32_ENTRY 18

struct segment {
	uint64_t offset; /* in the file */
	uint64_t gpa;
	uint64_t in_file;
	uint64_t in_memory;
};

struct elf {
	const struct image *image;
	uint32_t entry;
	bool has_entry;
	bool is_linux;
	unsigned count;
	struct segment segments[SEGMENTS_MAX];
};

/* Program headers of both classes as one. */
struct header {
	uint32_t type;
	uint64_t offset, gpa, in_file, in_memory;
};

static int bad(const struct elf *elf, struct mb_error *err, const char *why)
{
	return error_set(err, -ENOEXEC,
			 "kernel '%s': %s; give a bzImage for x86-64, or an ELF image with a PVH "
			 "entry point",
			 elf->image->path, why);
}

/* The entry point, if these notes have it. Notes are padded to 4 bytes (gABI, "Note Section"). */
static void scan_notes(struct elf *elf, const unsigned char *notes, size_t size)
{
	size_t at = 0;
	while (size - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr note;
		memcpy(&note, notes + at, sizeof(note));
		at += sizeof(note);
		size_t name = ((size_t)note.n_namesz + 3) & ~(size_t)3;
		size_t desc = ((size_t)note.n_descsz + 3) & ~(size_t)3;
		if (name > size - at || desc > size - at - name)
			return;
		if (note.n_type == XEN_ELFNOTE_PHYS32_ENTRY && note.n_namesz == 4 &&
		    memcmp(notes + at, "Xen", 4) == 0 && note.n_descsz >= 4) {
			memcpy(&elf->entry, notes + at + name, 4);
			elf->has_entry = true;
		}
		if (note.n_type == XEN_ELFNOTE_GUEST_OS && note.n_namesz == 4 &&
		    memcmp(notes + at, "Xen", 4) == 0 && note.n_descsz >= 5 &&
		    memcmp(notes + at + name, "linux", 5) == 0)
			elf->is_linux = true;
		at += name + desc;
	}
}

static int take_notes(struct elf *elf, const struct header *h, struct mb_error *err)
{
	uint64_t size = h->in_file < NOTE_BYTES ? h->in_file : NOTE_BYTES;
	unsigned char *notes = malloc(size + 1);
	if (notes == NULL)
		return error_set(err, -ENOMEM, "kernel '%s': out of memory", elf->image->path);
	int rc = image_read(elf->image, h->offset, notes, size, err);
	if (rc == 0)
		scan_notes(elf, notes, size);
	free(notes);
	return rc;
}

static int take_header(struct elf *elf, const struct header *h, struct mb_error *err)
{
	if (h->type == PT_NOTE)
		return take_notes(elf, h, err);
	if (h->type != PT_LOAD || h->in_memory == 0)
		return 0;
	if (h->in_file > h->in_memory)
		return bad(elf, err, "a segment is larger in the file than in memory");
	if (h->offset > elf->image->size || h->in_file > elf->image->size - h->offset)
		return bad(elf, err, "it is truncated, or its headers point behind its end");
	if (elf->count == SEGMENTS_MAX)
		return bad(elf, err, "it has more than 64 segments");
	elf->segments[elf->count++] = (struct segment){h->offset, h->gpa, h->in_file, h->in_memory};
	return 0;
}

static int take_headers(struct elf *elf, bool wide, uint64_t offset, unsigned count, struct mb_error *err)
{
	for (unsigned i = 0; i < count; i++) {
		union {
			Elf32_Phdr narrow;
			Elf64_Phdr wide;
		} raw;
		struct header h;
		uint64_t size = wide ? sizeof(raw.wide) : sizeof(raw.narrow);
		uint64_t at;
		if (__builtin_add_overflow(offset, i * size, &at))
			return bad(elf, err, "its headers point behind its end");
		int rc = image_read(elf->image, at, &raw, size, err);
		if (rc != 0)
			return rc;
		if (wide)
			h = (struct header){raw.wide.p_type, raw.wide.p_offset, raw.wide.p_paddr,
					    raw.wide.p_filesz, raw.wide.p_memsz};
		else
			h = (struct header){raw.narrow.p_type, raw.narrow.p_offset, raw.narrow.p_paddr,
					    raw.narrow.p_filesz, raw.narrow.p_memsz};
		rc = take_header(elf, &h, err);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static int read_headers(struct elf *elf, struct mb_error *err)
{
	union {
		unsigned char ident[EI_NIDENT];
		Elf32_Ehdr narrow;
		Elf64_Ehdr wide;
	} raw;
	if (elf->image->size < sizeof(raw))
		return bad(elf, err, "it is too short to be a kernel");
	int rc = image_read(elf->image, 0, &raw, sizeof(raw), err);
	if (rc != 0)
		return rc;
	if (memcmp(raw.ident, ELFMAG, SELFMAG) != 0)
		return bad(elf, err, "it is neither a bzImage nor an ELF image");
	bool wide = raw.ident[EI_CLASS] == ELFCLASS64;
	if ((!wide && raw.ident[EI_CLASS] != ELFCLASS32) || raw.ident[EI_DATA] != ELFDATA2LSB)
		return bad(elf, err, "its class or byte order is not x86's");
	unsigned machine = wide ? raw.wide.e_machine : raw.narrow.e_machine;
	if (machine != EM_X86_64 && machine != EM_386)
		return bad(elf, err, "it is for another processor");
	unsigned entry_size = wide ? raw.wide.e_phentsize : raw.narrow.e_phentsize;
	if (entry_size != (wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
		return bad(elf, err, "its program headers have an odd size");
	rc = take_headers(elf, wide, wide ? raw.wide.e_phoff : raw.narrow.e_phoff,
			  wide ? raw.wide.e_phnum : raw.narrow.e_phnum, err);
	if (rc != 0)
		return rc;
	if (elf->count == 0)
		return bad(elf, err, "it has nothing to load");
	if (!elf->has_entry)
		return bad(elf, err, "it has no PVH entry point (ELF note XEN_ELFNOTE_PHYS32_ENTRY)");
	return 0;
}

int elf_open(const struct image *image, struct elf **out, struct mb_error *err)
{
	struct elf *elf = calloc(1, sizeof(*elf));
	if (elf == NULL)
		return error_set(err, -ENOMEM, "kernel '%s': out of memory", image->path);
	elf->image = image;
	int rc = read_headers(elf, err);
	if (rc != 0) {
		elf_close(elf);
		return rc;
	}
	*out = elf;
	return 0;
}

void elf_close(struct elf *elf)
{
	free(elf);
}

uint32_t elf_entry(const struct elf *elf)
{
	return elf->entry;
}

/* Makes *used reach over the segment, too. */
static void extend(struct mb_region *used, const struct segment *s)
{
	uint64_t end = s->gpa + s->in_memory;
	if (used->size == 0) {
		*used = (struct mb_region){s->gpa, s->in_memory};
		return;
	}
	if (used->gpa + used->size > end)
		end = used->gpa + used->size;
	if (s->gpa < used->gpa)
		used->gpa = s->gpa;
	used->size = end - used->gpa;
}

bool elf_is_linux(const struct elf *elf)
{
	return elf->is_linux;
}

int elf_load(const struct elf *elf, const struct guestmem *mem, struct mb_region *used, struct mb_error *err)
{
	*used = (struct mb_region){0};
	for (unsigned i = 0; i < elf->count; i++) {
		const struct segment *s = &elf->segments[i];
		void *hva = guestmem_touch(mem, s->gpa, s->in_memory);
		if (hva == NULL)
			return error_set(
			    err, -ENOEXEC,
			    "kernel '%s': its segment of %llu bytes at %#llx does not fit into the "
			    "guest's memory; give the guest more with --memory",
			    elf->image->path, (unsigned long long)s->in_memory, (unsigned long long)s->gpa);
		if (memmap_is_told(s->gpa, s->in_memory))
			return error_set(err, -ENOEXEC,
					 "kernel '%s': its segment at %#llx lies where the start information "
					 "or the ACPI tables go; link it elsewhere",
					 elf->image->path, (unsigned long long)s->gpa);
		/* what of the segment is not in the file is zero: the memory is fresh */
		int rc = image_read(elf->image, s->offset, hva, s->in_file, err);
		if (rc != 0)
			return rc;
		extend(used, s);
	}
	return 0;
}
