// SPDX-License-Identifier: MIT
/* What L1 wants to hear of: the VMCB's bits and maps, and the exits that follow.  APM 2, 15.8 to 15.12, table 15-7. */
#include "x86/cpu/exception.h"
#include "x86/cpu/insn.h"
#include "x86/cpu/task.h"
#include "x86/mmu/mmu.h"
#include "x86/state/stats.h"
#include "x86/svm/svm.h"

/* --- instructions: the bit of the VMCB that asks for each ----------------------------------------- */

static const struct {
	uint8_t icpt, word, bit;        /* word: 3 to 5 */
} insn_rows[] = {
	{ ICPT_SIDT, 3, W3_SIDT }, { ICPT_SGDT, 3, W3_SGDT }, { ICPT_SLDT, 3, W3_SLDT }, { ICPT_STR, 3, W3_STR },
	{ ICPT_LIDT, 3, W3_LIDT }, { ICPT_LGDT, 3, W3_LGDT }, { ICPT_LLDT, 3, W3_LLDT }, { ICPT_LTR, 3, W3_LTR },
	{ ICPT_RDTSC, 3, W3_RDTSC }, { ICPT_RDPMC, 3, W3_RDPMC }, { ICPT_PUSHF, 3, W3_PUSHF }, { ICPT_POPF, 3, W3_POPF },
	{ ICPT_CPUID, 3, W3_CPUID }, { ICPT_RSM, 3, W3_RSM }, { ICPT_IRET, 3, W3_IRET }, { ICPT_INTN, 3, W3_INTN },
	{ ICPT_INVD, 3, W3_INVD }, { ICPT_PAUSE, 3, W3_PAUSE }, { ICPT_HLT, 3, W3_HLT }, { ICPT_INVLPG, 3, W3_INVLPG },
	{ ICPT_IO, 3, W3_IOIO }, { ICPT_MSR, 3, W3_MSR }, { ICPT_TASK_SWITCH, 3, W3_TASK_SWITCH },
	{ ICPT_HYPERCALL, 4, W4_VMMCALL }, { ICPT_RDTSCP, 4, W4_RDTSCP }, { ICPT_ICEBP, 4, W4_ICEBP },
	{ ICPT_WBINVD, 4, W4_WBINVD }, { ICPT_MONITOR, 4, W4_MONITOR }, { ICPT_MWAIT, 4, W4_MWAIT },
	{ ICPT_XSETBV, 4, W4_XSETBV }, { ICPT_RDPRU, 4, W4_RDPRU },
	{ ICPT_INVPCID, 5, W5_INVPCID },
};

static uint32_t word_of(const struct vmcb_control *c, unsigned int word)
{
	return word == 3 ? c->word3 : word == 4 ? c->word4 : c->word5;
}

static void set(uint64_t *icpt, unsigned int which)
{
	icpt[which / 64] |= 1ULL << (which % 64);
}

void svm_set_intercepts(struct x86_vcpu *v)
{
	const struct vmcb_control *c = &v->svm->vmcb.control;
	uint64_t *icpt = v->cpu.nested.icpt;

	for (unsigned int n = 0; n < X86_ICPT_WORDS; n++)
		icpt[n] = 0;
	for (unsigned int n = 0; n < ARRAY_SIZE(insn_rows); n++)
		if (word_of(c, insn_rows[n].word) >> insn_rows[n].bit & 1)
			set(icpt, insn_rows[n].icpt);
	if (c->cr_read)
		set(icpt, ICPT_CR_READ);
	if (c->cr_write || (c->word3 & 1u << W3_CR0_SEL))
		set(icpt, ICPT_CR_WRITE);
	if (c->dr_read || c->dr_write)
		set(icpt, ICPT_DR);
}

bool svm_intercepts3(const struct x86_svm *s, unsigned int bit)
{
	return s->vmcb.control.word3 >> bit & 1;
}

/* --- maps ------------------------------------------------------------------------------------------ */

/* Is any of @count bits from @bit on set?  A map that is not there intercepts. */
static bool map_bits(struct x86_vcpu *v, gpa_t map, unsigned int bit, unsigned int count)
{
	unsigned int shift = bit % 8;
	uint16_t word = 0;

	if (x86_guest_read(v, (map & GUEST_PAGE_MASK) + bit / 8, &word, shift + count > 8 ? 2 : 1))
		return true;
	return word >> shift & ((1u << count) - 1);
}

/* One bit a port, of each byte that is accessed, those beyond port 0xffff too; APM 2, 15.10.1. */
static bool port_intercepted(struct x86_vcpu *v, uint64_t info)
{
	return map_bits(v, v->svm->vmcb.control.iopm, ICPT_IO_PORT(info), ICPT_IO_SIZE(info));
}

static bool msr_bit(struct x86_vcpu *v, unsigned int bit)
{
	const struct svm_msr_map *map = &v->svm->msr_map;

	return map->used ? map->bits[bit / 8] >> bit % 8 & 1 : map_bits(v, v->svm->vmcb.control.msrpm, bit, 1);
}

