/* SPDX-License-Identifier: MIT */
/* cli.h - the commands of anykvm and their options, as tables: for parsing, help and completion. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>

#include "vmm/err.h"

/* Exit statuses of anykvm; anykvm-run(1) lists them. */
enum {
	EXIT_OK = 0,
	EXIT_FAILED = 1,       /* could not be done: a file, a device, memory */
	EXIT_BAD_USAGE = 2,
	EXIT_GUEST_RESET = 3,
	EXIT_GUEST_PANIC = 4,
	EXIT_TRIPLE_FAULT = 5,
	EXIT_INTERNAL = 6,
	EXIT_SIGNAL = 128,     /* plus the signal's number */
};

struct option_row {
	const char *name;	 /* long name */
	const char *aliases[3];	 /* further long names */
	char letter;		 /* or 0 */
	const char *arg;	 /* what its argument is called, or NULL for none */
	const char *help;
	/* Take the argument into the command's own struct; 0, or -errno with @err set. */
	int (*set)(void *args, const char *value, struct vmm_err *err);
	bool file;		 /* the argument is a file name: for completion */
	const char *values[5];	 /* what it may be: for completion */
};

struct command {
	const char *name, *summary, *usage;
	const struct option_row *options; /* ended by a row without a name; NULL: none */
	int (*main)(const struct command *cmd, int argc, char **argv);
};

extern const struct command commands[]; /* ended by one without a name */

/** command_find - by its name, or NULL. */
const struct command *command_find(const char *name);

/**
 * options_parse - getopt_long() by the command's table.
 * @args: the command's struct, for the rows' set().
 * Returns the index of the first operand, or -errno with @err set; -ECANCELED
 * where --help was asked for, and given.
 */
int options_parse(const struct command *cmd, int argc, char **argv, void *args, struct vmm_err *err);

/** command_help - print usage and options of a command. */
void command_help(const struct command *cmd);

/** usage_error - print @err as an error and where help is; returns EXIT_BAD_USAGE. */
int usage_error(const struct command *cmd, const struct vmm_err *err);

/** say - "anykvm: ..." and a newline on standard error. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

extern const struct option_row run_options[], exec_options[], doctor_options[], stat_options[];
int run_main(const struct command *cmd, int argc, char **argv);
int exec_main(const struct command *cmd, int argc, char **argv);
int stat_main(const struct command *cmd, int argc, char **argv);
int doctor_main(const struct command *cmd, int argc, char **argv);

/** words_print - help --words [CMD]: what completion offers, a line each: option, "f" or "-", its values. */
void words_print(const struct command *cmd);

#endif
