// SPDX-License-Identifier: MIT
/*
 * KVM_RUN: the last exit is completed, the CPU runs, kvm_run says why it
 * stopped.
 *
 * The engine calls x86_kvm_env at block boundaries and for accesses that leave
 * the CPU.  An instruction that needs the client's answer has committed
 * nothing; it runs again on re-entry, before anything else, and finds the
 * answer in cpu.replay (devices) or msr_answer.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "host/clock.h"
#include "x86/cpu/debug.h"
#include "x86/mmu/mmu.h"
#include "x86/pv/async_pf.h"
#include "x86/pv/kvmclock.h"
#include "x86/pv/steal.h"
#include "x86/pv/vmware.h"
#include "x86/state/cpuid.h"
#include "x86/state/hypercall.h"
#include "x86/state/msr.h"
#include "x86/state/smm.h"
#include "x86/state/state.h"
#include "x86/state/stats.h"
#include "x86/state/trace.h"
#include "x86/svm/svm.h"
#include "x86/vmx/vmx.h"

/* What service() takes; the rest is the engine's. */
#define SERVED (X86_REQ_EVENT | X86_REQ_RELOAD_SLOTS | X86_REQ_TIMER | X86_REQ_STEAL | X86_REQ_CLOCK | \
		X86_REQ_TRIPLE_FAULT | X86_REQ_HALT | X86_REQ_PMU)

#define PORT_7E 0x7e
#define EFER_EXISTING (EFER_SCE | EFER_LME | EFER_LMA | EFER_NX | EFER_SVME | EFER_LMSLE | EFER_FFXSR)
/* What the hardware says of an entry that failed; APM 2, appendix C and SDM 3D, appendix C. */
#define SVM_EXIT_INVALID 0xffffffffu
#define VMX_EXIT_INVALID_STATE 0x80000021u

/* --- accesses to devices ---------------------------------------------------------------- */

static bool env_pio(struct x86_cpu *cpu, uint16_t port, void *data, uint8_t len, bool write)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);
	struct kvm_run *run = v->vcpu->run;

	if (x86_chip_pio(v, port, data, len, write))
		return true;
	if (write && kvm_bus_write(v->vcpu->vm, KVM_BUS_PIO, port, len, data))
		return true;
	run->io.direction = write ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN;
	run->io.size = len;
	run->io.port = port;
	cpu->batch.asked = !write && cpu->batch.want > 1 ? cpu->batch.want : 1;
	cpu->batch.want = 0;
	run->io.count = cpu->batch.asked;
	run->io.data_offset = KVM_PIO_PAGE * GUEST_PAGE_SIZE;
	if (write)
		memcpy(v->vcpu->pio_data, data, len);
	/* The quirk of port 0x7e: the client sees RIP behind the instruction.  api.rst 7.27. */
	if (write && port == PORT_7E && !(v->vm->disabled_quirks & KVM_X86_QUIRK_OUT_7E_INC_RIP)) {
		v->io_exit = true;
		x86_request(cpu, X86_REQ_EVENT);
		return true;
	}
	run->exit_reason = KVM_EXIT_IO;
	return false;
}

static bool env_mmio(struct x86_cpu *cpu, gpa_t gpa, void *data, uint8_t len, bool write)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);
	struct kvm_run *run = v->vcpu->run;

	if (vmx_apic_mmio(v, gpa, data, len, write) || x86_chip_mmio(v, gpa, data, len, write))
		return true;
	if (write && kvm_bus_write(v->vcpu->vm, KVM_BUS_MMIO, gpa, len, data))
		return true;
	run->exit_reason = KVM_EXIT_MMIO;
	run->mmio.phys_addr = gpa;
	run->mmio.len = len;
	run->mmio.is_write = write;
	memset(run->mmio.data, 0, sizeof(run->mmio.data));
	if (write)
		memcpy(run->mmio.data, data, len);
	return false;
}

