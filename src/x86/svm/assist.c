// SPDX-License-Identifier: MIT
/* Decode assists: the bytes of an instruction whose access to data was the reason of the exit.  APM 2, 15.32.5. */
#include "x86/mmu/mmu.h"
#include "x86/state/stats.h"
#include "x86/svm/svm.h"

/* Up to @n bytes at the linear address @at, within its page. */
static unsigned int fetch(struct x86_vcpu *v, gva_t at, uint8_t *to, unsigned int n)
{
	unsigned int left = (unsigned int)(GUEST_PAGE_SIZE - (at & ~GUEST_PAGE_MASK));
	/* It was executed a moment ago: where it cannot be had now, L1 reads it by itself, as it does without assists. */
	struct mmu_result r = mmu_walk(&v->cpu, at, MMU_EXEC, v->cpu.ctx->cls, false);

	if (n > left)
		n = left;
	return r.status != MMU_OK || x86_guest_read(v, r.gpa, to, n) ? 0 : n;
}

void svm_fetch_bytes(struct x86_vcpu *v)
{
	struct vmcb_control *c = &v->svm->vmcb.control;
	gva_t at = v->cpu.regs[R_RIP] + *seg_base(&v->cpu, SEG_CS);
	unsigned int n;

	if (v->cpu.mode != CODE64)
		at = (uint32_t)at;
	n = fetch(v, at, c->insn_bytes, sizeof(c->insn_bytes));
	if (n && n < sizeof(c->insn_bytes))
		n += fetch(v, at + n, c->insn_bytes + n, sizeof(c->insn_bytes) - n);
	c->insn_len = (uint8_t)n;
	if (n)
		x86_stat_inc(v->vcpu, X86_STAT_SVM_INSN_BYTES);
}
