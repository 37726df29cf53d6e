/* SPDX-License-Identifier: MIT */
/* Which fault wins, with which error code; double faults by table 6-5 of SDM 3A; the end of a code segment. */
#include "rig.h"

#include "x86/mmu/mmu.h"

static uint32_t top(const struct rig *r, unsigned int n)
{
	return (uint32_t)rig_read(r, REG(r, R_RSP) + n * 4, 4);
}

static uint64_t top64(const struct rig *r, unsigned int n)
{
	return rig_read(r, REG(r, R_RSP) + n * 8, 8);
}

/* ------------------------------------------------------------ one instruction, several faults */

#define FIFTEEN "\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e"

static void priority(void **state)
{
	static const struct {
		const char *code;
		uint8_t len;
		bool user;
		uint8_t vector;
	} rows[] = {
		{ "\x0f\x22\xe8", 3, true, X86_UD },                    /* MOV CR5: no such register, before CPL */
		{ "\x0f\x01\x15\0\0\0\x7f", 7, true, X86_GP },          /* LGDT: CPL before its operand */
		{ "\x0f\x01\x3d\0\0\0\x7f", 7, true, X86_GP },          /* INVLPG */
		{ "\xf0\x90", 2, false, X86_UD },                       /* LOCK NOP */
		{ FIFTEEN "\x90", 16, false, X86_GP },                  /* too long */
		{ FIFTEEN "\x0f\x0b", 17, false, X86_GP },              /* too long, before its opcode */
		{ "\x0f\x01\xca", 3, true, X86_UD },                    /* CLAC above CPL 0 */
		{ "\x0f\x01\xc8", 3, true, X86_UD },                    /* MONITOR above CPL 0 */
		{ "\x0f\x01\xee", 3, false, X86_UD },                   /* RDPKRU without CR4.PKE */
		{ "\x0f\x01\xd0", 3, false, X86_UD },                   /* XGETBV without CR4.OSXSAVE */
		{ "\x0f\x01\xd1", 3, true, X86_UD },                    /* XSETBV: the same before CPL */
		{ "\x0f\x00\xd8", 3, true, X86_GP },                    /* LTR */
		{ "\x0f\x33", 2, false, X86_GP },                       /* RDPMC: no counter */
		{ "\x0f\x01\xf8", 3, false, X86_UD },                   /* SWAPGS outside 64-bit mode */
		{ "\x0f\x01\xd4", 3, false, X86_UD },                   /* VMFUNC */
		{ "\x0f\xaa", 2, false, X86_UD },                       /* RSM outside SMM */
		{ "\xfa", 1, true, X86_GP },                            /* CLI, IOPL 0 */
		{ "\xec", 1, true, X86_GP },                            /* IN, bitmap beyond the limit */
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++) {
		struct rig *r = rig_new();

		rig_protected(r);
		if (rows[n].user)
			rig_user(r);
		rig_put(r, AT_CODE, rows[n].code, rows[n].len);
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		if (!rig_in_handler(r, rows[n].vector))
			fail_msg("row %u ended at %#llx", n, (unsigned long long)REG(r, R_RIP));
		if (rows[n].vector == X86_GP)
			assert_int_equal(top(r, 0), 0);
		assert_int_equal(top(r, rows[n].vector == X86_GP), AT_CODE);
		rig_free(r);
	}
	(void)state;
}

/* VMware's two ports need no permission, where that is asked for; their neighbours do. */
static void vmware_ports(void **state)
{
	static const struct {
		bool open;
		uint16_t port;
		bool faults;
	} rows[] = {
		{ false, 0x5658, true }, { false, 0x5659, true }, { true, 0x5657, true }, { true, 0x5658, false },
		{ true, 0x5659, false }, { true, 0x565a, true }, { true, 0x1234, true },
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++) {
		struct rig *r = rig_new();

		rig_protected(r);
		rig_user(r);
		r->cpu->vmware_backdoor = rows[n].open;
		REG(r, R_RDX) = rows[n].port;
		rig_put(r, AT_CODE, "\xed\x0f\x0b", 3);        /* IN EAX,DX; UD2 */
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		assert_true(rig_in_handler(r, rows[n].faults ? X86_GP : X86_UD));
		if (!rows[n].faults)
			assert_int_equal((uint32_t)REG(r, R_RAX), 0xffffffff);
		rig_free(r);
	}
	(void)state;
}

/* What a gate is judged by, in this order: limit, type, DPL (of INT n alone), presence, its segment. */
GUEST(int30, 32, "	int $0x30\n	hlt\n");
GUEST(undefined, 32, "	ud2\n");

