// SPDX-License-Identifier: MIT
/* Hyper-V's interface: its leaves, and its MSRs but for SynIC's; TLFS chapters 2, 10 and 12, api.rst 4.118. */
#include <stdlib.h>

#include "anykvm.h"
#include "hyperv.h"

static void skip_without(void)
{
	if (!hv_there())
		skip();
}

/* --- CPUID ----------------------------------------------------------------------------------- */

#define SIGNATURE .ebx = 0x756e694c, .ecx = 0x564b2078, .edx = 0x7648204d       /* "Linux KVM Hv" */
#define DIRECT (1U << 19)       /* of 3.EDX, with local APICs */
#define CLUSTER_IPI (1U << 10)  /* of 4.EAX, the same */
#define NO_SHARING (1U << 18)   /* of 4.EAX, the machine's */
#define EXTENDED (1U << 20)     /* of 3.EBX, beyond Linux 6.1 */
#define INVARIANT (1U << 15)    /* of 3.EAX, the same */

static const struct kvm_cpuid_entry2 leaves[] = {
	{ .function = 0x40000000, .eax = 0x40000082, SIGNATURE },
	{ .function = 0x40000001, .eax = 0x31237648 },
	{ .function = 0x40000002, .eax = 0x3839, .ebx = 0xa0000 },
	{ .function = 0x40000003, .eax = 0x2aff, .ebx = 0x830, .edx = 0xd12 },
	{ .function = 0x40000004, .eax = 0xa2c, .ebx = 0xfff },
	{ .function = 0x40000005, .eax = 1024, .ebx = 64 },
	{ .function = 0x40000080, SIGNATURE },
	{ .function = 0x40000081, .eax = 0x31235356 },
	{ .function = 0x40000082, .eax = 2 },
	{ .function = 0x4000000a, .eax = 1 << 19, .ebx = 1 },
};
#define LEAVES (sizeof(leaves) / sizeof(leaves[0]))

static void check_leaves(int fd, bool lapic)
{
	struct cpuid_table *t = calloc(1, sizeof(*t));

	t->head.nent = LEAVES - 1;
	api_fails(E2BIG, api_ioctl(fd, KVM_GET_SUPPORTED_HV_CPUID, t));
	t->head.nent = LEAVES + 7;
	api_ok(api_ioctl(fd, KVM_GET_SUPPORTED_HV_CPUID, t));
	assert_int_equal(t->head.nent, LEAVES);
	for (size_t i = 0; i < LEAVES; i++) {
		struct kvm_cpuid_entry2 want = leaves[i], *e = &t->e[i];

		if (want.function == HV_FEATURES) {
			want.edx |= lapic ? DIRECT : 0;
			want.ebx |= e->ebx & EXTENDED;
			want.eax |= e->eax & INVARIANT;
			assert_true(api_real() || (e->ebx & EXTENDED && e->eax & INVARIANT));
		} else if (want.function == HV_HINTS) {
			want.eax |= (lapic ? CLUSTER_IPI : 0) | (e->eax & NO_SHARING);
		}
		/* The versions of the enlightened VMCS, and that it is advised; direct flushes, since Linux 6.2. */
		if (want.function == 0x4000000a)
			want.eax |= e->eax & (1 << 17 | 0xffff);
		if (want.function == HV_HINTS)
			want.eax |= e->eax & 1 << 14;
		assert_memory_equal(e, &want, sizeof(want));
	}
	free(t);
}

static void test_leaves(void **state)
{
	struct guest g;

	skip_without();
	check_leaves(api_sys(), true);
	g = GUEST(true, 0xf4);
	check_leaves(g.vcpu, true);
	guest_end(&g);
	/* Without local APICs nobody sends an interrupt. */
	g = GUEST(false, 0xf4);
	check_leaves(g.vcpu, false);
	guest_end(&g);
}

/* What a vCPU has whose client sets @t, which is freed. */
static struct cpuid_table *set_and_get(struct cpuid_table *t)
{
	struct guest g = GUEST(true, 0xf4);

	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
	free(t);
	t = guest_cpuid(g.vcpu);
	/* What it has it may be given again. */
	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
	guest_end(&g);
	return t;
}

static void has_vendor(struct cpuid_table *t, const char *name)
{
	assert_memory_equal(&guest_leaf(t, 0x40000000, 0)->ebx, name, 12);
}

