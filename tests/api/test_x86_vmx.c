// SPDX-License-Identifier: MIT
/* Nested VMX: a guest enters one of its own, and hears of what that does.  SDM 3C. */
#include <errno.h>
#include <stdlib.h>

#include "guest.h"

#define CODE_EXIT 0x1800        /* L1 after an exit */
#define CODE_L2 0x1900
#define POINTERS 0x2000         /* operands of VMXON and VMPTRLD */
#define FIELDS 0x2100           /* pairs for VMWRITE */
#define VMXON_REGION 0x4000
#define VMCS_REGION 0x5000
#define L2_STACK 0x7000
#define STEP 0x10               /* port of L1: an exit has been read */
#define FAILED 0x12

#define MSR_FEAT_CTL 0x3a
#define MSR_VMX_BASIC 0x480
#define CR4_VMXE 0x2000
#define CR0_NE 0x20

enum { REASON_CPUID = 10, REASON_HLT = 12, REASON_IO = 30, REASON_GUEST_STATE = 33 };

static const uint8_t code_start[] = {
	0xf3, 0x0f, 0xc7, 0x34, 0x25, 0x00, 0x20, 0, 0,         /* vmxon [0x2000] */
	0x66, 0x0f, 0xc7, 0x34, 0x25, 0x08, 0x20, 0, 0,         /* vmclear [0x2008] */
	0x0f, 0xc7, 0x34, 0x25, 0x08, 0x20, 0, 0,               /* vmptrld [0x2008] */
	0xbe, 0x00, 0x21, 0, 0,                                 /* mov esi,0x2100 */
	0x48, 0xad, 0x48, 0x89, 0xc2, 0x48, 0xad,               /* 1: lodsq; mov rdx,rax; lodsq */
	0x48, 0x83, 0xfa, 0xff, 0x74, 0x05,                     /* cmp rdx,-1; je 2f */
	0x0f, 0x79, 0xd0, 0xeb, 0xee,                           /* vmwrite rdx,rax; jmp 1b */
	0x0f, 0x01, 0xc2, 0xe6, FAILED,                         /* 2: vmlaunch; out FAILED,al */
};

/* RBX: reason, RCX: qualification, RDX: length; L2 goes on behind its instruction. */
static const uint8_t code_exit[] = {
	0xb8, 0x02, 0x44, 0, 0, 0x0f, 0x78, 0xc3, 0xb8, 0x00, 0x64, 0, 0, 0x0f, 0x78, 0xc1,
	0xb8, 0x0c, 0x44, 0, 0, 0x0f, 0x78, 0xc2, 0xb8, 0x1e, 0x68, 0, 0, 0x0f, 0x78, 0xc7,
	0x48, 0x01, 0xd7, 0x0f, 0x79, 0xc7, 0xe6, STEP, 0x0f, 0x01, 0xc3, 0xe6, FAILED,
};

static const uint8_t code_l2[] = { 0x0f, 0xa2, 0xe6, 0x55, 0xf4 };     /* cpuid; out 0x55,al; hlt */

static uint64_t *field(uint64_t *at, uint64_t encoding, uint64_t value)
{
	at[0] = encoding;
	at[1] = value;
	return at + 2;
}

/* Flat segments, of L1 and of L2 alike. */
static uint64_t *segments(uint64_t *at)
{
	for (unsigned int n = 0; n < 8; n++) {
		at = field(at, 0x800 + 2 * n, n == 1 ? 8 : n == 7 ? 0x18 : 0);
		at = field(at, 0x4800 + 2 * n, n == 7 ? 0x67 : 0xffffffff);
		at = field(at, 0x4814 + 2 * n, n == 1 ? 0xa09b : n == 7 ? 0x8b : n == 6 ? 0x10000 : 0xc093);
	}
	at = field(at, 0xc02, 8);
	return field(at, 0xc0c, 0x18);
}

static void write_fields(struct guest *g, const struct kvm_sregs *s, uint64_t rflags)
{
	uint64_t *at = (uint64_t *)(g->mem + FIELDS);
	const uint64_t both[][3] = {    /* L1's encoding, L2's, value */
		{ 0x6c00, 0x6800, s->cr0 }, { 0x6c02, 0x6802, s->cr3 }, { 0x6c04, 0x6804, s->cr4 },
	};

	for (unsigned int n = 0; n < 3; n++)
		at = field(field(at, both[n][0], both[n][2]), both[n][1], both[n][2]);
	at = segments(at);
	at = field(at, 0x4000, 0x16);                           /* pin-based controls */
	at = field(at, 0x4002, 0x04006172 | 1u << 7 | 1u << 24);        /* HLT, I/O */
	at = field(at, 0x400c, 0x36dfb | 1u << 9);              /* exit to 64-bit mode */
	at = field(at, 0x4012, 0x11fb | 1u << 9);               /* entry to it */
	at = field(at, 0x2800, ~0ULL);
	at = field(at, 0x6c14, GUEST_STACK);
	at = field(at, 0x6c16, CODE_EXIT);
	at = field(at, 0x681c, L2_STACK);
	at = field(at, 0x681e, CODE_L2);
	at = field(at, 0x681a, 0x400);
	at = field(at, 0x6820, rflags);
	field(at, ~0ULL, 0);
}

