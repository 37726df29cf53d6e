/* SPDX-License-Identifier: MIT */
/* See jump.h.  System V AMD64 ABI, section 3.2.1: the callee-saved registers. */
	.text
	.globl	host_jump_set
	.hidden	host_jump_set
	.type	host_jump_set, @function
host_jump_set:
	mov	%rbx, 0(%rdi)
	mov	%rbp, 8(%rdi)
	mov	%r12, 16(%rdi)
	mov	%r13, 24(%rdi)
	mov	%r14, 32(%rdi)
	mov	%r15, 40(%rdi)
	lea	8(%rsp), %rax
	mov	%rax, 48(%rdi)
	mov	(%rsp), %rax
	mov	%rax, 56(%rdi)
	xor	%eax, %eax
	ret
	.size	host_jump_set, . - host_jump_set

	.globl	host_jump_to
	.hidden	host_jump_to
	.type	host_jump_to, @function
host_jump_to:
	mov	0(%rdi), %rbx
	mov	8(%rdi), %rbp
	mov	16(%rdi), %r12
	mov	24(%rdi), %r13
	mov	32(%rdi), %r14
	mov	40(%rdi), %r15
	mov	48(%rdi), %rsp
	mov	%esi, %eax
	jmp	*56(%rdi)
	.size	host_jump_to, . - host_jump_to
	.section .note.GNU-stack, "", @progbits
