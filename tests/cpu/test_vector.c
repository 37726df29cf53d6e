/* SPDX-License-Identifier: MIT */
/* AMD's additions to SSE: operands that lie anywhere by MXCSR.MM, and FXSAVE without XMM by EFER.FFXSR. */
#include "rig.h"

#include "x86/cpu/vec.h"
#include "x86/features.h"
#include "x86/mmu/mmu.h"

#define PAGE_TABLE (AT_TABLES + 0x4000)
#define TWO_MIB 0x200000
#define MXCSR 0x1f80u
#define MM 0x20000u
#define CODE(name) name, name##_end

static void with_sse(struct rig *r)
{
	rig_long(r);
	x86_apply_cr4(r->cpu, CR4_PAE | CR4_OSFXSR | CR4_OSXSAVE);
	r->cpu->xcr0 = 3;
	x86_update_mode(r->cpu);
}

/* ------------------------------------------------------------ MXCSR.MM */

GUEST(use_mxcsr, 64, "	ldmxcsr (%rsi)\n	stmxcsr 4(%rsi)\n	fxsave64 64(%rsi)\n	hlt\n");
GUEST(restore, 64, "	ldmxcsr (%rsi)\n	fxrstor64 64(%rsi)\n	hlt\n");

/* The bit exists where CPUID has the feature; else it is reserved as others are.  FXSAVE tells which it is. */
static void mm_exists(void **state)
{
	for (int has = 0; has < 2; has++) {
		struct rig *r = rig_new();

		if (!has)
			rig_without(r, X86_F_MISALIGNSSE);
		with_sse(r);
		REG(r, R_RSI) = AT_DATA;
		rig_write(r, AT_DATA, 4, MXCSR | MM);
		RIG_CODE(r, AT_CODE, use_mxcsr);
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		assert_int_equal(rig_in_handler(r, X86_GP), !has);
		if (has) {
			assert_int_equal(rig_read(r, AT_DATA + 4, 4), MXCSR | MM);
			assert_int_equal(rig_read(r, AT_DATA + 64 + 24, 4), MXCSR | MM);
		}

		REG(r, R_RIP) = AT_CODE;
		rig_write(r, AT_DATA, 4, MXCSR);
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		assert_int_equal(rig_read(r, AT_DATA + 4, 4), MXCSR);
		assert_int_equal(rig_read(r, AT_DATA + 64 + 24, 4), MXCSR);
		assert_int_equal(rig_read(r, AT_DATA + 64 + 28, 4), has ? 0x2ffff : 0xffff);

		REG(r, R_RIP) = AT_CODE;
		RIG_CODE(r, AT_CODE, restore);
		rig_write(r, AT_DATA + 64 + 24, 4, MXCSR | MM);
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		assert_int_equal(rig_in_handler(r, X86_GP), !has);
		rig_free(r);
	}
	(void)state;
}

GUEST(load_op, 64, "	ldmxcsr (%rsi)\n	paddd (%rbx), %xmm0\n	int $0x30\n");
GUEST(load_op_fs, 64, "	ldmxcsr (%rsi)\n	paddd %fs:(%rbx), %xmm0\n	int $0x30\n");
GUEST(float_op, 64, "	ldmxcsr (%rsi)\n	addps (%rbx), %xmm0\n	int $0x30\n");
GUEST(move, 64, "	ldmxcsr (%rsi)\n	movaps (%rbx), %xmm0\n	int $0x30\n");
GUEST(store, 64, "	ldmxcsr (%rsi)\n	movdqa %xmm0, (%rbx)\n	int $0x30\n");
GUEST(streaming, 64, "	ldmxcsr (%rsi)\n	movntps %xmm0, (%rbx)\n	int $0x30\n");
GUEST(streaming_load, 64, "	ldmxcsr (%rsi)\n	movntdqa (%rbx), %xmm0\n	int $0x30\n");

/* The second half of the 2 MiB behind the tables is not there. */
static void half_a_page_table(struct rig *r)
{
	rig_write(r, AT_TABLES + 0x2000 + 8, 8, PAGE_TABLE | 7);
	for (unsigned int n = 0; n < 256; n++)
		rig_write(r, PAGE_TABLE + n * 8, 8, (TWO_MIB + n * 0x1000) | 7);
	mmu_flush_all(r->cpu);
}
#define HALF_END (TWO_MIB + 0x100000)

