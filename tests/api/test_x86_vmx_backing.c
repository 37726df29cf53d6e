// SPDX-License-Identifier: MIT
/*
 * What a VMCS names, in memory of every kind: it is found there, follows changes of the slot, is in the dirty log where
 * the processor writes it and only there, and ends in a known way where there is no memory.  SDM 3C, 24.6, 25.5, 28.3,
 * 29, 30; what the manual leaves to the platform, as KVM.
 */
#include <stdlib.h>

#include "vmx.h"
#include "slotmem.h"

#define P_IO_BITMAPS (1u << 25)         /* F_PROC */
#define F_IO_BITMAP_A 0x2000
#define F_IO_BITMAP_B 0x2002
#define F_EXIT_STORE 0x2006
#define F_EXIT_LOAD 0x2008
#define F_ENTRY_LOAD 0x200a
#define F_EXIT_STORES 0x400e
#define F_EXIT_LOADS 0x4010
#define F_ENTRY_LOADS 0x4014
#define F_CR0_SHADOW 0x6004
#define F_VE_INFO 0x202a
#define VMCS_CR0_SHADOW 360             /* where KVM's VMCS has it */
#define MSR_PAT 0x277
#define MSR_KERNEL_GS 0xc0000102
#define PAT_RESET 0x0007040600070406
#define VALUE(n) (0x1111u * ((n) + 1))
#define DATA 0x6000UL
#define MORE 0x7000UL
#define VAPIC (VMX_FREE + 0x1000)
#define IDT (VMX_FREE + 0x2000)
#define RESULT (VMX_FREE + 0x3000)      /* flags, and a value; POINTER: SLOTMEM */
#define POINTER (RESULT + 16)
#define NOTIFY 0xf2
#define HIGHER 0x61
#define L2_PORT 0x80                    /* and, of the second bitmap, 8080h: not for L1, the client's */
#define FIRED 0x90
#define UD 6
#define INVALID_INPUT 3                 /* of a hypercall */
#define CF 1u
#define ZF 0x40u
#define ABS(a) (a) & 0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff
#define LOAD(a) 0x8a, 0x04, 0x25, ABS(a)                /* mov al,[a] */
#define STORE(a) 0xc6, 0x04, 0x25, ABS(a), 1            /* mov byte [a],1 */
#define VMPTRLD(a) 0x0f, 0xc7, 0x34, 0x25, ABS(a)
#define VMCLEAR(a) 0x66, 0x0f, 0xc7, 0x34, 0x25, ABS(a)
#define VMXON(a) 0xf3, 0x0f, 0xc7, 0x34, 0x25, ABS(a)
#define VMXOFF 0x0f, 0x01, 0xc4
#define VMREAD_RAX(field) 0xb8, ABS(field), 0x0f, 0x78, 0xc1    /* mov eax,field; vmread rcx,rax */
#define VMWRITE_RAX(field) 0xb8, ABS(field), 0x0f, 0x79, 0xc1
#define FLAGS_TO(a) 0x9c, 0x8f, 0x04, 0x25, ABS(a)      /* pushfq; pop [a] */
#define OUT_DX(port) 0x66, 0xba, (port) & 0xff, (port) >> 8, 0xee
#define RDMSR(n) 0xb9, ABS(n), 0x0f, 0x32
#define HLT 0xf4

/* How a run ended where no exit says it. */
#define SHUTDOWN 0x20000u
#define INTERNAL 0x20001u
#define FAULT 0x20002u                  /* KVM_RUN fails with EFAULT */
#define EXCEPTION(n) (0x20010u + (n))   /* of L1 */
#define FAILED(reason) ((reason) | VMX_ENTRY_FAILED)

/* --- running L2 ------------------------------------------------------------------------------------------------ */

