/* SPDX-License-Identifier: MIT */
/* options_disk.c - see options_disk.h. */
#include "options_disk.h"

#include "error.h"

#include <errno.h>
#include <string.h>

/* Ends the first part at a single comma, halves double ones, and returns the rest, or NULL. */
static char *cut(char *text)
{
	char *to = text;
	for (; *text != '\0'; *to++ = *text++) {
		if (*text != ',')
			continue;
		if (text[1] != ',') {
			*to = '\0';
			return text + 1;
		}
		text++;
	}
	*to = '\0';
	return NULL;
}

static int take(const char *word, struct vm_disk_config *out, struct mb_error *err)
{
	if (strcmp(word, "readonly") == 0) {
		out->readonly = true;
		return 0;
	}
	if (strncmp(word, "serial=", 7) != 0)
		return error_set(err, -EINVAL,
				 "--disk: '%s' is not known; there is readonly and serial=ID (a comma in a "
				 "file's name is written twice)",
				 word);
	out->id = word + 7;
	if (strlen(out->id) > DISK_ID_BYTES)
		return error_set(err, -EINVAL, "--disk: serial '%s' is longer than %d bytes", out->id,
				 DISK_ID_BYTES);
	return 0;
}

int options_parse_disk(char *text, struct vm_disk_config *out, struct mb_error *err)
{
	char *word, *rest = cut(text);
	int rc = 0;
	*out = (struct vm_disk_config){.path = text};
	if (text[0] == '\0')
		return error_set(err, -EINVAL, "--disk: name a file or a block device");
	while (rc == 0 && (word = rest) != NULL) {
		rest = cut(word);
		rc = take(word, out, err);
	}
	return rc;
}
