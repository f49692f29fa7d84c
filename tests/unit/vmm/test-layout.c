/* SPDX-License-Identifier: MIT */
/* test-layout.c - where memory lies, for all sizes; what KVM's slots cost, and what the host says it has. */
#include "layout.h"
#include "machine/hostmem.h"
#include "machine/slots.h"
#include "size.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MiB (UINT64_C(1) << 20)
#define GiB (UINT64_C(1) << 30)
#define TiB (UINT64_C(1) << 40)

static struct layout make(uint64_t memory, uint64_t pluggable, bool amd)
{
	struct layout_config c = {.memory = memory, .pluggable = pluggable, .address_bits = 48, .amd = amd};
	struct layout l;
	struct mb_error err;
	if (layout_make(&c, &l, &err) != 0)
		fail_msg("%s", err.text);
	return l;
}

static void assert_region(const struct mb_region *r, uint64_t gpa, uint64_t size)
{
	assert_int_equal(r->gpa, gpa);
	assert_int_equal(r->size, size);
}

static void test_small_memory_is_one_region(void **state)
{
	(void)state;
	struct layout l = make(2 * MiB, 0, true);
	assert_int_equal(l.ram, 1);
	assert_region(&l.region[0], 0, 2 * MiB);
	l = make(3 * GiB, 0, true);
	assert_int_equal(l.ram, 1);
	assert_region(&l.region[0], 0, 3 * GiB);
}

static void test_memory_goes_around_the_holes(void **state)
{
	(void)state;
	struct layout l = make(3 * GiB + 2 * MiB, 0, true);
	assert_int_equal(l.ram, 2);
	assert_region(&l.region[1], 4 * GiB, 2 * MiB);
	l = make(TiB, 0, false);
	assert_int_equal(l.ram, 2);
	assert_region(&l.region[1], 4 * GiB, TiB - 3 * GiB);
	/* all that fits below the hole, and a little more */
	l = make(1011 * GiB, 0, true);
	assert_int_equal(l.ram, 2);
	assert_region(&l.region[1], 4 * GiB, 1008 * GiB);
	l = make(1011 * GiB + 2 * MiB, 0, true);
	assert_int_equal(l.ram, 3);
	assert_region(&l.region[2], TiB, 2 * MiB);
	l = make(TiB, 0, true);
	assert_region(&l.region[2], TiB, 13 * GiB);
	assert_false(l.pluggable);
}

static void test_pluggable_memory_has_giants_of_its_own(void **state)
{
	(void)state;
	struct layout l = make(64 * MiB, 2 * GiB, true);
	assert_true(l.pluggable);
	assert_int_equal(l.ram, 1);
	assert_region(&l.region[1], 4 * GiB, 2 * GiB);
	l = make(3 * GiB + 2 * MiB, 2 * GiB, true);
	assert_region(&l.region[2], 5 * GiB, 2 * GiB);
	/* up to the hole, beyond it, and from within its neighbourhood */
	l = make(4 * GiB, 1007 * GiB, true);
	assert_region(&l.region[2], 5 * GiB, 1007 * GiB);
	l = make(4 * GiB, 1008 * GiB, true);
	assert_region(&l.region[2], TiB, 1008 * GiB);
	l = make(4 * GiB, 1008 * GiB, false);
	assert_region(&l.region[2], 5 * GiB, 1008 * GiB);
	l = make(1011 * GiB, GiB, true);
	assert_region(&l.region[2], TiB, GiB);
	l = make(TiB, GiB, true);
	assert_region(&l.region[3], TiB + 13 * GiB, GiB);
}

