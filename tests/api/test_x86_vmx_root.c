// SPDX-License-Identifier: MIT
/* VMX instructions of L1's: regions, faults, modes, what is not offered.  SDM 3C, chapter 30.  See also _insn.c. */
#include "vmx.h"

#include <stdlib.h>

#define UD 6
#define VMCALL 0x0f, 0x01, 0xc1

#define OPERAND VMX_FREE                /* [OPERAND] is theirs */
#define AT_OPERAND 0x25, 0x00, 0x00, 0x11, 0x00
#define REGION (VMX_FREE + 0x1000)
#define PAE_TABLE (VMX_FREE + 0x2000)
#define NARROW_CODE 0x5000
#define NARROW_DONE 0x12
#define R_MISC 0x485
#define R_EPT_VPID 0x48c
#define DONE (~0u)

#define CODE(...) sizeof((const uint8_t[]){ __VA_ARGS__ }), { __VA_ARGS__ }
#define VMCLEAR CODE(0x66, 0x0f, 0xc7, 0x34, AT_OPERAND)
#define VMPTRLD CODE(0x0f, 0xc7, 0x34, AT_OPERAND)
#define VMXON CODE(0xf3, 0x0f, 0xc7, 0x34, AT_OPERAND)
#define VMXOFF 0x0f, 0x01, 0xc4

static const uint8_t flags_to_box[] = { 0x9c, 0x8f, 0x04, 0x25, 0x20, 0x20, 0x10, 0 };         /* pushf; pop */
static const uint8_t back_on[] = {      /* vmxon [VMX_BOX]; vmptrld [VMX_BOX + 8] */
	0xf3, 0x0f, 0xc7, 0x34, 0x25, 0x00, 0x20, 0x10, 0, 0x0f, 0xc7, 0x34, 0x25, 0x08, 0x20, 0x10, 0,
};

/* L1 executes @code: DONE, or the error's number, 0 where there is none. */
static uint32_t execute(struct vmx *s, const uint8_t *code, size_t n, bool then_on)
{
	uint8_t all[64];
	uint32_t reason;

	memcpy(all, code, n);
	memcpy(all + n, flags_to_box, sizeof(flags_to_box));
	n += sizeof(flags_to_box);
	memcpy(all + n, back_on, sizeof(back_on));
	vmx_do(s, all, then_on ? n + sizeof(back_on) : n);
	reason = vmx_reason(s);
	return reason >= VMX_FAIL && reason < VMX_FAIL + 64 ? reason - VMX_FAIL : DONE;
}

static uint32_t revision(struct vmx *s)
{
	return *(uint32_t *)vmx_at(s, VMX_VMXON);
}

/* @beyond: the operand is behind the last physical address. */
static const struct {
	const char *what;
	uint8_t len, code[16];
	uint64_t operand;
	bool beyond;
	uint32_t revision;      /* what is in REGION is that much off */
	uint32_t result;
} errors[] = {
	{ "VMCLEAR, whatever the revision", VMCLEAR, REGION, false, 1, DONE },
	{ "VMCLEAR, beyond memory", VMCLEAR, 0, true, 0, 2 },
	{ "VMPTRLD, beyond memory", VMPTRLD, 0, true, 0, 9 },
	{ "VMPTRLD, no memory", VMPTRLD, VMX_MEM + VMX_MEM_SIZE, false, 0, 11 },
	{ "VMPTRLD of what is current", VMPTRLD, VMX_VMCS, false, 0, DONE },
	{ "VMREAD, upper half of the encoding", CODE(0x48, 0xb8, 0x00, 0x44, 0, 0, 1, 0, 0, 0, 0x0f, 0x78, 0xc1), 0, false,
	  0, 12 },
	{ "VMWRITE of the exit's reason", CODE(0xb8, 0x02, 0x44, 0, 0, 0x0f, 0x79, 0xc1), 0, false, 0, DONE },
};

