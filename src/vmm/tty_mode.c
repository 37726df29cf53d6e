/* SPDX-License-Identifier: MIT */
/*
 * tty_mode.c - the one piece of process-wide state of the machine: a process
 * has one controlling terminal, and a signal handler has no argument.
 */
#include "vmm/tty_mode.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

static struct termios saved;
static volatile sig_atomic_t have_saved;

/* Signals that end the process from within; the others reach the machine's signalfd. */
static const int fatal[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGQUIT, SIGSYS };

bool tty_is_ours(void)
{
	return isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) == getpgrp();
}

void tty_restore(void)
{
	if (have_saved)
		tcsetattr(STDIN_FILENO, TCSANOW, &saved);
}

static void restore_and_die(int sig)
{
	tty_restore();
	raise(sig); /* SA_RESETHAND: the default action, once this handler has returned */
}

static int first_time(void)
{
	struct sigaction sa = { .sa_handler = restore_and_die, .sa_flags = SA_RESETHAND | SA_ONSTACK };

	if (tcgetattr(STDIN_FILENO, &saved))
		return -errno;
	have_saved = 1;
	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		sigaction(fatal[i], &sa, NULL);
	atexit(tty_restore);
	return 0;
}

int tty_raw(void)
{
	struct termios raw;
	int err = have_saved ? 0 : first_time();

	if (err)
		return err;
	raw = saved;
	cfmakeraw(&raw);
	raw.c_oflag |= saved.c_oflag & OPOST; /* the host's own lines still want their carriage returns */
	return tcsetattr(STDIN_FILENO, TCSANOW, &raw) ? -errno : 0;
}
