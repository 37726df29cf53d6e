/* SPDX-License-Identifier: MIT */
/*
 * The way into 64-bit mode.  Both anykvm run and QEMU take an ELF kernel with this note and enter it in protected mode,
 * paging off (Xen's pvh.pandoc).  Addresses are physical ones: the first 4 GiB are mapped where they are, which also
 * serves as second-level tables for a guest inside.
 */
	.section .note.pvh, "a", @note
	.align 4
	.long 4, 4, 18                  /* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long start

	.data
	.balign 4096
	.globl page_tables
page_tables:                            /* present, writable, user */
	.quad pointers + 7
	.fill 511, 8, 0
pointers:
	.quad directories + 7, directories + 0x1007, directories + 0x2007, directories + 0x3007
	.fill 508, 8, 0
directories:                            /* the same, 2 MiB, accessed and dirty */
	.set at, 0
	.rept 2048
	.quad at + 0xe7
	.set at, at + 0x200000
	.endr

gdt:
	.quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_end:
gdt_register:
	.word gdt_end - gdt - 1
	.quad gdt

	.bss
	.balign 16
	.skip 16384
stack:

	.text
	.code32
	.globl start
start:
	mov %ebx, %edi                  /* struct hvm_start_info, for l1_main() */
	mov $page_tables, %eax
	mov %eax, %cr3
	mov %cr4, %eax
	or $0x20, %eax                  /* PAE */
	mov %eax, %cr4
	mov $0xc0000080, %ecx           /* EFER.LME */
	rdmsr
	or $0x100, %eax
	wrmsr
	mov $0x80000011, %eax           /* PG, ET, PE */
	mov %eax, %cr0
	lgdt gdt_register
	ljmp $8, $long_mode

	.code64
long_mode:
	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov $stack, %rsp
	call l1_main
1:	hlt
	jmp 1b

	.section .note.GNU-stack, "", @progbits
