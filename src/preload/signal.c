/* SPDX-License-Identifier: MIT */
/*
 * sigaction() and signal() of a client that knows nothing of the engine's
 * handlers: those stay in front of its own for SIGSEGV, SIGBUS and SIGFPE, and it
 * is told of its own.  A child of vfork() has handlers of its own.
 */
#include <errno.h>
#include <signal.h>

#include "anykvm.h"
#include "preload/engine.h"
#include "preload/next.h"

EXPORT int __sigaction(int sig, const struct sigaction *act, struct sigaction *old);
EXPORT sighandler_t bsd_signal(int sig, sighandler_t handler);
EXPORT sighandler_t __sysv_signal(int sig, sighandler_t handler);

static bool is_shared(int sig)
{
	return (sig == SIGSEGV || sig == SIGBUS || sig == SIGFPE) && engine_is_here();
}

EXPORT int sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	return is_shared(sig) ? anykvm_sigaction(sig, act, old) : NEXT_CALL(sigaction, sig, act, old);
}

EXPORT int __sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	return is_shared(sig) ? anykvm_sigaction(sig, act, old) : NEXT_CALL(__sigaction, sig, act, old);
}

static sighandler_t set(int sig, sighandler_t handler, int flags)
{
	struct sigaction act = { .sa_handler = handler, .sa_flags = flags }, old;

	if (handler == SIG_ERR) {
		errno = EINVAL;
		return SIG_ERR;
	}
	sigemptyset(&act.sa_mask);
	return anykvm_sigaction(sig, &act, &old) ? SIG_ERR : old.sa_handler;
}

static sighandler_t missing(void)
{
	next_missing();
	return SIG_ERR;
}

/* What each of them means by signal(). */
#define SIGNAL(name, flags) \
	EXPORT sighandler_t name(int sig, sighandler_t handler) \
	{ \
		if (is_shared(sig)) \
			return set(sig, handler, flags); \
		return NEXT(name) ? NEXT(name)(sig, handler) : missing(); \
	}

SIGNAL(signal, SA_RESTART)
SIGNAL(bsd_signal, SA_RESTART)
SIGNAL(ssignal, SA_RESTART)
SIGNAL(sysv_signal, (int)SA_RESETHAND | SA_NODEFER)
SIGNAL(__sysv_signal, (int)SA_RESETHAND | SA_NODEFER)
