/* SPDX-License-Identifier: MIT */
/* test-cmdline.c - where what the VMM adds to a command line goes. */
#include "cmdline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void makes(const char *append, const char *added, const char *wanted)
{
	char line[128];
	cmdline_make(line, sizeof(line), append, added);
	assert_string_equal(line, wanted);
}

static void test_at_the_end(void **state)
{
	(void)state;
	makes("", "", "");
	makes("", " a=1 b=2", "a=1 b=2");
	makes("quiet", "", "quiet");
	makes("quiet", " a=1 b=2", "quiet a=1 b=2");
	makes("quiet --x", " a=1", "quiet --x a=1");
	makes("a--", " a=1", "a-- a=1");
	makes("x=\"a -- b\" y", " a=1", "x=\"a -- b\" y a=1");
}

/* What is behind "--" is for init, and stays as it is. */
static void test_in_front_of_what_is_inits(void **state)
{
	(void)state;
	makes("quiet -- single", " a=1", "quiet a=1 -- single");
	makes("quiet  --", " a=1", "quiet a=1 --");
	makes("-- single", " a=1", "a=1 -- single");
	makes("quiet -- a -- b", " a=1", "quiet a=1 -- a -- b");
	makes("x=\"a -- b\" -- c", " a=1", "x=\"a -- b\" a=1 -- c");
	makes("quiet\t--\tc", " a=1", "quiet a=1 --\tc");
	makes("-- c", "", "-- c");
}

static void test_cut(void **state)
{
	char line[8];
	(void)state;
	cmdline_make(line, sizeof(line), "quiet -- single", " a=1");
	assert_string_equal(line, "quiet a");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_at_the_end),
	    cmocka_unit_test(test_in_front_of_what_is_inits),
	    cmocka_unit_test(test_cut),
	};
	return cmocka_run_group_tests_name("cmdline", tests, NULL, NULL);
}