/* Two bits an MSR, read and write, in three ranges; what lies outside is intercepted.  APM 2, 15.11. */
static bool msr_intercepted(struct x86_vcpu *v, uint32_t index, bool write)
{
	static const uint32_t range[] = { 0, 0xc0000000, 0xc0010000 };

	for (unsigned int n = 0; n < ARRAY_SIZE(range); n++)
		if (index - range[n] < 0x2000)
			return msr_bit(v, n * 0x4000 + (index - range[n]) * 2 + write);
	return true;
}

/* --- exits of instructions ---------------------------------------------------------------------------- */

/* EXITINFO1 of IOIO, by bit: type 0, string 2, repeated 3, size 4 to 6, address size 7 to 9.  APM 2, 15.10.2. */
static uint64_t io_info(const struct x86_cpu *cpu, const struct insn *i, uint64_t info)
{
	static const uint8_t sizes[] = { [CODE16] = 1, [CODE32] = 2, [CODE64] = 4 };
	uint64_t address = i->ea_flags & EA_ADDR16 ? 1 : i->ea_flags & EA_ADDR32 ? 2 : sizes[cpu->mode];

	return (uint64_t)ICPT_IO_PORT(info) << 16 | (info & ICPT_IO_STRING ? (uint64_t)i->seg << 10 : 0) |
	       address << 7 | ICPT_IO_SIZE(info) << 4 | (info & ICPT_IO_REP ? 8 : 0) |
	       (info & ICPT_IO_STRING ? 4 : 0) | (info & ICPT_IO_IN ? 1 : 0);
}

static void exit_plain(struct x86_vcpu *v, const struct insn *i, enum x86_icpt which, uint64_t info1)
{
	static const uint16_t base[] = { [3] = EXIT_WORD3, [4] = EXIT_WORD4, [5] = EXIT_WORD5 };

	for (unsigned int n = 0; n < ARRAY_SIZE(insn_rows); n++)
		if (insn_rows[n].icpt == which)
			svm_exit_insn(v, i, (uint64_t)base[insn_rows[n].word] + insn_rows[n].bit, info1, 0);
}

/* @info1 where the processor assists; APM 2, 15.32. */
static uint64_t assist(const struct x86_vcpu *v, uint64_t info1)
{
	return x86_has(&v->cpu, X86_F_DECODEASSISTS) ? info1 : 0;
}

static uint64_t operand_address(const struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t a = ea_offset(cpu, i) + cpu->regs[i->segbase];

	return cpu->mode == CODE64 ? a : (uint32_t)a;
}

/* Through the filter: each one counts down, and after a long enough time without one it starts again.  APM 2, 15.14.4. */
static bool pause_exits(struct x86_vcpu *v)
{
	const struct vmcb_control *c = &v->svm->vmcb.control;
	struct x86_svm *s = v->svm;
	/* A cycle is an instruction. */
	uint64_t since = v->cpu.insns - s->pause_at;

	if (!c->pause_count || !x86_has(&v->cpu, X86_F_PAUSEFILTER))
		return true;
	s->pause_at = v->cpu.insns;
	if (c->pause_threshold && since > c->pause_threshold && x86_has(&v->cpu, X86_F_PFTHRESHOLD))
		s->pause_left = c->pause_count;
	if (!s->pause_left)
		return true;
	s->pause_left--;
	x86_stat_inc(v->vcpu, X86_STAT_SVM_PAUSES);
	return false;
}

static void dr_access(struct x86_vcpu *v, const struct insn *i, uint64_t info)
{
	const struct vmcb_control *c = &v->svm->vmcb.control;
	unsigned int n = info & 7;
	bool write = info >> 16 & 1;

	if ((write ? c->dr_write : c->dr_read) >> n & 1)
		svm_exit_insn(v, i, (write ? EXIT_DR_WRITE : EXIT_DR_READ) + n, assist(v, info >> 8 & 15), 0);
}

static void __attribute__((noreturn)) task_switch(struct x86_vcpu *v, uint64_t info)
{
	unsigned int reason = info >> 16 & 0xff;

	/* APM 2, 15.14.1: IRET, far jump, whether there is an error code to push, RF of the flags to be saved. */
	svm_exit(v, EXIT_WORD3 + W3_TASK_SWITCH, (uint16_t)info,
		 (reason == TASK_IRET ? 1ULL << 36 : 0) | (reason == TASK_JMP ? 1ULL << 38 : 0) |
		 (info >> 24 & 1 ? 1ULL << 44 : 0) | (info >> 25 & 1 ? 1ULL << 48 : 0) | info >> 32);
}

