/* SPDX-License-Identifier: MIT */
/* Control and debug registers. */
#include <Zydis/Zydis.h>
#include <errno.h>

#include "x86/cpu/control.h"
#include "x86/cpu/debug.h"
#include "x86/cpu/exception.h"
#include "x86/cpu/insn/plain.h"
#include "x86/cpu/mem.h"
#include "x86/cpu/vec.h"
#include "x86/features.h"
#include "x86/mmu/mmu.h"

/* ------------------------------------------------------------------ MOV CR */

static void check(struct x86_cpu *cpu, int status)
{
	if (status)
		x86_raise_ec(cpu, X86_GP, 0);
}

/* 64 bits in 64-bit mode, else 32, whatever the prefixes. */
static uint64_t gpr_in(const struct x86_cpu *cpu, uint8_t n)
{
	return cpu->mode == CODE64 ? cpu->regs[n] : (uint32_t)cpu->regs[n];
}

static void gpr_out(struct x86_cpu *cpu, uint8_t n, uint64_t v)
{
	cpu->regs[n] = cpu->mode == CODE64 ? v : (uint32_t)v;
}

static void ask_read(struct x86_cpu *cpu, const struct insn *i, unsigned int n)
{
	at(cpu, i);
	x86_intercept(cpu, i, ICPT_CR_READ, n | (uint64_t)i->dst << 8);
}

/* The value to be written to CR@n, once L1 has been asked. */
static uint64_t ask_write(struct x86_cpu *cpu, const struct insn *i, unsigned int n)
{
	uint64_t value = gpr_in(cpu, i->src);

	if (!x86_icpt(cpu, ICPT_CR_WRITE))
		return value;
	x86_vec_put(cpu);
	return cpu->nested.ops->cr_write(cpu, n, value, X86_CR_MOV, i->src);
}

static void read_cr0(struct x86_cpu *cpu, const struct insn *i)
{
	ask_read(cpu, i, 0);
	gpr_out(cpu, i->dst, x86_seen_cr0(cpu));
	NEXT(cpu, i);
}

static void read_cr2(struct x86_cpu *cpu, const struct insn *i)
{
	ask_read(cpu, i, 2);
	gpr_out(cpu, i->dst, cpu->cr2);
	NEXT(cpu, i);
}

static void read_cr3(struct x86_cpu *cpu, const struct insn *i)
{
	ask_read(cpu, i, 3);
	gpr_out(cpu, i->dst, cpu->cr3);
	NEXT(cpu, i);
}

static void read_cr4(struct x86_cpu *cpu, const struct insn *i)
{
	ask_read(cpu, i, 4);
	gpr_out(cpu, i->dst, x86_seen_cr4(cpu));
	NEXT(cpu, i);
}

static void read_cr8(struct x86_cpu *cpu, const struct insn *i)
{
	ask_read(cpu, i, 8);
	x86_vec_put(cpu);
	gpr_out(cpu, i->dst, cpu->env->get_cr8(cpu));
	NEXT(cpu, i);
}

static void write_cr0(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	check(cpu, x86_set_cr0(cpu, ask_write(cpu, i, 0)));
	NEXT(cpu, i);
}

static void write_cr2(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	cpu->cr2 = ask_write(cpu, i, 2);
	NEXT(cpu, i);
}

static void write_cr3(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	check(cpu, x86_set_cr3(cpu, ask_write(cpu, i, 3)));
	NEXT(cpu, i);
}

static void write_cr4(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	check(cpu, x86_set_cr4(cpu, ask_write(cpu, i, 4)));
	NEXT(cpu, i);
}

static void write_cr8(struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t v = gpr_in(cpu, i->src);

	at(cpu, i);
	check(cpu, v > 15 ? -EINVAL : 0);
	ask_write(cpu, i, 8);
	x86_vec_put(cpu);
	cpu->env->set_cr8(cpu, v);
	NEXT(cpu, i);
}

static insn_fn *const cr_read[16] = {
	[0] = read_cr0, [2] = read_cr2, [3] = read_cr3, [4] = read_cr4, [8] = read_cr8,
};
static insn_fn *const cr_write[16] = {
	[0] = write_cr0, [2] = write_cr2, [3] = write_cr3, [4] = write_cr4, [8] = write_cr8,
};

static bool is_class(const struct insn_build *b, int n, ZydisRegisterClass class)
{
	return build_is_reg(b, n) && ZydisRegisterGetClass(b->op[n].reg.value) == class;
}

static int reg_id(const struct insn_build *b, int n)
{
	return ZydisRegisterGetId(b->op[n].reg.value) & 15;
}

