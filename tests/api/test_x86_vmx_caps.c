// SPDX-License-Identifier: MIT
/*
 * What says that there is VMX, and that it goes where the processor has none; and the registers that VM entries and exits
 * load and save by controls of their own.  SDM 3C, 24.7.1, 24.8.1, 26.3.2.1, 27.3.1, 27.5.1; SDM 3D, appendix A.
 */
#include <stdlib.h>

#include "anykvm.h"
#include "vmx_own.h"

#define FIRST_CAP 0x480
#define LAST_CAP 0x491
#define UD 6

/* --- with and without ----------------------------------------------------------------------------------------------- */

static unsigned int caps_listed(void)
{
	struct kvm_msr_list *list = calloc(1, sizeof(*list) + 1024 * sizeof(uint32_t));
	unsigned int n = 0;

	list->nmsrs = 1024;
	api_ok(api_ioctl(api_sys(), KVM_GET_MSR_FEATURE_INDEX_LIST, list));
	for (uint32_t i = 0; i < list->nmsrs; i++)
		n += list->indices[i] >= FIRST_CAP && list->indices[i] <= LAST_CAP;
	free(list);
	return n;
}

/* vmxon [0x2000], with CR4.VMXE if that may be; out 0x10,al */
static void expect_vmxon(bool there)
{
	struct guest g = GUEST(false, 0xf3, 0x0f, 0xc7, 0x34, 0x25, ABS(0x2000), 0xe6, 0x10);
	struct cpuid_table *t = guest_supported();
	uint64_t basic = 0;
	struct kvm_sregs k;

	/* As a client would have it, whatever the processor says. */
	guest_leaf(t, 1, 0)->ecx |= 1u << 5;
	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
	guest_long(&g);
	LONG_VECTOR(&g, UD, 0x3000, 0xe6, 0x40 + UD, HLT);
	assert_int_equal(guest_get_msr(&g, FIRST_CAP, &basic), there);
	if (there)
		assert_int_equal(guest_set_msr(&g, 0x3a, 5), 1);
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &k));
	k.cr0 |= 0x20;
	k.cr4 |= 0x2000;
	assert_int_equal(api_ioctl(g.vcpu, KVM_SET_SREGS, &k), there ? 0 : -1);
	*(uint64_t *)(g.mem + 0x2000) = 0x4000;
	*(uint32_t *)(g.mem + 0x4000) = (uint32_t)basic;
	guest_port(&g, there ? 0x10 : 0x40 + UD);
	free(t);
	guest_end(&g);
}

static int enable_evmcs(void)
{
	int vm = api_vm(), vcpu = api_vcpu(vm, 0), r, err;
	struct kvm_enable_cap cap = { .cap = KVM_CAP_HYPERV_ENLIGHTENED_VMCS };
	uint16_t versions = 0;

	cap.args[0] = (uintptr_t)&versions;
	r = api_ioctl(vcpu, KVM_ENABLE_CAP, &cap);
	err = errno;
	api_close(vcpu);
	api_close(vm);
	if (!r)
		assert_int_equal(versions, 0x101);
	return r ? err : 0;
}

/* The processors: with VMX, the same without (kvm-intel's nested=0), one that never has it. */
static void test_there_or_not(void **state)
{
	static const struct {
		const char *cpu;
		bool vmx, nested;
	} cpus[] = {
		{ "intel", true, true }, { "intel,-vmx", false, false },
		{ "amd", false, true }, { "amd,-svm", false, false },
	};

	if (!api_linked())
		skip();
	for (unsigned int n = 0; n < sizeof(cpus) / sizeof(cpus[0]); n++) {
		struct cpuid_table *t;

		assert_int_equal(anykvm_set_cpu(cpus[n].cpu), 0);
		t = guest_supported();
		assert_int_equal(guest_leaf(t, 1, 0)->ecx >> 5 & 1, cpus[n].vmx);
		free(t);
		/* KVM lists the last one, VMFUNC's, too. */
		assert_int_equal(caps_listed(), cpus[n].vmx ? LAST_CAP - FIRST_CAP + 1 : 0);
		assert_int_equal(api_cap(api_sys(), KVM_CAP_NESTED_STATE) > 0, cpus[n].nested);
		assert_int_equal(api_cap(api_sys(), KVM_CAP_HYPERV_ENLIGHTENED_VMCS) > 0, cpus[n].vmx);
		assert_int_equal(enable_evmcs(), cpus[n].vmx ? 0 : ENOTTY);
		expect_vmxon(cpus[n].vmx);
	}
	assert_int_equal(anykvm_set_cpu("intel"), 0);
}

