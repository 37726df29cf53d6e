// SPDX-License-Identifier: MIT
/* #VMEXIT.  APM 2, 15.6 to 15.8. */
#include "x86/cpu/debug.h"
#include "x86/cpu/insn.h"
#include "x86/mmu/mmu.h"
#include "x86/state/stats.h"
#include "x86/svm/svm.h"

/* The event whose delivery was under way; APM 2, 15.7.2. */
static uint64_t interrupted_event(const struct x86_vcpu *v)
{
	const struct x86_cpu *cpu = &v->cpu;
	const struct x86_exception *x = &cpu->delivering;
	uint64_t type = EVENT_EXCEPTION;

	if (!cpu->is_delivering)
		return 0;
	if (cpu->delivering_external)
		type = x->vector == X86_NMI ? EVENT_NMI : EVENT_INTR;
	else if (x->soft && x->intn)
		type = EVENT_SOFT;
	return x->vector | type << EVENT_TYPE_SHIFT | EVENT_VALID |
	       (x->has_error_code ? EVENT_EV | (uint64_t)x->error_code << EVENT_ERROR_SHIFT : 0);
}

/* One that waits to be delivered, of VMRUN's or the client's. */
static uint64_t queued_event(const struct x86_vcpu *v)
{
	const struct x86_queued *q = &v->exception;
	uint64_t type;

	if (q->injected)
		return q->vector | EVENT_EXCEPTION << EVENT_TYPE_SHIFT | EVENT_VALID |
		       (q->has_error_code ? EVENT_EV | (uint64_t)q->error_code << EVENT_ERROR_SHIFT : 0);
	if (v->nmi_injected)
		return X86_NMI | EVENT_NMI << EVENT_TYPE_SHIFT | EVENT_VALID;
	if (!v->interrupt.injected)
		return 0;
	type = !v->interrupt.soft ? EVENT_INTR : v->interrupt.intn ? EVENT_SOFT : EVENT_EXCEPTION;
	return v->interrupt.nr | type << EVENT_TYPE_SHIFT | EVENT_VALID;
}

static uint64_t undelivered_event(struct x86_vcpu *v)
{
	uint64_t e = interrupted_event(v);

	if (!e)
		e = queued_event(v);
	v->exception = (struct x86_queued){ 0 };
	v->interrupt.injected = v->nmi_injected = false;
	v->cpu.is_delivering = false;
	return e;
}

/* --- what of the VMCB an exit writes: L1 may be at work on the rest --------------------------------- */

/* Always; APM 2, 15.6, and APM 3, VMRUN. */
static const struct phys_part written[] = {
	VMCB_PART(control.int_ctl, control.int_ctl), VMCB_PART(control.int_state, control.exit_int_info),
	VMCB_PART(control.event_inj, control.event_inj),
	VMCB_PART(save.es, save.ds), VMCB_PART(save.gdtr, save.gdtr), VMCB_PART(save.idtr, save.idtr),
	VMCB_PART(save.cpl, save.cpl), VMCB_PART(save.efer, save.efer), VMCB_PART(save.cr4, save.rip),
	VMCB_PART(save.rsp, save.rsp), VMCB_PART(save.rax, save.rax), VMCB_PART(save.cr2, save.cr2),
};

/* Where the processor has the feature, or L1 has asked for it. */
static const struct phys_part written_nrip = VMCB_PART(control.next_rip, control.next_rip);
static const struct phys_part written_bytes = VMCB_PART(control.insn_len, control.insn_bytes);
static const struct phys_part written_pat = VMCB_PART(save.g_pat, save.g_pat);
static const struct phys_part written_lbr = VMCB_PART(save.dbgctl, save.last_exception_to);

static const struct phys_part written_invalid[] = { VMCB_PART(control.exit_code, control.exit_info2) };

static void write_parts(struct x86_vcpu *v, const struct phys_part *part, unsigned int count)
{
	/* It was memory when VMRUN read it; where it is no more there is nobody to tell. */
	(void)!x86_guest_write_parts(v, v->svm->vmcb_gpa, &v->svm->vmcb, part, count);
}

