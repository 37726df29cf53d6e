/* SPDX-License-Identifier: MIT */
/* Guests that see Hyper-V: 64-bit code of one vCPU that does one thing at a time, as the test asks. */
#ifndef TESTS_API_HYPERV_H
#define TESTS_API_HYPERV_H

#include "guest.h"

#define HV_FEATURES 0x40000003
#define HV_HINTS 0x40000004

/* The guest's ways back: what was asked is done, #UD, #GP. */
#define HV_DONE 0x10
#define HV_UD 0x12
#define HV_GP 0x14

/* Memory for inputs of hypercalls. */
#define HV_INPUT 0x4000

#define FAST (1ULL << 16)
#define VAR(n) ((uint64_t)(n) << 17)
#define REPS(n) ((uint64_t)(n) << 32)
#define REP_START(n) ((uint64_t)(n) << 48)

/** hv_there - the device has the interface: not every kernel has. */
bool hv_there(void);

/** hv_leaves - what KVM_GET_SUPPORTED_HV_CPUID says, and behind it what KVM_GET_SUPPORTED_CPUID does. */
struct cpuid_table *hv_leaves(void);

/** hv_guest - a guest with CPUID @t, which is freed; NULL: hv_leaves(). */
struct guest hv_guest(struct cpuid_table *t);
/** hv_guest_on - the same as the first vCPU of @vm. */
struct guest hv_guest_on(int vm, struct cpuid_table *t);

/** hv_wrmsr, hv_rdmsr - by the guest: HV_DONE or HV_GP. */
uint16_t hv_wrmsr(struct guest *g, uint32_t index, uint64_t value);
uint16_t hv_rdmsr(struct guest *g, uint32_t index, uint64_t *value);
/** hv_cpuid_edx - EDX of a leaf, as the guest has it. */
uint32_t hv_cpuid_edx(struct guest *g, uint32_t leaf);
/** hv_rdtsc - by the guest. */
uint64_t hv_rdtsc(struct guest *g);

/** hv_call - a hypercall; its result, ~0: #UD.  The guest's identity has to be set before. */
uint64_t hv_call(struct guest *g, uint64_t control, uint64_t in, uint64_t out);
/** hv_call_begins - it leaves with some exit; hv_call_ends - and goes on to its result. */
void hv_call_begins(struct guest *g, uint64_t control, uint64_t in, uint64_t out);
uint64_t hv_call_ends(struct guest *g);

/** hv_identify - GUEST_OS_ID: hypercalls are Hyper-V's from now on. */
void hv_identify(struct guest *g);

/** hv_set_xmm - half @n of the XMM registers: half n % 2 of register n / 2. */
void hv_set_xmm(struct guest *g, unsigned int n, uint64_t value);

/** hv_input - writes words to HV_INPUT. */
void hv_input(struct guest *g, const uint64_t *word, size_t n);
#define INPUT(g, ...) hv_input(g, (const uint64_t[]){ __VA_ARGS__ }, sizeof((const uint64_t[]){ __VA_ARGS__ }) / 8)

#endif