/* The bitmaps of a shadow VMCS are looked at with its control alone. */
static void test_no_shadow_vmcs(void **state)
{
	struct vmx s = VMX(P2_SHADOW_VMCS, HLT);

	vmx_put(&s, F_VMREAD_BITMAP, 1);
	vmx_expect(&s, R_HLT);
	vmx_goto(&s, VMX_L2);
	vmx_control2(&s, P2_SHADOW_VMCS);
	vmx_expect(&s, VMX_FAIL + 7);
	vmx_put(&s, F_VMREAD_BITMAP, VMX_FREE);
	vmx_put(&s, F_VMWRITE_BITMAP, VMX_FREE);
	vmx_expect(&s, R_HLT);
	vmx_end(&s);
}

/* --- what a client takes away ------------------------------------------------------------------------------------ */

#define FLAGS (VMX_FREE + 0x9000)
#define ZF 0x40u

/* L1 leaves VMX operation, since the client may not write these within, and enters it again. */
static void narrow(struct vmx *s, uint32_t msr, uint64_t bits)
{
	/* vmclear; vmxoff; out 0x20,al; vmxon; vmptrld */
	const uint8_t code[] = {
		0x66, 0x0f, 0xc7, 0x34, 0x25, ABS(VMX_BOX + 8), 0x0f, 0x01, 0xc4, 0xe6, 0x20,
		0xf3, 0x0f, 0xc7, 0x34, 0x25, ABS(VMX_BOX), 0x0f, 0xc7, 0x34, 0x25, ABS(VMX_BOX + 8), 0xc3,
	};
	uint64_t value = 0;

	vmx_get(s, F_RIP);
	memcpy(vmx_at(s, VMX_STUB), code, sizeof(code));
	assert_int_equal(guest_get_msr(&s->g, msr, &value), 1);
	assert_int_equal(guest_set_msr(&s->g, msr, value & ~bits), 0);
	guest_port(&s->g, 0x20);
	assert_int_equal(value & bits, bits);
	assert_int_equal(guest_set_msr(&s->g, msr, value & ~bits), 1);
	*(uint64_t *)vmx_at(s, VMX_BOX + 24) = 0;
	vmx_get(s, F_RIP);
}

/* Does INVEPT or INVVPID of @type succeed? */
static bool invalidates(struct vmx *s, uint8_t opcode, uint32_t type)
{
	uint64_t *d = vmx_at(s, DESCRIPTOR);

	d[0] = opcode == INVEPT ? VMX_EPT | 3 << 3 | 6 : 1;
	d[1] = DATA;
	VMX_DO(s, 0xb8, ABS(type), 0x66, 0x0f, 0x38, opcode, 0x04, 0x25, ABS(DESCRIPTOR), 0x9c, 0x8f, 0x04, 0x25, ABS(FLAGS));
	return !(*(uint32_t *)vmx_at(s, FLAGS) & ZF);
}

/* Of IA32_VMX_EPT_VPID_CAP the types, by their bits, and the instructions. */
static const struct {
	uint8_t opcode;
	uint64_t instruction, types[4];
} invalidations[] = {
	{ INVEPT, 1ULL << 20, { 0, 1ULL << 25, 1ULL << 26, 0 } },
	{ INVVPID, 1ULL << 32, { 1ULL << 40, 1ULL << 41, 1ULL << 42, 1ULL << 43 } },
};

static void test_no_invalidation(void **state)
{
	for (unsigned int n = 0; n < 2; n++) {
		struct vmx s = with_vpid(true);

		vmx_get(&s, F_RIP);
		for (uint32_t type = 0; type < 4; type++)
			assert_int_equal(invalidates(&s, invalidations[n].opcode, type), invalidations[n].types[type] != 0);
		for (uint32_t type = 0; type < 4; type++) {
			if (!invalidations[n].types[type])
				continue;
			narrow(&s, 0x48c, invalidations[n].types[type]);
			for (uint32_t other = 0; other < 4; other++)
				assert_int_equal(invalidates(&s, invalidations[n].opcode, other),
						 other > type && invalidations[n].types[other]);
		}
		narrow(&s, 0x48c, invalidations[n].instruction);
		VMX_CODE(&s, VMX_STUB, 0x66, 0x0f, 0x38, invalidations[n].opcode, 0x04, 0x25, ABS(DESCRIPTOR));
		guest_port(&s.g, VMX_FAULT + UD);
		vmx_end(&s);
	}
}

/* A secondary control, and a length of EPT's walks: VM entry refuses what is not offered any more. */
static void test_no_controls(void **state)
{
	struct vmx s = with_vpid(true);

	vmx_put(&s, F_VMREAD_BITMAP, VMX_FREE + 0xa000);
	vmx_put(&s, F_VMWRITE_BITMAP, VMX_FREE + 0xa000);
	vmx_control2(&s, P2_SHADOW_VMCS);
	assert_int_equal(loaded(&s), 1);
	narrow(&s, 0x48b, (uint64_t)P2_SHADOW_VMCS << 32);
	vmx_expect(&s, VMX_FAIL + 7);
	vmx_clear(&s, F_PROC2, P2_SHADOW_VMCS);
	assert_int_equal(loaded(&s), 1);
	narrow(&s, 0x48c, 1 << 6);
	vmx_expect(&s, VMX_FAIL + 7);
	vmx_end(&s);
}

