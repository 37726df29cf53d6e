// SPDX-License-Identifier: MIT
#include "x86/state/cpuid.h"

#include <errno.h>
#include <linux/kvm_para.h>
#include <stdlib.h>
#include <string.h>

#include "x86/cpu/block.h"
#include "x86/cpu/exception.h"
#include "x86/cpu/vec_state.h"
#include "x86/state/model.h"
#include "x86/state/state.h"

#define INDEXED KVM_CPUID_FLAG_SIGNIFCANT_INDEX
#define MAXPHYADDR_UNKNOWN 36
#define XCR0_X87 1ULL
#define KVM_BASE_FIRST 0x40000000u
#define KVM_BASE_LAST 0x40010000u
#define KVM_FEATURES 0x40000001u        /* as the table has it */
#define MISC_ENABLE_MWAIT (1ULL << 18)

struct kvm_cpuid_entry2 *x86_cpuid_find(const struct x86_cpuid *c, uint32_t leaf, uint32_t index)
{
	for (uint32_t i = 0; i < c->count; i++) {
		struct kvm_cpuid_entry2 *e = &c->entry[i];

		if (e->function == leaf && (!(e->flags & INDEXED) || e->index == index))
			return e;
	}
	return NULL;
}

void x86_cpuid_free(struct x86_cpuid *c)
{
	free(c->entry);
	c->entry = NULL;
	c->count = 0;
}

/* --- what follows from the leaves ------------------------------------------------------ */

static uint32_t reg_of(const struct kvm_cpuid_entry2 *e, unsigned int reg)
{
	const uint32_t regs[] = { e->eax, e->ebx, e->ecx, e->edx };

	return regs[reg];
}

/* KVM's leaves may stand above those of another interface; api.rst, KVM_CPUID_SIGNATURE. */
static uint32_t kvm_base(const struct x86_cpuid *c)
{
	for (uint32_t base = KVM_BASE_FIRST; base < KVM_BASE_LAST; base += 0x100) {
		const struct kvm_cpuid_entry2 *e = x86_cpuid_find(c, base, 0);
		uint32_t sig[3];

		if (!e)
			continue;
		sig[0] = e->ebx;
		sig[1] = e->ecx;
		sig[2] = e->edx;
		if (!memcmp(sig, "KVMKVMKVM\0\0\0", sizeof(sig)))
			return base;
	}
	return 0;
}

static void derive_features(struct x86_cpuid *c)
{
	uint32_t base = kvm_base(c);

	memset(c->has, 0, sizeof(c->has));
	for (unsigned int f = 1; f < X86_F_COUNT; f++) {
		const struct x86_feature_row *row = &x86_feature_rows[f];
		const struct kvm_cpuid_entry2 *e;
		uint32_t leaf = row->leaf;

		if ((leaf & 0xffffff00) == KVM_BASE_FIRST) {
			if (!base)
				continue;
			leaf = base + (leaf - KVM_BASE_FIRST);
		}
		e = x86_cpuid_find(c, leaf, row->subleaf);
		if (e && (reg_of(e, row->reg) >> row->bit & 1) && x86_feature_feasible(f))
			c->has[f / 64] |= 1ULL << (f % 64);
	}
}

/* That the client says so makes no processor have VMX or SVM, nor one that is told to have none. */
static void drop_nested(struct x86_vcpu *v)
{
	struct x86_model m;

	x86_model_get(&m);
	if (!v->vmx || !x86_model_has(&m, X86_F_VMX))
		v->cpuid.has[X86_F_VMX / 64] &= ~(1ULL << (X86_F_VMX % 64));
	if (!v->svm || !x86_model_has(&m, X86_F_SVM))
		v->cpuid.has[X86_F_SVM / 64] &= ~(1ULL << (X86_F_SVM % 64));
}

/*
 * MONITOR and MWAIT: no operation where CPUID does not offer them, by a quirk
 * that the client may end; then MISC_ENABLE may take them away.  api.rst 7.30.
 */