/* Whatever the size: as much as was asked for, ascending, apart, within the width, in no hole. */
static void test_all_sizes(void **state)
{
	(void)state;
	uint64_t x = 88172645463325252u;
	for (unsigned n = 0; n < 100000; n++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		struct layout_config c = {
		    .memory = ((x >> 20) % (TiB >> (x >> 4) % 16)) / (2 * MiB) * (2 * MiB) + 2 * MiB,
		    .pluggable = x >> 3 & 1 ? (x >> 40) % 2000 * GiB : 0,
		    .address_bits = 30 + (unsigned)((x >> 8) % 34),
		    .amd = x & 1};
		uint64_t end = 0, sum = 0;
		struct layout l;
		struct mb_error err;
		int rc = layout_make(&c, &l, &err);
		if (rc != 0) {
			assert_int_equal(rc, -EFBIG);
			assert_non_null(strstr(err.text, "bits on this host"));
			continue;
		}
		assert_true(l.ram >= 1 && l.ram <= LAYOUT_REGIONS);
		assert_int_equal(l.pluggable, c.pluggable > 0);
		for (unsigned i = 0; i < l.ram + l.pluggable; i++) {
			const struct mb_region *r = &l.region[i];
			assert_true(r->size > 0 && r->gpa >= end && r->gpa % (2 * MiB) == 0);
			end = r->gpa + r->size;
			assert_true(c.address_bits >= 63 || end <= UINT64_C(1) << c.address_bits ||
				    end <= 3 * GiB);
			assert_true(end <= 3 * GiB || r->gpa >= 4 * GiB);
			assert_true(!c.amd || end <= LAYOUT_HT_START || r->gpa >= LAYOUT_HT_END);
			sum += i < l.ram ? r->size : 0;
		}
		assert_int_equal(sum, c.memory);
		if (l.pluggable) {
			assert_int_equal(l.region[l.ram].gpa % GiB, 0);
			assert_int_equal(l.region[l.ram].size, c.pluggable);
		}
	}
}

static void test_what_does_not_fit_says_what_would(void **state)
{
	(void)state;
	struct layout_config c = {.memory = TiB, .address_bits = 36};
	struct layout l;
	struct mb_error err;
	assert_int_equal(layout_make(&c, &l, &err), -EFBIG);
	assert_non_null(strstr(err.text, "36 bits"));
	assert_non_null(strstr(err.text, "at most 63G fit"));
	c.address_bits = 41;
	c.memory = 2 * TiB;
	c.amd = true;
	assert_int_equal(layout_make(&c, &l, &err), -EFBIG);
	/* 2 TiB less the devices' GiB and HyperTransport's 12 */
	c.memory = 2 * TiB - 13 * GiB;
	assert_int_equal(layout_make(&c, &l, &err), 0);
	c.memory += 2 * MiB;
	assert_int_equal(layout_make(&c, &l, &err), -EFBIG);
	c.memory = GiB;
	c.pluggable = 3 * TiB;
	assert_int_equal(layout_make(&c, &l, &err), -EFBIG);
	/* the larger piece, above HyperTransport's hole; with 40 bits there is only the one below it */
	assert_non_null(strstr(err.text, "at most --max-memory 1025G fits"));
	c.address_bits = 40;
	c.memory = 2 * MiB;
	assert_int_equal(layout_make(&c, &l, &err), -EFBIG);
	assert_non_null(strstr(err.text, "at most --max-memory 1032194M fits"));
	c.pluggable = 1008 * GiB;
	assert_int_equal(layout_make(&c, &l, &err), 0);
	c.amd = false;
	c.pluggable = 1020 * GiB + 2 * MiB;
	assert_int_equal(layout_make(&c, &l, &err), -EFBIG);
	assert_non_null(strstr(err.text, "at most --max-memory 1044482M fits"));
	c.pluggable = 1020 * GiB;
	assert_int_equal(layout_make(&c, &l, &err), 0);
}

/* What the slots could be made for is named as --memory takes it. */
static void test_the_most_can_be_typed(void **state)
{
	(void)state;
	struct slots s = {.vm = -1, .kind = SLOTS_SHADOW, .limit = 32};
	struct mb_error err;
	assert_int_equal(slots_check(&s, UINT64_C(1) << 60, &err), -ENOMEM);
	const char *at = strstr(err.text, "at most ");
	assert_non_null(at);
	char text[32];
	uint64_t most;
	assert_int_equal(sscanf(at, "at most %31s", text), 1);
	assert_int_equal(size_parse(text, &most), 0);
	assert_int_equal(most % GiB, 0);
	assert_int_equal(slots_check(&s, most / 2, &err), 0); /* half, since others use the host's memory too */
}

