/* SPDX-License-Identifier: MIT */
/*
 * program.h - which program a command names, and whether a library can be
 * preloaded into it: told from its file before it is started, since a program
 * that cannot be reached would run without a word on whatever /dev/kvm there is.
 */
#ifndef CLI_PROGRAM_H
#define CLI_PROGRAM_H

#include <limits.h>

#include "vmm/err.h"

struct program {
	char path[PATH_MAX];    /* as execve() takes it */
};

/**
 * program_find - the file that execvp() would run for @name.
 * 0; -ENOENT where there is none, -EACCES where it may not be executed, with
 * @err set.
 */
int program_find(struct program *p, const char *name, struct vmm_err *err);

/**
 * program_check - 0 where a library can be preloaded into @path, and into the
 * interpreter that its "#!" names; else -EPERM, or -ENOEXEC where it is no
 * program, or what a file on the way says, with @err set.
 */
int program_check(const char *path, struct vmm_err *err);

#endif
