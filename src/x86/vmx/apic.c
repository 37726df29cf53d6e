// SPDX-License-Identifier: MIT
/* The virtual-APIC page: TPR, PPR, EOI, and virtual interrupts.  SDM 3C, 29.1 to 29.3. */
#include "x86/vmx/apic.h"

#include "x86/cpu/exception.h"
#include "x86/state/stats.h"

/* --- registers -------------------------------------------------------------------------------------------- */

uint32_t vapic_get(struct x86_vcpu *v, unsigned int at)
{
	uint32_t value;

	return x86_guest_read(v, v->vmx->m.virtual_apic + at, &value, sizeof(value)) ? 0 : value;
}

void vapic_put(struct x86_vcpu *v, unsigned int at, uint32_t value)
{
	(void)!x86_guest_write(v, v->vmx->m.virtual_apic + at, &value, sizeof(value));
}

static unsigned int word_of(unsigned int set, uint8_t vector)
{
	return set + vector / 32 * 0x10u;
}

static void set_vector(struct x86_vcpu *v, unsigned int set, uint8_t vector, bool on)
{
	unsigned int at = word_of(set, vector);
	uint32_t bit = 1u << (vector % 32), word = vapic_get(v, at);

	vapic_put(v, at, on ? word | bit : word & ~bit);
}

/* 0 where there is none. */
static uint8_t highest(struct x86_vcpu *v, unsigned int set)
{
	for (unsigned int n = 8; n-- > 0;) {
		uint32_t word = vapic_get(v, set + 0x10 * n);

		if (word)
			return (uint8_t)(n * 32 + 31 - (unsigned int)__builtin_clz(word));
	}
	return 0;
}

static uint8_t svi(const struct vmcs *m)
{
	return m->guest_intr_status >> 8;
}

static void set_svi(struct vmcs *m, uint8_t vector)
{
	m->guest_intr_status = (uint16_t)(vapic_rvi(m) | vector << 8);
}

static bool delivers(const struct x86_vmx *x)
{
	return vmx_proc2(x, PROC2_VIRTUAL_INTR);
}

/* --- 29.1.2 to 29.1.5, 29.2.1 --------------------------------------------------------------------------------- */

void vapic_evaluate(struct x86_vcpu *v)
{
	const struct vmcs *m = &v->vmx->m;

	v->vmx->virtual_intr = !vmx_proc(v->vmx, PROC_INTR_WINDOW) &&
			       vapic_rvi(m) >> 4 > (vapic_get(v, VAPIC_PPR) >> 4 & 15);
	if (v->vmx->virtual_intr)
		x86_request(&v->cpu, X86_REQ_EVENT);
}

static void update_ppr(struct x86_vcpu *v)
{
	uint32_t tpr = vapic_get(v, VAPIC_TPR) & 0xff;
	uint8_t in_service = svi(&v->vmx->m);

	vapic_put(v, VAPIC_PPR, tpr >> 4 >= in_service >> 4 ? tpr : in_service & 0xf0);
}

static bool below_threshold(struct x86_vcpu *v)
{
	return (vapic_get(v, VAPIC_TPR) >> 4 & 15) < (v->vmx->m.tpr_threshold & 15);
}

static void tpr_changed(struct x86_vcpu *v)
{
	if (delivers(v->vmx)) {
		update_ppr(v);
		vapic_evaluate(v);
	} else if (below_threshold(v)) {
		vmx_exit_after(v, REASON_TPR, 0);
	}
}

static void end_of_interrupt(struct x86_vcpu *v)
{
	struct vmcs *m = &v->vmx->m;
	uint8_t vector = svi(m);

	set_vector(v, VAPIC_ISR, vector, false);
	set_svi(m, highest(v, VAPIC_ISR));
	update_ppr(v);
	if (m->eoi_exit[vector / 64] >> (vector % 64) & 1)
		vmx_exit_after(v, REASON_EOI, vector);
	else
		vapic_evaluate(v);
}

void vapic_self_ipi(struct x86_vcpu *v, uint8_t vector)
{
	struct vmcs *m = &v->vmx->m;

	set_vector(v, VAPIC_IRR, vector, true);
	if (vector > vapic_rvi(m))
		vapic_set_rvi(m, vector);
	vapic_evaluate(v);
}