/* From its beginning.  The client answers ports that L1 leaves to it, by nothing. */
static uint64_t enter(struct vmx *s)
{
	vmx_put(s, F_RSP, VMX_L2_STACK);
	vmx_goto(s, VMX_L2);
	vmx_enter(s);
	do {
		if (api_ioctl(s->g.vcpu, KVM_RUN, 0)) {
			assert_int_equal(errno, EFAULT);
			return FAULT;
		}
		if (s->g.run->exit_reason == KVM_EXIT_SHUTDOWN)
			return SHUTDOWN;
		if (s->g.run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
			return INTERNAL;
		assert_int_equal(s->g.run->exit_reason, KVM_EXIT_IO);
		if (s->g.run->io.port >= VMX_FAULT && s->g.run->io.port < VMX_FAULT + 32)
			return EXCEPTION(s->g.run->io.port - VMX_FAULT);
	} while (s->g.run->io.port != VMX_DONE);
	return vmx_reason(s);
}

static uint64_t run(struct vmx *s, const void *at)
{
	return enter(s);
}

#define NOT_HLT(reason) ((reason) | 1ULL << 32)

/* The value that L2 has got in RAX, or RCX, where it has come to its HLT. */
static uint64_t run_to_rax(struct vmx *s, const void *at)
{
	uint64_t reason = enter(s);

	return reason == R_HLT ? *vmx_reg(s, 0) : NOT_HLT(reason);
}

static uint64_t run_to_rcx(struct vmx *s, const void *at)
{
	uint64_t reason = enter(s);

	return reason == R_HLT ? *vmx_reg(s, 1) : NOT_HLT(reason);
}

static uint64_t msr(struct vmx *s, uint32_t index)
{
	uint64_t value = 0;

	assert_int_equal(guest_get_msr(&s->g, index, &value), 1);
	return value;
}

static uint32_t revision(struct vmx *s)
{
	return *(uint32_t *)vmx_at(s, VMX_VMXON);
}

/* --- regions that instructions name -------------------------------------------------------------------------- */

static void use_pointer(struct vmx *s)
{
	*(uint64_t *)vmx_at(s, POINTER) = SLOTMEM;
}

static void fill_vmxon(struct vmx *s, void *at, unsigned int n)
{
	*(uint32_t *)at = revision(s) + n;
}

/* The flags of VMXON: of the second contents the revision is wrong. */
static uint64_t do_vmxon(struct vmx *s, const void *at)
{
	/* vmxoff; vmxon; jc +3; vmxoff; and on again as it was */
	VMX_DO(s, VMXOFF, VMXON(POINTER), FLAGS_TO(RESULT), 0x72, 3, VMXOFF, VMXON(VMX_BOX), VMPTRLD(VMX_BOX + 8));
	return *(uint64_t *)vmx_at(s, RESULT) & (CF | ZF);
}

static void fill_vmcs(struct vmx *s, void *at, unsigned int n)
{
	*(uint32_t *)at = revision(s);
	*(uint64_t *)((uint8_t *)at + VMCS_CR0_SHADOW) = VALUE(n);
}

/* VMPTRLD; VMREAD; VMCLEAR, which writes.  Where VMPTRLD fails its error. */
static uint64_t do_vmptrld(struct vmx *s, const void *at)
{
	/* vmptrld; pushfq, pop; vmread [RESULT + 8]; vmclear; the other one again */
	VMX_DO(s, VMPTRLD(POINTER), FLAGS_TO(RESULT), VMREAD_RAX(F_CR0_SHADOW), 0x48, 0x89, 0x0c, 0x25, ABS(RESULT + 8));
	if (*(uint64_t *)vmx_at(s, RESULT) & ZF)
		return VMX_FAIL + vmx_get(s, F_ERROR);
	VMX_DO(s, VMCLEAR(POINTER), VMPTRLD(VMX_BOX + 8));
	return *(uint64_t *)vmx_at(s, RESULT + 8);
}

/* --- bitmaps --------------------------------------------------------------------------------------------------- */

static void use_io_a(struct vmx *s)
{
	vmx_put(s, F_IO_BITMAP_A, SLOTMEM);
	vmx_put(s, F_IO_BITMAP_B, VMX_MSR_BITMAP);
	vmx_set(s, F_PROC, P_IO_BITMAPS);
}

static void use_io_b(struct vmx *s)
{
	vmx_put(s, F_IO_BITMAP_A, VMX_MSR_BITMAP);
	vmx_put(s, F_IO_BITMAP_B, SLOTMEM);
	vmx_set(s, F_PROC, P_IO_BITMAPS);
}

static void fill_port(struct vmx *s, void *at, unsigned int n)
{
	((uint8_t *)at)[L2_PORT / 8] = (uint8_t)n;
}

static void use_msr_bitmap(struct vmx *s)
{
	vmx_put(s, F_MSR_BITMAP, SLOTMEM);
}

static void fill_msr(struct vmx *s, void *at, unsigned int n)
{
	((uint8_t *)at)[MSR_PAT / 8] = (uint8_t)(n << MSR_PAT % 8);
}

static void use_shadow(struct vmx *s)
{
	uint8_t *linked = vmx_at(s, VMX_FREE);

	*(uint32_t *)linked = revision(s) | 1u << 31;
	*(uint64_t *)(linked + VMCS_CR0_SHADOW) = VALUE(7);
	vmx_put(s, F_VMREAD_BITMAP, VMX_MSR_BITMAP);
	vmx_put(s, F_VMWRITE_BITMAP, VMX_MSR_BITMAP);
	vmx_put(s, F_LINK, VMX_FREE);
	vmx_control2(s, P2_SHADOW_VMCS);
}

static void use_vmread(struct vmx *s)
{
	use_shadow(s);
	vmx_put(s, F_VMREAD_BITMAP, SLOTMEM);
}

static void use_vmwrite(struct vmx *s)
{
	use_shadow(s);
	vmx_put(s, F_VMWRITE_BITMAP, SLOTMEM);
}

static void fill_field(struct vmx *s, void *at, unsigned int n)
{
	((uint8_t *)at)[F_CR0_SHADOW / 8] = (uint8_t)(n << F_CR0_SHADOW % 8);
}

/* --- MSR areas --------------------------------------------------------------------------------------------------- */

static void use_area(struct vmx *s, uint64_t address, uint64_t count)
{
	vmx_put(s, address, SLOTMEM);
	vmx_put(s, count, 1);
}

static void use_exit_store(struct vmx *s)
{
	assert_int_equal(guest_set_msr(&s->g, MSR_KERNEL_GS, VALUE(7)), 1);
	use_area(s, F_EXIT_STORE, F_EXIT_STORES);
}

static void use_exit_load(struct vmx *s)
{
	use_area(s, F_EXIT_LOAD, F_EXIT_LOADS);
}

static void use_entry_load(struct vmx *s)
{
	use_area(s, F_ENTRY_LOAD, F_ENTRY_LOADS);
}

/* Which MSR is to be stored. */
static void fill_store(struct vmx *s, void *at, unsigned int n)
{
	*(uint64_t *)at = n ? MSR_KERNEL_GS : MSR_PAT;
}

static void fill_load(struct vmx *s, void *at, unsigned int n)
{
	((uint64_t *)at)[0] = MSR_KERNEL_GS;
	((uint64_t *)at)[1] = VALUE(n);
}

/* What has been stored, which the host reads, or loaded. */
static uint64_t run_to_stored(struct vmx *s, const void *at)
{
	uint64_t reason = enter(s);

	return reason == R_HLT ? ((const uint64_t *)at)[1] : reason;
}

static uint64_t run_to_loaded(struct vmx *s, const void *at)
{
	uint64_t reason = enter(s);

	return reason == R_HLT ? msr(s, MSR_KERNEL_GS) : NOT_HLT(reason);
}

/* --- the local APIC ---------------------------------------------------------------------------------------------- */

static void use_vapic(struct vmx *s)
{
	vmx_put(s, F_VIRTUAL_APIC, SLOTMEM);
	vmx_set(s, F_PROC, P_TPR_SHADOW);
}

static void fill_vapic(struct vmx *s, void *at, unsigned int n)
{
	((uint8_t *)at)[0x80] = n ? 0x70 : 0x50;
}

/* L2 reaches it where it lies: linear addresses from 4 MiB on. */
static void use_access_page(struct vmx *s)
{
	((uint64_t *)vmx_at(s, GUEST_TABLES + 0x2000))[SLOTMEM_BASE >> 21] = SLOTMEM_BASE | 0x87;
	vmx_put(s, F_VIRTUAL_APIC, VAPIC);
	vmx_put(s, F_APIC_ACCESS, SLOTMEM);
	vmx_set(s, F_PROC, P_TPR_SHADOW);
	vmx_control2(s, P2_APIC_ACCESS);
}

static void fill_nothing(struct vmx *s, void *at, unsigned int n)
{
}

/* L2's IDT has a handler of HIGHER; the VM has a local APIC, by which L1's notification comes. */
static void use_posted(struct vmx *s)
{
	uint64_t *idt = vmx_at(s, IDT);

	memcpy(idt, vmx_at(s, GUEST_IDT), 16 * 32);
	for (unsigned int n = 0; n < 2; n++) {
		idt[2 * (HIGHER + n)] = (uint64_t)0x8e << 40 | 8 << 16 | (0x2800 + n * 0x100);
		VMX_CODE(s, 0x2800 + n * 0x100, 0xe6, (uint8_t)(FIRED + n), 0xb8, n, 0, 0, 0, HLT);
	}
	VMX_DO(s, 0xbb, ABS(0xfee00000), 0xc7, 0x83, ABS(0xf0), ABS(0x1ff));    /* mov ebx,APIC; SVR */
	vmx_put(s, 0x6818, IDT);
	vmx_put(s, 0x4812, 0xfff);
	vmx_set(s, F_PIN, P_EXT_INTR | P_POSTED);
	vmx_set(s, F_EXIT, X_ACK_INTR);
	vmx_set(s, F_PROC, P_TPR_SHADOW);
	vmx_clear(s, F_PROC, P_IO);
	vmx_put(s, F_POSTED_VECTOR, NOTIFY);
	vmx_put(s, F_POSTED_DESC, SLOTMEM);
	vmx_put(s, F_VIRTUAL_APIC, VAPIC);
	vmx_control2(s, P2_VIRTUAL_INTR);
}

static void fill_posted(struct vmx *s, void *at, unsigned int n)
{
	((uint64_t *)at)[HIGHER / 64] = 1ULL << (HIGHER % 64 + n);
	((uint64_t *)at)[4] = 1;
}

/* The notification is there when L2 begins, and taken when it looks for events: L2 has interrupts off until then. */
static uint64_t run_posted(struct vmx *s, const void *at)
{
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = NOTIFY };

	memset(vmx_at(s, VAPIC), 0, PAGE);
	vmx_put(s, F_INTR_STATUS, 0);
	vmx_put(s, F_RFLAGS, 2);
	vmx_get(s, F_RIP);
	api_ok(api_ioctl(s->g.vm, KVM_SIGNAL_MSI, &msi));
	return run_to_rax(s, at);
}

