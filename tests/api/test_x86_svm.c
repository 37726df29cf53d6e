// SPDX-License-Identifier: MIT
/* Nested SVM: what L2 shares with L1 and what not, and each feature of CPUID 0x8000000A with and without it. */
#include "svm.h"

#include <stdlib.h>

#define V_IRQ (1u << 8)
#define V_GIF (1u << 9)
#define V_NMI (1u << 11)
#define V_NMI_MASK (1u << 12)
#define V_IGNORE_TPR (1u << 20)
#define V_INTR_MASKING (1u << 24)
#define V_GIF_ENABLE (1u << 25)
#define V_NMI_ENABLE (1u << 26)
#define W3_NMI (1u << 1)
#define W3_SMI (1u << 2)
#define W3_INIT (1u << 3)
#define W3_VINTR (1u << 4)
#define W3_PAUSE (1u << 23)
#define MSR_DEBUGCTL 0x1d9
#define MSR_TSC_RATIO 0xc0000104

static uint64_t msr_of(struct svm *s, uint32_t index)
{
	uint64_t value;

	assert_int_equal(guest_get_msr(&s->g, index, &value), 1);
	return value;
}

/* A counter of this engine's, which a kernel has not: 0 there. */
static uint64_t count(struct svm *s, const char *name)
{
	return api_real() ? 0 : guest_stat(s->g.vcpu, name);
}

/* Whether the feature behind the counter @name was at work, or not. */
static void assert_used(struct svm *s, const char *name, bool used)
{
	if (!api_real() && !!count(s, name) != used)
		fail_msg("%s: %lu", name, count(s, name));
}

/* --- in and out ------------------------------------------------------------------------------------------ */

static void test_counters(void **state)
{
	struct svm s = SVM(0, 0, VMMCALL);
	uint64_t runs = guest_stat(s.g.vcpu, "nested_run");
	uint64_t exits = count(&s, "nested_exits");

	for (unsigned int n = 0; n < 5; n++)
		svm_expect(&s, EXIT_VMMCALL);
	assert_int_equal(guest_stat(s.g.vcpu, "nested_run") - runs, 5);
	if (!api_real())
		assert_int_equal(guest_stat(s.g.vcpu, "nested_exits") - exits, 5);
	svm_end(&s);
}

/* What an exit writes: while L2 runs, all of the VMCB is overwritten, and what the processor does not own stays so. */
static void test_exit_writes_its_own(void **state)
{
	static const struct {
		uint16_t from, to;
	} own[] = {
		{ C_INT_CTL, C_INT_CTL + 4 }, { C_INT_STATE, C_NESTED_CTL }, { C_EVENT_INJ, C_EVENT_INJ + 8 },
		{ C_NEXT_RIP, C_INSN_LEN + 16 }, { S_ES, S_FS }, { S_GDTR, S_LDTR }, { S_IDTR, S_TR }, { S_CPL, S_CPL + 1 },
		{ S_EFER, S_EFER + 8 }, { S_CR4, S_RIP + 8 }, { S_RSP, S_RSP + 8 }, { S_RAX, S_STAR }, { S_CR2, S_CR2 + 8 },
	};
	/* out 0x20, al; vmmcall */
	struct svm s = SVM(SVM_NRIPS | SVM_DECODE, 0, 0xe6, 0x20, VMMCALL);
	uint8_t was[4096];
	unsigned int n = 0;

	guest_port(&s.g, 0x20);
	memset(s.vmcb, 0xa5, 4096);
	svm_expect(&s, EXIT_VMMCALL);
	memcpy(was, s.vmcb, 4096);
	for (unsigned int at = 0; at < 4096; at++) {
		if (n < sizeof(own) / sizeof(own[0]) && at == own[n].from)
			at = own[n++].to;
		if (was[at] != 0xa5)
			fail_msg("byte %#x of the VMCB was written", at);
	}
	assert_int_equal(svm_get8(&s, S_RIP), SVM_L2 + 2);
	assert_int_equal(svm_get8(&s, S_RSP), SVM_L2_STACK);
	assert_int_equal(svm_get(&s, S_CPL, 1), 0);
	svm_end(&s);
}

static void test_vmsave_writes_its_own(void **state)
{
	struct svm s = SVM(0, 0, VMMCALL);

	/* mov eax, SVM_FREE; vmsave; out 0x20, al */
	SVM_CODE(&s, GUEST_CODE, 0xb8, SVM_FREE & 0xff, SVM_FREE >> 8 & 0xff, SVM_FREE >> 16 & 0xff, 0, 0x0f, 0x01, 0xdb, 0xe6, 0x20);
	memset(s.mem + (SVM_FREE - SVM_MEM), 0xa5, 4096);
	assert_int_equal(guest_set_msr(&s.g, 0xc0000102, 0x123456), 1);
	guest_port(&s.g, 0x20);
	s.vmcb = s.mem + (SVM_FREE - SVM_MEM);
	assert_int_equal(svm_get8(&s, S_KERNEL_GS_BASE), 0x123456);
	assert_int_equal(svm_get8(&s, S_FS + 8), 0);
	for (unsigned int at = 0; at < 4096; at++) {
		bool own = (at >= S_FS && at < S_GDTR) || (at >= S_LDTR && at < S_IDTR) || (at >= S_TR && at < S_TR + 16) ||
			   (at >= S_STAR && at < S_CR2);

		if (!own && s.vmcb[at] != 0xa5)
			fail_msg("byte %#x of the VMCB was written", at);
	}
	svm_end(&s);
}

