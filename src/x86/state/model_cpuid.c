// SPDX-License-Identifier: MIT
/*
 * The CPUID leaves of a model.  Feature bits come from the table of features;
 * this file adds what is no feature: names, caches, sizes.  SDM 2A, CPUID;
 * APM 3, appendix E.
 */
#include <cpuid.h>
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>

#include "x86/cpu/vec.h"
#include "x86/state/model.h"
#include "x86/state/pmu.h"

#define INDEXED KVM_CPUID_FLAG_SIGNIFCANT_INDEX
#define KVM_LEAF 0x40000000u
#define XCR0_FP_SSE 3ULL
#define XSAVE_LEGACY 576u               /* FXSAVE area and XSAVE header */

struct leaves {
	const struct x86_model *m;
	struct kvm_cpuid_entry2 *e;
	uint32_t count, max;
	bool full;
};

/* Stands in for an entry when the client's array is full, so that builders need no checks. */
static struct kvm_cpuid_entry2 *add(struct leaves *l, uint32_t leaf, uint32_t index, uint32_t flags,
				    struct kvm_cpuid_entry2 *spill)
{
	struct kvm_cpuid_entry2 *e = spill;

	if (l->count < l->max)
		e = &l->e[l->count++];
	else
		l->full = true;
	*e = (struct kvm_cpuid_entry2){ .function = leaf, .index = index, .flags = flags };
	for (unsigned int f = 1; f < X86_F_COUNT; f++) {
		const struct x86_feature_row *row = &x86_feature_rows[f];
		uint32_t *reg[4] = { &e->eax, &e->ebx, &e->ecx, &e->edx };

		if (row->leaf == leaf && row->subleaf == index && x86_model_has(l->m, f))
			*reg[row->reg] |= 1u << row->bit;
	}
	return e;
}

static void add_plain(struct leaves *l, uint32_t leaf, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
	struct kvm_cpuid_entry2 spill, *e = add(l, leaf, 0, 0, &spill);

	e->eax |= a;
	e->ebx |= b;
	e->ecx |= c;
	e->edx |= d;
}

static void add_indexed(struct leaves *l, uint32_t leaf, uint32_t index, uint32_t a, uint32_t b, uint32_t c,
			uint32_t d)
{
	struct kvm_cpuid_entry2 spill, *e = add(l, leaf, index, INDEXED, &spill);

	e->eax |= a;
	e->ebx |= b;
	e->ecx |= c;
	e->edx |= d;
}

/* Family, model, stepping: one whose software workarounds are all announced as not needed. */
struct identity {
	const char *vendor, *brand;
	uint32_t signature, max_basic, max_extended;
};

static const struct identity identities[] = {
	[V_INTEL] = { "GenuineIntel", "anykvm virtual CPU (Intel)", 0x000606a6, 0x1f, 0x80000008 },
	[V_AMD] = { "AuthenticAMD", "anykvm virtual CPU (AMD)", 0x00a00f11, 0x10, 0x80000021 },
};

static uint32_t word(const char *s, unsigned int n)
{
	uint32_t v;

	memcpy(&v, s + 4 * n, 4);
	return v;
}

struct cache {
	uint8_t type, level, ways;      /* type: 1 data, 2 instructions, 3 both */
	uint32_t sets, flags;
};

/*
 * C libraries copy by REP MOVSB up to the size of the L2 on AMD's CPUs, and by
 * vector loops beyond it.  The engine does the former at the host's speed and
 * the latter an instruction at a time: hence a large L2.
 */
static const struct cache caches[] = {
	{ 1, 1, 8, 64, 0 }, { 2, 1, 8, 64, 0 }, { 3, 2, 16, 4096, 0 }, { 3, 3, 16, 16384, 0 },
};

