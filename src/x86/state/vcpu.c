// SPDX-License-Identifier: MIT
/* A vCPU's x86 half: creation, reset, and what other threads ask of it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host/clock.h"
#include "x86/cpu/block.h"
#include "x86/cpu/vec.h"
#include "x86/mmu/mmu.h"
#include "x86/pv/async_pf.h"
#include "x86/pv/kvmclock.h"
#include "x86/state/cpuid.h"
#include "x86/state/msr.h"
#include "x86/state/smm.h"
#include "x86/state/state.h"
#include "x86/svm/svm.h"
#include "x86/vmx/vmx.h"

#define SIGNATURE_UNKNOWN 0x600         /* EDX after RESET where CPUID leaf 1 is not set; as KVM */

/* --- what the local APIC asks of its vCPU ----------------------------------------- */

static uint64_t lapic_now(void *vcpu)
{
	return host_now_ns();
}

static uint64_t lapic_tsc(void *vcpu)
{
	return x86_guest_tsc(vcpu);
}

static uint32_t lapic_tsc_khz(void *vcpu)
{
	return ((struct x86_vcpu *)vcpu)->tsc_khz;
}

static void lapic_arm(void *vcpu, uint64_t deadline_ns)
{
	struct x86_vcpu *v = vcpu;

	atomic_store(&v->timer_deadline, deadline_ns);
	/* One in the past is due before the next instruction. */
	if (deadline_ns && deadline_ns <= host_now_ns())
		x86_request(&v->cpu, X86_REQ_TIMER);
	else if (deadline_ns)
		host_timer_arm(&v->timer, deadline_ns);
	else
		host_timer_disarm(&v->timer);
}

static void timer_fn(struct host_timer *t)
{
	x86_vcpu_poke(container_of(t, struct x86_vcpu, timer), X86_REQ_TIMER);
}

static void lapic_request(void *vcpu)
{
	x86_request(&((struct x86_vcpu *)vcpu)->cpu, X86_REQ_EVENT);
}

static void lapic_kick(void *vcpu)
{
	x86_vcpu_poke(vcpu, X86_REQ_EVENT);
}

static void lapic_nmi(void *vcpu)
{
	struct x86_vcpu *v = vcpu;

	atomic_fetch_add(&v->nmi_queued, 1);
	x86_vcpu_poke(v, X86_REQ_EVENT);
}

static void lapic_unhalt(void *vcpu)
{
	struct x86_vcpu *v = vcpu;

	atomic_store(&v->unhalted, true);
	x86_vcpu_poke(v, X86_REQ_EVENT);
}

static void lapic_smi(void *vcpu)
{
	x86_smm_request(vcpu);
}

static void lapic_tpr_access(void *vcpu, bool write)
{
	struct x86_vcpu *v = vcpu;

	if (!v->tpr_reporting)
		return;
	v->tpr_exit = true;
	v->tpr_exit_write = write;
	v->tpr_exit_rip = v->cpu.regs[R_RIP];
	x86_request(&v->cpu, X86_REQ_EVENT);
}

static void lapic_ended(void *vcpu, uint8_t vector, bool automatic)
{
	hv_sint_ended(vcpu, vector, automatic);
}

static const struct lapic_ops lapic_ops = {
	.now_ns = lapic_now, .guest_tsc = lapic_tsc, .tsc_khz = lapic_tsc_khz, .arm_timer = lapic_arm,
	.request = lapic_request, .kick = lapic_kick, .nmi = lapic_nmi, .smi = lapic_smi,
	.unhalt = lapic_unhalt, .tpr_access = lapic_tpr_access, .ended = lapic_ended,
};

/* --- creation ------------------------------------------------------------------------ */

int x86_vcpu_precreate(struct vm *vm, uint32_t id)
{
	struct x86_vm *x = x86_vm_of(vm);

	/* From the first vCPU on the client cannot set it any more. */
	if (!x->max_vcpu_ids)
		x->max_vcpu_ids = KVM_MAX_VCPU_IDS;
	return id >= x->max_vcpu_ids ? -EINVAL : 0;
}

static int create_lapic(struct x86_vcpu *v)
{
	struct vcpu *vcpu = v->vcpu;
	int r;

	if (!x86_irqchip_any(v->vm))
		return 0;
	r = host_timer_init(&vcpu->vm->service, &v->timer, timer_fn);
	if (r)
		return r;
	lapic_init(&v->lapic, &v->vm->bus, vcpu->id, vcpu->id == v->vm->bsp_id, &lapic_ops, v);
	v->has_lapic = true;
	return 0;
}