static void gates(void **state)
{
	enum { IDT30 = 0x30 * 8 + 2, IDT6 = X86_UD * 8 + 3 };
	static const struct {
		bool user, soft;
		uint16_t sel;
		uint8_t access, vector;
		uint16_t ec;
	} rows[] = {
		{ false, true, CODE32_0, 0x8c, X86_GP, IDT30 },         /* a call gate */
		{ true, true, CODE32_0, 0x0e, X86_GP, IDT30 },          /* DPL before P */
		{ true, true, CODE32_0, 0x6e, X86_NP, IDT30 },
		{ true, true, 0, 0xee, X86_GP, 0 },                     /* null: EXT is clear for INT n */
		{ true, true, NOT_PRESENT, 0xee, X86_GP, NOT_PRESENT }, /* data */
		{ true, true, CODE32_0 + 0x100, 0xee, X86_GP, CODE32_0 + 0x100 },
		{ false, true, CODE32_3, 0x8e, X86_GP, CODE32_3 & ~3 }, /* less privileged */
		{ true, false, CODE32_0, 0x0e, X86_NP, IDT6 },          /* EXT is set for an exception; no DPL */
		{ true, false, 0, 0x8e, X86_GP, 1 },
		{ true, false, TSS_SEL, 0x8e, X86_GP, TSS_SEL | 1 },
		{ false, true, TSS_SEL, 0x85, X86_GP, TSS_SEL },        /* a task gate to a busy TSS */
		{ false, true, 4, 0x85, X86_GP, 4 },                    /* ... into the LDT */
		{ false, false, DATA_0, 0x85, X86_GP, DATA_0 | 1 },     /* ... to no TSS */
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++) {
		struct rig *r = rig_new();

		rig_protected(r);
		if (rows[n].user)
			rig_user(r);
		if (rows[n].soft)
			RIG_CODE(r, AT_CODE, int30);
		else
			RIG_CODE(r, AT_CODE, undefined);
		rig_idt32(r, rows[n].soft ? 0x30 : X86_UD, rows[n].sel, AT_HANDLERS + 0x300, rows[n].access);
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		if (!rig_in_handler(r, rows[n].vector))
			fail_msg("row %u ended at %#llx", n, (unsigned long long)REG(r, R_RIP));
		assert_int_equal(top(r, 0), rows[n].ec);
		assert_int_equal(top(r, 1), AT_CODE);
		rig_free(r);
	}
	(void)state;
}

/* The stack that the TSS names: #TS, or #SS where it is not present or too small.  A task takes the fault. */
static void inner_stacks(void **state)
{
	static const struct {
		uint16_t ss;
		bool soft;
		uint8_t vector;
		uint16_t ec;
	} rows[] = {
		{ 0, true, X86_TS, 0 },
		{ 0, false, X86_TS, 1 },
		{ CODE32_0, true, X86_TS, CODE32_0 },
		{ DATA_3, true, X86_TS, DATA_3 & ~3 },
		{ 0x100, true, X86_TS, 0x100 },
		{ NOT_PRESENT, true, X86_SS, NOT_PRESENT },
		{ NOT_PRESENT, false, X86_SS, NOT_PRESENT | 1 },
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++) {
		struct rig *r = rig_new();

		rig_protected(r);
		rig_user(r);
		rig_write(r, AT_TSS + 8, 2, rows[n].ss);
		rig_write(r, AT_TSS2 + 0x20, 4, AT_CODE2);
		rig_write(r, AT_TSS2 + 0x38, 4, STACK1);
		for (unsigned int s = 0; s < 6; s++)
			rig_write(r, AT_TSS2 + 0x48 + s * 4, 2, s == SEG_CS ? CODE32_0 : DATA_0);
		rig_put(r, AT_CODE2, "\xf4", 1);
		rig_idt32(r, 0x30, CODE32_0, AT_HANDLERS + 0x300, 0xee);
		rig_idt32(r, rows[n].vector, TSS2_SEL, 0, 0x85);
		if (rows[n].soft)
			RIG_CODE(r, AT_CODE, int30);
		else
			RIG_CODE(r, AT_CODE, undefined);
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		assert_true(r->halted);
		assert_int_equal(r->cpu->tr.seg.selector, TSS2_SEL);
		assert_int_equal(top(r, 0), rows[n].ec);
		assert_int_equal(rig_read(r, AT_TSS + 0x20, 4), AT_CODE);
		rig_free(r);
	}
	(void)state;
}

/* ------------------------------------------------------------ two faults */

#define HOLE 0x200000                   /* 4 KiB pages from here on: the first two are not present */
#define AT_PT (AT_TABLES + 0x4000)

static void punch_hole(struct rig *r)
{
	for (unsigned int n = 2; n < 512; n++)
		rig_write(r, AT_PT + n * 8, 8, (HOLE + n * 0x1000) | 7);
	rig_write(r, AT_TABLES + 0x2000 + 8, 8, AT_PT | 7);
	mmu_flush_all(r->cpu);
}

