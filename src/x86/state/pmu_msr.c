// SPDX-License-Identifier: MIT
/*
 * The registers of the PMU.  SDM 3B, 20.2 and 4; APM 2, 13.2.1 and appendix A.
 *
 * Where a register is not there (by CPUID, or KVM_PMU_CAP_DISABLE) the guest
 * gets #GP, but for the numbers of old that every processor had: those read as
 * zero and take any value.  The client reads zero of what the list of MSRs
 * names, and may write it back.
 */
#include <errno.h>

#include "x86/state/pmu.h"
#include "x86/state/state.h"

#define FIXED_CTR_CTRL 0x38d
#define GLOBAL_STATUS 0x38e
#define GLOBAL_CTRL 0x38f
#define GLOBAL_OVF_CTRL 0x390
#define OVF_CONDITION (1ULL << 63)
#define OVF_BUFFER (1ULL << 62)
#define SELECT_RESERVED_INTEL 0xffffffff00200000ULL
#define SELECT_RESERVED_AMD 0xfffffff000280000ULL
#define FIXED_FIELD 0xbULL              /* of four bits: CPL 0, above, and interrupt */

enum bank_kind { COUNTER, WIDE_COUNTER, SELECT, FIXED, CONTROL };

/* Runs of registers of one kind: number `first + n * step` belongs to counter n. */
struct bank {
	uint32_t first;
	uint8_t count, step;
	uint8_t vendor;
	uint8_t kind;                   /* enum bank_kind */
	uint8_t ancient;                /* so many of them are taken for granted */
	bool listed;                    /* in KVM_GET_MSR_INDEX_LIST */
	uint16_t feature;               /* enum x86_feature */
};

static const struct bank banks[] = {
	{ 0xc1, X86_PMU_GP_INTEL, 1, V_INTEL, COUNTER, 2, true, 0 },
	{ 0x186, X86_PMU_GP_INTEL, 1, V_INTEL, SELECT, 2, true, 0 },
	{ 0x309, X86_PMU_FIXED, 1, V_INTEL, FIXED, 0, true, 0 },
	{ FIXED_CTR_CTRL, 4, 1, V_INTEL, CONTROL, 0, true, 0 },
	{ 0x4c1, X86_PMU_GP_INTEL, 1, V_INTEL, WIDE_COUNTER, 0, false, X86_F_PDCM },
	{ 0xc0010000, X86_PMU_GP_AMD, 1, V_AMD, SELECT, 4, true, 0 },
	{ 0xc0010004, X86_PMU_GP_AMD, 1, V_AMD, COUNTER, 4, true, 0 },
	{ 0xc0010200, X86_PMU_GP_CORE, 2, V_AMD, SELECT, 0, true, X86_F_PERFCTR_CORE },
	{ 0xc0010201, X86_PMU_GP_CORE, 2, V_AMD, COUNTER, 0, true, X86_F_PERFCTR_CORE },
};

static const struct bank *bank_of(uint32_t index, unsigned int *n)
{
	for (size_t i = 0; i < ARRAY_SIZE(banks); i++) {
		const struct bank *b = &banks[i];

		if (index < b->first || (index - b->first) % b->step)
			continue;
		*n = (index - b->first) / b->step;
		if (*n < b->count)
			return b;
	}
	return NULL;
}

static bool exists(const struct x86_vcpu *v, const struct bank *b, unsigned int n)
{
	const struct x86_pmu *p = &v->pmu;

	if (b->vendor != v->cpuid.vendor || v->vm->no_pmu || !x86_has(&v->cpu, b->feature))
		return false;
	switch ((enum bank_kind)b->kind) {
	case CONTROL: return p->version > 1;
	case FIXED: return n < p->fixed_count;
	case WIDE_COUNTER: return n < p->gp_count && (p->capabilities & X86_PMU_CAPABILITIES);
	default: return n < p->gp_count;
	}
}

/* What an access to a register that is not there comes to. */
static int absent(const struct bank *b, unsigned int n, bool host, uint64_t value)
{
	if (b && (n < b->ancient || (host && b->listed && !value)))
		return 0;
	return -ENOENT;
}