void svm_write_back(struct x86_vcpu *v)
{
	struct phys_part all[ARRAY_SIZE(written) + 4];
	unsigned int n = 0;

	for (; n < ARRAY_SIZE(written); n++)
		all[n] = written[n];
	if (x86_has(&v->cpu, X86_F_NRIPS))
		all[n++] = written_nrip;
	if (x86_has(&v->cpu, X86_F_DECODEASSISTS))
		all[n++] = written_bytes;
	if (v->svm->vmcb.control.nested_ctl & NESTED_NP)
		all[n++] = written_pat;
	if (svm_lbr(v))
		all[n++] = written_lbr;
	write_parts(v, all, n);
}

void svm_sync(struct x86_vcpu *v)
{
	struct vmcb_control *c = &v->svm->vmcb.control;

	c->int_state = v->cpu.shadow ? INT_SHADOW : 0;
	if (svm_vnmi(v))
		c->int_ctl = (c->int_ctl & ~V_NMI_MASK) | (v->cpu.nmi_blocked ? V_NMI_MASK : 0);
}

static void leave_guest(struct x86_vcpu *v)
{
	svm_leave_nested(v);
	v->cpu.shadow = 0;
	/* Breakpoints that L2 has met and not been told of are not L1's. */
	v->cpu.pending_db = 0;
	v->svm->gif = false;
	svm_restore_host(v);
	/* VMRUN, which ends only now, was single-stepped. */
	if (v->svm->host.rflags & FL_TF)
		v->exception = (struct x86_queued){
			.pending = true, .vector = X86_DB, .has_payload = true, .payload = DR6_BS,
		};
}

static void do_exit(struct x86_vcpu *v)
{
	struct x86_svm *s = v->svm;
	struct vmcb_control *c = &s->vmcb.control;

	c->insn_len = 0;
	for (unsigned int n = 0; n < sizeof(c->insn_bytes); n++)
		c->insn_bytes[n] = 0;
	if (s->bytes && !v->cpu.is_delivering && x86_has(&v->cpu, X86_F_DECODEASSISTS))
		svm_fetch_bytes(v);
	svm_store_guest(v);
	svm_sync(v);
	c->exit_code = s->exit_code;
	c->exit_info1 = s->exit_info1;
	c->exit_info2 = s->exit_info2;
	c->next_rip = s->next_rip;
	c->exit_int_info = undelivered_event(v);
	c->event_inj = 0;
	svm_write_back(v);
	leave_guest(v);
	x86_stat_inc(v->vcpu, X86_STAT_NESTED_EXITS);
}

void svm_vmexit(struct x86_cpu *cpu)
{
	do_exit(x86_vcpu_of_cpu(cpu));
}

static void note(struct x86_vcpu *v, uint64_t code, uint64_t info1, uint64_t info2, uint64_t next_rip)
{
	v->svm->exit_code = code;
	v->svm->exit_info1 = info1;
	v->svm->exit_info2 = info2;
	v->svm->next_rip = next_rip;
	v->svm->bytes = false;
}

void svm_note(struct x86_vcpu *v, uint64_t code, uint64_t info1, uint64_t info2)
{
	note(v, code, info1, info2, 0);
}

void svm_exit(struct x86_vcpu *v, uint64_t code, uint64_t info1, uint64_t info2)
{
	note(v, code, info1, info2, 0);
	x86_vmexit(&v->cpu);
}

void svm_exit_insn(struct x86_vcpu *v, const struct insn *i, uint64_t code, uint64_t info1, uint64_t info2)
{
	note(v, code, info1, info2, insn_next_rip(&v->cpu, i));
	x86_vmexit(&v->cpu);
}

void svm_exit_now(struct x86_vcpu *v, uint64_t code, uint64_t info1, uint64_t info2)
{
	note(v, code, info1, info2, 0);
	do_exit(v);
}

/* VMRUN of a VMCB that cannot be: L2 has not run, the VMCB's state is what it was. */
void svm_fail_entry(struct x86_vcpu *v)
{
	struct vmcb_control *c = &v->svm->vmcb.control;

	c->exit_code = EXIT_INVALID;
	c->exit_info1 = c->exit_info2 = 0;
	write_parts(v, written_invalid, ARRAY_SIZE(written_invalid));
	leave_guest(v);
	x86_stat_inc(v->vcpu, X86_STAT_NESTED_EXITS);
}
