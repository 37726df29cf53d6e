// SPDX-License-Identifier: MIT
/*
 * foreground PROGRAM ARGUMENT...: run it with SIGINT and SIGQUIT as they are for a program in the foreground.  A
 * shell starts background jobs with both ignored (POSIX, Shell Command Language, 2.11), and only for background
 * jobs does it wait in a way that a trap interrupts; process 1 needs the trap, and its shell needs Ctrl-c.
 */
#include "bare.h"

#include <linux/signal.h>

int bare_main(int argc, char **argv, char **envp)
{
	/* The kernel's struct sigaction; all zero is SIG_DFL, no flags, an empty mask. */
	unsigned long action[4] = { 0 };

	if (argc < 2)
		return 2;
	bare_call(__NR_rt_sigaction, SIGINT, (long)action, 0, sizeof(unsigned long));
	bare_call(__NR_rt_sigaction, SIGQUIT, (long)action, 0, sizeof(unsigned long));
	bare_call(__NR_execve, (long)argv[1], (long)(argv + 1), (long)envp, 0);
	return 127;
}