/* --- extended page tables ------------------------------------------------------------------------------------------- */

static void use_ept_table(struct vmx *s, uint64_t flags)
{
	vmx_ept(s, flags);
	((uint64_t *)vmx_at(s, VMX_EPT))[1024] = SLOTMEM | EPT_ALL;
	*(uint8_t *)vmx_at(s, DATA) = VALUE(0) & 0xff;
	*(uint8_t *)vmx_at(s, MORE) = VALUE(1) & 0xff;
}

static void use_ept(struct vmx *s)
{
	use_ept_table(s, 0);
}

static void use_ept_flags(struct vmx *s)
{
	use_ept_table(s, EPTP_AD);
}

/* The same pages as L1's, but that DATA is MORE the second time. */
static void fill_ept(struct vmx *s, void *at, unsigned int n)
{
	uint64_t *table = at;

	for (uint64_t page = 0; page < 512; page++)
		table[page] = page << 12 | EPT_ALL | EPT_WB;
	table[DATA >> 12] = (n ? MORE : DATA) | EPT_ALL | EPT_WB;
}

/* INVEPT of all contexts: what a page of memory has instead of another L2 need not see. */
static void forget(struct vmx *s)
{
	VMX_DO(s, 0xb8, 2, 0, 0, 0, 0x66, 0x0f, 0x38, 0x80, 0x04, 0x25, ABS(VMX_MSR_BITMAP));
}

