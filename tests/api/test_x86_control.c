// SPDX-License-Identifier: MIT
/*
 * Control and debug registers, MXCSR, and IA32_SPEC_CTRL, bit by bit: which a guest may set follows from its CPUID; what it
 * may not is #GP(0) and changes nothing, and the client's is EINVAL.  SDM 3A, 2.5; APM 2, 3.1.3.
 */
#include <stdlib.h>

#include "anykvm.h"
#include "guest.h"

#define DATA 0x2000             /* what the guest is to write */
#define STACK_TOP 0x8000

/* --- CR4 --------------------------------------------------------------------------------------------- */

#define CR4_VMXE_BIT 13

/* Bits that come with a feature: where it stands in CPUID. */
static const struct cr4_bit {
	const char *name;
	unsigned int bit;
	uint32_t leaf;
	size_t reg;
	unsigned int feature;
} cr4_bits[] = {
#define REG(r) offsetof(struct kvm_cpuid_entry2, r)
	{ "UMIP", 11, 7, REG(ecx), 2 },
	{ "LA57", 12, 7, REG(ecx), 16 },
	{ "VMXE", CR4_VMXE_BIT, 1, REG(ecx), 5 },
	{ "FSGSBASE", 16, 7, REG(ebx), 0 },
	{ "PCIDE", 17, 1, REG(ecx), 17 },
	{ "OSXSAVE", 18, 1, REG(ecx), 26 },
	{ "SMEP", 20, 7, REG(ebx), 7 },
	{ "SMAP", 21, 7, REG(ebx), 20 },
	{ "PKE", 22, 7, REG(ecx), 3 },
	{ "PKS", 24, 7, REG(ecx), 31 },         /* not in Linux 6.1 */
};
#define CR4_BITS (sizeof(cr4_bits) / sizeof(cr4_bits[0]))
#define CR4_ALWAYS 0x7ffu       /* VME to OSXMMEXCPT */
#define CR4_PAE (1u << 5)
#define CR4_LA57 (1u << 12)
#define CR4_PCIDE (1u << 17)

static uint32_t *feature_word(struct cpuid_table *t, const struct cr4_bit *b)
{
	return (uint32_t *)((char *)guest_leaf(t, b->leaf, 0) + b->reg);
}

/* The bits that CPUID allows. */
static uint64_t cr4_of(struct cpuid_table *t)
{
	uint64_t bits = CR4_ALWAYS;

	for (size_t i = 0; i < CR4_BITS; i++)
		bits |= (uint64_t)(*feature_word(t, &cr4_bits[i]) >> cr4_bits[i].feature & 1) << cr4_bits[i].bit;
	return bits;
}

static uint64_t get_cr4(struct guest *g)
{
	struct kvm_sregs s;

	api_ok(api_ioctl(g->vcpu, KVM_GET_SREGS, &s));
	return s.cr4;
}

/* The guest's MOV CR4 of @value; back to @base after it. */
static bool guest_takes(struct guest *g, uint64_t base, uint64_t value)
{
	bool taken;

	memcpy(g->mem + DATA, &value, sizeof(value));
	SET(g, rip, GUEST_CODE);
	SET(g, rsp, STACK_TOP);
	SET(g, rbx, base);
	guest_run(g, KVM_EXIT_IO);
	taken = g->run->io.port == 0x10;
	assert_int_equal(g->run->io.port, taken ? 0x10 : 0x13);
	assert_true(get_cr4(g) == (taken ? value : base));
	if (taken)
		guest_port(g, 0x11);
	assert_true(get_cr4(g) == base);
	return taken;
}

/* KVM_SET_SREGS with @value; back to @base after it. */
static bool client_may(struct guest *g, uint64_t base, uint64_t value)
{
	struct kvm_sregs s;
	int r;

	api_ok(api_ioctl(g->vcpu, KVM_GET_SREGS, &s));
	s.cr4 = value;
	r = api_ioctl(g->vcpu, KVM_SET_SREGS, &s);
	if (r)
		assert_int_equal(errno, EINVAL);
	assert_true(get_cr4(g) == (r ? base : value));
	s.cr4 = base;
	api_ok(api_ioctl(g->vcpu, KVM_SET_SREGS, &s));
	return !r;
}

