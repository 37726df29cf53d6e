// SPDX-License-Identifier: MIT
/*
 * HvCallFlushVirtualAddressSpace, ...List, and their forms with sparse sets.
 * TLFS 11.6.
 *
 * Whatever is named, space or pages, all translations of a vCPU go, as with
 * KVM.  When the hypercall returns, no vCPU of the set uses an old one: each is
 * asked by X86_REQ_TLB_FLUSH and waited for, until it has served that, or is
 * outside the guest, which it enters by serving it (enter() in cpu/run.c).  Two
 * that flush each other do not wait for ever: one that waits here (`flushing`)
 * has no translation in hand, and serves before its next instruction.
 */
#include "host/lock.h"
#include "x86/cpu/mem.h"
#include "x86/hyperv/hyperv.h"
#include "x86/state/state.h"
#include "x86/state/stats.h"

struct input {
	uint64_t space, flags, mask;    /* addresses follow */
};

struct input_ex {
	uint64_t space, flags, format, valid_banks;     /* banks and addresses follow */
};

/* One that runs serves within microseconds; one that waits for a processor may get ours. */
#define SPINS 400
#define NAP_NS 50000
#define NAPS_PER_LOOK 4                 /* at signals: a system call */

#define FLUSHES (X86_REQ_TLB_FLUSH | X86_REQ_SLAT_FLUSH)

static bool served(struct x86_vcpu *to)
{
	if (!(atomic_load(&to->cpu.requests) & FLUSHES))
		return true;
	return !atomic_load(&to->cpu.in_guest) || atomic_load(&to->hv.flushing);
}

/* false: the client wants this vCPU back first. */
static bool wait_for(struct x86_vcpu *v, struct x86_vcpu *to)
{
	for (unsigned int n = 0; n < SPINS && !served(to); n++)
		__builtin_ia32_pause();
	for (unsigned int n = 1; !served(to); n++) {
		/* It may be waiting for us to let go of the bus. */
		x86_bus_wait(&v->cpu);
		if (n % NAPS_PER_LOOK == 0 && (kvm_vcpu_immediate_exit(v->vcpu) || kvm_vcpu_interrupted(v->vcpu)))
			return false;
		host_nap(&to->cpu.requests, atomic_load(&to->cpu.requests) | FLUSHES, NAP_NS);
	}
	return true;
}

bool hv_flush_wait(struct x86_vcpu *v, const struct hv_vp_set *set)
{
	struct vcpu *vcpu;
	bool all = true;
	unsigned int i;

	atomic_store(&v->hv.flushing, true);
	kvm_for_each_vcpu(i, vcpu, v->vm->vm)
		if (all && vcpu != v->vcpu && hv_flush_reaches(v, set, x86_vcpu_of(vcpu)))
			all = wait_for(v, x86_vcpu_of(vcpu));
	atomic_store(&v->hv.flushing, false);
	return all;
}

static bool flush_set(struct x86_vcpu *v, const struct hv_vp_set *set)
{
	struct vcpu *vcpu;
	unsigned int i;

	kvm_for_each_vcpu(i, vcpu, v->vm->vm)
		if (hv_flush_reaches(v, set, x86_vcpu_of(vcpu)))
			x86_request(&x86_vcpu_of(vcpu)->cpu, X86_REQ_TLB_FLUSH);
	return hv_flush_wait(v, set);
}

static uint64_t flush(struct x86_vcpu *v, const struct hv_hcall *h, const struct hv_vp_set *set)
{
	if (!flush_set(v, set)) {
		x86_request(&v->cpu, X86_REQ_KICK);
		return HV_AGAIN;
	}
	x86_stat_inc(v->vcpu, X86_STAT_HV_TLB_FLUSHES);
	return hv_reps_done(h);
}

uint64_t hv_flush(struct x86_vcpu *v, struct hv_hcall *h)
{
	struct input in = { .space = h->in, .flags = h->out, .mask = h->xmm[0] };
	struct hv_vp_set set = { 0 };

	if (!h->fast && x86_guest_read(v, h->in, &in, sizeof(in)))
		return HV_INVALID_INPUT;
	/* An empty mask is everybody: Windows Server 2012 passes it, and means that.  As KVM. */
	set.all = (in.flags & HV_FLUSH_ALL_PROCESSORS) || !in.mask;
	set.bank[0] = in.mask;
	return flush(v, h, &set);
}

uint64_t hv_flush_ex(struct x86_vcpu *v, struct hv_hcall *h)
{
	struct input_ex in = {
		.space = h->in, .flags = h->out, .format = h->xmm[0], .valid_banks = h->xmm[1],
	};
	struct hv_vp_set set;

	if (!h->fast && x86_guest_read(v, h->in, &in, sizeof(in)))
		return HV_INVALID_INPUT;
	set.all = in.format != HV_SET_SPARSE;
	if (hv_vp_set_read(v, h, in.valid_banks, sizeof(in), 2, &set))
		return HV_INVALID_INPUT;
	return flush(v, h, &set);
}
