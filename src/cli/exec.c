/* SPDX-License-Identifier: MIT */
/* exec.c - anykvm exec: become another command, with the preload in it and in all that it starts. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "anykvm.h"
#include "cli/cli.h"
#include "cli/program.h"

#define PRELOAD "libanykvm-preload.so"

/* As env(1), nohup(1) and timeout(1): the others are the command's. */
enum {
	EXEC_FAILED = 125,
	EXEC_REFUSED = 126,
	EXEC_NOT_FOUND = 127,
};

/* Every option is a variable of the environment, and stays one for the preload. */
static int set_variable(const char *option, const char *name, const char *value, struct vmm_err *err)
{
	if (setenv(name, value, 1))
		return vmm_fail(err, errno, "%s %s: %s", option, value, strerror(errno));
	return 0;
}

static int set_cpu(void *args, const char *v, struct vmm_err *err)
{
	return set_variable("--cpu", "ANYKVM_CPU", v, err);
}

static int set_params(void *args, const char *v, struct vmm_err *err)
{
	return set_variable("--param", "ANYKVM_PARAMS", v, err);
}

static int set_stats(void *args, const char *v, struct vmm_err *err)
{
	return set_variable("--stats", "ANYKVM_STATS", v, err);
}

static int set_trace(void *args, const char *v, struct vmm_err *err)
{
	return set_variable("--trace", "ANYKVM_TRACE", v, err);
}

static int set_verbose(void *args, const char *v, struct vmm_err *err)
{
	return set_variable("-v", "ANYKVM_VERBOSE", "1", err);
}

const struct option_row exec_options[] = {
	{ .name = "cpu",
	  .arg = "MODEL[,+F,-F]",
	  .set = set_cpu,
	  .values = { "intel", "amd" },
	  .help = "CPU vendor and features (the host's vendor; ANYKVM_CPU)" },
	{ .name = "param",
	  .arg = "NAME=VALUE[,...]",
	  .set = set_params,
	  .values = { "anykvm.hyperv_nested=Y", "kvm.enable_vmware_backdoor=Y", "kvm.global_tdp=Y", "kvm.ignore_msrs=Y",
		      "kvm.report_ignored_msrs=N" },
	  .help = "parameters of KVM's modules, and anykvm.hyperv_nested (ANYKVM_PARAMS)" },
	{ .name = "stats",
	  .arg = "FILE",
	  .set = set_stats,
	  .file = true,
	  .help = "write KVM's statistics as JSON, a line a VM (ANYKVM_STATS)" },
	{ .name = "trace",
	  .arg = "FILE",
	  .set = set_trace,
	  .file = true,
	  .help = "write KVM's events in ftrace's layout (ANYKVM_TRACE)" },
	{ .name = "verbose",
	  .letter = 'v',
	  .set = set_verbose,
	  .help = "say on standard error when the engine opens (ANYKVM_VERBOSE)" },
	{ .name = NULL },
};

/* --- the environment --- */

static const char *setting(const char *name)
{
	const char *v = getenv(name);

	return v && *v ? v : NULL;
}

static int check_cpu(struct vmm_err *err)
{
	const char *cpu = setting("ANYKVM_CPU");

	if (cpu && anykvm_set_cpu(cpu))
		return vmm_fail(err, EINVAL, "--cpu %s: unknown vendor or feature, or one that this host cannot run",
				cpu);
	return 0;
}

static int check_params(struct vmm_err *err)
{
	const char *params = setting("ANYKVM_PARAMS");

	if (params && anykvm_set_parameters(params))
		return vmm_fail(err, EINVAL, "--param %s: %s", params,
				errno == ENOENT ? "no such parameter can be set" : "a value is neither Y nor N");
	return 0;
}

/* What this run alone tells goes into the file; its name must hold wherever the command goes. */
static int prepare_file(const char *option, const char *name, const char *what, struct vmm_err *err)
{
	const char *path = setting(name);
	char full[PATH_MAX];
	int fd;

	if (!path)
		return 0;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0 || !realpath(path, full))
		return vmm_fail(err, errno, "%s: cannot write %s: %s", path, what, strerror(errno));
	close(fd);
	return set_variable(option, name, full, err);
}

/* The preload, beside this program as it was built or as it is installed. */
static int find_preload(char path[PATH_MAX], struct vmm_err *err)
{
	static const char *const places[] = { "../preload/" PRELOAD, "../" EXEC_LIBDIR "/anykvm/" PRELOAD };
	char at[PATH_MAX + 256];
	ssize_t n = readlink("/proc/self/exe", at, PATH_MAX - 1);
	char *end;

	at[n < 0 ? 0 : n] = '\0';
	end = strrchr(at, '/');
	for (size_t i = 0; end && i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(end + 1, 256, "%s", places[i]);
		if (realpath(at, path))
			return 0;
	}
	if (realpath(EXEC_PREFIX "/" EXEC_LIBDIR "/anykvm/" PRELOAD, path))
		return 0;
	return vmm_fail(err, ENOENT, "%s: not found: is anykvm installed completely?", PRELOAD);
}

static int add_preload(struct vmm_err *err)
{
	const char *before = setting("LD_PRELOAD");
	char path[PATH_MAX], *all;
	int r = find_preload(path, err);

	if (r)
		return r;
	/* ld.so(8): both separate names, and nothing quotes them. */
	if (path[strcspn(path, " :")])
		return vmm_fail(err, EINVAL, "%s: a library whose path has a blank or a colon cannot be preloaded",
				path);
	if (asprintf(&all, "%s%s%s", path, before ? ":" : "", before ? before : "") < 0)
		return vmm_fail(err, ENOMEM, "out of memory");
	r = set_variable("LD_PRELOAD", "LD_PRELOAD", all, err);
	free(all);
	return r;
}

/* --- the command --- */

static int status_of(int r)
{
	return r == -ENOENT ? EXEC_NOT_FOUND : r == -EPERM || r == -EACCES || r == -ENOEXEC ? EXEC_REFUSED : EXEC_FAILED;
}

/* Returns the status of a failure, with @err set; else it does not return. */
static int become(char **command, struct vmm_err *err)
{
	struct program p = { "" };
	int r = program_find(&p, command[0], err);

	if (!r)
		r = program_check(p.path, err);
	if (r)
		return status_of(r);
	if (prepare_file("--stats", "ANYKVM_STATS", "statistics", err) ||
	    prepare_file("--trace", "ANYKVM_TRACE", "events", err) || add_preload(err))
		return EXEC_FAILED;
	execv(p.path, command);
	return status_of(vmm_fail(err, errno, "%s: cannot be executed: %s", p.path, strerror(errno)));
}

int exec_main(const struct command *cmd, int argc, char **argv)
{
	struct vmm_err err = { "" };
	int n = options_parse(cmd, argc, argv, NULL, &err);

	if (n == -ECANCELED)
		return EXIT_OK;
	if (n == argc)
		n = vmm_fail(&err, EINVAL, "no command: give one behind the options");
	if (n >= 0 && (check_cpu(&err) || check_params(&err)))
		n = -EINVAL;
	if (n < 0) {
		usage_error(cmd, &err);
		return EXEC_FAILED;
	}
	n = become(argv + n, &err);
	say("%s", err.msg);
	return n;
}