/* --- loaded and saved ------------------------------------------------------------------------------------------------- */

#define NONE 0

/* The low halves of values: L1's, those of the VMCS for L2 and L1, and what L2 writes. */
static const struct reg {
	const char *name;
	uint32_t msr, load_guest, save_guest, load_host;
	uint16_t guest_field, host_field;
	uint32_t l1, guest, host, l2;
} regs[] = {
	{ "PAT", 0x277, 1u << 14, 1u << 18, 1u << 19, 0x2804, 0x2c00, 0x00070406, 0x06060606, 0x07040600, 0x04040404 },
	{ "EFER", 0xc0000080, 1u << 15, 1u << 20, 1u << 21, 0x2806, 0x2c02, 0x500, 0x501, 0xd00, 0xd01 },
	{ "PERF_GLOBAL_CTRL", 0x38f, 1u << 13, NONE, 1u << 12, 0x2808, 0x2c04, 0, 1, 2, 3 },
};

/* mov ecx,msr; rdmsr; mov ebx,eax; mov eax,value; wrmsr; hlt */
static void put_code(struct vmx *s, const struct reg *r)
{
	VMX_CODE(s, VMX_L2, 0xb9, ABS(r->msr), 0x0f, 0x32, 0x89, 0xc3, 0xb8, ABS(r->l2), 0x0f, 0x30, HLT);
	vmx_goto(s, VMX_L2);
}

static void expect_values(struct vmx *s, const struct reg *r, bool load_guest, bool save_guest, bool load_host)
{
	uint64_t now = 0;

	if ((uint32_t)*vmx_reg(s, 3) != (load_guest ? r->guest : r->l1))
		fail_msg("%s: L2 has %#lx; loaded: %u", r->name, *vmx_reg(s, 3), load_guest);
	if ((uint32_t)vmx_get(s, r->guest_field) != (save_guest ? r->l2 : r->guest))
		fail_msg("%s: the VMCS has %#lx; saved: %u", r->name, vmx_get(s, r->guest_field), save_guest);
	assert_int_equal(guest_get_msr(&s->g, r->msr, &now), 1);
	if ((uint32_t)now != (load_host ? r->host : r->l2))
		fail_msg("%s: L1 has %#lx; loaded: %u", r->name, now, load_host);
}

/* All combinations, one after the other: each entry and exit goes by the controls that it has then. */
static void each_way(struct vmx *s, const struct reg *r)
{
	uint64_t runs = api_real() ? 0 : guest_stat(s->g.vcpu, "nested_run");
	uint64_t entry = vmx_get(s, F_ENTRY), leave = vmx_get(s, F_EXIT);

	for (unsigned int n = 0; n < 8; n++) {
		bool load_guest = n & 1, save_guest = n & 2 && r->save_guest, load_host = n & 4;

		assert_int_equal(guest_set_msr(&s->g, r->msr, r->l1), 1);
		put_code(s, r);
		vmx_put(s, r->guest_field, r->guest);
		vmx_put(s, r->host_field, r->host);
		vmx_put(s, F_ENTRY, entry | (load_guest ? r->load_guest : 0));
		vmx_put(s, F_EXIT, leave | (save_guest ? r->save_guest : 0) | (load_host ? r->load_host : 0));
		vmx_expect(s, R_HLT);
		expect_values(s, r, load_guest, save_guest, load_host);
	}
	if (!api_real())
		assert_int_equal(guest_stat(s->g.vcpu, "nested_run") - runs, 8);
}

static void test_loaded_and_saved(void **state)
{
	for (unsigned int n = 0; n < sizeof(regs) / sizeof(regs[0]); n++) {
		struct vmx s = VMX(0, HLT);
		uint64_t entry = 0, value;

		assert_int_equal(guest_get_msr(&s.g, 0x490, &entry), 1);
		if (guest_get_msr(&s.g, regs[n].msr, &value) == 1 && (entry >> 32 & regs[n].load_guest))
			each_way(&s, &regs[n]);
		else
			assert_int_equal(regs[n].msr, 0x38f);
		vmx_end(&s);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_there_or_not), cmocka_unit_test(test_no_shadow_vmcs),
	cmocka_unit_test(test_no_invalidation), cmocka_unit_test(test_no_controls), cmocka_unit_test(test_loaded_and_saved),
};

API_MAIN(tests)
