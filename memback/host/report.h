/* SPDX-License-Identifier: MIT */
/* report.h - how the checks of a space and of a pool say what they found. */
#ifndef HOST_REPORT_H
#define HOST_REPORT_H

#include <memback/pool.h>
#include <stdbool.h>

struct report {
	mb_discrepancy_fn *fn; /* may be NULL: only counted */
	void *arg;
	int found;
	bool stop; /* fn has asked to end */
};

#define REPORT_NONE UINT64_MAX

/* One discrepancy; gpa and frame may be REPORT_NONE. */
void report_add(struct report *r, const char *kind, uint64_t gpa, uint64_t frame, uint64_t len, const char *fmt,
		...) __attribute__((format(printf, 6, 7)));

#endif
