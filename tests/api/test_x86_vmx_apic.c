// SPDX-License-Identifier: MIT
/* APIC virtualization: TPR, the APIC-access page, MSRs, virtual and posted interrupts.  SDM 3C, chapter 29. */
#include <pthread.h>

#include "vmx.h"

#define VAPIC VMX_FREE
#define ACCESS (VMX_FREE + 0x1000)      /* the APIC-access page: L1's address */
#define DESC (VMX_FREE + 0x2000)        /* posted-interrupt descriptor */
#define IDT (VMX_FREE + 0x3000)
#define L2_APIC 0xfee00000UL
#define FIRED 0x50                      /* OUT by L2's handler of HIGHER; +1: of LOWER */
#define HIGHER 0x61
#define LOWER 0x45
#define NOTIFY 0xf2
#define ABS(a) (a) & 0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff
#define MOV_RBX_APIC 0xbb, 0, 0, 0xe0, 0xfe                             /* mov ebx,0xfee00000 */
#define LOAD32(at) 0x8b, 0x83, ABS(at)                                  /* mov eax,[rbx+at] */
#define LOAD64(at) 0x48, 0x8b, 0x83, ABS(at)
#define STORE32_AT(at, v) 0xc7, 0x83, ABS(at), ABS(v)                   /* mov dword [rbx+at],v */
#define STORE8_AT(at, v) 0xc6, 0x83, ABS(at), v
#define MOV_ECX(v) 0xb9, ABS(v)
#define RDMSR 0x0f, 0x32
#define WRMSR(v) 0xb8, ABS(v), 0x31, 0xd2, 0x0f, 0x30                   /* EDX 0 */
#define MOV_CR8(v) 0xb8, ABS(v), 0x44, 0x0f, 0x22, 0xc0
#define READ_CR8 0x44, 0x0f, 0x20, 0xc0
#define STI 0xfb
#define NOP 0x90
#define HLT 0xf4
#define IO_QUALIFICATION(port) ((uint64_t)(port) << 16 | 1 << 6)
#define QUALIFICATION_CR8_TO 8u
#define GP 13

static uint32_t *vapic(struct vmx *s, unsigned int at)
{
	return vmx_at(s, VAPIC + at);
}

static void expect_qualified(struct vmx *s, uint32_t reason, uint64_t qualification)
{
	uint64_t was;

	vmx_expect(s, reason);
	was = vmx_get(s, F_QUALIFICATION);
	if (was != qualification)
		fail_msg("exit %u: qualification %#lx, not %#lx", reason, was, qualification);
}

static uint64_t counted(struct vmx *s, const char *name)
{
	return api_real() ? 0 : guest_stat(s->g.vcpu, name);
}

/* A TPR shadow, and secondary controls. */
static void with_shadow(struct vmx *s, uint32_t controls)
{
	vmx_set(s, F_PROC, P_TPR_SHADOW);
	vmx_put(s, F_VIRTUAL_APIC, VAPIC);
	if (controls & P2_APIC_ACCESS) {
		vmx_ept(s, 0);
		vmx_put(s, F_APIC_ACCESS, ACCESS);
		*vmx_ept_entry(s, L2_APIC) = ACCESS | EPT_ALL | EPT_WB;
	}
	if (controls)
		vmx_control2(s, controls);
}

/* --- CR8 ------------------------------------------------------------------------------------------------- */

static void test_cr8(void **state)
{
	struct vmx s = VMX(0, MOV_CR8(5), READ_CR8, HLT);

	with_shadow(&s, 0);
	vmx_expect(&s, R_HLT);
	assert_int_equal(*vmx_reg(&s, 0), 5);
	assert_int_equal(*vapic(&s, 0x80), 0x50);
	if (!api_real())
		assert_int_equal(counted(&s, "vapic_accesses"), 2);

	/* Without the shadow it is L1's own, and with the control L1's affair. */
	*vapic(&s, 0x80) = 0;
	vmx_clear(&s, F_PROC, P_TPR_SHADOW);
	vmx_goto(&s, VMX_L2);
	vmx_expect(&s, R_HLT);
	assert_int_equal(*vapic(&s, 0x80), 0);
	vmx_set(&s, F_PROC, P_CR8_LOAD);
	vmx_goto(&s, VMX_L2);
	expect_qualified(&s, R_CR, QUALIFICATION_CR8_TO);
	vmx_end(&s);
}

