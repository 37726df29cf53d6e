/* SPDX-License-Identifier: MIT */
/* Addresses by whose they are.  An hva is a plain pointer. */
#ifndef KVM_TYPES_H
#define KVM_TYPES_H

#include <stdint.h>

typedef uint64_t gva_t; /* guest virtual (linear) address */
typedef uint64_t gpa_t; /* guest physical address */
typedef uint64_t gfn_t; /* guest frame number: gpa >> 12 */

#define GUEST_PAGE_SHIFT 12
#define GUEST_PAGE_SIZE (1ULL << GUEST_PAGE_SHIFT)
#define GUEST_PAGE_MASK (~(GUEST_PAGE_SIZE - 1))

#define gpa_to_gfn(gpa) ((gfn_t)((gpa) >> GUEST_PAGE_SHIFT))
#define gfn_to_gpa(gfn) ((gpa_t)((gfn) << GUEST_PAGE_SHIFT))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, member) ((type *)((char *)(p) - __builtin_offsetof(type, member)))
#define must_check __attribute__((warn_unused_result))

#endif
