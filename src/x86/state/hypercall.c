// SPDX-License-Identifier: MIT
#include "x86/state/hypercall.h"

#include <errno.h>
#include <linux/kvm_para.h>
#include <sched.h>
#include <string.h>

#include "x86/state/state.h"
#include "x86/state/stats.h"

static uint64_t argument(const struct x86_vcpu *v, unsigned int reg)
{
	return v->cpu.mode == CODE64 ? v->cpu.regs[reg] : (uint32_t)v->cpu.regs[reg];
}

/*
 * KVM_HC_MAP_GPA_RANGE: pages at RBX, their number in RCX, attributes in RDX.  KVM_EXIT_HYPERCALL, and the instruction
 * runs again with the client's answer (2); or *@r, where the range is none.
 */
static int ask_client(struct x86_vcpu *v, int64_t *r)
{
	struct kvm_run *run = v->vcpu->run;
	uint64_t gpa = argument(v, R_RBX), pages = argument(v, R_RCX);

	if ((gpa & ~GUEST_PAGE_MASK) || !pages || gpa_to_gfn(gpa) + pages <= gpa_to_gfn(gpa)) {
		*r = -KVM_EINVAL;
		return 0;
	}
	run->exit_reason = KVM_EXIT_HYPERCALL;
	memset(&run->hypercall, 0, sizeof(run->hypercall));
	run->hypercall.nr = KVM_HC_MAP_GPA_RANGE;
	run->hypercall.args[0] = gpa;
	run->hypercall.args[1] = pages;
	run->hypercall.args[2] = argument(v, R_RDX);
	run->hypercall.longmode = v->cpu.mode == CODE64;
	v->completion = X86_COMPLETE_HYPERCALL;
	return 2;
}

void x86_hypercall_complete(struct x86_vcpu *v)
{
	if (v->completion != X86_COMPLETE_HYPERCALL)
		return;
	v->hypercall_answer = v->vcpu->run->hypercall.ret;
	v->cpu.replay.count = 1;
}

#define ICR_LOGICAL_OR_SHORTHAND 0xc0800ULL

/*
 * KVM_HC_SEND_IPI: to each vCPU whose bit is set in RBX and, behind it, RCX; bit 0 is the APIC ID in RDX, RSI is an ICR
 * without destination.  Returns how many took it.  KVM offers it also to a VM whose local APICs are the client's, which
 * nobody can find here.
 */
static int64_t send_ipi(struct x86_vcpu *v, bool wide)
{
	const uint64_t *regs = v->cpu.regs;
	uint64_t icr = wide ? regs[R_RSI] : (uint32_t)regs[R_RSI], min = (uint32_t)regs[R_RDX];
	unsigned int bits = wide ? 64 : 32;
	struct apic_msg msg = {
		.vector = icr & 0xff, .delivery = icr >> 8 & 7, .assert = icr >> 14 & 1, .level_trig = icr >> 15 & 1,
	};
	int64_t n = 0;

	if (icr & ICR_LOGICAL_OR_SHORTHAND)
		return -KVM_EINVAL;
	if (!v->has_lapic)
		return -KVM_EOPNOTSUPP;
	for (unsigned int i = 0; i < 2 * bits && min + i < KVM_MAX_VCPU_IDS; i++) {
		uint64_t map = regs[i < bits ? R_RBX : R_RCX];
		struct lapic *l = map >> (i % bits) & 1 ? apic_bus_find(&v->vm->bus, (uint32_t)(min + i)) : NULL;

		if (l)
			n += lapic_accept(l, &msg);
	}
	return n;
}

/* KVM_HC_KICK_CPU: the vCPU with this APIC ID goes on behind its HLT, and gets a processor to do so. */
static void kick(struct x86_vcpu *v, uint64_t id)
{
	struct apic_msg msg = { .delivery = APIC_REMOTE_READ, .assert = true };
	struct lapic *l = id <= UINT32_MAX ? apic_bus_find(&v->vm->bus, (uint32_t)id) : NULL;

	if (!l)
		return;
	lapic_accept(l, &msg);
	sched_yield();
}

/* Without KVM_CAP_ENFORCE_PV_FEATURE_CPUID a guest need not have been told. */
static bool offered(const struct x86_vcpu *v, enum x86_feature f)
{
	return !v->enforce_pv || x86_has(&v->cpu, f);
}

int x86_hypercall(struct x86_cpu *cpu)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);
	bool wide = cpu->mode == CODE64;
	uint64_t nr = wide ? cpu->regs[R_RAX] : (uint32_t)cpu->regs[R_RAX];
	int64_t r = -KVM_ENOSYS;

	if (unlikely(hv_hypercall_wanted(v)))
		return hv_hypercall(v);
	if (likely(v->completion != X86_COMPLETE_HYPERCALL))
		x86_stat_inc(v->vcpu, X86_STAT_HYPERCALLS);
	if (unlikely(v->completion == X86_COMPLETE_HYPERCALL)) {
		v->completion = X86_COMPLETE_NONE;
		r = (int64_t)v->hypercall_answer;
	} else if (cpu->cpl) {
		r = -KVM_EPERM;
	} else if (nr == KVM_HC_VAPIC_POLL_IRQ) {
		x86_request(cpu, X86_REQ_EVENT);
		r = 0;
	} else if (nr == KVM_HC_KICK_CPU && offered(v, X86_F_KVM_PV_UNHALT)) {
		kick(v, wide ? cpu->regs[R_RCX] : (uint32_t)cpu->regs[R_RCX]);
		r = 0;
	} else if (nr == KVM_HC_SCHED_YIELD && offered(v, X86_F_KVM_PV_SCHED_YIELD)) {
		/* To another vCPU: whichever thread the host picks. */
		sched_yield();
		r = 0;
	} else if (nr == KVM_HC_SEND_IPI && offered(v, X86_F_KVM_PV_SEND_IPI)) {
		r = send_ipi(v, wide);
	} else if (nr == KVM_HC_MAP_GPA_RANGE && (v->vm->hypercall_exits >> KVM_HC_MAP_GPA_RANGE & 1)) {
		if (ask_client(v, &r))
			return 2;
	}
	cpu->regs[R_RAX] = wide ? (uint64_t)r : (uint32_t)r;
	return 0;
}

bool x86_replaces_hypercall(struct x86_cpu *cpu)
{
	return !(x86_vcpu_of_cpu(cpu)->vm->disabled_quirks & KVM_X86_QUIRK_FIX_HYPERCALL_INSN);
}