static void test_threshold(void **state)
{
	struct vmx s = VMX(0, MOV_CR8(4), NOP, MOV_CR8(3), NOP, HLT);

	with_shadow(&s, 0);
	*vapic(&s, 0x80) = 0x40;
	vmx_put(&s, F_TPR_THRESHOLD, 4);
	expect_qualified(&s, R_TPR, 0);
	/* Behind the instruction that lowered it. */
	assert_int_equal(vmx_get(&s, F_RIP), VMX_L2 + 9 + 1 + 9);
	assert_int_equal(*vapic(&s, 0x80), 0x30);
	/* Above TPR it cannot be entered with; nor with reserved bits. */
	assert_int_equal(vmx_run(&s), VMX_FAIL + 7);
	vmx_put(&s, F_TPR_THRESHOLD, 0x10);
	assert_int_equal(vmx_run(&s), VMX_FAIL + 7);
	vmx_put(&s, F_TPR_THRESHOLD, 3);
	vmx_expect(&s, R_HLT);
	vmx_end(&s);
}

/* With an APIC-access page a threshold above TPR is an exit behind VM entry. */
static void test_threshold_entry(void **state)
{
	struct vmx s = VMX(P2_APIC_ACCESS, HLT);

	with_shadow(&s, P2_APIC_ACCESS);
	vmx_put(&s, F_TPR_THRESHOLD, 1);
	vmx_expect(&s, R_TPR);
	assert_int_equal(vmx_get(&s, F_RIP), VMX_L2);
	vmx_put(&s, F_TPR_THRESHOLD, 0);
	vmx_expect(&s, R_HLT);
	vmx_end(&s);
}

/* --- the APIC-access page --------------------------------------------------------------------------------- */

static void test_access(void **state)
{
	struct vmx s = VMX(P2_APIC_ACCESS | P2_APIC_REGS, MOV_RBX_APIC, LOAD32(0x30), STORE32_AT(0x80, 0x20), LOAD32(0x80),
			   LOAD64(0x80), STORE8_AT(0xf0, 1), 0xff, 0xe3);
	uint64_t before;

	with_shadow(&s, P2_APIC_ACCESS);
	expect_qualified(&s, R_APIC_ACCESS, 0x30);
	assert_int_equal(vmx_get(&s, F_INSN_LEN), 6);
	vmx_next(&s);
	before = counted(&s, "vapic_accesses");
	expect_qualified(&s, R_APIC_ACCESS, 0x80);      /* of 64 bits */
	assert_int_equal(*vmx_reg(&s, 0), 0x20);
	assert_int_equal(*vapic(&s, 0x80), 0x20);
	if (!api_real())
		assert_int_equal(counted(&s, "vapic_accesses") - before, 2);
	vmx_next(&s);
	expect_qualified(&s, R_APIC_ACCESS, 0xf0 | 1 << 12);
	vmx_next(&s);
	expect_qualified(&s, R_APIC_ACCESS, 2 << 12);   /* a fetch */

	/* The page itself is not touched, and with the control off it is memory. */
	assert_int_equal(*(uint32_t *)vmx_at(&s, ACCESS + 0x80), 0);
	vmx_clear(&s, F_PROC2, P2_APIC_ACCESS);
	*(uint16_t *)vmx_at(&s, ACCESS) = 0xf4f4;
	vmx_goto(&s, VMX_L2);
	vmx_expect(&s, R_HLT);
	assert_int_equal(*(uint32_t *)vmx_at(&s, ACCESS + 0x80), 0x20);
	vmx_end(&s);
}

/* One of L2's page tables is there. */
static void test_table(void **state)
{
	struct vmx s = VMX(P2_APIC_ACCESS, HLT);

	with_shadow(&s, P2_APIC_ACCESS);
	*vmx_ept_entry(&s, GUEST_TABLES) = ACCESS | EPT_ALL | EPT_WB;
	vmx_expect(&s, R_APIC_ACCESS);
	assert_int_equal(vmx_get(&s, F_QUALIFICATION) >> 12, 15);
	vmx_end(&s);
}