/* Real mode.  mov eax,[0x2000]; mov cr4,eax; out 0x10,al; mov cr4,ebx; out 0x11,al */
static struct guest real_guest(struct cpuid_table *t)
{
	struct guest g = GUEST(false, 0x66, 0xa1, 0x00, 0x20, 0x0f, 0x22, 0xe0, 0xe6, 0x10, 0x0f, 0x22, 0xe3, 0xe6, 0x11);

	VECTOR(&g, 13, 0x1800, 0xe6, 0x13);
	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
	return g;
}

/* 64-bit mode, in supervisor pages.  mov rax,[0x2000]; mov cr4,rax; out 0x10,al; mov cr4,rbx; out 0x11,al */
static struct guest long_guest(struct cpuid_table *t)
{
	struct guest g = GUEST(false, 0x48, 0x8b, 0x04, 0x25, 0x00, 0x20, 0, 0, 0x0f, 0x22, 0xe0, 0xe6, 0x10,
			       0x0f, 0x22, 0xe3, 0xe6, 0x11);

	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
	guest_long(&g);
	*(uint64_t *)(g.mem + GUEST_TABLES + 0x2000) &= ~4ULL;
	LONG_VECTOR(&g, 13, 0x1800, 0xe6, 0x13);
	return g;
}

static void check_bit(struct guest *g, uint64_t base, unsigned int bit, bool guest, bool client)
{
	uint64_t value = base ^ 1ULL << bit;
	bool g_takes = guest_takes(g, base, value), c_may = client_may(g, base, value);

	if (g_takes != guest || c_may != client)
		fail_msg("CR4 bit %u from %#llx: %d %d, not %d %d", bit, (unsigned long long)base, g_takes, c_may, guest,
			 client);
}

/* Every bit, with this CPUID. */
static void check_cr4(struct cpuid_table *t)
{
	uint64_t allowed = cr4_of(t);
	struct guest g = real_guest(t);

	for (unsigned int bit = 0; bit < 32; bit++) {
		bool there = allowed >> bit & 1;

		/* PCIDE can be set in long mode alone; the client is believed. */
		check_bit(&g, 0, bit, there && 1u << bit != CR4_PCIDE, there);
	}
	guest_end(&g);
	g = long_guest(t);
	for (unsigned int bit = 0; bit < 64; bit++) {
		bool there = allowed >> bit & 1, fixed = bit < 32 && (1u << bit == CR4_PAE || 1u << bit == CR4_LA57);

		check_bit(&g, CR4_PAE, bit, there && !fixed, there && 1ULL << bit != CR4_PAE);
	}
	guest_end(&g);
}

/* On one vCPU that has not run yet: with the feature, without, and with it again. */
static void check_recomputed(struct cpuid_table *t, const struct cr4_bit *b)
{
	struct guest g = GUEST(false, 0xf4);

	for (unsigned int n = 0; n < 3; n++) {
		api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
		assert_int_equal(client_may(&g, 0, 1ULL << b->bit), n != 1);
		*feature_word(t, b) ^= 1u << b->feature;
	}
	*feature_word(t, b) ^= 1u << b->feature;
	guest_end(&g);
}

/* That the client says so makes no processor have VMX. */
static void check_vmxe(struct cpuid_table *t, const struct cr4_bit *b)
{
	struct guest g;

	*feature_word(t, b) |= 1u << b->feature;
	g = real_guest(t);
	check_bit(&g, 0, b->bit, false, false);
	guest_end(&g);
	*feature_word(t, b) &= ~(1u << b->feature);
}

