/* SPDX-License-Identifier: MIT */
/*
 * The fast ways into the kernel and back, and those out of the guest: SYSCALL,
 * SYSENTER, HLT, hypercalls.  Segments are set, not loaded: descriptors play no
 * part.  SDM 2B and 3A, 5.8.7; APM 3 where the vendors differ.
 */
#include <Zydis/Zydis.h>
#include <errno.h>

#include "x86/cpu/control.h"
#include "x86/cpu/debug.h"
#include "x86/cpu/exception.h"
#include "x86/cpu/insn/plain.h"
#include "x86/cpu/mem.h"
#include "x86/cpu/segment.h"
#include "x86/cpu/vec.h"
#include "x86/features.h"
#include "x86/mmu/mmu.h"

static void flat_cs(struct x86_cpu *cpu, uint16_t sel, uint8_t dpl, bool l)
{
	cpu->seg[SEG_CS] = (struct x86_seg){
		.limit = 0xffffffff, .selector = sel, .type = SEG_CODE | SEG_READABLE | SEG_ACCESSED, .s = true,
		.present = true, .l = l, .db = !l, .g = true, .dpl = dpl,
	};
	*seg_base(cpu, SEG_CS) = 0;
}

static void flat_ss(struct x86_cpu *cpu, uint16_t sel, uint8_t dpl)
{
	cpu->seg[SEG_SS] = (struct x86_seg){
		.limit = 0xffffffff, .selector = sel, .type = SEG_WRITABLE | SEG_ACCESSED, .s = true,
		.present = true, .db = true, .g = true, .dpl = dpl,
	};
	*seg_base(cpu, SEG_SS) = 0;
}

/* ---------------------------------------------------------- RSM */

/* SDM 3C 31.3.  The registers are the interrupted program's again, RIP among them. */
static void op_rsm(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	if (!cpu->smm)
		x86_raise(cpu, X86_UD);
	x86_vec_put(cpu);
	at(cpu, &x86_no_insn);
	if (cpu->env->leave_smm(cpu))
		x86_leave(cpu, X86_LEAVE_SHUTDOWN);
}

/* ---------------------------------------------------------- SYSCALL, SYSRET */

/*
 * TF counts as it is after these two, so that SFMASK can keep a program's single
 * step out of the kernel, and it falls due when SYSRET sets it.
 */
static void late_single_step(struct x86_cpu *cpu, uint64_t old_flags)
{
	if (likely(!((old_flags | cpu->rflags) & FL_TF)))
		return;
	if (cpu->rflags & FL_TF)
		x86_raise_db_trap(cpu, DR6_BS);
	at(cpu, &x86_no_insn);
	x86_leave(cpu, X86_LEAVE_BREAK);
}

static void syscall_check(struct x86_cpu *cpu)
{
	if (!(cpu->efer & EFER_SCE) || !x86_protected(cpu) || x86_vm86(cpu))
		x86_raise(cpu, X86_UD);
	if (x86_is_intel(cpu) && cpu->mode != CODE64)
		x86_raise(cpu, X86_UD);
}

static void op_syscall(struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t next = insn_next_rip(cpu, i), old_flags = x86_get_rflags(cpu);
	uint64_t flags = old_flags & ~(uint64_t)FL_RF;
	uint16_t sel = (uint16_t)(cpu->star >> 32) & 0xfffc;
	bool lma = x86_long_mode(cpu);

	at(cpu, i);
	syscall_check(cpu);
	if (lma) {
		uint64_t target = cpu->mode == CODE64 ? cpu->lstar : cpu->cstar;

		cpu->regs[R_RCX] = cpu->mode == CODE64 ? next : (uint32_t)next;
		cpu->regs[R_R11] = flags;
		cpu->regs[R_RIP] = target;
		flags &= ~cpu->sfmask;
	} else {
		cpu->regs[R_RCX] = (uint32_t)next;
		cpu->regs[R_RIP] = (uint32_t)cpu->star;
		flags &= ~(uint64_t)(FL_VM | FL_IF);
	}
	flat_cs(cpu, sel, 0, lma);
	flat_ss(cpu, sel + 8, 0);
	x86_set_rflags(cpu, flags);
	x86_update_priv(cpu);
	late_single_step(cpu, old_flags);
}

#define SYSRET_FLAGS 0x3c7fd7ULL

