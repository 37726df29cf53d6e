// SPDX-License-Identifier: MIT
/* Last-branch recording; see lbr.h. */
#include "x86/cpu/block.h"
#include "x86/cpu/lbr.h"

void x86_lbr_load(struct x86_cpu *cpu, const struct x86_lbr_msrs *msrs)
{
	cpu->lbr.msrs = *msrs;
	cpu->lbr.on = msrs->debugctl & DEBUGCTL_LBR;
	cpu->lbr.in_block = false;
	if (cpu->lbr.on)
		x86_request(cpu, X86_REQ_COUNT);
	else if (!cpu->count.on)
		atomic_fetch_and_explicit(&cpu->requests, ~(uint32_t)X86_REQ_COUNT, memory_order_relaxed);
}

void x86_debugctl_load(struct x86_cpu *cpu, uint64_t value)
{
	struct x86_lbr_msrs m = cpu->lbr.msrs;

	if (value == m.debugctl)
		return;
	m.debugctl = value;
	x86_lbr_load(cpu, &m);
}

void x86_lbr_begin(struct x86_cpu *cpu, const struct block *b)
{
	const struct insn *end = (const struct insn *)b->bytes;

	cpu->lbr.in_block = b->branch;
	cpu->lbr.from = cpu->regs[R_RIP] + end[-1].off;
	/* A branch that is not taken leads here, as one may that is: the two are told apart by what kind it is. */
	cpu->lbr.not_taken = b->branch == BRANCH_IF ? cpu->regs[R_RIP] + b->len : ~0ULL;
}

static void record(struct x86_cpu *cpu, uint64_t from)
{
	cpu->lbr.msrs.from = from;
	cpu->lbr.msrs.to = cpu->regs[R_RIP];
	cpu->lbr.records++;
}

void x86_lbr_end(struct x86_cpu *cpu)
{
	if (cpu->lbr.in_block && cpu->regs[R_RIP] != cpu->lbr.not_taken)
		record(cpu, cpu->lbr.from);
	cpu->lbr.in_block = false;
}

/*
 * What was last until now is kept, for the handler to see.  #DB ends the recording, so that its handler sees it too, and
 * the stepping of branches; SDM 3B, 17.4.3.
 */
void x86_lbr_event(struct x86_cpu *cpu, uint8_t vector, bool injected, uint64_t from)
{
	struct x86_lbr_msrs *m = &cpu->lbr.msrs;

	/* VM entry's is recorded like any event, and ends nothing; SDM 3C, 26.6.1.1. */
	if (vector == X86_DB && !injected) {
		x86_debugctl_load(cpu, m->debugctl & ~(DEBUGCTL_LBR | DEBUGCTL_BTF));
		return;
	}
	if (!cpu->lbr.on)
		return;
	m->int_from = m->from;
	m->int_to = m->to;
	record(cpu, from);
}
