/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/run.h"

static const struct ending {
	int status;
	const char *text;
} endings[] = {
	[END_NONE] = { EXIT_INTERNAL, "the run ended for no reason" },
	[END_POWEROFF] = { EXIT_OK, "guest powered off" },
	[END_EXIT_PORT] = { EXIT_OK, NULL },
	[END_USER] = { EXIT_OK, "ended by the user" },
	[END_RESET] = { EXIT_GUEST_RESET, "guest reset" },
	[END_PANIC] = { EXIT_GUEST_PANIC, "guest kernel panicked" },
	[END_TRIPLE_FAULT] = { EXIT_TRIPLE_FAULT, "guest triple fault" },
	[END_OUTPUT] = { EXIT_FAILED, "standard output: cannot write" },
	[END_INTERNAL] = { EXIT_INTERNAL, "internal error" },
};

/* The one line that says how it ended, and the status that says it to scripts. */
static int conclude(const struct machine_result *res, bool verbose)
{
	const struct ending *e = &endings[res->end];

	if (res->end == END_EXIT_PORT) {
		if (verbose)
			say("guest ended with status %d", res->code);
		return res->code;
	}
	if (res->end == END_USER && res->code) {
		say("ended by signal %d (%s)", res->code, strsignal(res->code));
		return EXIT_SIGNAL + res->code;
	}
	say("%s%s%s", e->text, res->detail[0] ? ": " : "", res->detail);
	return e->status;
}

static int parse(const struct command *cmd, int argc, char **argv, struct run_args *a, struct vmm_err *err)
{
	int r = options_parse(cmd, argc, argv, a, err);

	if (r < 0)
		return r;
	if (r < argc)
		return vmm_fail(err, EINVAL,
				"%s: what is this? Options come with a dash, the kernel with -k", argv[r]);
	if (!a->cfg.kernel)
		return vmm_fail(err, EINVAL, "no kernel: give one with -k");
	return 0;
}

static void announce(const struct machine_config *c)
{
	say("accel %s, %u vCPU%s, %llu MiB, kernel %s", c->accel->name, c->cpus, c->cpus == 1 ? "" : "s",
	    (unsigned long long)c->memory >> 20, c->kernel);
}

int run_main(const struct command *cmd, int argc, char **argv)
{
	struct run_args *a = malloc(sizeof(*a));
	struct machine_result res;
	struct vmm_err err = { "" };
	int r;

	if (!a) {
		say("out of memory");
		return EXIT_FAILED;
	}
	run_defaults(a);
	r = parse(cmd, argc, argv, a, &err);
	if (r) {
		free(a);
		return r == -ECANCELED ? EXIT_OK : usage_error(cmd, &err);
	}
	if (a->cfg.verbose)
		announce(&a->cfg);
	r = machine_run(&a->cfg, &res, &err);
	if (r)
		say("%s", err.msg[0] ? err.msg : strerror(-r));
	if (!r || res.end != END_NONE)
		r = conclude(&res, a->cfg.verbose);
	else
		r = EXIT_FAILED;
	free(a);
	return r;
}