static void test_registers(void **state)
{
	struct vmx s = VMX(P2_APIC_ACCESS | P2_APIC_REGS, MOV_RBX_APIC, LOAD32(0x30), STORE32_AT(0x310, 0x12345678),
			   STORE32_AT(0xf0, 0x1ff), NOP, LOAD32(0x40));

	with_shadow(&s, P2_APIC_ACCESS | P2_APIC_REGS);
	*vapic(&s, 0x30) = 0xabcd;
	/* An exit behind the write, which is done. */
	expect_qualified(&s, R_APIC_WRITE, 0xf0);
	assert_int_equal(vmx_get(&s, F_RIP), VMX_L2 + 5 + 6 + 10 + 10);
	assert_int_equal(*vmx_reg(&s, 0), 0xabcd);
	assert_int_equal(*vapic(&s, 0x310), 0x12000000);
	assert_int_equal(*vapic(&s, 0xf0), 0x1ff);
	expect_qualified(&s, R_APIC_ACCESS, 0x40);
	vmx_end(&s);
}

/* The client's log shows the page that was written, and not the one that stands for it. */
static void test_dirty_log(void **state)
{
	struct vmx s = VMX(P2_APIC_ACCESS, MOV_RBX_APIC, STORE32_AT(0x80, 0x20), HLT);
	uint64_t map[(VMX_MEM_SIZE >> 12) / 64 + 1] = { 0 };
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = map };

	with_shadow(&s, P2_APIC_ACCESS);
	vmx_get(&s, F_RIP);
	api_ok(api_set_slot(s.g.vm, 1, KVM_MEM_LOG_DIRTY_PAGES, VMX_MEM, VMX_MEM_SIZE, s.mem));
	vmx_expect(&s, R_HLT);
	api_ok(api_ioctl(s.g.vm, KVM_GET_DIRTY_LOG, &log));
	assert_true(map[0] >> ((VAPIC - VMX_MEM) >> 12) & 1);
	assert_false(map[0] >> ((ACCESS - VMX_MEM) >> 12) & 1);
	vmx_end(&s);
}

/* --- MSRs ---------------------------------------------------------------------------------------------------- */

static void test_x2apic(void **state)
{
	struct vmx s = VMX(P2_X2APIC | P2_APIC_REGS, MOV_ECX(0x808), WRMSR(0x70), RDMSR, HLT, MOV_ECX(0x803), RDMSR, HLT,
			   MOV_ECX(0x808), WRMSR(0x100), HLT);

	with_shadow(&s, P2_X2APIC | P2_APIC_REGS);
	*vapic(&s, 0x30) = 0x1234;
	vmx_expect(&s, R_HLT);
	assert_int_equal(*vmx_reg(&s, 0), 0x70);
	assert_int_equal(*vapic(&s, 0x80), 0x70);
	vmx_next(&s);
	vmx_expect(&s, R_HLT);
	assert_int_equal(*vmx_reg(&s, 0), 0x1234);
	vmx_next(&s);
	expect_qualified(&s, R_IO, IO_QUALIFICATION(VMX_FAULT + GP));
	/* Without the control they are those of L1's local APIC, which is not in that mode. */
	vmx_clear(&s, F_PROC2, P2_X2APIC);
	vmx_goto(&s, VMX_L2);
	expect_qualified(&s, R_IO, IO_QUALIFICATION(VMX_FAULT + GP));
	vmx_end(&s);
}

/* --- virtual interrupts ---------------------------------------------------------------------------------------- */

/* L2's own table, behind the exceptions of L1's. */
static void l2_vector(struct vmx *s, unsigned int n, uint16_t at, uint8_t port)
{
	uint64_t *idt = vmx_at(s, IDT);

	idt[2 * n] = (uint64_t)0x8e << 40 | 8 << 16 | at;
	VMX_CODE(s, at, 0xe6, port, 0x48, 0xcf);
}

static struct vmx with_interrupts(const uint8_t *code, size_t n, uint32_t controls, bool irqchip)
{
	struct vmx s = vmx_start(code, n, P2_VIRTUAL_INTR | controls, irqchip);