static void misaligned(void **state)
{
	static const struct {
		const uint8_t *code, *end;
		bool mm, ac, am, user;
		uint64_t rbx;
		uint8_t vector;         /* 0x30: it went through */
	} rows[] = {
		{ CODE(load_op), false, false, false, false, AT_DATA + 0x100, 0x30 },
		{ CODE(load_op), false, false, false, false, AT_DATA + 0x101, X86_GP },
		{ CODE(load_op), true, false, false, false, AT_DATA + 0x101, 0x30 },
		{ CODE(load_op), true, false, false, true, AT_DATA + 0x108, 0x30 },
		{ CODE(load_op), true, true, true, true, AT_DATA + 0x100, 0x30 },
		{ CODE(load_op), true, true, true, true, AT_DATA + 0x108, X86_AC },
		{ CODE(load_op), true, true, false, true, AT_DATA + 0x108, 0x30 },
		{ CODE(load_op), true, true, true, false, AT_DATA + 0x108, 0x30 },
		{ CODE(load_op), false, true, true, true, AT_DATA + 0x108, X86_GP },
		{ CODE(load_op), true, true, true, true, (1ULL << 47) + 8, X86_GP },
		{ CODE(load_op), true, false, false, false, AT_DATA + 0xff8, 0x30 },    /* over a page's end */
		{ CODE(load_op), true, false, false, false, HALF_END - 8, X86_PF },
		{ CODE(load_op), true, true, true, true, HALF_END - 8, X86_AC },
		{ CODE(load_op_fs), true, false, false, false, AT_DATA + 0x101, 0x30 },
		{ CODE(load_op_fs), false, false, false, false, AT_DATA + 0x101, X86_GP },
		{ CODE(float_op), true, false, false, false, AT_DATA + 0x104, 0x30 },
		{ CODE(float_op), false, false, false, false, AT_DATA + 0x104, X86_GP },
		/* Those that are about alignment. */
		{ CODE(move), true, false, false, false, AT_DATA + 0x101, X86_GP },
		{ CODE(store), true, false, false, false, AT_DATA + 0x101, X86_GP },
		{ CODE(streaming), true, false, false, false, AT_DATA + 0x101, X86_GP },
		{ CODE(streaming_load), true, false, false, false, AT_DATA + 0x101, X86_GP },
		{ CODE(move), true, false, false, false, AT_DATA + 0x110, 0x30 },
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++) {
		struct rig *r = rig_new();
		uint8_t *xmm0 = (uint8_t *)vec_xsave_image(r->cpu->vec) + 160;

		with_sse(r);
		half_a_page_table(r);
		if (rows[n].user)
			rig_user(r);
		rig_idt64(r, 0x30, CODE64_0, AT_HANDLERS + 0x300, 0xee, 0);
		rig_put(r, AT_CODE, rows[n].code, (size_t)(rows[n].end - rows[n].code));
		x86_apply_cr0(r->cpu, (r->cpu->cr0 & ~CR0_AM) | (rows[n].am ? CR0_AM : 0));
		x86_set_rflags(r->cpu, 2 | (rows[n].ac ? FL_AC : 0));
		REG(r, R_RSI) = AT_DATA;
		REG(r, R_RBX) = rows[n].rbx;
		rig_write(r, AT_DATA, 4, rows[n].mm ? MXCSR | MM : MXCSR);
		for (unsigned int k = 0; k < 16 && rows[n].rbx < RAM_SIZE - 16; k++)
			r->ram[rows[n].rbx + k] = 0x10 + k;
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		if (!rig_in_handler(r, rows[n].vector))
			fail_msg("row %u ended at %#llx", n, (unsigned long long)REG(r, R_RIP));
		/* Nothing but what lay there was added to zero, or nothing was. */
		x86_vec_put(r->cpu);
		for (unsigned int k = 0; k < 16; k++)
			assert_int_equal(xmm0[k], rows[n].vector == 0x30 ? 0x10 + k : 0);
		rig_free(r);
	}
	(void)state;
}

