/* SPDX-License-Identifier: MIT */
/*
 * Nested VMX: what a vCPU whose CPUID offers VMX can do.  SDM 3C, chapters 24 to 31.
 *
 * The current VMCS is kept here from VMPTRLD on and goes back to memory when it
 * is current no more (VMCLEAR, VMPTRLD of another, VMXOFF), as with KVM.  VM
 * entry loads the CPU from it; a VM exit stores what has changed and loads the
 * host state that it names.  Whoever notes an exit fills `exit` first.
 */
#ifndef X86_VMX_VMX_H
#define X86_VMX_VMX_H

#include "x86/state/state.h"
#include "x86/vmx/vmcs.h"

#define VMX_NONE (~0ULL)                /* no VMCS is current */

/* What a VM exit has to say; fields of the VMCS have these names.  SDM 3C, 27.2. */
struct vmx_exit {
	uint32_t reason;
	uint64_t qualification;
	uint32_t event, error;          /* exit_event, exit_error */
	uint32_t insn_len, insn_info;
	uint64_t linear, physical;
	bool has_linear, has_physical;
};

/* Which instructions L1 hears of, or L2 has not, with these controls; one VM entry is often like the last. */
struct vmx_asked {
	uint32_t proc, proc2, exceptions;
	bool known;
	uint64_t icpt[X86_ICPT_WORDS];
};

struct x86_vmx {
	bool on;                        /* in VMX operation */
	bool smm_on, smm_guest;         /* in SMM: VMX operation, and L2, that RSM goes back to */
	bool run_pending;               /* L2 was entered, and what the entry injects is still to be queued */
	bool reentered;                 /* L2 runs again, and what its virtual APIC has to say is still to be looked at */
	bool mtf_due;                   /* a monitor trap comes before the next instruction */
	bool has_deadline;              /* the preemption timer's is known */
	uint64_t deadline;              /* in its own ticks of L1's TSC */
	uint64_t mtf_insns, mtf_rip;    /* what had been executed when L2's next instruction began, and where it is */
	bool woken;                     /* L2 was halted until this moment */
	gpa_t vmxon;                    /* its region */
	gpa_t current;                  /* of the VMCS in `m`, or VMX_NONE */
	gpa_t evmcs;                    /* of the enlightened VMCS in `m`, or VMX_NONE; then none is current */
	struct hv_l2 l2;                /* what it says of L2 */
	bool evmcs_enabled;             /* KVM_CAP_HYPERV_ENLIGHTENED_VMCS */
	bool msr_map_kept;              /* msr_map[] is the MSR bitmap */
	uint8_t msr_map[VMCS_SIZE];
	union {
		struct vmcs m;
		uint8_t page[VMCS_SIZE];
	};
	struct vmx_exit exit;
	uint64_t exit_tsc;              /* L1's when it came about, if any MSR is to be stored */
	struct vmx_asked asked;
	bool pausing;                   /* L2 has executed PAUSE at CPL 0; first in its loop, and last: when, by L1's TSC */
	uint64_t first_pause, last_pause;
	bool virtual_intr;              /* recognized: L2 takes it as soon as it can */
	uint32_t after;                 /* reason of the exit that follows the instruction just done, or 0 */
	uint64_t after_qualification;
};

/** vmx_create - for a vCPU that may have VMX; -ENOMEM. */
int vmx_create(struct x86_vcpu *v) must_check;
void vmx_destroy(struct x86_vcpu *v);
/** vmx_reset - power-on and INIT: VMX operation ends. */
void vmx_reset(struct x86_vcpu *v);
/** vmx_set_operation - VMX operation begins or ends, with all that it asks of the control registers. */
void vmx_set_operation(struct x86_vcpu *v, bool on);
/** vmx_forget - outside VMX operation, whatever was before; the registers stay. */
void vmx_forget(struct x86_vcpu *v);

static inline bool vmx_proc(const struct x86_vmx *x, uint32_t control)
{
	return x->m.proc & control;
}