/* Leaf 4 and its AMD copy 0x8000001d have one format; 64-byte lines. */
static void cache_leaves(struct leaves *l, uint32_t leaf)
{
	uint32_t i;

	for (i = 0; i < ARRAY_SIZE(caches); i++) {
		const struct cache *c = &caches[i];

		add_indexed(l, leaf, i, c->type | c->level << 5 | 1 << 8, (c->ways - 1) << 22 | 63, c->sets - 1,
			    c->flags);
	}
	add_indexed(l, leaf, i, 0, 0, 0, 0);
}

/* --- XSAVE ----------------------------------------------------------------- */

uint32_t x86_xsave_size(const struct xsave_layout *l, uint64_t xcr0, bool compacted)
{
	uint32_t size = XSAVE_LEGACY;

	for (unsigned int n = XCOMP_AVX; n < XCOMP_COUNT; n++) {
		if (!(xcr0 >> n & 1))
			continue;
		if (compacted)
			size += l->c[n].size;
		else if (l->c[n].offset + l->c[n].size > size)
			size = l->c[n].offset + l->c[n].size;
	}
	return size;
}

static void xsave_leaves(struct leaves *l, uint32_t leaf)
{
	uint64_t xcr0 = x86_model_has(l->m, X86_F_XSAVE) ? vec_supported_xcr0() : 0;
	struct kvm_cpuid_entry2 spill, *e;
	struct xsave_layout layout;
	uint32_t size;

	if (!x86_model_has(l->m, X86_F_AVX))
		xcr0 &= XCR0_FP_SSE;
	if (!x86_model_has(l->m, X86_F_AVX512F))
		xcr0 &= ~0xe0ULL;
	if (!x86_model_has(l->m, X86_F_PKU))
		xcr0 &= ~0x200ULL;
	if (!xcr0) {
		add_indexed(l, leaf, 0, 0, 0, 0, 0);
		return;
	}
	vec_layout(&layout);
	size = x86_xsave_size(&layout, xcr0, false);
	add_indexed(l, leaf, 0, (uint32_t)xcr0, size, size, (uint32_t)(xcr0 >> 32));
	e = add(l, leaf, 1, INDEXED, &spill);
	if (x86_model_has(l->m, X86_F_XSAVES) || x86_model_has(l->m, X86_F_XSAVEC))
		e->ebx = x86_xsave_size(&layout, xcr0, true);
	for (unsigned int n = XCOMP_AVX; n < XCOMP_COUNT; n++)
		if (xcr0 >> n & 1)
			add_indexed(l, leaf, n, layout.c[n].size, layout.c[n].offset, 0, 0);
}

/* --- leaves with a builder of their own ----------------------------------------- */

unsigned int x86_host_phys_bits(void)
{
	uint32_t a, b, c, d;
	unsigned int bits = 36;

	if (__get_cpuid(0x80000008, &a, &b, &c, &d))
		bits = a & 0xff;
	return bits < 36 ? 36 : bits > 52 ? 52 : bits;
}

static void leaf_max(struct leaves *l, uint32_t leaf)
{
	const struct identity *id = &identities[l->m->vendor];

	/* EBX, EDX, ECX: in that order. */
	add_plain(l, leaf, id->max_basic, word(id->vendor, 0), word(id->vendor, 2), word(id->vendor, 1));
}

static void leaf_version(struct leaves *l, uint32_t leaf)
{
	/* CLFLUSH line of 8 quadwords; one logical processor, as KVM gives no topology. */
	add_plain(l, leaf, identities[l->m->vendor].signature, 8 << 8 | 1 << 16, 0, 0);
}

static void leaf_descriptors(struct leaves *l, uint32_t leaf)
{
	/* FFh: caches are in leaf 4; F0h: 64-byte prefetch.  Reserved on AMD. */
	if (l->m->vendor == V_INTEL)
		add_plain(l, leaf, 0x00feff01, 0xf0, 0, 0);
	else
		add_plain(l, leaf, 0, 0, 0, 0);
}

static void leaf_cache(struct leaves *l, uint32_t leaf)
{
	if (l->m->vendor == V_INTEL)
		cache_leaves(l, leaf);
	else
		add_indexed(l, leaf, 0, 0, 0, 0, 0);
}