static void op_sysret(struct x86_cpu *cpu, const struct insn *i)
{
	uint16_t star = (uint16_t)(cpu->star >> 48);
	uint32_t old_flags = cpu->rflags;
	bool wide = i->opsize == 8;

	at(cpu, i);
	syscall_check(cpu);
	if (cpu->cpl)
		x86_raise_ec(cpu, X86_GP, 0);
	/* Intel judges RCX here, in the kernel; AMD at the fetch, in the program. */
	if (wide && x86_is_intel(cpu) && !gva_canonical(cpu, cpu->regs[R_RCX]))
		x86_raise_ec(cpu, X86_GP, 0);

	cpu->regs[R_RIP] = wide ? cpu->regs[R_RCX] : (uint32_t)cpu->regs[R_RCX];
	flat_cs(cpu, (wide ? star + 16 : star) | 3, 3, wide);
	flat_ss(cpu, (star + 8) | 3, 3);
	if (x86_long_mode(cpu))
		x86_set_rflags(cpu, (cpu->regs[R_R11] & SYSRET_FLAGS) | 2);
	else
		x86_set_rflags(cpu, x86_get_rflags(cpu) | FL_IF);
	x86_update_priv(cpu);
	/* Keys of jump targets lack the upper bits: without one the fetch is judged. */
	if (wide && !gva_canonical(cpu, cpu->regs[R_RIP]))
		mmu_forget_blocks(cpu);
	late_single_step(cpu, old_flags);
}

/* -------------------------------------------------------- SYSENTER, SYSEXIT */

/* AMD has them in legacy mode alone. */
static void sysenter_check(struct x86_cpu *cpu)
{
	if (!x86_is_intel(cpu) && x86_long_mode(cpu))
		x86_raise(cpu, X86_UD);
	if (!x86_protected(cpu) || !(cpu->sysenter_cs & 0xfffc))
		x86_raise_ec(cpu, X86_GP, 0);
}

static void op_sysenter(struct x86_cpu *cpu, const struct insn *i)
{
	uint16_t sel = (uint16_t)cpu->sysenter_cs & 0xfffc;
	bool lma = x86_long_mode(cpu);

	at(cpu, i);
	sysenter_check(cpu);
	x86_set_rflags(cpu, x86_get_rflags(cpu) & ~(uint64_t)(FL_VM | FL_IF | FL_RF));
	cpu->regs[R_RSP] = lma ? cpu->sysenter_esp : (uint32_t)cpu->sysenter_esp;
	cpu->regs[R_RIP] = lma ? cpu->sysenter_eip : (uint32_t)cpu->sysenter_eip;
	flat_cs(cpu, sel, 0, lma);
	flat_ss(cpu, sel + 8, 0);
	x86_update_priv(cpu);
}

static void op_sysexit(struct x86_cpu *cpu, const struct insn *i)
{
	uint16_t sel = (uint16_t)cpu->sysenter_cs & 0xfffc;
	uint64_t rip = cpu->regs[R_RDX], rsp = cpu->regs[R_RCX];
	bool wide = i->opsize == 8;

	at(cpu, i);
	if (cpu->cpl)
		x86_raise_ec(cpu, X86_GP, 0);
	sysenter_check(cpu);
	if (wide && (!gva_canonical(cpu, rip) || !gva_canonical(cpu, rsp)))
		x86_raise_ec(cpu, X86_GP, 0);
	cpu->regs[R_RIP] = wide ? rip : (uint32_t)rip;
	cpu->regs[R_RSP] = wide ? rsp : (uint32_t)rsp;
	flat_cs(cpu, (sel + (wide ? 32 : 16)) | 3, 3, wide);
	flat_ss(cpu, (sel + (wide ? 40 : 24)) | 3, 3);
	x86_update_priv(cpu);
}

/* ------------------------------------------------------------- HLT and calls */

static void op_hlt(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	x86_vec_put(cpu);
	cpu->regs[R_RIP] = insn_next_rip(cpu, i);
	/* The single-step trap that follows would wake it at once. */
	if (!(cpu->rflags & FL_TF))
		cpu->env->halt(cpu);
}

/*
 * The other vendor's hypercall: #UD, or the vendor's own is put in its place and run (as KVM does, by a quirk that the
 * client may end).
 */
static void replace_hypercall(struct x86_cpu *cpu, const struct insn *i)
{
	static const uint8_t vmcall[] = { 0x0f, 0x01, 0xc1 }, vmmcall[] = { 0x0f, 0x01, 0xd9 };
	const uint8_t *own = x86_is_intel(cpu) ? vmcall : vmmcall;
	gva_t gva = insn_rip(cpu, i);
	uint8_t *p;

	/* That it is unknown to the processor may be what L1 wants to hear of. */
	if (cpu->nested.in_guest)
		cpu->nested.ops->exception(cpu, &(const struct x86_exception){ .vector = X86_UD });
	if (!cpu->env->replaces_hypercall || !cpu->env->replaces_hypercall(cpu))
		x86_raise(cpu, X86_UD);
	if (cpu->mode != CODE64)
		gva = (uint32_t)(gva + *seg_base(cpu, SEG_CS));
	/* Behind prefixes the opcode is at the end. */
	gva += i->len - sizeof(vmcall);
	p = mem_write_ptr(cpu, gva, sizeof(vmcall));
	for (unsigned int n = 0; n < sizeof(vmcall); n++)
		p[n] = own[n];
	mem_commit(cpu, gva, sizeof(vmcall), p);
	cpu->hypercalls_patched++;
	cpu->regs[R_RIP] = insn_rip(cpu, i);
}

