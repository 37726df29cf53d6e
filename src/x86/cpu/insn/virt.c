/* SPDX-License-Identifier: MIT */
/* The instructions of VMX and SVM.  What they do is in vmx/ and svm/; SDM 3C chapter 31, APM 3. */
#include <Zydis/Zydis.h>
#include <errno.h>

#include "x86/cpu/insn.h"
#include "x86/cpu/vec.h"
#include "x86/features.h"

static void virt(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	if (!cpu->nested.ops)
		x86_raise(cpu, X86_UD);
	x86_vec_put(cpu);
	x86_charge(cpu, 32);
	cpu->nested.ops->exec(cpu, i);
	NEXT(cpu, i);
}

/* The row's argument: which. */
#define VIRT(name) (&(const uint16_t){ VIRT_##name })

static int build_virt(struct insn *i, const struct insn_build *b)
{
	i->fn = virt;
	i->aux = *(const uint16_t *)b->row->arg;
	return 0;
}

/* One operand, in memory. */
static int build_virt_mem(struct insn *i, const struct insn_build *b)
{
	if (!build_is_mem(b, 0))
		return -ENOENT;
	build_mem(i, b, 0);
	return build_virt(i, b);
}

/* INVEPT, INVVPID: a register, and 16 bytes in memory. */
static int build_virt_descriptor(struct insn *i, const struct insn_build *b)
{
	if (!build_is_mem(b, 1))
		return -ENOENT;
	i->dst = build_gpr(b, 0);
	build_mem(i, b, 1);
	return build_virt(i, b);
}

/* VMREAD writes its first operand, VMWRITE reads its second: a register (memsize 0) or memory.  The other is the field. */
static int build_virt_field(struct insn *i, const struct insn_build *b)
{
	int value = *(const uint16_t *)b->row->arg == VIRT_VMREAD ? 0 : 1;

	i->src = build_gpr(b, !value);
	if (build_is_mem(b, value))
		build_mem(i, b, value);
	else
		i->dst = build_gpr(b, value);
	return build_virt(i, b);
}

static const struct insn_row rows[] = {
	{ ZYDIS_MNEMONIC_VMXON, X86_F_VMX, 0, 0, build_virt_mem, VIRT(VMXON) },
	{ ZYDIS_MNEMONIC_VMXOFF, X86_F_VMX, ROW_BARRIER, 0, build_virt, VIRT(VMXOFF) },
	{ ZYDIS_MNEMONIC_VMCLEAR, X86_F_VMX, 0, 0, build_virt_mem, VIRT(VMCLEAR) },
	{ ZYDIS_MNEMONIC_VMPTRLD, X86_F_VMX, 0, 0, build_virt_mem, VIRT(VMPTRLD) },
	{ ZYDIS_MNEMONIC_VMPTRST, X86_F_VMX, 0, 0, build_virt_mem, VIRT(VMPTRST) },
	{ ZYDIS_MNEMONIC_VMREAD, X86_F_VMX, 0, 0, build_virt_field, VIRT(VMREAD) },
	{ ZYDIS_MNEMONIC_VMWRITE, X86_F_VMX, 0, 0, build_virt_field, VIRT(VMWRITE) },
	{ ZYDIS_MNEMONIC_VMLAUNCH, X86_F_VMX, ROW_BARRIER, 0, build_virt, VIRT(VMLAUNCH) },
	{ ZYDIS_MNEMONIC_VMRESUME, X86_F_VMX, ROW_BARRIER, 0, build_virt, VIRT(VMRESUME) },
	{ ZYDIS_MNEMONIC_INVEPT, X86_F_VMX, ROW_SERIAL, 0, build_virt_descriptor, VIRT(INVEPT) },
	{ ZYDIS_MNEMONIC_INVVPID, X86_F_VMX, ROW_SERIAL, 0, build_virt_descriptor, VIRT(INVVPID) },
	{ ZYDIS_MNEMONIC_VMFUNC, X86_F_VMX, ROW_BARRIER, 0, build_virt, VIRT(VMFUNC) },
	{ ZYDIS_MNEMONIC_VMRUN, X86_F_SVM, ROW_BARRIER, 0, build_virt, VIRT(VMRUN) },
	{ ZYDIS_MNEMONIC_VMLOAD, X86_F_SVM, 0, 0, build_virt, VIRT(VMLOAD) },
	{ ZYDIS_MNEMONIC_VMSAVE, X86_F_SVM, 0, 0, build_virt, VIRT(VMSAVE) },
	{ ZYDIS_MNEMONIC_STGI, X86_F_SVM, ROW_BARRIER, 0, build_virt, VIRT(STGI) },
	{ ZYDIS_MNEMONIC_CLGI, X86_F_SVM, ROW_BARRIER, 0, build_virt, VIRT(CLGI) },
	{ ZYDIS_MNEMONIC_INVLPGA, X86_F_SVM, ROW_SERIAL, 0, build_virt, VIRT(INVLPGA) },
	{ ZYDIS_MNEMONIC_SKINIT, X86_F_SVM, 0, 0, build_virt, VIRT(SKINIT) },
};

const struct insn_rows insn_rows_virt = { rows, ARRAY_SIZE(rows) };
