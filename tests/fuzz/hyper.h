/* SPDX-License-Identifier: MIT */
/* Guests that are hypervisors: what hyper.c has in common for SVM (hyper_svm.c) and VMX (hyper_vmx.c). */
#ifndef TESTS_FUZZ_HYPER_H
#define TESTS_FUZZ_HYPER_H

#include "fuzz.h"

/* Pages of the arena. */
enum {
	HYPER_CODE = 36, HYPER_VMCB = 38 /* or VMCS: two of them */, HYPER_HOST = 40 /* VMXON region, host save area */,
	HYPER_TABLES = 41 /* second level, four pages */, HYPER_MAPS = 45 /* of ports and MSRs, five */,
	HYPER_END = 50,
};
#define HYPER_VMCBS 2

/* A field of a VMCB or VMCS. */
struct hyper_field {
	uint16_t offset;
	uint8_t size;
};

struct hyper_vendor {
	/* A VMCB that breaks no rule, mostly: some mode of L2, some intercepts. */
	void (*fill)(const struct fuzz_world *w, void *vmcb);
	const struct hyper_field *field;
	unsigned int fields;
	/* The code of L1, at @at: bytes.  It runs VMCB after VMCB for ever. */
	size_t (*code)(uint8_t *at, size_t room);
	/* Once in a world: what the vCPU offers, to w->caps[]. */
	void (*learn)(struct fuzz_world *w);
	/* What a vCPU needs before that beside 64-bit mode. */
	void (*prepare)(int vcpu, struct kvm_sregs *s);
	/* Attributes in second-level tables: of a table, a page, a large page. */
	uint64_t table, page, large;
};

extern const struct hyper_vendor hyper_svm, hyper_vmx;

static inline uint64_t hyper_page(unsigned int n)
{
	return n * PAGE;
}

/** hyper_put - copies @size bytes to *@at, and moves that on. */
void hyper_put(uint8_t **at, const void *bytes, size_t size);
#define PUT(at, ...) hyper_put(at, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))
/** hyper_set_msr - KVM_SET_MSRS of one; its result does not matter.  hyper_msr - its value, or 0. */
void hyper_set_msr(int vcpu, uint32_t index, uint64_t value);
uint64_t hyper_msr(int vcpu, uint32_t index);
/** hyper_map_edge - an address for a permission map: a good one, at the end of memory, or beyond what there may be. */
uint64_t hyper_map_edge(void);

#endif
