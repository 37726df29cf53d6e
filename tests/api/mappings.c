// SPDX-License-Identifier: MIT
#include "mappings.h"

#define DESCRIPTOR (VMX_FREE + 0x7000)  /* INVEPT's */
#define RESULT (VMX_FREE + 0x7010)      /* of a hypercall, whose input may be a whole page */
#define FEATURE_HYPERCALL (1u << 5)
#define ABS(a) (a) & 0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff

struct vmx mappings_start(uint32_t nested, const uint8_t *code, size_t n)
{
	const struct kvm_cpuid_entry2 leaves[] = {
		{ .function = 0x40000000, .eax = 0x4000000a, .ebx = 0x7263694d, .ecx = 0x666f736f, .edx = 0x76482074 },
		{ .function = 0x40000001, .eax = 0x31237648 },
		{ .function = 0x40000003, .eax = FEATURE_HYPERCALL },
		{ .function = 0x4000000a, .eax = nested },
	};
	struct vmx s;

	/* No kernel's KVM has them. */
	if (api_real())
		skip();
	s = vmx_start_with(code, n, P2_EPT | P2_VPID, false, leaves, 4);
	vmx_ept(&s, 0);
	vmx_put(&s, F_VPID, 1);
	vmx_control2(&s, P2_VPID);
	/* WRMSR of GUEST_OS_ID: mov ecx,40000000h; mov eax,1; xor edx,edx; wrmsr */
	VMX_DO(&s, 0xb9, ABS(0x40000000), 0xb8, ABS(1), 0x31, 0xd2, 0x0f, 0x30);
	return s;
}

/* mov rcx,control; mov rdx,in; mov r8,out; vmcall; mov [RESULT],rax; mov dword [flag],value */
uint64_t mappings_call(struct vmx *s, uint64_t control, uint64_t in, uint64_t out, uint64_t flag, uint32_t value)
{
	const uint8_t store[] = { 0xc7, 0x04, 0x25, ABS(flag), ABS(value) };
	uint8_t code[64] = { 0x48, 0xb9 };

	memcpy(code + 2, &control, 8);
	memcpy(code + 10, (const uint8_t[]){ 0x48, 0xba }, 2);
	memcpy(code + 12, &in, 8);
	memcpy(code + 20, (const uint8_t[]){ 0x49, 0xb8 }, 2);
	memcpy(code + 22, &out, 8);
	memcpy(code + 30, (const uint8_t[]){ 0x0f, 0x01, 0xc1, 0x48, 0x89, 0x04, 0x25, ABS(RESULT) }, 11);
	memcpy(code + 41, store, sizeof(store));
	*(uint64_t *)vmx_at(s, RESULT) = ~0ULL;
	vmx_do(s, code, flag ? 41 + sizeof(store) : 41);
	return *(uint64_t *)vmx_at(s, RESULT);
}

void mappings_put(struct vmx *s, uint64_t root, uint64_t flags, const uint64_t *range, unsigned int n)
{
	uint64_t *in = vmx_at(s, MAPPINGS_INPUT);

	in[0] = root;
	in[1] = flags;
	if (n)
		memcpy(in + 2, range, n * sizeof(*range));
}

void mappings_flush(struct vmx *s, uint64_t root, const uint64_t *range, unsigned int n)
{
	uint64_t control = n ? MAPPINGS_LIST | MAPPINGS_REPS(n) : MAPPINGS_SPACE;

	mappings_put(s, root, 0, range, n);
	assert_int_equal(mappings_call(s, control, MAPPINGS_INPUT, 0, 0, 0), SUCCESS | MAPPINGS_REPS(n));
}

void mappings_invept(struct vmx *s, uint32_t type, uint64_t root)
{
	uint64_t *d = vmx_at(s, DESCRIPTOR);

	d[0] = root | 3 << 3 | 6;
	d[1] = 0;
	VMX_DO(s, 0xb8, ABS(type), 0x66, 0x0f, 0x38, 0x80, 0x04, 0x25, ABS(DESCRIPTOR));
}
