/* SPDX-License-Identifier: MIT */
/*
 * Paging as a guest meets it: the modes, the protections that CR4 turns on and
 * the instructions that go with them, and what drops translations.
 */
#include "rig.h"

#include "x86/features.h"
#include "x86/mmu/mmu.h"

/* rig_long() maps by 2 MiB pages; this one is made of 4 KiB pages, all rights, with table entries of its own. */
#define FINE 0x200000
#define FINE_PT (AT_TABLES + 0x4000)
#define PTE(n) (FINE_PT + (n) * 8)
#define NX (1ULL << 63)
#define KEY(n) ((uint64_t)(n) << 59)

static void fine_pages(struct rig *r, uint64_t cr4)
{
	rig_long(r);
	/* The rest is the supervisor's, so that SMEP and SMAP leave it alone. */
	rig_write(r, AT_TABLES + 0x2000, 8, 0x83);
	for (unsigned int n = 0; n < 512; n++)
		rig_write(r, PTE(n), 8, (FINE + n * 0x1000) | 7);
	rig_write(r, AT_TABLES + 0x2008, 8, FINE_PT | 7);
	x86_apply_cr4(r->cpu, CR4_PAE | cr4);
}

static uint64_t top(const struct rig *r, unsigned int n)
{
	return rig_read(r, REG(r, R_RSP) + n * 8, 8);
}

static void expect_pf(struct rig *r, uint32_t ec, uint64_t cr2, uint64_t rip)
{
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_PF));
	assert_int_equal(top(r, 0), ec);
	assert_int_equal(r->cpu->cr2, cr2);
	assert_int_equal(top(r, 1), rip);
}

/* ------------------------------------------------------------ SMEP, SMAP, NX */

GUEST(touch, 64, "	mov (%rbx), %eax\n	hlt\n");
GUEST(store, 64, "	mov %eax, (%rbx)\n	hlt\n");
GUEST(jump, 64, "	jmp *%rbx\n");
GUEST(with_ac, 64, "	stac\n	mov (%rbx), %eax\n	clac\n	mov (%rbx), %eax\n");
GUEST(user_ldt, 64, "	stac\n	mov (%rbx), %eax\n	mov $0x0c, %ecx\n	mov %ecx, %fs\n");

static void smep_and_nx(void **state)
{
	struct rig *r = *state;

	fine_pages(r, CR4_SMEP);
	RIG_CODE(r, AT_CODE, jump);
	REG(r, R_RBX) = FINE;
	rig_put(r, FINE, "\xf4", 1);
	expect_pf(r, 0x11, FINE, FINE);

	/* Without NX in use SMEP alone shows the I/D flag; without both it is clear. */
	fine_pages(r, CR4_SMEP);
	x86_apply_efer(r->cpu, r->cpu->efer & ~EFER_NX);
	REG(r, R_RBX) = FINE;
	expect_pf(r, 0x11, FINE, FINE);
	fine_pages(r, 0);
	x86_apply_efer(r->cpu, r->cpu->efer & ~EFER_NX);
	REG(r, R_RBX) = FINE;
	rig_write(r, PTE(0), 8, 0);
	expect_pf(r, 0, FINE, FINE);

	fine_pages(r, 0);
	rig_write(r, PTE(0), 8, FINE | 7 | NX);
	REG(r, R_RBX) = FINE;
	expect_pf(r, 0x11, FINE, FINE);
	/* ... which is a reserved bit with EFER.NXE clear. */
	fine_pages(r, 0);
	x86_apply_efer(r->cpu, r->cpu->efer & ~EFER_NX);
	rig_write(r, PTE(0), 8, FINE | 7 | NX);
	REG(r, R_RBX) = FINE;
	expect_pf(r, 9, FINE, FINE);
}

static void smap(void **state)
{
	struct rig *r = *state;

	fine_pages(r, CR4_SMAP);
	RIG_CODE(r, AT_CODE, with_ac);
	REG(r, R_RBX) = FINE + 8;
	expect_pf(r, 1, FINE + 8, AT_CODE + 8);
}