static void put_operand(struct vmx *s, uint64_t operand, bool beyond, uint32_t off)
{
	uint64_t *at = vmx_at(s, OPERAND);

	at[0] = beyond ? 1ULL << (guest_leaf(s->cpuid, 0x80000008, 0)->eax & 0xff) : operand;
	at[1] = 0;
	*(uint32_t *)vmx_at(s, REGION) = revision(s) + off;
}

static void test_errors(void **state)
{
	struct vmx s = VMX(P2_EPT | P2_VPID, VMCALL);

	for (unsigned int n = 0; n < sizeof(errors) / sizeof(errors[0]); n++) {
		uint32_t result;

		put_operand(&s, errors[n].operand, errors[n].beyond, errors[n].revision);
		result = execute(&s, errors[n].code, errors[n].len, false);
		if (result != errors[n].result)
			fail_msg("%s: %u", errors[n].what, result);
	}
	/* None of it was more than it said. */
	vmx_expect(&s, R_VMCALL);
	vmx_end(&s);
}

/* Without bit 29 of IA32_VMX_MISC what exits have to say can be read only. */
static void test_read_only_fields(void **state)
{
	static const uint8_t write[] = { 0xb8, 0x02, 0x44, 0, 0, 0x0f, 0x79, 0xc1 };
	static const uint8_t other[] = { 0x31, 0xc0, 0x0f, 0x79, 0xc1 };
	struct vmx s = VMX(0, VMCALL);

	if (api_real()) {
		vmx_end(&s);
		skip();
	}
	vmx_flip_capability(&s, R_MISC, 1 << 29);
	assert_int_equal(execute(&s, write, sizeof(write), false), 13);
	assert_int_equal(execute(&s, other, sizeof(other), false), DONE);
	vmx_end(&s);
}

/* VMXOFF; VMXON of each region; and back as it was: the VMCS was written to its region. */
static void test_regions(void **state)
{
	static const uint8_t code[] = { VMXOFF, 0xf3, 0x0f, 0xc7, 0x34, AT_OPERAND };
	static const struct {
		uint64_t operand;
		bool beyond;
		uint32_t off, result;
	} regions[] = {
		{ REGION, false, 0, DONE }, { REGION + 8, false, 0, 0 }, { 0, true, 0, 0 }, { REGION, false, 1, 0 },
		{ REGION, false, 1u << 31, 0 }, { VMX_MEM + VMX_MEM_SIZE, false, 0, 0 },
	};
	struct vmx s = VMX(0, VMCALL);

	vmx_put(&s, F_VPID, 0x1234);
	for (unsigned int n = 0; n < sizeof(regions) / sizeof(regions[0]); n++) {
		put_operand(&s, regions[n].operand, regions[n].beyond, regions[n].off);
		assert_int_equal(execute(&s, code, sizeof(code), true), regions[n].result);
		assert_int_equal(vmx_get(&s, F_VPID), 0x1234);
	}
	vmx_expect(&s, R_VMCALL);
	vmx_end(&s);
}

/* L1 executes @code, which ends by an exception. */
static void expect_fault(struct vmx *s, const uint8_t *code, size_t n, unsigned int vector)
{
	memcpy(vmx_at(s, VMX_STUB), code, n);
	put_operand(s, REGION, false, 0);
	guest_port(&s->g, (uint16_t)(VMX_FAULT + vector));
	vmx_end(s);
}

#define FAULT(s, vector, ...) \
	expect_fault(s, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }), vector)
#define VMXON_OPERAND 0xf3, 0x0f, 0xc7, 0x34, AT_OPERAND

