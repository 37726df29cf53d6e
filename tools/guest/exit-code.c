// SPDX-License-Identifier: MIT
/*
 * exit-code N: end the virtual machine with exit status N, by writing N to the machine's exit port; on a machine
 * that has none, power it off.  Debian's cloud kernel has no /dev/port, hence a program.
 */
#include "bare.h"

#include <linux/reboot.h>

#define EXIT_PORT 0xf4
#define TCSBRK 0x5409

static unsigned char parse(const char *text)
{
	unsigned int value = 0;

	for (; *text >= '0' && *text <= '9'; text++)
		value = value * 10 + (unsigned int)(*text - '0');
	return (unsigned char)value;
}

int bare_main(int argc, char **argv, char **envp)
{
	unsigned char code = argc > 1 ? parse(argv[1]) : 0;

	(void)envp;
	/* What was written to the terminal must be out before the machine is gone. */
	bare_call(__NR_ioctl, 1, TCSBRK, 1, 0);
	bare_call(__NR_sync, 0, 0, 0, 0);
	if (bare_call(__NR_ioperm, EXIT_PORT, 1, 1, 0) == 0)
		__asm__ volatile("outb %0, %1" : : "a"(code), "Nd"((unsigned short)EXIT_PORT));
	bare_call(__NR_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_POWER_OFF, 0);
	return code;
}