/* The client's answer to the access that is pending, where the engine will look for it. */
static void complete_access(struct x86_vcpu *v)
{
	struct x86_replay *r = &v->cpu.replay;

	if (!r->pending)
		return;
	r->pending = false;
	if (!r->frag[r->count].is_write) {
		const void *src = r->frag[r->count].is_pio ? v->vcpu->pio_data :
							      (const void *)v->vcpu->run->mmio.data;

		memcpy(r->frag[r->count].data, src, r->frag[r->count].len);
		if (r->frag[r->count].is_pio && v->cpu.batch.asked > 1) {
			memcpy(v->cpu.batch.data, src, (size_t)v->cpu.batch.asked * r->frag[r->count].len);
			v->cpu.batch.have = v->cpu.batch.asked;
		}
	}
	if (unlikely(v->vm->traced))
		x86_trace_answer(v);
	r->count++;
}

/* --- MSRs ------------------------------------------------------------------------------- */

/* Asks the client where it wants to be asked; @reason is KVM_MSR_EXIT_REASON_*. */
static int msr_exit(struct x86_vcpu *v, uint32_t index, bool write, uint64_t value, uint32_t reason)
{
	struct kvm_run *run = v->vcpu->run;

	if (!(v->vm->user_msr & reason))
		return 1;
	run->exit_reason = write ? KVM_EXIT_X86_WRMSR : KVM_EXIT_X86_RDMSR;
	run->msr.error = 0;
	memset(run->msr.pad, 0, sizeof(run->msr.pad));
	run->msr.reason = reason;
	run->msr.index = index;
	run->msr.data = write ? value : 0;
	v->msr_answer.index = index;
	v->msr_answer.is_write = write;
	v->completion = X86_COMPLETE_MSR;
	return 2;
}

static void complete_msr(struct x86_vcpu *v)
{
	if (v->completion != X86_COMPLETE_MSR)
		return;
	v->msr_answer.error = v->vcpu->run->msr.error;
	v->msr_answer.data = v->vcpu->run->msr.data;
	/* Makes the engine run this instruction again before anything else. */
	v->cpu.replay.count = 1;
}

static bool take_msr_answer(struct x86_vcpu *v, uint32_t index, bool write)
{
	bool ours = v->completion == X86_COMPLETE_MSR && v->msr_answer.index == index &&
		    v->msr_answer.is_write == write;

	v->completion = X86_COMPLETE_NONE;
	return ours;
}

static uint32_t msr_reason(int r)
{
	switch (r) {
	case -EACCES: return KVM_MSR_EXIT_REASON_FILTER;
	case -ENOENT: return KVM_MSR_EXIT_REASON_UNKNOWN;
	default: return KVM_MSR_EXIT_REASON_INVAL;
	}
}

static int env_rdmsr(struct x86_cpu *cpu, uint32_t index, uint64_t *value)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);
	int r;

	if (unlikely(v->completion) && take_msr_answer(v, index, false)) {
		*value = v->msr_answer.data;
		return v->msr_answer.error ? 1 : 0;
	}
	if (vmx_x2apic(v, index) && vmx_x2apic_read(v, index, value))
		return 0;
	r = x86_guest_rdmsr(v, index, value);
	return r ? msr_exit(v, index, false, 0, msr_reason(r)) : 0;
}

static int env_wrmsr(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);
	int r;

	if (unlikely(v->completion) && take_msr_answer(v, index, true))
		return v->msr_answer.error ? 1 : 0;
	r = vmx_x2apic(v, index) ? vmx_x2apic_write(v, index, value) : -1;
	if (r >= 0)
		return r;
	r = x86_guest_wrmsr(v, index, value);
	return r ? msr_exit(v, index, true, value, msr_reason(r)) : 0;
}

/* --- the rest of what the CPU asks ---------------------------------------------------------- */

static uint64_t env_get_cr8(struct x86_cpu *cpu)
{
	uint64_t value;

	return vmx_get_cr8(x86_vcpu_of_cpu(cpu), &value) ? value : x86_get_cr8(cpu);
}

static void env_set_cr8(struct x86_cpu *cpu, uint64_t value)
{
	if (!vmx_set_cr8(x86_vcpu_of_cpu(cpu), value))
		x86_set_cr8(cpu, value);
}

static uint64_t env_tsc(struct x86_cpu *cpu)
{
	return x86_guest_tsc(x86_vcpu_of_cpu(cpu));
}