static struct cpuid_table *without_nested(void)
{
	struct cpuid_table *t = guest_supported();

	guest_leaf(t, 1, 0)->ecx &= ~(1U << 5);
	guest_leaf(t, 0x80000001, 0)->ecx &= ~(1U << 2);
	return t;
}

static void offered(bool amd)
{
	struct cpuid_table *t;
	unsigned int n = 0;

	assert_int_equal(anykvm_set_parameters("anykvm.hyperv_nested=Y"), 0);
	t = set_and_get(guest_supported());
	has_vendor(t, "Microsoft Hv");
	for (uint32_t i = 0; i < t->head.nent; i++)
		n += t->e[i].function >> 16 == 0x4000;
	assert_int_equal(n, 7);
	assert_int_equal(guest_leaf(t, 0x40000001, 0)->eax, 0x31237648);
	assert_int_equal(guest_leaf(t, 0x4000000a, 0)->eax, amd ? 7 << 17 | 1 << 22 : 7 << 17 | 0x101);
	assert_int_equal(guest_leaf(t, HV_HINTS, 0)->eax >> 14 & 1, !amd);
	/* Nothing that exits to a client which does not know of it: SynIC and timers, reset, messages, crash. */
	assert_int_equal(guest_leaf(t, HV_FEATURES, 0)->eax & 0x8c, 0);
	assert_int_equal(guest_leaf(t, HV_FEATURES, 0)->ebx, 0);
	assert_int_equal(guest_leaf(t, HV_FEATURES, 0)->edx & 1 << 10, 0);
	free(t);
	/* Neither for who cannot be a hypervisor, nor over what the client says of Hyper-V, nor without the parameter. */
	t = set_and_get(without_nested());
	has_vendor(t, "KVMKVMKVM\0\0\0");
	free(t);
	t = set_and_get(hv_leaves());
	has_vendor(t, "Linux KVM Hv");
	free(t);
	assert_int_equal(anykvm_set_parameters("anykvm.hyperv_nested=N"), 0);
	t = set_and_get(guest_supported());
	has_vendor(t, "KVMKVMKVM\0\0\0");
	free(t);
}

static void test_offered(void **state)
{
	if (!api_linked())      /* the parameter is anykvm's */
		skip();
	guest_each_model(offered);
}

static void test_enable(void **state)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_HYPERV_ENFORCE_CPUID, .flags = 1 };
	struct guest g;

	skip_without();
	g = GUEST(true, 0xf4);
	api_fails(EINVAL, api_ioctl(g.vcpu, KVM_ENABLE_CAP, &cap));
	cap.flags = 0;
	api_ok(api_ioctl(g.vcpu, KVM_ENABLE_CAP, &cap));
	/* Of a kernel on Hyper-V. */
	cap.cap = KVM_CAP_HYPERV_DIRECT_TLBFLUSH;
	if (!api_cap(g.vm, KVM_CAP_HYPERV_DIRECT_TLBFLUSH))
		api_fails(ENOTTY, api_ioctl(g.vcpu, KVM_ENABLE_CAP, &cap));
	guest_end(&g);
}

/* --- who may use what ---------------------------------------------------------------------- */

#define EAX 0
#define EBX 1
#define EDX 3

/* A register, and the bit of a leaf that a guest has to have for it. */
static const struct access {
	uint32_t index;
	uint8_t reg, bit;
	bool readable, writable;
	uint64_t value;         /* to write */
} accesses[] = {
	{ 0x40000000, EAX, 5, true, true, 1ULL << 60 },
	{ 0x40000001, EAX, 5, true, true, 0 },
	{ 0x40000002, EAX, 6, true, false, 0 },
	{ 0x40000003, EAX, 7, true, true, 0 },
	{ 0x40000010, EAX, 0, true, false, 0 },
	{ 0x40000020, EAX, 1, true, false, 0 },
	{ 0x40000021, EAX, 9, true, true, 0 },
	{ 0x40000022, EAX, 11, true, false, 0 },
	{ 0x40000023, EAX, 11, true, false, 0 },
	{ 0x40000070, EAX, 4, false, true, 0 },
	{ 0x40000071, EAX, 4, true, true, 0x40030 },
	{ 0x40000072, EAX, 4, true, true, 0x20 },
	{ 0x40000073, EAX, 4, true, true, 0x5001 },
	{ 0x400000f1, EDX, 11, true, false, 0 },
	{ 0x400000f2, EDX, 11, true, true, 5 },
	{ 0x400000ff, EDX, 11, true, true, 4 },
	{ 0x40000100, EDX, 10, true, true, 7 },
	{ 0x40000104, EDX, 10, true, true, 7 },
	{ 0x40000105, EDX, 10, true, true, 0 },
	{ 0x40000106, EAX, 13, true, true, 0x60 },
	{ 0x40000107, EAX, 13, true, true, 1 },
	{ 0x40000108, EAX, 13, true, true, 0 },
};

