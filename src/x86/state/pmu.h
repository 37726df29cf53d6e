/* SPDX-License-Identifier: MIT */
/*
 * The performance monitoring unit of a vCPU: Intel's architectural version 2
 * (SDM 3B, 20.2) or AMD's core counters (APM 2, 13.2), by the vendor of the
 * vCPU's CPUID, as KVM offers them.  pmu.c counts, pmu_msr.c has the registers.
 *
 * Events are what the engine can count (cpu/count.h): instructions, branches,
 * mispredicted branches, cycles.  A cycle is eight ticks of the guest's TSC in
 * which the vCPU's thread had a processor: the virtual core works at that part
 * of its nominal frequency, and an instruction takes a plausible number of
 * cycles.  An event of any other number, or with a threshold (CMASK) or edge
 * detection, is never seen to happen.
 */
#ifndef X86_STATE_PMU_H
#define X86_STATE_PMU_H

#include <stdbool.h>
#include <stdint.h>

struct kvm_call;
struct kvm_enable_cap;
struct vm;
struct x86_vcpu;

#define X86_PMU_GP_INTEL 8u
#define X86_PMU_GP_AMD 4u
#define X86_PMU_GP_CORE 6u              /* AMD, with PERFCTR_CORE */
#define X86_PMU_FIXED 3u
#define X86_PMU_WIDTH 48u
#define X86_PMU_EVENTS 7u               /* architectural ones: CPUID 0Ah EBX */
#define X86_PMU_EVENTS_ABSENT 0x1cu     /* bus cycles, references to and misses of the last-level cache */
#define X86_PMU_CAPABILITIES (1ULL << 13)       /* IA32_PERF_CAPABILITIES of Intel: full-width writes */

#define PMC_ENABLE (1ULL << 22)         /* PERFEVTSEL */

struct x86_pmc {
	uint64_t counter, select;
	uint64_t seen;          /* of what it counts, when `counter` was brought up to date */
	uint8_t kind;           /* enum x86_count */
	uint8_t levels;         /* 1: at CPL 0, 2: above */
	bool counting, interrupts;
};

struct x86_pmu {
	struct x86_pmc gp[X86_PMU_GP_INTEL], fixed[X86_PMU_FIXED];
	uint64_t fixed_ctrl, global_ctrl, global_status, capabilities;
	/* By CPUID. */
	uint8_t version, gp_count, fixed_count;
	uint64_t gp_mask, fixed_mask;   /* of a counter's value */
	uint32_t events;                /* architectural events that the guest was told of */
	uint64_t work_left;             /* ns of work until a counter of cycles may overflow */
};

/** x86_pmu_init, x86_pmu_reset - a new vCPU's; RESET. */
void x86_pmu_init(struct x86_vcpu *v);
void x86_pmu_reset(struct x86_vcpu *v);

/** x86_pmu_refresh - after a change of CPUID or of IA32_PERF_CAPABILITIES. */
void x86_pmu_refresh(struct x86_vcpu *v);

/** x86_pmu_sync - all counters as of now; interrupts for those that have overflowed. */
void x86_pmu_sync(struct x86_vcpu *v);

/** x86_pmu_reprogram - a control register was written. */
void x86_pmu_reprogram(struct x86_vcpu *v);

/** x86_pmu_write - sets a counter, which may be counting. */
void x86_pmu_write(struct x86_vcpu *v, struct x86_pmc *pmc, uint64_t value);

/** x86_pmu_slice - the run loop looks around: cycles may have overflowed; says when it should look again. */
void x86_pmu_slice(struct x86_vcpu *v);

/** x86_pmu_rdpmc - 0; 1: there is no counter of that number. */
int x86_pmu_rdpmc(struct x86_vcpu *v, uint32_t index, uint64_t *value);

/** x86_pmu_has_global, x86_pmu_valid_global - is there IA32_PERF_GLOBAL_CTRL, may that be its value? */
bool x86_pmu_has_global(const struct x86_vcpu *v);
bool x86_pmu_valid_global(const struct x86_vcpu *v, uint64_t value);

/* --- pmu_msr.c: for rows of the table of MSRs --- */
int x86_pmu_get(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host);
int x86_pmu_set(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host);

/* --- pmu_filter.c: KVM_SET_PMU_EVENT_FILTER --- */
struct x86_pmu_filter;
long x86_ioctl_set_pmu_event_filter(struct kvm_call *c);
/** x86_pmu_filter_allows - an event by its select register; @fixed: a fixed counter by its number, or -1. */
bool x86_pmu_filter_allows(struct x86_vcpu *v, uint64_t select, int fixed);
void x86_pmu_filter_free(struct x86_pmu_filter *f);

/** x86_pmu_capability - KVM_CAP_PMU_CAPABILITY. */
int x86_pmu_capability(struct vm *vm, const struct kvm_enable_cap *cap);

#endif
