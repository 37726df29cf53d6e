/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "anykvm.h"
#include "cli/cli.h"

static int version_main(const struct command *cmd, int argc, char **argv)
{
	struct vmm_err err = { "" };
	int n = options_parse(cmd, argc, argv, NULL, &err);

	if (n == -ECANCELED)
		return EXIT_OK;
	if (n >= 0 && n < argc)
		n = vmm_fail(&err, EINVAL, "%s: version takes no operands", argv[n]);
	if (n < 0)
		return usage_error(cmd, &err);
	printf("anykvm %s\n", anykvm_version());
	return EXIT_OK;
}

static void overview(FILE *f)
{
	fputs("usage: anykvm COMMAND [OPTIONS]\n\nKVM for machines that have none.\n\ncommands:\n", f);
	for (const struct command *c = commands; c->name; c++)
		fprintf(f, "  %-10s%s\n", c->name, c->summary);
	fputs("\n'anykvm help COMMAND' tells more.\n", f);
}

static int help_main(const struct command *cmd, int argc, char **argv)
{
	bool words = argc > 1 && !strcmp(argv[1], "--words");
	const char *name = argv[1 + words];
	const struct command *about = name ? command_find(name) : NULL;
	struct vmm_err err = { "" };

	if (argc > 2 + words) {
		vmm_fail(&err, EINVAL, "%s: help explains one command at a time", argv[2 + words]);
		return usage_error(cmd, &err);
	}
	if (name && !about) {
		say("help: %s: no such command", name);
		overview(stderr);
		return EXIT_BAD_USAGE;
	}
	if (words)
		words_print(about);
	else if (about)
		command_help(about);
	else
		overview(stdout);
	return EXIT_OK;
}

const struct command commands[] = {
	{ "run", "Boot a Linux kernel in a machine of anykvm's own.",
	  "run -k KERNEL [-i INITRD] [-p PARAMS] [-c CPUS] [-m SIZE] [-d DISK[,ro]]... [OPTIONS]",
	  run_options, run_main },
	{ "exec", "Run a KVM client, as it is, on anykvm's engine.",
	  "exec [--cpu MODEL[,+F,-F]] [--stats FILE] [--trace FILE] [-v] -- CMD [ARGS]...", exec_options, exec_main },
	{ "stat", "Show the counters of running VMs, as kvm_stat does.", "stat [-1] [-p PID]", stat_options,
	  stat_main },
	{ "doctor", "Say what this machine has, and what anykvm would use.", "doctor [--json]",
	  doctor_options, doctor_main },
	{ "version", "Print the version.", "version", NULL, version_main },
	{ "help", "Explain a command.", "help [COMMAND]", NULL, help_main },
	{ .name = NULL },
};

static const struct {
	const char *option, *command;
} synonyms[] = {
	{ "--help", "help" }, { "-h", "help" }, { "--version", "version" }, { "-V", "version" },
};

const struct command *command_find(const char *name)
{
	for (const struct command *c = commands; c->name; c++)
		if (!strcmp(c->name, name))
			return c;
	for (size_t i = 0; i < sizeof(synonyms) / sizeof(synonyms[0]); i++)
		if (!strcmp(synonyms[i].option, name))
			return command_find(synonyms[i].command);
	return NULL;
}

/*
 * A standard descriptor that is closed would be taken by the next file opened, and the guest's console would
 * write there.  What stands in fails for its direction as a closed one does, and is gone for who is executed.
 */
static void fill_standard(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			open("/dev/null", (fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
}

/* What stdio still holds is not yet written. */
static int finish(int status)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	say("standard output: cannot write: %s", strerror(errno));
	return status ? status : EXIT_FAILED;
}

int main(int argc, char **argv)
{
	const struct command *cmd;

	/* One arena: vCPUs take turns in making what all of them use, and each arena keeps its high-water mark. */
	mallopt(M_ARENA_MAX, 1);
	fill_standard();
	if (argc < 2) {
		overview(stderr);
		return EXIT_BAD_USAGE;
	}
	cmd = command_find(argv[1]);
	if (!cmd) {
		say("%s: no such command", argv[1]);
		overview(stderr);
		return EXIT_BAD_USAGE;
	}
	return finish(cmd->main(cmd, argc - 1, argv + 1));
}