/* Each group of fields is changed with all clean bits set, which says that none was. */
static void test_clean_bits_are_not_trusted(void **state)
{
	/* mov eax, cr8; cpuid; rdtsc; rdmsr; in al, 0x71; mov rdx, dr7; str ax; vmmcall */
	struct svm s = SVM(0, 0, 0x0f, 0xa2, VMMCALL);

	svm_npt(&s);
	svm_expect(&s, EXIT_VMMCALL);
	svm_put4(&s, C_CLEAN, 0xffffffff);
	/* Intercepts. */
	svm_put4(&s, C_WORD3, SVM_WORD3 | 1u << 18);
	svm_rewind(&s);
	svm_expect(&s, 0x72);
	/* The map of ports. */
	SVM_CODE(&s, SVM_L2, 0xe4, 0x71, VMMCALL);
	svm_put4(&s, C_WORD3, SVM_WORD3 | 1u << 27);
	svm_put8(&s, C_IOPM, SVM_FREE);
	s.mem[SVM_FREE - SVM_MEM + 0x71 / 8] = 1 << 0x71 % 8;
	svm_expect(&s, 0x7b);
	/* The ASID, where 0 is invalid. */
	svm_put4(&s, C_ASID, 0);
	svm_expect(&s, EXIT_INVALID);
	svm_put4(&s, C_ASID, 2);
	/* V_TPR and the like. */
	SVM_CODE(&s, SVM_L2, 0x44, 0x0f, 0x20, 0xc0, VMMCALL);
	svm_put4(&s, C_INT_CTL, V_INTR_MASKING | 7);
	svm_expect(&s, EXIT_VMMCALL);
	assert_int_equal(svm_get8(&s, S_RAX), 7);
	/* Nested paging. */
	svm_put8(&s, C_NESTED_CR3, SVM_NPT + 0x1000);
	svm_rewind(&s);
	svm_expect(&s, EXIT_NPF);
	svm_put8(&s, C_NESTED_CR3, SVM_NPT);
	/* CR0 to CR4, EFER. */
	svm_put8(&s, S_CR0, svm_get8(&s, S_CR0) | 1ULL << 32);
	svm_expect(&s, EXIT_INVALID);
	svm_put8(&s, S_CR0, svm_get8(&s, S_CR0) & 0xffffffff);
	/* DR7. */
	SVM_CODE(&s, SVM_L2, 0x0f, 0x21, 0xf8, VMMCALL);
	svm_put8(&s, S_DR7, 0x401);
	svm_rewind(&s);
	svm_expect(&s, EXIT_VMMCALL);
	assert_int_equal(svm_get8(&s, S_RAX), 0x401);
	svm_put8(&s, S_DR7, 0x400);
	/* IDT and GDT. */
	SVM_CODE(&s, SVM_L2, 0x0f, 0x0b);
	svm_put4(&s, S_IDTR + 4, 0);
	svm_rewind(&s);
	svm_expect(&s, EXIT_SHUTDOWN);
	/* Segments. */
	svm_put(&s, S_CS + 2, 2, 0x69b);
	svm_expect(&s, EXIT_INVALID);
	svm_put(&s, S_CS + 2, 2, 0x29b);
	/* CR2. */
	SVM_CODE(&s, SVM_L2, 0x0f, 0x20, 0xd0, VMMCALL);
	svm_put8(&s, S_CR2, 0x7777);
	svm_expect(&s, EXIT_VMMCALL);
	assert_int_equal(svm_get8(&s, S_RAX), 0x7777);
	svm_end(&s);
}

/* --- INIT, shutdown ------------------------------------------------------------------------------------------ */

/* An INIT, by the client. */
static void latch_init(struct svm *s)
{
	struct kvm_vcpu_events e;

	api_ok(api_ioctl(s->g.vcpu, KVM_GET_VCPU_EVENTS, &e));
	e.flags |= KVM_VCPUEVENT_VALID_SMM;
	e.smi.latched_init = 1;
	api_ok(api_ioctl(s->g.vcpu, KVM_SET_VCPU_EVENTS, &e));
}

/* Was there a reset?  It starts where nothing is; which exit that makes is not of interest. */
static void expect_reset(struct svm *s)
{
	struct kvm_sregs k;

	api_ioctl(s->g.vcpu, KVM_RUN, NULL);
	api_ok(api_ioctl(s->g.vcpu, KVM_GET_SREGS, &k));
	assert_int_equal(k.cs.base, 0xffff0000);
	assert_int_equal(guest_regs(&s->g).rip, 0xfff0);
	assert_int_equal(k.efer & 1 << 12, 0);
}

static void test_init(void **state)
{
	static const uint8_t outs[] = { 0xe6, 0x30, VMMCALL };
	struct svm s = svm_start(outs, sizeof(outs), 0, 0, true);

	/* Intercepted: L1 hears of it, and while GIF is clear it waits. */
	svm_put4(&s, C_WORD3, SVM_WORD3 | W3_INIT);
	guest_port(&s.g, 0x30);
	latch_init(&s);
	svm_expect(&s, 0x63);
	assert_int_equal(svm_get8(&s, S_RIP), SVM_L2 + 2);
	/* out 0x31, al; stgi; out 0x32, al */
	SVM_CODE(&s, GUEST_CODE + 10, 0xe6, 0x31, 0x0f, 0x01, 0xdc, 0xe6, 0x32);
	guest_port(&s.g, 0x31);
	expect_reset(&s);
	svm_end(&s);
	/* Not intercepted: L2's end is the CPU's. */
	s = svm_start(outs, sizeof(outs), 0, 0, true);
	guest_port(&s.g, 0x30);
	latch_init(&s);
	expect_reset(&s);
	svm_end(&s);
}

/* GIF, without L2. */
static void test_init_waits_for_gif(void **state)
{
	static const uint8_t none[] = { VMMCALL };
	struct svm s = svm_start(none, sizeof(none), 0, 0, true);

	/* clgi; out 0x30, al; out 0x31, al; stgi; out 0x32, al */
	SVM_CODE(&s, GUEST_CODE, 0x0f, 0x01, 0xdd, 0xe6, 0x30, 0xe6, 0x31, 0x0f, 0x01, 0xdc, 0xe6, 0x32);
	guest_port(&s.g, 0x30);
	latch_init(&s);
	guest_port(&s.g, 0x31);
	expect_reset(&s);
	svm_end(&s);
}

static void test_shutdown(void **state)
{
	struct svm s = SVM(0, 0, 0x0f, 0x0b);

	svm_put4(&s, S_IDTR + 4, 0);
	svm_expect(&s, EXIT_SHUTDOWN);
	svm_put4(&s, C_WORD3, 0);
	guest_run(&s.g, KVM_EXIT_SHUTDOWN);
	svm_end(&s);
}

