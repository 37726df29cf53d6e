/* SPDX-License-Identifier: MIT */
/*
 * Faults taken on purpose: SIGSEGV, SIGBUS and SIGFPE at an access that the
 * engine makes for a guest or a client.
 *
 * The handlers hand every fault that is not ours to the handler that stood there
 * before, or that the client has set since.  A fault is ours when the
 * faulting thread has a guard armed.  The handler never jumps out of the
 * signal frame (that would lose the guest's vector registers, which sigreturn
 * restores): it edits the frame so that the thread resumes in the recovery.
 */
#ifndef HOST_FAULT_H
#define HOST_FAULT_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host/jump.h"

enum host_fault_kind {
	HOST_FAULT_SEGV = 1,   /* SIGSEGV: nothing mapped there, or no permission */
	HOST_FAULT_BUS,        /* SIGBUS: file truncated, no memory behind the page */
	HOST_FAULT_HWPOISON,   /* SIGBUS with BUS_MCEERR_AR */
	HOST_FAULT_FPE,        /* SIGFPE: unmasked x87 or SIMD exception in a host stub */
};

/*
 * While armed, a fault on this thread resumes at @jump with the kind as value.
 * What the fault was is left in the guard.
 */
struct host_guard {
	struct host_jump jump;
	volatile enum host_fault_kind kind;
	volatile uintptr_t addr;       /* si_addr */
	volatile uintptr_t ip;         /* host instruction that faulted */
	volatile int code;             /* si_code */
	volatile int trap;             /* the host's exception vector */
	struct host_guard *prev;
};

/** host_fault_init - installs the handlers where others stand in their place.  0 or -errno. */
int host_fault_init(void);

/**
 * host_fault_check - the same before every request of the client's, which may
 * have put its own handlers there meanwhile: three system calls, or none where
 * all its calls of sigaction() are known.
 */
int host_fault_check(void);

/**
 * host_fault_sigaction - sigaction(2) of the client: where our handler stands
 * for @sig it stays, and goes on to @act.  @sig 0: does nothing, but from now
 * on all of the client's calls are taken to come here.  Async-signal-safe.
 * 0 or -errno.
 */
int host_fault_sigaction(int sig, const struct sigaction *act, struct sigaction *old);

/**
 * host_guard_arm / host_guard_disarm - @g becomes (stops being) this thread's
 * innermost guard.  Call host_jump_set(&g->jump) between arming and the access.
 * Guards nest; disarm in reverse order.
 */
void host_guard_arm(struct host_guard *g);
void host_guard_disarm(struct host_guard *g);
/** host_guard_unwind - @g is the innermost again: what was armed since has been jumped out of. */
void host_guard_unwind(struct host_guard *g);
/** host_guard_fail - resumes at the innermost guard, as from a fault of its access.  There must be one. */
void host_guard_fail(void) __attribute__((noreturn));

/**
 * host_copy - memcpy() between client and library memory that survives a bad
 * address on either side.  0, or -EFAULT (the destination may be partly written).
 */
int host_copy(void *dst, const void *src, size_t n);

#endif
