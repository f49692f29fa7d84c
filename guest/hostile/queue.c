/* SPDX-License-Identifier: MIT */
/*
 * queue.c - hostile cases: descriptors, chains and rings.
 */
#include "hostile.h"

#include "lib/text.h"
#include <platform.h>
#include <stddef.h>

static void post_address(struct hostile *h, uint64_t gpa, uint32_t len)
{
	print("hostile: a buffer at 0x%lx of 0x%x bytes\n", gpa, len);
	virtq_post(&h->b.inflate, 0, (void *)(uintptr_t)gpa, len, 0);
	virtq_kick(&h->b.inflate);
	hostile_answer(h, &h->b.inflate);
	hostile_restart(h);
}

static void bad_address(struct hostile *h)
{
	post_address(h, boot_ram_end() + GIANT_SIZE, 64);
	post_address(h, PLATFORM_HOLE_START + HUGE_SIZE, 64);
	post_address(h, ~(uint64_t)0 - 4095, 0x2000);
	post_address(h, (uint64_t)1 << 63, 64);
	post_address(h, h->b.dev.base, 64);
	post_address(h, boot_ram_end() - 16, 4096);
}

static void link_chain(struct virtq *q, uint16_t slot, const void *data, uint32_t len, uint16_t flags,
		       uint16_t next)
{
	q->desc[slot] = (struct virtq_desc){(uint64_t)(uintptr_t)data, len, flags, next};
}

static void post_chain(struct hostile *h, uint16_t head)
{
	virtq_post_chain(&h->b.inflate, head);
	virtq_kick(&h->b.inflate);
	hostile_answer(h, &h->b.inflate);
}

static void chain_loop(struct hostile *h)
{
	hostile_fill_numbers(h, 16);
	link_chain(&h->b.inflate, 0, h->numbers, 32, VIRTQ_DESC_NEXT, 1);
	link_chain(&h->b.inflate, 1, h->numbers + 8, 32, VIRTQ_DESC_NEXT, 0);
	post_chain(h, 0);
	hostile_restart(h);
	link_chain(&h->b.inflate, 0, h->numbers, 32, VIRTQ_DESC_NEXT, 0);
	post_chain(h, 0);
}

static void next_out_of_range(struct hostile *h)
{
	hostile_fill_numbers(h, 16);
	link_chain(&h->b.inflate, 0, h->numbers, 32, VIRTQ_DESC_NEXT, 0xffff);
	post_chain(h, 0);
	hostile_restart(h);
	link_chain(&h->b.inflate, 0, h->numbers, 32, VIRTQ_DESC_NEXT, (uint16_t)h->b.inflate.size);
	post_chain(h, 0);
}

static void head_out_of_range(struct hostile *h)
{
	post_chain(h, 0xfff0);
	hostile_restart(h);
	post_chain(h, (uint16_t)h->b.inflate.size);
}

static void longest_chain(struct hostile *h)
{
	struct virtq *q = &h->b.inflate;

	hostile_fill_numbers(h, q->size);
	for (uint16_t i = 0; i < q->size; i++)
		link_chain(q, i, h->numbers + i, 4, i + 1u < q->size ? VIRTQ_DESC_NEXT : 0, (uint16_t)(i + 1));
	post_chain(h, 0);
	hostile_restart(h);
	/* Page numbers that straddle two descriptors. */
	for (uint16_t i = 0; i < q->size; i++)
		link_chain(q, i, (const char *)h->numbers + i, 1, i + 1u < q->size ? VIRTQ_DESC_NEXT : 0,
			   (uint16_t)(i + 1));
	post_chain(h, 0);
}

static void huge_length(struct hostile *h)
{
	hostile_fill_area(h);
	hostile_fill_numbers(h, NUMBERS_MAX);
	post_address(h, (uint64_t)(uintptr_t)h->numbers, 0xffffffff);
	post_address(h, (uint64_t)(uintptr_t)h->numbers, 0xfffffffc);
	post_address(h, h->area, AREA_PAGES * PAGE_SIZE);
}

/* Each descriptor names the same large buffer: 16 million page numbers out of 4 MiB. */
static void multiplied_length(struct hostile *h)
{
	struct virtq *q = &h->b.inflate;
	uint16_t count = 16;

	hostile_fill_area(h);
	for (uint16_t i = 0; i < count; i++)
		link_chain(q, i, (void *)(uintptr_t)h->area, AREA_PAGES * PAGE_SIZE,
			   i + 1 < count ? VIRTQ_DESC_NEXT : 0, (uint16_t)(i + 1));
	post_chain(h, 0);
}

static void zero_length(struct hostile *h)
{
	post_address(h, (uint64_t)(uintptr_t)h->numbers, 0);
	post_address(h, 0, 0);
}