/* The client's triple fault counts as the guest's. */
static void test_pending_triple_fault(void **state)
{
	struct svm s = SVM(0, 0, 0xe6, 0x20, 0xe6, 0x20, VMMCALL);
	struct kvm_vcpu_events e;

	if (guest_enable(s.g.vm, KVM_CAP_X86_TRIPLE_FAULT_EVENT, 1)) {
		svm_end(&s);
		skip();
	}
	guest_port(&s.g, 0x20);
	api_ok(api_ioctl(s.g.vcpu, KVM_GET_VCPU_EVENTS, &e));
	e.flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
	e.triple_fault.pending = 1;
	/* What was to be delivered is told. */
	e.exception.injected = 1;
	e.exception.nr = 13;
	e.exception.has_error_code = 1;
	e.exception.error_code = 0x18;
	api_ok(api_ioctl(s.g.vcpu, KVM_SET_VCPU_EVENTS, &e));
	svm_expect(&s, EXIT_SHUTDOWN);
	assert_int_equal(svm_get8(&s, C_EXIT_INT_INFO), 0x18ULL << 32 | 1ULL << 31 | 1 << 11 | 3 << 8 | 13);
	svm_end(&s);
}

/* L1 of 32 bits with PAE, and its tables at SVM_FREE; L2 stays in 64-bit mode. */
static uint64_t *pae_l1(struct svm *s)
{
	uint64_t *top = (uint64_t *)(s->mem + (SVM_FREE - SVM_MEM));
	struct kvm_sregs k;

	top[0] = (GUEST_TABLES + 0x2000) | 1;
	api_ok(api_ioctl(s->g.vcpu, KVM_GET_SREGS, &k));
	k.efer = 1 << 12;
	k.cr3 = SVM_FREE;
	k.cs.l = 0;
	k.cs.db = 1;
	api_ok(api_ioctl(s->g.vcpu, KVM_SET_SREGS, &k));
	return top;
}

/* Nested tables have the format of L1's own, whatever L2's mode. */
static void test_npt_of_pae_l1(void **state)
{
	struct svm s = SVM(SVM_NPT_BIT, 0, VMMCALL);
	uint64_t *nested = pae_l1(&s) + 512, *directory = nested + 512;

	nested[0] = (SVM_FREE + 0x2000) | 1;
	directory[0] = 0x87;
	svm_put8(&s, C_NESTED_CTL, 1);
	svm_put8(&s, C_NESTED_CR3, SVM_FREE + 0x1000);
	svm_expect(&s, EXIT_VMMCALL);
	assert_used(&s, "slat_walks", true);
	/* Of L2's own tables, which are walked first. */
	directory[0] = 0x83;
	svm_put(&s, C_TLB, 1, 1);
	svm_rewind(&s);
	svm_expect(&s, EXIT_NPF);
	assert_int_equal(svm_get8(&s, C_INFO1), 1ULL << 33 | 7);
	assert_int_equal(svm_get8(&s, C_INFO2), GUEST_TABLES);
	/* They end at 4 GiB. */
	directory[0] = 0x87;
	svm_put(&s, C_TLB, 1, 1);
	svm_put8(&s, S_CR3, 1ULL << 32);
	svm_expect(&s, EXIT_NPF);
	assert_int_equal(svm_get8(&s, C_INFO1), 1ULL << 33 | 6);
	assert_int_equal(svm_get8(&s, C_INFO2), 1ULL << 32);
	svm_end(&s);
}

/* The same without PAE: tables of two levels. */
static void test_npt_of_legacy_l1(void **state)
{
	struct svm s = SVM(SVM_NPT_BIT, 0, VMMCALL);
	uint32_t *table = (uint32_t *)(s.mem + (SVM_FREE - SVM_MEM));
	struct kvm_sregs k;

	pae_l1(&s);
	api_ok(api_ioctl(s.g.vcpu, KVM_GET_SREGS, &k));
	k.cr4 = 1 << 4;
	api_ok(api_ioctl(s.g.vcpu, KVM_SET_SREGS, &k));
	memset(table, 0, PAGE);
	table[0] = 0x87;
	svm_put8(&s, C_NESTED_CTL, 1);
	svm_put8(&s, C_NESTED_CR3, SVM_FREE);
	svm_expect(&s, EXIT_VMMCALL);
	/* Dirty by now; L1's tables are the same. */
	assert_int_equal(table[0], 0xe7);
	svm_put8(&s, S_CR3, 0x400000);
	svm_put(&s, C_TLB, 1, 1);
	svm_expect(&s, EXIT_NPF);
	assert_int_equal(svm_get8(&s, C_INFO1), 1ULL << 33 | 6);
	svm_end(&s);
}

/* PAE's top entries are loaded as L1 gets on, and bad ones are its end. */
static void test_pdptes_of_l1(void **state)
{
	struct svm s = SVM(0, 0, 0xe6, 0x20, VMMCALL);
	uint64_t *top = pae_l1(&s);

	guest_port(&s.g, 0x20);
	svm_expect(&s, EXIT_VMMCALL);
	svm_rewind(&s);
	guest_port(&s.g, 0x20);
	top[1] = ~0ULL;
	guest_run(&s.g, KVM_EXIT_SHUTDOWN);
	svm_end(&s);
}

/* --- last branches ---------------------------------------------------------------------------------------------- */

/* mov ecx, DEBUGCTL; mov eax, n; xor edx, edx; wrmsr: 14 bytes */
#define WRITE_DEBUGCTL(n) 0xb9, 0xd9, 0x01, 0, 0, 0xb8, n, 0, 0, 0, 0x31, 0xd2, 0x0f, 0x30

static void expect_branch(struct svm *s, uint64_t from, uint64_t to)
{
	assert_int_equal(msr_of(s, 0x1db), from);
	assert_int_equal(msr_of(s, 0x1dc), to);
}