/* An IDT whose gates below @first lie in the hole. */
static void idt_in_hole(struct rig *r, unsigned int first)
{
	uint64_t base = HOLE + 0x2000 - first * 16;

	punch_hole(r);
	for (unsigned int v = first; v < 32; v++) {
		rig_write(r, base + v * 16, 8, gate(CODE64_0, AT_HANDLERS + v * 16, 0x8e, 0));
		rig_write(r, base + v * 16 + 8, 8, 0);
	}
	r->cpu->idt.base = base;
}

GUEST(divide, 64, "	xor %ecx, %ecx\n	div %ecx\n");
GUEST(not_present, 64, "	mov $0x200000, %eax\n	mov (%rax), %eax\n");
GUEST(undefined64, 64, "	ud2\n");

/* Contributory, then a page fault: one after the other. */
static void page_fault_behind_contributory(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	idt_in_hole(r, 8);
	RIG_CODE(r, AT_CODE, divide);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_PF));
	assert_int_equal(top64(r, 0), 0);
	assert_int_equal(top64(r, 1), AT_CODE + 2);
	assert_int_equal(r->cpu->cr2, r->cpu->idt.base);
}

static void page_fault_behind_benign(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	idt_in_hole(r, 8);
	RIG_CODE(r, AT_CODE, undefined64);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_PF));
	assert_int_equal(r->cpu->cr2, r->cpu->idt.base + X86_UD * 16);
}

/* A page fault, then a contributory one: double. */
static void contributory_behind_page_fault(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	punch_hole(r);
	rig_idt64(r, X86_PF, CODE64_0, AT_HANDLERS, 0x0e, 0);
	RIG_CODE(r, AT_CODE, not_present);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_DF));
	assert_int_equal(top64(r, 0), 0);
	assert_int_equal(top64(r, 1), AT_CODE + 5);
	assert_int_equal(r->cpu->cr2, HOLE);
}

/* A page fault in the delivery of a double fault is the end; a benign fault's absent gate in it too. */
static void third_fault(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	idt_in_hole(r, 15);
	RIG_CODE(r, AT_CODE, divide);
	assert_int_equal(rig_run(r), X86_RUN_SHUTDOWN);

	rig_long(r);
	rig_idt64(r, X86_DE, CODE64_0, AT_HANDLERS, 0x0e, 0);
	rig_idt64(r, X86_DF, CODE64_0, AT_HANDLERS, 0x0e, 0);
	assert_int_equal(rig_run(r), X86_RUN_SHUTDOWN);
}

/* ------------------------------------------------------------ alignment */

GUEST(misaligned, 64, "	mov 1(%rbx), %eax\n	int $0x30\n");
GUEST(misaligned_byte, 64, "	mov 1(%rbx), %al\n	int $0x30\n");

static void alignment(void **state)
{
	static const struct {
		const uint8_t *code;
		bool user, ac, am;
		uint64_t rbx;
		uint8_t vector;
	} rows[] = {
		{ misaligned, true, true, true, AT_DATA, X86_AC },
		{ misaligned, true, true, true, AT_DATA + 3, 0x30 },
		{ misaligned_byte, true, true, true, AT_DATA, 0x30 },
		{ misaligned, true, false, true, AT_DATA, 0x30 },
		{ misaligned, true, true, false, AT_DATA, 0x30 },
		{ misaligned, false, true, true, AT_DATA, 0x30 },
		{ misaligned, true, true, true, HOLE, X86_AC },         /* before the page fault */
		{ misaligned, true, true, true, 1ULL << 47, X86_GP },   /* after the address itself */
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++) {
		struct rig *r = rig_new();

		rig_long(r);
		punch_hole(r);
		if (rows[n].user)
			rig_user(r);
		rig_idt64(r, 0x30, CODE64_0, AT_HANDLERS + 0x300, 0xee, 0);
		rig_put(r, AT_CODE, rows[n].code, 5);
		x86_apply_cr0(r->cpu, (r->cpu->cr0 & ~CR0_AM) | (rows[n].am ? CR0_AM : 0));
		x86_set_rflags(r->cpu, 2 | (rows[n].ac ? FL_AC : 0));
		REG(r, R_RBX) = rows[n].rbx;
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		if (!rig_in_handler(r, rows[n].vector))
			fail_msg("row %u ended at %#llx", n, (unsigned long long)REG(r, R_RIP));
		if (rows[n].vector == X86_AC)
			assert_int_equal(top64(r, 0), 0);
		rig_free(r);
	}
	(void)state;
}

/* ------------------------------------------------------------ the end of a segment */