static uint32_t *reg_of(struct kvm_cpuid_entry2 *e, unsigned int reg)
{
	return &e->eax + reg;
}

/* @bits: what 0x40000003 has of its own there; ~0: all. */
static struct guest limited(const struct access *a, uint32_t bits, bool enforced)
{
	struct cpuid_table *t = hv_leaves();
	struct guest g;

	*reg_of(guest_leaf(t, HV_FEATURES, 0), a->reg) &= bits;
	g = hv_guest(t);
	api_ok(guest_enable(g.vcpu, KVM_CAP_HYPERV_ENFORCE_CPUID, enforced));
	return g;
}

static void check_access(const struct access *a, uint32_t bits, bool enforced, bool allowed)
{
	struct guest g = limited(a, bits, enforced);
	uint64_t value;

	if (hv_rdmsr(&g, a->index, &value) != (allowed && a->readable ? HV_DONE : HV_GP))
		fail_msg("MSR %#x: RDMSR, bits %#x", a->index, bits);
	/* A write that has an exit behind it is for other tests. */
	if (a->index != 0x400000f1 && hv_wrmsr(&g, a->index, a->value) != (allowed && a->writable ? HV_DONE : HV_GP))
		fail_msg("MSR %#x: WRMSR, bits %#x", a->index, bits);
	/* The client is asked for no bit. */
	if (a->readable)
		assert_int_equal(guest_get_msr(&g, a->index, &value), 1);
	guest_end(&g);
}

static void test_enforced(void **state)
{
	skip_without();
	for (size_t i = 0; i < sizeof(accesses) / sizeof(accesses[0]); i++) {
		const struct access *a = &accesses[i];

		check_access(a, 1U << a->bit, true, true);
		check_access(a, ~(1U << a->bit), true, false);
		check_access(a, 0, false, true);
	}
}

/* Without "Hv#1" there is none of it for a guest. */
static void test_not_there(void **state)
{
	struct cpuid_table *t;
	struct guest g;
	uint64_t value;

	skip_without();
	t = hv_leaves();
	guest_drop_leaf(t, 0x40000001);
	g = hv_guest(t);
	for (size_t i = 0; i < sizeof(accesses) / sizeof(accesses[0]); i++) {
		assert_int_equal(hv_rdmsr(&g, accesses[i].index, &value), HV_GP);
		assert_int_equal(hv_wrmsr(&g, accesses[i].index, accesses[i].value), HV_GP);
	}
	assert_int_equal(guest_get_msr(&g, 0x40000002, &value), 1);
	hv_identify(&g);
	/* The instruction is KVM's. */
	assert_int_equal((int64_t)hv_call(&g, 2, 0, 0), -1000);
	guest_end(&g);
}

static void test_unknown(void **state)
{
	static const uint32_t none[] = { 0x40000004, 0x4000000f, 0x40000024, 0x40000074, 0x400000f0, 0x40000109,
					 0x40000117 };
	struct guest g;
	uint64_t value;

	skip_without();
	g = hv_guest(NULL);
	for (size_t i = 0; !api_real() && i < sizeof(none) / sizeof(none[0]); i++) {
		assert_int_equal(hv_rdmsr(&g, none[i], &value), HV_GP);
		assert_int_equal(guest_get_msr(&g, none[i], &value), 0);
		assert_int_equal(guest_set_msr(&g, none[i], 0), 0);
	}
	guest_end(&g);
}

/* --- the hypercall page ---------------------------------------------------------------------- */

#define PAGE_AT 0x6000UL