/* Of L1's own: taken branches, and no others; exceptions; nothing without DebugCtl.LBR. */
static void test_last_branch(void **state)
{
	static const struct {
		uint8_t len, code[8];
		uint8_t from, to;       /* beyond the WRMSR; 0, 0: none */
	} rows[] = {
#define I(...) sizeof((const uint8_t[]){ __VA_ARGS__ }), { __VA_ARGS__ }
		{ I(0xeb, 0x01, 0x90), 0, 3 },                  /* jmp */
		{ I(0x90, 0x90, 0xeb, 0x00), 2, 4 },            /* jmp to the next */
		{ I(0xe8, 0, 0, 0, 0), 0, 5 },                  /* call to the next */
		{ I(0x31, 0xc0, 0x74, 0x01, 0x90), 2, 5 },      /* xor eax, eax; jz */
		{ I(0x31, 0xc0, 0x75, 0x01, 0x90), 0, 0 },      /* jnz */
	};

	for (unsigned int n = 0; n < 2 * sizeof(rows) / sizeof(rows[0]); n++) {
		bool on = n & 1;
		const uint8_t wrmsr[] = { WRITE_DEBUGCTL(on) }, out[] = { 0xe6, 0x20 };
		uint64_t at = GUEST_CODE + sizeof(wrmsr);
		struct svm s = SVM(0, 0, VMMCALL);

		SET(&s.g, rsp, 0x9000);
		svm_code(&s, GUEST_CODE, wrmsr, sizeof(wrmsr));
		svm_code(&s, (uint16_t)at, rows[n / 2].code, rows[n / 2].len);
		svm_code(&s, (uint16_t)(at + rows[n / 2].len), out, sizeof(out));
		guest_port(&s.g, 0x20);
		assert_int_equal(msr_of(&s, MSR_DEBUGCTL), on);
		if (on && rows[n / 2].to)
			expect_branch(&s, at + rows[n / 2].from, at + rows[n / 2].to);
		else
			expect_branch(&s, 0, 0);
		assert_used(&s, "branch_records", on && rows[n / 2].to);
		svm_end(&s);
	}
}

static void test_last_branch_before_exception(void **state)
{
	static const uint8_t code[] = { WRITE_DEBUGCTL(1), 0xeb, 0x01, 0x90, 0x0f, 0x0b };
	uint64_t jmp = GUEST_CODE + 14;
	struct svm s = SVM(0, 0, VMMCALL);

	SET(&s.g, rsp, 0x9000);
	svm_code(&s, GUEST_CODE, code, sizeof(code));
	guest_port(&s.g, SVM_FAULT + 6);
	assert_int_equal(msr_of(&s, 0x1dd), jmp);
	assert_int_equal(msr_of(&s, 0x1de), jmp + 3);
	expect_branch(&s, jmp + 3, 0x3000 + 6 * 16);
	assert_int_equal(msr_of(&s, MSR_DEBUGCTL), 1);
	svm_end(&s);
	/* A debug exception ends it: int1 */
	s = SVM(0, 0, VMMCALL);
	SET(&s.g, rsp, 0x9000);
	svm_code(&s, GUEST_CODE, code, sizeof(code));
	SVM_CODE(&s, (uint16_t)(jmp + 3), 0xf1);
	guest_port(&s.g, SVM_FAULT + 1);
	expect_branch(&s, jmp, jmp + 3);
	assert_int_equal(msr_of(&s, MSR_DEBUGCTL), 0);
	svm_end(&s);
}

static void last_branch_of_l2(uint32_t without, bool own)
{
	/* jmp +1; nop; vmmcall */
	struct svm s = SVM(SVM_LBRV, without, 0xeb, 0x01, 0x90, VMMCALL);

	assert_int_equal(guest_set_msr(&s.g, MSR_DEBUGCTL, own ? 0 : 1), 1);
	svm_put8(&s, C_VIRT_EXT, 1);
	svm_put8(&s, S_DEBUGCTL, own);
	svm_put8(&s, S_BR_FROM, 0x1111);
	svm_put8(&s, S_INT_FROM, 0x2222);
	svm_expect(&s, EXIT_VMMCALL);
	if (own) {
		assert_int_equal(svm_get8(&s, S_BR_FROM), SVM_L2);
		assert_int_equal(svm_get8(&s, S_BR_TO), SVM_L2 + 3);
		assert_int_equal(svm_get8(&s, S_INT_FROM), 0x2222);
		assert_int_equal(svm_get8(&s, S_DEBUGCTL), 1);
		assert_int_equal(msr_of(&s, MSR_DEBUGCTL), 0);
		expect_branch(&s, 0, 0);
	} else {
		/* There is one set of registers, and the VMCB's are not looked at. */
		assert_int_equal(svm_get8(&s, S_BR_FROM), 0x1111);
		assert_int_equal(svm_get8(&s, S_BR_TO), 0);
		assert_int_equal(msr_of(&s, MSR_DEBUGCTL), 1);
		expect_branch(&s, SVM_L2, SVM_L2 + 3);
	}
	svm_end(&s);
}

static void test_lbr_virtualization(void **state)
{
	last_branch_of_l2(0, true);
	last_branch_of_l2(SVM_LBRV, false);
}

static void test_debugctl_bits(void **state)
{
	struct svm s = SVM(0, 0, VMMCALL);

	assert_int_equal(guest_set_msr(&s.g, MSR_DEBUGCTL, 0x3f), 1);
	assert_int_equal(guest_set_msr(&s.g, MSR_DEBUGCTL, 0x40), 0);
	assert_int_equal(msr_of(&s, MSR_DEBUGCTL), 0x3f);
	svm_end(&s);
}

/* --- the PAUSE filter ---------------------------------------------------------------------------------------------- */

/* mov ebx, n; 1: pause; dec ebx; jnz 1b; mov ebx, m; 2: dec ebx; jnz 2b; mov ebx, n; 3: pause; dec ebx; jnz 3b; vmmcall */
#define PAUSES(n, m) \
	0xbb, n, 0, 0, 0, 0xf3, 0x90, 0xff, 0xcb, 0x75, 0xfa, 0xbb, (m) & 0xff, (m) >> 8, 0, 0, 0xff, 0xcb, 0x75, 0xfc, \
	0xbb, n, 0, 0, 0, 0xf3, 0x90, 0xff, 0xcb, 0x75, 0xfa, VMMCALL

