// SPDX-License-Identifier: MIT
/*
 * exit-code N: end the virtual machine with exit status N, by writing N to the machine's exit port; on a machine
 * that has none, power it off.  Debian's cloud kernel has no /dev/port, hence a program.  It uses no C library,
 * so that the initramfs stays small.
 */
#include <asm/unistd.h>
#include <linux/reboot.h>

#define EXIT_PORT 0xf4
#define TCSBRK 0x5409

static long call(long number, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long ret;

	__asm__ volatile("syscall" : "=a"(ret) : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10) :
			 "rcx", "r11", "memory");
	return ret;
}

static unsigned char parse(const char *text)
{
	unsigned int value = 0;

	for (; *text >= '0' && *text <= '9'; text++)
		value = value * 10 + (unsigned int)(*text - '0');
	return (unsigned char)value;
}

/* The stack at process start: argument count, then the arguments (System V ABI for AMD64, 3.4.1). */
__attribute__((used, noreturn)) void start(long *stack)
{
	unsigned char code = stack[0] > 1 ? parse((const char *)stack[2]) : 0;

	/* What was written to the terminal must be out before the machine is gone. */
	call(__NR_ioctl, 1, TCSBRK, 1, 0);
	call(__NR_sync, 0, 0, 0, 0);
	if (call(__NR_ioperm, EXIT_PORT, 1, 1, 0) == 0)
		__asm__ volatile("outb %0, %1" : : "a"(code), "Nd"((unsigned short)EXIT_PORT));
	call(__NR_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_POWER_OFF, 0);
	for (;;)
		call(__NR_exit, code, 0, 0, 0);
}

__asm__(".globl _start\n_start:\n\txorl %ebp, %ebp\n\tmovq %rsp, %rdi\n\tandq $-16, %rsp\n\tcall start\n");