static int env_rdpmc(struct x86_cpu *cpu, uint32_t index, uint64_t *value)
{
	return x86_pmu_rdpmc(x86_vcpu_of_cpu(cpu), index, value);
}

static uint64_t env_work_ns(struct x86_cpu *cpu)
{
	return host_thread_ns();
}

static int env_vmware_pmc(struct x86_cpu *cpu, uint32_t index, uint64_t *value)
{
	return x86_vmware_pmc(x86_vcpu_of_cpu(cpu), index, value);
}

static void env_cpuid(struct x86_cpu *cpu, uint32_t *eax, uint32_t *ebx, uint32_t *ecx, uint32_t *edx)
{
	x86_cpuid_query(x86_vcpu_of_cpu(cpu), eax, ebx, ecx, edx);
}

static void env_halt(struct x86_cpu *cpu)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);

	x86_request(cpu, X86_REQ_HALT);
	if (v->vm->hlt_in_guest) {
		v->halted_inside = true;
		return;
	}
	if (v->has_lapic)
		atomic_store(&v->mp_state, KVM_MP_STATE_HALTED);
	else
		v->hlt_exit = true;
	x86_stat_inc(v->vcpu, X86_STAT_HALT_EXITS);
}

static int env_slice(struct x86_cpu *cpu)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);

	x86_stats_engine(v->vcpu);
	if (kvm_vcpu_sync_needed(v->vcpu))
		x86_request(cpu, X86_REQ_RELOAD_SLOTS);
	if (unlikely(v->steal.msr))
		x86_request(cpu, X86_REQ_STEAL);
	x86_pmu_slice(v);
	return kvm_vcpu_interrupted(v->vcpu) ? X86_RUN_INTR : 0;
}

/*
 * Has another vCPU, inside the guest, done nothing since we looked last?  Then the host has given its processor to
 * somebody else.  Of many vCPUs some are looked at, twice, and the next ones the next time.
 */
static bool sibling_preempted(struct x86_vcpu *v)
{
	unsigned int all = atomic_load(&v->vcpu->vm->nvcpus), some = all < X86_WATCHED ? all : X86_WATCHED;
	bool found = false;

	for (unsigned int n = 0; n < some; n++) {
		const struct x86_cpu *c = &x86_vcpu_of(v->vcpu->vm->vcpu[(v->watch.first + n) % all])->cpu;
		uint64_t insns = __atomic_load_n(&c->insns, __ATOMIC_RELAXED);

		found |= c != &v->cpu && atomic_load(&c->in_guest) && insns == v->watch.insns[n];
		v->watch.insns[n] = insns;
	}
	found &= v->watch.known;
	v->watch.known = all == some || !v->watch.known;
	if (!v->watch.known)
		v->watch.first = (v->watch.first + some) % all;
	return found;
}

/* KVM yields to the vCPU that was preempted; to whom we yield is the host's choice, so only where there is one. */
static void env_spin(struct x86_cpu *cpu)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);

	if (v->vm->pause_in_guest || !sibling_preempted(v))
		return;
	x86_stat_inc(v->vcpu, X86_STAT_PAUSE_YIELDS);
	sched_yield();
}

static gva_t linear_rip(const struct x86_cpu *cpu)
{
	if (cpu->mode == CODE64)
		return cpu->regs[R_RIP];
	return (uint32_t)(cpu->regs[R_RIP] + cpu->regs[R_SEGBASE + SEG_CS]);
}

/* KVM_EXIT_DEBUG; api.rst 5, and SDM 3B 17.2.3 for DR6. */
static bool env_guest_debug(struct x86_cpu *cpu, const struct x86_exception *exc)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);
	struct kvm_run *run = v->vcpu->run;
	uint32_t wants = exc->vector == X86_BP ? KVM_GUESTDBG_USE_SW_BP :
						 KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_HW_BP;

	if (!(v->guest_debug & wants))
		return false;
	run->exit_reason = KVM_EXIT_DEBUG;
	memset(&run->debug.arch, 0, sizeof(run->debug.arch));
	run->debug.arch.exception = exc->vector;
	run->debug.arch.pc = linear_rip(cpu);
	if (exc->vector == X86_DB) {
		run->debug.arch.dr6 = DR6_FIXED_1 | DR6_RTM | exc->payload;
		run->debug.arch.dr7 = cpu->client_debug.active ? cpu->client_debug.dr7 : cpu->dr7;
	}
	return true;
}

