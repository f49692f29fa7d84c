/* SPDX-License-Identifier: MIT */
/* test-options.c - the command line of memback-vmm. */
#include "options.h"

#include <errno.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define WORDS_MAX 16

/* Parses "memback-vmm" and these words; NULL ends them. */
static enum options_result parse(struct options *o, struct mb_error *err, ...)
{
	char *argv[WORDS_MAX] = {(char[]){"memback-vmm"}};
	int argc = 1;
	va_list words;
	va_start(words, err);
	while (argc < WORDS_MAX - 1 && (argv[argc] = va_arg(words, char *)) != NULL)
		argc++;
	va_end(words);
	*err = (struct mb_error){0};
	return options_parse(argc, argv, o, err);
}

/* All words but these are right; the error must name `names`. */
static void refuses(const char *names, const char *option, const char *value)
{
	struct options o;
	struct mb_error err;
	assert_int_equal(parse(&o, &err, "--kernel", "k", option, value, NULL), OPTIONS_BAD);
	if (strstr(err.text, names) == NULL || strchr(err.text, '\n') != NULL)
		fail_msg("%s %s says '%s', which does not name '%s'", option, value, err.text, names);
}

static void test_all_of_them(void **state)
{
	struct options o;
	struct mb_error err;
	(void)state;
	assert_int_equal(parse(&o, &err, "--name=a", "--memory=1.5G", "--cpus=3", "--backing=memfd",
			       "--kernel=k", "--append=x y", "--qmp=s", "--serial=file:out", "--balloon=512M",
			       "--prealloc", "--budget=1G", NULL),
			 OPTIONS_RUN);
	assert_string_equal(o.vm.name, "a");
	assert_int_equal(o.vm.memory, UINT64_C(3) << 29);
	assert_int_equal(o.vm.cpus, 3);
	assert_int_equal(o.vm.backing, MB_BACKING_MEMFD);
	assert_string_equal(o.vm.kernel, "k");
	assert_string_equal(o.vm.append, "x y");
	assert_string_equal(o.vm.qmp_path, "s");
	assert_int_equal(o.vm.serial, CONSOLE_FILE);
	assert_string_equal(o.vm.serial_path, "out");
	assert_int_equal(o.vm.balloon, UINT64_C(512) << 20);
	assert_true(o.vm.prealloc);
	assert_int_equal(o.vm.budget, UINT64_C(1) << 30);
	assert_null(o.vm.pool_path);
}

static void test_defaults(void **state)
{
	struct options o;
	struct mb_error err;
	(void)state;
	assert_int_equal(parse(&o, &err, "--kernel", "k", NULL), OPTIONS_RUN);
	assert_int_equal(strncmp(o.vm.name, "vm-", 3), 0);
	assert_int_equal(o.vm.memory, UINT64_C(256) << 20);
	assert_int_equal(o.vm.cpus, 1);
	assert_int_equal(o.vm.backing, MB_BACKING_ANON);
	assert_int_equal(o.vm.serial, CONSOLE_STDIO);
	assert_null(o.vm.qmp_path);
	assert_false(o.vm.prealloc);
}

static void test_bad_values_are_named(void **state)
{
	(void)state;
	refuses("--memory", "--memory", "0");
	refuses("--memory", "--memory", "999E");
	refuses("--memory", "--memory", "12Q");
	refuses("6M and 8M", "--memory", "7M");
	refuses("without a fraction", "--memory", "7.15T");
	refuses("at least 2M", "--memory", "1");
	refuses("--cpus", "--cpus", "0");
	refuses("--cpus", "--cpus", "two");
	refuses("--cpus", "--cpus", "-1");
	refuses("hugetlb=2M", "--backing", "gold");
	refuses("file:PATH", "--backing", "file");
	refuses("pty", "--serial", "telepathy");
	refuses("pty", "--serial", "file:");
	refuses("--balloon", "--balloon", "256M");
	refuses("--budget", "--budget", "0");
	refuses("--name", "--name", "");
	refuses("--name", "--name", "a b");
	refuses("--name", "--name", "0123456789012345678901234567890123456789012345678901234567890123");
	refuses("--frobnicate", "--frobnicate", "1");
	refuses("'stray'", "--prealloc", "stray");
	refuses("'-x'", "--prealloc", "-xy");
	refuses("'--prealloc' takes no value; leave out '=1'", "--prealloc=1", "--quiet");
	refuses("'--rn' takes no value", "--rn=", "--quiet");
	refuses("'--mem' is not clear: 3 options", "--mem=1G", "--quiet");
	refuses("'--nothing' is not known", "--nothing=1", "--quiet");
}

static void test_help(void **state)
{
	struct options o;
	struct mb_error err;
	(void)state;
	assert_int_equal(parse(&o, &err, "-h", NULL), OPTIONS_DONE);
	assert_int_equal(parse(&o, &err, "--quiet", "--help", "--nothing", NULL), OPTIONS_DONE);
	assert_int_equal(parse(&o, &err, "--version", NULL), OPTIONS_DONE);
}

static void test_what_does_not_go_together(void **state)
{
	struct options o;
	struct mb_error err;
	(void)state;
	assert_int_equal(parse(&o, &err, NULL), OPTIONS_BAD);
	assert_non_null(strstr(err.text, "--kernel"));
	assert_int_equal(parse(&o, &err, "--kernel=k", "--pool=p", "--backing=anon", NULL), OPTIONS_BAD);
	assert_non_null(strstr(err.text, "--backing"));
	assert_int_equal(parse(&o, &err, "--kernel=k", "--pool=p", "--budget=1G", NULL), OPTIONS_BAD);
	assert_non_null(strstr(err.text, "--budget"));
	assert_int_equal(parse(&o, &err, "--kernel", NULL), OPTIONS_BAD);
	assert_non_null(strstr(err.text, "--kernel"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_all_of_them),
	    cmocka_unit_test(test_defaults),
	    cmocka_unit_test(test_bad_values_are_named),
	    cmocka_unit_test(test_help),
	    cmocka_unit_test(test_what_does_not_go_together),
	};
	return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