	memcpy(vmx_at(&s, IDT), vmx_at(&s, GUEST_IDT), 16 * 32);
	l2_vector(&s, HIGHER, 0x2800, FIRED);
	l2_vector(&s, LOWER, 0x2900, FIRED + 1);
	vmx_put(&s, 0x6818, IDT);
	vmx_put(&s, 0x4812, 0xfff);
	vmx_set(&s, F_PIN, P_EXT_INTR);
	with_shadow(&s, controls | P2_VIRTUAL_INTR);
	return s;
}

#define WITH_INTERRUPTS(controls, ...) \
	with_interrupts((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }), controls, false)

static void request(struct vmx *s, uint8_t vector)
{
	*vapic(s, 0x200 + vector / 32 * 0x10) |= 1u << (vector % 32);
	vmx_put(s, F_INTR_STATUS, vector);
}

static bool in_service(struct vmx *s, uint8_t vector)
{
	return *vapic(s, 0x100 + vector / 32 * 0x10) >> (vector % 32) & 1;
}

/* What L1 has requested is taken when RFLAGS.IF lets it, and the next one after EOI. */
static void test_interrupt(void **state)
{
	struct vmx s = WITH_INTERRUPTS(P2_X2APIC, NOP, STI, NOP, NOP, MOV_ECX(0x80b), WRMSR(0), NOP, HLT);

	request(&s, LOWER);
	request(&s, HIGHER);
	expect_qualified(&s, R_IO, IO_QUALIFICATION(FIRED));
	assert_int_equal(vmx_get(&s, F_INTR_STATUS), HIGHER << 8 | LOWER);
	assert_true(in_service(&s, HIGHER));
	assert_int_equal(*vapic(&s, 0x200 + HIGHER / 32 * 0x10), 0);
	assert_int_equal(*vapic(&s, 0xa0), HIGHER & 0xf0);
	vmx_next(&s);
	expect_qualified(&s, R_IO, IO_QUALIFICATION(FIRED + 1));
	assert_false(in_service(&s, HIGHER));
	assert_int_equal(vmx_get(&s, F_INTR_STATUS), LOWER << 8);
	if (!api_real())
		assert_int_equal(counted(&s, "virtual_interrupts"), 2);
	vmx_end(&s);
}

/* PPR holds it back, until TPR is lowered; and so does a window that L1 waits for. */
static void test_priority(void **state)
{
	struct vmx s = WITH_INTERRUPTS(0, STI, NOP, NOP, HLT, MOV_CR8(6), NOP, HLT, MOV_CR8(5), NOP, HLT);

	*vapic(&s, 0x80) = 0x70;
	request(&s, HIGHER);
	vmx_expect(&s, R_HLT);
	assert_int_equal(*vapic(&s, 0xa0), 0x70);
	vmx_next(&s);
	vmx_expect(&s, R_HLT);
	vmx_next(&s);
	expect_qualified(&s, R_IO, IO_QUALIFICATION(FIRED));

	*vapic(&s, 0x80) = 0;
	vmx_put(&s, F_INTR_STATUS, 0);
	request(&s, LOWER);
	vmx_set(&s, F_PROC, P_INTR_WINDOW);
	vmx_goto(&s, VMX_L2);
	vmx_expect(&s, R_INTR_WINDOW);
	vmx_end(&s);
}

/* Entered in HLT, or halted by itself without L1's knowing: a virtual interrupt wakes it. */
static void test_halted(void **state)
{
	struct vmx s = WITH_INTERRUPTS(0, NOP, HLT);

	vmx_put(&s, F_ACTIVITY, 1);
	vmx_put(&s, F_RFLAGS, 0x202);
	request(&s, HIGHER);
	expect_qualified(&s, R_IO, IO_QUALIFICATION(FIRED));
	assert_int_equal(vmx_get(&s, F_ACTIVITY), 0);
	vmx_end(&s);
}

