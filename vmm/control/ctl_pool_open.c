/* SPDX-License-Identifier: MIT */
/*
 * ctl_pool_open.c - membackctl: attaching to a pool file, which may do more than to attach: what that found and did is
 * said, on stderr, so that no command makes a death or a boot of the machine disappear.
 */
#include "control/ctl.h"

static void say_what_was_done(const char *path, const struct mb_recovered *did, bool dead)
{
	if (did->rebuilt || did->kept)
		fprintf(stderr, "membackctl: %s was of another boot of this machine: %s\n", path,
			did->kept ? "it was checked and repaired" : "it is empty now");
	if (!dead)
		return;
	if (did->owners)
		fprintf(stderr,
			"membackctl: %s: %llu dead VM%s found, %s of frames and %s of the budget taken back\n",
			path, (unsigned long long)did->owners, did->owners == 1 ? "" : "s",
			ctl_size(did->frames).text, ctl_size(did->charged).text);
	else if (did->freed || did->completed || did->undone)
		fprintf(stderr, "membackctl: %s: what somebody was killed over was completed or undone\n",
			path);
}

int ctl_pool_open(const char *path, bool keep, struct mb_pool **pool, struct mb_recovered *did)
{
	struct mb_recovered found = {0};
	struct mb_error err = {0};

	if ((keep ? mb_pool_attach_kept : mb_pool_attach_recovered)(path, pool, &found, &err))
		return ctl_fail("%s", err.text);
	say_what_was_done(path, &found, !did);
	if (did)
		*did = found;
	return 0;
}
