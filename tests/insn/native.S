/* SPDX-License-Identifier: MIT */
/*
 * Into the instruction under test and out of it.  Everything is reached by
 * absolute addresses (layout.h), since no register is ours at the edges.
 */
#include "layout.h"

	.text

/* void native_enter(void): runs what the context says; comes back by native_exit or native_leave. */
	.globl native_enter
	.type native_enter, @function
native_enter:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, CTX + C_HOST_RSP
	stmxcsr	CTX + C_HOST_MXCSR
	fnstcw	CTX + C_HOST_FCW
	rdfsbase %rax
	mov	%rax, CTX + C_HOST_FS
	mov	CTX + C_COMPONENTS, %eax
	xor	%edx, %edx
	xrstor64 CTX + C_IMAGE
	movl	$1, CTX + C_ACTIVE
	mov	CTX + C_FS, %rax
	wrfsbase %rax
	mov	CTX + C_GS, %rax
	wrgsbase %rax
	movw	CTX + C_DS, %ax
	mov	%eax, %ds
	mov	%eax, %es
	mov	$CTX_STACK, %rsp
	pushq	CTX + C_RFLAGS
	mov	CTX + C_GPR + 8 * 1, %rcx
	mov	CTX + C_GPR + 8 * 2, %rdx
	mov	CTX + C_GPR + 8 * 3, %rbx
	mov	CTX + C_GPR + 8 * 5, %rbp
	mov	CTX + C_GPR + 8 * 6, %rsi
	mov	CTX + C_GPR + 8 * 7, %rdi
	mov	CTX + C_GPR + 8 * 8, %r8
	mov	CTX + C_GPR + 8 * 9, %r9
	mov	CTX + C_GPR + 8 * 10, %r10
	mov	CTX + C_GPR + 8 * 11, %r11
	mov	CTX + C_GPR + 8 * 12, %r12
	mov	CTX + C_GPR + 8 * 13, %r13
	mov	CTX + C_GPR + 8 * 14, %r14
	mov	CTX + C_GPR + 8 * 15, %r15
	cmpw	$0, CTX + C_COMPAT
	jne	2f
	mov	CTX + C_GPR + 8 * 0, %rax
	popfq
	mov	CTX + C_GPR + 8 * 4, %rsp
	jmp	*CTX + C_RIP
2:	movw	CTX + C_SS, %ax
	popfq
	mov	%eax, %ss
	mov	CTX + C_GPR + 8 * 0, %rax
	mov	CTX + C_GPR + 8 * 4, %rsp
	ljmpl	*CTX + C_FAR
	.size native_enter, . - native_enter

/* Jumped to behind the instruction, in 64-bit mode. */
	.globl native_exit
native_exit:
	mov	%rax, CTX + C_GPR + 8 * 0
	mov	%rcx, CTX + C_GPR + 8 * 1
	mov	%rdx, CTX + C_GPR + 8 * 2
	mov	%rbx, CTX + C_GPR + 8 * 3
	mov	%rsp, CTX + C_GPR + 8 * 4
	mov	%rbp, CTX + C_GPR + 8 * 5
	mov	%rsi, CTX + C_GPR + 8 * 6
	mov	%rdi, CTX + C_GPR + 8 * 7
	mov	%r8, CTX + C_GPR + 8 * 8
	mov	%r9, CTX + C_GPR + 8 * 9
	mov	%r10, CTX + C_GPR + 8 * 10
	mov	%r11, CTX + C_GPR + 8 * 11
	mov	%r12, CTX + C_GPR + 8 * 12
	mov	%r13, CTX + C_GPR + 8 * 13
	mov	%r14, CTX + C_GPR + 8 * 14
	mov	%r15, CTX + C_GPR + 8 * 15
	mov	$0x2b, %eax
	mov	%eax, %ss
	mov	$CTX_STACK, %rsp
	pushfq
	popq	CTX + C_RFLAGS
	mov	CTX + C_COMPONENTS, %eax
	xor	%edx, %edx
	xsave64	CTX + C_IMAGE
	rdfsbase %rax
	mov	%rax, CTX + C_FS
	rdgsbase %rax
	mov	%rax, CTX + C_GS

/* Jumped to by the signal handler too: back to the caller of native_enter. */
	.globl native_leave
native_leave:
	mov	$CTX_STACK, %rsp
	pushq	$2
	popfq
	mov	$0x2b, %eax
	mov	%eax, %ss
	mov	CTX + C_HOST_FS, %rax
	wrfsbase %rax
	movl	$0, CTX + C_ACTIVE
	fninit
	vzeroupper
	ldmxcsr	CTX + C_HOST_MXCSR
	fldcw	CTX + C_HOST_FCW
	mov	CTX + C_HOST_RSP, %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret

/* The signal handler: its thread pointer and alignment checks put right before any C runs. */
	.globl native_signal
	.type native_signal, @function
native_signal:
	cmpl	$0, CTX + C_ACTIVE
	je	1f
	rdfsbase %rax
	mov	%rax, CTX + C_FS
	rdgsbase %rax
	mov	%rax, CTX + C_GS
	mov	CTX + C_HOST_FS, %rax
	wrfsbase %rax
1:	pushfq
	andl	$~0x44000, (%rsp)
	popfq
	jmp	native_caught
	.size native_signal, . - native_signal

/* void native_sync(void): code was written through another mapping.  IRET serializes. */
	.globl native_sync
	.type native_sync, @function
native_sync:
	mov	%rsp, %rax
	mov	%ss, %ecx
	push	%rcx
	push	%rax
	pushfq
	mov	%cs, %ecx
	push	%rcx
	lea	1f(%rip), %rcx
	push	%rcx
	iretq
1:	ret
	.size native_sync, . - native_sync

	.section .note.GNU-stack, "", @progbits