/** vmx_proc2 - a secondary control, which counts only where these are switched on. */
static inline bool vmx_proc2(const struct x86_vmx *x, uint32_t control)
{
	return (x->m.proc & PROC_SECONDARY) && (x->m.proc2 & control);
}

/* A trap of single-stepping that has been put off is in the pending debug exceptions, and must be; SDM 3C, 26.3.1.5. */
static inline bool vmx_step_deferred(const struct vmcs *m)
{
	return (m->guest_interruptibility & (BLOCKED_STI | BLOCKED_MOV_SS)) || m->guest_activity == ACTIVITY_HLT;
}

static inline bool vmx_single_steps(const struct vmcs *m)
{
	return (m->guest_rflags & FL_TF) && !(m->guest_debugctl & DEBUGCTL_BTF);
}

/** vmx_has_vmcs - is there one in `m`? */
static inline bool vmx_has_vmcs(const struct x86_vmx *x)
{
	return x->current != VMX_NONE || x->evmcs != VMX_NONE;
}

/* --- caps.c: IA32_VMX_*, SDM 3D, appendix A --- */
#define VMX_MSR_FIRST 0x480
#define VMX_MSR_LAST 0x491
enum vmx_cap {
	CAP_BASIC, CAP_PIN, CAP_PROC, CAP_EXIT, CAP_ENTRY, CAP_MISC, CAP_CR0_FIXED0, CAP_CR0_FIXED1, CAP_CR4_FIXED0,
	CAP_CR4_FIXED1, CAP_VMCS_ENUM, CAP_PROC2, CAP_EPT_VPID, CAP_TRUE_PIN, CAP_TRUE_PROC, CAP_TRUE_EXIT,
	CAP_TRUE_ENTRY, CAP_VMFUNC, CAP_COUNT
};
static_assert(CAP_COUNT == VMX_MSR_LAST - VMX_MSR_FIRST + 1, "one for each MSR");

/** vmx_cap_offered - what we can: a feature MSR. */
uint64_t vmx_cap_offered(enum vmx_cap cap);
/** vmx_cap - what the vCPU offers, where the client may have taken some away. */
uint64_t vmx_cap(const struct x86_vcpu *v, enum vmx_cap cap);
void vmx_caps_init(struct x86_vcpu *v);
int vmx_get_cap(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host);
int vmx_set_cap(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host);

/* --- evmcs.c --- */
/** vmx_enable_evmcs - KVM_ENABLE_CAP; -ENOTTY without VMX, -EFAULT. */
int vmx_enable_evmcs(struct vcpu *vcpu, const struct kvm_enable_cap *cap);
/** vmx_evmcs_supported - the versions that a vCPU of the model can have; 0: none. */
uint16_t vmx_evmcs_supported(void);
/** vmx_evmcs_versions - of the enlightened VMCS, highest and lowest; 0: the client has not enabled it. */
uint16_t vmx_evmcs_versions(const struct x86_vcpu *v);
/** vmx_evmcs_offered - to the guest. */
bool vmx_evmcs_offered(const struct x86_vcpu *v);
/** vmx_evmcs_cap - what a guest with enlightened VMCSs sees of a capability MSR that is @value. */
uint64_t vmx_evmcs_cap(enum vmx_cap cap, uint64_t value);
/** vmx_evmcs_unsupported - a control is set for which it has no field. */
bool vmx_evmcs_unsupported(const struct x86_vcpu *v);
/** vmx_evmcs_load - on VM entry: what the VP assist page names becomes `m`. */
enum vmx_evmcs { EVMCS_UNUSED, EVMCS_READY, EVMCS_BAD, EVMCS_MISSING };
enum vmx_evmcs vmx_evmcs_load(struct x86_vcpu *v, bool launch);
/** vmx_evmcs_entered - L2 runs: all of it is clean.  vmx_evmcs_store - to L1, if `m` is one. */
void vmx_evmcs_entered(struct x86_vcpu *v);
void vmx_evmcs_store(struct x86_vcpu *v);
/** vmx_evmcs_store_error - the VM-instruction error of it. */
void vmx_evmcs_store_error(struct x86_vcpu *v);
void vmx_evmcs_release(struct x86_vcpu *v);
/** vmx_evmcs_refresh - all that L1 may have written meanwhile.  vmx_evmcs_expect - there is one, whose name is to come. */
void vmx_evmcs_refresh(struct x86_vcpu *v);
void vmx_evmcs_expect(struct x86_vcpu *v);
/** vmx_describe_l2 - what the enlightened VMCS says of L2; false: there is none. */
bool vmx_describe_l2(struct x86_vcpu *v, struct hv_l2 *l2);
/** vmx_evmcs_clear - VMCLEAR's part; false: enlightened VMCSs are not in use, it is an ordinary one. */
bool vmx_evmcs_clear(struct x86_vcpu *v, gpa_t region);
/** vmx_evmcs_has - the field that is at @offset of struct vmcs.  vmx_evmcs_read - VMREAD from it; false: it cannot be. */
bool vmx_evmcs_has(int offset);
bool vmx_evmcs_read(struct x86_vcpu *v, uint32_t encoding, int offset, uint64_t *value);