static void hypercall_page(bool amd)
{
	const uint8_t code[] = { 0x0f, 0x01, amd ? 0xd9 : 0xc1, 0xc3 }, none[4] = { 0 };
	struct guest g = hv_guest(NULL);
	uint64_t value;

	/* There is no guest yet: nothing happens. */
	assert_int_equal(hv_wrmsr(&g, 0x40000001, PAGE_AT | 1), HV_DONE);
	assert_int_equal(hv_rdmsr(&g, 0x40000001, &value), HV_DONE);
	assert_int_equal(value, 0);
	assert_memory_equal(g.mem + PAGE_AT, none, sizeof(none));
	assert_int_equal(hv_wrmsr(&g, 0x40000000, 1), HV_DONE);
	assert_int_equal(hv_wrmsr(&g, 0x40000001, PAGE_AT), HV_DONE);
	assert_memory_equal(g.mem + PAGE_AT, none, sizeof(none));
	assert_int_equal(hv_wrmsr(&g, 0x40000001, PAGE_AT | 1), HV_DONE);
	assert_memory_equal(g.mem + PAGE_AT, code, sizeof(code));
	assert_int_equal(hv_rdmsr(&g, 0x40000001, &value), HV_DONE);
	assert_int_equal(value, PAGE_AT | 1);
	/* No memory there. */
	assert_int_equal(hv_wrmsr(&g, 0x40000001, GUEST_MEM | 1), HV_GP);
	assert_int_equal(hv_rdmsr(&g, 0x40000001, &value), HV_DONE);
	assert_int_equal(value, PAGE_AT | 1);
	assert_int_equal(hv_wrmsr(&g, 0x40000000, 0), HV_DONE);
	assert_int_equal(hv_rdmsr(&g, 0x40000001, &value), HV_DONE);
	assert_int_equal(value, PAGE_AT);
	/* So the instruction is KVM's again. */
	assert_int_equal((int64_t)hv_call(&g, 2, 0, 0), -1000);
	guest_end(&g);
}

static void test_hypercall_page(void **state)
{
	skip_without();
	guest_each_model(hypercall_page);
}

/* --- virtual processors ------------------------------------------------------------------------ */

static void test_vp_index(void **state)
{
	struct guest g;
	int second;
	struct guest other;
	uint64_t value;

	skip_without();
	g = hv_guest(NULL);
	second = api_vcpu(g.vm, 7);
	other = (struct guest){ .vm = g.vm, .vcpu = second };
	/* The place in the order of creation, whatever the ID. */
	assert_int_equal(guest_get_msr(&other, 0x40000002, &value), 1);
	assert_int_equal(value, 1);
	assert_int_equal(hv_rdmsr(&g, 0x40000002, &value), HV_DONE);
	assert_int_equal(value, 0);
	assert_int_equal(guest_set_msr(&g, 0x40000002, 1023), 1);
	assert_int_equal(hv_rdmsr(&g, 0x40000002, &value), HV_DONE);
	assert_int_equal(value, 1023);
	assert_int_equal(guest_set_msr(&g, 0x40000002, 1024), 0);
	assert_int_equal(hv_wrmsr(&g, 0x40000002, 3), HV_GP);
	api_close(second);
	guest_end(&g);
}

static void test_vp_runtime(void **state)
{
	struct guest g;
	uint64_t a, b;

	skip_without();
	g = hv_guest(NULL);
	assert_int_equal(hv_rdmsr(&g, 0x40000010, &a), HV_DONE);
	assert_int_equal(hv_rdmsr(&g, 0x40000010, &b), HV_DONE);
	assert_true(b >= a);
	assert_int_equal(hv_wrmsr(&g, 0x40000010, 0), HV_GP);
	assert_int_equal(guest_set_msr(&g, 0x40000010, 1ULL << 50), 1);
	assert_int_equal(hv_rdmsr(&g, 0x40000010, &a), HV_DONE);
	assert_true(a >= 1ULL << 50 && a < 1ULL << 51);
	guest_end(&g);
}

static void test_frequencies(void **state)
{
	struct guest g;
	uint64_t value;
	int khz;

	skip_without();
	g = hv_guest(NULL);
	khz = api_ioctl(g.vcpu, KVM_GET_TSC_KHZ, NULL);
	assert_int_equal(hv_rdmsr(&g, 0x40000022, &value), HV_DONE);
	assert_int_equal(value, khz * 1000ULL);
	assert_int_equal(hv_rdmsr(&g, 0x40000023, &value), HV_DONE);
	assert_int_equal(value, 1000000000);
	/* What was read can be written back, to no effect. */
	assert_int_equal(guest_set_msr(&g, 0x40000022, 5), 1);
	assert_int_equal(hv_rdmsr(&g, 0x40000022, &value), HV_DONE);
	assert_int_equal(value, khz * 1000ULL);
	guest_end(&g);
}

