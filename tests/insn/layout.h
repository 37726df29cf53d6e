/* SPDX-License-Identifier: MIT */
/* Fixed linear addresses, below 2 GiB so that every mode and absolute addressing reach them.  Also for
 * assembly. */
#ifndef TESTS_INSN_LAYOUT_H
#define TESTS_INSN_LAYOUT_H

/* Two pages that hold the instruction; nothing is mapped around them. */
#define CODE_LIN 0x10000000
#define CODE_AT 0x800                   /* where in them the instruction is, as a rule */

/* Read-only, usable, usable, not present. */
#define ARENA_LIN 0x20000000
#define ARENA_PAGES 4
#define PAGE_RO 0
#define PAGE_RW 1
#define PAGE_NONE 3

/* The native side's own: context, stack, and the way back from compatibility mode. */
#define CTX 0x61230000
#define CTX_BYTES 0x4000
#define CTX_STACK (CTX + 0x2000)
#define CTX_BACK (CTX + CTX_BYTES)      /* one executable page */

/* Offsets in the context, checked against struct native_ctx. */
#define C_GPR 0
#define C_RIP 128
#define C_RFLAGS 136
#define C_FS 144
#define C_GS 152
#define C_FAR 160                       /* 32-bit offset, 16-bit selector */
#define C_DS 168
#define C_SS 170
#define C_COMPAT 172
#define C_HOST_RSP 176
#define C_HOST_FS 184
#define C_HOST_MXCSR 192
#define C_HOST_FCW 196
#define C_ACTIVE 200
#define C_EXIT 208                      /* address of native_exit */
#define C_COMPONENTS 216                /* what XRSTOR and XSAVE move */
#define C_IMAGE 256
#define IMAGE_BYTES 2688                /* the larger layout, which is Intel's */

#endif
