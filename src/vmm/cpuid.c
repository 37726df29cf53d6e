/* SPDX-License-Identifier: MIT */
/*
 * cpuid.c - what KVM supports, with the leaves that only the machine knows:
 * who this vCPU is, and among how many.  The topology is one package of
 * single-threaded cores.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/vcpu.h"

#define MAX_LEAVES 256u

#define LEAF1_EDX_HTT	      (1u << 28)
#define LEAF1_ECX_TSC_DEADLINE (1u << 24)
#define LEAF1_ECX_HYPERVISOR  (1u << 31)
#define LEAF80000001_CMP_LEGACY (1u << 1)

/* Bits that an APIC id below @count needs. */
static unsigned int id_bits(unsigned int count)
{
	return count > 1 ? 32 - __builtin_clz(count - 1) : 0;
}

static void features(struct kvm_cpuid_entry2 *e, const struct vcpu *v)
{
	unsigned int logical = 1u << id_bits(v->count);

	e->ebx = (e->ebx & 0xffff) | (logical & 0xff) << 16 | v->id << 24;
	e->ecx |= LEAF1_ECX_HYPERVISOR;
	/* Not among what is supported, since it needs KVM's local APIC: which this machine has (api.rst 4.46). */
	if (sys_ioctl(&v->pf->vm, KVM_CHECK_EXTENSION, (void *)(uintptr_t)KVM_CAP_TSC_DEADLINE_TIMER) > 0)
		e->ecx |= LEAF1_ECX_TSC_DEADLINE;
	e->edx = v->count > 1 ? e->edx | LEAF1_EDX_HTT : e->edx & ~LEAF1_EDX_HTT;
}

/* Deterministic caches: levels 1 and 2 are a core's own, level 3 is the package's (SDM 2A, CPUID). */
static void caches(struct kvm_cpuid_entry2 *e, const struct vcpu *v)
{
	unsigned int level = e->eax >> 5 & 7;
	unsigned int sharing = level >= 3 ? (1u << id_bits(v->count)) - 1 : 0;

	if (!(e->eax & 0x1f))
		return;
	e->eax = (e->eax & 0x3fff) | sharing << 14 | ((1u << id_bits(v->count)) - 1) << 26;
}

/* Extended topology: level 0 is threads (one a core), level 1 is cores. */
static void topology(struct kvm_cpuid_entry2 *e, const struct vcpu *v)
{
	static const unsigned int type[] = { 1, 2 };

	e->edx = v->id;
	e->ecx = e->index & 0xff;
	e->eax = e->ebx = 0;
	if (e->index > 1)
		return;
	e->ecx |= type[e->index] << 8;
	e->eax = e->index ? id_bits(v->count) : 0;
	e->ebx = e->index ? v->count : 1;
}

static void amd_sizes(struct kvm_cpuid_entry2 *e, const struct vcpu *v)
{
	e->ecx = (e->ecx & ~0xf0ffu) | (v->count - 1) | id_bits(v->count) << 12;
}

static void amd_features(struct kvm_cpuid_entry2 *e, const struct vcpu *v)
{
	/* AMD's alone: core numbers are in the APIC id (APM 3, Fn8000_0001_ECX[1]). */
	if (v->count == 1)
		e->ecx &= ~LEAF80000001_CMP_LEGACY;
}

static void amd_caches(struct kvm_cpuid_entry2 *e, const struct vcpu *v)
{
	unsigned int level = e->eax >> 5 & 7;

	if (e->eax & 0x1f)
		e->eax = (e->eax & 0x3fff) | (level >= 3 ? v->count - 1 : 0) << 14;
}

static void amd_topology(struct kvm_cpuid_entry2 *e, const struct vcpu *v)
{
	e->eax = v->id;	       /* extended APIC id */
	e->ebx = v->id & 0xff; /* core id, one thread */
	e->ecx = 0;	       /* node 0 of one */
}

static const struct {
	uint32_t leaf;
	void (*fix)(struct kvm_cpuid_entry2 *e, const struct vcpu *v);
} fixes[] = {
	{ 0x1, features },
	{ 0x4, caches },
	{ 0xb, topology },
	{ 0x1f, topology },
	{ 0x80000001, amd_features },
	{ 0x80000008, amd_sizes },
	{ 0x8000001d, amd_caches },
	{ 0x8000001e, amd_topology },
};

static void fix(struct kvm_cpuid_entry2 *e, const struct vcpu *v)
{
	for (size_t i = 0; i < sizeof(fixes) / sizeof(fixes[0]); i++)
		if (fixes[i].leaf == e->function)
			fixes[i].fix(e, v);
}

static struct kvm_cpuid_entry2 *find(struct kvm_cpuid2 *c, uint32_t leaf, uint32_t index)
{
	for (unsigned int i = 0; i < c->nent; i++)
		if (c->entries[i].function == leaf && c->entries[i].index == index)
			return &c->entries[i];
	return NULL;
}

/* KVM may report the first level of topology alone: the second is added where leaf 0xb exists. */
static void complete_topology(struct kvm_cpuid2 *c)
{
	struct kvm_cpuid_entry2 *zero = find(c, 0xb, 0);

	if (!zero || find(c, 0xb, 1) || c->nent == MAX_LEAVES)
		return;
	c->entries[c->nent] = *zero;
	c->entries[c->nent++].index = 1;
}

int vcpu_set_cpuid(const struct vcpu *v, struct vmm_err *err)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + MAX_LEAVES * sizeof(c->entries[0]));
	int r;

	if (!c)
		return vmm_fail(err, ENOMEM, "vCPU %u: out of memory", v->id);
	c->nent = MAX_LEAVES;
	r = sys_ioctl(&v->pf->vm, KVM_GET_SUPPORTED_CPUID, c);
	if (!r) {
		complete_topology(c);
		for (unsigned int i = 0; i < c->nent; i++)
			fix(&c->entries[i], v);
		r = vcpu_ioctl(v, KVM_SET_CPUID2, c);
	}
	free(c);
	return r < 0 ? vmm_fail(err, -r, "vCPU %u: cannot set CPUID: %s", v->id, strerror(-r)) : 0;
}