/* --- exec.c --- */
/** vmx_release - the current VMCS goes back to memory. */
void vmx_release(struct x86_vcpu *v);
void vmx_exec(struct x86_cpu *cpu, const struct insn *i);
/* How a VMX instruction ends; SDM 3C, 31.2. */
void vmx_succeed(struct x86_vcpu *v);
void vmx_fail_invalid(struct x86_vcpu *v);
void vmx_fail(struct x86_vcpu *v, enum vmx_error error);

/* --- shadow.c --- */
/** vmx_shadowed - is this VMREAD or VMWRITE of L2 one of the shadow VMCS, which L1 does not hear of? */
bool vmx_shadowed(struct x86_vcpu *v, const struct insn *i);
/** vmx_shadow_read, vmx_shadow_write - a field of the VMCS that the link pointer names; false: it is not there. */
bool vmx_shadow_read(struct x86_vcpu *v, uint32_t encoding, int offset, uint64_t *value) must_check;
bool vmx_shadow_write(struct x86_vcpu *v, uint32_t encoding, int offset, uint64_t value) must_check;

/* --- pml.c --- */
/** vmx_log_dirty - x86_nested_ops.log_dirty. */
bool vmx_log_dirty(struct x86_cpu *cpu, gpa_t gpa);

/* --- apic.c --- */
/** vmx_apic_enter - VM entry is done: what the virtual APIC has to say. */
void vmx_apic_enter(struct x86_vcpu *v);
/** vmx_take_virtual_interrupt - L2 can take it. */
void vmx_take_virtual_interrupt(struct x86_vcpu *v);
/** vmx_get_cr8, vmx_set_cr8 - by L2; false: it is not virtualized. */
bool vmx_get_cr8(struct x86_vcpu *v, uint64_t *value);
bool vmx_set_cr8(struct x86_vcpu *v, uint64_t value);

/* --- apic_access.c --- */
/** vmx_apic_mmio - a device access of L2; false: not one to the APIC-access page.  May leave. */
bool vmx_apic_mmio(struct x86_vcpu *v, gpa_t gpa, void *data, unsigned int len, bool write);
/** vmx_apic_not_data - code is fetched there, or it holds one of L2's page tables. */
void vmx_apic_not_data(struct x86_vcpu *v, gpa_t gpa, bool table) __attribute__((noreturn));
/** vmx_x2apic - L2's access to this MSR may be virtualized; vmx_x2apic_read - false: it is not. */
bool vmx_x2apic(const struct x86_vcpu *v, uint32_t index);
bool vmx_x2apic_read(struct x86_vcpu *v, uint32_t index, uint64_t *value);
/** vmx_x2apic_write - -1: it is not; 1: #GP. */
int vmx_x2apic_write(struct x86_vcpu *v, uint32_t index, uint64_t value);

/* --- posted.c --- */
/** vmx_take_posted - L1's local APIC has been acknowledged, and it was the notification. */
void vmx_take_posted(struct x86_vcpu *v);

