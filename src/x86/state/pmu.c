// SPDX-License-Identifier: MIT
#include "x86/state/pmu.h"

#include <errno.h>
#include <string.h>

#include "host/clock.h"
#include "x86/cpu/count.h"
#include "x86/state/cpuid.h"
#include "x86/state/state.h"
#include "x86/state/stats.h"

#define SELECT_USER (1ULL << 16)
#define SELECT_OS (1ULL << 17)
#define SELECT_EDGE (1ULL << 18)
#define SELECT_INT (1ULL << 20)
#define SELECT_CMASK (0xffULL << 24)
#define SELECT_EVENT (0xfULL << 32 | 0xffff)    /* event and unit mask; the upper part is AMD's */
#define FIXED_FIRST 32                          /* bit of fixed counter 0 in the global registers */
#define TICKS_PER_CYCLE 8
#define NS_PER_MS 1000000ULL
#define NS_PER_UNIT 32                          /* of x86_charge() */
#define NEVER INT64_MAX
#define LEVEL_OS 1u
#define LEVEL_USER 2u

/* SDM 3B, table 20-1 and 20-2; the PPR of AMD's family 19h, "Core Performance Monitor Counters". */
static const struct {
	uint8_t vendor;
	int8_t architectural;   /* bit in CPUID 0Ah EBX; -1: none */
	uint16_t select;        /* unit mask and event */
	uint8_t kind;           /* enum x86_count */
} events[] = {
	{ V_INTEL, 0, 0x003c, X86_COUNT_WORK },
	{ V_INTEL, 1, 0x00c0, X86_COUNT_INSNS },
	{ V_INTEL, 5, 0x00c4, X86_COUNT_BRANCHES },
	{ V_INTEL, 6, 0x00c5, X86_COUNT_MISSES },
	{ V_INTEL, -1, 0x0300, X86_COUNT_WORK },
	{ V_AMD, -1, 0x0076, X86_COUNT_WORK },
	{ V_AMD, -1, 0x00c0, X86_COUNT_INSNS },
	{ V_AMD, -1, 0x00c2, X86_COUNT_BRANCHES },
	{ V_AMD, -1, 0x00c3, X86_COUNT_MISSES },
};

/* What the fixed counters count: instructions, core cycles, reference cycles. */
static const uint16_t fixed_select[X86_PMU_FIXED] = { 0x00c0, 0x003c, 0x0300 };

/* --- what a counter counts ------------------------------------------------------------------ */

/* Its number in the global registers. */
static unsigned int number_of(const struct x86_pmu *p, const struct x86_pmc *pmc)
{
	if (pmc >= p->fixed && pmc < p->fixed + X86_PMU_FIXED)
		return FIXED_FIRST + (unsigned int)(pmc - p->fixed);
	return (unsigned int)(pmc - p->gp);
}

static uint64_t mask_of(const struct x86_pmu *p, const struct x86_pmc *pmc)
{
	return number_of(p, pmc) >= FIXED_FIRST ? p->fixed_mask : p->gp_mask;
}

/* A fixed counter's field in IA32_FIXED_CTR_CTRL as the bits of a select register. */
static uint64_t fixed_control(const struct x86_pmu *p, unsigned int n)
{
	uint64_t field = p->fixed_ctrl >> (4 * n) & 0xf;

	return fixed_select[n] | (field & 1 ? SELECT_OS : 0) | (field & 2 ? SELECT_USER : 0) |
	       (field & 8 ? SELECT_INT : 0) | (field & 3 ? PMC_ENABLE : 0);
}

/* An enum x86_count, or -1: nothing that we could count. */
static int kind_of(const struct x86_vcpu *v, uint64_t select)
{
	if (select & (SELECT_EDGE | SELECT_CMASK))
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		if (events[i].vendor != v->cpuid.vendor || events[i].select != (select & SELECT_EVENT))
			continue;
		if (events[i].architectural >= 0 && !(v->pmu.events >> events[i].architectural & 1))
			return -1;
		return events[i].kind;
	}
	return -1;
}

static bool globally_on(const struct x86_pmu *p, unsigned int number)
{
	return p->version < 2 || (p->global_ctrl >> number & 1);
}

/* What it counts has happened so often.  Cycles are made of both sums at once, so that none is lost. */
static uint64_t happened(const struct x86_vcpu *v, const struct x86_pmc *pmc)
{
	const uint64_t *total = v->cpu.count.total[pmc->kind];
	uint64_t n = (pmc->levels & LEVEL_OS ? total[0] : 0) + (pmc->levels & LEVEL_USER ? total[1] : 0);

	if (pmc->kind == X86_COUNT_WORK)
		n = (uint64_t)((unsigned __int128)n * v->tsc_khz / (TICKS_PER_CYCLE * NS_PER_MS));
	return n;
}

