/* SPDX-License-Identifier: MIT */
/*
 * What the guest's little programs need in place of a C library: system calls and a start.  A program defines
 * bare_main(); its status is what bare_main() returns.
 */
#ifndef GUEST_BARE_H
#define GUEST_BARE_H

#include <asm/unistd.h>

__attribute__((used)) int bare_main(int argc, char **argv, char **envp);

static inline long bare_call(long number, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long ret;

	__asm__ volatile("syscall" : "=a"(ret) : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10) :
			 "rcx", "r11", "memory");
	return ret;
}

/* The stack at process start: argument count, arguments, NULL, environment (System V ABI for AMD64, 3.4.1). */
__attribute__((used, noreturn)) static void bare_start(long *stack)
{
	int argc = (int)stack[0];
	char **argv = (char **)(stack + 1);
	int status = bare_main(argc, argv, argv + argc + 1);

	for (;;)
		bare_call(__NR_exit, status, 0, 0, 0);
}

__asm__(".globl _start\n_start:\n\txorl %ebp, %ebp\n\tmovq %rsp, %rdi\n\tandq $-16, %rsp\n\tcall bare_start\n");

#endif
