// SPDX-License-Identifier: MIT
/* Shadow VMCSs: VMREAD and VMWRITE of L2 that L1 does not hear of.  SDM 3C, 24.6.15, 25.1.3, 30.3. */
#include "vmx.h"

#define READS VMX_FREE          /* bitmaps */
#define WRITES (VMX_FREE + 0x1000)
#define SHADOW (VMX_FREE + 0x2000)
#define POINTER (VMX_FREE + 0x3000)
#define RESULT (POINTER + 8)
#define ABS(a) (a) & 0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff
#define VMPTRLD(a) 0x0f, 0xc7, 0x34, 0x25, ABS(a)
#define VMCLEAR(a) 0x66, 0x0f, 0xc7, 0x34, 0x25, ABS(a)
#define MOV_EAX(v) 0xb8, ABS(v)
#define FLAGS_TO_RDX 0x9c, 0x5a         /* pushfq; pop rdx */
#define CF 1u
#define ZF 0x40u
#define ERROR_NO_FIELD 12
#define REASON_GUEST_STATE 33
#define FAIL_LINK 4

/* L2: the field EAX into RCX, or RCX into it; RFLAGS into RDX. */
#define L2_READ(field) MOV_EAX(field), 0x0f, 0x78, 0xc1, FLAGS_TO_RDX, 0xf4
#define L2_WRITE(field) MOV_EAX(field), 0x0f, 0x79, 0xc1, FLAGS_TO_RDX, 0xf4

static void shadow_field(struct vmx *s, uint32_t value)
{
	VMX_DO(s, VMPTRLD(POINTER), MOV_EAX(F_RIP), 0xb9, ABS(value), 0x0f, 0x79, 0xc1, VMCLEAR(POINTER),
	       VMPTRLD(VMX_BOX + 8));
}

static uint64_t read_shadow_field(struct vmx *s)
{
	VMX_DO(s, VMPTRLD(POINTER), MOV_EAX(F_RIP), 0x0f, 0x78, 0x04, 0x25, ABS(RESULT), VMCLEAR(POINTER), VMPTRLD(VMX_BOX + 8));
	return *(uint64_t *)vmx_at(s, RESULT);
}

static struct vmx with_shadow(void)
{
	struct vmx s = VMX(P2_SHADOW_VMCS, L2_READ(F_RIP));

	*(uint64_t *)vmx_at(&s, POINTER) = SHADOW;
	*(uint32_t *)vmx_at(&s, SHADOW) = *(uint32_t *)vmx_at(&s, VMX_VMXON) | 1u << 31;
	vmx_put(&s, F_VMREAD_BITMAP, READS);
	vmx_put(&s, F_VMWRITE_BITMAP, WRITES);
	vmx_put(&s, F_LINK, SHADOW);
	vmx_control2(&s, P2_SHADOW_VMCS);
	return s;
}

static void expect_hlt(struct vmx *s, uint64_t flags)
{
	vmx_expect(s, R_HLT);
	assert_int_equal(*vmx_reg(s, 2) & (CF | ZF), flags);
	vmx_goto(s, VMX_L2);
}

static void expect_exit(struct vmx *s, uint32_t reason)
{
	vmx_expect(s, reason);
	vmx_goto(s, VMX_L2);
}

static void test_access(void **state)
{
	struct vmx s = with_shadow();

	shadow_field(&s, 0x12345);
	expect_hlt(&s, 0);
	assert_int_equal(*vmx_reg(&s, 1), 0x12345);

	VMX_CODE(&s, VMX_L2, L2_WRITE(F_RIP));
	*vmx_reg(&s, 1) = 0x6789a;
	expect_hlt(&s, 0);
	assert_int_equal(read_shadow_field(&s), 0x6789a);
	vmx_end(&s);
}