/* --- service ------------------------------------------------------------------------------ */

static void serve_timers(struct x86_vcpu *v)
{
	uint64_t deadline = atomic_load(&v->timer_deadline);

	if (unlikely(v->hv.synic.due || v->hv.synic.deadline))
		hv_stimers_serve(v);

	if (deadline && host_now_ns() >= deadline) {
		atomic_store(&v->timer_deadline, 0);
		lapic_timer_expired(&v->lapic);
	}
}

/* What a sleeping vCPU wakes up for. */
static uint64_t first_deadline(struct x86_vcpu *v)
{
	uint64_t apic = atomic_load(&v->timer_deadline), hv = v->hv.synic.deadline;

	if (!apic || (hv && hv < apic))
		apic = hv;
	return apic ? apic : UINT64_MAX;
}

static bool awake(struct vcpu *vcpu)
{
	struct x86_vcpu *v = x86_vcpu_of(vcpu);
	uint32_t state = atomic_load(&v->mp_state);

	if (atomic_load(&v->cpu.requests) & (X86_REQ_EVENT | X86_REQ_TIMER))
		return true;
	/* Waiting for SIPI nothing but the local APIC's messages counts. */
	if (state == KVM_MP_STATE_INIT_RECEIVED || state == KVM_MP_STATE_SIPI_RECEIVED)
		return v->has_lapic && lapic_events(&v->lapic);
	return x86_has_event(v);
}

static bool runnable(struct x86_vcpu *v)
{
	uint32_t state = atomic_load(&v->mp_state);

	if (unlikely(v->halted_inside)) {
		v->halted_inside = !x86_has_event(v);
		return !v->halted_inside;
	}
	if (likely(state == KVM_MP_STATE_RUNNABLE && !v->apf.halted))
		return true;
	if (state == KVM_MP_STATE_RUNNABLE) {
		v->apf.halted = !x86_has_event(v);
		return !v->apf.halted;
	}
	if ((state != KVM_MP_STATE_HALTED && state != KVM_MP_STATE_AP_RESET_HOLD) || !x86_has_event(v))
		return false;
	v->apf.halted = false;
	atomic_store(&v->unhalted, false);
	atomic_store(&v->mp_state, KVM_MP_STATE_RUNNABLE);
	if (v->vmx && v->cpu.nested.in_guest)
		v->vmx->woken = true;
	return true;
}

/*
 * Has a page come, or has the guest acknowledged one?  Anything else is no reason
 * to look into its area, but that its local APIC, which was off, may be on now.
 */
static bool take_async_pf(struct x86_vcpu *v)
{
	if (unlikely(v->apf.no_lapic))
		return true;
	if (likely(!(atomic_load(&v->cpu.requests) & X86_REQ_ASYNC_PF)))
		return false;
	atomic_fetch_and(&v->cpu.requests, ~(uint32_t)X86_REQ_ASYNC_PF);
	return true;
}

/* Sleeps while the vCPU has nothing to do.  0, or -EINTR. */
static int wait_runnable(struct x86_vcpu *v)
{
	for (;;) {
		int r;

		if (v->has_lapic)
			serve_timers(v);
		x86_accept_events(v);
		if (unlikely(take_async_pf(v)))
			x86_async_pf_tell(v);
		if (runnable(v))
			return 0;
		if (kvm_vcpu_immediate_exit(v->vcpu))
			return -EINTR;
		atomic_fetch_and(&v->cpu.requests, ~(uint32_t)(X86_REQ_EVENT | X86_REQ_TIMER));
		x86_stats_engine(v->vcpu);
		r = kvm_vcpu_block(v->vcpu, awake, first_deadline(v));
		if (r)
			return r;
		x86_steal_update(v);
	}
}