static int create_engine(struct x86_vcpu *v)
{
	struct x86_cpu *cpu = &v->cpu;

	cpu->vec = vec_state_create();
	cpu->mmu = mmu_create(cpu);
	if (!cpu->vec || !cpu->mmu)
		return -ENOMEM;
	return code_cache_join(cpu->code, cpu);
}

static void destroy_engine(struct x86_vcpu *v)
{
	if (v->cpu.mmu)
		mmu_destroy(v->cpu.mmu);
	if (v->cpu.vec)
		vec_state_destroy(v->cpu.vec);
	x86_cpuid_free(&v->cpuid);
	x86_async_pf_destroy(v);
	svm_destroy(v);
	vmx_destroy(v);
	free(v);
}

int x86_vcpu_create(struct vcpu *vcpu)
{
	struct x86_vcpu *v = aligned_alloc(64, (sizeof(*v) + 63) & ~63UL);
	struct x86_vm *x = x86_vm_of(vcpu->vm);
	int r;

	if (!v)
		return -ENOMEM;
	memset(v, 0, sizeof(*v));
	v->vcpu = vcpu;
	v->vm = x;
	v->external_vector = v->ioapic_eoi = -1;
	v->hv.vp_index = KVM_MAX_VCPUS;
	v->cpu.env = x->traced ? &x->env : &x86_kvm_env;
	v->cpu.env_ptr = v;
	v->cpu.vmware_backdoor = v->vm->vmware_backdoor;
	v->cpu.watch_bus_locks = v->vm->bus_lock_exits;
	v->cpu.code = x->code;
	v->cpu.ctx_limit = &x->ctx_limit;
	v->cpu.cpuid = &v->cpuid;
	v->cpu.immediate_exit = &vcpu->run->immediate_exit;
	v->cpu.slots = kvm_vm_slots(vcpu->vm, 0);
	v->cpu.dirty_ring = &vcpu->dirty_ring;
	x86_cpuid_init(v);
	x86_async_pf_init(v);
	vcpu->arch_data = v;
	r = create_engine(v);
	if (r) {
		destroy_engine(v);
		vcpu->arch_data = NULL;
		return r;
	}
	x86_tsc_init(v);
	x86_msr_init(v);
	x86_pmu_init(v);
	r = v->cpuid.vendor == V_AMD ? svm_create(v) : vmx_create(v);
	if (!r)
		r = create_lapic(v);
	if (r) {
		code_cache_leave(x->code, &v->cpu);
		destroy_engine(v);
		vcpu->arch_data = NULL;
		return r;
	}
	x86_vcpu_reset(v, false);
	if (!v->has_lapic || vcpu->id == x->bsp_id)
		atomic_store(&v->mp_state, KVM_MP_STATE_RUNNABLE);
	else
		atomic_store(&v->mp_state, KVM_MP_STATE_UNINITIALIZED);
	return 0;
}

/* From here on messages reach it; before, its creation could still fail.  The bus holds as many as a VM. */
void x86_vcpu_postcreate(struct vcpu *vcpu)
{
	struct x86_vcpu *v = x86_vcpu_of(vcpu);

	hv_vcpu_init(v);
	x86_vm_share_mmu_pages(vcpu->vm);
	if (v->has_lapic)
		(void)lapic_join(&v->lapic);
}

void x86_vcpu_destroy(struct vcpu *vcpu)
{
	struct x86_vcpu *v = x86_vcpu_of(vcpu);

	if (!v)
		return;
	hv_vcpu_destroy(v);
	if (v->has_lapic)
		host_timer_destroy(&v->timer);
	code_cache_leave(v->vm->code, &v->cpu);
	destroy_engine(v);
	vcpu->arch_data = NULL;
}