static int build_read_cr(struct insn *i, const struct insn_build *b)
{
	if (!is_class(b, 1, ZYDIS_REGCLASS_CONTROL))
		return -ENOENT;
	i->dst = build_gpr(b, 0);
	i->fn = cr_read[reg_id(b, 1)];
	return i->fn ? 0 : -ENOENT;
}

static int build_write_cr(struct insn *i, const struct insn_build *b)
{
	if (!is_class(b, 0, ZYDIS_REGCLASS_CONTROL))
		return -ENOENT;
	i->src = build_gpr(b, 1);
	i->fn = cr_write[reg_id(b, 0)];
	return i->fn ? 0 : -ENOENT;
}

/* ------------------------------------------------------------------ MOV DR */

/* DR4 and DR5 are names of DR6 and DR7 unless CR4.DE; SDM 3B, 17.2.2. */
static void dr_guard(struct x86_cpu *cpu, unsigned int n)
{
	if ((n == 4 || n == 5) && (cpu->cr4 & CR4_DE))
		x86_raise(cpu, X86_UD);
	if (x86_debug_dr7(cpu) & DR7_GD)
		x86_raise_db_fault(cpu, DR6_BD);
}

static void read_dr(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	x86_intercept(cpu, i, ICPT_DR, i->src | (uint64_t)i->dst << 8);
	dr_guard(cpu, i->src);
	gpr_out(cpu, i->dst, x86_get_dr(cpu, i->src));
	NEXT(cpu, i);
}

static void write_dr(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	x86_intercept(cpu, i, ICPT_DR, i->dst | (uint64_t)i->src << 8 | 1u << 16);
	dr_guard(cpu, i->dst);
	check(cpu, x86_set_dr(cpu, i->dst, gpr_in(cpu, i->src)));
	NEXT(cpu, i);
}

static int build_read_dr(struct insn *i, const struct insn_build *b)
{
	if (!is_class(b, 1, ZYDIS_REGCLASS_DEBUG) || reg_id(b, 1) > 7)
		return -ENOENT;
	i->dst = build_gpr(b, 0);
	i->src = reg_id(b, 1);
	i->fn = read_dr;
	return 0;
}

static int build_write_dr(struct insn *i, const struct insn_build *b)
{
	if (!is_class(b, 0, ZYDIS_REGCLASS_DEBUG) || reg_id(b, 0) > 7)
		return -ENOENT;
	i->dst = reg_id(b, 0);
	i->src = build_gpr(b, 1);
	i->fn = write_dr;
	return 0;
}

/* ---------------------------------------------------------- CLTS, LMSW, SMSW */

/* The same for CLTS and LMSW. */
static uint64_t ask_write_cr0(struct x86_cpu *cpu, uint64_t value, enum x86_cr_how how)
{
	if (!x86_icpt(cpu, ICPT_CR_WRITE))
		return value;
	x86_vec_put(cpu);
	return cpu->nested.ops->cr_write(cpu, 0, value, how, 0);
}

static void clts(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	x86_apply_cr0(cpu, ask_write_cr0(cpu, cpu->cr0 & ~CR0_TS, X86_CR_CLTS));
	NEXT(cpu, i);
}

/* LMSW can set PE but not clear it. */
static void lmsw(struct x86_cpu *cpu, const struct insn *i)
{
	uint16_t v;

	at(cpu, i);
	v = i->memsize ? ld16(cpu, ea(cpu, i, 2, false)) : reg16(cpu, i->src);
	check(cpu, x86_set_cr0(cpu, ask_write_cr0(cpu, (cpu->cr0 & ~(CR0_MP | CR0_EM | CR0_TS)) | (v & 15), X86_CR_LMSW)));
	NEXT(cpu, i);
}

static int build_lmsw(struct insn *i, const struct insn_build *b)
{
	if (build_is_mem(b, 0))
		build_mem(i, b, 0);
	else
		i->src = build_gpr(b, 0);
	i->fn = lmsw;
	return 0;
}

static void umip_check(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	if ((cpu->cr4 & CR4_UMIP) && cpu->cpl)
		x86_raise_ec(cpu, X86_GP, 0);
}

static void smsw_m(struct x86_cpu *cpu, const struct insn *i)
{
	umip_check(cpu, i);
	x86_intercept(cpu, i, ICPT_CR_READ, ICPT_CR_SMSW);
	st16(cpu, ea(cpu, i, 2, true), (uint16_t)x86_seen_cr0(cpu));
	NEXT(cpu, i);
}

static void smsw_r(struct x86_cpu *cpu, const struct insn *i)
{
	umip_check(cpu, i);
	x86_intercept(cpu, i, ICPT_CR_READ, ICPT_CR_SMSW);
	if (i->opsize == 2)
		reg16(cpu, i->dst) = (uint16_t)x86_seen_cr0(cpu);
	else
		cpu->regs[i->dst] = (uint32_t)x86_seen_cr0(cpu);
	NEXT(cpu, i);
}

