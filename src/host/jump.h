/* SPDX-License-Identifier: MIT */
/*
 * The one way out of the middle of an instruction: a jump back to the run loop.
 * Saves and restores the callee-saved general registers only; vector state,
 * signal mask and MXCSR are left as they are, which setjmp() does not promise.
 */
#ifndef HOST_JUMP_H
#define HOST_JUMP_H

#include <stdint.h>

struct host_jump {
	uint64_t rbx, rbp, r12, r13, r14, r15, rsp, rip;
};

/**
 * host_jump_set - returns 0 now, and @value again at each host_jump_to().
 * The calling function must not have returned when the jump is taken.
 */
int host_jump_set(struct host_jump *j) __attribute__((returns_twice));

/** host_jump_to - resumes after host_jump_set(@j), which returns @value (not 0). */
void host_jump_to(struct host_jump *j, int value) __attribute__((noreturn));

#endif