void x86_vcpu_reset(struct x86_vcpu *v, bool init)
{
	const struct kvm_cpuid_entry2 *e = x86_cpuid_find(&v->cpuid, 1, 0);

	if (v->cpu.smm)
		x86_smm_changed(v, false);
	svm_reset(v);
	vmx_reset(v);
	x86_cpu_reset(&v->cpu, init);
	v->cpu.regs[R_RDX] = e ? e->eax : SIGNATURE_UNKNOWN;
	if (v->has_lapic)
		lapic_reset(&v->lapic, init);
	v->cr8 = 0;
	atomic_store(&v->nmi_queued, 0);
	atomic_store(&v->smi_queued, false);
	atomic_store(&v->unhalted, false);
	v->nmi_pending = 0;
	v->smi_pending = false;
	v->nmi_injected = v->triple_fault = false;
	v->cpu.split_locked = false;
	v->exception = (struct x86_queued){ 0 };
	v->interrupt.injected = false;
	v->external_vector = -1;
	x86_async_pf_reset(v);
	v->pv_eoi.msr = v->steal.msr = 0;
	v->pv_eoi.pending = false;
	x86_kvmclock_set_page(v, 0);
	if (!init) {
		/* Of use where the client keeps the local APIC: CPUID follows its enable bit. */
		v->apic_base = LAPIC_DEFAULT_BASE | LAPIC_BASE_ENABLE;
		if (v->vcpu->id == v->vm->bsp_id)
			v->apic_base |= LAPIC_BASE_BSP;
		v->msr.smbase = 0x30000;
		v->msr.smi_count = 0;
		x86_msr_reset(v);
		x86_pmu_reset(v);
	}
	x86_update_mode(&v->cpu);
	x86_request(&v->cpu, X86_REQ_EVENT);
}

/* --- from other threads ---------------------------------------------------------------- */

void x86_vcpu_kick(struct vcpu *vcpu)
{
	x86_vcpu_poke(x86_vcpu_of(vcpu), X86_REQ_RELOAD_SLOTS);
}

unsigned int x86_vcpu_address_space(struct vcpu *vcpu)
{
	return x86_vcpu_of(vcpu)->cpu.smm;
}

void x86_vcpu_sync(struct vcpu *vcpu, uint32_t what)
{
	struct x86_vcpu *v = x86_vcpu_of(vcpu);

	if (what & KVM_SYNC_SLOTS) {
		v->cpu.slots = vcpu->slots[v->cpu.smm];
		mmu_flush_all(&v->cpu);
		code_cache_touched(v->vm->code);
	}
	if (what & KVM_SYNC_DIRTY)
		mmu_drop_writes(&v->cpu);
	mmu_trim(&v->cpu);
}

/* --- guest memory for the library's own use ------------------------------------------------ */

/* What is to be done under the guard. */
struct guest_op {
	gpa_t gpa;
	void *dst;
	const void *src;
	const struct phys_part *part;
	unsigned int count;
	uint64_t mask, *old;
};

static int read_op(struct x86_cpu *cpu, const struct guest_op *o)
{
	return phys_read_parts(cpu, o->gpa, o->dst, o->part, o->count);
}

static int write_op(struct x86_cpu *cpu, const struct guest_op *o)
{
	return phys_write_parts(cpu, o->gpa, o->src, o->part, o->count);
}

static int and_op(struct x86_cpu *cpu, const struct guest_op *o)
{
	return phys_and64(cpu, o->gpa, o->mask, o->old);
}

/* -EFAULT where the memory behind a slot is not there, too. */
static __attribute__((noinline)) int guarded(struct x86_vcpu *v, int (*fn)(struct x86_cpu *cpu, const struct guest_op *o),
					     const struct guest_op *o)
{
	struct host_guard guard;
	int r;

	host_guard_arm(&guard);
	if (host_jump_set(&guard.jump)) {
		host_guard_disarm(&guard);
		return -EFAULT;
	}
	r = fn(&v->cpu, o);
	host_guard_disarm(&guard);
	return r;
}

int x86_guest_read_parts(struct x86_vcpu *v, gpa_t gpa, void *dst, const struct phys_part *part, unsigned int count)
{
	return guarded(v, read_op, &(const struct guest_op){ .gpa = gpa, .dst = dst, .part = part, .count = count });
}

int x86_guest_write_parts(struct x86_vcpu *v, gpa_t gpa, const void *src, const struct phys_part *part,
			  unsigned int count)
{
	return guarded(v, write_op, &(const struct guest_op){ .gpa = gpa, .src = src, .part = part, .count = count });
}

int x86_guest_read(struct x86_vcpu *v, gpa_t gpa, void *dst, size_t n)
{
	return x86_guest_read_parts(v, gpa, dst, &(const struct phys_part){ 0, (uint32_t)n }, 1);
}

int x86_guest_write(struct x86_vcpu *v, gpa_t gpa, const void *src, size_t n)
{
	return x86_guest_write_parts(v, gpa, src, &(const struct phys_part){ 0, (uint32_t)n }, 1);
}

int x86_guest_and64(struct x86_vcpu *v, gpa_t gpa, uint64_t mask, uint64_t *old)
{
	return guarded(v, and_op, &(const struct guest_op){ .gpa = gpa, .mask = mask, .old = old });
}
