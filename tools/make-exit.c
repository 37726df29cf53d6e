// SPDX-License-Identifier: MIT
/*
 * $(exit-with STATUS): a function for GNU make that ends make itself with STATUS.  Make reports a failed recipe as
 * 2 whatever its status was, and 'make run CMD=...' promises the status of CMD.  The Makefile loads this with
 * "load", GNU make's own way to be extended (its manual, "Loading Dynamic Objects").
 */
#include <gnumake.h>
#include <stdlib.h>

int plugin_is_GPL_compatible;
int make_exit_gmk_setup(const gmk_floc *where);

static char *exit_with(const char *name, unsigned int argc, char **argv)
{
	if (argv[0][0])
		exit(atoi(argv[0]));
	return NULL;
}

int make_exit_gmk_setup(const gmk_floc *where)
{
	gmk_add_function("exit-with", exit_with, 1, 1, GMK_FUNC_DEFAULT);
	return 1;
}
