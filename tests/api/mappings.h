/* SPDX-License-Identifier: MIT */
/*
 * An L1 that runs L2 with EPT, and Hyper-V's flushes of what L2's memory was mapped to: hypercalls 0xaf and 0xb0.  TLFS
 * 16.10, 17.6.
 */
#ifndef TESTS_API_MAPPINGS_H
#define TESTS_API_MAPPINGS_H

#include "vmx.h"

#define MAPPINGS_INPUT (VMX_FREE + 0x8000)      /* of a hypercall */
#define MAPPINGS_SPACE 0xaf
#define MAPPINGS_LIST 0xb0
#define MAPPINGS_OFFERED (1u << 18)             /* EAX of the leaf 0x4000000a */
#define MAPPINGS_REPS(n) ((uint64_t)(n) << 32)

enum { SUCCESS = 0, INVALID_CODE = 2, INVALID_INPUT = 3, INVALID_ALIGNMENT = 4, INVALID_PARAMETER = 5 };

/** mappings_start - EPT at VMX_EPT, VPID 1, L2's @code; CPUID has Hyper-V, with @nested of its nested features. */
struct vmx mappings_start(uint32_t nested, const uint8_t *code, size_t n);

/** mappings_call - the hypercall's result.  @flag: where L1 stores @value behind it, 0: nowhere. */
uint64_t mappings_call(struct vmx *s, uint64_t control, uint64_t in, uint64_t out, uint64_t flag, uint32_t value);
/** mappings_put - the input: space and flags, and @n ranges. */
void mappings_put(struct vmx *s, uint64_t root, uint64_t flags, const uint64_t *range, unsigned int n);
/** mappings_flush - of the space at @root, or of @n ranges of it; has to succeed. */
void mappings_flush(struct vmx *s, uint64_t root, const uint64_t *range, unsigned int n);
/** mappings_invept - by INVEPT of @type, of that root. */
void mappings_invept(struct vmx *s, uint32_t type, uint64_t root);

#endif