static const uint8_t six_nops_and_more[] = { 0x90, 0x90, 0x90, 0x90, 0xb8, 1, 0, 0, 0, 0xf4 };

/* Code that runs off its segment's end, between instructions or within one: #GP there. */
static void code_limit(void **state)
{
	static const struct { uint32_t limit, rip; } rows[] = {
		{ 0x8008, 0x8009 }, { 0x8007, 0x8004 }, { 0x8004, 0x8004 }, { 0x8003, 0x8004 }, { 0x8001, 0x8002 },
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++)
		for (int warm = 0; warm < 2; warm++) {
			struct rig *r = rig_new();

			rig_protected(r);
			rig_put(r, AT_CODE, six_nops_and_more, sizeof(six_nops_and_more));
			if (warm) {     /* decoded before, under a larger limit */
				assert_int_equal(rig_run(r), X86_RUN_EXIT);
				assert_int_equal(REG(r, R_RIP), AT_CODE + 10);
				REG(r, R_RIP) = AT_CODE;
			}
			REG(r, R_RAX) = 0;
			r->cpu->seg[SEG_CS].limit = rows[n].limit;
			assert_int_equal(rig_run(r), X86_RUN_EXIT);
			assert_true(rig_in_handler(r, X86_GP));
			assert_int_equal(top(r, 0), 0);
			assert_int_equal(top(r, 1), rows[n].rip);
			assert_int_equal(REG(r, R_RAX), rows[n].rip == 0x8009);
			rig_free(r);
		}
	(void)state;
}

/* ------------------------------------------------------------ RDPMC */

static int count_pmc(struct x86_cpu *cpu, uint32_t index, uint64_t *value)
{
	*value = 0x1122334455667788;
	return index != 3;
}

/* A counter is the kernel's, but with CR4.PCE and in real mode: #GP(0), in virtual-8086 mode too.  SDM 2B, RDPMC. */
static void rdpmc_levels(void **state)
{
	enum { REAL, PROTECTED, USER32, VM86, LONG, USER64, MODES };

	for (unsigned int n = 0; n < MODES * 4; n++) {
		unsigned int mode = n / 4, index = n & 1 ? 3 : 4;
		bool pce = n & 2, open = mode == REAL || mode == PROTECTED || mode == LONG || pce;
		struct rig *r = rig_new();
		struct x86_env env = *r->cpu->env;
		bool wide = mode >= LONG;

		env.rdpmc = count_pmc;
		r->cpu->env = &env;
		(mode == REAL ? rig_real : wide ? rig_long : rig_protected)(r);
		x86_apply_cr4(r->cpu, r->cpu->cr4 | (pce ? CR4_PCE : 0));
		/* rdpmc; #UD behind it: HLT is not for everyone. */
		rig_put(r, AT_CODE, "\x0f\x33\x0f\x0b", 4);
		if (mode == USER32 || mode == USER64)
			rig_user(r);
		if (mode == VM86) {
			for (int s = 0; s < SEG_COUNT; s++) {
				r->cpu->seg[s] = (struct x86_seg){ .limit = 0xffff, .type = 3, .s = true, .present = true,
								   .dpl = 3 };
				*seg_base(r->cpu, s) = 0;
			}
			x86_set_rflags(r->cpu, FL_VM | 2);
			REG(r, R_RSP) = 0x7000;
		}
		x86_update_mode(r->cpu);
		REG(r, R_RCX) = index;
		REG(r, R_RAX) = REG(r, R_RDX) = ~0ULL;
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		if (!rig_in_handler(r, open && index == 3 ? X86_UD : X86_GP))
			fail_msg("mode %u, PCE %u, counter %u: ended at %#llx", mode, pce, index,
				 (unsigned long long)REG(r, R_RIP));
		if (open && index == 3) {
			assert_int_equal(REG(r, R_RAX), 0x55667788);
			assert_int_equal(REG(r, R_RDX), 0x11223344);
		} else {
			assert_true(REG(r, R_RAX) == ~0ULL);
			if (mode != REAL)
				assert_int_equal(rig_read(r, REG(r, R_RSP), 4), 0);
		}
		rig_free(r);
	}
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(priority),
		cmocka_unit_test(rdpmc_levels),
		cmocka_unit_test(vmware_ports),
		cmocka_unit_test(gates),
		cmocka_unit_test(inner_stacks),
		RIG_TEST(page_fault_behind_contributory),
		RIG_TEST(page_fault_behind_benign),
		RIG_TEST(contributory_behind_page_fault),
		RIG_TEST(third_fault),
		cmocka_unit_test(alignment),
		cmocka_unit_test(code_limit),
	};

	return cmocka_run_group_tests_name("faults", tests, NULL, NULL);
}
