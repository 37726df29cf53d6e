/* SPDX-License-Identifier: MIT */
/*
 * Nested SVM: what a vCPU with EFER.SVME can do.  APM 2, chapter 15.
 *
 * VMRUN copies L1's VMCB into `vmcb`, keeps L1's own state in `host`, and
 * changes the CPU's; #VMEXIT writes what has changed back to the VMCB and puts
 * `host` in place.  Nothing of the VMCB is looked at in memory meanwhile.
 */
#ifndef X86_SVM_SVM_H
#define X86_SVM_SVM_H

#include "x86/features.h"
#include "x86/state/state.h"
#include "x86/svm/vmcb.h"

/* A copy of L1's map of MSRs; see enlightened.c. */
struct svm_msr_map {
	bool used;                      /* by L2 as it runs now */
	bool kept;                      /* it is of ... */
	gpa_t vmcb;
	uint8_t bits[MSRPM_USED];
};

struct x86_svm {
	bool gif;
	bool bytes;                     /* the exit is one that tells the instruction's bytes */
	bool host_nmi_blocked;          /* L1's own, while L2 has one in cpu->nmi_blocked: virtual NMIs */
	uint16_t pause_left;            /* PAUSEs until the filter is through */
	uint64_t pause_at;              /* cpu->insns at the last one */
	uint64_t tsc_ratio;             /* MSR 0xc0000104 */
	gpa_t vmcb_gpa;                 /* of the VMCB in use */
	uint64_t hsave, vm_cr;
	struct vmcb vmcb;
	struct svm_msr_map msr_map;
	struct vmcb_save host;          /* what VMRUN keeps of L1, and #VMEXIT restores; APM 2, 15.5.1 and 15.6 */
	/* An exit that x86_vmexit() was called for. */
	uint64_t exit_code, exit_info1, exit_info2, next_rip;
	bool after_flush;               /* one that follows the instruction just done: HV_SVM_TRAP_AFTER_FLUSH */
};

/** svm_create - for a vCPU that may have SVM; -ENOMEM. */
int svm_create(struct x86_vcpu *v) must_check;
void svm_destroy(struct x86_vcpu *v);
/** svm_reset - power-on and INIT: GIF is set, L1 runs. */
void svm_reset(struct x86_vcpu *v);

/** svm_canonical - an address that is not canonical becomes so; APM 2, 15.5.1. */
static inline uint64_t svm_canonical(const struct x86_cpu *cpu, uint64_t address)
{
	unsigned int shift = x86_has(cpu, X86_F_LA57) ? 7 : 16;

	return (uint64_t)((int64_t)(address << shift) >> shift);
}

/* --- enlightened.c --- */
/** svm_keep_msr_map - at VMRUN, all of which is valid: the map that L2 runs with. */
void svm_keep_msr_map(struct x86_vcpu *v);
/** svm_describe_l2 - what the VMCB's software part says of L2; false: nothing. */
struct hv_l2;
bool svm_describe_l2(struct x86_vcpu *v, struct hv_l2 *l2);
/** svm_exit_after_flush - L1 wants to hear of the flush, behind the instruction. */
void svm_exit_after_flush(struct x86_vcpu *v);

/* --- state.c --- */
void svm_load_guest(struct x86_vcpu *v);
void svm_store_guest(struct x86_vcpu *v);
void svm_save_host(struct x86_vcpu *v, uint64_t next_rip);
void svm_restore_host(struct x86_vcpu *v);
/** svm_load_lbr - the last branches and DebugCtl, where L2 has its own. */
void svm_load_lbr(struct x86_vcpu *v, const struct vmcb_save *m);
void svm_get_seg(const struct x86_seg *s, uint64_t base, struct vmcb_seg *m);
/** svm_put_seg - all but the base. */
void svm_put_seg(struct x86_seg *s, const struct vmcb_seg *m);

/* --- features of the VMCB in use: the processor has them, and L1 asks for them --- */

static inline bool svm_lbr(const struct x86_vcpu *v)
{
	return (v->svm->vmcb.control.virt_ext & VIRT_LBR) && x86_has(&v->cpu, X86_F_LBRV);
}

static inline bool svm_vgif(const struct x86_vcpu *v)
{
	return v->cpu.nested.in_guest && (v->svm->vmcb.control.int_ctl & V_GIF_ENABLE) && x86_has(&v->cpu, X86_F_VGIF);
}

static inline bool svm_vnmi(const struct x86_vcpu *v)
{
	return v->svm && v->cpu.nested.in_guest && (v->svm->vmcb.control.int_ctl & V_NMI_ENABLE) &&
	       x86_has(&v->cpu, X86_F_VNMI);
}

/* VMLOAD and VMSAVE of L2 take its own addresses; only with nested paging.  APM 2, 15.33. */
static inline bool svm_vls(const struct x86_vcpu *v)
{
	const struct vmcb_control *c = &v->svm->vmcb.control;

	return v->cpu.nested.in_guest && (c->virt_ext & VIRT_VMLOAD_VMSAVE) && (c->nested_ctl & NESTED_NP) &&
	       x86_has(&v->cpu, X86_F_V_VMSAVE_VMLOAD);
}

/* --- enter.c --- */
/** svm_vmrun - VMRUN, its operand and the privilege judged: enters L2, or exits at once; leaves. */
void svm_vmrun(struct x86_vcpu *v, const struct insn *i);