/* --- what writes bring about; 29.4.3.2 --------------------------------------------------------------------------- */

static bool tpr_written(struct x86_vcpu *v)
{
	vapic_put(v, VAPIC_TPR, vapic_get(v, VAPIC_TPR) & 0xff);
	tpr_changed(v);
	return true;
}

static bool eoi_written(struct x86_vcpu *v)
{
	if (!delivers(v->vmx))
		return false;
	vapic_put(v, VAPIC_EOI, 0);
	end_of_interrupt(v);
	return true;
}

/* Edge-triggered, fixed, to self alone, of a vector that may be: no reserved bit, nothing pending. */
static bool icr_written(struct x86_vcpu *v)
{
	uint32_t icr = vapic_get(v, VAPIC_ICR);

	if (!delivers(v->vmx) || (icr & 0xfff3bf00) || (icr >> 18 & 3) != 1 || !(icr & 0xf0))
		return false;
	vapic_self_ipi(v, (uint8_t)icr);
	return true;
}

static bool icr2_written(struct x86_vcpu *v)
{
	vapic_put(v, VAPIC_ICR2, vapic_get(v, VAPIC_ICR2) & 0xff000000);
	return true;
}

void vapic_written(struct x86_vcpu *v, unsigned int at)
{
	static const struct {
		uint16_t at;
		bool (*done)(struct x86_vcpu *v);
	} rows[] = {
		{ VAPIC_TPR, tpr_written }, { VAPIC_EOI, eoi_written }, { VAPIC_ICR, icr_written }, { VAPIC_ICR2, icr2_written },
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++)
		if (rows[n].at == (at & 0xff0) && rows[n].done(v))
			return;
	vmx_exit_after(v, REASON_APIC_WRITE, at);
}

/* --- CR8; 29.3 ------------------------------------------------------------------------------------------------------ */

static bool shadows_tpr(const struct x86_vcpu *v)
{
	return v->vmx && v->cpu.nested.in_guest && vmx_proc(v->vmx, PROC_TPR_SHADOW);
}

bool vmx_get_cr8(struct x86_vcpu *v, uint64_t *value)
{
	if (likely(!shadows_tpr(v)))
		return false;
	x86_stat_inc(v->vcpu, X86_STAT_VAPIC_ACCESSES);
	*value = vapic_get(v, VAPIC_TPR) >> 4 & 15;
	return true;
}

bool vmx_set_cr8(struct x86_vcpu *v, uint64_t value)
{
	if (likely(!shadows_tpr(v)))
		return false;
	x86_stat_inc(v->vcpu, X86_STAT_VAPIC_ACCESSES);
	vapic_put(v, VAPIC_TPR, (uint32_t)(value & 15) << 4);
	tpr_changed(v);
	return true;
}

/* --- entry and delivery; 26.3.2.5, 26.6.7, 29.2.2 --------------------------------------------------------------------- */

void vmx_apic_enter(struct x86_vcpu *v)
{
	struct x86_vmx *x = v->vmx;

	x->virtual_intr = false;
	if (delivers(x)) {
		update_ppr(v);
		vapic_evaluate(v);
	} else if (vmx_proc(x, PROC_TPR_SHADOW) && vmx_proc2(x, PROC2_APIC_ACCESS) && below_threshold(v)) {
		vmx_exit_after(v, REASON_TPR, 0);
	}
}

void vmx_take_virtual_interrupt(struct x86_vcpu *v)
{
	struct vmcs *m = &v->vmx->m;
	uint8_t vector = vapic_rvi(m);

	set_vector(v, VAPIC_ISR, vector, true);
	set_svi(m, vector);
	vapic_put(v, VAPIC_PPR, vector & 0xf0);
	set_vector(v, VAPIC_IRR, vector, false);
	vapic_set_rvi(m, highest(v, VAPIC_IRR));
	v->vmx->virtual_intr = false;
	x86_request(&v->cpu, X86_REQ_EVENT);
	x86_stat_inc(v->vcpu, X86_STAT_VIRTUAL_INTERRUPTS);
	x86_deliver_interrupt(&v->cpu, vector);
}
