/* SPDX-License-Identifier: MIT */
/* test-size.c - sizes as people write and read them. */
#include "size.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>

static void parses(const char *text, uint64_t expected)
{
	uint64_t value = 42;
	if (size_parse(text, &value) != 0 || value != expected)
		fail_msg("'%s' gives %llu, not %llu", text, (unsigned long long)value,
			 (unsigned long long)expected);
}

static void refuses(const char *text, int code)
{
	uint64_t value = 42;
	int rc = size_parse(text, &value);
	if (rc != code || value != 42)
		fail_msg("'%s' gives %d (%llu), not %d", text, rc, (unsigned long long)value, code);
}

static void test_sizes_with_units(void **state)
{
	(void)state;
	parses("0", 0);
	parses("4096", 4096);
	parses("512M", UINT64_C(512) << 20);
	parses("512m", UINT64_C(512) << 20);
	parses("1.5G", UINT64_C(3) << 29);
	parses("0.5K", 512);
	parses("2T", UINT64_C(2) << 40);
	parses("1GiB", UINT64_C(1) << 30);
	parses("10 MiB", UINT64_C(10) << 20);
	parses("64KB", UINT64_C(64) << 10);
	parses("100B", 100);
	parses("15E", UINT64_C(15) << 60);
	parses("18446744073709551615", UINT64_MAX);
}

static void test_what_is_no_size(void **state)
{
	static const char *const none[] = {"",     "M",    "-1",    "+1",  " 1",    "1 2",  "0x10",
					   "1.",   ".5G",  "1MM",   "1Mi", "64Q",   "1e3",  "nan",
					   "1,5G", "1..5", "1.5.5", "1K ", "1MiBs", "64M64"};
	(void)state;
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		refuses(none[i], -EINVAL);
	refuses("0.0000000009313G", -EINVAL); /* more decimals than we read */
	refuses("1.5", -EDOM);
	refuses("1.3K", -EDOM);
	refuses("7.15T", -EDOM);
	refuses("18446744073709551616", -ERANGE);
	refuses("99999999999999999999999999", -ERANGE);
	refuses("16E", -ERANGE);
	refuses("999E", -ERANGE);
	refuses("18014398509481984K", -ERANGE);
}

static void is_exact(uint64_t bytes, const char *expected)
{
	char text[SIZE_TEXT];
	assert_string_equal(size_exact(bytes, text), expected);
	parses(text, bytes);
}

static void test_sizes_to_type(void **state)
{
	(void)state;
	is_exact(0, "0");
	is_exact(1023, "1023");
	is_exact(4096, "4K");
	is_exact(UINT64_C(3) << 29, "1536M");
	is_exact(UINT64_C(7323) << 30, "7323G");
	is_exact(UINT64_C(256) << 40, "256T");
	is_exact(UINT64_C(15) << 60, "15E");
	is_exact(UINT64_MAX, "18446744073709551615");
}

static void formats(uint64_t bytes, const char *expected)
{
	char text[SIZE_TEXT];
	assert_string_equal(size_format(bytes, text), expected);
}

static void test_sizes_for_people(void **state)
{
	(void)state;
	formats(0, "0 B");
	formats(1023, "1023 B");
	formats(1024, "1 KiB");
	formats(UINT64_C(3) << 29, "1.5 GiB");
	formats((UINT64_C(1) << 30) + (UINT64_C(1) << 28), "1.25 GiB");
	formats((UINT64_C(1) << 30) - 1, "1024 MiB");
	formats(UINT64_C(512) << 20, "512 MiB");
	formats(UINT64_C(1) << 40, "1 TiB");
	formats(UINT64_MAX, "16 EiB");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_sizes_with_units),
	    cmocka_unit_test(test_what_is_no_size),
	    cmocka_unit_test(test_sizes_for_people),
	    cmocka_unit_test(test_sizes_to_type),
	};
	return cmocka_run_group_tests_name("size", tests, NULL, NULL);
}