static uint64_t run_to_al(struct vmx *s, const void *at)
{
	uint64_t rax;

	*vmx_reg(s, 0) = 0;
	rax = run_to_rax(s, at);
	return rax >> 32 ? rax : rax & 0xff;
}

static void use_log(struct vmx *s)
{
	vmx_ept(s, EPTP_AD);
	vmx_put(s, F_PML_ADDRESS, SLOTMEM);
	vmx_control2(s, P2_PML);
}

/* What the last entry of the log is. */
static uint64_t run_to_log(struct vmx *s, const void *at)
{
	uint64_t index, reason;

	*vmx_ept_entry(s, DATA) &= ~(uint64_t)EPT_D;
	forget(s);
	vmx_put(s, F_PML_INDEX, 511);
	reason = enter(s);
	if (reason != R_HLT)
		return NOT_HLT(reason);
	index = vmx_get(s, F_PML_INDEX);
	return index == 511 ? 0 : ((const uint64_t *)at)[index + 1];
}

static void use_eptp_list(struct vmx *s)
{
	vmx_ept(s, 0);
	vmx_put(s, F_EPTP_LIST, SLOTMEM);
	vmx_put(s, F_VMFUNC, 1);
	vmx_control2(s, P2_VMFUNC);
}

/* The second has none that can be. */
static void fill_eptp_list(struct vmx *s, void *at, unsigned int n)
{
	*(uint64_t *)at = n ? 0 : VMX_EPT | 3 << 3 | 6;
}

