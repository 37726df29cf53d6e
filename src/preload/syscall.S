/* SPDX-License-Identifier: MIT */
/*
 * syscall(2), libc's wrapper for any number.  Nearly all go straight on, with
 * registers and stack as they are: a clone() by it returns on another stack.
 * The numbers of the set are syscall_known()'s, which has libc's contract.
 */
	.text
	.globl	syscall, __wrap_syscall
	.hidden	__wrap_syscall, syscall_set, syscall_known, syscall_failed
	.type	syscall, @function
	.type	__wrap_syscall, @function
syscall:
	.cfi_startproc
	endbr64
	cmp	$512, %rdi
	jae	1f
	lea	syscall_set(%rip), %rax
	bt	%rdi, (%rax)
	jc	syscall_known
/* What the library and the preload themselves call. */
__wrap_syscall:
1:	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	mov	%r8, %r10
	mov	%r9, %r8
	mov	8(%rsp), %r9
	syscall
	cmp	$-4095, %rax
	jae	2f
	ret
2:	neg	%eax
	mov	%eax, %edi
	jmp	syscall_failed
	.cfi_endproc
	.size	syscall, . - syscall
	.section .note.GNU-stack, "", @progbits