/* --- check.c --- */
/** vmx_check_controls, vmx_check_host - 0, or the number of the error that VMLAUNCH fails with. */
enum vmx_error vmx_check_controls(struct x86_vcpu *v) must_check;
enum vmx_error vmx_check_host(struct x86_vcpu *v) must_check;
/** vmx_check_guest - false: the entry fails, *qualification says how. */
bool vmx_check_guest(struct x86_vcpu *v, uint64_t *qualification) must_check;
/** vmx_guest_possible - is there a processor that runs L2 with these segments? */
bool vmx_guest_possible(struct x86_vcpu *v);
bool vmx_check_eptp(const struct x86_vcpu *v, uint64_t eptp) must_check;

/* --- enter.c --- */
/** vmx_launch - VMLAUNCH, VMRESUME, the privilege judged: fails, or enters L2 and leaves. */
void vmx_launch(struct x86_vcpu *v, const struct insn *i);
/** vmx_reenter - L2 runs, as the VMCS has it, and this is no VM entry: after RSM, or as the client says. */
void vmx_reenter(struct x86_vcpu *v);

/** vmx_set_ept - cpu->nested.slat follows EPTP. */
void vmx_set_ept(struct x86_vcpu *v);

/* --- vmfunc.c --- */
void vmx_func(struct x86_vcpu *v, const struct insn *i);
/** vmx_convert_violation - an EPT violation of L2, which becomes #VE and leaves, or returns to be an exit. */
void vmx_convert_violation(struct x86_vcpu *v, const struct vmx_exit *e);

/* --- pause.c --- */
/** vmx_pause_loops - PAUSE at CPL 0: has that been going on for too long? */
bool vmx_pause_loops(struct x86_vcpu *v);

/* --- state.c --- */
/** vmx_load_guest - @entry: with what the entry controls ask for. */
void vmx_load_guest(struct x86_vcpu *v, bool entry);
/** vmx_load_pdptes - PAE's four top entries; false: they cannot be. */
bool vmx_load_pdptes(struct x86_vcpu *v) must_check;
void vmx_store_guest(struct x86_vcpu *v);
void vmx_load_host(struct x86_vcpu *v);

/* --- msr_area.c; SDM 3C, 26.4, 27.4 --- */
/** vmx_load_msrs - 0, or the number, from 1 on, of the entry that cannot be. */
uint32_t vmx_load_msrs(struct x86_vcpu *v, gpa_t at, uint32_t count) must_check;
bool vmx_store_msrs(struct x86_vcpu *v, gpa_t at, uint32_t count) must_check;

/* --- exit.c --- */
/** vmx_exit - leaves L2 in the middle of an instruction. */
void vmx_exit(struct x86_vcpu *v, const struct vmx_exit *e) __attribute__((noreturn));
/** vmx_exit_insn - the same for the instruction @i. */
void vmx_exit_insn(struct x86_vcpu *v, const struct insn *i, uint32_t reason, uint64_t qualification)
	__attribute__((noreturn));
/** vmx_exit_now - the same between instructions: on return L1 runs. */
void vmx_exit_now(struct x86_vcpu *v, const struct vmx_exit *e);
/** vmx_leave_guest - what holds while L2 runs holds no more; registers and VMCS stay. */
void vmx_leave_guest(struct x86_vcpu *v);
/** vmx_exit_after - the exit comes behind the instruction in hand, or behind VM entry. */
void vmx_exit_after(struct x86_vcpu *v, uint32_t reason, uint64_t qualification);
/** vmx_fail_entry - L2's state has been loaded in part: L1's takes its place. */
void vmx_fail_entry(struct x86_vcpu *v, uint32_t reason, uint64_t qualification);
/** vmx_vmexit - x86_nested_ops.vmexit. */
void vmx_vmexit(struct x86_cpu *cpu);