/** svm_enter_nested - what holds while L2 runs, beside its registers, from v->svm->vmcb.control. */
void svm_enter_nested(struct x86_vcpu *v);
/** svm_leave_nested - the reverse. */
void svm_leave_nested(struct x86_vcpu *v);
/** svm_queue_event - what EVENTINJ asks for is to be delivered before the first instruction; R_RIP is L2's. */
void svm_queue_event(struct x86_vcpu *v);
/** svm_set_tsc - the TSC that L2 sees, where it runs. */
void svm_set_tsc(struct x86_vcpu *v);
/** svm_control_valid, svm_save_valid - breaks no rule of VMRUN's, as far as that part of the VMCB goes. */
bool svm_control_valid(struct x86_vcpu *v, const struct vmcb *m);
bool svm_save_valid(struct x86_vcpu *v, const struct vmcb *m);

/* --- exit.c --- */
/** svm_exit - leaves L2, in the middle of an instruction, with this code. */
void svm_exit(struct x86_vcpu *v, uint64_t code, uint64_t info1, uint64_t info2) __attribute__((noreturn));
/** svm_note - what the exit that follows by x86_vmexit() is to say. */
void svm_note(struct x86_vcpu *v, uint64_t code, uint64_t info1, uint64_t info2);
/** svm_exit_insn - the same for the instruction @i, whose end L1 is told. */
void svm_exit_insn(struct x86_vcpu *v, const struct insn *i, uint64_t code, uint64_t info1, uint64_t info2)
	__attribute__((noreturn));
/** svm_fail_entry - VMRUN of a VMCB that breaks a rule: back in L1 at once. */
void svm_fail_entry(struct x86_vcpu *v);
/** svm_exit_now - the same between instructions: on return L1 runs. */
void svm_exit_now(struct x86_vcpu *v, uint64_t code, uint64_t info1, uint64_t info2);
/** svm_write_back - those parts of the VMCB that an exit changes. */
void svm_write_back(struct x86_vcpu *v);
/** svm_sync - into the VMCB in use: what is kept elsewhere while L2 runs. */
void svm_sync(struct x86_vcpu *v);
/** svm_vmexit - x86_nested_ops.vmexit. */
void svm_vmexit(struct x86_cpu *cpu);

/* --- intercept.c --- */
/** svm_set_intercepts - cpu->nested.icpt from the VMCB. */
void svm_set_intercepts(struct x86_vcpu *v);
bool svm_intercepts3(const struct x86_svm *s, unsigned int bit);
void svm_insn(struct x86_cpu *cpu, const struct insn *i, enum x86_icpt which, uint64_t info);
uint64_t svm_cr_write(struct x86_cpu *cpu, unsigned int n, uint64_t value, enum x86_cr_how how, unsigned int gpr);
void svm_exception(struct x86_cpu *cpu, const struct x86_exception *exc);
void svm_triple_fault(struct x86_cpu *cpu);
void svm_slat_fault(struct x86_cpu *cpu) __attribute__((noreturn));

/** svm_triple_fault_now - one that waits, between instructions; false: L1 does not want to hear of it. */
bool svm_triple_fault_now(struct x86_vcpu *v);

/* --- assist.c --- */
/** svm_fetch_bytes - the bytes of L2's instruction at R_RIP, as far as they can be had. */
void svm_fetch_bytes(struct x86_vcpu *v);

/* --- smm.c --- */
/** svm_suspend - SMM is about to be entered; true: from L2, which is put away, and *@vmcb is where. */
bool svm_suspend(struct x86_vcpu *v, uint64_t *vmcb);
/** svm_resume - RSM to L2, whose registers are loaded.  -EINVAL: what was put away is no such state. */
int svm_resume(struct x86_vcpu *v, uint64_t vmcb) must_check;
/** svm_efer_changed - without EFER.SVME there is no L2, and GIF is set. */
void svm_efer_changed(struct x86_vcpu *v);

/* --- nested_state.c --- */
uint32_t svm_nested_state_size(void);
/** svm_get_nested_state - to the client's @user, as far as there is @room; the bytes needed, or -EFAULT. */
long svm_get_nested_state(struct x86_vcpu *v, unsigned long user, uint32_t room);
long svm_set_nested_state(struct x86_vcpu *v, const struct kvm_nested_state *head, unsigned long user);

/* --- exec.c --- */
void svm_exec(struct x86_cpu *cpu, const struct insn *i);

/* --- event.c --- */
/** svm_inject - events while GIF is clear or L2 runs; true: nothing else is to be looked at. */
bool svm_inject(struct x86_vcpu *v);
/** svm_wakes - has L2, halted, something to wake for that x86_has_event() does not know? */
bool svm_wakes(struct x86_vcpu *v);
/** svm_gif - the global interrupt flag; set where there is no SVM. */
bool svm_gif(const struct x86_vcpu *v);
/** svm_holds_init - an INIT stays latched: GIF is clear, or L1 is to hear of it first. */
bool svm_holds_init(const struct x86_vcpu *v);
/** svm_intercepts_init - L2 runs, and an INIT makes it exit. */
bool svm_intercepts_init(const struct x86_vcpu *v);
/** svm_interrupt_allowed - x86_interrupt_allowed() of the physical processor. */
bool svm_interrupt_allowed(const struct x86_vcpu *v);
/** svm_nmi_blocked - of the physical processor. */
bool svm_nmi_blocked(const struct x86_vcpu *v);
/** svm_virtual_tpr - where CR8 is L2's own: its TPR in the VMCB. */
bool svm_virtual_tpr(const struct x86_vcpu *v);

#endif