void x86_cpuid_update_mwait(struct x86_vcpu *v)
{
	const struct kvm_cpuid_entry2 *e = x86_cpuid_find(&v->cpuid, 1, 0);
	uint64_t bit = 1ULL << (X86_F_MONITOR % 64), *has = &v->cpuid.has[X86_F_MONITOR / 64];
	uint64_t quirks = ~v->vm->disabled_quirks;
	bool offered = e && (e->ecx >> 3 & 1);

	if (!(quirks & KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT))
		offered = v->msr.misc_enable & MISC_ENABLE_MWAIT;
	v->quirks_seen = ~quirks;
	if (quirks & KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS)
		offered = true;
	if (offered == !!(*has & bit))
		return;
	*has ^= bit;
	/* Decoded code knows which instructions exist. */
	code_drop_all(v->vm->code);
}

/* What the client says; nonsense is bent to what page tables can hold (SDM 3A 4.1.4: 52), and CR3 outside long mode. */
static uint8_t sane_maxphyaddr(uint32_t bits)
{
	return bits < 32 ? 32 : bits > 52 ? 52 : (uint8_t)bits;
}

static uint8_t maxphyaddr(const struct x86_cpuid *c)
{
	const struct kvm_cpuid_entry2 *e = x86_cpuid_find(c, 0x80000000, 0);

	if (!e || e->eax < 0x80000008)
		return MAXPHYADDR_UNKNOWN;
	e = x86_cpuid_find(c, 0x80000008, 0);
	return e ? sane_maxphyaddr(e->eax & 0xff) : MAXPHYADDR_UNKNOWN;
}

static uint8_t vendor(const struct x86_cpuid *c)
{
	const struct kvm_cpuid_entry2 *e = x86_cpuid_find(c, 0, 0);
	struct x86_model m;

	if (e && (!memcmp(&e->ebx, "Auth", 4) || !memcmp(&e->ebx, "Hygo", 4)))
		return V_AMD;
	if (e)
		return V_INTEL;
	x86_model_get(&m);
	return m.vendor;
}

static void derive(struct x86_vcpu *v)
{
	struct x86_cpuid *c = &v->cpuid;
	const struct kvm_cpuid_entry2 *e = x86_cpuid_find(c, 0xd, 0);

	derive_features(c);
	drop_nested(v);
	x86_cpuid_update_mwait(v);
	c->maxphyaddr = maxphyaddr(c);
	c->vendor = vendor(c);
	c->supported_xcr0 = e ? (e->eax | (uint64_t)e->edx << 32) & vec_supported_xcr0() : 0;
	c->supported_xcr0 |= XCR0_X87;
	c->supported_xss = 0;
	v->cpu.maxphyaddr = c->maxphyaddr;
	if (v->has_lapic)
		lapic_set_features(&v->lapic,
				   (x86_cpuid_has(c, X86_F_X2APIC) ? LAPIC_FEAT_X2APIC : 0) |
				   (x86_cpuid_has(c, X86_F_TSC_DEADLINE_TIMER) ? LAPIC_FEAT_TSC_DEADLINE : 0) |
				   (c->vendor == V_INTEL ? LAPIC_FEAT_INTEL : 0), c->maxphyaddr);
	hv_cpuid_changed(v);
	x86_update_mode(&v->cpu);
	x86_pmu_refresh(v);
}

void x86_cpuid_init(struct x86_vcpu *v)
{
	struct x86_cpuid *c = &v->cpuid;
	struct x86_model m;

	x86_model_get(&m);
	/* What KVM itself offers counts only where it is named: KVM_CAP_ENFORCE_PV_FEATURE_CPUID. */
	for (unsigned int f = 1; f < X86_F_COUNT; f++)
		if (x86_feature_rows[f].leaf != KVM_FEATURES &&
		    (x86_model_has(&m, f) || x86_feature_rows[f].need == NEED_CLIENT))
			c->has[f / 64] |= 1ULL << (f % 64);
	c->maxphyaddr = MAXPHYADDR_UNKNOWN;
	c->supported_xcr0 = XCR0_X87;
	c->vendor = vendor(c);
	v->cpu.maxphyaddr = c->maxphyaddr;
	v->cpu.host_maxphyaddr = (uint8_t)x86_host_phys_bits();
}

