// SPDX-License-Identifier: MIT
/*
 * The enlightened VMCS: L1 keeps it in its memory, and VM entry and VMREAD find it there.  Controls that it has no
 * fields for make VM entry fail, each alone.  TLFS 16.11, and its appendix for the layout.
 */
#include "vmx.h"

#define VMCALL 0x0f, 0x01, 0xc1
#define UD 6
#define ASSIST VMX_FREE
#define EVMCS (VMX_FREE + 0x1000)
#define OPERAND (VMX_FREE + 0x2000)
#define AT_OPERAND 0x25, 0x00, 0x20, 0x11, 0x00
#define MSR_ASSIST 0x40000073
#define MSR_BASIC 0x480
#define DONE (~0u)

/* Where some of its fields are, and how long. */
enum { E_REVISION = 0, E_PIN = 92, E_EXIT = 96, E_PROC2 = 100, E_REASON = 692, E_PROC = 788, E_RIP = 816, E_CLEAN = 824,
       E_TSC_MULTIPLIER = 984 };

static const struct {
	uint16_t encoding, at, size;
} fields[] = {
	{ 0x6c00, 40, 8 }, { 0x6c02, 48, 8 }, { 0x6c04, 56, 8 }, { 0x6c16, 80, 8 }, { F_PIN, E_PIN, 4 },
	{ F_EXIT, E_EXIT, 4 }, { F_MSR_BITMAP, 120, 8 }, { 0x4810, 176, 4 }, { 0x4812, 180, 4 }, { 0x6816, 280, 8 },
	{ 0x6818, 288, 8 }, { F_LINK, 416, 8 }, { F_CR0, 544, 8 }, { F_CR3, 552, 8 }, { F_CR4, 560, 8 },
	{ 0x681a, 568, 8 }, { 0x6c0c, 600, 8 }, { 0x6c0e, 608, 8 }, { 0x6c14, 616, 8 }, { F_RSP, 768, 8 }, { F_RFLAGS, 776, 8 }, { F_PROC, E_PROC, 4 },
	{ F_ENTRY, 796, 4 }, { F_RIP, E_RIP, 8 },
};

static void *field(struct vmx *s, unsigned int at)
{
	return (uint8_t *)vmx_at(s, EVMCS) + at;
}

static void copy_field(struct vmx *s, uint64_t encoding, unsigned int at, unsigned int size)
{
	uint64_t value = vmx_get(s, encoding);

	memcpy(field(s, at), &value, size);
}

/* All that the VMCS says, which then is current no more. */
static void make_enlightened(struct vmx *s)
{
	for (unsigned int n = 0; n < sizeof(fields) / sizeof(fields[0]); n++)
		copy_field(s, fields[n].encoding, fields[n].at, fields[n].size);
	for (unsigned int n = 0; n < 8; n++) {
		copy_field(s, 0x800 + 2 * n, 128 + 2 * n, 2);
		copy_field(s, 0x4800 + 2 * n, 144 + 4 * n, 4);
		copy_field(s, 0x4814 + 2 * n, 184 + 4 * n, 4);
		if (n < 7)
			copy_field(s, 0xc00 + 2 * n, 8 + 2 * n, 2);
	}
	*(uint32_t *)field(s, E_REVISION) = 1;
	*(uint64_t *)field(s, E_TSC_MULTIPLIER) = 1ULL << 48;
	vmx_unload(s);
}

/* Of the VP assist page: at 28h whether, at 30h where. */
static void name(struct vmx *s, uint64_t evmcs)
{
	uint8_t *assist = vmx_at(s, ASSIST);

	assist[0x28] = 1;
	memcpy(assist + 0x30, &evmcs, 8);
	assert_int_equal(guest_set_msr(&s->g, MSR_ASSIST, ASSIST | 1), 1);
}

static struct vmx start(void)
{
	const struct kvm_cpuid_entry2 leaves[] = {
		{ .function = 0x40000000, .eax = 0x4000000a, .ebx = 0x7263694d, .ecx = 0x666f736f, .edx = 0x76482074 },
		{ .function = 0x40000001, .eax = 0x31237648 },
		{ .function = 0x40000003, .eax = 0x60 },
		{ .function = 0x40000004, .eax = 1 << 14 },
		{ .function = 0x4000000a, .eax = 0x101 },
	};
	const uint8_t code[] = { VMCALL };
	uint16_t versions = 0;
	struct kvm_enable_cap cap = { .cap = KVM_CAP_HYPERV_ENLIGHTENED_VMCS, .args = { (uintptr_t)&versions } };
	struct vmx s;

	if (api_real())
		skip();
	s = vmx_start_with(code, sizeof(code), 0, false, leaves, 5);
	api_ok(api_ioctl(s.g.vcpu, KVM_ENABLE_CAP, &cap));
	assert_int_equal(versions, 0x101);
	assert_int_equal(guest_set_msr(&s.g, 0x40000000, 1), 1);
	make_enlightened(&s);
	name(&s, EVMCS);
	return s;
}

static uint64_t entries(struct vmx *s)
{
	return guest_stat(s->g.vcpu, "hv_evmcs_entries");
}

