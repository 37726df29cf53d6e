/* SPDX-License-Identifier: MIT */
/* Software interrupts.  SDM 2A, INT n; in virtual-8086 mode 3A, 20.3. */
#include <Zydis/Zydis.h>
#include <errno.h>

#include "x86/cpu/exception.h"
#include "x86/cpu/insn/plain.h"
#include "x86/cpu/mem.h"
#include "x86/cpu/segment.h"

#define IOPL(cpu) (((cpu)->rflags >> 12) & 3)

/* The bitmap of 32 bytes below the I/O bitmap: a clear bit sends INT n to the 8086 program's own handler. */
static bool vme_redirects(struct x86_cpu *cpu, uint8_t vector)
{
	uint32_t limit = cpu->tr.seg.limit, off;

	if (!(cpu->cr4 & CR4_VME) || limit < 103)
		return false;
	off = (uint32_t)sys_load(cpu, cpu->tr.base + 102, 2) - 32 + vector / 8;
	if (off > limit)
		return false;
	return !(sys_load(cpu, cpu->tr.base + off, 1) >> (vector % 8) & 1);
}

/* As in real mode, VIF standing in for IF where IOPL is below 3. */
static void redirect(struct x86_cpu *cpu, const struct insn *i, uint8_t vector)
{
	uint64_t flags = x86_get_rflags(cpu), saved = flags;
	uint32_t entry = (uint32_t)sys_load(cpu, vector * 4u, 4);
	bool virtual_if = IOPL(cpu) < 3;
	struct x86_frame f;

	if (virtual_if)
		saved = (saved & ~(uint64_t)FL_IF) | FL_IOPL | (flags & FL_VIF ? FL_IF : 0);
	x86_frame_here(cpu, &f, 2, false, 0);
	x86_frame_push(cpu, &f, saved);
	x86_frame_push(cpu, &f, cpu->seg[SEG_CS].selector);
	x86_frame_push(cpu, &f, insn_next_rip(cpu, i));
	x86_frame_commit(cpu, &f);

	x86_frame_set_sp(cpu, &f);
	x86_seg_load_real(cpu, SEG_CS, entry >> 16);
	cpu->regs[R_RIP] = entry & 0xffff;
	x86_set_rflags(cpu, flags & ~(uint64_t)((virtual_if ? FL_VIF : FL_IF) | FL_TF | FL_NT));
}

static void op_int(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	x86_intercept(cpu, i, ICPT_INTN, i->imm);
	if (x86_protected(cpu) && x86_vm86(cpu)) {
		if (vme_redirects(cpu, (uint8_t)i->imm)) {
			redirect(cpu, i, (uint8_t)i->imm);
			return;
		}
		if (IOPL(cpu) < 3)
			x86_raise_ec(cpu, X86_GP, 0);
	}
	x86_raise_soft(cpu, i, (uint8_t)i->imm);
}

static int build_int(struct insn *i, const struct insn_build *b)
{
	i->imm = build_imm(b, 0) & 0xff;
	i->aux = 1;             /* for x86_raise_soft() */
	i->fn = op_int;
	return 0;
}

static void op_int3(struct x86_cpu *cpu, const struct insn *i)
{
	x86_raise_soft(cpu, i, X86_BP);
}

static void op_into(struct x86_cpu *cpu, const struct insn *i)
{
	if (cpu->fl & AX_OF)
		x86_raise_soft(cpu, i, X86_OF);
	cpu->regs[R_RIP] = insn_next_rip(cpu, i);
}

/* Like a debug trap: no gate is too privileged for it, and DR6 is left alone. */
static void op_int1(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	x86_intercept(cpu, i, ICPT_ICEBP, 0);
	cpu->regs[R_RIP] = insn_next_rip(cpu, i);
	x86_raise_db_trap(cpu, 0);
}

static const struct insn_row rows[] = {
	{ ZYDIS_MNEMONIC_INT, 0, ROW_END, 0, build_int, NULL },
	{ ZYDIS_MNEMONIC_INT3, 0, ROW_END, 0, build_plain, PLAIN(op_int3) },
	{ ZYDIS_MNEMONIC_INTO, 0, ROW_END | ROW_NO_64, 0, build_plain, PLAIN(op_into) },
	{ ZYDIS_MNEMONIC_INT1, 0, ROW_END, 0, build_plain, PLAIN(op_int1) },
};

const struct insn_rows insn_rows_int = { rows, ARRAY_SIZE(rows) };