/* --- the local APIC ------------------------------------------------------------------------------ */

static uint32_t lapic_word(struct guest *g, unsigned int at)
{
	struct kvm_lapic_state s;
	uint32_t word;

	api_ok(api_ioctl(g->vcpu, KVM_GET_LAPIC, &s));
	memcpy(&word, s.regs + at, 4);
	return word;
}

static void enable_lapic(struct guest *g)
{
	struct kvm_lapic_state s;

	api_ok(api_ioctl(g->vcpu, KVM_GET_LAPIC, &s));
	memcpy(s.regs + 0xf0, &(uint32_t){ 0x1ff }, 4);
	api_ok(api_ioctl(g->vcpu, KVM_SET_LAPIC, &s));
}

static void test_apic_msrs(void **state)
{
	struct guest g;
	uint64_t value;

	skip_without();
	g = hv_guest(NULL);
	enable_lapic(&g);
	assert_int_equal(hv_wrmsr(&g, 0x40000072, 0x30), HV_DONE);
	assert_int_equal(lapic_word(&g, 0x80), 0x30);
	assert_int_equal(hv_rdmsr(&g, 0x40000072, &value), HV_DONE);
	assert_int_equal(value, 0x30);
	assert_int_equal(hv_wrmsr(&g, 0x40000072, 1ULL << 32), HV_GP);
	/* An interrupt to oneself; its class is below TPR, and IF clear: it waits. */
	assert_int_equal(hv_wrmsr(&g, 0x40000071, 0x40025), HV_DONE);
	assert_int_equal(lapic_word(&g, 0x210), 1 << 5);
	assert_int_equal(hv_rdmsr(&g, 0x40000071, &value), HV_DONE);
	assert_int_equal(value & 0xffffffff, 0x40025);
	/* By destination: bits 63:56 in xAPIC mode. */
	assert_int_equal(hv_wrmsr(&g, 0x40000071, 0x26), HV_DONE);
	assert_int_equal(lapic_word(&g, 0x210), 3 << 5);
	assert_int_equal(hv_wrmsr(&g, 0x40000071, 5ULL << 56 | 0x27), HV_DONE);
	assert_int_equal(lapic_word(&g, 0x210), 3 << 5);
	guest_end(&g);
}

static void test_apic_msrs_none(void **state)
{
	struct guest g;
	uint64_t value;

	skip_without();
	g = hv_guest_on(api_vm(), NULL);
	assert_int_equal(hv_rdmsr(&g, 0x40000072, &value), HV_GP);
	assert_int_equal(hv_wrmsr(&g, 0x40000070, 0), HV_GP);
	guest_end(&g);
}

#define ASSIST 0x5000
#define VECTOR_AT 0x1a00

/* How an interrupt has ended. */
enum { BY_BIT = 0x30, BY_MSR = 0x31 };

/* lock btr dword [ASSIST],0; jc 1f; EOI by MSR; out BY_MSR,al; 1: out BY_BIT,al */
static const uint8_t handler[] = {
	0xf0, 0x0f, 0xba, 0x34, 0x25, ASSIST & 0xff, ASSIST >> 8, 0, 0, 0, 0x72, 0x0d,
	0xb9, 0x70, 0x00, 0x00, 0x40, 0x31, 0xc0, 0x31, 0xd2, 0x0f, 0x30, 0xe6, BY_MSR, 0xe6, BY_BIT,
};