/* ------------------------------------------------------------ EFER.FFXSR */

GUEST(save64, 64, "	fxsave (%rbx)\n	int $0x30\n");
GUEST(save64w, 64, "	fxsave64 (%rbx)\n	int $0x30\n");
GUEST(save32, 32, "	fxsave (%ebx)\n	int $0x30\n");
GUEST(load64, 64, "	fxrstor (%rbx)\n	int $0x30\n");
GUEST(load64w, 64, "	fxrstor64 (%rbx)\n	int $0x30\n");

static void fast_save(void **state)
{
	static const struct {
		const uint8_t *code, *end;
		bool ffxsr, user, load, xmm;    /* xmm: are the registers saved, loaded? */
	} rows[] = {
		{ CODE(save64), false, false, false, true }, { CODE(load64w), false, false, true, true },
		{ CODE(save64), true, false, false, false }, { CODE(save64w), true, false, false, false },
		{ CODE(load64), true, false, true, false }, { CODE(load64w), true, false, true, false },
		{ CODE(save64), true, true, false, true }, { CODE(load64w), true, true, true, true },
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++) {
		struct rig *r = rig_new();
		uint8_t *image = vec_xsave_image(r->cpu->vec);

		with_sse(r);
		if (rows[n].user)
			rig_user(r);
		if (rows[n].ffxsr)
			r->cpu->efer |= EFER_FFXSR;
		rig_idt64(r, 0x30, CODE64_0, AT_HANDLERS + 0x300, 0xee, 0);
		rig_put(r, AT_CODE, rows[n].code, (size_t)(rows[n].end - rows[n].code));
		memset(image + 160, 0x77, 256);
		memset(r->ram + AT_DATA, 0, 512);
		rig_write(r, AT_DATA, 2, 0x27f);
		rig_write(r, AT_DATA + 24, 4, 0x1fa0);
		memset(r->ram + AT_DATA + 160, 0x55, 256);
		REG(r, R_RBX) = AT_DATA;
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		assert_true(rig_in_handler(r, 0x30));
		x86_vec_put(r->cpu);
		for (unsigned int k = 160; k < 416; k++) {
			assert_int_equal(r->ram[AT_DATA + k], rows[n].load || !rows[n].xmm ? 0x55 : 0x77);
			assert_int_equal(image[k], rows[n].load && rows[n].xmm ? 0x55 : 0x77);
		}
		/* The x87's control word and MXCSR go with either. */
		assert_int_equal(rig_read(r, AT_DATA, 2), rows[n].load ? 0x27f : 0x37f);
		assert_int_equal(rig_read(r, AT_DATA + 24, 4), rows[n].load ? 0x1fa0 : 0x1f80);
		assert_int_equal(*(uint16_t *)image, rows[n].load ? 0x27f : 0x37f);
		assert_int_equal(*(uint32_t *)(image + 24), rows[n].load ? 0x1fa0 : 0x1f80);
		rig_free(r);
	}
	(void)state;
}

/* Compatibility mode is not 64-bit mode. */
static void fast_save_32(void **state)
{
	struct rig *r = *state;

	with_sse(r);
	r->cpu->efer |= EFER_FFXSR;
	rig_load_seg(r, SEG_CS, CODE32_0);
	x86_update_mode(r->cpu);
	RIG_CODE(r, AT_CODE, save32);
	rig_idt64(r, 0x30, CODE64_0, AT_HANDLERS + 0x300, 0xee, 0);
	memset((uint8_t *)vec_xsave_image(r->cpu->vec) + 160, 0x77, 256);
	REG(r, R_RBX) = AT_DATA;
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, 0x30));
	assert_int_equal(r->ram[AT_DATA + 160], 0x77);
	assert_int_equal(r->ram[AT_DATA + 287], 0x77);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mm_exists),
		cmocka_unit_test(misaligned),
		cmocka_unit_test(fast_save),
		RIG_TEST(fast_save_32),
	};

	return cmocka_run_group_tests_name("vector", tests, NULL, NULL);
}
