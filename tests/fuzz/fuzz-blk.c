/* SPDX-License-Identifier: MIT */
/*
 * fuzz-blk.c - a guest that does anything to its disk, see virtio_guest.h.
 *
 * Whatever it does: the file keeps its size, a read-only one its contents; nothing is in flight after a reset;
 * and a driver that resets the device and does everything right is served.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "devices/blk.h"
#include "virtio_guest.h"

#include <endian.h>
#include <linux/virtio_blk.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTORS UINT64_C(512)
#define BYTES   (SECTORS * 512)
#define TEXT    "a read-only disk stays as it is"
#define FEATURES                                                                                               \
	(UINT64_C(1) << VIRTIO_BLK_F_FLUSH | UINT64_C(1) << VIRTIO_BLK_F_DISCARD |                             \
	 UINT64_C(1) << VIRTIO_BLK_F_WRITE_ZEROES | UINT64_C(1) << VIRTIO_BLK_F_RO)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A header, or a range to discard, where the program's descriptors may find it. */
static void write_header(struct guest *g, bool range)
{
	static const uint32_t types[] = {VIRTIO_BLK_T_IN,      VIRTIO_BLK_T_OUT,     VIRTIO_BLK_T_FLUSH,
					 VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_GET_ID,  VIRTIO_BLK_T_WRITE_ZEROES,
					 VIRTIO_BLK_T_IN,      VIRTIO_BLK_T_SCSI_CMD};
	uint64_t at = RIG_BUFFERS + guest_take(g, 1) * UINT64_C(16), sector = guest_take(g, 2);
	struct virtio_blk_outhdr header = {.type = htole32(types[guest_take(g, 1) % 8])};
	struct virtio_blk_discard_write_zeroes zeroes;

	if (sector & 0x8000)
		sector = (sector << 48) + guest_take(g, 4);
	header.sector = htole64(sector);
	zeroes.sector = htole64(sector);
	zeroes.num_sectors = htole32(guest_take(g, 2));
	zeroes.flags = htole32(guest_take(g, 1) % 4);
	if (range)
		memcpy(mb_space_hva(g->r.space, at, sizeof(zeroes)), &zeroes, sizeof(zeroes));
	else
		memcpy(mb_space_hva(g->r.space, at, sizeof(header)), &header, sizeof(header));
}

/* A whole request that is nearly right. */
static void put_request(struct guest *g)
{
	unsigned d = guest_take(g, 1) % (GUEST_QSIZE - 2);
	uint64_t header = RIG_BUFFERS + guest_take(g, 1) * UINT64_C(16), data = guest_address(g);
	uint32_t len = guest_take(g, 1) * 128, flags = guest_take(g, 1) & VRING_DESC_F_WRITE;

	rig_desc(&g->q[0], d, header, 16, VRING_DESC_F_NEXT, (uint16_t)(len ? d + 1 : d + 2));
	rig_desc(&g->q[0], d + 1, data, len, (uint16_t)(flags | VRING_DESC_F_NEXT), (uint16_t)(d + 2));
	rig_desc(&g->q[0], d + 2, RIG_BUFFERS + 0x8000 + d, 1, VRING_DESC_F_WRITE, 0);
	rig_offer(&g->q[0], (uint16_t)d);
}

static void own_step(struct guest *g, unsigned kind)
{
	struct blk *b = g->device;

	switch (kind) {
	case 0:
		write_header(g, false);
		break;
	case 1:
		write_header(g, true);
		break;
	case 2:
		put_request(g);
		break;
	default:
		if (guest_take(g, 1) % 2)
			blk_pause(b);
		else
			blk_resume(b);
	}
}

static uint8_t request(struct guest *g, uint32_t type, uint64_t data)
{
	struct virtio_blk_outhdr header = {.type = htole32(type), .sector = htole64(7)};
	uint8_t *status = mb_space_hva(g->r.space, RIG_BUFFERS + 16, 1);

	*status = 0xee;
	memcpy(mb_space_hva(g->r.space, RIG_BUFFERS, sizeof(header)), &header, sizeof(header));
	rig_desc(&g->q[0], 0, RIG_BUFFERS, 16, VRING_DESC_F_NEXT, 1);
	rig_desc(&g->q[0], 1, data, 512, VRING_DESC_F_NEXT | (type == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0),
		 2);
	rig_desc(&g->q[0], 2, RIG_BUFFERS + 16, 1, VRING_DESC_F_WRITE, 0);
	rig_offer(&g->q[0], 0);
	guest_answer(g);
	return *status;
}

/* A driver that does all right, after all that. */
static void check(struct guest *g, struct blk *b, int fd, bool readonly)
{
	unsigned char *to = mb_space_hva(g->r.space, RIG_BUFFERS + 0x1000, 512);
	unsigned char *from = mb_space_hva(g->r.space, RIG_BUFFERS + 0x2000, 512);
	char text[sizeof(TEXT)] = "";
	struct blk_status s;
	struct stat st;

	blk_resume(b);
	guest_bring_up(g, 0);
	blk_get_status(b, &s);
	guest_must(s.in_flight == 0, "something is in flight after a reset");
	memset(to, 0x11, 512);
	memset(from, 0x22, 512);
	guest_must(request(g, VIRTIO_BLK_T_OUT, RIG_BUFFERS + 0x1000) ==
		       (readonly ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK),
		   "a write does not do what it should");
	guest_must(request(g, VIRTIO_BLK_T_IN, RIG_BUFFERS + 0x2000) == VIRTIO_BLK_S_OK, "a read fails");
	guest_must(!memcmp(to, from, 512) == !readonly, "a read gives something else");
	guest_must(!fstat(fd, &st) && st.st_size == (off_t)BYTES, "the file has another size");
	guest_must(!readonly || (pread(fd, text, sizeof(text), 0) == sizeof(text) && !strcmp(text, TEXT)),
		   "a read-only file has changed");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct blk_config config = {.disk = {.bytes = BYTES, .block_size = 512, .physical_size = 4096}};
	int fd = memfd_create("disk", MFD_CLOEXEC);
	struct guest g;
	struct blk *b;

	guest_begin(&g, data, size, 1, FEATURES);
	config.disk.readonly = guest_take(&g, 1) % 4 == 0;
	guest_must(fd >= 0 && !ftruncate(fd, BYTES) && pwrite(fd, TEXT, sizeof(TEXT), 0) == sizeof(TEXT),
		   "no file");
	config.disk.fd = dup(fd);
	guest_must(!blk_create(&g.r.host, &config, &b), "no disk");
	g.own_step = own_step;
	g.device = b;
	guest_run(&g);
	check(&g, b, fd, config.disk.readonly);
	blk_destroy(b);
	guest_end(&g);
	close(fd);
	return 0;
}