static void use_ve(struct vmx *s)
{
	vmx_ept(s, 0);
	*vmx_ept_entry(s, DATA) = 0;
	vmx_put(s, F_VE_INFO, SLOTMEM);
	vmx_control2(s, P2_VE);
}

/* The second is in use. */
static void fill_ve(struct vmx *s, void *at, unsigned int n)
{
	((uint32_t *)at)[1] = n ? ~0u : 0;
}

/* --- shadow VMCSs ---------------------------------------------------------------------------------------------------- */

static void use_link(struct vmx *s)
{
	use_shadow(s);
	vmx_put(s, F_LINK, SLOTMEM);
}

static void fill_link(struct vmx *s, void *at, unsigned int n)
{
	fill_vmcs(s, at, n);
	*(uint32_t *)at |= 1u << 31;
}

/* --- Hyper-V's: what L1 keeps in memory in the place of a VMCS; TLFS 16 ------------------------------------------ */

#define EVMCS(n) (VMX_FREE + 0x4000 + (n) * PAGE)
#define ASSIST (VMX_FREE + 0x6000)
#define LOCKS (VMX_FREE + 0x7000)       /* the partition assist page */
#define MSR_GUEST_OS_ID 0x40000000
#define MSR_VP_ASSIST 0x40000073
#define EVMCS_RIP 816
#define EVMCS_REASON 692
#define TRAP_AFTER_FLUSH 0x10000031
#define FLUSH_INPUT 0x6800UL            /* the space, flags, processors */
#define ALL_SPACES_AND_PROCESSORS 3

/* The fields that are used here: where the enlightened VMCS has them, and where KVM's own has. */
static const struct {
	uint16_t evmcs, vmcs, size;
} moved[] = {
	{ 8, 982, 14 }, { 40, 584, 24 }, { 80, 672, 8 }, { 92, 744, 4 }, { 96, 768, 4 }, { 100, 804, 4 }, { 120, 56, 8 },
	{ 128, 964, 16 }, { 144, 840, 32 }, { 176, 872, 8 }, { 184, 880, 32 }, { 216, 448, 64 }, { 280, 512, 16 },
	{ 416, 176, 8 }, { 544, 424, 24 }, { 568, 528, 8 }, { 592, 624, 24 }, { 616, 664, 8 }, { 768, 536, 8 },
	{ 776, 552, 8 }, { 788, 748, 4 }, { 796, 780, 4 }, { 816, 544, 8 },
};

/* What the VMCS that is current says; the second begins L2 elsewhere, where RAX is 1. */
static void put_evmcs(struct vmx *s, uint8_t *at, unsigned int n)
{
	struct { struct kvm_nested_state head; uint8_t vmcs[2 * 4096]; } now = { .head.size = sizeof(now) };

	api_ok(api_ioctl(s->g.vcpu, KVM_GET_NESTED_STATE, &now));
	memset(at, 0, PAGE);
	*(uint32_t *)at = 1;
	for (unsigned int k = 0; k < sizeof(moved) / sizeof(moved[0]); k++)
		memcpy(at + moved[k].evmcs, now.vmcs + moved[k].vmcs, moved[k].size);
	*(uint64_t *)(at + EVMCS_RIP) = VMX_L2 + 0x100 * n;
	((uint32_t *)at)[836 / 4] = 1;                  /* enlightenments: direct flush */
	*(uint64_t *)(at + 856) = LOCKS;
	VMX_CODE(s, VMX_L2 + 0x100, 0xb8, 1, 0, 0, 0, HLT);
}