static void cr4(bool amd)
{
	struct cpuid_table *t = guest_supported();

	check_cr4(t);
	for (size_t i = 0; i < CR4_BITS; i++) {
		const struct cr4_bit *b = &cr4_bits[i];
		bool offered = *feature_word(t, b) >> b->feature & 1;

		if (!offered && b->bit == CR4_VMXE_BIT)
			check_vmxe(t, b);
		if (!offered)
			continue;
		check_recomputed(t, b);
		*feature_word(t, b) &= ~(1u << b->feature);
		check_cr4(t);
		*feature_word(t, b) |= 1u << b->feature;
	}
	free(t);
}

static void test_cr4(void **state)
{
	if (api_real())         /* newer kernels know more bits, and some run no 64-bit code */
		skip();
	guest_each_model(cr4);
}

/* --- DR6 and DR7 -------------------------------------------------------------------------------------------- */

static bool client_sets(struct guest *g, unsigned int n, uint64_t value)
{
	struct kvm_debugregs d = { .dr6 = 0xffff0ff0, .dr7 = 0x400 };
	int r;

	*(n == 6 ? &d.dr6 : &d.dr7) = value;
	r = api_ioctl(g->vcpu, KVM_SET_DEBUGREGS, &d);
	if (r)
		assert_int_equal(errno, EINVAL);
	return !r;
}

/* mov rax,[0x2000]; mov drN,rax; out 0x10,al */
static void debug_register(unsigned int n)
{
	struct guest g = GUEST(false, 0x48, 0x8b, 0x04, 0x25, 0x00, 0x20, 0, 0, 0x0f, 0x23, (uint8_t)(0xc0 | n << 3), 0xe6, 0x10);

	guest_long(&g);
	LONG_VECTOR(&g, 13, 0x1800, 0xe6, 0x13);
	for (unsigned int bit = 0; bit < 64; bit++) {
		struct kvm_debugregs before, after;
		uint64_t value = 1ULL << bit;

		/* General detect would stop the next access. */
		if (n == 7 && bit == 13)
			continue;
		assert_int_equal(client_sets(&g, n, value), bit < 32);
		assert_true(client_sets(&g, n, n == 6 ? 0xffff0ff0 : 0x400));
		memcpy(g.mem + DATA, &value, sizeof(value));
		SET(&g, rip, GUEST_CODE);
		SET(&g, rsp, GUEST_STACK);
		api_ok(api_ioctl(g.vcpu, KVM_GET_DEBUGREGS, &before));
		guest_port(&g, bit < 32 ? 0x10 : 0x13);
		api_ok(api_ioctl(g.vcpu, KVM_GET_DEBUGREGS, &after));
		if (bit < 32)
			continue;
		assert_int_equal(*(uint64_t *)(g.mem + guest_regs(&g).rsp), 0);
		assert_memory_equal(&before, &after, sizeof(before));
	}
	guest_end(&g);
}

static void debug_registers(bool amd)
{
	debug_register(6);
	debug_register(7);
}

static void test_debug_registers(void **state)
{
	if (!guest_runs_long_mode())
		skip();
	guest_each_model(debug_registers);
}

/* --- IA32_SPEC_CTRL ----------------------------------------------------------------------------------------------- */

#define IBRS 1ULL
#define STIBP 2ULL
#define SSBD 4ULL

static bool client_writes(int vcpu, uint64_t value)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry e;
	} m = { .head.nmsrs = 1, .e = { .index = 0x48, .data = value } };

	return api_ioctl(vcpu, KVM_SET_MSRS, &m) == 1;
}

static uint64_t client_reads(int vcpu)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry e;
	} m = { .head.nmsrs = 1, .e = { .index = 0x48 } };

	assert_int_equal(api_ioctl(vcpu, KVM_GET_MSRS, &m), 1);
	return m.e.data;
}

