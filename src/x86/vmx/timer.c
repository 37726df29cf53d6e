// SPDX-License-Identifier: MIT
/*
 * The VMX-preemption timer.  SDM 3C, 25.5.1.
 *
 * There is no timer of the host's: the run loop asks some thousand times a second, a halted L2 sleeps until then,
 * and RDTSC of L2, which alone could tell that it is late, asks as well.
 */
#include "host/clock.h"
#include "x86/vmx/vmx.h"

static uint64_t now(const struct x86_vcpu *v)
{
	return x86_guest_tsc(v) >> VMX_TIMER_RATE;
}

void vmx_timer_start(struct x86_vcpu *v)
{
	struct x86_vmx *x = v->vmx;

	v->cpu.nested.tsc_deadline = 0;
	if (!(x->m.pin & PIN_TIMER))
		return;
	if (!x->has_deadline)
		x->deadline = now(v) + x->m.preemption_timer;
	x->has_deadline = true;
	v->cpu.nested.tsc_deadline = x->deadline << VMX_TIMER_RATE;
	/* 0 would be none. */
	if (!v->cpu.nested.tsc_deadline)
		v->cpu.nested.tsc_deadline = 1;
}

bool vmx_timer_due(const struct x86_vcpu *v)
{
	return x86_nested_tsc_due(&v->cpu.nested, x86_guest_tsc(v));
}

uint32_t vmx_timer_value(const struct x86_vcpu *v)
{
	uint64_t left = v->vmx->deadline - now(v);

	/* A deadline that has passed leaves 0; no value is longer than the field. */
	return left > UINT32_MAX ? 0 : (uint32_t)left;
}

uint64_t vmx_wake_time(const struct x86_vcpu *v, uint64_t deadline_ns)
{
	uint64_t tsc, at, deadline = v->cpu.nested.tsc_deadline;

	if (likely(!deadline))
		return deadline_ns;
	tsc = x86_guest_tsc(v);
	at = host_now_ns();
	/* Rounded up: on waking it has expired. */
	if (deadline > tsc)
		at += (uint64_t)((unsigned __int128)(deadline - tsc) * 1000000 / v->tsc_khz) + 1;
	return deadline_ns < at ? deadline_ns : at;
}