static void put_assist(void *at, uint64_t evmcs)
{
	uint64_t *assist = (uint64_t *)((uint8_t *)at + 0x20);

	assist[0] = 1;                                  /* direct hypercalls */
	assist[1] = 1;
	assist[2] = evmcs;
}

/* Where the assist page is, and what it names. */
static void use_hyperv(struct vmx *s, uint64_t assist)
{
	assert_int_equal(guest_set_msr(&s->g, MSR_GUEST_OS_ID, 0x8100ULL << 48), 1);
	assert_int_equal(guest_set_msr(&s->g, MSR_VP_ASSIST, assist | 1), 1);
}

/* From the VMCS that is current, which an enlightened one then drives out. */
static void put_both(struct vmx *s)
{
	for (unsigned int n = 0; n < 2; n++)
		put_evmcs(s, vmx_at(s, EVMCS(n)), n);
}

static void use_evmcs(struct vmx *s)
{
	put_both(s);
	use_hyperv(s, ASSIST);
	put_assist(vmx_at(s, ASSIST), SLOTMEM);
}

static void fill_evmcs(struct vmx *s, void *at, unsigned int n)
{
	memcpy(at, vmx_at(s, EVMCS(n)), PAGE);
}

static void use_vp_assist(struct vmx *s)
{
	put_both(s);
	use_hyperv(s, SLOTMEM);
}

static void fill_vp_assist(struct vmx *s, void *at, unsigned int n)
{
	put_assist(at, EVMCS(n));
}

static uint64_t run_evmcs(struct vmx *s, const void *at)
{
	*(uint64_t *)((uint8_t *)vmx_at(s, EVMCS(0)) + EVMCS_RIP) = VMX_L2;
	*(uint64_t *)((uint8_t *)vmx_at(s, EVMCS(1)) + EVMCS_RIP) = VMX_L2 + 0x100;
	return run_to_rax(s, at);
}

/* Whether L1 wants to hear of L2's flush, which is served. */
static void use_locks(struct vmx *s)
{
	const uint64_t input[] = { 0, ALL_SPACES_AND_PROCESSORS, 0 };

	memcpy(vmx_at(s, FLUSH_INPUT), input, sizeof(input));
	use_vp_assist(s);
	*(uint64_t *)((uint8_t *)vmx_at(s, EVMCS(0)) + 856) = SLOTMEM;
	put_assist(vmx_at(s, ASSIST), EVMCS(0));
	use_hyperv(s, ASSIST);
}

static void fill_locks(struct vmx *s, void *at, unsigned int n)
{
	*(uint32_t *)at = n;
}

/* --- the table ------------------------------------------------------------------------------------------------------ */

struct row {
	const char *name;
	uint32_t with;                  /* secondary controls */
	enum { PLAIN, IRQCHIP, HYPERV } vm;
	uint8_t len, code[24];          /* L2's */
	void (*use)(struct vmx *s);
	void (*fill)(struct vmx *s, void *at, unsigned int n);
	uint64_t (*run)(struct vmx *s, const void *at);
	uint64_t first, second, absent; /* what that gives, by contents */
	enum { READ = 0, WRITTEN = 1 } how;     /* by the processor, with the first */
};

#define CODE(...) sizeof((const uint8_t[]){ __VA_ARGS__ }), { __VA_ARGS__ }