/* Descriptor tables are read by the processor itself: AC does not help it. */
static void smap_and_tables(void **state)
{
	struct rig *r = *state;

	fine_pages(r, CR4_SMAP);
	rig_write(r, FINE + 8, 8, 0x00cf92000000ffff);
	r->cpu->ldt = (struct x86_sysseg){ .base = FINE, .seg = { .limit = 0xff, .present = true } };
	RIG_CODE(r, AT_CODE, user_ldt);
	REG(r, R_RBX) = FINE;
	expect_pf(r, 1, FINE + 8, AT_CODE + (user_ldt_end - user_ldt) - 2);
}

/* ------------------------------------------------------------ protection keys */

GUEST(wrpkru, 64, "	xor %ecx, %ecx\n	xor %edx, %edx\n	mov $0x8, %eax\n	wrpkru\n	mov (%rbx), %eax\n	mov %eax, (%rbx)\n");
GUEST(wrpkrs, 64,
      "	mov (%rbx), %eax\n	mov %eax, (%rbx)\n	mov $0x6e1, %ecx\n	xor %edx, %edx\n	mov $0x8, %eax\n	wrmsr\n"
      "	mov (%rbx), %eax\n	mov %eax, (%rbx)\n");

static void user_keys(void **state)
{
	struct rig *r = *state;

	fine_pages(r, CR4_PKE);
	rig_write(r, PTE(3), 8, (FINE + 0x3000) | 7 | KEY(1));
	RIG_CODE(r, FINE, wrpkru);
	rig_user(r);
	REG(r, R_RIP) = FINE;
	REG(r, R_RBX) = FINE + 0x3000;
	expect_pf(r, 0x27, FINE + 0x3000, FINE + (wrpkru_end - wrpkru) - 2);
}

static void supervisor_keys(void **state)
{
	struct rig *r = *state;

	fine_pages(r, CR4_PKS);
	rig_write(r, PTE(3), 8, (FINE + 0x3000) | 3 | KEY(1));
	RIG_CODE(r, AT_CODE, wrpkrs);
	REG(r, R_RBX) = FINE + 0x3000;
	expect_pf(r, 0x23, FINE + 0x3000, AT_CODE + (wrpkrs_end - wrpkrs) - 2);

	/* CR0.WP clear: WD does not count. */
	fine_pages(r, CR4_PKS);
	rig_write(r, PTE(3), 8, (FINE + 0x3000) | 3 | KEY(1));
	rig_put(r, AT_CODE + (wrpkrs_end - wrpkrs), "\xf4", 1);
	x86_apply_cr0(r->cpu, r->cpu->cr0 & ~CR0_WP);
	REG(r, R_RBX) = FINE + 0x3000;
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(REG(r, R_RIP), AT_CODE + (wrpkrs_end - wrpkrs) + 1);
}

GUEST(set_cr4, 64, "	mov %cr4, %rax\n	or %rbx, %rax\n	mov %rax, %cr4\n	hlt\n");

/* A bit of CR4 is there when its feature is offered, and else reserved. */
static void control_bits(void **state)
{
	static const struct { uint64_t bit; unsigned int feature; } rows[] = {
		{ CR4_UMIP, X86_F_UMIP }, { CR4_FSGSBASE, X86_F_FSGSBASE }, { CR4_PCIDE, X86_F_PCID },
		{ CR4_OSXSAVE, X86_F_XSAVE }, { CR4_SMEP, X86_F_SMEP }, { CR4_SMAP, X86_F_SMAP },
		{ CR4_PKE, X86_F_PKU }, { CR4_PKS, X86_F_PKS }, { CR4_VMXE, X86_F_VMX }, { CR4_SMXE, 0 }, { CR4_CET, 0 },
		{ 1ULL << 15, 0 }, { 1ULL << 25, 0 }, { 1ULL << 32, 0 }, { 1ULL << 63, 0 },
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++)
		for (int without = !rows[n].feature; without < 2; without++) {
			struct rig *r = rig_new();

			rig_long(r);
			if (without && rows[n].feature)
				rig_without(r, rows[n].feature);
			rig_write(r, AT_TABLES + 0x2000, 8, 0x83);
			RIG_CODE(r, AT_CODE, set_cr4);
			REG(r, R_RBX) = rows[n].bit;
			assert_int_equal(rig_run(r), X86_RUN_EXIT);
			if (without) {
				assert_true(rig_in_handler(r, X86_GP));
				assert_int_equal(top(r, 0), 0);
				assert_int_equal(r->cpu->cr4, CR4_PAE);
			} else {
				assert_int_equal(r->cpu->cr4, CR4_PAE | rows[n].bit);
			}
			rig_free(r);
		}
	(void)state;
}