static void test_eoi_exit(void **state)
{
	struct vmx s = WITH_INTERRUPTS(P2_X2APIC, STI, NOP, NOP, MOV_ECX(0x80b), WRMSR(0), NOP, HLT);

	vmx_put(&s, F_EOI_EXIT + 2 * (HIGHER / 64), 1ULL << (HIGHER % 64));
	request(&s, HIGHER);
	expect_qualified(&s, R_IO, IO_QUALIFICATION(FIRED));
	vmx_next(&s);
	expect_qualified(&s, R_EOI, HIGHER);
	assert_false(in_service(&s, HIGHER));
	assert_int_equal(vmx_get(&s, F_RIP), VMX_L2 + 3 + 5 + 9);
	vmx_end(&s);
}

/* To itself by MSR and by the page; what else the page's register asks for is L1's affair. */
static void test_self_ipi(void **state)
{
	struct vmx s = WITH_INTERRUPTS(P2_X2APIC, STI, NOP, MOV_ECX(0x83f), WRMSR(HIGHER), NOP, WRMSR(5), NOP, HLT);

	expect_qualified(&s, R_IO, IO_QUALIFICATION(FIRED));
	vmx_next(&s);
	expect_qualified(&s, R_APIC_WRITE, 0x3f0);
	vmx_end(&s);

	s = WITH_INTERRUPTS(P2_APIC_ACCESS, STI, NOP, MOV_RBX_APIC, STORE32_AT(0x300, 0x40000 | HIGHER), NOP,
			    STORE32_AT(0x300, 0x80000 | HIGHER), NOP, HLT);
	expect_qualified(&s, R_IO, IO_QUALIFICATION(FIRED));
	vmx_next(&s);
	expect_qualified(&s, R_APIC_WRITE, 0x300);
	vmx_end(&s);
}

/* --- posted interrupts ------------------------------------------------------------------------------------------- */

static void notify(struct vmx *s, uint8_t vector)
{
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = vector };

	api_ok(api_ioctl(s->g.vm, KVM_SIGNAL_MSI, &msi));
}

static void post(struct vmx *s, uint8_t vector)
{
	((uint64_t *)vmx_at(s, DESC))[vector / 64] |= 1ULL << (vector % 64);
	((uint64_t *)vmx_at(s, DESC))[4] |= 1;
}

struct sleeping {
	struct vmx *s;
	int stats;              /* or -1 */
};

static void *notify_sleeping(void *arg)
{
	struct sleeping *l2 = arg;

	notify(l2->s, NOTIFY);
	while (l2->stats >= 0 && guest_stat_of(l2->stats, "posted_interrupts") < 2)
		usleep(1000);
	notify(l2->s, NOTIFY - 1);
	return NULL;
}

/* While L2 waits for the client, and while it sleeps in a HLT that L1 does not hear of. */
static void test_posted(void **state)
{
	static const uint8_t code[] = { STI, 0xe4, 0x77, NOP, HLT, NOP, NOP, HLT };
	struct vmx s = with_interrupts(code, sizeof(code), 0, true);
	struct sleeping l2 = { &s, -1 };
	pthread_t thread;

	VMX_DO(&s, 0xbb, 0, 0, 0xe0, 0xfe, STORE32_AT(0xf0, 0x1ff));    /* L1's APIC on */
	vmx_set(&s, F_PIN, P_POSTED);
	vmx_set(&s, F_EXIT, X_ACK_INTR);
	vmx_put(&s, F_POSTED_VECTOR, NOTIFY);
	vmx_put(&s, F_POSTED_DESC, DESC);
	vmx_clear(&s, F_PROC, P_IO | P_HLT);
	vmx_get(&s, F_RIP);
	vmx_enter(&s);
	guest_port(&s.g, 0x77);
	post(&s, HIGHER);
	notify(&s, NOTIFY);
	guest_port(&s.g, FIRED);
	assert_false(((uint64_t *)vmx_at(&s, DESC))[4] & 1);
	assert_int_equal(((uint64_t *)vmx_at(&s, DESC))[HIGHER / 64], 0);
	assert_true(in_service(&s, HIGHER));
	if (!api_real())
		assert_int_equal(counted(&s, "posted_interrupts"), 1);
	/*
	 * One that brings nothing does not wake L2, which sleeps in HLT behind its handler; of another vector L1 hears,
	 * and finds it so.
	 */
	if (!api_real())
		api_ok(l2.stats = api_ioctl(s.g.vcpu, KVM_GET_STATS_FD, NULL));
	assert_int_equal(pthread_create(&thread, NULL, notify_sleeping, &l2), 0);
	guest_port(&s.g, VMX_DONE);
	pthread_join(thread, NULL);
	if (l2.stats >= 0)
		api_close(l2.stats);
	assert_int_equal(vmx_get(&s, F_ACTIVITY), 1);
	assert_int_equal(vmx_reason(&s), R_EXT_INTR);
	assert_int_equal(vmx_get(&s, F_EXIT_EVENT), 1u << 31 | (NOTIFY - 1));
	assert_int_equal(vmx_get(&s, F_RIP), VMX_L2 + 5);
	vmx_end(&s);
}

