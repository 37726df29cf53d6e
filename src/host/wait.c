/* SPDX-License-Identifier: MIT */
#include "host/wait.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "host/clock.h"

#define BIT(sig) (1ULL << ((sig) - 1))
#define KERNEL_SIGSET 8

/* A fault raises one of these on the thread itself: blocked, it would kill. */
#define FAULTS (BIT(SIGSEGV) | BIT(SIGBUS) | BIT(SIGFPE) | BIT(SIGILL) | BIT(SIGTRAP))
/* Signals whose default action is to be ignored, signal(7). */
#define IGNORED_BY_DEFAULT (BIT(SIGCHLD) | BIT(SIGCONT) | BIT(SIGURG) | BIT(SIGWINCH))

/*
 * The kernel's own sets: 64 bits.  libc's sigset_t functions hide the two real-time signals that it uses for
 * itself: thread cancellation and setuid().  They end KVM_RUN as any other does.
 */
#define LIBC_OWN (BIT(32) | BIT(33))

uint64_t host_signals_block(void)
{
	uint64_t block = ~FAULTS, old = 0;

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &block, &old, KERNEL_SIGSET);
	return old;
}

uint64_t host_faults_let(void)
{
	uint64_t faults = FAULTS, old = 0;

	syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &faults, &old, KERNEL_SIGSET);
	return old & FAULTS;
}

void host_faults_restore(uint64_t blocked)
{
	if (blocked)
		syscall(SYS_rt_sigprocmask, SIG_BLOCK, &blocked, NULL, KERNEL_SIGSET);
}

void host_signals_restore(uint64_t mask)
{
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, KERNEL_SIGSET);
}

void host_signals_let_libc(void)
{
	uint64_t set = LIBC_OWN;

	syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &set, NULL, KERNEL_SIGSET);
}

static uint64_t pending_signals(void)
{
	uint64_t set = 0;

	syscall(SYS_rt_sigpending, &set, KERNEL_SIGSET);
	return set;
}

/* An ignored signal is dropped when it is sent, but not while it is blocked: those do not count. */
static bool is_ignored(int sig)
{
	struct sigaction act;

	if (sigaction(sig, NULL, &act) || (act.sa_flags & SA_SIGINFO))
		return false;
	return act.sa_handler == SIG_IGN || (act.sa_handler == SIG_DFL && (BIT(sig) & IGNORED_BY_DEFAULT));
}

/* Of the signals in @set, those that are not ignored. */
static uint64_t without_ignored(uint64_t set)
{
	uint64_t rest = set;

	while (rest) {
		int sig = __builtin_ctzll(rest) + 1;

		rest &= rest - 1;
		if (is_ignored(sig))
			set &= ~BIT(sig);
	}
	return set;
}

bool host_signal_pending(uint64_t mask)
{
	uint64_t set = pending_signals() & ~mask & ~FAULTS;

	return set && without_ignored(set);
}

void host_waiter_init(struct host_waiter *w)
{
	atomic_init(&w->state, HOST_WAIT_IDLE);
	w->event_fd = w->signal_fd = -1;
	w->signals = 0;
}

void host_waiter_destroy(struct host_waiter *w)
{
	if (w->event_fd >= 0)
		close(w->event_fd);
	if (w->signal_fd >= 0)
		close(w->signal_fd);
	w->event_fd = w->signal_fd = -1;
}

int host_wait_prepare(struct host_waiter *w)
{
	if (w->event_fd < 0)
		w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->event_fd < 0)
		return -errno;
	/* Full barrier: whatever a waker did before host_wake() is seen now, or it sees us sleeping. */
	atomic_store(&w->state, HOST_WAIT_SLEEPING);
	return 0;
}

/* Makes signal_fd report the signals in @set. */
static int watch_signals(struct host_waiter *w, uint64_t set)
{
	long fd;

	if (w->signal_fd >= 0 && w->signals == set)
		return 0;
	fd = syscall(SYS_signalfd4, w->signal_fd, &set, KERNEL_SIGSET, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	w->signal_fd = (int)fd;
	w->signals = set;
	return 0;
}

static struct timespec *until(uint64_t deadline_ns, struct timespec *ts)
{
	uint64_t now, left;

	if (deadline_ns == UINT64_MAX)
		return NULL;
	now = host_now_ns();
	left = deadline_ns > now ? deadline_ns - now : 0;
	if (left / 1000000000 > INT_MAX)
		return NULL;
	ts->tv_sec = (time_t)(left / 1000000000);
	ts->tv_nsec = (long)(left % 1000000000);
	return ts;
}

/*
 * A waker announces itself in `state` before it writes, so its event may come late, after host_wait_finish(): it
 * then ends the next sleep at once, for nothing, and is taken there.
 */
static void drain(struct host_waiter *w)
{
	uint64_t n;

	while (read(w->event_fd, &n, sizeof(n)) < 0 && errno == EINTR)
		;
}

int host_wait(struct host_waiter *w, uint64_t deadline_ns, uint64_t mask)
{
	uint64_t count = ~(mask | FAULTS | BIT(SIGKILL) | BIT(SIGSTOP)), set;
	struct timespec ts;
	int r;

	for (;;) {
		struct pollfd p[2] = { { .fd = w->event_fd, .events = POLLIN },
				       { .events = POLLIN } };

		r = watch_signals(w, count);
		if (r)
			return r;
		p[1].fd = w->signal_fd;
		r = ppoll(p, 2, until(deadline_ns, &ts), NULL);
		if (r < 0 && errno != EINTR)
			return -errno;
		if (p[0].revents)
			drain(w);
		if (r <= 0 || p[0].revents)
			return 0;
		set = pending_signals() & count;
		if (without_ignored(set))
			return -EINTR;
		/* Only ignored ones: they stay pending as long as they are blocked, so stop looking at them. */
		count &= ~set;
		if (!set)
			return 0;
	}
}

void host_wait_finish(struct host_waiter *w)
{
	if (atomic_exchange(&w->state, HOST_WAIT_IDLE) == HOST_WAIT_WOKEN)
		drain(w);
}

void host_wake(struct host_waiter *w)
{
	uint32_t sleeping = HOST_WAIT_SLEEPING;
	uint64_t one = 1;

	/* Pairs with host_wait_prepare(): the waker's stores, then this look at the state. */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_compare_exchange_strong(&w->state, &sleeping, HOST_WAIT_WOKEN))
		while (write(w->event_fd, &one, sizeof(one)) < 0 && errno == EINTR)
			;
}