static uint64_t pauses(uint32_t without, uint16_t filter, uint16_t threshold)
{
	struct svm s = SVM(SVM_PAUSE | SVM_PAUSE_THRESHOLD, without, PAUSES(20, 1000));
	uint64_t code;

	svm_put4(&s, C_WORD3, SVM_WORD3 | W3_PAUSE);
	svm_put(&s, C_PAUSE_COUNT, 2, filter);
	svm_put(&s, C_PAUSE_THRESHOLD, 2, threshold);
	code = svm_run(&s);
	assert_used(&s, "svm_pauses_filtered", filter && !(without & SVM_PAUSE));
	if (code == 0x77)
		code |= guest_regs(&s.g).rbx << 32;
	svm_end(&s);
	return code;
}

/* With an exit, what is left of the loop's count. */
static void test_pause_filter(void **state)
{
	uint64_t each = 0x77 | 20ULL << 32;

	assert_int_equal(pauses(0, 0, 0), each);
	assert_int_equal(pauses(0, 5, 0), 0x77 | 15ULL << 32);
	assert_int_equal(pauses(0, 40, 0), EXIT_VMMCALL);
	assert_int_equal(pauses(0, 39, 0), 0x77 | 1ULL << 32);
	/* The time between the loops is above the threshold, or below. */
	assert_int_equal(pauses(0, 20, 500), EXIT_VMMCALL);
	assert_int_equal(pauses(0, 20, 60000), 0x77 | 20ULL << 32);
	/* Without the threshold; without either. */
	assert_int_equal(pauses(SVM_PAUSE_THRESHOLD, 20, 500), 0x77 | 20ULL << 32);
	assert_int_equal(pauses(SVM_PAUSE | SVM_PAUSE_THRESHOLD, 40, 500), each);
}

/* --- physical interrupts --------------------------------------------------------------------------------- */

#define VECTOR_30 (SVM_FAULT + 30)
#define W3_INTR 1u

/* L1's APIC is on, and its IF as told; behind the exit GIF is set, and an interrupt that waits comes in. */
static struct svm with_apic(bool l1_if, const uint8_t *code, size_t n)
{
	/* mov edx, 0xfee000f0; mov dword [rdx], 0x1ff; sti; mov eax, SVM_VMCB; vmrun; out SVM_EXITED, al */
	static const uint8_t l1[] = {
		0xba, 0xf0, 0x00, 0xe0, 0xfe, 0xc7, 0x02, 0xff, 0x01, 0, 0, 0xfb, 0xb8, 0, 0, 0x10, 0, 0x0f, 0x01, 0xd8,
		0xe6, SVM_EXITED,
		/* sti; stgi; nop; out 0x33, al */
		0xfb, 0x0f, 0x01, 0xdc, 0x90, 0xe6, 0x33,
	};
	struct svm s = svm_start(code, n, 0, 0, true);

	svm_code(&s, GUEST_CODE, l1, sizeof(l1));
	if (!l1_if)
		SVM_CODE(&s, GUEST_CODE + 11, 0xfa);
	SET(&s.g, rsp, 0x9800);
	return s;
}

static void interrupt(struct svm *s)
{
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = 30 };

	api_ok(api_ioctl(s->g.vm, KVM_SIGNAL_MSI, &msi));
}

/* What becomes of an interrupt: L1 is told, L2 takes it, or it waits for L1's IF or L2's. */
static const struct {
	bool intercept, masking, l1_if, l2_if;
	uint16_t port;
} interrupt_rows[] = {
	{ true, true, true, true, SVM_EXITED }, { true, true, true, false, SVM_EXITED }, { true, true, false, true, 0x31 },
	{ false, true, true, false, VECTOR_30 }, { false, true, false, true, 0x31 },
	{ true, false, false, true, SVM_EXITED }, { true, false, true, false, 0x31 },
	{ false, false, false, true, VECTOR_30 }, { false, false, true, false, 0x31 },
};

static void test_interrupts(void **state)
{
	for (unsigned int n = 0; n < sizeof(interrupt_rows) / sizeof(interrupt_rows[0]); n++) {
		/* sti or cli; out 0x30, al; out 0x31, al; vmmcall */
		const uint8_t code[] = { interrupt_rows[n].l2_if ? 0xfb : 0xfa, 0xe6, 0x30, 0xe6, 0x31, VMMCALL };
		struct svm s = with_apic(interrupt_rows[n].l1_if, code, sizeof(code));

		svm_put4(&s, C_WORD3, SVM_WORD3 | (interrupt_rows[n].intercept ? W3_INTR : 0));
		svm_put4(&s, C_INT_CTL, interrupt_rows[n].masking ? V_INTR_MASKING : 0);
		guest_port(&s.g, 0x30);
		interrupt(&s);
		guest_run(&s.g, KVM_EXIT_IO);
		if (s.g.run->io.port != interrupt_rows[n].port)
			fail_msg("row %u: port %#x", n, s.g.run->io.port);
		if (s.g.run->io.port == SVM_EXITED) {
			assert_int_equal(svm_get8(&s, C_EXIT_CODE), 0x60);
			assert_int_equal(svm_get8(&s, C_NEXT_RIP), 0);
			guest_port(&s.g, VECTOR_30);
		}
		svm_end(&s);
	}
}

