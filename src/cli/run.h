/* SPDX-License-Identifier: MIT */
/* run.h - the arguments of `anykvm run`, parsed. */
#ifndef CLI_RUN_H
#define CLI_RUN_H

#include <stddef.h>

#include "vmm/machine.h"

#define RUN_TEXT 4096u

struct run_args {
	struct machine_config cfg;
	char text[RUN_TEXT]; /* copies of arguments that were cut into pieces */
	size_t used;
	char params[65536];  /* all -p, joined by blanks */
};

void run_defaults(struct run_args *a);

/** size_parse - "512" (MiB), "512M", "2G", "1T" to bytes; 0, or -EINVAL, -ERANGE. */
int size_parse(const char *s, unsigned long long *bytes);

#endif