/* --- runtime bits ------------------------------------------------------------------------ */

static void set_bit32(uint32_t *reg, unsigned int bit, bool on)
{
	*reg = (*reg & ~(1u << bit)) | (uint32_t)on << bit;
}

/* A guest that halts by itself is not woken by a kick: no PV spinlocks for it. */
static void withdraw_unhalt(const struct x86_cpuid *c)
{
	uint32_t base = kvm_base(c);
	struct kvm_cpuid_entry2 *e = base ? x86_cpuid_find(c, base + (KVM_FEATURES - KVM_BASE_FIRST), 0) : NULL;

	if (e)
		e->eax &= ~(1u << KVM_FEATURE_PV_UNHALT);
}

static void update_entries(struct x86_vcpu *v, const struct x86_cpuid *c)
{
	/* The host is not asked: its CPUID leaves for a hypervisor where it is a guest itself. */
	const struct xsave_layout *layout = &v->cpu.vec->layout;
	struct kvm_cpuid_entry2 *e = x86_cpuid_find(c, 1, 0);

	if (e) {
		set_bit32(&e->ecx, 27, v->cpu.cr4 & CR4_OSXSAVE);
		set_bit32(&e->edx, 9, x86_get_apic_base(v) & LAPIC_BASE_ENABLE);
		if (v->vm->disabled_quirks & KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT)
			set_bit32(&e->ecx, 3, v->msr.misc_enable & MISC_ENABLE_MWAIT);
	}
	if (v->vm->hlt_in_guest)
		withdraw_unhalt(c);
	e = x86_cpuid_find(c, 7, 0);
	/* Where the engine has XSAVE it has PKU. */
	if (e && v->cpu.vec->moved)
		set_bit32(&e->ecx, 4, v->cpu.cr4 & CR4_PKE);
	e = x86_cpuid_find(c, 0xd, 0);
	if (e)
		e->ebx = x86_xsave_size(layout, v->cpu.xcr0, false);
	e = x86_cpuid_find(c, 0xd, 1);
	if (e && (e->eax & 0xa))
		e->ebx = x86_xsave_size(layout, v->cpu.xcr0 | v->cpu.xss, true);
}

void x86_cpuid_update_runtime(struct x86_vcpu *v)
{
	update_entries(v, &v->cpuid);
}

/* --- the instruction ---------------------------------------------------------------------- */

/*
 * A leaf beyond its class: Intel answers with the highest basic leaf, AMD with
 * zeroes.  SDM 2A, CPUID; APM 3, appendix E.
 */
static struct kvm_cpuid_entry2 *out_of_range(const struct x86_cpuid *c, uint32_t *leaf, uint32_t index)
{
	const struct kvm_cpuid_entry2 *basic = x86_cpuid_find(c, 0, 0), *class;

	if (!basic || c->vendor == V_AMD)
		return NULL;
	if (*leaf >= 0x40000000 && *leaf <= 0x4fffffff)
		class = x86_cpuid_find(c, *leaf & 0xffffff00, 0);
	else if (*leaf >= 0xc0000000)
		class = x86_cpuid_find(c, 0xc0000000, 0);
	else
		class = x86_cpuid_find(c, *leaf & 0x80000000, 0);
	if (class && *leaf <= class->eax)
		return NULL;
	*leaf = basic->eax;
	return x86_cpuid_find(c, basic->eax, index);
}

