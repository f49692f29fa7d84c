/* SPDX-License-Identifier: MIT */
/*
 * newfile.h - a file that gets its name when it is complete, and not before: whoever is killed while making it
 * leaves nothing. Where a file system has no files without a name, it leaves PATH.XXXXXX, which is in nobody's way.
 */
#ifndef HOST_NEWFILE_H
#define HOST_NEWFILE_H

struct newfile {
	const char *path; /* where it shall be; the caller's */
	char *temp;       /* its name meanwhile, if it has one */
};

/* A new, empty file beside path, open for both; its descriptor, which is the caller's, or a negative errno. */
int newfile_open(struct newfile *f, const char *path, unsigned mode);
/* Gives it its name. -EEXIST: that is taken, by whatever; nothing is ever overwritten. */
int newfile_publish(struct newfile *f, int fd);
/* Afterwards, published or not: what is not is gone with its descriptor. */
void newfile_end(struct newfile *f);

#endif