static const struct row rows[] = {
	{ "VMXON region", 0, PLAIN, CODE(HLT), use_pointer, fill_vmxon, do_vmxon, 0, CF, CF, READ },
	{ "VMCS", 0, PLAIN, CODE(HLT), use_pointer, fill_vmcs, do_vmptrld, VALUE(0), VALUE(1), VMX_FAIL + 11, WRITTEN },
	{ "I/O bitmap A", 0, PLAIN, CODE(OUT_DX(L2_PORT), HLT), use_io_a, fill_port, run, R_HLT, R_IO, R_IO, READ },
	{ "I/O bitmap B", 0, PLAIN, CODE(OUT_DX(0x8000 + L2_PORT), HLT), use_io_b, fill_port, run, R_HLT, R_IO, R_IO, READ },
	{ "MSR bitmap", 0, PLAIN, CODE(RDMSR(MSR_PAT), HLT), use_msr_bitmap, fill_msr, run, R_HLT, R_RDMSR, R_RDMSR, READ },
	{ "exit MSR-store area", 0, PLAIN, CODE(HLT), use_exit_store, fill_store, run_to_stored, PAT_RESET, VALUE(7),
	  SHUTDOWN, WRITTEN },
	{ "exit MSR-load area", 0, PLAIN, CODE(HLT), use_exit_load, fill_load, run_to_loaded, VALUE(0), VALUE(1),
	  NOT_HLT(SHUTDOWN), READ },
	{ "entry MSR-load area", 0, PLAIN, CODE(HLT), use_entry_load, fill_load, run_to_loaded, VALUE(0), VALUE(1),
	  NOT_HLT(FAILED(34)), READ },
	/* mov rax,cr8 */
	{ "virtual-APIC page, read", 0, PLAIN, CODE(0x44, 0x0f, 0x20, 0xc0, HLT), use_vapic, fill_vapic, run_to_rax, 5, 7,
	  NOT_HLT(VMX_FAIL + 7), READ },
	/* mov eax,5; mov cr8,rax; xor eax,eax; mov rax,cr8 */
	{ "virtual-APIC page, written", 0, PLAIN,
	  CODE(0xb8, 5, 0, 0, 0, 0x44, 0x0f, 0x22, 0xc0, 0x31, 0xc0, 0x44, 0x0f, 0x20, 0xc0, HLT), use_vapic, fill_vapic,
	  run_to_rax, 5, 5, NOT_HLT(VMX_FAIL + 7), WRITTEN },
	{ "APIC-access page", P2_APIC_ACCESS, PLAIN, CODE(LOAD(SLOTMEM), HLT), use_access_page, fill_nothing, run,
	  R_APIC_ACCESS, R_APIC_ACCESS, INTERNAL, READ },
	/* nop; sti; nop; nop */
	{ "posted-interrupt descriptor", P2_VIRTUAL_INTR, IRQCHIP, CODE(0x90, 0xfb, 0x90, 0x90, HLT), use_posted,
	  fill_posted, run_posted, 0, 1, NOT_HLT(INTERNAL), WRITTEN },
	{ "EPT", P2_EPT, PLAIN, CODE(LOAD(DATA), HLT), use_ept, fill_ept, run_to_al, VALUE(0) & 0xff, VALUE(1) & 0xff,
	  NOT_HLT(R_EPT_VIOLATION), READ },
	{ "EPT with accessed flags", P2_EPT, PLAIN, CODE(LOAD(DATA), HLT), use_ept_flags, fill_ept, run_to_al,
	  VALUE(0) & 0xff, VALUE(1) & 0xff, NOT_HLT(R_EPT_VIOLATION), WRITTEN },
	{ "log of modified pages", P2_EPT | P2_PML, PLAIN, CODE(STORE(DATA), HLT), use_log, fill_nothing, run_to_log,
	  DATA, DATA, 0, WRITTEN },
	/* xor eax,eax; xor ecx,ecx; vmfunc */
	{ "EPTP list", P2_EPT | P2_VMFUNC, PLAIN, CODE(0x31, 0xc0, 0x31, 0xc9, 0x0f, 0x01, 0xd4, HLT), use_eptp_list,
	  fill_eptp_list, run, R_HLT, R_VMFUNC, R_VMFUNC, READ },
	{ "#VE information area", P2_EPT | P2_VE, PLAIN, CODE(LOAD(DATA), HLT), use_ve, fill_ve, run, R_IO, R_EPT_VIOLATION,
	  R_EPT_VIOLATION, WRITTEN },
	{ "VMREAD bitmap", P2_SHADOW_VMCS, PLAIN, CODE(VMREAD_RAX(F_CR0_SHADOW), HLT), use_vmread, fill_field, run,
	  R_HLT, R_VMREAD, R_VMREAD, READ },
	{ "VMWRITE bitmap", P2_SHADOW_VMCS, PLAIN, CODE(VMWRITE_RAX(F_CR0_SHADOW), HLT), use_vmwrite, fill_field, run, R_HLT,
	  R_VMWRITE, R_VMWRITE, READ },
	{ "shadow VMCS, read", P2_SHADOW_VMCS, PLAIN, CODE(VMREAD_RAX(F_CR0_SHADOW), HLT), use_link, fill_link, run_to_rcx,
	  VALUE(0), VALUE(1), NOT_HLT(FAILED(33)), READ },
	/* mov ecx,7; write, read */
	{ "shadow VMCS, written", P2_SHADOW_VMCS, PLAIN,
	  CODE(0xb9, 7, 0, 0, 0, VMWRITE_RAX(F_CR0_SHADOW), 0x31, 0xc9, VMREAD_RAX(F_CR0_SHADOW), HLT), use_link, fill_link,
	  run_to_rcx, 7, 7, NOT_HLT(FAILED(33)), WRITTEN },
	/* xor eax,eax */
	{ "enlightened VMCS", 0, HYPERV, CODE(0x31, 0xc0, HLT), use_evmcs, fill_evmcs, run_to_rax, 0, 1,
	  NOT_HLT(EXCEPTION(UD)), WRITTEN },
	{ "VP assist page", 0, HYPERV, CODE(0x31, 0xc0, HLT), use_vp_assist, fill_vp_assist, run_evmcs, 0, 1,
	  NOT_HLT(VMX_FAIL), READ },
	/* mov ecx,2: a flush; mov edx,input; xor r8d,r8d; vmcall */
	{ "partition assist page", 0, HYPERV,
	  CODE(0xb9, 2, 0, 0, 0, 0xba, ABS(FLUSH_INPUT), 0x45, 0x31, 0xc0, 0x0f, 0x01, 0xc1, HLT), use_locks, fill_locks,
	  run_evmcs, 0, NOT_HLT(TRAP_AFTER_FLUSH), INVALID_INPUT, READ },
};