static void odd_length(struct hostile *h)
{
	hostile_fill_numbers(h, 2048);
	post_address(h, (uint64_t)(uintptr_t)h->numbers, 1);
	post_address(h, (uint64_t)(uintptr_t)h->numbers, 7);
	post_address(h, (uint64_t)(uintptr_t)h->numbers + 1, 4097);
}

static void writable_buffer(struct hostile *h)
{
	hostile_fill_numbers(h, 16);
	virtq_post(&h->b.inflate, 0, h->numbers, 64, VIRTQ_DESC_WRITE);
	virtq_kick(&h->b.inflate);
	hostile_answer(h, &h->b.inflate);
	hostile_restart(h);
	link_chain(&h->b.inflate, 0, h->numbers, 32, VIRTQ_DESC_NEXT | VIRTQ_DESC_WRITE, 1);
	link_chain(&h->b.inflate, 1, h->numbers + 8, 32, 0, 0);
	post_chain(h, 0);
}

static void indirect(struct hostile *h)
{
	struct virtq_desc *table = (struct virtq_desc *)(uintptr_t)(h->area + HUGE_SIZE);

	hostile_fill_numbers(h, 16);
	for (uint16_t i = 0; i < 4; i++)
		table[i] = (struct virtq_desc){(uint64_t)(uintptr_t)table, 64,
					       VIRTQ_DESC_INDIRECT | VIRTQ_DESC_NEXT, (uint16_t)((i + 1) % 4)};
	virtq_post(&h->b.inflate, 0, table, 64, VIRTQ_DESC_INDIRECT);
	virtq_kick(&h->b.inflate);
	hostile_answer(h, &h->b.inflate);
	hostile_restart(h);
	virtq_post(&h->b.inflate, 0, table, 63, VIRTQ_DESC_INDIRECT | VIRTQ_DESC_WRITE);
	virtq_kick(&h->b.inflate);
	hostile_answer(h, &h->b.inflate);
}

static void move_index(struct hostile *h, uint16_t by)
{
	struct virtq *q = &h->b.inflate;

	q->next_avail = (uint16_t)(q->next_avail + by);
	__atomic_store_n(&q->avail->idx, q->next_avail, __ATOMIC_RELEASE);
	virtq_kick(q);
	hostile_answer(h, q);
	hostile_restart(h);
}

static void index_jumps(struct hostile *h)
{
	move_index(h, (uint16_t)(h->b.inflate.size + 1));
	move_index(h, 0x8000);
	move_index(h, 0xffff); /* one back */
}

static void overlapping_rings(struct hostile *h)
{
	struct virtq *q = &h->b.inflate;

	virtio_write(&h->b.dev, VIRTIO_REG_QUEUE_SELECT, 0);
	virtio_write(&h->b.dev, VIRTIO_REG_QUEUE_READY, 0);
	virtio_write_pair(&h->b.dev, VIRTIO_REG_QUEUE_USED, (uint64_t)(uintptr_t)q->desc);
	virtio_write_pair(&h->b.dev, VIRTIO_REG_QUEUE_AVAIL, (uint64_t)(uintptr_t)q->desc);
	virtio_write(&h->b.dev, VIRTIO_REG_QUEUE_READY, 1);
	hostile_fill_numbers(h, 16);
	for (unsigned i = 0; i < 16; i++)
		hostile_post_numbers(h, q, 16);
	hostile_answer(h, q);
}

const struct hostile_case hostile_queue_cases[] = {
    {"bad-address", "buffers that are no memory, or partly", bad_address, CASE_SURVIVES},
    {"chain-loop", "chains of descriptors that never end", chain_loop, CASE_SURVIVES},
    {"next-out-of-range", "a next descriptor beyond the table", next_out_of_range, CASE_SURVIVES},
    {"head-out-of-range", "a first descriptor beyond the table", head_out_of_range, CASE_SURVIVES},
    {"longest-chain", "a chain of all descriptors, then the same with one byte each", longest_chain,
     CASE_SURVIVES},
    {"huge-length", "buffers of 4 GiB, and of all that there is", huge_length, CASE_SURVIVES},
    {"multiplied-length", "a chain that names one large buffer again and again", multiplied_length,
     CASE_SURVIVES},
    {"zero-length", "buffers of no bytes", zero_length, CASE_SURVIVES},
    {"odd-length", "buffers that end in the middle of a page number", odd_length, CASE_SURVIVES},
    {"writable-buffer", "a buffer for the device to write where it should read", writable_buffer,
     CASE_SURVIVES},
    {"indirect", "indirect descriptors, not negotiated and nested", indirect, CASE_SURVIVES},
    {"index-jumps", "an available index that jumps too far, and back", index_jumps, CASE_SURVIVES},
    {"overlapping-rings", "three rings at one place", overlapping_rings, CASE_SURVIVES},
    {NULL, NULL, NULL, CASE_SURVIVES},
};
