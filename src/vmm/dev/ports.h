/* SPDX-License-Identifier: MIT */
/* ports.h - the ISA devices' places; the same in their models and in the DSDT. */
#ifndef VMM_DEV_PORTS_H
#define VMM_DEV_PORTS_H

#define PORT_I8042_DATA	   0x60u
#define PORT_I8042_COMMAND 0x64u
#define PORT_RTC	   0x70u
#define PORT_EXIT	   0xf4u  /* a byte written here is the exit status of anykvm */
#define PORT_COM1	   0x3f8u
#define PORT_PVPANIC	   0x505u

#define IRQ_COM1 4
#define IRQ_RTC	 8

#endif