/* Exits that an instruction, now complete, has asked for.  true: kvm_run is filled. */
static bool pending_exit(struct x86_vcpu *v)
{
	struct kvm_run *run = v->vcpu->run;

	if (unlikely(hv_pending_exit(v)))
		return true;
	if (v->io_exit) {
		v->io_exit = false;
		run->exit_reason = KVM_EXIT_IO;
		return true;
	}
	/* The flag says it too, and is set where another exit has come first. */
	if (v->cpu.split_locked) {
		run->exit_reason = KVM_EXIT_X86_BUS_LOCK;
		return true;
	}
	if (v->hlt_exit) {
		v->hlt_exit = false;
		run->exit_reason = KVM_EXIT_HLT;
		return true;
	}
	if (v->set_tpr_exit) {
		v->set_tpr_exit = false;
		run->exit_reason = KVM_EXIT_SET_TPR;
		return true;
	}
	if (v->tpr_exit) {
		v->tpr_exit = false;
		run->exit_reason = KVM_EXIT_TPR_ACCESS;
		run->tpr_access.rip = v->tpr_exit_rip;
		run->tpr_access.is_write = v->tpr_exit_write;
		return true;
	}
	if (v->ioapic_eoi >= 0) {
		run->exit_reason = KVM_EXIT_IOAPIC_EOI;
		run->eoi.vector = (uint8_t)v->ioapic_eoi;
		v->ioapic_eoi = -1;
		return true;
	}
	return false;
}

/* Until the client has taken pages out, KVM_RUN ends at once. */
static bool ring_full_exit(struct x86_vcpu *v)
{
	if (likely(!kvm_dirty_ring_soft_full(&v->vcpu->dirty_ring)))
		return false;
	v->vcpu->run->exit_reason = KVM_EXIT_DIRTY_RING_FULL;
	return true;
}

static bool window_exit(struct x86_vcpu *v)
{
	struct kvm_run *run = v->vcpu->run;

	if (!*(volatile uint8_t *)&run->request_interrupt_window || x86_irqchip_kernel(v->vm))
		return false;
	if (!x86_ready_for_interrupt(v)) {
		/* Look again when the instruction behind STI is done. */
		if (v->cpu.shadow)
			x86_request(&v->cpu, X86_REQ_EVENT | X86_REQ_STEP);
		return false;
	}
	run->exit_reason = KVM_EXIT_IRQ_WINDOW_OPEN;
	return true;
}

static int env_service(struct x86_cpu *cpu)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);
	uint32_t req = atomic_fetch_and(&cpu->requests, ~(uint32_t)SERVED);

	if (kvm_vcpu_sync_needed(v->vcpu))
		kvm_vcpu_sync(v->vcpu);
	x86_vapic_collect(v);
	if (req & X86_REQ_CLOCK) {
		x86_kvmclock_update(v);
		hv_tsc_page_update(v);
	}
	if (req & X86_REQ_STEAL)
		x86_steal_update(v);
	if (req & X86_REQ_PMU)
		x86_pmu_sync(v);
	if (v->triple_fault || (req & X86_REQ_TRIPLE_FAULT)) {
		v->triple_fault = false;
		if (!svm_triple_fault_now(v))
			return X86_RUN_SHUTDOWN;
	}
	if (ring_full_exit(v) || pending_exit(v)) {
		x86_request(cpu, X86_REQ_EVENT);
		return X86_RUN_EXIT;
	}
	if (wait_runnable(v)) {
		x86_request(cpu, X86_REQ_EVENT);
		return X86_RUN_INTR;
	}
	if (window_exit(v)) {
		x86_request(cpu, X86_REQ_EVENT);
		return X86_RUN_EXIT;
	}
	cpu->if_unwatched = !*(volatile uint8_t *)&v->vcpu->run->request_interrupt_window &&
			    !(v->guest_debug & KVM_GUESTDBG_BLOCKIRQ);
	x86_vapic_publish(v);
	x86_inject(v);
	return 0;
}

