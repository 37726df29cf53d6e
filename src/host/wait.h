/* SPDX-License-Identifier: MIT */
/*
 * Sleeping until another thread wakes us, a deadline, or a signal that is
 * blocked and must stay so: the signal is noticed (signalfd, polled but never
 * read) and not delivered.  No wake-up is lost, none costs a system call while
 * nobody sleeps.
 */
#ifndef HOST_WAIT_H
#define HOST_WAIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct host_waiter {
	_Atomic uint32_t state;         /* HOST_WAIT_* */
	int event_fd, signal_fd;        /* made at the first sleep; -1 before */
	uint64_t signals;               /* what signal_fd is for: signal n is bit n - 1 */
};

enum { HOST_WAIT_IDLE, HOST_WAIT_SLEEPING, HOST_WAIT_WOKEN };

void host_waiter_init(struct host_waiter *w);
void host_waiter_destroy(struct host_waiter *w);

/** host_wait_prepare - from here on a host_wake() ends the sleep to come.  0 or -errno (EMFILE). */
int host_wait_prepare(struct host_waiter *w);

/**
 * host_wait - sleeps, after host_wait_prepare().
 * @deadline_ns: CLOCK_MONOTONIC; UINT64_MAX: none.
 * @mask: signals (bit n - 1) that do not count.  All that count are blocked.
 * Returns 0; -EINTR where a signal that counts is pending.
 */
int host_wait(struct host_waiter *w, uint64_t deadline_ns, uint64_t mask);

/** host_wait_finish - after host_wait(), or instead of it. */
void host_wait_finish(struct host_waiter *w);

/** host_wake - ends a sleep.  Any thread.  Memory written before is seen by the one who wakes. */
void host_wake(struct host_waiter *w);

/**
 * host_signal_pending - true if this thread has a pending signal that @mask
 * does not name and whose action is not to ignore it.
 */
bool host_signal_pending(uint64_t mask);

/** host_signals_block - blocks all signals but those of faults, which come through; returns the mask before. */
uint64_t host_signals_block(void);

/**
 * host_faults_let - lets those of faults through, which a client may have
 * blocked: then they would kill.  Returns what host_faults_restore() blocks again.
 */
uint64_t host_faults_let(void);
void host_faults_restore(uint64_t blocked);

/** host_signals_let_libc - on a thread of ours: libc's own signals through, for which its callers wait. */
void host_signals_let_libc(void);

/** host_signals_restore - sets this thread's mask. */
void host_signals_restore(uint64_t mask);

#endif