static uint16_t interrupt(struct guest *g)
{
	static const uint8_t wait[] = { 0xfb, 0xf4 };
	struct kvm_regs r = { .rip = 0x1b00, .rsp = GUEST_STACK, .rflags = 2 };
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = 0x50 };
	uint64_t *idt = (uint64_t *)(g->mem + GUEST_IDT);
	struct kvm_sregs s;

	idt[2 * 0x50] = (uint64_t)0x8e << 40 | 8 << 16 | VECTOR_AT;
	memcpy(g->mem + VECTOR_AT, handler, sizeof(handler));
	memcpy(g->mem + 0x1b00, wait, sizeof(wait));
	/* The GDT stands behind 32 vectors; this is one more. */
	memcpy(g->mem + 0xb800, (const uint64_t[]){ 0, 0x00af9b000000ffff, 0x00cf93000000ffff }, 24);
	api_ok(api_ioctl(g->vcpu, KVM_GET_SREGS, &s));
	s.idt.limit = 0x50 * 16 + 15;
	s.gdt.base = 0xb800;
	api_ok(api_ioctl(g->vcpu, KVM_SET_SREGS, &s));
	api_ok(api_ioctl(g->vcpu, KVM_SET_REGS, &r));
	assert_int_equal(api_ioctl(g->vm, KVM_SIGNAL_MSI, &msi), 1);
	guest_run(g, KVM_EXIT_IO);
	return g->run->io.port;
}

static void test_assist_page(void **state)
{
	struct guest g;
	uint64_t value;

	skip_without();
	g = hv_guest(NULL);
	enable_lapic(&g);
	/* Off: the MSR is the end of an interrupt. */
	assert_int_equal(interrupt(&g), BY_MSR);
	assert_int_equal(lapic_word(&g, 0x120), 0);
	/* On: the page's first word is zeroed, the rest left. */
	memset(g.mem + ASSIST, 0xff, 16);
	assert_int_equal(hv_wrmsr(&g, 0x40000073, ASSIST | 1), HV_DONE);
	assert_memory_equal(g.mem + ASSIST, ((const uint32_t[]){ 0, ~0U }), 8);
	assert_int_equal(hv_rdmsr(&g, 0x40000073, &value), HV_DONE);
	assert_int_equal(value, ASSIST | 1);
	if (!api_real()) {
		assert_int_equal(interrupt(&g), BY_BIT);
		assert_int_equal(lapic_word(&g, 0x120), 0);
		assert_int_equal(guest_stat(g.vcpu, "pv_eois"), 1);
	}
	/* Off again. */
	assert_int_equal(hv_wrmsr(&g, 0x40000073, ASSIST), HV_DONE);
	assert_int_equal(interrupt(&g), BY_MSR);
	assert_int_equal(hv_wrmsr(&g, 0x40000073, GUEST_MEM | 1), HV_GP);
	guest_end(&g);
}

/* --- time ---------------------------------------------------------------------------------------- */

#define TSC_PAGE 0x7000UL

struct tsc_page {
	uint32_t sequence, reserved;
	uint64_t scale;
	int64_t offset;
};

static struct tsc_page page_of(struct guest *g)
{
	struct tsc_page p;

	memcpy(&p, g->mem + TSC_PAGE, sizeof(p));
	return p;
}

static uint64_t by_page(const struct tsc_page *p, uint64_t tsc)
{
	return (uint64_t)((unsigned __int128)tsc * p->scale >> 64) + (uint64_t)p->offset;
}

static uint64_t by_msr(struct guest *g)
{
	uint64_t value;

	assert_int_equal(hv_rdmsr(g, 0x40000020, &value), HV_DONE);
	return value;
}

static void check_page(struct guest *g)
{
	uint64_t before = by_msr(g), tsc = hv_rdtsc(g), after = by_msr(g);
	struct tsc_page p = page_of(g);

	assert_true(p.sequence);
	assert_true(by_page(&p, tsc) >= before && by_page(&p, tsc) <= after);
}

static void test_reference_time(void **state)
{
	struct kvm_clock_data clock = { .clock = 1000ULL * 1000000000 };
	struct guest g;
	uint64_t t;
	uint32_t sequence;

	skip_without();
	g = hv_guest(NULL);
	/* kvmclock's, in units of 100 ns. */
	api_ok(api_ioctl(g.vm, KVM_SET_CLOCK, &clock));
	t = by_msr(&g);
	assert_true(t >= clock.clock / 100 && t < clock.clock / 100 * 2);
	assert_int_equal(hv_wrmsr(&g, 0x40000021, TSC_PAGE | 1), HV_DONE);
	check_page(&g);
	assert_true(by_msr(&g) >= t);
	/* The clock is set: so is the page. */
	sequence = page_of(&g).sequence;
	clock.clock *= 5;
	api_ok(api_ioctl(g.vm, KVM_SET_CLOCK, &clock));
	assert_true(by_msr(&g) >= clock.clock / 100);
	check_page(&g);
	assert_int_not_equal(page_of(&g).sequence, sequence);
	/* Off: by MSR alone, and the page is left. */
	assert_int_equal(hv_wrmsr(&g, 0x40000021, TSC_PAGE), HV_DONE);
	sequence = page_of(&g).sequence;
	api_ok(api_ioctl(g.vm, KVM_SET_CLOCK, &clock));
	by_msr(&g);
	assert_int_equal(page_of(&g).sequence, sequence);
	guest_end(&g);
}

