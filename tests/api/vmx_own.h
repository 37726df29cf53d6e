/* SPDX-License-Identifier: MIT */
/* L2 with page tables of its own, which the test changes; for the tests of what drops its translations. */
#ifndef TESTS_API_VMX_OWN_H
#define TESTS_API_VMX_OWN_H

#include "vmx.h"

#define TABLES VMX_FREE                 /* L2's own: four, with 4 KiB pages */
#define PTES (TABLES + 0x3000)
#define SECOND (VMX_FREE + 0x4000)      /* another EPT: four tables */
#define DESCRIPTOR (VMX_FREE + 0x8000)
#define DATA 0x6000UL
#define MORE 0x7000UL
#define ABS(a) (a) & 0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff
#define LOAD(a) 0x8a, 0x04, 0x25, ABS(a)                /* mov al,[a] */
#define STORE(a) 0xc6, 0x04, 0x25, ABS(a), 3            /* mov byte [a],3 */
#define HLT 0xf4
#define PF 14
#define CR0_WP (1ULL << 16)
#define CR4_SMEP (1ULL << 20)
#define PTE_NX (1ULL << 63)
#define EFER_NX (1ULL << 11)
#define F_EFER 0x2806
#define X_SAVE_EFER (1 << 20)
#define E_LOAD_EFER (1 << 15)

static inline uint64_t *pte(struct vmx *s, uint64_t gva)
{
	return (uint64_t *)vmx_at(s, PTES) + (gva >> 12);
}

static inline void own_tables(struct vmx *s)
{
	uint64_t *t = vmx_at(s, TABLES);

	t[0] = (TABLES + 0x1000) | 7;
	t[512] = (TABLES + 0x2000) | 7;
	t[1024] = PTES | 7;
	for (uint64_t n = 0; n < 512; n++)
		t[3 * 512 + n] = n << 12 | 7;
	vmx_put(s, F_CR3, TABLES);
	*(uint8_t *)vmx_at(s, DATA) = 1;
	*(uint8_t *)vmx_at(s, MORE) = 2;
}

static inline struct vmx with_vpid(bool ept)
{
	struct vmx s = VMX(P2_EPT | P2_VPID, LOAD(DATA), HLT);

	own_tables(&s);
	if (ept)
		vmx_ept(&s, 0);
	vmx_put(&s, F_VPID, 1);
	vmx_control2(&s, P2_VPID);
	return s;
}

static inline uint8_t loaded(struct vmx *s)
{
	vmx_expect(s, R_HLT);
	vmx_goto(s, VMX_L2);
	return (uint8_t)*vmx_reg(s, 0);
}

static inline uint64_t walks(struct vmx *s)
{
	return api_real() ? 0 : guest_stat(s->g.vcpu, "page_walks") + guest_stat(s->g.vcpu, "slat_walks");
}

/* L2's memory is the same by the other. */
static inline uint64_t second_ept(struct vmx *s)
{
	uint64_t *t = vmx_at(s, SECOND);

	memcpy(t, vmx_at(s, VMX_EPT), 4 * 4096);
	t[0] = (SECOND + 0x1000) | EPT_ALL;
	t[512] = (SECOND + 0x2000) | EPT_ALL;
	t[1024] = (SECOND + 0x3000) | EPT_ALL;
	return SECOND | 3 << 3 | 6;
}

static inline void invalidate(struct vmx *s, uint8_t opcode, uint32_t type, uint64_t what, uint64_t address)
{
	uint64_t *d = vmx_at(s, DESCRIPTOR);

	d[0] = what;
	d[1] = address;
	VMX_DO(s, 0xb8, ABS(type), 0x66, 0x0f, 0x38, opcode, 0x04, 0x25, ABS(DESCRIPTOR));
}

#define INVEPT 0x80
#define INVVPID 0x81

#endif