/* A bit of a bitmap, or an encoding that has none; and the control off. */
static void test_exits(void **state)
{
	struct vmx s = with_shadow();

	((uint8_t *)vmx_at(&s, READS))[F_RIP / 8] = 1 << (F_RIP % 8);
	expect_exit(&s, R_VMREAD);
	VMX_CODE(&s, VMX_L2, L2_WRITE(F_RIP));
	expect_hlt(&s, 0);
	((uint8_t *)vmx_at(&s, WRITES))[F_RIP / 8] = 1 << (F_RIP % 8);
	expect_exit(&s, R_VMWRITE);
	VMX_CODE(&s, VMX_L2, L2_READ(0x8000 + F_RIP));
	expect_exit(&s, R_VMREAD);

	VMX_CODE(&s, VMX_L2, L2_READ(F_CR0));
	expect_hlt(&s, 0);
	vmx_clear(&s, F_PROC2, P2_SHADOW_VMCS);
	vmx_put(&s, F_LINK, ~0ULL);
	vmx_expect(&s, R_VMREAD);
	vmx_end(&s);
}

static void test_failures(void **state)
{
	struct vmx s = with_shadow();

	VMX_CODE(&s, VMX_L2, L2_READ(0x6ffe));
	expect_hlt(&s, ZF);
	assert_int_equal(vmx_get(&s, F_ERROR), ERROR_NO_FIELD);
	VMX_CODE(&s, VMX_L2, L2_READ(F_RIP));
	vmx_put(&s, F_LINK, ~0ULL);
	expect_hlt(&s, CF);
	VMX_CODE(&s, VMX_L2, L2_WRITE(F_RIP));
	expect_hlt(&s, CF);
	vmx_end(&s);
}

/* What is linked has to be a shadow VMCS where the control says so, and else an ordinary one; which alone can be entered. */
static void test_entry(void **state)
{
	struct vmx s = with_shadow();

	*(uint32_t *)vmx_at(&s, SHADOW) &= ~(1u << 31);
	assert_int_equal(vmx_run(&s), VMX_ENTRY_FAILED | REASON_GUEST_STATE);
	assert_int_equal(vmx_get(&s, F_QUALIFICATION), FAIL_LINK);
	*(uint32_t *)vmx_at(&s, SHADOW) |= 1u << 31;
	vmx_put(&s, F_VMWRITE_BITMAP, WRITES + 1);
	assert_int_equal(vmx_run(&s), VMX_FAIL + 7);
	vmx_put(&s, F_VMWRITE_BITMAP, WRITES);
	expect_hlt(&s, 0);
	vmx_clear(&s, F_PROC2, P2_SHADOW_VMCS);
	assert_int_equal(vmx_run(&s), VMX_ENTRY_FAILED | REASON_GUEST_STATE);
	assert_int_equal(vmx_get(&s, F_QUALIFICATION), FAIL_LINK);

	VMX_DO(&s, VMPTRLD(POINTER), 0x0f, 0x01, 0xc2, 0x9c, 0x8f, 0x04, 0x25, ABS(RESULT), VMCLEAR(POINTER),
	       VMPTRLD(VMX_BOX + 8));
	assert_int_equal(*(uint64_t *)vmx_at(&s, RESULT) & (CF | ZF), CF);
	vmx_end(&s);
}

/* The client's log of dirty pages shows L2's VMWRITE. */
static void test_dirty_log(void **state)
{
	struct vmx s = with_shadow();
	uint64_t map[(VMX_MEM_SIZE >> 12) / 64 + 1] = { 0 };
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = map };
	unsigned int page = (SHADOW - VMX_MEM) >> 12;

	VMX_CODE(&s, VMX_L2, L2_WRITE(F_RIP));
	expect_hlt(&s, 0);
	api_ok(api_set_slot(s.g.vm, 1, KVM_MEM_LOG_DIRTY_PAGES, VMX_MEM, VMX_MEM_SIZE, s.mem));
	vmx_get(&s, F_RIP);
	api_ok(api_ioctl(s.g.vm, KVM_GET_DIRTY_LOG, &log));
	assert_false(map[page / 64] >> (page % 64) & 1);
	expect_hlt(&s, 0);
	api_ok(api_ioctl(s.g.vm, KVM_GET_DIRTY_LOG, &log));
	assert_true(map[page / 64] >> (page % 64) & 1);
	vmx_end(&s);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_access), cmocka_unit_test(test_exits), cmocka_unit_test(test_failures),
	cmocka_unit_test(test_entry), cmocka_unit_test(test_dirty_log),
};

API_MAIN(tests)