/* --- intercept.c --- */
/** vmx_set_intercepts - cpu->nested from the VMCS. */
void vmx_set_intercepts(struct x86_vcpu *v);
void vmx_insn(struct x86_cpu *cpu, const struct insn *i, enum x86_icpt which, uint64_t info);
uint64_t vmx_cr_write(struct x86_cpu *cpu, unsigned int n, uint64_t value, enum x86_cr_how how, unsigned int gpr);
void vmx_triple_fault(struct x86_cpu *cpu);
void vmx_slat_fault(struct x86_cpu *cpu) __attribute__((noreturn));

/* --- info.c: the instruction-information field, SDM 3C, 27.2.5 --- */
/** vmx_insn_info, vmx_virt_info - of an instruction, of VMX's own; vmx_io_info - of INS and OUTS. */
uint32_t vmx_insn_info(const struct x86_cpu *cpu, const struct insn *i, enum x86_icpt which);
uint32_t vmx_virt_info(const struct x86_cpu *cpu, const struct insn *i);
uint32_t vmx_io_info(const struct x86_cpu *cpu, const struct insn *i);
/** vmx_displacement - of the memory operand, as the exit qualification has it. */
uint64_t vmx_displacement(const struct x86_cpu *cpu, const struct insn *i);

/* --- event.c --- */
void vmx_exception(struct x86_cpu *cpu, const struct x86_exception *exc);
/** vmx_vectoring - the event whose delivery was under way, or 0. */
uint32_t vmx_vectoring(const struct x86_vcpu *v);
/** vmx_inject - events while L2 runs; true: nothing else is to be looked at. */
bool vmx_inject(struct x86_vcpu *v);
/** vmx_settle - KVM_RUN ends: an exit that is due behind the last instruction happens, for the client to see. */
void vmx_settle(struct x86_vcpu *v);
/** vmx_triple_fault_now - one that waits, between instructions; false: it is not L2's. */
bool vmx_triple_fault_now(struct x86_vcpu *v);
/** vmx_blocks_init - is a CPU in VMX root operation, where an INIT waits and a SIPI is lost?  SDM 3C, 23.8. */
static inline bool vmx_blocks_init(const struct x86_vcpu *v)
{
	return v->vmx && v->vmx->on && !v->cpu.nested.in_guest;
}

/** vmx_accept_events - INIT and SIPI while L2 runs: VM exits.  false: they have to wait. */
bool vmx_accept_events(struct x86_vcpu *v);
/** vmx_wakes - has L2, halted, something to wake for that x86_has_event() does not know? */
bool vmx_wakes(struct x86_vcpu *v);

/* --- timer.c: the VMX-preemption timer, SDM 3C, 25.5.1 --- */
#define VMX_TIMER_RATE 5                /* IA32_VMX_MISC 4:0: it counts down once in 32 ticks of the TSC; as KVM */
/** vmx_timer_start - L2 is entered, or entered again with a deadline that is known. */
void vmx_timer_start(struct x86_vcpu *v);
/** vmx_timer_due - has it expired? */
bool vmx_timer_due(const struct x86_vcpu *v);
/** vmx_timer_value - what it would be saved as. */
uint32_t vmx_timer_value(const struct x86_vcpu *v);
/** vmx_wake_time - the earlier of @deadline_ns, UINT64_MAX if never, and the timer's; CLOCK_MONOTONIC. */
uint64_t vmx_wake_time(const struct x86_vcpu *v, uint64_t deadline_ns);

/* --- smm.c --- */
/** vmx_suspend - SMM is about to be entered, and L2's registers are saved. */
void vmx_suspend(struct x86_vcpu *v);
/** vmx_resume - RSM, the registers loaded: back to VMX operation and L2.  -EINVAL: the VMCS cannot be entered. */
int vmx_resume(struct x86_vcpu *v) must_check;

/* --- nested_state.c: KVM_GET_NESTED_STATE, KVM_SET_NESTED_STATE --- */
uint32_t vmx_nested_state_size(void);
/** vmx_get_nested_state - to the client's @user, if there is @room; the bytes needed, or -EFAULT. */
long vmx_get_nested_state(struct x86_vcpu *v, unsigned long user, uint32_t room);
long vmx_set_nested_state(struct x86_vcpu *v, const struct kvm_nested_state *s, unsigned long user);

#endif