/* Every bit, by the guest and by the client.  @bits: the processor's; @told: the guest's CPUID has one of the features. */
static void check_spec_ctrl(struct cpuid_table *t, uint64_t bits, bool told)
{
	/* mov ecx,0x48; mov eax,[0x2000]; mov edx,[0x2004]; wrmsr; rdmsr; mov [0x2008],eax; mov [0x200c],edx; out 0x10,al */
	struct guest g = GUEST(false, 0x66, 0xb9, 0x48, 0, 0, 0, 0x66, 0xa1, 0x00, 0x20, 0x66, 0x8b, 0x16, 0x04, 0x20,
			       0x0f, 0x30, 0x0f, 0x32, 0x66, 0xa3, 0x08, 0x20, 0x66, 0x89, 0x16, 0x0c, 0x20, 0xe6, 0x10);

	VECTOR(&g, 13, 0x1800, 0xe6, 0x13);
	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
	for (unsigned int bit = 0; bit < 64; bit++) {
		uint64_t value = 1ULL << bit;
		bool there = bits >> bit & 1;

		assert_true(client_writes(g.vcpu, 0));
		memcpy(g.mem + DATA, &value, sizeof(value));
		SET(&g, rip, GUEST_CODE);
		SET(&g, rsp, STACK_TOP);
		guest_run(&g, KVM_EXIT_IO);
		if (g.run->io.port != (there && told ? 0x10 : 0x13))
			fail_msg("bit %u: port %#x", bit, g.run->io.port);
		assert_true(client_reads(g.vcpu) == (there && told ? value : 0));
		if (there && told)
			assert_memory_equal(g.mem + DATA, g.mem + DATA + 8, 8);
		assert_int_equal(client_writes(g.vcpu, value), there);
	}
	assert_true(client_writes(g.vcpu, bits));
	guest_end(&g);
}

static void hide_spec_ctrl(struct cpuid_table *t, uint32_t edx, uint32_t ebx)
{
	guest_leaf(t, 7, 0)->edx &= ~edx;
	if (guest_leaf(t, 0x80000000, 0)->eax >= 0x80000008)
		guest_leaf(t, 0x80000008, 0)->ebx &= ~ebx;
}

#define INTEL_ALL (1u << 26 | 1u << 27 | 1u << 31)
#define AMD_ALL (1u << 14 | 1u << 15 | 1u << 24)

static void test_spec_ctrl(void **state)
{
	static const struct {
		const char *model;
		uint64_t bits;
	} row[] = {
		{ "intel", IBRS | STIBP | SSBD },
		{ "intel,-spec_ctrl_ssbd", IBRS | STIBP },
		{ "intel,-intel_stibp", IBRS | STIBP | SSBD },          /* STIBP does nothing then */
		{ "intel,-spec_ctrl", STIBP | SSBD },
		{ "intel,-spec_ctrl,-intel_stibp", SSBD },
		{ "intel,-spec_ctrl,-intel_stibp,-spec_ctrl_ssbd", 0 },
		{ "amd", IBRS | STIBP | SSBD },
		{ "amd,-amd_ssbd", IBRS | STIBP },
		{ "amd,-ibrs", STIBP | SSBD },
		{ "amd,-ibrs,-stibp", SSBD },
		{ "amd,-ibrs,-stibp,-amd_ssbd", 0 },
	};

	if (!api_linked())      /* the model must be chosen */
		skip();
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct cpuid_table *t;

		assert_int_equal(anykvm_set_cpu(row[i].model), 0);
		t = guest_supported();
		check_spec_ctrl(t, row[i].bits, row[i].bits);
		/* Each of the features alone lets the guest see the register, whose bits are the processor's. */
		for (unsigned int n = 0; n < 32 && row[i].bits; n++) {
			uint32_t intel = INTEL_ALL & 1u << n, amd = AMD_ALL & 1u << n;
			uint32_t edx = guest_leaf(t, 7, 0)->edx, ebx = guest_leaf(t, 0x80000008, 0)->ebx;

			if (!(edx & intel) && !(ebx & amd))
				continue;
			hide_spec_ctrl(t, INTEL_ALL & ~intel, AMD_ALL & ~amd);
			check_spec_ctrl(t, row[i].bits, true);
			guest_leaf(t, 7, 0)->edx = edx;
			guest_leaf(t, 0x80000008, 0)->ebx = ebx;
		}
		/* And without them it is not there. */
		hide_spec_ctrl(t, INTEL_ALL, AMD_ALL);
		check_spec_ctrl(t, row[i].bits, false);
		free(t);
	}
	assert_int_equal(anykvm_set_cpu("host"), 0);
}