static void op_hypercall(struct x86_cpu *cpu, const struct insn *i)
{
	int status;

	at(cpu, i);
	x86_vec_put(cpu);
	if (i->aux == x86_is_intel(cpu))
		x86_intercept(cpu, i, ICPT_HYPERCALL, 0);
	if (i->aux != x86_is_intel(cpu))
		return replace_hypercall(cpu, i);
	status = cpu->env->hypercall(cpu);
	if (status == 1)
		x86_raise(cpu, X86_UD);
	if (status == 2)
		x86_exit(cpu);
	if (status == 3)
		x86_leave(cpu, X86_LEAVE_RETRY);
	NEXT(cpu, i);
}

static int build_hypercall(struct insn *i, const struct insn_build *b)
{
	i->fn = op_hypercall;
	i->aux = b->row->mnemonic == ZYDIS_MNEMONIC_VMCALL;
	return 0;
}

/* MONITOR arms nothing and MWAIT waits for nothing: both check their operands and are no operation. */
static void monitor_check(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	if (cpu->cpl)
		x86_raise(cpu, X86_UD);
}

static void op_monitor(struct x86_cpu *cpu, const struct insn *i)
{
	monitor_check(cpu, i);
	x86_intercept(cpu, i, ICPT_MONITOR, 0);
	if (cpu->mode == CODE64 ? cpu->regs[R_RCX] : (uint32_t)cpu->regs[R_RCX])
		x86_raise_ec(cpu, X86_GP, 0);
	mem_probe_read(cpu, ea(cpu, i, 1, false));
	NEXT(cpu, i);
}

static void op_mwait(struct x86_cpu *cpu, const struct insn *i)
{
	monitor_check(cpu, i);
	x86_intercept(cpu, i, ICPT_MWAIT, 0);
	if ((cpu->mode == CODE64 ? cpu->regs[R_RCX] : (uint32_t)cpu->regs[R_RCX]) & ~1ULL)
		x86_raise_ec(cpu, X86_GP, 0);
	NEXT(cpu, i);
}

/* MONITOR's operand is RAX in DS or the overriding segment, by address size. */
static int build_monitor(struct insn *i, const struct insn_build *b)
{
	for (int n = 0; n < b->zi->operand_count; n++) {
		if (!build_is_mem(b, n))
			continue;
		build_mem(i, b, n);
		break;
	}
	if (!i->memsize && i->base == R_ZERO)
		i->base = R_RAX;
	i->ea_flags &= ~EA_WRITE;
	i->fn = op_monitor;
	return 0;
}

static const struct insn_row rows[] = {
	{ ZYDIS_MNEMONIC_SYSCALL, X86_F_SYSCALL, ROW_END, 0, build_plain, PLAIN(op_syscall) },
	{ ZYDIS_MNEMONIC_SYSRET, X86_F_SYSCALL, ROW_END, 0, build_plain, PLAIN(op_sysret) },
	{ ZYDIS_MNEMONIC_RSM, 0, ROW_END | ROW_SERIAL, 0, build_plain, PLAIN(op_rsm) },
	{ ZYDIS_MNEMONIC_SYSENTER, X86_F_SEP, ROW_END, 0, build_plain, PLAIN(op_sysenter) },
	{ ZYDIS_MNEMONIC_SYSEXIT, X86_F_SEP, ROW_END, 0, build_plain, PLAIN(op_sysexit) },
	{ ZYDIS_MNEMONIC_HLT, 0, ROW_CPL0 | ROW_END, 0, build_plain, PLAIN(op_hlt) },
	{ ZYDIS_MNEMONIC_VMCALL, 0, ROW_BARRIER, 0, build_hypercall, NULL },
	{ ZYDIS_MNEMONIC_VMMCALL, 0, ROW_BARRIER, 0, build_hypercall, NULL },
	{ ZYDIS_MNEMONIC_MONITOR, X86_F_MONITOR, 0, 0, build_monitor, NULL },
	{ ZYDIS_MNEMONIC_MWAIT, X86_F_MONITOR, ROW_BARRIER, 0, build_plain, PLAIN(op_mwait) },
};

const struct insn_rows insn_rows_syscall = { rows, ARRAY_SIZE(rows) };