/* ------------------------------------------------------------ UMIP */

static void user_mode_instructions(void **state)
{
	static const char *const code[] = {
		"\x0f\x01\x03", "\x0f\x01\x0b", "\x0f\x00\xc0", "\x0f\x00\xc8", "\x0f\x01\xe0",    /* SGDT SIDT SLDT STR SMSW */
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(code); n++)
		for (int umip = 0; umip < 2; umip++)
			for (int user = 0; user < 2; user++) {
				struct rig *r = rig_new();

				fine_pages(r, umip ? CR4_UMIP : 0);
				if (user)
					rig_user(r);
				rig_put(r, FINE, code[n], 3);
				rig_put(r, FINE + 3, "\x0f\x0b", 2);
				REG(r, R_RIP) = FINE;
				REG(r, R_RBX) = FINE + 0x1000;
				assert_int_equal(rig_run(r), X86_RUN_EXIT);
				assert_true(rig_in_handler(r, umip && user ? X86_GP : X86_UD));
				rig_free(r);
			}
	(void)state;
}

/* ------------------------------------------------------------ what drops translations */

GUEST(remap, 64,
      "	mov (%rbx), %eax\n	mov %rdx, (%rsi)\n	call *%rdi\n	mov (%rbx), %ecx\n	hlt\n");
GUEST(by_invlpg, 64, "	invlpg (%rbx)\n	ret\n");
GUEST(by_cr3, 64, "	mov %cr3, %r8\n	mov %r8, %cr3\n	ret\n");
GUEST(by_pge, 64, "	mov %cr4, %r8\n	xor $0x80, %r8\n	mov %r8, %cr4\n	ret\n");
GUEST(by_invpcid0, 64, "	xor %r8, %r8\n	push %rbx\n	push %r8\n	invpcid (%rsp), %r8\n	add $16, %rsp\n	ret\n");
GUEST(by_invpcid1, 64, "	xor %r8, %r8\n	push %r8\n	push %r8\n	inc %r8\n	invpcid (%rsp), %r8\n	add $16, %rsp\n	ret\n");
GUEST(by_invpcid2, 64, "	mov $2, %r8\n	push $0\n	push $0\n	invpcid (%rsp), %r8\n	add $16, %rsp\n	ret\n");
GUEST(by_invpcid3, 64, "	mov $3, %r8\n	push $0\n	push $0\n	invpcid (%rsp), %r8\n	add $16, %rsp\n	ret\n");