static void program(struct x86_vcpu *v, struct x86_pmc *pmc, bool exists)
{
	struct x86_pmu *p = &v->pmu;
	unsigned int number = number_of(p, pmc);
	int fixed = number >= FIXED_FIRST ? (int)(number - FIXED_FIRST) : -1;
	uint64_t select = fixed >= 0 ? fixed_control(p, (unsigned int)fixed) : pmc->select;
	int kind = kind_of(v, select);

	pmc->counting = exists && kind >= 0 && (select & PMC_ENABLE) && globally_on(p, number) &&
			x86_pmu_filter_allows(v, select, fixed);
	pmc->kind = kind < 0 ? 0 : (uint8_t)kind;
	pmc->levels = (select & SELECT_OS ? LEVEL_OS : 0) | (select & SELECT_USER ? LEVEL_USER : 0);
	pmc->interrupts = select & SELECT_INT;
	pmc->seen = happened(v, pmc);
}

/* --- counting ------------------------------------------------------------------------------ */

static void overflowed(struct x86_vcpu *v, struct x86_pmc *pmc)
{
	v->pmu.global_status |= 1ULL << number_of(&v->pmu, pmc);
	if (!pmc->interrupts || !v->has_lapic)
		return;
	x86_stat_inc(v->vcpu, X86_STAT_PMIS);
	lapic_deliver_lvt(&v->lapic, LAPIC_LVT_PMC);
}

static void advance(struct x86_vcpu *v, struct x86_pmc *pmc)
{
	uint64_t now, sum, mask = mask_of(&v->pmu, pmc);

	if (!pmc->counting)
		return;
	now = happened(v, pmc);
	/* Another frequency of the TSC makes the sum of cycles another one. */
	if ((int64_t)(now - pmc->seen) > 0) {
		sum = pmc->counter + (now - pmc->seen);
		pmc->counter = sum & mask;
		if (sum > mask)
			overflowed(v, pmc);
	}
	pmc->seen = now;
}

/* When to look at the counters again. */
struct plan {
	bool on, timed;
	int64_t insns[2];       /* by CPL, as count.left */
	uint64_t work;
};

static int64_t less(int64_t a, uint64_t b)
{
	return (uint64_t)a < b ? a : (int64_t)b;
}

/* What one counter has to do with it. */
static void plan(struct x86_vcpu *v, const struct x86_pmc *pmc, struct plan *plan)
{
	uint64_t left = mask_of(&v->pmu, pmc) + 1 - pmc->counter;

	if (!pmc->counting)
		return;
	plan->on = true;
	if (pmc->kind == X86_COUNT_WORK) {
		plan->timed = true;
		left = (uint64_t)((unsigned __int128)left * TICKS_PER_CYCLE * NS_PER_MS / v->tsc_khz);
		plan->work = left < plan->work ? left : plan->work;
		return;
	}
	/* Branches are instructions: they are not more. */
	for (unsigned int user = 0; user < 2; user++)
		if (pmc->levels & (user ? LEVEL_USER : LEVEL_OS))
			plan->insns[user] = less(plan->insns[user], left);
}

static void arm(struct x86_vcpu *v)
{
	struct x86_pmu *p = &v->pmu;
	struct plan next = { .insns = { NEVER, NEVER }, .work = NEVER };

	for (unsigned int i = 0; i < X86_PMU_GP_INTEL; i++)
		plan(v, &p->gp[i], &next);
	for (unsigned int i = 0; i < X86_PMU_FIXED; i++)
		plan(v, &p->fixed[i], &next);
	p->work_left = next.work;
	x86_count_set(&v->cpu, next.on, next.timed, next.insns);
}

static void advance_all(struct x86_vcpu *v)
{
	x86_count_now(&v->cpu);
	for (unsigned int i = 0; i < X86_PMU_GP_INTEL; i++)
		advance(v, &v->pmu.gp[i]);
	for (unsigned int i = 0; i < X86_PMU_FIXED; i++)
		advance(v, &v->pmu.fixed[i]);
}

void x86_pmu_sync(struct x86_vcpu *v)
{
	if (!v->cpu.count.on)
		return;
	advance_all(v);
	arm(v);
}

void x86_pmu_reprogram(struct x86_vcpu *v)
{
	struct x86_pmu *p = &v->pmu;

	advance_all(v);
	for (unsigned int i = 0; i < X86_PMU_GP_INTEL; i++)
		program(v, &p->gp[i], i < p->gp_count);
	for (unsigned int i = 0; i < X86_PMU_FIXED; i++)
		program(v, &p->fixed[i], i < p->fixed_count);
	arm(v);
}

void x86_pmu_write(struct x86_vcpu *v, struct x86_pmc *pmc, uint64_t value)
{
	x86_pmu_sync(v);
	pmc->counter = value & mask_of(&v->pmu, pmc);
	arm(v);
}