void svm_insn(struct x86_cpu *cpu, const struct insn *i, enum x86_icpt which, uint64_t info)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);

	/* Also by an event, when there is no instruction. */
	if (which == ICPT_TASK_SWITCH)
		task_switch(v, info);
	/* What the decoder has planted before an instruction has no length. */
	while (!i->len)
		i++;
	if (which == ICPT_HYPERCALL && hv_takes_l2_call(v))
		return;
	switch (which) {
	case ICPT_CR_READ:
		if (v->svm->vmcb.control.cr_read >> (info & 15) & 1)
			svm_exit_insn(v, i, EXIT_CR_READ + (info & 15),
				      info & ICPT_CR_SMSW ? 0 : assist(v, INFO_MOV_CR | (info >> 8 & 15)), 0);
		return;
	case ICPT_DR:
		dr_access(v, i, info);
		return;
	case ICPT_IO:
		if (port_intercepted(v, info))
			svm_exit_insn(v, i, EXIT_WORD3 + W3_IOIO, io_info(cpu, i, info), insn_next_rip(cpu, i));
		return;
	case ICPT_MSR:
		if (msr_intercepted(v, (uint32_t)cpu->regs[R_RCX], info))
			svm_exit_insn(v, i, EXIT_WORD3 + W3_MSR, info, 0);
		return;
	case ICPT_INVPCID:
		/* Where the descriptor is, and the type: without decode assists too.  APM 2, 15.9. */
		svm_exit_insn(v, i, EXIT_WORD5 + W5_INVPCID, operand_address(cpu, i), cpu->regs[i->dst]);
	case ICPT_INVLPG:
		exit_plain(v, i, which, assist(v, operand_address(cpu, i)));
		return;
	case ICPT_INTN:
		exit_plain(v, i, which, assist(v, info));
		return;
	case ICPT_PAUSE:
		if (pause_exits(v))
			exit_plain(v, i, which, 0);
		return;
	default:
		exit_plain(v, i, which, 0);
	}
}

/* Selective: whether any other bit than TS and MP changes.  APM 2, 15.9. */
static bool cr0_selective(const struct x86_vcpu *v, uint64_t value, enum x86_cr_how how)
{
	return svm_intercepts3(v->svm, W3_CR0_SEL) && how != X86_CR_CLTS &&
	       (how == X86_CR_LMSW || ((v->cpu.cr0 ^ value) & ~(CR0_TS | CR0_MP)));
}

uint64_t svm_cr_write(struct x86_cpu *cpu, unsigned int n, uint64_t value, enum x86_cr_how how, unsigned int gpr)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);
	const struct insn *i = cpu->cur;

	uint64_t info = how == X86_CR_MOV ? assist(v, INFO_MOV_CR | gpr) : 0;

	if (v->svm->vmcb.control.cr_write >> n & 1)
		svm_exit_insn(v, i, EXIT_CR_WRITE + n, info, 0);
	if (n == 0 && cr0_selective(v, value, how))
		svm_exit_insn(v, i, EXIT_WORD3 + W3_CR0_SEL, info, 0);
	return value;
}

/* --- exceptions, and what happens to L2 otherwise ------------------------------------------------------- */

void svm_exception(struct x86_cpu *cpu, const struct x86_exception *exc)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);

	/* INT n is an instruction, whatever its vector. */
	if (exc->vector > 31 || exc->intn || !(v->svm->vmcb.control.exceptions >> exc->vector & 1))
		return;
	if (exc->vector == X86_DB)
		x86_note_db(cpu, exc->payload);
	svm_note(v, EXIT_EXCEPTION + exc->vector, exc->has_error_code ? exc->error_code : 0,
		 exc->vector == X86_PF ? exc->payload : 0);
	v->svm->bytes = exc->vector == X86_PF && !(exc->error_code & PF_I);
	/* INT3, INTO and BOUND, though exceptions, are instructions too; APM 2, 15.7.1. */
	if (exc->insn_len)
		v->svm->next_rip = cpu->regs[R_RIP] + exc->insn_len;
	x86_vmexit(cpu);
}

bool svm_triple_fault_now(struct x86_vcpu *v)
{
	if (!v->svm || !v->cpu.nested.in_guest || !svm_intercepts3(v->svm, W3_SHUTDOWN))
		return false;
	svm_exit_now(v, EXIT_WORD3 + W3_SHUTDOWN, 0, 0);
	return true;
}

void svm_triple_fault(struct x86_cpu *cpu)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);

	if (svm_intercepts3(v->svm, W3_SHUTDOWN))
		svm_exit(v, EXIT_WORD3 + W3_SHUTDOWN, 0, 0);
}

/* EXITINFO1 of a nested page fault: an error code, and where it was met.  APM 2, 15.25.6. */
void svm_slat_fault(struct x86_cpu *cpu)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);
	const struct x86_slat_fault *f = &cpu->nested.fault;
	uint64_t info = PF_U;

	if (f->present)
		info |= PF_P;
	if (f->reserved)
		info |= PF_RSVD;
	if (f->access == MMU_WRITE)
		info |= PF_W;
	if (f->access == MMU_EXEC && ((cpu->nested.slat.efer & EFER_NX) || (cpu->nested.slat.cr4 & CR4_SMEP)))
		info |= PF_I;
	svm_note(v, EXIT_NPF, info | (f->table ? 1ULL << 33 : 1ULL << 32), f->gpa);
	v->svm->bytes = f->access != MMU_EXEC;
	x86_vmexit(cpu);
}
