/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#define MAX_LONG   64u
#define LONG_FIRST 256 /* getopt's answer for row n is LONG_FIRST + n: no letter is so large */
#define HELP	   1000

void say(const char *fmt, ...)
{
	va_list ap;

	fputs("anykvm: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

int usage_error(const struct command *cmd, const struct vmm_err *err)
{
	say("%s", err->msg);
	fprintf(stderr, "Try 'anykvm help %s'.\n", cmd->name);
	return EXIT_BAD_USAGE;
}

struct getopt_tables {
	struct option longs[MAX_LONG];
	unsigned int count;
	char shorts[2 * MAX_LONG + 4];
	size_t len;
};

static void add_long(struct getopt_tables *t, const char *name, bool arg, int val)
{
	if (name && t->count < MAX_LONG - 1)
		t->longs[t->count++] =
		    (struct option){ name, arg ? required_argument : no_argument, NULL, val };
}

static void add_row(struct getopt_tables *t, const struct option_row *row, int val)
{
	add_long(t, row->name, row->arg, val);
	for (size_t i = 0; i < sizeof(row->aliases) / sizeof(row->aliases[0]); i++)
		add_long(t, row->aliases[i], row->arg, val);
	if (!row->letter)
		return;
	t->shorts[t->len++] = row->letter;
	if (row->arg)
		t->shorts[t->len++] = ':';
}

static void build_tables(struct getopt_tables *t, const struct option_row *rows)
{
	memset(t, 0, sizeof(*t));
	t->shorts[t->len++] = '+'; /* operands end the options */
	t->shorts[t->len++] = ':'; /* a missing argument is ':', and getopt prints nothing */
	for (int i = 0; rows && rows[i].name; i++)
		add_row(t, &rows[i], LONG_FIRST + i);
	add_long(t, "help", false, HELP);
	t->shorts[t->len++] = 'h';
}

static const struct option_row *row_of(const struct option_row *rows, int c)
{
	if (c >= LONG_FIRST)
		return &rows[c - LONG_FIRST];
	for (const struct option_row *r = rows; r && r->name; r++)
		if (r->letter == c)
			return r;
	return NULL;
}

/* The argument that getopt stumbled over, as the user wrote it. */
static int stumbled(int c, char **argv, struct vmm_err *err)
{
	const char *word = argv[optind - 1];

	if (c == ':')
		return vmm_fail(err, EINVAL, "%s: needs an argument", word);
	if (optopt > 0 && optopt < LONG_FIRST && strncmp(word, "--", 2))
		return vmm_fail(err, EINVAL, "-%c: no such option", optopt);
	if (optopt >= LONG_FIRST)
		return vmm_fail(err, EINVAL, "%s: takes no argument", word);
	return vmm_fail(err, EINVAL, "%s: no such option, or not the only one that begins so", word);
}

int options_parse(const struct command *cmd, int argc, char **argv, void *args, struct vmm_err *err)
{
	struct getopt_tables t;
	int c, r;

	build_tables(&t, cmd->options);
	optind = 0; /* glibc: start afresh */
	while ((c = getopt_long(argc, argv, t.shorts, t.longs, NULL)) != -1) {
		const struct option_row *row;

		if (c == 'h' || c == HELP) {
			command_help(cmd);
			return -ECANCELED;
		}
		if (c == '?' || c == ':')
			return stumbled(c, argv, err);
		row = row_of(cmd->options, c);
		r = row->set(args, optarg, err);
		if (r)
			return r;
	}
	return optind;
}

#define HELP_COLUMN 26

static void help_row(const struct option_row *row)
{
	char left[128];
	int n = 0;

	if (row->letter)
		n += snprintf(left + n, sizeof(left) - n, "-%c, ", row->letter);
	n += snprintf(left + n, sizeof(left) - n, "--%s", row->name);
	if (row->arg)
		n += snprintf(left + n, sizeof(left) - n, " %s", row->arg);
	printf("  %-*s", HELP_COLUMN, left);
	if (n > HELP_COLUMN - 2)
		printf("\n  %*s", HELP_COLUMN, "");
	for (const char *p = row->help; *p; p++) {
		putchar(*p);
		if (*p == '\n')
			printf("  %*s", HELP_COLUMN, "");
	}
	for (size_t i = 0; i < sizeof(row->aliases) / sizeof(row->aliases[0]) && row->aliases[i]; i++)
		printf("%s--%s", i ? ", " : "; also ", row->aliases[i]);
	putchar('\n');
}

void command_help(const struct command *cmd)
{
	printf("usage: anykvm %s\n\n%s\n", cmd->usage, cmd->summary);
	if (!cmd->options)
		return;
	puts("\noptions:");
	for (const struct option_row *row = cmd->options; row->name; row++)
		help_row(row);
}

/* What follows an option's name: the kind of its argument, and known values. */
static void words_kind(const struct option_row *row)
{
	fputs(row->file ? " f" : row->arg ? " a" : " -", stdout);
	for (size_t v = 0; v < sizeof(row->values) / sizeof(row->values[0]) && row->values[v]; v++)
		printf(" %s", row->values[v]);
	putchar('\n');
}

static void words_row(const struct option_row *row)
{
	for (size_t i = 0; i <= sizeof(row->aliases) / sizeof(row->aliases[0]); i++) {
		const char *name = i ? row->aliases[i - 1] : row->name;

		if (!name)
			break;
		printf("--%s", name);
		words_kind(row);
	}
	if (row->letter) {
		printf("-%c", row->letter);
		words_kind(row);
	}
}

void words_print(const struct command *cmd)
{
	if (!cmd) {
		for (const struct command *c = commands; c->name; c++)
			puts(c->name);
		return;
	}
	for (const struct option_row *row = cmd->options; row && row->name; row++)
		words_row(row);
}
