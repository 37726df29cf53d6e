/* SPDX-License-Identifier: MIT */
/* Programs that cannot be reached, by what they are linked with; meson.build says which is which. */
	.globl	_start
_start:
	mov	$60, %eax
	xor	%edi, %edi
	syscall

#ifdef CLIENT
/* What a client of KVM has in its text. */
	.section .rodata
	.asciz	"/dev/kvm"
#endif

#ifdef GO
/* What Go's linker writes into every program. */
	.section .note.go.buildid, "a", @note
	.long	4, 4, 4
	.ascii	"Go\0\0"
	.ascii	"test"
#endif
	.section .note.GNU-stack, "", @progbits