const struct x86_env x86_kvm_env = {
	.pio = env_pio, .mmio = env_mmio, .page = x86_async_pf_page, .rdmsr = env_rdmsr, .wrmsr = env_wrmsr, .cpuid = env_cpuid,
	.tsc = env_tsc, .rdpmc = env_rdpmc, .vmware_pmc = env_vmware_pmc, .work_ns = env_work_ns,
	.get_cr8 = env_get_cr8, .set_cr8 = env_set_cr8,
	.hypercall = x86_hypercall, .replaces_hypercall = x86_replaces_hypercall,
	.leave_smm = x86_smm_leave, .halt = env_halt, .slice = env_slice, .spin = env_spin,
	.service = env_service, .guest_debug = env_guest_debug,
};

/* --- KVM_RUN -------------------------------------------------------------------------------- */

static int internal_error(struct x86_vcpu *v)
{
	struct kvm_run *run = v->vcpu->run;
	uint8_t len = v->cpu.internal.len;

	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	memset(&run->emulation_failure, 0, sizeof(run->emulation_failure));
	run->emulation_failure.suberror = KVM_INTERNAL_ERROR_EMULATION;
	/* Words of data: the flags and, if they say so, the instruction. */
	run->emulation_failure.ndata = len ? 3 : 1;
	if (!len)
		return 0;
	run->emulation_failure.flags = KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
	run->emulation_failure.insn_size = len;
	memset(run->emulation_failure.insn_bytes, 0x90, sizeof(run->emulation_failure.insn_bytes));
	memcpy(run->emulation_failure.insn_bytes, v->cpu.internal.bytes, len);
	return 0;
}

/* As KVM: what cannot be emulated is #UD, and at CPL 0 an exit too.  true: the guest goes on. */
static bool failure_is_the_guests(struct x86_vcpu *v)
{
	if (v->cpu.internal.ours || v->vm->exit_on_emulation_failure)
		return false;
	x86_replay_done(&v->cpu);
	x86_queue_exception(v, X86_UD, false, 0);
	return v->cpu.cpl != 0;
}

/*
 * Is there a processor that enters with this state?  KVM_SET_SREGS has looked at
 * most of it; APM 2, 15.5.1 and SDM 3C, 27.3.1.
 */
static bool entry_valid(const struct x86_cpu *cpu)
{
	const struct x86_seg *cs = &cpu->seg[SEG_CS];

	if (cpu->efer & ~EFER_EXISTING)
		return false;
	return !(x86_long_mode(cpu) && cs->l && cs->db);
}

static int fail_entry(struct x86_vcpu *v)
{
	struct kvm_run *run = v->vcpu->run;

	run->exit_reason = KVM_EXIT_FAIL_ENTRY;
	memset(&run->fail_entry, 0, sizeof(run->fail_entry));
	run->fail_entry.hardware_entry_failure_reason =
		v->cpuid.vendor == V_AMD ? SVM_EXIT_INVALID : VMX_EXIT_INVALID_STATE;
	run->fail_entry.cpu = (uint32_t)sched_getcpu();
	return 0;
}

static int run_result(struct x86_vcpu *v, enum x86_run_result r)
{
	struct kvm_run *run = v->vcpu->run;

	switch (r) {
	case X86_RUN_EXIT:
		return 0;
	case X86_RUN_INTR:
		run->exit_reason = KVM_EXIT_INTR;
		return -EINTR;
	case X86_RUN_SHUTDOWN:
		run->exit_reason = KVM_EXIT_SHUTDOWN;
		return 0;
	case X86_RUN_HOST_FAULT:
		return -EFAULT;
	case X86_RUN_NO_MEMORY:
		return -ENOMEM;
	default:
		return internal_error(v);
	}
}

/* An AP that has never run waits for its INIT and SIPI, once; the client then calls again. */
static int wait_for_sipi(struct x86_vcpu *v)
{
	int r;

	if (kvm_vcpu_immediate_exit(v->vcpu))
		return -EINTR;
	atomic_fetch_and(&v->cpu.requests, ~(uint32_t)X86_REQ_EVENT);
	r = kvm_vcpu_block(v->vcpu, awake, UINT64_MAX);
	x86_accept_events(v);
	if (!r)
		return -EAGAIN;
	v->vcpu->run->exit_reason = KVM_EXIT_INTR;
	return -EINTR;
}