/* L2 sleeps, without L1's knowing. */
static void test_halted(void **state)
{
	/* sti; out 0x30, al; nop; out 0x31, al */
	static const uint8_t code[] = { 0xfb, 0xe6, 0x30, 0x90, 0xe6, 0x31 };
	struct kvm_mp_state halted = { KVM_MP_STATE_HALTED };
	struct svm s = with_apic(true, code, sizeof(code));

	svm_put4(&s, C_WORD3, SVM_WORD3 | W3_INTR);
	svm_put4(&s, C_INT_CTL, V_INTR_MASKING);
	guest_port(&s.g, 0x30);
	api_ok(api_ioctl(s.g.vcpu, KVM_SET_MP_STATE, &halted));
	interrupt(&s);
	svm_expect(&s, 0x60);
	svm_end(&s);
	/* A virtual one wakes it as well. */
	s = with_apic(true, code, sizeof(code));
	svm_put4(&s, C_INT_CTL, V_INTR_MASKING | V_IRQ | V_IGNORE_TPR);
	svm_put4(&s, C_INT_VECTOR, 29);
	SVM_CODE(&s, SVM_L2, 0x90);
	guest_port(&s.g, 0x30);
	api_ok(api_ioctl(s.g.vcpu, KVM_SET_MP_STATE, &halted));
	api_ok(api_ioctl(s.g.vcpu, KVM_GET_MP_STATE, &halted));
	{
		struct kvm_regs r = guest_regs(&s.g);

		r.rflags |= 1 << 9;
		api_ok(api_ioctl(s.g.vcpu, KVM_SET_REGS, &r));
	}
	guest_port(&s.g, SVM_FAULT + 29);
	svm_end(&s);
}

/* An exception that the client has queued is L1's to hear of. */
static void test_queued_exception(void **state)
{
	struct svm s = SVM(0, 0, 0xe6, 0x20, VMMCALL);
	struct kvm_vcpu_events e;

	if (guest_enable(s.g.vm, KVM_CAP_EXCEPTION_PAYLOAD, 1)) {
		svm_end(&s);
		skip();
	}
	svm_put4(&s, C_EXCEPTIONS, 1 << 14);
	guest_port(&s.g, 0x20);
	api_ok(api_ioctl(s.g.vcpu, KVM_GET_VCPU_EVENTS, &e));
	e.flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
	e.exception.pending = 1;
	e.exception.nr = 14;
	e.exception.has_error_code = 1;
	e.exception.error_code = 2;
	e.exception_has_payload = 1;
	e.exception_payload = 0x654321;
	api_ok(api_ioctl(s.g.vcpu, KVM_SET_VCPU_EVENTS, &e));
	svm_expect(&s, 0x4e);
	assert_int_equal(svm_get8(&s, C_INFO1), 2);
	assert_int_equal(svm_get8(&s, C_INFO2), 0x654321);
	svm_end(&s);
}

/* --- virtual interrupts, GIF, NMIs ------------------------------------------------------------------------------------- */

/* A virtual interrupt waits while L2's GIF is clear. */
static void test_vgif(void **state)
{
	/* sti; clgi; out 0x20; stgi; nop; vmmcall */
	struct svm s = SVM(SVM_VGIF, 0, 0xfb, 0x0f, 0x01, 0xdd, 0xe6, 0x20, 0x0f, 0x01, 0xdc, 0x90, VMMCALL);

	svm_put4(&s, C_INT_CTL, V_INTR_MASKING | V_GIF_ENABLE | V_GIF | V_IGNORE_TPR);
	guest_port(&s.g, 0x20);
	svm_expect(&s, EXIT_VMMCALL);
	assert_int_equal(svm_get(&s, C_INT_CTL, 4) & V_GIF, V_GIF);
	/* Entered with it clear: the interrupt is not taken before STGI. */
	svm_put8(&s, S_RIP, SVM_L2 + 4);
	svm_put4(&s, C_INT_CTL, V_INTR_MASKING | V_GIF_ENABLE | V_IGNORE_TPR | V_IRQ);
	svm_put4(&s, C_INT_VECTOR, 20);
	guest_port(&s.g, 0x20);
	guest_port(&s.g, SVM_FAULT + 20);
	assert_used(&s, "svm_virtual_gif", true);
	assert_used(&s, "svm_virtual_irqs", true);
	svm_end(&s);
	/* CLGI is seen in the VMCB. */
	s = SVM(SVM_VGIF, 0, 0x0f, 0x01, 0xdd, VMMCALL);
	svm_put4(&s, C_INT_CTL, V_GIF_ENABLE | V_GIF);
	svm_expect(&s, EXIT_VMMCALL);
	assert_int_equal(svm_get(&s, C_INT_CTL, 4) & V_GIF, 0);
	svm_end(&s);
	/* Without the feature the bits are nothing, and the processor's own GIF is the one. */
	s = SVM(SVM_VGIF, SVM_VGIF, 0xfb, 0x90, VMMCALL);
	svm_put4(&s, C_INT_CTL, V_INTR_MASKING | V_GIF_ENABLE | V_IGNORE_TPR | V_IRQ);
	svm_put4(&s, C_INT_VECTOR, 20);
	guest_port(&s.g, SVM_FAULT + 20);
	assert_used(&s, "svm_virtual_gif", false);
	svm_end(&s);
}

/* By priority against V_TPR; the intercept is told instead. */
static void test_virtual_interrupt(void **state)
{
	struct svm s = SVM(0, 0, 0xfb, 0x90, VMMCALL);

	svm_put4(&s, C_INT_CTL, V_INTR_MASKING | V_IRQ | 4 << 16 | 4);
	svm_put4(&s, C_INT_VECTOR, 20);
	svm_expect(&s, EXIT_VMMCALL);
	assert_int_equal(svm_get(&s, C_INT_CTL, 4) & V_IRQ, V_IRQ);
	svm_put4(&s, C_INT_CTL, V_INTR_MASKING | V_IRQ | 5 << 16 | 4);
	svm_put4(&s, C_WORD3, SVM_WORD3 | W3_VINTR);
	svm_rewind(&s);
	svm_expect(&s, 0x64);
	svm_put4(&s, C_WORD3, SVM_WORD3);
	guest_port(&s.g, SVM_FAULT + 20);
	svm_end(&s);
}