static void test_faults(void **state)
{
	struct vmx s = VMX(0, VMCALL);

	/* Outside VMX operation there is but VMXON. */
	FAULT(&s, UD, VMXOFF, 0x0f, 0xc7, 0x3c, AT_OPERAND);
	s = VMX(0, VMCALL);
	FAULT(&s, UD, VMXOFF, VMXOFF);
	/* mov rax,cr0; and eax,~0x20; mov cr0,rax: NE has to be set for it. */
	s = VMX(0, VMCALL);
	FAULT(&s, 13, VMXOFF, 0x0f, 0x20, 0xc0, 0x83, 0xe0, 0xdf, 0x0f, 0x22, 0xc0, VMXON_OPERAND);
	/* mov rax,cr4; and eax,~0x2000; mov cr4,rax: VMXE. */
	s = VMX(0, VMCALL);
	FAULT(&s, UD, VMXOFF, 0x0f, 0x20, 0xe0, 0x25, 0xff, 0xdf, 0xff, 0xff, 0x0f, 0x22, 0xe0, VMXON_OPERAND);
	/* In VMX operation they stay. */
	s = VMX(0, VMCALL);
	FAULT(&s, 13, 0x0f, 0x20, 0xc0, 0x83, 0xe0, 0xdf, 0x0f, 0x22, 0xc0);
	s = VMX(0, VMCALL);
	FAULT(&s, 13, 0x0f, 0x20, 0xe0, 0x25, 0xff, 0xdf, 0xff, 0xff, 0x0f, 0x22, 0xe0);
	/* IA32_FEATURE_CONTROL forbids VMX outside SMX. */
	s = VMX(0, VMCALL);
	assert_int_equal(guest_set_msr(&s.g, 0x3a, 1), 1);
	FAULT(&s, 13, VMXOFF, VMXON_OPERAND);
}

/* INVEPT and INVVPID, of which IA32_VMX_EPT_VPID_CAP knows nothing. */
static void test_not_offered(void **state)
{
	struct vmx s = VMX(P2_EPT | P2_VPID, VMCALL);

	if (api_real()) {
		vmx_end(&s);
		skip();
	}
	vmx_flip_capability(&s, R_EPT_VPID, 1 << 20);
	FAULT(&s, UD, 0xb8, 2, 0, 0, 0, 0x66, 0x0f, 0x38, 0x80, 0x04, AT_OPERAND);
	s = VMX(P2_EPT | P2_VPID, VMCALL);
	vmx_flip_capability(&s, R_EPT_VPID, 1ULL << 32);
	FAULT(&s, UD, 0xb8, 2, 0, 0, 0, 0x66, 0x0f, 0x38, 0x81, 0x04, AT_OPERAND);
}

/* Outside 64-bit mode operands have 32 bits: VMREAD writes no more, VMWRITE clears the field's upper half. */
static void test_narrow(void **state)
{
	struct vmx s = VMX(0, VMCALL);
	uint32_t *operand = vmx_at(&s, OPERAND);
	struct kvm_regs r;

	vmx_put(&s, 0x2010, 0x1122334455667788);
	*(uint64_t *)vmx_at(&s, PAE_TABLE) = (GUEST_TABLES + 0x2000) | 1;
	operand[0] = 0x89abcdef;
	operand[2] = operand[3] = operand[5] = -1u;
	/* mov eax,0x2010; vmread [OPERAND + 8],eax; vmwrite eax,[OPERAND]; vmread ebx,eax; inc eax; vmread ecx,eax; out */
	VMX_CODE(&s, NARROW_CODE, 0xb8, 0x10, 0x20, 0, 0, 0x0f, 0x78, 0x05, 0x08, 0x00, 0x11, 0x00, 0x0f, 0x79, 0x05, 0x00,
		 0x00, 0x11, 0x00, 0x0f, 0x78, 0xc3, 0x40, 0x0f, 0x78, 0xc1, 0xe6, NARROW_DONE);
	vmx_narrow(&s, PAE_TABLE, NARROW_CODE);
	guest_port(&s.g, NARROW_DONE);
	r = guest_regs(&s.g);
	assert_int_equal(operand[2], 0x55667788);
	assert_int_equal(operand[3], -1u);
	assert_int_equal(r.rbx, 0x89abcdef);
	assert_int_equal(r.rcx, 0);
	vmx_end(&s);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_errors), cmocka_unit_test(test_read_only_fields), cmocka_unit_test(test_regions),
	cmocka_unit_test(test_faults), cmocka_unit_test(test_not_offered), cmocka_unit_test(test_narrow),
};

API_MAIN(tests)