/* --- the global registers -------------------------------------------------------------------- */

static uint64_t counters(const struct x86_pmu *p)
{
	return ((1ULL << p->gp_count) - 1) | ((1ULL << p->fixed_count) - 1) << 32;
}

static uint64_t get_control(const struct x86_pmu *p, uint32_t index)
{
	switch (index) {
	case FIXED_CTR_CTRL: return p->fixed_ctrl;
	case GLOBAL_STATUS: return p->global_status;
	case GLOBAL_CTRL: return p->global_ctrl;
	default: return 0;              /* GLOBAL_OVF_CTRL is a command */
	}
}

static int set_fixed_ctrl(struct x86_vcpu *v, uint64_t value)
{
	uint64_t valid = 0;

	for (unsigned int n = 0; n < v->pmu.fixed_count; n++)
		valid |= FIXED_FIELD << (4 * n);
	if (value & ~valid)
		return -EINVAL;
	v->pmu.fixed_ctrl = value;
	x86_pmu_reprogram(v);
	return 0;
}

bool x86_pmu_has_global(const struct x86_vcpu *v)
{
	return v->cpuid.vendor == V_INTEL && v->pmu.version > 1;
}

bool x86_pmu_valid_global(const struct x86_vcpu *v, uint64_t value)
{
	return !(value & ~counters(&v->pmu));
}

static int set_control(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	struct x86_pmu *p = &v->pmu;

	switch (index) {
	case FIXED_CTR_CTRL:
		return set_fixed_ctrl(v, value);
	case GLOBAL_STATUS:
		if (!host)
			return -EINVAL;
		p->global_status = value;
		return 0;
	case GLOBAL_CTRL:
		if (value & ~counters(p))
			return -EINVAL;
		p->global_ctrl = value;
		x86_pmu_reprogram(v);
		return 0;
	default:
		if (value & ~(counters(p) | OVF_CONDITION | OVF_BUFFER))
			return -EINVAL;
		if (!host)
			p->global_status &= ~value;
		return 0;
	}
}

/* --- the counters' own ------------------------------------------------------------------------- */

static int set_select(struct x86_vcpu *v, struct x86_pmc *pmc, uint64_t value)
{
	if (v->cpuid.vendor == V_AMD)
		value &= ~SELECT_RESERVED_AMD;
	else if (value & SELECT_RESERVED_INTEL)
		return -EINVAL;
	pmc->select = value;
	x86_pmu_reprogram(v);
	return 0;
}

static int set_counter(struct x86_vcpu *v, const struct bank *b, struct x86_pmc *pmc, uint64_t value, bool host)
{
	if (b->kind == WIDE_COUNTER && (value & ~v->pmu.gp_mask))
		return -EINVAL;
	/* Intel's numbers of old take 32 bits and a sign. */
	if (b->kind == COUNTER && b->vendor == V_INTEL && !host)
		value = (uint64_t)(int64_t)(int32_t)value;
	x86_pmu_write(v, pmc, value);
	return 0;
}

int x86_pmu_get(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	unsigned int n = 0;
	const struct bank *b = bank_of(index, &n);

	*value = 0;
	if (!b || !exists(v, b, n))
		return absent(b, n, host, 0);
	x86_pmu_sync(v);
	if (b->kind == CONTROL)
		*value = get_control(&v->pmu, index);
	else if (b->kind == FIXED)
		*value = v->pmu.fixed[n].counter;
	else
		*value = b->kind == SELECT ? v->pmu.gp[n].select : v->pmu.gp[n].counter;
	return 0;
}

int x86_pmu_set(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	unsigned int n = 0;
	const struct bank *b = bank_of(index, &n);

	if (!b || !exists(v, b, n))
		return absent(b, n, host, value);
	x86_pmu_sync(v);
	if (b->kind == CONTROL)
		return set_control(v, index, value, host);
	if (b->kind == SELECT)
		return set_select(v, &v->pmu.gp[n], value);
	return set_counter(v, b, b->kind == FIXED ? &v->pmu.fixed[n] : &v->pmu.gp[n], value, host);
}