static void test_vnmi(void **state)
{
	/* out 0x20; vmmcall; in the handler: out; hlt, then vmmcall; iretq */
	struct svm s = SVM(SVM_VNMI, 0, 0xe6, 0x20, VMMCALL);
	uint32_t on = V_NMI_ENABLE;

	SVM_CODE(&s, 0x3000 + 2 * 16, 0xe6, SVM_FAULT + 2, VMMCALL, 0x48, 0xcf);
	svm_put4(&s, C_WORD3, SVM_WORD3 | W3_NMI);
	svm_put4(&s, C_INT_CTL, on | V_NMI);
	guest_port(&s.g, SVM_FAULT + 2);
	svm_expect(&s, EXIT_VMMCALL);
	assert_int_equal(svm_get(&s, C_INT_CTL, 4), on | V_NMI_MASK);
	/* Another waits for the IRET. */
	svm_put4(&s, C_INT_CTL, on | V_NMI_MASK | V_NMI);
	svm_put8(&s, S_RIP, 0x3000 + 2 * 16 + 5);
	guest_port(&s.g, SVM_FAULT + 2);
	svm_expect(&s, EXIT_VMMCALL);
	assert_int_equal(svm_get(&s, C_INT_CTL, 4), on | V_NMI_MASK);
	/* None waits: L2 goes on. */
	svm_put8(&s, S_RIP, 0x3000 + 2 * 16 + 5);
	guest_port(&s.g, 0x20);
	svm_expect(&s, EXIT_VMMCALL);
	assert_int_equal(svm_get(&s, C_INT_CTL, 4), on);
	/* EVENTINJ's NMI masks too. */
	svm_rewind(&s);
	svm_put8(&s, C_EVENT_INJ, 1ULL << 31 | 2 << 8 | 2);
	guest_port(&s.g, SVM_FAULT + 2);
	svm_expect(&s, EXIT_VMMCALL);
	assert_int_equal(svm_get(&s, C_INT_CTL, 4), on | V_NMI_MASK);
	if (!api_real())
		assert_int_equal(count(&s, "svm_virtual_nmis"), 2);
	/* A physical one is L1's, masked or not, and is not L2's business. */
	svm_put8(&s, S_RIP, SVM_L2);
	guest_port(&s.g, 0x20);
	api_ok(api_ioctl(s.g.vcpu, KVM_NMI, NULL));
	svm_expect(&s, 0x61);
	assert_int_equal(svm_get(&s, C_INT_CTL, 4), on | V_NMI_MASK);
	svm_end(&s);
}

/*
 * An IRET that makes an exit is not complete: it will run again, or its exception be L2's, with virtual NMIs masked as
 * they were.  Nothing tells L1 of it, as VMX does.  APM 2, 15.21.10.
 */
static void test_vnmi_and_bad_iret(void **state)
{
	struct svm s = SVM(SVM_VNMI | SVM_NPT_BIT, 0, 0x48, 0xcf, VMMCALL);
	uint64_t *stack = (uint64_t *)(s.mem + (SVM_NPT_PT - SVM_MEM)) + 8;
	uint64_t frame[] = { SVM_L2 + 2, 0, 2, SVM_L2_STACK, 0 };
	uint32_t on = V_NMI_ENABLE;

	svm_npt(&s);
	svm_put8(&s, S_RSP, 0x8000);
	svm_put4(&s, C_WORD3, SVM_WORD3 | W3_NMI);
	svm_put4(&s, C_INT_CTL, on | V_NMI_MASK);
	*stack = 0;
	svm_expect(&s, EXIT_NPF);
	assert_int_equal(svm_get(&s, C_INT_CTL, 4), on | V_NMI_MASK);
	/* No code segment, and then a good one. */
	*stack = 0x8000 | 7;
	memcpy(s.g.mem + 0x8000, frame, sizeof(frame));
	svm_put4(&s, C_EXCEPTIONS, 1 << 13);
	svm_put(&s, C_TLB, 1, 1);
	svm_expect(&s, 0x40 + 13);
	assert_int_equal(svm_get(&s, C_INT_CTL, 4), on | V_NMI_MASK);
	frame[1] = 8;
	memcpy(s.g.mem + 0x8000, frame, sizeof(frame));
	svm_expect(&s, EXIT_VMMCALL);
	assert_int_equal(svm_get(&s, C_INT_CTL, 4), on);
	svm_end(&s);
}

/* V_NMI without the feature. */
static void test_no_vnmi(void **state)
{
	struct svm s = SVM(SVM_VNMI, SVM_VNMI, 0xe6, 0x20, VMMCALL);

	svm_put4(&s, C_WORD3, SVM_WORD3 | W3_NMI);
	svm_put4(&s, C_INT_CTL, V_NMI_ENABLE | V_NMI);
	guest_port(&s.g, 0x20);
	svm_expect(&s, EXIT_VMMCALL);
	assert_int_equal(svm_get(&s, C_INT_CTL, 4), V_NMI_ENABLE | V_NMI);
	assert_used(&s, "svm_virtual_nmis", false);
	svm_end(&s);
}

/* --- VMLOAD and VMSAVE of L2 -------------------------------------------------------------------------------------------- */

#define ELSEWHERE (SVM_FREE + 0x1000)

/* mov eax, 0x8000; vmsave; vmload; vmmcall */
#define SAVE_AND_LOAD 0xb8, 0x00, 0x80, 0, 0, 0x0f, 0x01, 0xdb, 0x0f, 0x01, 0xda, VMMCALL

static uint64_t saved_at(struct svm *s, uint64_t gpa)
{
	uint64_t value;

	memcpy(&value, gpa >= SVM_MEM ? s->mem + (gpa - SVM_MEM) + S_KERNEL_GS_BASE : s->g.mem + gpa + S_KERNEL_GS_BASE, 8);
	return value;
}