static void save_run_state(struct x86_vcpu *v)
{
	struct kvm_run *run = v->vcpu->run;

	x86_vapic_collect(v);
	run->flags = v->cpu.smm ? KVM_RUN_X86_SMM : 0;
	if (unlikely(v->cpu.split_locked)) {
		v->cpu.split_locked = false;
		run->flags |= KVM_RUN_X86_BUS_LOCK;
		x86_stat_inc(v->vcpu, X86_STAT_BUS_LOCKS);
	}
	run->if_flag = !!(v->cpu.rflags & FL_IF);
	run->cr8 = x86_get_cr8(&v->cpu);
	run->apic_base = x86_get_apic_base(v);
	run->ready_for_interrupt_injection = x86_irqchip_kernel(v->vm) || x86_ready_for_interrupt(v);
}

static int prepare(struct x86_vcpu *v)
{
	struct kvm_run *run = v->vcpu->run;
	uint64_t valid = run->kvm_valid_regs, dirty = run->kvm_dirty_regs;

	if ((valid | dirty) & ~(uint64_t)KVM_SYNC_X86_VALID_FIELDS)
		return -EINVAL;
	if (dirty) {
		int r = x86_sync_regs_in(v);

		if (r)
			return r;
	}
	if (!v->has_lapic) {
		uint64_t cr8 = run->cr8;

		if (cr8 > 15)
			return -EINVAL;
		v->cr8 = (uint8_t)cr8;
	}
	complete_access(v);
	complete_msr(v);
	x86_hypercall_complete(v);
	hv_complete(v);
	return 0;
}

/* One that fails for ever is to be kicked as any other. */
static enum x86_run_result run_cpu(struct x86_vcpu *v)
{
	enum x86_run_result r;

	do {
		r = x86_cpu_run(&v->cpu);
		if (likely(r != X86_RUN_INTERNAL) || !failure_is_the_guests(v))
			return r;
	} while (!v->vcpu->run->immediate_exit && !env_slice(&v->cpu));
	return X86_RUN_INTR;
}

static int run_guest(struct x86_vcpu *v)
{
	bool finish = kvm_vcpu_immediate_exit(v->vcpu);
	struct kvm_run *run = v->vcpu->run;
	uint32_t reason = run->exit_reason;
	enum x86_run_result r;

	/* An entry that fails is one. */
	v->ran = true;
	if (unlikely(!entry_valid(&v->cpu)))
		return fail_entry(v);
	v->cpu.reports_unknown = v->vm->exit_on_emulation_failure;
	if (unlikely(v->quirks_seen != v->vm->disabled_quirks))
		x86_cpuid_update_mwait(v);
	run->exit_reason = KVM_EXIT_UNKNOWN;
	/* As with SVM, where the guest goes on behind its HLT after whatever has interrupted it. */
	v->halted_inside = false;
	x86_request(&v->cpu, X86_REQ_EVENT);
	x86_steal_entered(v);
	if (unlikely(v->vm->traced))
		x86_trace_entry(v);
	r = run_cpu(v);
	if (!finish || r != X86_RUN_INTR)
		return run_result(v, r);
	/* The last exit is completed, and still the last. */
	run->exit_reason = reason;
	return -EINTR;
}

int x86_vcpu_run(struct vcpu *vcpu)
{
	struct x86_vcpu *v = x86_vcpu_of(vcpu);
	int r;

	vcpu->run->flags = 0;
	if (atomic_load(&v->mp_state) == KVM_MP_STATE_UNINITIALIZED) {
		r = wait_for_sipi(v);
		goto out;
	}
	r = prepare(v);
	if (r)
		goto out;
	/* With immediate_exit only the last exit's instruction is completed. */
	if (!v->cpu.replay.count) {
		r = kvm_vcpu_entry_check(vcpu);
		if (r)
			goto out;
	}
	r = run_guest(v);
out:
	if (vcpu->run->kvm_valid_regs)
		x86_sync_regs_out(v);
	save_run_state(v);
	x86_stats_exit(vcpu, r);
	if (unlikely(v->vm->traced))
		x86_trace_return(v, r);
	return r;
}