static struct guest hypervisor(uint64_t rflags)
{
	struct guest g = guest_of(code_start, sizeof(code_start), false);
	struct cpuid_table *t = guest_supported();
	uint64_t basic = 0;
	struct kvm_sregs s;

	if (!(guest_leaf(t, 1, 0)->ecx & 1u << 5) || !guest_runs_long_mode()) {
		free(t);
		skip();
	}
	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
	free(t);
	guest_long(&g);
	assert_int_equal(guest_set_msr(&g, MSR_FEAT_CTL, 5), 1);
	assert_int_equal(guest_get_msr(&g, MSR_VMX_BASIC, &basic), 1);
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	s.cr0 |= CR0_NE;
	s.cr4 |= CR4_VMXE;
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
	((uint64_t *)(g.mem + POINTERS))[0] = VMXON_REGION;
	((uint64_t *)(g.mem + POINTERS))[1] = VMCS_REGION;
	*(uint32_t *)(g.mem + VMXON_REGION) = *(uint32_t *)(g.mem + VMCS_REGION) = (uint32_t)basic;
	memcpy(g.mem + CODE_EXIT, code_exit, sizeof(code_exit));
	memcpy(g.mem + CODE_L2, code_l2, sizeof(code_l2));
	write_fields(&g, &s, rflags);
	return g;
}

static void expect_exit(struct guest *g, uint64_t reason, uint64_t qualification, uint64_t len)
{
	struct kvm_regs r;

	guest_port(g, STEP);
	r = guest_regs(g);
	if (r.rbx != reason || r.rcx != qualification || r.rdx != len)
		fail_msg("exit %llu %#llx %llu, not %llu %#llx %llu", r.rbx, r.rcx, r.rdx, (unsigned long long)reason,
			 (unsigned long long)qualification, (unsigned long long)len);
}

/* KVM_GET_STATS_FD says that L2 has run; an OUT that L1 intercepts is not the client's. */
static void exits(bool amd)
{
	struct guest g;

	if (amd)
		return;
	g = hypervisor(2);
	expect_exit(&g, REASON_CPUID, 0, 2);
	expect_exit(&g, REASON_IO, 0x55 << 16 | 1 << 6, 2);
	expect_exit(&g, REASON_HLT, 0, 1);
	if (!api_real())
		assert_int_equal(guest_stat(g.vcpu, "nested_run"), 3);
	guest_end(&g);
}

static void test_exits(void **state)
{
	guest_each_model(exits);
}

/* RFLAGS without its bit 1 is no guest state. */
static void bad_state(bool amd)
{
	struct guest g;

	if (amd)
		return;
	g = hypervisor(0);
	guest_port(&g, STEP);
	assert_int_equal(guest_regs(&g).rbx, 1u << 31 | REASON_GUEST_STATE);
	guest_end(&g);
}

static void test_bad_state(void **state)
{
	guest_each_model(bad_state);
}

/* Each row but the last is wrong by its one field; api.rst 4.115. */
static void set_state(bool amd)
{
	const uint64_t none = ~0ULL, on = VMXON_REGION;
	const struct {
		uint64_t vmxon, vmcs;
		uint16_t format, flags, smm;
		uint32_t vmx_flags;
		int error;
	} rows[] = {
		{ on, none, KVM_STATE_NESTED_FORMAT_SVM, 0, 0, 0, EINVAL },
		{ on + 1, none, 0, 0, 0, 0, EINVAL },
		{ none, VMCS_REGION, 0, 0, 0, 0, EINVAL },
		{ none, none, 0, KVM_STATE_NESTED_GUEST_MODE, 0, 0, EINVAL },
		{ none, none, 0, 0, KVM_STATE_NESTED_SMM_VMXON, 0, EINVAL },
		{ on, none, 0, 0, KVM_STATE_NESTED_SMM_VMXON, 0, EINVAL },
		{ on, none, 0, 0, 0, 1u << 1, EINVAL },
		{ on, VMCS_REGION, 0, 0, 0, 0, EINVAL },       /* and no room for it */
		{ on, none, 0, 0, 0, 0, 0 },
	};
	struct kvm_nested_state n;
	struct guest g;

	if (amd)
		return;
	g = hypervisor(2);
	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		n = (struct kvm_nested_state){ .size = sizeof(n), .format = rows[i].format, .flags = rows[i].flags };
		n.hdr.vmx.vmxon_pa = rows[i].vmxon;
		n.hdr.vmx.vmcs12_pa = rows[i].vmcs;
		n.hdr.vmx.smm.flags = rows[i].smm;
		n.hdr.vmx.flags = rows[i].vmx_flags;
		errno = 0;
		assert_int_equal(api_ioctl(g.vcpu, KVM_SET_NESTED_STATE, &n), rows[i].error ? -1 : 0);
		assert_int_equal(errno, rows[i].error);
	}
	n = (struct kvm_nested_state){ .size = sizeof(n) };
	api_ok(api_ioctl(g.vcpu, KVM_GET_NESTED_STATE, &n));
	assert_int_equal(n.size, sizeof(n));
	assert_int_equal(n.hdr.vmx.vmxon_pa, VMXON_REGION);
	assert_int_equal(n.hdr.vmx.vmcs12_pa, ~0ULL);
	guest_end(&g);
}

static void test_set_state(void **state)
{
	guest_each_model(set_state);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_exits), cmocka_unit_test(test_bad_state), cmocka_unit_test(test_set_state),
};

API_MAIN(tests)