static void invalidations(void **state)
{
	static const struct { const uint8_t *code, *end; bool global; } rows[] = {
		{ by_invlpg, by_invlpg_end, false }, { by_invlpg, by_invlpg_end, true }, { by_cr3, by_cr3_end, false },
		{ by_pge, by_pge_end, false }, { by_pge, by_pge_end, true }, { by_invpcid0, by_invpcid0_end, false },
		{ by_invpcid1, by_invpcid1_end, false }, { by_invpcid2, by_invpcid2_end, false },
		{ by_invpcid2, by_invpcid2_end, true }, { by_invpcid3, by_invpcid3_end, false },
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++) {
		struct rig *r = rig_new();

		fine_pages(r, CR4_PGE | (rows[n].code == by_cr3 ? 0 : CR4_PCIDE));
		rig_write(r, PTE(3), 8, (FINE + 0x3000) | 7 | (rows[n].global ? 0x100 : 0));
		rig_write(r, FINE + 0x3000, 4, 0x11111111);
		rig_write(r, FINE + 0x5000, 4, 0x22222222);
		RIG_CODE(r, AT_CODE, remap);
		rig_put(r, AT_CODE2, rows[n].code, (size_t)(rows[n].end - rows[n].code));
		REG(r, R_RBX) = FINE + 0x3000;
		REG(r, R_RSI) = PTE(3);
		REG(r, R_RDX) = (FINE + 0x5000) | 7;
		REG(r, R_RDI) = AT_CODE2;
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		assert_true(r->halted);
		assert_int_equal(REG(r, R_RAX), 0x11111111);
		assert_int_equal(REG(r, R_RCX), 0x22222222);
		rig_free(r);
	}
	(void)state;
}

GUEST(invpcid, 64, "	invpcid (%rbx), %rcx\n	hlt\n");

static void invpcid_checks(void **state)
{
	static const struct { uint64_t type, low, high; bool pcide, ok; } rows[] = {
		{ 0, 0, FINE, false, true }, { 0, 1, FINE, false, false }, { 0, 1, FINE, true, true },
		{ 0, 0, 1ULL << 60, true, false }, { 0, 1 << 12, 0, true, false }, { 1, 0xfff, 1ULL << 60, true, true },
		{ 1, 1, 0, false, false }, { 2, 0xfff, 1ULL << 60, false, true }, { 3, 1ULL << 63, 0, true, false },
		{ 4, 0, 0, true, false }, { 1ULL << 32, 0, 0, true, false },
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++) {
		struct rig *r = rig_new();

		fine_pages(r, rows[n].pcide ? CR4_PCIDE : 0);
		RIG_CODE(r, AT_CODE, invpcid);
		rig_write(r, FINE, 8, rows[n].low);
		rig_write(r, FINE + 8, 8, rows[n].high);
		REG(r, R_RBX) = FINE;
		REG(r, R_RCX) = rows[n].type;
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		if (rig_in_handler(r, X86_GP) == rows[n].ok)
			fail_msg("row %u", n);
		rig_free(r);
	}
	(void)state;
}

/* ------------------------------------------------------------ the modes */

GUEST(load_cr3, 32, "	mov %ebx, %cr3\n	mov 0x201000, %eax\n	hlt\n");

/* PAE: MOV to CR3 loads the four entries, and refuses reserved bits in them. */
static void pae(void **state)
{
	for (int bad = 0; bad < 2; bad++) {
		struct rig *r = rig_new();

		rig_protected(r);
		rig_write(r, AT_TABLES, 8, (AT_TABLES + 0x1000) | 1);
		rig_write(r, AT_TABLES + 0x1000, 8, 0x83);
		rig_write(r, AT_TABLES + 0x1008, 8, 0x200083);
		rig_write(r, AT_TABLES + 0x20, 8, (AT_TABLES + 0x1000) | 1);
		rig_write(r, AT_TABLES + 0x28, 8, bad ? 0x1003 : 0x1000);
		rig_write(r, 0x201000, 4, 0xabcdef);
		r->cpu->cr3 = AT_TABLES;
		x86_apply_cr4(r->cpu, CR4_PAE);
		assert_int_equal(x86_set_cr0(r->cpu, r->cpu->cr0 | CR0_PG), 0);
		RIG_CODE(r, AT_CODE, load_cr3);
		REG(r, R_RBX) = AT_TABLES + 0x20;
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		if (bad) {
			assert_true(rig_in_handler(r, X86_GP));
			assert_int_equal(r->cpu->cr3, AT_TABLES);
		} else {
			assert_int_equal(REG(r, R_RAX), 0xabcdef);
			assert_int_equal(r->cpu->cr3, AT_TABLES + 0x20);
		}
		rig_free(r);
	}
	(void)state;
}

