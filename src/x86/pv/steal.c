// SPDX-License-Identifier: MIT
/*
 * Steal time.  The host's kernel counts for how long a thread was ready and waited
 * for a processor; what was added since the last look goes to the guest's area.
 * Asking is a system call, so it is done at most every STEAL_PERIOD_NS, and not where
 * the thread has stayed on its processor; between, a KVM_RUN adds nothing, yet is an
 * update, as each is in KVM.  That the thread is preempted is not seen from here, so
 * `preempted` is always zero when guest code could see it, and what others ask for
 * in it (KVM_FEATURE_PV_TLB_FLUSH) they ask of a vCPU that is not running.
 *
 * The area is valid while its version is even.
 */
#include "x86/pv/steal.h"

#include <errno.h>
#include <stddef.h>

#include "host/clock.h"
#include "x86/mmu/mmu.h"
#include "x86/state/state.h"

#define STEAL_ENABLED 1ULL
#define STEAL_RESERVED 0x3eULL
#define STEAL_FLUSH_TLB 2u       /* of `preempted` */
#define STEAL_PERIOD_NS 100000

struct steal_area {
	uint64_t steal;
	uint32_t version, flags;
	uint8_t preempted, pad[47];
};
_Static_assert(sizeof(struct steal_area) == 64, "the guest's layout");

static gpa_t area_of(const struct x86_vcpu *v)
{
	return v->steal.msr & ~(STEAL_ENABLED | STEAL_RESERVED);
}

int x86_steal_set(struct x86_vcpu *v, uint64_t value)
{
	if (value & STEAL_RESERVED)
		return -EINVAL;
	v->steal.msr = value;
	v->steal.looked = 0;    /* what was stolen before does not count */
	if (value & STEAL_ENABLED)
		x86_request(&v->cpu, X86_REQ_STEAL);
	return 0;
}

static int put_version(struct x86_vcpu *v, uint32_t version)
{
	int r = x86_guest_write(v, area_of(v) + offsetof(struct steal_area, version), &version, sizeof(version));

	atomic_thread_fence(memory_order_release);
	return r;
}

/* Another vCPU, which saw this one as preempted, left its TLB flush to us. */
static void flush_asked(struct x86_vcpu *v, uint8_t preempted)
{
	if ((preempted & STEAL_FLUSH_TLB) && (!v->enforce_pv || x86_has(&v->cpu, X86_F_KVM_PV_TLB_FLUSH)))
		mmu_flush_all(&v->cpu);
}

static void add(struct x86_vcpu *v, uint64_t ns)
{
	struct steal_area a;
	uint32_t version;

	if (x86_guest_read(v, area_of(v), &a, sizeof(a)))
		return;
	/* The guest may have left any version there. */
	version = (a.version | 1) + (a.version & 1 ? 2 : 0);
	a.steal += ns;
	a.version = version;
	flush_asked(v, a.preempted);
	a.preempted = 0;
	if (put_version(v, version) || x86_guest_write(v, area_of(v), &a, sizeof(a)))
		return;
	atomic_thread_fence(memory_order_release);
	(void)!put_version(v, version + 1);
}

/* As add() of nothing: one write, which leaves the area valid, but where somebody has left us a word. */
static void renew(struct x86_vcpu *v)
{
	struct steal_area a;

	if (x86_guest_read(v, area_of(v), &a, sizeof(a)))
		return;
	if (unlikely(a.preempted))
		add(v, 0);
	else
		(void)!put_version(v, (a.version + 2) & ~1u);
}

/* Looks at the host's count, unless it has done so just now. */
static bool look(struct x86_vcpu *v)
{
	uint64_t now = host_now_ns(), last = v->steal.looked, switches, delay, was = v->steal.seen;

	if (last && now - last < STEAL_PERIOD_NS)
		return false;
	switches = host_switches();
	if ((last && switches == v->steal.switches) || host_run_delay_ns(&delay)) {
		v->steal.looked = last ? now : 0;
		return false;
	}
	if (!last)
		was = delay;
	v->steal.looked = now;
	v->steal.switches = switches;
	v->steal.seen = delay;
	add(v, delay - was);
	return true;
}

void x86_steal_entered(struct x86_vcpu *v)
{
	if (v->steal.msr & STEAL_ENABLED && !look(v))
		renew(v);
}

void x86_steal_update(struct x86_vcpu *v)
{
	if (v->steal.msr & STEAL_ENABLED)
		look(v);
}

void x86_steal_thread_changed(struct vcpu *vcpu)
{
	x86_vcpu_of(vcpu)->steal.looked = 0;
}