static void virtual_vmsave(uint32_t without, uint64_t virt_ext, bool translated)
{
	struct svm s = SVM(SVM_VLS | SVM_NPT_BIT, without, SAVE_AND_LOAD);
	uint64_t *entry = (uint64_t *)(s.mem + (SVM_NPT_PT - SVM_MEM)) + 8;

	svm_npt(&s);
	*entry = ELSEWHERE | 7;
	svm_put8(&s, C_VIRT_EXT, virt_ext);
	assert_int_equal(guest_set_msr(&s.g, 0xc0000102, 0x123456), 1);
	svm_expect(&s, EXIT_VMMCALL);
	assert_int_equal(saved_at(&s, ELSEWHERE), translated ? 0x123456 : 0);
	assert_int_equal(saved_at(&s, 0x8000), translated ? 0 : 0x123456);
	assert_int_equal(msr_of(&s, 0xc0000102), 0x123456);
	assert_used(&s, "svm_virtual_vmload", translated);
	if (translated) {
		*entry = ELSEWHERE | 5;
		svm_put(&s, C_TLB, 1, 1);
		svm_rewind(&s);
		svm_expect(&s, EXIT_NPF);
		assert_int_equal(svm_get8(&s, C_INFO1), 1ULL << 32 | 7);
		assert_int_equal(svm_get8(&s, C_INFO2), 0x8000 + S_ES);
		assert_int_equal(svm_get8(&s, S_RIP), SVM_L2 + 5);
	}
	svm_end(&s);
}

static void test_vls(void **state)
{
	virtual_vmsave(0, 2, true);
	virtual_vmsave(0, 0, false);
	virtual_vmsave(SVM_VLS, 2, false);
}

/* --- time ------------------------------------------------------------------------------------------------------------------ */

/* rdtsc; vmmcall */
static void test_tsc_ratio(void **state)
{
	struct svm s = SVM(SVM_TSC_RATE, 0, 0x0f, 0x31, VMMCALL);
	uint64_t low, value;

	assert_int_equal(msr_of(&s, MSR_TSC_RATIO), 1ULL << 32);
	assert_int_equal(guest_set_msr(&s.g, MSR_TSC_RATIO, 1ULL << 40), 0);
	/* A ratio of 0 leaves the offset alone. */
	assert_int_equal(guest_set_msr(&s.g, MSR_TSC_RATIO, 0), 1);
	svm_put8(&s, C_TSC_OFFSET, 0x1122334455667788);
	svm_expect(&s, EXIT_VMMCALL);
	assert_int_equal(svm_get8(&s, S_RAX), 0x55667788);
	assert_int_equal(guest_regs(&s.g).rdx, 0x11223344);
	/* A 256th: between what L1 sees before and after. */
	assert_int_equal(guest_set_msr(&s.g, MSR_TSC_RATIO, 1ULL << 24), 1);
	svm_put8(&s, C_TSC_OFFSET, 0);
	svm_rewind(&s);
	low = msr_of(&s, 0x10);
	svm_expect(&s, EXIT_VMMCALL);
	value = svm_get8(&s, S_RAX) | guest_regs(&s.g).rdx << 32;
	assert_in_range(value, low >> 8, msr_of(&s, 0x10) >> 8);
	if (!api_real())
		assert_int_equal(count(&s, "svm_tsc_scaled"), 2);
	svm_end(&s);
}

static void test_no_tsc_ratio(void **state)
{
	struct svm s = SVM(SVM_TSC_RATE, SVM_TSC_RATE, 0x0f, 0x31, VMMCALL);
	uint64_t low;

	/* The client may say what is there; the guest may not. */
	assert_int_equal(guest_set_msr(&s.g, MSR_TSC_RATIO, 1ULL << 24), 0);
	assert_int_equal(guest_set_msr(&s.g, MSR_TSC_RATIO, 0), 1);
	assert_int_equal(msr_of(&s, MSR_TSC_RATIO), 1ULL << 32);
	low = msr_of(&s, 0x10);
	svm_expect(&s, EXIT_VMMCALL);
	assert_true((svm_get8(&s, S_RAX) | guest_regs(&s.g).rdx << 32) >= low);
	SVM_CODE(&s, SVM_L2, 0x0f, 0x32);
	assert_used(&s, "svm_tsc_scaled", false);
	SET(&s.g, rcx, MSR_TSC_RATIO);
	svm_put4(&s, C_EXCEPTIONS, 1 << 13);
	svm_rewind(&s);
	svm_expect(&s, 0x4d);
	svm_end(&s);
}

/* --- what CPUID says ---------------------------------------------------------------------------------------------------------- */

static void test_cpuid(void **state)
{
	struct svm s = SVM(0, 0, VMMCALL);
	struct kvm_cpuid_entry2 *e = guest_leaf(s.cpuid, 0x8000000a, 0);

	assert_int_equal(e->eax & 0xff, 1);
	assert_true(e->ebx >= 8);
	if (!api_real())
		assert_int_equal(e->edx, 0x120194fb);
	svm_end(&s);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_counters),
	cmocka_unit_test(test_exit_writes_its_own),
	cmocka_unit_test(test_vmsave_writes_its_own),
	cmocka_unit_test(test_clean_bits_are_not_trusted),
	cmocka_unit_test(test_init),
	cmocka_unit_test(test_init_waits_for_gif),
	cmocka_unit_test(test_shutdown),
	cmocka_unit_test(test_pending_triple_fault),
	cmocka_unit_test(test_npt_of_pae_l1),
	cmocka_unit_test(test_npt_of_legacy_l1),
	cmocka_unit_test(test_pdptes_of_l1),
	cmocka_unit_test(test_last_branch),
	cmocka_unit_test(test_last_branch_before_exception),
	cmocka_unit_test(test_lbr_virtualization),
	cmocka_unit_test(test_debugctl_bits),
	cmocka_unit_test(test_pause_filter),
	cmocka_unit_test(test_interrupts),
	cmocka_unit_test(test_halted),
	cmocka_unit_test(test_queued_exception),
	cmocka_unit_test(test_vgif),
	cmocka_unit_test(test_virtual_interrupt),
	cmocka_unit_test(test_vnmi),
	cmocka_unit_test(test_vnmi_and_bad_iret), cmocka_unit_test(test_no_vnmi),
	cmocka_unit_test(test_vls),
	cmocka_unit_test(test_tsc_ratio),
	cmocka_unit_test(test_no_tsc_ratio),
	cmocka_unit_test(test_cpuid),
};

API_MAIN(tests)