void x86_pmu_slice(struct x86_vcpu *v)
{
	uint64_t units;

	if (!v->cpu.count.timed)
		return;
	x86_pmu_sync(v);
	units = v->pmu.work_left / NS_PER_UNIT + 1;
	if (units < (uint64_t)v->cpu.slice)
		v->cpu.slice = (int32_t)units;
}

/* --- RDPMC ------------------------------------------------------------------------------------ */

#define RDPMC_FAST (1u << 31)           /* the low half only */
#define RDPMC_FIXED (1u << 30)

static struct x86_pmc *by_rdpmc(struct x86_vcpu *v, uint32_t index)
{
	struct x86_pmu *p = &v->pmu;
	bool fixed = (index & RDPMC_FIXED) && v->cpuid.vendor == V_INTEL;
	uint32_t n = index & ~(RDPMC_FAST | RDPMC_FIXED);

	if (!p->version || n >= (fixed ? p->fixed_count : p->gp_count))
		return NULL;
	return fixed ? &p->fixed[n] : &p->gp[n];
}

int x86_pmu_rdpmc(struct x86_vcpu *v, uint32_t index, uint64_t *value)
{
	const struct x86_pmc *pmc = by_rdpmc(v, index);

	if (!pmc)
		return 1;
	x86_pmu_sync(v);
	*value = pmc->counter;
	/* KVM takes the bit on AMD's, too, where it has no meaning. */
	if (index & RDPMC_FAST)
		*value = (uint32_t)*value;
	return 0;
}

/* --- what there is ----------------------------------------------------------------------------- */

static uint64_t ones(unsigned int n)
{
	return n ? ~0ULL >> (64 - n) : 0;
}

static unsigned int at_most(unsigned int n, unsigned int limit)
{
	return n < limit ? n : limit;
}

static void refresh_intel(struct x86_vcpu *v)
{
	const struct kvm_cpuid_entry2 *e = x86_cpuid_find(&v->cpuid, 0xa, 0);
	struct x86_pmu *p = &v->pmu;

	if (!e || !(e->eax & 0xff) || v->vm->no_pmu)
		return;
	p->version = (uint8_t)e->eax;
	p->gp_count = (uint8_t)at_most(e->eax >> 8 & 0xff, X86_PMU_GP_INTEL);
	p->gp_mask = ones(at_most(e->eax >> 16 & 0xff, X86_PMU_WIDTH));
	p->events = ~e->ebx & (uint32_t)ones(at_most(e->eax >> 24, X86_PMU_EVENTS)) & ~X86_PMU_EVENTS_ABSENT;
	if (p->version == 1)
		return;
	p->fixed_count = (uint8_t)at_most(e->edx & 0x1f, X86_PMU_FIXED);
	p->fixed_mask = ones(at_most(e->edx >> 5 & 0xff, X86_PMU_WIDTH));
}

/* KVM does not ask whether AMD's is switched off, but for its MSRs. */
static void refresh_amd(struct x86_vcpu *v)
{
	struct x86_pmu *p = &v->pmu;

	p->version = 1;
	p->gp_count = x86_has(&v->cpu, X86_F_PERFCTR_CORE) ? X86_PMU_GP_CORE : X86_PMU_GP_AMD;
	p->gp_mask = ones(X86_PMU_WIDTH);
}

void x86_pmu_refresh(struct x86_vcpu *v)
{
	struct x86_pmu *p = &v->pmu;

	p->version = p->gp_count = p->fixed_count = 0;
	p->gp_mask = p->fixed_mask = 0;
	p->events = 0;
	if (v->cpuid.vendor == V_INTEL)
		refresh_intel(v);
	else
		refresh_amd(v);
	x86_pmu_reprogram(v);
}

void x86_pmu_init(struct x86_vcpu *v)
{
	v->pmu.capabilities = v->cpuid.vendor == V_INTEL ? X86_PMU_CAPABILITIES : 0;
	x86_pmu_refresh(v);
}

void x86_pmu_reset(struct x86_vcpu *v)
{
	struct x86_pmu *p = &v->pmu;

	memset(p->gp, 0, sizeof(p->gp));
	memset(p->fixed, 0, sizeof(p->fixed));
	p->fixed_ctrl = p->global_ctrl = p->global_status = 0;
	x86_pmu_reprogram(v);
}

int x86_pmu_capability(struct vm *vm, const struct kvm_enable_cap *cap)
{
	int r = -EINVAL;

	if (cap->flags || (cap->args[0] & ~(__u64)KVM_PMU_CAP_DISABLE))
		return -EINVAL;
	pthread_mutex_lock(&vm->lock);
	if (!vm->created_vcpus) {
		x86_vm_of(vm)->no_pmu = cap->args[0] & KVM_PMU_CAP_DISABLE;
		r = 0;
	}
	pthread_mutex_unlock(&vm->lock);
	return r;
}
