/* SPDX-License-Identifier: MIT */
/*
 * ctl.h - membackctl: what its commands share. Not thread-safe; it is a program with one thread.
 */
#ifndef VMM_CONTROL_CTL_H
#define VMM_CONTROL_CTL_H

#include "control/client.h"
#include "size.h"
#include <memback/pool.h>
#include <stdbool.h>
#include <stdio.h>

/* What was said on the command line, apart from the command's own arguments. */
struct ctl_options {
	const char *socket;
	bool json;
	bool wait;
	uint64_t timeout_s; /* 0: none given */
	/* pool create */
	const char *size, *budget, *backing, *memory_file, *mode, *group, *max_size;
	const char *svg; /* pool map */
	bool keep;       /* pool recover */
};

/* Options that a command takes. */
enum ctl_takes {
	CTL_SOCKET = 1 << 0,
	CTL_JSON = 1 << 1,
	CTL_WAIT = 1 << 2, /* --wait and --timeout */
	CTL_POOL = 1 << 3, /* those of pool create */
	CTL_SVG = 1 << 4,  /* --svg FILE */
	CTL_KEEP = 1 << 5, /* --keep */
};

struct ctl_command {
	const char *name;
	unsigned words;      /* of the name: "pool create" has two */
	const char *args;    /* for the help */
	unsigned arg_count;  /* exactly so many */
	unsigned takes;      /* enum ctl_takes */
	const char *summary; /* one line */
	const char *help;    /* some lines more */
	/* client is connected if CTL_SOCKET is taken, else NULL. Returns the exit status. */
	int (*run)(const struct ctl_options *o, struct qmp_client *client, char **args);
};

/* One line on stderr; returns the exit status 1. */
int ctl_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A size in words, to be used in the same expression: ctl_size(n).text */
struct ctl_text {
	char text[SIZE_TEXT];
};
struct ctl_text ctl_size(uint64_t bytes);

/* A member of an answer. */
bool ctl_get_u64(const json_t *object, const char *name, uint64_t *out); /* false: unknown */
uint64_t ctl_u64(const json_t *object, const char *name);                /* 0: unknown */
const char *ctl_string(const json_t *object, const char *name);          /* "": unknown */
/* Prints it on stdout, indented. */
void ctl_print_json(const json_t *value);
/* Asks; on failure says why on stderr and returns NULL. */
json_t *ctl_call(struct qmp_client *client, const char *command, json_t *args);

/* ctl_vm.c */
int ctl_status(const struct ctl_options *o, struct qmp_client *client, char **args);
int ctl_check(const struct ctl_options *o, struct qmp_client *client, char **args);
int ctl_stop(const struct ctl_options *o, struct qmp_client *client, char **args);
int ctl_cont(const struct ctl_options *o, struct qmp_client *client, char **args);
int ctl_quit(const struct ctl_options *o, struct qmp_client *client, char **args);
int ctl_qmp(const struct ctl_options *o, struct qmp_client *client, char **args);
/* Prints what memback-check, or a pool's check, has found; returns the exit status. */
int ctl_print_discrepancies(const json_t *list, uint64_t count);

/* ctl_balloon.c */
int ctl_inflate(const struct ctl_options *o, struct qmp_client *client, char **args);
int ctl_deflate(const struct ctl_options *o, struct qmp_client *client, char **args);
int ctl_set_size(const struct ctl_options *o, struct qmp_client *client, char **args);

/* ctl_resize.c */
int ctl_resize(const struct ctl_options *o, struct qmp_client *client, char **args);

/* ctl_map.c */
int ctl_map(const struct ctl_options *o, struct qmp_client *client, char **args);
struct ctl_map_style {
	unsigned columns; /* of the terminal */
	bool utf8;
	bool colour;
};
/* Draws runs (as memback-map gives them), a cell a step bytes. */
void ctl_map_draw(FILE *to, const json_t *runs, uint64_t step, const struct ctl_map_style *style);
/* Cells in a row of a terminal so wide. */
unsigned ctl_map_cells(unsigned columns);

/*
 * ctl_pool_open.c: attaches; says why not, or what else that did: the pool is of another boot, dead VMs were found. With
 * did, those are left to the caller to say. keep: see mb_pool_attach_kept().
 */
int ctl_pool_open(const char *path, bool keep, struct mb_pool **pool, struct mb_recovered *did);

/* ctl_pool.c */
int ctl_pool_create(const struct ctl_options *o, struct qmp_client *client, char **args);
int ctl_pool_status(const struct ctl_options *o, struct qmp_client *client, char **args);
int ctl_pool_check(const struct ctl_options *o, struct qmp_client *client, char **args);
/* ctl_pool_map.c */
int ctl_pool_map(const struct ctl_options *o, struct qmp_client *client, char **args);

int ctl_pool_owners(const struct ctl_options *o, struct qmp_client *client, char **args);
int ctl_pool_destroy(const struct ctl_options *o, struct qmp_client *client, char **args);

/* ctl_pool_change.c */
int ctl_pool_grow(const struct ctl_options *o, struct qmp_client *client, char **args);
int ctl_pool_shrink(const struct ctl_options *o, struct qmp_client *client, char **args);
int ctl_pool_set_budget(const struct ctl_options *o, struct qmp_client *client, char **args);
int ctl_pool_recover(const struct ctl_options *o, struct qmp_client *client, char **args);

#endif