/* While a guest has its TSC emulated, having been moved, the page stays. */
static void test_frozen_page(void **state)
{
	struct kvm_clock_data clock = { .clock = 1000ULL * 1000000000 };
	struct tsc_page before, after;
	struct guest g;

	skip_without();
	g = hv_guest(NULL);
	assert_int_equal(hv_wrmsr(&g, 0x40000021, TSC_PAGE | 1), HV_DONE);
	assert_int_equal(hv_wrmsr(&g, 0x40000107, 1), HV_DONE);
	before = page_of(&g);
	assert_true(before.sequence);
	api_ok(api_ioctl(g.vm, KVM_SET_CLOCK, &clock));
	check_page(&g);
	after = page_of(&g);
	assert_memory_equal(&before, &after, sizeof(before));
	/* The guest has followed. */
	assert_int_equal(hv_wrmsr(&g, 0x40000107, 0), HV_DONE);
	api_ok(api_ioctl(g.vm, KVM_SET_CLOCK, &clock));
	check_page(&g);
	after = page_of(&g);
	assert_int_not_equal(before.sequence, after.sequence);
	guest_end(&g);
}

/* One page cannot stand for two TSCs. */
static void test_page_broken(void **state)
{
	struct guest g, other;

	skip_without();
	g = hv_guest(NULL);
	other = (struct guest){ .vm = g.vm, .vcpu = api_vcpu(g.vm, 1) };
	assert_int_equal(hv_wrmsr(&g, 0x40000021, TSC_PAGE | 1), HV_DONE);
	check_page(&g);
	assert_int_equal(guest_set_msr(&other, 0x10, 1ULL << 60), 1);
	assert_int_equal(hv_wrmsr(&g, 0x40000021, TSC_PAGE | 1), HV_DONE);
	assert_int_equal(page_of(&g).sequence, 0);
	assert_true(by_msr(&g) <= by_msr(&g));
	api_close(other.vcpu);
	guest_end(&g);
}

/* Of whose TSC the guest is told that it is invariant, it has to ask for that, where it is offered to ask. */
static void invariant(bool offered)
{
	struct cpuid_table *t = hv_leaves();
	uint32_t *eax = &guest_leaf(t, HV_FEATURES, 0)->eax;
	struct guest g;
	uint64_t value;

	guest_leaf(t, 0x80000007, 0)->edx |= 1 << 8;
	*eax = offered ? *eax | INVARIANT : *eax & ~INVARIANT;
	g = hv_guest(t);
	assert_int_equal(hv_cpuid_edx(&g, 0x80000007) >> 8 & 1, !offered);
	assert_int_equal(hv_rdmsr(&g, 0x40000118, &value), offered ? HV_DONE : HV_GP);
	assert_int_equal(hv_wrmsr(&g, 0x40000118, 3), HV_GP);
	assert_int_equal(hv_wrmsr(&g, 0x40000118, 1), offered ? HV_DONE : HV_GP);
	assert_int_equal(hv_cpuid_edx(&g, 0x80000007) >> 8 & 1, 1);
	/* The client may take it back, the guest not. */
	assert_int_equal(hv_wrmsr(&g, 0x40000118, 0), HV_GP);
	assert_int_equal(guest_set_msr(&g, 0x40000118, 0), 1);
	assert_int_equal(hv_cpuid_edx(&g, 0x80000007) >> 8 & 1, !offered);
	guest_end(&g);
}

static void test_invariant(void **state)
{
	skip_without();
	if (api_real())
		skip();
	invariant(true);
	invariant(false);
}

/* --- the end, and debuggers ------------------------------------------------------------------------ */

static void system_event(struct guest *g, uint32_t type)
{
	assert_int_equal(g->run->exit_reason, KVM_EXIT_SYSTEM_EVENT);
	assert_int_equal(g->run->system_event.type, type);
	assert_int_equal(g->run->system_event.ndata, 0);
	/* The instruction is complete. */
	guest_port(g, HV_DONE);
}