void x86_cpuid_query(struct x86_vcpu *v, uint32_t *eax, uint32_t *ebx, uint32_t *ecx, uint32_t *edx)
{
	uint32_t leaf = *eax, index = *ecx;
	const struct kvm_cpuid_entry2 *e;

	/* CPUID faulting, Intel's MISC_FEATURES_ENABLES[0]. */
	if (unlikely(v->msr.misc_features & 1) && v->cpu.cpl)
		x86_raise_ec(&v->cpu, X86_GP, 0);
	x86_cpuid_update_runtime(v);
	e = x86_cpuid_find(&v->cpuid, leaf, index);
	if (!e)
		e = out_of_range(&v->cpuid, &leaf, index);
	*eax = e ? e->eax : 0;
	*ebx = e ? e->ebx : 0;
	*ecx = e ? e->ecx : 0;
	*edx = e ? e->edx : 0;
	if (leaf == 0x80000007 && unlikely(hv_hides_invariant_tsc(v)))
		*edx &= ~(1u << 8);
	/* Undefined subleaves of the topology leaves: CL passes through, EDX is the x2APIC ID. */
	if (!e && (leaf == 0xb || leaf == 0x1f)) {
		e = x86_cpuid_find(&v->cpuid, leaf, 1);
		if (e) {
			*ecx = index & 0xff;
			*edx = e->edx;
		}
	}
}

/* --- ioctls ---------------------------------------------------------------------------------- */

#define ENTRIES_OFFSET __builtin_offsetof(struct kvm_cpuid2, entries)

static long get_model_cpuid(struct kvm_call *c, int (*build)(struct kvm_cpuid_entry2 *e, uint32_t max))
{
	struct kvm_cpuid_entry2 *e;
	struct kvm_cpuid2 head;
	long r;
	int n;

	if (kvm_copy_in(&head, c->arg, sizeof(head)))
		return -EFAULT;
	if (head.nent < 1)
		return -E2BIG;
	if (head.nent > X86_CPUID_ENTRIES)
		head.nent = X86_CPUID_ENTRIES;
	e = calloc(head.nent, sizeof(*e));
	if (!e)
		return -ENOMEM;
	n = build(e, head.nent);
	r = n < 0 ? n : 0;
	if (!r) {
		head.nent = (uint32_t)n;
		if (kvm_copy_out(c->arg + ENTRIES_OFFSET, e, n * sizeof(*e)) ||
		    kvm_copy_out(c->arg, &head, sizeof(head)))
			r = -EFAULT;
	}
	free(e);
	return r;
}

static int build_supported(struct kvm_cpuid_entry2 *e, uint32_t max)
{
	struct x86_model m;

	x86_model_get(&m);
	return x86_model_cpuid(&m, e, max);
}

long x86_ioctl_get_supported_cpuid(struct kvm_call *c)
{
	return get_model_cpuid(c, build_supported);
}

/* KVM refuses dirty padding here, and only here. */
long x86_ioctl_get_emulated_cpuid(struct kvm_call *c)
{
	struct kvm_cpuid_entry2 e;
	struct kvm_cpuid2 head;

	if (kvm_copy_in(&head, c->arg, sizeof(head)))
		return -EFAULT;
	if (head.nent > X86_CPUID_ENTRIES)
		head.nent = X86_CPUID_ENTRIES;
	for (uint32_t i = 0; i < head.nent; i++)
		if (kvm_copy_in(&e, c->arg + ENTRIES_OFFSET + i * sizeof(e), sizeof(e)) ||
		    e.padding[0] || e.padding[1] || e.padding[2])
			return -EINVAL;
	return get_model_cpuid(c, x86_model_emulated);
}

static bool same_entries(const struct x86_cpuid *c, const struct kvm_cpuid_entry2 *e, uint32_t n)
{
	if (n != c->count)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		const struct kvm_cpuid_entry2 *o = &c->entry[i];

		if (e[i].function != o->function || e[i].index != o->index || e[i].flags != o->flags ||
		    e[i].eax != o->eax || e[i].ebx != o->ebx || e[i].ecx != o->ecx || e[i].edx != o->edx)
			return false;
	}
	return true;
}

