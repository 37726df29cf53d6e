/* SPDX-License-Identifier: MIT */
/* Translations and caches: INVLPG, INVPCID, INVD, WBINVD. */
#include <Zydis/Zydis.h>
#include <errno.h>

#include "x86/cpu/control.h"
#include "x86/cpu/insn/plain.h"
#include "x86/cpu/mem.h"
#include "x86/features.h"
#include "x86/mmu/mmu.h"

/* No access is made, so no segment is checked; a non-canonical address drops nothing. */
static void invlpg(struct x86_cpu *cpu, const struct insn *i)
{
	gva_t gva = ea_offset(cpu, i) + cpu->regs[i->segbase];

	at(cpu, i);
	if (cpu->mode != CODE64)
		gva = (uint32_t)gva;
	if (x86_canonical_max(cpu, gva))
		mmu_flush_page(cpu, gva);
	NEXT(cpu, i);
}

static int build_invlpg(struct insn *i, const struct insn_build *b)
{
	build_mem(i, b, 0);
	i->fn = invlpg;
	return 0;
}

enum { INVPCID_ADDR, INVPCID_SINGLE, INVPCID_ALL, INVPCID_ALL_NONGLOBAL };

/* SDM 2A, INVPCID: the descriptor is read and judged even where its type needs it not. */
static void invpcid(struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t type = cpu->mode == CODE64 ? cpu->regs[i->dst] : (uint32_t)cpu->regs[i->dst];
	gva_t a = ea(cpu, i, 16, false);
	uint64_t pcid = ld64(cpu, a), gva = ld64(cpu, a + 8);

	if (type > INVPCID_ALL_NONGLOBAL || pcid >> 12)
		x86_raise_ec(cpu, X86_GP, 0);
	if (type <= INVPCID_SINGLE && pcid && !(cpu->cr4 & CR4_PCIDE))
		x86_raise_ec(cpu, X86_GP, 0);
	if (type == INVPCID_ADDR && !x86_canonical_max(cpu, gva))
		x86_raise_ec(cpu, X86_GP, 0);

	if (type == INVPCID_ADDR)
		mmu_flush_page_pcid(cpu, gva, (uint16_t)pcid);
	else if (type == INVPCID_SINGLE)
		mmu_flush_pcid(cpu, (uint16_t)pcid);
	else if (type == INVPCID_ALL)
		mmu_flush_current(cpu);
	else
		mmu_flush_nonglobal(cpu);
	NEXT(cpu, i);
}

static int build_invpcid(struct insn *i, const struct insn_build *b)
{
	if (!build_is_mem(b, 1))
		return -ENOENT;
	i->dst = build_gpr(b, 0);
	build_mem(i, b, 1);
	i->fn = invpcid;
	return 0;
}

/* Guest caches are the host's: coherent, and not the guest's to drop. */
static void op_nothing(struct x86_cpu *cpu, const struct insn *i)
{
	NEXT(cpu, i);
}

static const struct insn_row rows[] = {
	{ ZYDIS_MNEMONIC_INVLPG, 0, ROW_CPL0 | ROW_SERIAL, 0, build_invlpg, NULL },
	{ ZYDIS_MNEMONIC_INVPCID, X86_F_INVPCID, ROW_CPL0 | ROW_SERIAL, 0, build_invpcid, NULL },
	{ ZYDIS_MNEMONIC_INVD, 0, ROW_CPL0 | ROW_SERIAL, 0, build_plain, PLAIN(op_nothing) },
	/* WBNOINVD, too: Zydis gives F3 0F 09 this name. */
	{ ZYDIS_MNEMONIC_WBINVD, 0, ROW_CPL0 | ROW_SERIAL, 0, build_plain, PLAIN(op_nothing) },
};

const struct insn_rows insn_rows_cache = { rows, ARRAY_SIZE(rows) };