/* --- EFER.FFXSR and MXCSR.MM ------------------------------------------------------------------------- */

#define FFXSR (1u << 14)
#define FXSR_OPT (1u << 25)             /* in EDX of leaf 80000001h */
#define MISALIGNSSE (1u << 7)           /* in ECX */
#define MXCSR_MM (1u << 17)

/* WRMSR of FFXSR.  KVM_SET_SREGS believes the client, as KVM's does. */
static bool takes_ffxsr(struct cpuid_table *t)
{
	/* mov ecx,0xc0000080; rdmsr; or ah,0x40; wrmsr; out 0x10,al */
	struct guest g = GUEST(false, 0x66, 0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32, 0x80, 0xcc, 0x40, 0x0f, 0x30,
			       0xe6, 0x10);
	struct kvm_sregs s;
	bool taken;

	VECTOR(&g, 13, 0x1800, 0xe6, 0x13);
	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
	SET(&g, rsp, STACK_TOP);
	guest_run(&g, KVM_EXIT_IO);
	taken = g.run->io.port == 0x10;
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	assert_int_equal(s.efer, taken ? FFXSR : 0);
	guest_end(&g);
	return taken;
}

/* MXCSR's mask, and KVM_SET_XSAVE with MM. */
static bool takes_mm(struct cpuid_table *t)
{
	enum { MXCSR = 6, MASK, HEADER = 128 };
	struct guest g = GUEST(false, 0xf4);
	struct kvm_xsave x;
	uint32_t mask;

	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
	api_ok(api_ioctl(g.vcpu, KVM_GET_XSAVE, &x));
	mask = x.region[MASK];
	assert_int_equal(mask & ~MXCSR_MM, 0xffff);
	x.region[HEADER] |= 3;
	x.region[MXCSR] = 0x1f80 | MXCSR_MM;
	if (mask & MXCSR_MM) {
		api_ok(api_ioctl(g.vcpu, KVM_SET_XSAVE, &x));
		api_ok(api_ioctl(g.vcpu, KVM_GET_XSAVE, &x));
		assert_int_equal(x.region[MXCSR], 0x1f80 | MXCSR_MM);
	} else {
		api_fails(EINVAL, api_ioctl(g.vcpu, KVM_SET_XSAVE, &x));
	}
	guest_end(&g);
	return mask & MXCSR_MM;
}

/* Both are AMD's, and there where CPUID says so. */
static void test_amd_sse(void **state)
{
	static const struct {
		const char *model;
		bool ffxsr, mm;
	} row[] = {
		{ "intel", false, false }, { "amd", true, true }, { "amd,-fxsr_opt", false, true },
		{ "amd,-misalignsse", true, false },
	};

	if (!api_linked())      /* the model must be chosen */
		skip();
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct cpuid_table *t;
		struct kvm_cpuid_entry2 *e;

		assert_int_equal(anykvm_set_cpu(row[i].model), 0);
		t = guest_supported();
		e = guest_leaf(t, 0x80000001, 0);
		assert_int_equal(!!(e->edx & FXSR_OPT), row[i].ffxsr);
		assert_int_equal(!!(e->ecx & MISALIGNSSE), row[i].mm);
		assert_int_equal(takes_ffxsr(t), row[i].ffxsr);
		assert_int_equal(takes_mm(t), row[i].mm);
		/* The vCPU's CPUID decides, not the model. */
		e->edx &= ~FXSR_OPT;
		e->ecx &= ~MISALIGNSSE;
		assert_false(takes_ffxsr(t));
		assert_false(takes_mm(t));
		free(t);
	}
	assert_int_equal(anykvm_set_cpu("host"), 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_cr4),
	cmocka_unit_test(test_debug_registers),
	cmocka_unit_test(test_spec_ctrl),
	cmocka_unit_test(test_amd_sse),
};

API_MAIN(tests)