/* --- controls ------------------------------------------------------------------------------------------------------- */

static void test_controls(void **state)
{
	struct vmx s = VMX(P2_VIRTUAL_INTR | P2_APIC_ACCESS | P2_X2APIC | P2_APIC_REGS, HLT);
	const struct {
		uint32_t field;
		uint64_t bad, good;
	} rows[] = {
		{ F_VIRTUAL_APIC, VAPIC + 8, VAPIC }, { F_VIRTUAL_APIC, 0x100000000, VAPIC }, { F_POSTED_VECTOR, 0x1f2, NOTIFY },
		{ F_POSTED_DESC, DESC + 8, DESC },
	};
	uint64_t proc2;

	with_shadow(&s, P2_VIRTUAL_INTR | P2_X2APIC | P2_APIC_REGS);
	vmx_put(&s, F_POSTED_VECTOR, NOTIFY);
	vmx_put(&s, F_POSTED_DESC, DESC);
	vmx_set(&s, F_EXIT, X_ACK_INTR);
	vmx_set(&s, F_PIN, P_POSTED);
	assert_int_equal(vmx_run(&s), VMX_FAIL + 7);            /* virtual interrupts without L1's hearing of its own */
	vmx_set(&s, F_PIN, P_EXT_INTR);
	vmx_expect(&s, R_HLT);
	for (unsigned int n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
		vmx_put(&s, rows[n].field, rows[n].bad);
		assert_int_equal(vmx_run(&s), VMX_FAIL + 7);
		vmx_put(&s, rows[n].field, rows[n].good);
		vmx_expect(&s, R_HLT);
	}
	vmx_clear(&s, F_EXIT, X_ACK_INTR);
	assert_int_equal(vmx_run(&s), VMX_FAIL + 7);
	vmx_set(&s, F_EXIT, X_ACK_INTR);
	vmx_set(&s, F_PROC2, P2_APIC_ACCESS);                   /* beside x2APIC mode */
	assert_int_equal(vmx_run(&s), VMX_FAIL + 7);
	vmx_clear(&s, F_PIN, P_POSTED);
	proc2 = vmx_get(&s, F_PROC2) & ~(uint64_t)(P2_VIRTUAL_INTR | P2_X2APIC | P2_APIC_REGS | P2_APIC_ACCESS);
	vmx_clear(&s, F_PROC, P_TPR_SHADOW);
	for (unsigned int bit = 4; bit <= 9; bit++) {
		vmx_put(&s, F_PROC2, proc2 | ((P2_VIRTUAL_INTR | P2_X2APIC | P2_APIC_REGS) & 1u << bit));
		if ((P2_VIRTUAL_INTR | P2_X2APIC | P2_APIC_REGS) & 1u << bit)
			assert_int_equal(vmx_run(&s), VMX_FAIL + 7);
	}
	vmx_put(&s, F_PROC2, proc2);
	vmx_expect(&s, R_HLT);
	vmx_end(&s);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_cr8), cmocka_unit_test(test_threshold), cmocka_unit_test(test_threshold_entry),
	cmocka_unit_test(test_access), cmocka_unit_test(test_table), cmocka_unit_test(test_dirty_log),
	cmocka_unit_test(test_registers), cmocka_unit_test(test_x2apic),
	cmocka_unit_test(test_interrupt), cmocka_unit_test(test_priority), cmocka_unit_test(test_halted),
	cmocka_unit_test(test_eoi_exit), cmocka_unit_test(test_self_ipi), cmocka_unit_test(test_posted),
	cmocka_unit_test(test_controls),
};

API_MAIN(tests)