static void wrmsr_exits(struct guest *g, uint32_t index, uint64_t value, uint32_t reason)
{
	struct kvm_regs r = { .rip = GUEST_CODE, .rsp = GUEST_STACK, .rflags = 2, .rcx = index };

	r.rax = (uint32_t)value;
	r.rdx = value >> 32;
	api_ok(api_ioctl(g->vcpu, KVM_SET_REGS, &r));
	guest_run(g, reason);
}

static void test_crash(void **state)
{
	struct guest g;
	uint64_t value;

	skip_without();
	g = hv_guest(NULL);
	assert_int_equal(hv_wrmsr(&g, 0x40000102, 0xdead), HV_DONE);
	assert_int_equal(guest_get_msr(&g, 0x40000102, &value), 1);
	assert_int_equal(value, 0xdead);
	/* What the client says a guest may do. */
	assert_int_equal(guest_set_msr(&g, 0x40000105, ~0ULL), 1);
	assert_int_equal(hv_rdmsr(&g, 0x40000105, &value), HV_DONE);
	assert_int_equal(value, 1ULL << 63);
	assert_int_equal(hv_wrmsr(&g, 0x40000105, 1), HV_DONE);
	wrmsr_exits(&g, 0x40000105, 1ULL << 63, KVM_EXIT_SYSTEM_EVENT);
	system_event(&g, KVM_SYSTEM_EVENT_CRASH);
	guest_end(&g);
}

static void test_reset(void **state)
{
	struct guest g;

	skip_without();
	g = hv_guest(NULL);
	assert_int_equal(hv_wrmsr(&g, 0x40000003, 2), HV_DONE);
	wrmsr_exits(&g, 0x40000003, 1, KVM_EXIT_SYSTEM_EVENT);
	system_event(&g, KVM_SYSTEM_EVENT_RESET);
	guest_end(&g);
}

static void test_debugger(void **state)
{
	struct guest g;
	uint64_t value;

	skip_without();
	g = hv_guest(NULL);
	assert_int_equal(hv_wrmsr(&g, 0x400000f3, 0x8000), HV_DONE);
	assert_int_equal(hv_wrmsr(&g, 0x400000f4, 0x9000), HV_DONE);
	wrmsr_exits(&g, 0x400000f1, 0x1234, KVM_EXIT_HYPERV);
	assert_int_equal(g.run->hyperv.type, KVM_EXIT_HYPERV_SYNDBG);
	assert_int_equal(g.run->hyperv.u.syndbg.msr, 0x400000f1);
	assert_int_equal(g.run->hyperv.u.syndbg.control, 0x1234);
	assert_int_equal(g.run->hyperv.u.syndbg.send_page, 0x8000);
	assert_int_equal(g.run->hyperv.u.syndbg.recv_page, 0x9000);
	g.run->hyperv.u.syndbg.status = 0x77;
	guest_port(&g, HV_DONE);
	assert_int_equal(hv_rdmsr(&g, 0x400000f2, &value), HV_DONE);
	assert_int_equal(value, 0x77);
	/* The client writes no command. */
	assert_int_equal(guest_set_msr(&g, 0x400000f5, 0xa000), 1);
	assert_int_equal(hv_rdmsr(&g, 0x400000f5, &value), HV_DONE);
	assert_int_equal(value, 0xa000);
	guest_end(&g);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_leaves),
	cmocka_unit_test(test_offered),
	cmocka_unit_test(test_enable),
	cmocka_unit_test(test_enforced),
	cmocka_unit_test(test_not_there),
	cmocka_unit_test(test_unknown),
	cmocka_unit_test(test_hypercall_page),
	cmocka_unit_test(test_vp_index),
	cmocka_unit_test(test_vp_runtime),
	cmocka_unit_test(test_frequencies),
	cmocka_unit_test(test_apic_msrs),
	cmocka_unit_test(test_apic_msrs_none),
	cmocka_unit_test(test_assist_page),
	cmocka_unit_test(test_reference_time),
	cmocka_unit_test(test_frozen_page),
	cmocka_unit_test(test_page_broken),
	cmocka_unit_test(test_invariant),
	cmocka_unit_test(test_crash),
	cmocka_unit_test(test_reset),
	cmocka_unit_test(test_debugger),
};

API_MAIN(tests)
