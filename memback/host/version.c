/* SPDX-License-Identifier: MIT */
/* version.c - which library this is, as its build says. */
#include <memback/pool.h>

#define STRINGIFY_(x) #x
#define STRINGIFY(x)  STRINGIFY_(x)

const char *mb_version(void)
{
	return STRINGIFY(MEMBACK_VERSION);
}