/* Takes over @e, whatever it returns. */
static long set_entries(struct x86_vcpu *v, struct kvm_cpuid_entry2 *e, uint32_t n)
{
	struct x86_cpuid fresh = { .entry = e, .count = n };
	const struct kvm_cpuid_entry2 *sizes = x86_cpuid_find(&fresh, 0x80000008, 0);
	long r = 0;

	update_entries(v, &fresh);
	if (v->ran) {
		/* The model is fixed once the vCPU has run; setting the same again is allowed. */
		x86_cpuid_update_runtime(v);
		if (!same_entries(&v->cpuid, e, n))
			r = -EINVAL;
		free(e);
		return r;
	}
	if (sizes) {
		unsigned int virt = sizes->eax >> 8 & 0xff;

		if (virt != 48 && virt != 57 && virt != 0) {
			free(e);
			return -EINVAL;
		}
	}
	free(v->cpuid.entry);
	v->cpuid.entry = e;
	v->cpuid.count = n;
	derive(v);
	return 0;
}

/* Both requests begin with the number of entries, padded to eight bytes; the older one has another entry. */
static long set_from_client(struct kvm_call *c, int (*take)(struct kvm_cpuid_entry2 *e, unsigned long from),
			    size_t size)
{
	struct kvm_cpuid_entry2 *e;
	struct kvm_cpuid2 head;

	if (kvm_copy_in(&head, c->arg, sizeof(head)))
		return -EFAULT;
	if (head.nent > X86_CPUID_ENTRIES)
		return -E2BIG;
	e = calloc(head.nent + 1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	for (uint32_t i = 0; i < head.nent; i++) {
		if (take(&e[i], c->arg + ENTRIES_OFFSET + i * size)) {
			free(e);
			return -EFAULT;
		}
	}
	if (hv_offer_nested(x86_vcpu_of(c->vcpu), &e, &head.nent)) {
		free(e);
		return -ENOMEM;
	}
	return set_entries(x86_vcpu_of(c->vcpu), e, head.nent);
}

static int take_entry2(struct kvm_cpuid_entry2 *e, unsigned long from)
{
	return kvm_copy_in(e, from, sizeof(*e));
}

static int take_entry(struct kvm_cpuid_entry2 *e, unsigned long from)
{
	struct kvm_cpuid_entry old;

	if (kvm_copy_in(&old, from, sizeof(old)))
		return -EFAULT;
	*e = (struct kvm_cpuid_entry2){
		.function = old.function, .eax = old.eax, .ebx = old.ebx, .ecx = old.ecx, .edx = old.edx,
	};
	return 0;
}

_Static_assert(__builtin_offsetof(struct kvm_cpuid, entries) == ENTRIES_OFFSET, "UAPI");

long x86_ioctl_set_cpuid2(struct kvm_call *c)
{
	return set_from_client(c, take_entry2, sizeof(struct kvm_cpuid_entry2));
}

long x86_ioctl_set_cpuid(struct kvm_call *c)
{
	return set_from_client(c, take_entry, sizeof(struct kvm_cpuid_entry));
}

long x86_ioctl_get_cpuid2(struct kvm_call *c)
{
	struct x86_vcpu *v = x86_vcpu_of(c->vcpu);
	struct kvm_cpuid2 head;

	if (kvm_copy_in(&head, c->arg, sizeof(head)))
		return -EFAULT;
	if (head.nent < v->cpuid.count)
		return -E2BIG;
	x86_cpuid_update_runtime(v);
	head.nent = v->cpuid.count;
	if (kvm_copy_out(c->arg + ENTRIES_OFFSET, v->cpuid.entry, head.nent * sizeof(*v->cpuid.entry)) ||
	    kvm_copy_out(c->arg, &head, sizeof(head)))
		return -EFAULT;
	return 0;
}