static void test_enters(void **state)
{
	struct vmx s = start();
	uint64_t were = entries(&s);

	assert_int_equal(vmx_run(&s), R_VMCALL);
	assert_int_equal(entries(&s) - were, 1);
	assert_int_equal(*(uint32_t *)field(&s, E_REASON), R_VMCALL);
	assert_int_equal(*(uint32_t *)field(&s, E_CLEAN), 0xffff);
	/* VMREAD is of it, too. */
	*(uint64_t *)field(&s, E_RIP) = 0x123456789a;
	assert_int_equal(vmx_get(&s, F_RIP), 0x123456789a);
	vmx_end(&s);
}

/* Each fails alone; what it would ask for besides is there. */
static void test_unsupported(void **state)
{
	static const struct {
		const char *what;
		unsigned int at;
		uint32_t bit;
	} controls[] = {
		{ "preemption timer", E_PIN, 1 << 6 }, { "APIC accesses", E_PROC2, 1 << 0 },
		{ "PAUSE loops", E_PROC2, 1 << 10 }, { "VM functions", E_PROC2, 1 << 13 },
		{ "shadow VMCS", E_PROC2, 1 << 14 }, { "TSC scaling", E_PROC2, 1 << 25 },
	};
	struct vmx s = start();

	*(uint32_t *)field(&s, E_PROC) |= 1u << 31;
	for (unsigned int n = 0; n < sizeof(controls) / sizeof(controls[0]); n++) {
		uint64_t were = entries(&s);
		uint32_t *at = field(&s, controls[n].at), reason;

		*at |= controls[n].bit;
		*vmx_launched(&s) = 0;
		reason = vmx_run(&s);
		if (reason != VMX_FAIL + 7)
			fail_msg("%s: %#x", controls[n].what, reason);
		assert_int_equal(entries(&s), were);
		*at &= ~controls[n].bit;
		*vmx_launched(&s) = 0;
		assert_int_equal(vmx_run(&s), R_VMCALL);
		*(uint64_t *)field(&s, E_RIP) = VMX_L2;
	}
	vmx_end(&s);
}

/* pushf; pop, and what vmx_reason() makes of it. */
static uint32_t execute(struct vmx *s, const uint8_t *code, size_t n)
{
	static const uint8_t flags_to_box[] = { 0x9c, 0x8f, 0x04, 0x25, 0x20, 0x20, 0x10, 0 };
	uint8_t all[32];
	uint32_t reason;

	memcpy(all, code, n);
	memcpy(all + n, flags_to_box, sizeof(flags_to_box));
	vmx_do(s, all, n + sizeof(flags_to_box));
	reason = vmx_reason(s);
	return reason >= VMX_FAIL && reason < VMX_FAIL + 64 ? reason - VMX_FAIL : DONE;
}

#define EXECUTE(s, ...) execute(s, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))
#define MOV_EAX(n) 0xb8, (n) & 0xff, (n) >> 8 & 0xff, 0, 0
#define VMREAD_ECX 0x0f, 0x78, 0xc1
#define VMWRITE_ECX 0x0f, 0x79, 0xc1

/* In use until it is cleared: no other beside it, no VMWRITE to it, no VMREAD of what it has not got. */
static void test_instructions(void **state)
{
	struct vmx s = start();
	uint64_t *operand = vmx_at(&s, OPERAND);

	assert_int_equal(vmx_run(&s), R_VMCALL);
	assert_int_equal(EXECUTE(&s, MOV_EAX(F_RIP), VMREAD_ECX), DONE);
	assert_int_equal(EXECUTE(&s, MOV_EAX(F_RIP), VMWRITE_ECX), 0);
	assert_int_equal(EXECUTE(&s, MOV_EAX(F_EPTP_LIST), VMREAD_ECX), 12);
	*operand = VMX_VMCS;
	assert_int_equal(EXECUTE(&s, 0x0f, 0xc7, 0x34, AT_OPERAND), 0);         /* VMPTRLD */
	/* VMCLEAR of another leaves it; of itself ends it. */
	assert_int_equal(EXECUTE(&s, 0x66, 0x0f, 0xc7, 0x34, AT_OPERAND), DONE);
	assert_int_equal(EXECUTE(&s, MOV_EAX(F_RIP), VMREAD_ECX), DONE);
	*operand = EVMCS;
	assert_int_equal(EXECUTE(&s, 0x66, 0x0f, 0xc7, 0x34, AT_OPERAND), DONE);
	assert_int_equal(EXECUTE(&s, MOV_EAX(F_RIP), VMREAD_ECX), 0);
	*(uint64_t *)field(&s, E_RIP) = VMX_L2;
	*vmx_launched(&s) = 0;
	assert_int_equal(vmx_run(&s), R_VMCALL);
	vmx_end(&s);
}

/* The version, or IA32_VMX_BASIC's revision as Hyper-V has it, and memory that there is. */
static void test_revision(void **state)
{
	struct vmx s = start();
	uint64_t basic = 0;

	*(uint32_t *)field(&s, E_REVISION) = 2;
	assert_int_equal(vmx_run(&s), VMX_FAIL);
	assert_int_equal(guest_get_msr(&s.g, MSR_BASIC, &basic), 1);
	*(uint32_t *)field(&s, E_REVISION) = (uint32_t)basic;
	assert_int_equal(vmx_run(&s), R_VMCALL);
	/* As KVM. */
	name(&s, VMX_MEM + VMX_MEM_SIZE);
	vmx_enter(&s);
	guest_port(&s.g, VMX_FAULT + UD);
	vmx_end(&s);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_enters), cmocka_unit_test(test_unsupported), cmocka_unit_test(test_instructions),
	cmocka_unit_test(test_revision),
};

API_MAIN(tests)