static void five_levels(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	/* A PML5 whose entry 3 leads to the same tables as entry 0. */
	rig_write(r, AT_TABLES + 0x5000, 8, AT_TABLES | 7);
	rig_write(r, AT_TABLES + 0x5018, 8, AT_TABLES | 7);
	r->cpu->cr3 = AT_TABLES + 0x5000;
	r->cpu->cr4 |= CR4_LA57;
	mmu_flush_all(r->cpu);
	x86_update_mode(r->cpu);
	RIG_CODE(r, AT_CODE, touch);
	rig_write(r, AT_DATA, 4, 0x55);
	REG(r, R_RBX) = (3ULL << 48) + AT_DATA;
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(REG(r, R_RAX), 0x55);
	/* Canonical is what 57 bits say. */
	REG(r, R_RIP) = AT_CODE;
	REG(r, R_RBX) = 1ULL << 56;
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_GP));
}

static void one_gigabyte(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	rig_write(r, AT_TABLES + 0x1008, 8, 0x83);
	RIG_CODE(r, AT_CODE, store);
	REG(r, R_RAX) = 0x77;
	REG(r, R_RBX) = (1 << 30) + AT_DATA;
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(rig_read(r, AT_DATA, 4), 0x77);
	assert_int_equal(rig_read(r, AT_TABLES + 0x1008, 8), 0x83 | 0x60);

	/* Not offered: PS is reserved there. */
	rig_without(r, X86_F_PDPE1GB);
	mmu_flush_all(r->cpu);
	REG(r, R_RIP) = AT_CODE;
	expect_pf(r, 0xb, (1 << 30) + AT_DATA, AT_CODE);
}

/* A fault sets no accessed or dirty bit in the leaf; an access does, once it is done. */
static void accessed_and_dirty(void **state)
{
	struct rig *r = *state;

	fine_pages(r, 0);
	rig_write(r, PTE(3), 8, (FINE + 0x3000) | 5);
	RIG_CODE(r, AT_CODE, store);
	REG(r, R_RBX) = FINE + 0x3000;
	expect_pf(r, 3, FINE + 0x3000, AT_CODE);
	assert_int_equal(rig_read(r, PTE(3), 8), (FINE + 0x3000) | 5);

	fine_pages(r, 0);
	RIG_CODE(r, AT_CODE, touch);
	REG(r, R_RBX) = FINE + 0x3000;
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(rig_read(r, PTE(3), 8), (FINE + 0x3000) | 0x27);
	RIG_CODE(r, AT_CODE, store);
	REG(r, R_RIP) = AT_CODE;
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(rig_read(r, PTE(3), 8), (FINE + 0x3000) | 0x67);
}

/* ------------------------------------------------------------ AMD's other name of CR8 */

static void cr8_by_lock(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	rig_put(r, AT_CODE, "\xf0\x0f\x20\xc0\xf4", 5);
	REG(r, R_RAX) = 5;
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(REG(r, R_RIP), AT_CODE + 5);
	assert_int_equal(REG(r, R_RAX), 0);

	rig_without(r, X86_F_CR8_LEGACY);
	rig_put(r, AT_CODE2, "\xf0\x0f\x20\xc0\xf4", 5);
	REG(r, R_RIP) = AT_CODE2;
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_UD));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(smep_and_nx),
		RIG_TEST(smap),
		RIG_TEST(smap_and_tables),
		RIG_TEST(user_keys),
		RIG_TEST(supervisor_keys),
		cmocka_unit_test(control_bits),
		cmocka_unit_test(user_mode_instructions),
		cmocka_unit_test(invalidations),
		cmocka_unit_test(invpcid_checks),
		cmocka_unit_test(pae),
		RIG_TEST(five_levels),
		RIG_TEST(one_gigabyte),
		RIG_TEST(accessed_and_dirty),
		RIG_TEST(cr8_by_lock),
	};

	return cmocka_run_group_tests_name("paging", tests, NULL, NULL);
}