static int build_smsw(struct insn *i, const struct insn_build *b)
{
	if (build_is_mem(b, 0)) {
		build_mem(i, b, 0);
		i->fn = smsw_m;
	} else {
		i->opsize = build_opsize(b, 0);
		i->dst = build_gpr(b, 0);
		i->fn = smsw_r;
	}
	return 0;
}

/* ---------------------------------------------------------- XGETBV, XSETBV */

static void osxsave_check(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	if (!(cpu->cr4 & CR4_OSXSAVE))
		x86_raise(cpu, X86_UD);
}

/* XCR 1 reads as the components in use; the image's header knows them. */
static uint64_t xinuse(struct x86_cpu *cpu)
{
	const uint8_t *image;

	x86_vec_put(cpu);
	image = vec_xsave_image(cpu->vec);
	return (*(const uint64_t *)(image + 512) | (cpu->pkru ? 1u << 9 : 0)) & cpu->xcr0;
}

static void xgetbv(struct x86_cpu *cpu, const struct insn *i)
{
	uint32_t index = (uint32_t)cpu->regs[R_RCX];
	uint64_t v;

	osxsave_check(cpu, i);
	if (index > 1 || (index && !x86_has(cpu, X86_F_XGETBV1)))
		x86_raise_ec(cpu, X86_GP, 0);
	v = index ? xinuse(cpu) : cpu->xcr0;
	set_reg32(cpu, R_RAX, v);
	set_reg32(cpu, R_RDX, v >> 32);
	NEXT(cpu, i);
}

static void xsetbv(struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t v = (uint32_t)cpu->regs[R_RAX] | cpu->regs[R_RDX] << 32;

	osxsave_check(cpu, i);
	if (cpu->cpl)
		x86_raise_ec(cpu, X86_GP, 0);
	x86_intercept(cpu, i, ICPT_XSETBV, 0);
	check(cpu, x86_set_xcr(cpu, (uint32_t)cpu->regs[R_RCX], v));
	NEXT(cpu, i);
}

/* ---------------------------------------------------------- RDPKRU, WRPKRU */

static void pkru_check(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	if (!(cpu->cr4 & CR4_PKE))
		x86_raise(cpu, X86_UD);
	if ((uint32_t)cpu->regs[R_RCX])
		x86_raise_ec(cpu, X86_GP, 0);
}

static void rdpkru(struct x86_cpu *cpu, const struct insn *i)
{
	pkru_check(cpu, i);
	cpu->regs[R_RAX] = cpu->pkru;
	cpu->regs[R_RDX] = 0;
	NEXT(cpu, i);
}

static void wrpkru(struct x86_cpu *cpu, const struct insn *i)
{
	pkru_check(cpu, i);
	if ((uint32_t)cpu->regs[R_RDX])
		x86_raise_ec(cpu, X86_GP, 0);
	cpu->pkru = (uint32_t)cpu->regs[R_RAX];
	mmu_pkey_changed(cpu);
	NEXT(cpu, i);
}

static const struct insn_row rows[] = {
	{ ZYDIS_MNEMONIC_MOV, 0, ROW_CPL0, 0, build_read_cr, NULL },
	{ ZYDIS_MNEMONIC_MOV, 0, ROW_CPL0 | ROW_SERIAL, 0, build_write_cr, NULL },
	{ ZYDIS_MNEMONIC_MOV, 0, ROW_CPL0, 0, build_read_dr, NULL },
	{ ZYDIS_MNEMONIC_MOV, 0, ROW_CPL0 | ROW_SERIAL, 0, build_write_dr, NULL },
	{ ZYDIS_MNEMONIC_CLTS, 0, ROW_CPL0, 0, build_plain, PLAIN(clts) },
	{ ZYDIS_MNEMONIC_LMSW, 0, ROW_CPL0 | ROW_SERIAL, 0, build_lmsw, NULL },
	{ ZYDIS_MNEMONIC_SMSW, 0, 0, 0, build_smsw, NULL },
	{ ZYDIS_MNEMONIC_XGETBV, X86_F_XSAVE, 0, 0, build_plain, PLAIN(xgetbv) },
	{ ZYDIS_MNEMONIC_XSETBV, X86_F_XSAVE, ROW_BARRIER, 0, build_plain, PLAIN(xsetbv) },
	{ ZYDIS_MNEMONIC_RDPKRU, X86_F_PKU, 0, 0, build_plain, PLAIN(rdpkru) },
	{ ZYDIS_MNEMONIC_WRPKRU, X86_F_PKU, 0, 0, build_plain, PLAIN(wrpkru) },
};

const struct insn_rows insn_rows_cr = { rows, ARRAY_SIZE(rows) };