/* --- each of them ---------------------------------------------------------------------------------------------------- */

struct cell {
	struct vmx s;
	const struct row *row;
};

static void fill(void *guest, void *at, unsigned int n)
{
	struct cell *c = guest;

	c->row->fill(&c->s, at, n);
}

static uint64_t run_row(void *guest, const struct slotmem *m)
{
	struct cell *c = guest;

	return c->row->run(&c->s, slotmem_at(m));
}

static void forget_all(void *guest)
{
	struct cell *c = guest;

	if (c->row->with & P2_EPT)
		forget(&c->s);
}

/* A guest whose VMCS names the slot, which it has not used yet; false: none for this device. */
static bool start(struct cell *c, const struct slotmem *m)
{
	static const struct kvm_cpuid_entry2 leaves[] = {
		{ .function = 0x40000000, .eax = 0x4000000a, .ebx = 0x7263694d, .ecx = 0x666f736f, .edx = 0x76482074 },
		{ .function = 0x40000001, .eax = 0x31237648 },
		{ .function = 0x40000003, .eax = 1 << 5 | 1 << 6 },
		{ .function = 0x4000000a, .eax = 0x101 | 1 << 17 },
	};
	const struct row *row = c->row;
	uint16_t versions;

	/* A notification from before the entry is an interrupt of L1's to a kernel's; no kernel's has all of Hyper-V's. */
	if (api_real() && row->vm != PLAIN)
		return false;
	c->s = vmx_start_with(row->code, row->len, row->with, row->vm == IRQCHIP, leaves, row->vm == HYPERV ? 4 : 0);
	if (row->vm == HYPERV)
		api_ok(guest_enable(c->s.g.vcpu, KVM_CAP_HYPERV_ENLIGHTENED_VMCS, (uintptr_t)&versions));
	slotmem_set(c->s.g.vm, m);
	row->use(&c->s);
	vmx_get(&c->s, F_RIP);
	return true;
}

static bool begin(unsigned int n, const struct slotmem *m, struct slotmem_user *u)
{
	const struct row *row = &rows[n];
	struct cell *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	c->row = row;
	if (!start(c, m)) {
		free(c);
		return false;
	}
	/* A table that is walked is like any memory: it has to be there. */
	*u = (struct slotmem_user){
		.name = row->name, .guest = c, .vm = c->s.g.vm, .fill = fill, .run = run_row, .forget = forget_all,
		.first = row->first, .second = row->second, .absent = row->absent,
		.unreadable = row->fill == fill_ept ? NOT_HLT(FAULT) : row->absent, .written = row->how == WRITTEN,
	};
	return true;
}

static void end(void *guest)
{
	struct cell *c = guest;

	vmx_end(&c->s);
	free(c);
}

static const struct slotmem_guests guests = { sizeof(rows) / sizeof(rows[0]), begin, end };

SLOTMEM_TESTS(guests);

API_MAIN(tests)