/* ---- what slots cost ------------------------------------------------------------------------------------ */

static void test_prices(void **state)
{
	(void)state;
	/* 10 bytes for each of 2^28 pages, and a little for each of 2^19 large ones */
	assert_int_equal(slots_price(SLOTS_SHADOW, TiB), 2560 * MiB + 8 * MiB);
	assert_int_equal(slots_price(SLOTS_TDP, TiB), 2560 * MiB + 8 * MiB);
	assert_int_equal(slots_price(SLOTS_TDP_MMU, TiB), 512 * MiB + 8 * MiB);
	for (enum slots_kind kind = SLOTS_SHADOW; kind <= SLOTS_TDP_MMU; kind++) {
		for (uint64_t price = 0; price < 300 * GiB; price = price * 3 / 2 + 777 * MiB) {
			uint64_t most = slots_afford(kind, price);
			assert_int_equal(most % GiB, 0);
			assert_true(slots_price(kind, most) <= price);
			assert_true(slots_price(kind, most + GiB) > price);
		}
	}
}

static void test_too_much_is_refused_unspent(void **state)
{
	(void)state;
	struct slots s = {.vm = -1, .kind = SLOTS_SHADOW, .limit = 32};
	struct mb_error err = {0};
	assert_int_equal(slots_check(&s, 64 * MiB, &err), 0);
	/* no host has 2.5 PiB */
	assert_int_equal(slots_check(&s, UINT64_C(1) << 60, &err), -ENOMEM);
	assert_non_null(strstr(err.text, "shadow paging"));
	assert_non_null(strstr(err.text, "would work now"));
	/* where only a trial can tell, and fails, the highest price holds */
	s.kind = SLOTS_TDP_MMU;
	assert_int_equal(slots_check(&s, UINT64_C(1) << 60, &err), -ENOMEM);
	assert_non_null(strstr(err.text, "TDP MMU"));
	assert_int_equal(s.count, 0);
	assert_int_equal(slots_put(&s, 32, 0, 0, NULL), -ENOSPC);
	assert_int_equal(slots_put(&s, 0, 0, 0, NULL), -EBADF);
}

static void test_host_memory(void **state)
{
	(void)state;
	const char *text =
	    "MemTotal:       24683520 kB\nMemAvailableX:  1 kB\nMemAvailable:   100 kB\nSlab: x\nEnd: 7 kB";
	struct hostmem host;
	assert_int_equal(hostmem_field(text, "MemAvailable"), 100 << 10);
	assert_int_equal(hostmem_field(text, "MemTotal"), UINT64_C(24683520) << 10);
	assert_int_equal(hostmem_field(text, "End"), 7 << 10);
	assert_int_equal(hostmem_field(text, "Slab"), UINT64_MAX);
	assert_int_equal(hostmem_field(text, "Mem"), UINT64_MAX);
	assert_int_equal(hostmem_field("", "MemTotal"), UINT64_MAX);
	hostmem_read(&host);
	assert_true(host.available > 0 && host.available != UINT64_MAX);
	assert_true(host.vmalloc != UINT64_MAX && host.slab != UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_small_memory_is_one_region),
	    cmocka_unit_test(test_memory_goes_around_the_holes),
	    cmocka_unit_test(test_pluggable_memory_has_giants_of_its_own),
	    cmocka_unit_test(test_all_sizes),
	    cmocka_unit_test(test_what_does_not_fit_says_what_would),
	    cmocka_unit_test(test_prices),
	    cmocka_unit_test(test_too_much_is_refused_unspent),
	    cmocka_unit_test(test_the_most_can_be_typed),
	    cmocka_unit_test(test_host_memory),
	};
	return cmocka_run_group_tests_name("layout", tests, NULL, NULL);
}
