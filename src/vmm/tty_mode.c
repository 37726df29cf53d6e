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

#include "anykvm.h"

static struct termios saved;
static volatile sig_atomic_t have_saved;

/* Signals that by default do not end a process (signal(7)); SIGKILL and SIGSTOP take no handler. */
static const int harmless[] = { SIGCHLD, SIGCONT, SIGURG, SIGWINCH, SIGTSTP, SIGTTIN, SIGTTOU };

/* Crashes.  They have handlers already: the engine's, which stay and hand on what is none of their business. */
static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };

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
	/* Not by SA_RESETHAND: who chains to us, as the engine does, is in the way of the second signal. */
	signal(sig, SIG_DFL);
	raise(sig); /* acts once this handler has returned */
}

static bool is_among(int sig, const int *set, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (set[i] == sig)
			return true;
	return false;
}

#define IS_AMONG(sig, set) is_among(sig, set, sizeof(set) / sizeof((set)[0]))

/* Whether @sig would end the process and leave the terminal as it is. */
static bool is_fatal(int sig)
{
	struct sigaction sa;

	if (IS_AMONG(sig, harmless) || sigaction(sig, NULL, &sa) || sa.sa_handler == SIG_IGN)
		return false;
	return sa.sa_handler == SIG_DFL || IS_AMONG(sig, faults);
}

static int first_time(void)
{
	struct sigaction sa = { .sa_handler = restore_and_die, .sa_flags = SA_ONSTACK };

	if (tcgetattr(STDIN_FILENO, &saved))
		return -errno;
	have_saved = 1;
	for (int sig = 1; sig <= SIGRTMAX; sig++)
		if (is_fatal(sig))
			anykvm_sigaction(sig, &sa, NULL);
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
