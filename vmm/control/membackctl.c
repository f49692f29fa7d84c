/* SPDX-License-Identifier: MIT */
/*
 * membackctl.c - the command line: controls a running VM through its control socket, and pool files.
 */
#include "control/ctl.h"

#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define BALLOON_HELP                                                                                           \
	"The VM's maximum is its memory without a balloon; its target is what it was asked to have; its\n"     \
	"actual size is the maximum less what the guest has given so far. The command sets the target and\n"   \
	"returns; the guest then moves the actual size there as it can. With --wait it stays until it is\n"    \
	"there, or says how far it came (exit status 1): after --timeout seconds, or, without one, when\n"     \
	"nothing has moved for 10 s. While growing is held back because the pool's budget lacks bytes,\n"      \
	"only --timeout ends the waiting.\n"

static const struct ctl_command commands[] = {
    {"status", 1, "", 0, CTL_SOCKET | CTL_JSON, "the VM's memory in numbers",
     "Says maximum, target, actual and resident size, the budget, and what a held-back deflation waits\n"
     "for. What is not known is left out.\n",
     ctl_status},
    {"inflate", 1, "SIZE", 1, CTL_SOCKET | CTL_JSON | CTL_WAIT,
     "take SIZE more from the VM (lowers its target)",
     "Lowers the VM's target by SIZE: the guest gives that much beyond what it was asked for so "
     "far.\n" BALLOON_HELP,
     ctl_inflate},
    {"deflate", 1, "SIZE", 1, CTL_SOCKET | CTL_JSON | CTL_WAIT, "give SIZE back to the VM (raises its target)",
     "Raises the VM's target by SIZE, up to its maximum.\n" BALLOON_HELP, ctl_deflate},
    {"set-size", 1, "SIZE", 1, CTL_SOCKET | CTL_JSON | CTL_WAIT, "set the VM's target to SIZE",
     "Sets the VM's target to SIZE, which is the VM's size, not the balloon's.\n" BALLOON_HELP, ctl_set_size},
    {"resize", 1, "SIZE", 1, CTL_SOCKET | CTL_JSON | CTL_WAIT, "give the VM this size, by whatever it has",
     "Above the VM's base memory (its --memory) memory is plugged or unplugged by virtio-mem, up to its\n"
     "--max-memory, in whole blocks; below it the balloon takes and gives. Says which was used. --wait and\n"
     "--timeout are as with inflate.\n",
     ctl_resize},
    {"map", 1, "", 0, CTL_SOCKET | CTL_JSON, "draw the guest's address space",
     "Each cell is a stretch of guest physical memory, as the legend says: whole (no holes, resident),\n"
     "touched in part, split (holes of the balloon beside memory), ballooned (given as a whole), and\n"
     "untouched (the guest's, and not resident). Stretches of addresses without memory are named.\n"
     "Colours only on a terminal, and not if NO_COLOR is set; plain ASCII unless the locale is UTF-8.\n",
     ctl_map},
    {"check", 1, "", 0, CTL_SOCKET | CTL_JSON, "compare the VM's ledger with the kernel's view",
     "Prints each place where the ledger, the allocator and what the kernel holds resident disagree, and\n"
     "a summary. Exit status 1 if there are any.\n",
     ctl_check},
    {"stop", 1, "", 0, CTL_SOCKET, "pause the VM", "Pauses all vCPUs until cont.\n", ctl_stop},
    {"cont", 1, "", 0, CTL_SOCKET, "let a paused VM go on", "The reverse of stop.\n", ctl_cont},
    {"quit", 1, "", 0, CTL_SOCKET, "end the VM", "Ends the VM at once; its memory goes back to its pool.\n",
     ctl_quit},
    {"qmp", 1, "JSON", 1, CTL_SOCKET, "send a QMP command as it is",
     "Sends one JSON object, such as '{\"execute\": \"query-commands\"}', and prints the whole answer.\n"
     "Exit status 1 if it is an error.\n",
     ctl_qmp},
    {"pool create", 2, "PATH", 1, CTL_POOL, "make a pool file",
     "Makes the pool file PATH, with all that its records need, and its memory file, which is sparse, for VMs\n"
     "started with --pool PATH.\n"
     "  --size SIZE         bytes of frame numbers (required)\n"
     "  --budget SIZE       bytes that may be out with VMs at once (default: size)\n"
     "  --backing KIND      tmpfs, hugetlb=2M, hugetlb=1G or file (default: file)\n"
     "  --memory-file PATH  where the bytes live (default: PATH.mem; its file system must fit the kind:\n"
     "                      with tmpfs and hugetlb it must lie on such a mount)\n"
     "  --mode OCTAL        permissions, whatever the umask (default: 0600)\n"
     "  --group GROUP       the group that the files are given to, by name or number\n"
     "  --max-size SIZE     what the pool may grow to (default: size)\n",
     ctl_pool_create},
    {"pool status", 2, "PATH", 1, CTL_JSON, "a pool's size, budget and owners",
     "Says size, budget, use, resident bytes and free frames, and each VM that has memory of it.\n",
     ctl_pool_status},
    {"pool owners", 2, "PATH", 1, CTL_JSON, "who has memory of a pool",
     "Names each VM that has memory of the pool: its process, as it said, and what it is charged.\n",
     ctl_pool_owners},
    {"pool grow", 2, "PATH SIZE", 2, 0, "make a pool larger", "Up to the --max-size that it was made with.\n",
     ctl_pool_grow},
    {"pool shrink", 2, "PATH SIZE", 2, CTL_WAIT, "make a pool smaller",
     "What is free leaves at once; what a VM has leaves when the VM ends. Names those VMs. Exit status 1 if\n"
     "there are any; with --wait it says for whom it waits, stays, and says how much is left.\n",
     ctl_pool_shrink},
    {"pool set-budget", 2, "PATH SIZE", 2, 0, "change what may be out with VMs at once",
     "Holds at once; VMs that wait for memory go on if there is some. Nothing is taken from VMs that have "
     "more.\n",
     ctl_pool_set_budget},
    {"pool recover", 2, "PATH", 1, CTL_JSON | CTL_KEEP, "take back what dead VMs had",
     "Whoever uses the pool does so by and by; this does it now, and says what it did.\n"
     "  --keep              a pool of another boot of this machine, on a disk or a persistent device, is\n"
     "                      checked and repaired; without it, it is made empty\n",
     ctl_pool_recover},
    {"pool check", 2, "PATH", 1, CTL_JSON, "check a pool's sums, ledger, allocator and memory",
     "Also against what the kernel holds. Prints each discrepancy. Exit status 1 if there are any.\n",
     ctl_pool_check},
    {"pool map", 2, "PATH", 1, CTL_JSON | CTL_SVG, "draw who has what of a pool",
     "A letter is a VM: a capital where three quarters or more are there, a small one where less is, since "
     "the\n"
     "rest was given back or never touched. '.' is free, '-' offline: what the pool may still grow to.\n"
     "  --svg FILE          writes a picture instead\n",
     ctl_pool_map},
    {"pool destroy", 2, "PATH", 1, 0, "remove a pool file and its memory file",
     "Refuses while a VM uses the pool.\n", ctl_pool_destroy},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const char hint[] = "'membackctl --help' lists the commands";

int ctl_fail(const char *fmt, ...)
{
	va_list args;

	fputs("membackctl: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	return 1;
}

/* ---- help ---------------------------------------------------------------------------------------------- */

static void print_options(FILE *to, unsigned takes)
{
	if (takes & CTL_SOCKET)
		fputs("  -s, --socket PATH   the VM's control socket (its --qmp), or $MEMBACK_SOCKET\n", to);
	if (takes & CTL_JSON)
		fputs("      --json          print JSON\n", to);
	if (takes & CTL_WAIT)
		fputs("  -w, --wait          stay until the guest has done it; shows progress on a terminal\n"
		      "  -t, --timeout S     with --wait: give up after S seconds\n",
		      to);
}

static void print_usage(FILE *to)
{
	fputs("Usage: membackctl -s SOCKET COMMAND [ARGUMENT] [OPTION...]\n"
	      "       membackctl pool COMMAND PATH [OPTION...]\n"
	      "Controls the memory of a running memback VM, and pool files.\n\nCommands:\n",
	      to);
	for (unsigned i = 0; i < COMMANDS; i++) {
		int width = fprintf(to, "  %s %s", commands[i].name, commands[i].args);

		fprintf(to, "%*s%s\n", width < 22 ? 22 - width : 1, "", commands[i].summary);
	}
	fputs("\nOptions:\n", to);
	print_options(to, CTL_SOCKET | CTL_JSON | CTL_WAIT);
	fputs("  -h, --help          this, or with a command its own help\n"
	      "  -V, --version       the version\n\n"
	      "Sizes are bytes, or have a suffix K, M, G or T (powers of 1024).\n",
	      to);
}

static void print_command_help(FILE *to, const struct ctl_command *c)
{
	fprintf(to, "Usage: membackctl %s%s%s%s [OPTION...]\n%c%s.\n\n%s",
		c->takes & CTL_SOCKET ? "-s SOCKET " : "", c->name, *c->args ? " " : "", c->args,
		c->summary[0] - 'a' + 'A', c->summary + 1, c->help);
	if (c->takes & ~(unsigned)(CTL_POOL | CTL_SVG | CTL_KEEP))
		fputs("\nOptions:\n", to);
	print_options(to, c->takes);
}

/* ---- the command line ---------------------------------------------------------------------------------- */

enum option_id {
	OPT_JSON = 256,
	OPT_SIZE,
	OPT_BUDGET,
	OPT_BACKING,
	OPT_MEMORY_FILE,
	OPT_MODE,
	OPT_GROUP,
	OPT_MAX_SIZE,
	OPT_SVG,
	OPT_KEEP
};

static const struct option long_options[] = {
    {"socket", required_argument, NULL, 's'},
    {"json", no_argument, NULL, OPT_JSON},
    {"wait", no_argument, NULL, 'w'},
    {"timeout", required_argument, NULL, 't'},
    {"size", required_argument, NULL, OPT_SIZE},
    {"budget", required_argument, NULL, OPT_BUDGET},
    {"backing", required_argument, NULL, OPT_BACKING},
    {"memory-file", required_argument, NULL, OPT_MEMORY_FILE},
    {"mode", required_argument, NULL, OPT_MODE},
    {"group", required_argument, NULL, OPT_GROUP},
    {"max-size", required_argument, NULL, OPT_MAX_SIZE},
    {"svg", required_argument, NULL, OPT_SVG},
    {"keep", no_argument, NULL, OPT_KEEP},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {0},
};

struct parsed {
	struct ctl_options options;
	unsigned given;          /* enum ctl_takes */
	const char *pool_option; /* the last of CTL_POOL's that was given */
	bool help, version;
};

static int parse_timeout(const char *text, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 10);
	if (errno || *end || text[0] < '0' || text[0] > '9' || !*out || *out > UINT32_MAX)
		return ctl_fail("--timeout %s: give a number of seconds, 1 or more", text);
	return 0;
}

/* "budget" of OPT_BUDGET. */
static const char *name_of(int id)
{
	for (const struct option *o = long_options; o->name; o++)
		if (o->val == id)
			return o->name;
	return "";
}

static int parse_option(int id, struct parsed *p)
{
	struct ctl_options *o = &p->options;

	switch (id) {
	case 's':
		o->socket = optarg;
		p->given |= CTL_SOCKET;
		return 0;
	case OPT_JSON:
		o->json = true;
		p->given |= CTL_JSON;
		return 0;
	case OPT_SVG:
		o->svg = optarg;
		p->given |= CTL_SVG;
		return 0;
	case OPT_KEEP:
		o->keep = true;
		p->given |= CTL_KEEP;
		return 0;
	case 'w':
		o->wait = true;
		p->given |= CTL_WAIT;
		return 0;
	case 't':
		p->given |= CTL_WAIT;
		return parse_timeout(optarg, &o->timeout_s);
	case 'h':
		p->help = true;
		return 0;
	case 'V':
		p->version = true;
		return 0;
	default:
		break;
	}
	p->given |= CTL_POOL;
	p->pool_option = name_of(id);
	*(id == OPT_SIZE       ? &o->size
	  : id == OPT_BUDGET   ? &o->budget
	  : id == OPT_BACKING  ? &o->backing
	  : id == OPT_MODE     ? &o->mode
	  : id == OPT_GROUP    ? &o->group
	  : id == OPT_MAX_SIZE ? &o->max_size
			       : &o->memory_file) = optarg;
	return 0;
}

static int parse_options(int argc, char **argv, struct parsed *p)
{
	int id;

	opterr = 0;
	while ((id = getopt_long(argc, argv, ":s:wt:hV", long_options, NULL)) != -1) {
		if (id == ':')
			return ctl_fail("%s needs a value: %s", argv[optind - 1], hint);
		if (id == '?')
			return ctl_fail("%s is no option: %s", argv[optind - 1], hint);
		if (parse_option(id, p))
			return 1;
	}
	return 0;
}

/* The command that these words name, or NULL. */
static const struct ctl_command *command_find(char **words, int count)
{
	char name[64];

	for (unsigned i = 0; i < COMMANDS; i++) {
		if (count < (int)commands[i].words)
			continue;
		snprintf(name, sizeof(name), "%s%s%s", words[0], commands[i].words > 1 ? " " : "",
			 commands[i].words > 1 ? words[1] : "");
		if (!strcmp(name, commands[i].name))
			return &commands[i];
	}
	return NULL;
}

static int check_options(const struct ctl_command *c, const struct parsed *p)
{
	const char *const names[] = {"socket", "json", "wait", p->pool_option, "svg", "keep"};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (p->given & ~c->takes & 1u << i)
			return ctl_fail("%s does not take --%s: 'membackctl %s --help' says what it takes",
					c->name, names[i], c->name);
	if (p->options.timeout_s && !p->options.wait)
		return ctl_fail("--timeout goes with --wait: add it");
	if (c->takes & CTL_SOCKET && !p->options.socket)
		return ctl_fail("which VM? Give its control socket with -s PATH, or in $MEMBACK_SOCKET");
	return 0;
}

static int run_command(const struct ctl_command *c, const struct parsed *p, char **words, int count)
{
	struct qmp_client *client = NULL;
	struct mb_error err;
	int status = check_options(c, p);

	if (status)
		return status;
	if (count - (int)c->words != (int)c->arg_count)
		return ctl_fail("%s takes %s: 'membackctl %s --help' says more", c->name,
				c->arg_count ? c->args : "no argument", c->name);
	if (c->takes & CTL_SOCKET && qmp_client_connect(p->options.socket, &client, &err))
		return ctl_fail("%s", err.text);
	status = c->run(&p->options, client, words + c->words);
	qmp_client_close(client);
	return status;
}

static int unknown_command(char **words, int count)
{
	if (!count)
		return ctl_fail("what shall be done? %s", hint);
	if (!strcmp(words[0], "pool") && count > 1)
		return ctl_fail("pool %s is no command: %s", words[1], hint);
	return ctl_fail("%s is no command%s: %s", words[0], strcmp(words[0], "pool") ? "" : " alone", hint);
}

int main(int argc, char **argv)
{
	struct parsed p = {.options.socket = getenv("MEMBACK_SOCKET")};
	const struct ctl_command *command;
	char **words;
	int count;

	setlocale(LC_CTYPE, "");
	signal(SIGPIPE, SIG_IGN);
	if (parse_options(argc, argv, &p))
		return 1;
	words = argv + optind;
	count = argc - optind;
	if (p.version)
		return printf("membackctl %s\n", mb_version()) < 0;
	if (count && !strcmp(words[0], "help")) {
		p.help = true;
		words++;
		count--;
	}
	command = command_find(words, count);
	if (!command && p.help && (!count || !strcmp(words[0], "pool"))) {
		print_usage(stdout);
		return 0;
	}
	if (!command)
		return unknown_command(words, count);
	if (p.help) {
		print_command_help(stdout, command);
		return 0;
	}
	return run_command(command, &p, words, count);
}