static void leaf_features7(struct leaves *l, uint32_t leaf)
{
	bool second = x86_model_has(l->m, X86_F_AVX_VNNI) || x86_model_has(l->m, X86_F_AVX512_BF16);

	add_indexed(l, leaf, 0, second, 0, 0, 0);
	if (second)
		add_indexed(l, leaf, 1, 0, 0, 0, 0);
}

/* SDM 2A, CPUID leaf 0Ah.  AnyThread does not exist. */
static void leaf_perfmon(struct leaves *l, uint32_t leaf)
{
	if (l->m->vendor == V_INTEL)
		add_plain(l, leaf, 2 | X86_PMU_GP_INTEL << 8 | X86_PMU_WIDTH << 16 | X86_PMU_EVENTS << 24,
			  X86_PMU_EVENTS_ABSENT, 0, X86_PMU_FIXED | X86_PMU_WIDTH << 5 | 1 << 15);
	else
		add_plain(l, leaf, 0, 0, 0, 0);
}

static void leaf_topology(struct leaves *l, uint32_t leaf)
{
	add_indexed(l, leaf, 0, 0, 0, 0, 0);
}

static void leaf_ext_max(struct leaves *l, uint32_t leaf)
{
	const struct identity *id = &identities[l->m->vendor];

	if (l->m->vendor == V_AMD)
		add_plain(l, leaf, id->max_extended, word(id->vendor, 0), word(id->vendor, 2), word(id->vendor, 1));
	else
		add_plain(l, leaf, id->max_extended, 0, 0, 0);
}

static void leaf_ext_features(struct leaves *l, uint32_t leaf)
{
	struct kvm_cpuid_entry2 spill, *e = add(l, leaf, 0, 0, &spill);

	if (l->m->vendor != V_AMD)
		return;
	e->eax = identities[V_AMD].signature;
	/* AMD repeats these of leaf 1 EDX here; APM 3, E.4.2. */
	for (unsigned int f = 1; f < X86_F_COUNT; f++) {
		const struct x86_feature_row *row = &x86_feature_rows[f];

		if (row->leaf == 1 && row->reg == CPUID_EDX && (0x0183f3ff >> row->bit & 1) &&
		    x86_model_has(l->m, f))
			e->edx |= 1u << row->bit;
	}
}

static void leaf_brand(struct leaves *l, uint32_t leaf)
{
	char brand[48] = { 0 };
	unsigned int n = (leaf - 0x80000002) * 4;

	strncpy(brand, identities[l->m->vendor].brand, sizeof(brand) - 1);
	add_plain(l, leaf, word(brand, n), word(brand, n + 1), word(brand, n + 2), word(brand, n + 3));
}

static void leaf_l1(struct leaves *l, uint32_t leaf)
{
	/* 64-entry fully associative TLBs; 32 KiB, 8 ways, 64-byte lines. */
	if (l->m->vendor == V_AMD)
		add_plain(l, leaf, 0xff40ff40, 0xff40ff40, 0x20080140, 0x20080140);
	else
		add_plain(l, leaf, 0, 0, 0, 0);
}

static void leaf_l2(struct leaves *l, uint32_t leaf)
{
	/* 4 MiB L2, 16 ways (code 8); AMD: 16 MiB L3. */
	if (l->m->vendor == V_AMD)
		add_plain(l, leaf, 0x48006400, 0x68006400, 0x10008140, 0x00808140);
	else
		add_plain(l, leaf, 0, 0, 0x10008040, 0);
}

static void leaf_sizes(struct leaves *l, uint32_t leaf)
{
	unsigned int virt = x86_model_has(l->m, X86_F_LA57) ? 57 : 48;

	add_plain(l, leaf, x86_host_phys_bits() | virt << 8, 0, 0, 0);
}

