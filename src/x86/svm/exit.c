// SPDX-License-Identifier: MIT
/* #VMEXIT.  APM 2, 15.6 to 15.8. */
#include "x86/cpu/debug.h"
#include "x86/cpu/insn.h"
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

/* An event of VMRUN's that was not delivered yet is given back in the same form. */
static uint64_t undelivered_event(struct x86_vcpu *v)
{
	uint64_t e = interrupted_event(v);

	if (!e && x86_event_injected(v))
		e = v->svm->vmcb.control.event_inj;
	v->exception = (struct x86_queued){ 0 };
	v->interrupt.injected = v->nmi_injected = false;
	v->cpu.is_delivering = false;
	return e;
}

static void write_back(struct x86_vcpu *v)
{
	struct x86_svm *s = v->svm;

	/* It was memory when VMRUN read it; where it is no more there is nobody to tell. */
	(void)!x86_guest_write(v, s->vmcb_gpa, &s->vmcb, sizeof(s->vmcb));
}

static void leave_guest(struct x86_vcpu *v)
{
	svm_leave_nested(v);
	v->cpu.shadow = 0;
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

	svm_store_guest(v);
	c->int_state = v->cpu.shadow ? INT_SHADOW : 0;
	c->exit_code = s->exit_code;
	c->exit_info1 = s->exit_info1;
	c->exit_info2 = s->exit_info2;
	c->next_rip = x86_has(&v->cpu, X86_F_NRIPS) ? s->next_rip : 0;
	c->exit_int_info = undelivered_event(v);
	c->event_inj = 0;
	c->insn_len = 0;
	write_back(v);
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
	c->exit_info1 = c->exit_info2 = c->exit_int_info = c->event_inj = 0;
	write_back(v);
	leave_guest(v);
	x86_stat_inc(v->vcpu, X86_STAT_NESTED_EXITS);
}
