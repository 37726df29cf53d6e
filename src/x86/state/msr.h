/* SPDX-License-Identifier: MIT */
/*
 * Model-specific registers.  One table (msr_table.c): a register is a row with
 * a field of struct x86_vcpu, or with a reader and a writer.
 *
 * Readers and writers return 0; -EINVAL: #GP(0), or the client's access fails;
 * -ENOENT: there is no such register; -EACCES: filtered.
 */
#ifndef X86_STATE_MSR_H
#define X86_STATE_MSR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct x86_msr_filter;
struct x86_vcpu;

enum x86_msr_flags {
	MSR_SAVED = 1 << 0,             /* in KVM_GET_MSR_INDEX_LIST */
	MSR_FEATURE = 1 << 1,           /* in KVM_GET_MSR_FEATURE_INDEX_LIST */
	MSR_READ_ONLY = 1 << 2,         /* writes: -ENOENT, as KVM has it */
	MSR_HOST_ONLY = 1 << 3,         /* the guest's accesses: -EINVAL */
	MSR_HOST_WRITES = 1 << 4,       /* the guest may read */
	MSR_IGNORE_WRITES = 1 << 5,     /* whatever is written has no effect */
	MSR_PV = 1 << 6,                /* `feature` counts only with KVM_CAP_ENFORCE_PV_FEATURE_CPUID */
	MSR_LAZY_ZERO = 1 << 7,         /* reads as `fixed`, has no field */
	MSR_OF_INTEL = 1 << 8,          /* in the lists where the model is of that vendor */
	MSR_OF_AMD = 1 << 9,
};

struct x86_msr_row {
	uint32_t first, last;
	const char *name;
	uint16_t flags;                 /* enum x86_msr_flags */
	uint16_t feature;               /* enum x86_feature that a guest's access needs */
	uint16_t vendors;               /* enum x86_feature_vendors with it; 0: both */
	uint16_t field;                 /* offset in struct x86_vcpu, 8 bytes for each number; 0: none */
	uint64_t valid;                 /* bits that may be written to the field */
	uint64_t fixed;                 /* value of a register without a field or a reader */
	int (*get)(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host);
	int (*set)(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host);
};

extern const struct x86_msr_row x86_msr_rows[];
extern const size_t x86_msr_row_count;

/** x86_msr_get, x86_msr_set - @host: by the client (KVM_GET_MSRS, KVM_SET_MSRS). */
int x86_msr_get(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host);
int x86_msr_set(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host);

/** x86_guest_rdmsr, x86_guest_wrmsr - the guest's, with the client's filter before. */
int x86_guest_rdmsr(struct x86_vcpu *v, uint32_t index, uint64_t *value);
int x86_guest_wrmsr(struct x86_vcpu *v, uint32_t index, uint64_t value);

/** x86_msr_feature - the value of an MSR-based feature of the process's CPU model; -ENOENT. */
int x86_msr_feature(uint32_t index, uint64_t *value);

/** x86_msr_init - what a new vCPU starts with; x86_msr_reset - what RESET sets again. */
void x86_msr_init(struct x86_vcpu *v);
void x86_msr_reset(struct x86_vcpu *v);

void x86_msr_filter_free(struct x86_msr_filter *f);

/** x86_debugctl_valid - a value that IA32_DEBUGCTL, or AMD's DebugCtl, may have; x86_set_debugctl - one that may be. */
bool x86_debugctl_valid(const struct x86_vcpu *v, uint64_t value);
void x86_set_debugctl(struct x86_vcpu *v, uint64_t value);

/** x86_pat_valid - each of the eight memory types is one: UC, WC, WT, WP, WB, UC-.  SDM 3A, 11.12.2; APM 2, 7.8.1. */
static inline bool x86_pat_valid(uint64_t pat)
{
	for (unsigned int n = 0; n < 64; n += 8)
		if ((pat >> n & 0xff) > 7 || !(0xf3 >> (pat >> n & 7) & 1))
			return false;
	return true;
}

#endif