/* Revision 1 of SVM, with eight ASIDs as KVM has it. */
static void leaf_svm(struct leaves *l, uint32_t leaf)
{
	if (x86_model_has(l->m, X86_F_SVM))
		add_plain(l, leaf, 1, 8, 0, 0);
	else
		add_plain(l, leaf, 0, 0, 0, 0);
}

static void leaf_amd_cache(struct leaves *l, uint32_t leaf)
{
	if (x86_model_has(l->m, X86_F_TOPOEXT))
		cache_leaves(l, leaf);
	else
		add_indexed(l, leaf, 0, 0, 0, 0, 0);
}

static void leaf_kvm(struct leaves *l, uint32_t leaf)
{
	add_plain(l, leaf, KVM_LEAF + 1, word("KVMKVMKVM\0\0\0", 0), word("KVMKVMKVM\0\0\0", 1),
		  word("KVMKVMKVM\0\0\0", 2));
}

static void leaf_flags(struct leaves *l, uint32_t leaf)
{
	add_plain(l, leaf, 0, 0, 0, 0);
}

static const struct {
	uint32_t first, last;
	void (*build)(struct leaves *l, uint32_t leaf);
} builders[] = {
	{ 0, 0, leaf_max }, { 1, 1, leaf_version }, { 2, 2, leaf_descriptors }, { 4, 4, leaf_cache },
	{ 7, 7, leaf_features7 }, { 0xa, 0xa, leaf_perfmon },
	{ 0xb, 0xb, leaf_topology }, { 0xd, 0xd, xsave_leaves },
	{ 0x12, 0x12, leaf_topology }, { 0x14, 0x14, leaf_topology }, { 0x1d, 0x1d, leaf_topology },
	{ 0x1e, 0x1e, leaf_topology }, { 0x1f, 0x1f, leaf_topology },
	{ 0x40000000, 0x40000000, leaf_kvm },
	{ 0x80000000, 0x80000000, leaf_ext_max }, { 0x80000001, 0x80000001, leaf_ext_features },
	{ 0x80000002, 0x80000004, leaf_brand }, { 0x80000005, 0x80000005, leaf_l1 },
	{ 0x80000006, 0x80000006, leaf_l2 }, { 0x80000008, 0x80000008, leaf_sizes },
	{ 0x8000000a, 0x8000000a, leaf_svm },
	{ 0x8000001d, 0x8000001d, leaf_amd_cache },
};

static void build_leaf(struct leaves *l, uint32_t leaf)
{
	for (size_t i = 0; i < ARRAY_SIZE(builders); i++) {
		if (leaf >= builders[i].first && leaf <= builders[i].last) {
			builders[i].build(l, leaf);
			return;
		}
	}
	leaf_flags(l, leaf);
}

int x86_model_cpuid(const struct x86_model *m, struct kvm_cpuid_entry2 *e, uint32_t max)
{
	const struct identity *id = &identities[m->vendor];
	struct leaves l = { .m = m, .e = e, .max = max };

	for (uint32_t leaf = 0; leaf <= id->max_basic; leaf++)
		build_leaf(&l, leaf);
	for (uint32_t leaf = 0x80000000; leaf <= id->max_extended; leaf++)
		build_leaf(&l, leaf);
	build_leaf(&l, KVM_LEAF);
	build_leaf(&l, KVM_LEAF + 1);
	return l.full ? -E2BIG : (int)l.count;
}

int x86_model_emulated(struct kvm_cpuid_entry2 *e, uint32_t max)
{
	/* What KVM emulates where the host lacks it: MOVBE, RDPID. */
	static const struct kvm_cpuid_entry2 emulated[] = {
		{ .function = 0, .eax = 7 },
		{ .function = 1, .ecx = 1u << 22 },
		{ .function = 7, .flags = INDEXED, .ecx = 1u << 22 },
	};

	if (max < ARRAY_SIZE(emulated))
		return -E2BIG;
	memcpy(e, emulated, sizeof(emulated));
	return ARRAY_SIZE(emulated);
}
