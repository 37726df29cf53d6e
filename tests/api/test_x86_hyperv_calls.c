// SPDX-License-Identifier: MIT
/* Hyper-V's hypercalls: input and statuses, flushes and interrupts by sets of virtual processors; TLFS 3, 10.5, 11.6. */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include "hyperv.h"
#include "smp.h"

enum {
	FLUSH_SPACE = 2, FLUSH_LIST = 3, SPIN = 8, SEND_IPI = 0xb, FLUSH_SPACE_EX = 0x13, FLUSH_LIST_EX = 0x14,
	SEND_IPI_EX = 0x15, POST_MESSAGE = 0x5c, SIGNAL_EVENT = 0x5d, POST_DEBUG = 0x69, RESET_DEBUG = 0x6b,
	QUERY = 0x8001,
};

enum {
	SUCCESS = 0, INVALID_CODE = 2, INVALID_INPUT = 3, INVALID_PARAMETER = 5, ACCESS_DENIED = 6,
	OPERATION_DENIED = 8,
};

#define UNDEFINED (~0ULL)

/* Bits of leaves 0x40000003 and 0x40000004. */
#define POST_MESSAGES (1U << 4)         /* 3.EBX */
#define SIGNAL_EVENTS (1U << 5)
#define DEBUGGING (1U << 11)
#define EXTENDED (1U << 20)
#define XMM_INPUT (1U << 4)             /* 3.EDX */
#define REMOTE_FLUSH (1U << 2)          /* 4.EAX */
#define CLUSTER_IPI (1U << 10)
#define EX_MASKS (1U << 11)

static void skip_without(void)
{
	if (!hv_there())
		skip();
}

static uint64_t flushes(struct guest *g)
{
	return api_real() ? 0 : guest_stat(g->vcpu, "hv_tlb_flushes");
}

static uint64_t ipis(struct guest *g)
{
	return api_real() ? 0 : guest_stat(g->vcpu, "hv_ipis");
}

/* --- input and statuses --------------------------------------------------------------------- */

static const struct {
	uint64_t control, result;
} calls[] = {
	{ 0, INVALID_CODE },
	{ 0xbeef, INVALID_CODE },
	{ FLUSH_SPACE, SUCCESS },
	/* Reserved bits: 31:27, 47:44, 63:60; before the code is looked at. */
	{ FLUSH_SPACE | 1ULL << 27, INVALID_INPUT }, { FLUSH_SPACE | 1ULL << 31, INVALID_INPUT },
	{ FLUSH_SPACE | 1ULL << 44, INVALID_INPUT }, { FLUSH_SPACE | 1ULL << 63, INVALID_INPUT },
	{ 0xbeef | 1ULL << 47, INVALID_INPUT },
	/* Repetitions, and where there may be none. */
	{ FLUSH_SPACE | REPS(1), INVALID_INPUT }, { FLUSH_SPACE | REP_START(1), INVALID_INPUT },
	{ FLUSH_LIST | REPS(3), SUCCESS | REPS(3) }, { FLUSH_LIST | REPS(0xfff), SUCCESS | REPS(0xfff) },
	{ FLUSH_LIST, INVALID_INPUT }, { FLUSH_LIST | REPS(3) | REP_START(1), INVALID_INPUT },
	{ FLUSH_LIST_EX | REPS(2), SUCCESS | REPS(2) }, { FLUSH_LIST_EX, INVALID_INPUT },
	{ FLUSH_SPACE_EX, SUCCESS }, { FLUSH_SPACE_EX | REPS(1), INVALID_INPUT },
	{ SEND_IPI | REPS(1), INVALID_INPUT }, { SEND_IPI_EX | REPS(1), INVALID_INPUT },
	/* A header of variable size. */
	{ FLUSH_SPACE | VAR(1), INVALID_INPUT }, { FLUSH_LIST | REPS(1) | VAR(1), INVALID_INPUT },
	{ SEND_IPI | VAR(1), INVALID_INPUT }, { FLUSH_SPACE_EX | VAR(1), INVALID_INPUT },
	{ SEND_IPI_EX | VAR(1), INVALID_INPUT },
	/* Waiting. */
	{ SPIN, SUCCESS }, { SPIN | FAST, SUCCESS }, { SPIN | VAR(1), INVALID_INPUT }, { SPIN | REPS(1), INVALID_INPUT },
	/* SynIC is off. */
	{ POST_MESSAGE, INVALID_INPUT }, { SIGNAL_EVENT, INVALID_INPUT },
	/* The debugger has not asked for it this way. */
	{ POST_DEBUG, OPERATION_DENIED }, { POST_DEBUG | FAST, INVALID_PARAMETER }, { RESET_DEBUG, OPERATION_DENIED },
	{ QUERY | FAST, INVALID_PARAMETER },
};

/* Input of zeroes: to everybody, or to nobody. */
static void statuses(bool amd)
{
	struct guest g = hv_guest(NULL);
	uint64_t before;

	hv_identify(&g);
	before = guest_stat(g.vcpu, "hypercalls");
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		uint64_t r = hv_call(&g, calls[i].control, HV_INPUT, 0);

		if (r != calls[i].result)
			fail_msg("control %#llx: %#llx", (unsigned long long)calls[i].control, (unsigned long long)r);
	}
	assert_int_equal(guest_stat(g.vcpu, "hypercalls") - before, sizeof(calls) / sizeof(calls[0]));
	guest_end(&g);
}

static void test_statuses(void **state)
{
	skip_without();
	guest_each_model(statuses);
}

static void test_bad_memory(void **state)
{
	static const uint64_t codes[] = {
		FLUSH_SPACE, FLUSH_LIST | REPS(1), FLUSH_SPACE_EX, FLUSH_LIST_EX | REPS(1), SEND_IPI, SEND_IPI_EX,
	};
	struct guest g;
	uint64_t before;

	skip_without();
	g = hv_guest(NULL);
	hv_identify(&g);
	before = flushes(&g);
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		assert_int_equal(hv_call(&g, codes[i], GUEST_MEM - 8, 0), INVALID_INPUT);
	/* The banks alone are not there. */
	memcpy(g.mem + GUEST_MEM - 16, (const uint64_t[]){ 0, 1 }, 16);
	assert_int_equal(hv_call(&g, FLUSH_SPACE_EX | VAR(1), GUEST_MEM - 32, 0), INVALID_INPUT);
	assert_int_equal(flushes(&g), before);
	guest_end(&g);
}

static void set_cpl3(struct guest *g)
{
	struct kvm_sregs s;

	api_ok(api_ioctl(g->vcpu, KVM_GET_SREGS, &s));
	s.cs.dpl = s.ss.dpl = 3;
	s.cs.selector |= 3;
	s.ss.selector |= 3;
	api_ok(api_ioctl(g->vcpu, KVM_SET_SREGS, &s));
}

/* #UD, which has no way back from there: a shutdown. */
static void test_undefined(void **state)
{
	struct kvm_sregs s;
	struct guest g;

	skip_without();
	g = hv_guest(NULL);
	hv_identify(&g);
	assert_int_equal(hv_call(&g, SPIN, 0, 0), SUCCESS);
	set_cpl3(&g);
	hv_call_begins(&g, SPIN, 0, 0);
	assert_int_equal(g.run->exit_reason, KVM_EXIT_SHUTDOWN);
	guest_end(&g);
	/* And from real mode. */
	g = hv_guest(NULL);
	hv_identify(&g);
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	s.cr0 = 0x10;
	s.efer = 0;
	s.cs.l = 0;
	s.cs.type = 11;
	s.idt.limit = 0;
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
	hv_call_begins(&g, SPIN, 0, 0);
	assert_int_equal(g.run->exit_reason, KVM_EXIT_SHUTDOWN);
	guest_end(&g);
}

/* Outside 64-bit mode: EDX:EAX is the control word and the result, EBX:ECX and EDI:ESI the parameters. */
static void test_32bit(void **state)
{
	struct kvm_regs r = { .rip = 0x1020, .rsp = GUEST_STACK, .rflags = 2 };
	struct kvm_sregs s;
	struct guest g;

	skip_without();
	g = hv_guest(NULL);
	hv_identify(&g);
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	s.cs.l = 0;
	s.cs.db = 1;
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
	r.rax = FLUSH_LIST;
	r.rdx = 5;
	r.rcx = HV_INPUT;
	api_ok(api_ioctl(g.vcpu, KVM_SET_REGS, &r));
	guest_port(&g, HV_DONE);
	r = guest_regs(&g);
	assert_int_equal(r.rax, SUCCESS);
	assert_int_equal(r.rdx, 5);
	/* An interrupt by registers: vector 0x21 to VP 0; the reserved half is in EBX. */
	for (unsigned int reserved = 0; reserved < 2; reserved++) {
		r = (struct kvm_regs){ .rip = 0x1020, .rsp = GUEST_STACK, .rflags = 2 };
		r.rax = SEND_IPI | FAST;
		r.rcx = 0x21;
		r.rbx = reserved;
		r.rsi = 1;
		api_ok(api_ioctl(g.vcpu, KVM_SET_REGS, &r));
		guest_port(&g, HV_DONE);
		assert_int_equal(guest_regs(&g).rax, reserved ? INVALID_INPUT : SUCCESS);
	}
	guest_end(&g);
}

/* --- who may --------------------------------------------------------------------------------------- */

/* A code, with the bits that it needs: without one of them ACCESS_DENIED, where CPUID is enforced. */
static const struct {
	uint64_t control;
	uint32_t features_b, hints_a;
	uint64_t result;        /* once it is allowed */
} permits[] = {
	{ FLUSH_SPACE, 0, REMOTE_FLUSH, SUCCESS },
	{ FLUSH_LIST | REPS(1), 0, REMOTE_FLUSH, SUCCESS | REPS(1) },
	{ FLUSH_SPACE_EX, 0, REMOTE_FLUSH, ACCESS_DENIED },
	{ FLUSH_SPACE_EX, 0, EX_MASKS, ACCESS_DENIED },
	{ FLUSH_SPACE_EX, 0, REMOTE_FLUSH | EX_MASKS, SUCCESS },
	{ FLUSH_LIST_EX | REPS(1), 0, REMOTE_FLUSH | EX_MASKS, SUCCESS | REPS(1) },
	{ SEND_IPI, 0, CLUSTER_IPI, INVALID_INPUT },
	{ SEND_IPI_EX, 0, CLUSTER_IPI, ACCESS_DENIED },
	{ SEND_IPI_EX, 0, CLUSTER_IPI | EX_MASKS, SUCCESS },
	{ POST_MESSAGE | REPS(1), POST_MESSAGES, 0, INVALID_INPUT },
	{ SIGNAL_EVENT | REPS(1), SIGNAL_EVENTS, 0, INVALID_INPUT },
	{ POST_DEBUG, DEBUGGING, 0, OPERATION_DENIED },
	{ QUERY | FAST, EXTENDED, 0, INVALID_PARAMETER },
};

static struct guest limited(uint32_t features_b, uint32_t features_d, uint32_t hints_a, uint32_t hints_b)
{
	struct cpuid_table *t = hv_leaves();
	struct guest g;

	guest_leaf(t, HV_FEATURES, 0)->ebx = features_b;
	guest_leaf(t, HV_FEATURES, 0)->edx = features_d;
	guest_leaf(t, HV_HINTS, 0)->eax = hints_a;
	guest_leaf(t, HV_HINTS, 0)->ebx = hints_b;
	g = hv_guest(t);
	api_ok(guest_enable(g.vcpu, KVM_CAP_HYPERV_ENFORCE_CPUID, 1));
	hv_identify(&g);
	return g;
}

static void test_permits(void **state)
{
	skip_without();
	for (size_t i = 0; i < sizeof(permits) / sizeof(permits[0]); i++) {
		struct guest g = limited(permits[i].features_b, 0, permits[i].hints_a, 0);
		uint64_t r = hv_call(&g, permits[i].control, HV_INPUT, 0);

		if (r != permits[i].result)
			fail_msg("control %#llx: %#llx", (unsigned long long)permits[i].control, (unsigned long long)r);
		guest_end(&g);
		g = limited(~permits[i].features_b, 0, ~permits[i].hints_a, 0);
		r = hv_call(&g, permits[i].control, HV_INPUT, 0);
		if (r != ACCESS_DENIED)
			fail_msg("control %#llx without its bit: %#llx", (unsigned long long)permits[i].control,
				 (unsigned long long)r);
		assert_int_equal(flushes(&g) + ipis(&g), 0);
		guest_end(&g);
	}
}

/* How long to spin before: a number that says "for ever", or nothing, is no offer. */
static void test_spin(void **state)
{
	static const struct {
		uint32_t turns;
		uint64_t result;
	} row[] = { { 0, ACCESS_DENIED }, { ~0U, ACCESS_DENIED }, { 1, SUCCESS }, { 0xfff, SUCCESS } };

	skip_without();
	for (size_t i = 0; i < 4; i++) {
		struct guest g = limited(0, 0, 0, row[i].turns);

		assert_int_equal(hv_call(&g, SPIN, 0, 0), row[i].result);
		if (!api_real())
			assert_int_equal(guest_stat(g.vcpu, "hv_spin_waits"), row[i].result == SUCCESS);
		guest_end(&g);
	}
}

/* Input in XMM registers is a feature of its own. */
static void test_xmm_input(void **state)
{
	struct guest g;

	skip_without();
	g = limited(0, 0, REMOTE_FLUSH, 0);
	assert_int_equal(hv_call(&g, FLUSH_SPACE | FAST, 0, 0), UNDEFINED);
	assert_int_equal(flushes(&g), 0);
	guest_end(&g);
	g = limited(0, XMM_INPUT, REMOTE_FLUSH, 0);
	assert_int_equal(hv_call(&g, FLUSH_SPACE | FAST, 0, 0), SUCCESS);
	assert_int_equal(hv_call(&g, FLUSH_LIST | FAST | REPS(2), 0, 0), SUCCESS | REPS(2));
	if (!api_real())
		assert_int_equal(flushes(&g), 2);
	guest_end(&g);
}

/* --- what the client answers -------------------------------------------------------------------- */

static void test_extended(void **state)
{
	struct cpuid_table *t;
	struct guest g;

	skip_without();
	t = hv_leaves();
	if (!(guest_leaf(t, HV_FEATURES, 0)->ebx & EXTENDED)) {
		free(t);
		skip();
	}
	g = hv_guest(t);
	hv_identify(&g);
	hv_call_begins(&g, QUERY, 0x1230, 0x4560);
	assert_int_equal(g.run->exit_reason, KVM_EXIT_HYPERV);
	assert_int_equal(g.run->hyperv.type, KVM_EXIT_HYPERV_HCALL);
	assert_int_equal(g.run->hyperv.u.hcall.input, QUERY);
	assert_int_equal(g.run->hyperv.u.hcall.params[0], 0x1230);
	assert_int_equal(g.run->hyperv.u.hcall.params[1], 0x4560);
	g.run->hyperv.u.hcall.result = 0x1234500000011;
	assert_int_equal(hv_call_ends(&g), 0x1234500000011);
	guest_end(&g);
	/* Not offered, not enforced: as before there was such a thing. */
	t = hv_leaves();
	guest_leaf(t, HV_FEATURES, 0)->ebx &= ~EXTENDED;
	g = hv_guest(t);
	hv_identify(&g);
	if (!api_real())
		assert_int_equal(hv_call(&g, QUERY, 0, 0), INVALID_CODE);
	guest_end(&g);
}

static void test_debugger(void **state)
{
	struct guest g;

	skip_without();
	g = hv_guest(NULL);
	hv_identify(&g);
	assert_int_equal(hv_wrmsr(&g, 0x400000ff, 4), HV_DONE);
	hv_call_begins(&g, POST_DEBUG, 0x1000, 0x2000);
	assert_int_equal(g.run->exit_reason, KVM_EXIT_HYPERV);
	assert_int_equal(g.run->hyperv.type, KVM_EXIT_HYPERV_HCALL);
	assert_int_equal(g.run->hyperv.u.hcall.input, POST_DEBUG);
	g.run->hyperv.u.hcall.result = 9;
	assert_int_equal(hv_call_ends(&g), 9);
	guest_end(&g);
}

/* --- sets of virtual processors ------------------------------------------------------------------ */

/* VP indexes of four vCPUs, none of them the vCPU's own number, in three banks. */
static const uint32_t vp_index[] = { 63, 0, 130, 1023 };
#define VPS 4

/* Banks: words of the valid ones, in order. */
struct set {
	uint64_t format, valid, bank[HV_INPUT / 1024];
	unsigned int banks;
	unsigned int members;   /* bit n: vCPU n */
};

static const struct set sets[] = {
	{ 0, 0, { 0 }, 0, 0 },
	{ 1, 0, { 0 }, 0, 15 },
	{ 0, 1, { 1ULL << 63 }, 1, 1 },
	{ 0, 1, { 1ULL << 63 | 1 }, 1, 3 },
	{ 0, 1ULL << 2, { 1ULL << 2 }, 1, 4 },
	{ 0, 1ULL << 15, { 1ULL << 63 }, 1, 8 },
	{ 0, 1 | 1ULL << 2 | 1ULL << 15, { 1, 1ULL << 2, 1ULL << 63 }, 3, 14 },
	/* Nobody has these. */
	{ 0, 1, { 2 }, 1, 0 },
	{ 0, 1ULL << 1, { ~0ULL }, 1, 0 },
	{ 0, 1ULL << 16, { ~0ULL }, 1, 0 },
	{ 0, 1ULL << 63, { ~0ULL }, 1, 0 },
	{ 0, 3 | 1ULL << 63, { ~0ULL, ~0ULL, ~0ULL }, 3, 3 },
	/* All, whatever the banks. */
	{ 1, 1, { 0 }, 1, 15 },
};

struct partition {
	struct guest g;
	struct guest vp[VPS];
};

static struct partition partition(void)
{
	struct partition p = { .g = hv_guest(NULL) };

	p.vp[0] = p.g;
	for (unsigned int i = 1; i < VPS; i++) {
		struct cpuid_table *t = hv_leaves();

		p.vp[i] = (struct guest){ .vm = p.g.vm, .vcpu = api_vcpu(p.g.vm, i * 3) };
		api_ok(api_ioctl(p.vp[i].vcpu, KVM_SET_CPUID2, t));
		free(t);
	}
	for (unsigned int i = 0; i < VPS; i++) {
		struct kvm_lapic_state s;

		assert_int_equal(guest_set_msr(&p.vp[i], 0x40000002, vp_index[i]), 1);
		api_ok(api_ioctl(p.vp[i].vcpu, KVM_GET_LAPIC, &s));
		memcpy(s.regs + 0xf0, &(uint32_t){ 0x1ff }, 4);
		api_ok(api_ioctl(p.vp[i].vcpu, KVM_SET_LAPIC, &s));
	}
	hv_identify(&p.g);
	return p;
}

static void partition_end(struct partition *p)
{
	for (unsigned int i = 1; i < VPS; i++)
		api_close(p->vp[i].vcpu);
	guest_end(&p->g);
}

/* Which have got @vector: their bits of IRR, which are cleared. */
static unsigned int arrived(struct partition *p, unsigned int vector)
{
	unsigned int mask = 0;

	for (unsigned int i = 0; i < VPS; i++) {
		struct kvm_lapic_state s;
		char *byte = s.regs + 0x200 + vector / 32 * 16 + vector % 32 / 8;

		api_ok(api_ioctl(p->vp[i].vcpu, KVM_GET_LAPIC, &s));
		mask |= (unsigned int)(*byte >> vector % 8 & 1) << i;
		*byte = 0;
		api_ok(api_ioctl(p->vp[i].vcpu, KVM_SET_LAPIC, &s));
	}
	return mask;
}

static void put_set(struct partition *p, unsigned int at, const struct set *s)
{
	uint64_t *w = (uint64_t *)(p->g.mem + HV_INPUT) + at;

	w[0] = s->format;
	w[1] = s->valid;
	memcpy(w + 2, s->bank, s->banks * 8);
}

static void test_ipi_sets(void **state)
{
	struct partition p;

	skip_without();
	p = partition();
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		const struct set *s = &sets[i];
		uint64_t before = ipis(&p.g);

		*(uint64_t *)(p.g.mem + HV_INPUT) = 0x45;
		put_set(&p, 1, s);
		assert_int_equal(hv_call(&p.g, SEND_IPI_EX | VAR(s->banks), HV_INPUT, 0), SUCCESS);
		assert_int_equal(arrived(&p, 0x45), s->members);
		if (!api_real())
			assert_int_equal(ipis(&p.g) - before, __builtin_popcount(s->members));
		/* By registers: the format is R8. */
		hv_set_xmm(&p.g, 0, s->valid);
		for (unsigned int b = 0; b < s->banks; b++)
			hv_set_xmm(&p.g, 1 + b, s->bank[b]);
		assert_int_equal(hv_call(&p.g, SEND_IPI_EX | FAST | VAR(s->banks), 0x46, s->format), SUCCESS);
		assert_int_equal(arrived(&p, 0x46), s->members);
		/* A header of another size. */
		assert_int_equal(hv_call(&p.g, SEND_IPI_EX | VAR(s->banks + 1), HV_INPUT, 0), INVALID_INPUT);
		assert_int_equal(hv_call(&p.g, SEND_IPI_EX | FAST | VAR(s->banks + 1), 0x46, s->format), INVALID_INPUT);
		assert_int_equal(arrived(&p, 0x45) | arrived(&p, 0x46), 0);
	}
	partition_end(&p);
}

static void test_ipi_mask(void **state)
{
	struct partition p;

	skip_without();
	p = partition();
	INPUT(&p.g, 0x50, 1ULL << 63 | 3);
	assert_int_equal(hv_call(&p.g, SEND_IPI, HV_INPUT, 0), SUCCESS);
	assert_int_equal(arrived(&p, 0x50), 3);
	assert_int_equal(hv_call(&p.g, SEND_IPI | FAST, 0x51, 1), SUCCESS);
	assert_int_equal(arrived(&p, 0x51), 2);
	/* An empty mask is nobody. */
	assert_int_equal(hv_call(&p.g, SEND_IPI | FAST, 0x51, 0), SUCCESS);
	assert_int_equal(arrived(&p, 0x51), 0);
	/* What is reserved in the registers. */
	assert_int_equal(hv_call(&p.g, SEND_IPI | FAST, 1ULL << 32 | 0x51, 1), INVALID_INPUT);
	assert_int_equal(arrived(&p, 0x51), 0);
	partition_end(&p);
}

static void test_ipi_vectors(void **state)
{
	static const struct {
		uint32_t vector;
		uint64_t result;
	} row[] = { { 0, 3 }, { 0xf, 3 }, { 0x10, 0 }, { 0xff, 0 }, { 0x100, 3 }, { 0x80000020, 3 } };
	struct partition p;

	skip_without();
	p = partition();
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		assert_int_equal(hv_call(&p.g, SEND_IPI | FAST, row[i].vector, 1), row[i].result);
		assert_int_equal(hv_call(&p.g, SEND_IPI_EX | FAST, row[i].vector, 1), row[i].result);
		if (!row[i].result)
			assert_int_equal(arrived(&p, row[i].vector), 15);
	}
	/* For nobody any will do. */
	hv_set_xmm(&p.g, 0, 0);
	assert_int_equal(hv_call(&p.g, SEND_IPI_EX | FAST, 5, 0), SUCCESS);
	partition_end(&p);
}

/* Without local APICs of the VM there is nobody to send it to. */
static void test_ipi_no_lapic(void **state)
{
	struct guest g;

	skip_without();
	g = hv_guest_on(api_vm(), NULL);
	hv_identify(&g);
	assert_int_equal(hv_call(&g, SEND_IPI | FAST, 0x40, 1), INVALID_INPUT);
	assert_int_equal(hv_call(&g, SEND_IPI_EX | FAST, 0x40, 1), INVALID_INPUT);
	guest_end(&g);
}

/* A header of more than there are XMM registers for. */
static void test_too_many_banks(void **state)
{
	struct guest g;

	skip_without();
	g = hv_guest(NULL);
	hv_identify(&g);
	hv_set_xmm(&g, 0, 0xfff);
	assert_int_equal(hv_call(&g, SEND_IPI_EX | FAST | VAR(12), 0x40, 0), INVALID_INPUT);
	hv_set_xmm(&g, 0, 0x7ff);
	assert_int_equal(hv_call(&g, SEND_IPI_EX | FAST | VAR(11), 0x40, 0), SUCCESS);
	/* A flush's format and valid banks take both halves of the first. */
	hv_set_xmm(&g, 0, 0);
	hv_set_xmm(&g, 1, 0x7ff);
	assert_int_equal(hv_call(&g, FLUSH_SPACE_EX | FAST | VAR(11), 0, 0), INVALID_INPUT);
	hv_set_xmm(&g, 1, 0x3ff);
	assert_int_equal(hv_call(&g, FLUSH_SPACE_EX | FAST | VAR(10), 0, 0), SUCCESS);
	guest_end(&g);
}

/* --- flushes -------------------------------------------------------------------------------------- */

/* Who has flushed: translations that were dropped are counted, at the vCPU's next turn. */
static unsigned int flushed(struct partition *p, uint64_t before[VPS])
{
	unsigned int mask = 0;

	for (unsigned int i = 0; i < VPS; i++) {
		uint64_t now;

		/* A vCPU that waits for SIPI runs nothing: only the first one does. */
		if (i)
			continue;
		now = guest_stat(p->vp[i].vcpu, "tlb_flush");
		mask |= (unsigned int)(now != before[i]) << i;
		before[i] = now;
	}
	return mask;
}

static void test_flush_sets(void **state)
{
	uint64_t before[VPS] = { 0 };
	struct partition p;

	skip_without();
	if (api_real())
		skip();
	p = partition();
	assert_int_equal(hv_call(&p.g, SPIN, 0, 0), SUCCESS);
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		const struct set *s = &sets[i];

		INPUT(&p.g, 0, 0);
		put_set(&p, 2, s);
		flushed(&p, before);
		assert_int_equal(hv_call(&p.g, FLUSH_SPACE_EX | VAR(s->banks), HV_INPUT, 0), SUCCESS);
		assert_int_equal(flushed(&p, before), s->members & 1);
		hv_set_xmm(&p.g, 0, s->format);
		hv_set_xmm(&p.g, 1, s->valid);
		for (unsigned int b = 0; b < s->banks; b++)
			hv_set_xmm(&p.g, 2 + b, s->bank[b]);
		flushed(&p, before);
		assert_int_equal(hv_call(&p.g, FLUSH_LIST_EX | FAST | REPS(7) | VAR(s->banks), 0, 0), SUCCESS | REPS(7));
		assert_int_equal(flushed(&p, before), s->members & 1);
		assert_int_equal(hv_call(&p.g, FLUSH_SPACE_EX | VAR(s->banks + 1), HV_INPUT, 0), INVALID_INPUT);
	}
	partition_end(&p);
}

static void test_flush_mask(void **state)
{
	uint64_t before[VPS] = { 0 };
	struct partition p;

	skip_without();
	if (api_real())
		skip();
	p = partition();
	assert_int_equal(hv_call(&p.g, SPIN, 0, 0), SUCCESS);
	flushed(&p, before);
	/* VP 63 is the first vCPU, VP 0 is not. */
	INPUT(&p.g, 0, 0, 1);
	assert_int_equal(hv_call(&p.g, FLUSH_SPACE, HV_INPUT, 0), SUCCESS);
	assert_int_equal(flushed(&p, before), 0);
	INPUT(&p.g, 0, 0, 1ULL << 63);
	assert_int_equal(hv_call(&p.g, FLUSH_SPACE, HV_INPUT, 0), SUCCESS);
	assert_int_equal(flushed(&p, before), 1);
	/* All processors, by the flag, or by an empty mask. */
	INPUT(&p.g, 0, 1, 1);
	assert_int_equal(hv_call(&p.g, FLUSH_SPACE, HV_INPUT, 0), SUCCESS);
	assert_int_equal(flushed(&p, before), 1);
	INPUT(&p.g, 0, 0, 0);
	assert_int_equal(hv_call(&p.g, FLUSH_SPACE, HV_INPUT, 0), SUCCESS);
	assert_int_equal(flushed(&p, before), 1);
	hv_set_xmm(&p.g, 0, 1);
	assert_int_equal(hv_call(&p.g, FLUSH_SPACE | FAST, 0, 0), SUCCESS);
	assert_int_equal(flushed(&p, before), 0);
	hv_set_xmm(&p.g, 0, 1ULL << 63);
	assert_int_equal(hv_call(&p.g, FLUSH_SPACE | FAST, 0, 0), SUCCESS);
	assert_int_equal(flushed(&p, before), 1);
	partition_end(&p);
}

/* --- flushes of running vCPUs ------------------------------------------------------------------- */

#define DONE "outb %al, $0x10\n\t"
#define PAGE_VA "0x150000"
#define FRAMES "0x160000"               /* and the next one */
#define ROUNDS 1500

/*
 * As a kernel does it: vCPU 0 changes the PTE of a page between two frames, has
 * the others flush by a hypercall, and spoils the frame that is gone.  They read
 * and write the page all the time, by many instructions without a branch: they
 * must not see what is spoilt, nor change it.  args of vCPU 0: 0 rounds, 1 the PTE, 2 code of the hypercall, 3 failures,
 * 4 its mask, 5 changes of a spoilt frame, 6: 1 VMMCALL; of the others: 2 bad
 * sights, 3 sights.
 */
SMP_GUEST(
"hv_changer:\n"
"	movq (%rdi), %r10\n	movq 8(%rdi), %r11\n	xorl %r12d, %r12d\n"
"0:	pause\n	cmpq $1, 0x140210\n	jb 0b\n"
"1:	movl %r12d, %esi\n	xorl $0x1000, %r12d\n"
"	movq $1, " FRAMES "(%r12)\n	movq $1, " FRAMES "+16(%r12)\n"
"	leaq " FRAMES "(%r12), %rax\n	orq $7, %rax\n	movq %rax, (%r11)\n"
"	movq 16(%rdi), %rcx\n	xorl %edx, %edx\n	xorl %r8d, %r8d\n	movq 32(%rdi), %xmm0\n"
"	cmpq $0, 48(%rdi)\n	jne 5f\n	vmcall\n	jmp 6f\n"
"5:	vmmcall\n"
"6:	testw %ax, %ax\n	je 7f\n	incq 24(%rdi)\n"
"7:	movq $-1, " FRAMES "(%rsi)\n	movq " FRAMES "+8(%rsi), %rbx\n	movq $-1, " FRAMES "+16(%rsi)\n"
"	movl $20, %ecx\n"
"3:	decl %ecx\n	jns 3b\n"
"	cmpq %rbx, " FRAMES "+8(%rsi)\n	je 4f\n	incq 40(%rdi)\n"
"4:	decq %r10\n	jnz 1b\n	movq $1, 0x140208\n	" DONE
"hv_visitor:\n"
"	movq $1, 0x140210\n"
"1:	cmpq $1, " PAGE_VA "\n	jne 2f\n	.rept 60\n	incq " PAGE_VA "+8\n	.endr\n"
"	cmpq $1, " PAGE_VA "+16\n	je 3f\n"
"2:	incq 16(%rdi)\n"
"3:	incq 24(%rdi)\n	cmpq $0, 0x140208\n	je 1b\n	" DONE
/* LOCKed accesses across two pages that lie apart, for which all others are stopped. */
"hv_locker:\n"
"	movq $1, 0x140210\n"
"1:	lock incq 0x143ffc\n	incq 24(%rdi)\n	cmpq $0, 0x140208\n	je 1b\n	" DONE
/* One instruction of which the client has a part, and which writes to the page. */
"hv_mover:\n"
"	movq $1, " PAGE_VA "\n	movl $0x200000, %esi\n	movl $" PAGE_VA ", %edi\n	movsq\n	" DONE
/*
 * Stops in the middle of a block, for a page that is not there yet, with a translation of the other page in hand.  And
 * one who flushes meanwhile, and looks at the frame that is no longer the page's.
 */
"hv_sleeper:\n"
"	movq $1, " PAGE_VA "\n	movq 0x170000, %rax\n	movq $2, " PAGE_VA "\n	" DONE
"hv_looker:\n"
"	movq 8(%rdi), %r11\n	movq $" FRAMES "+0x1007, %rax\n	movq %rax, (%r11)\n	movq $1, 0x140210\n"
"	movq 16(%rdi), %rcx\n	xorl %edx, %edx\n	xorl %r8d, %r8d\n	movq 32(%rdi), %xmm0\n"
"	cmpq $0, 48(%rdi)\n	jne 5f\n	vmcall\n	jmp 6f\n"
"5:	vmmcall\n"
"6:	movq %rax, 24(%rdi)\n	movq " FRAMES ", %rax\n	movq %rax, 40(%rdi)\n	movq $1, 0x140208\n	" DONE
/* Each flushes the other. */
"hv_flusher:\n"
"	movq (%rdi), %r10\n"
"1:	movq 16(%rdi), %rcx\n	xorl %edx, %edx\n	xorl %r8d, %r8d\n	movq 32(%rdi), %xmm0\n"
"	cmpq $0, 48(%rdi)\n	jne 5f\n	vmcall\n	jmp 6f\n"
"5:	vmmcall\n"
"6:	testw %ax, %ax\n	je 7f\n	incq 24(%rdi)\n"
"7:	decq %r10\n	jnz 1b\n	" DONE);
extern const uint8_t hv_changer[], hv_visitor[], hv_locker[], hv_mover[], hv_sleeper[], hv_looker[], hv_flusher[];

static struct smp *partition_of(unsigned int cpus)
{
	struct smp *s = smp_new(cpus, true);

	for (unsigned int n = 0; n < cpus; n++) {
		struct guest g = { .vm = s->vm, .vcpu = s->vcpu[n] };
		struct cpuid_table *t = hv_leaves();

		api_ok(api_ioctl(s->vcpu[n], KVM_SET_CPUID2, t));
		free(t);
		/* The last first. */
		assert_int_equal(guest_set_msr(&g, 0x40000002, 63 - n), 1);
		if (!n)
			hv_identify(&g);
	}
	return s;
}

static void flusher_args(struct smp *s, unsigned int n, uint64_t rounds, uint64_t mask, bool amd)
{
	uint64_t *a = smp_args(s, n);

	a[0] = rounds;
	a[1] = SMP_PTE(0x150000);
	a[2] = FLUSH_SPACE | FAST;
	a[4] = mask;
	a[6] = amd;
}

static void shootdown(bool amd)
{
	struct smp *s = partition_of(3);
	uint64_t others = 1ULL << 62 | 1ULL << 61;

	*smp_word(s, 0x160000) = *smp_word(s, 0x160010) = 1;
	*smp_word(s, SMP_PTE(0x150000)) = 0x160000 | 7;
	flusher_args(s, 0, ROUNDS, others, amd);
	smp_call(s, 0, hv_changer);
	smp_call(s, 1, hv_visitor);
	smp_call(s, 2, hv_visitor);
	smp_run(s, 7);
	assert_int_equal(smp_args(s, 0)[3], 0);
	assert_int_equal(smp_args(s, 0)[5], 0);
	for (unsigned int n = 1; n < 3; n++) {
		assert_int_equal(smp_args(s, n)[2], 0);
		assert_true(smp_args(s, n)[3] > 0);
	}
	if (!api_real()) {
		assert_int_equal(smp_stat(s, 0, "hv_tlb_flushes"), ROUNDS);
		assert_true(smp_stat(s, 1, "tlb_flush") > 0);
	}
	smp_free(s);
}

static void test_shootdown(void **state)
{
	if (!hv_there() || !smp_able())
		skip();
	guest_each_model(shootdown);
}

/*
 * A vCPU that is with the client is not waited for; but when it comes back it goes on without an old translation, in
 * the middle of an instruction too.
 */
static void outside(bool amd)
{
	struct smp *s = partition_of(2);

	*smp_word(s, SMP_TABLES + 0x2008) = 0x200000 | 0x87;
	*smp_word(s, SMP_PTE(0x150000)) = 0x160000 | 7;
	smp_call(s, 1, hv_mover);
	api_ok(api_ioctl(s->vcpu[1], KVM_RUN, NULL));
	assert_int_equal(s->run[1]->exit_reason, KVM_EXIT_MMIO);
	memset(s->run[1]->mmio.data, 0x5a, 8);
	assert_int_equal(*smp_word(s, 0x160000), 1);
	*smp_word(s, SMP_PTE(0x150000)) = 0x161000 | 7;
	flusher_args(s, 0, 1, 1ULL << 62, amd);
	smp_call(s, 0, hv_flusher);
	smp_run(s, 1);
	assert_int_equal(smp_args(s, 0)[3], 0);
	smp_run(s, 2);
	assert_int_equal(*smp_word(s, 0x160000), 1);
	assert_int_equal(*smp_word(s, 0x161000), 0x5a5a5a5a5a5a5a5a);
	smp_free(s);
}

static void test_outside(void **state)
{
	if (!hv_there() || !smp_able())
		skip();
	guest_each_model(outside);
}

/* -1: this machine has no userfaultfd, or not for us. */
static int watch(void *page)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register r = { .range = { (uintptr_t)page, PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | (api_real() ? 0 : UFFD_USER_MODE_ONLY));

	if (fd < 0)
		return -1;
	assert_int_equal(madvise(page, PAGE, MADV_DONTNEED), 0);
	if (!ioctl(fd, UFFDIO_API, &api) && !ioctl(fd, UFFDIO_REGISTER, &r))
		return fd;
	close(fd);
	return -1;
}

/* When the hypercall has returned nobody writes by the old translation; and the client gets its vCPU back before that. */
static void sleeping(bool amd)
{
	struct smp *s = partition_of(2);
	struct uffdio_zeropage zero = { .range = { (uintptr_t)s->mem + 0x170000, PAGE } };
	struct kvm_mp_state state;
	struct pollfd p = { .events = POLLIN };

	p.fd = watch(s->mem + 0x170000);
	if (p.fd < 0) {
		smp_free(s);
		skip();
	}
	*smp_word(s, SMP_PTE(0x150000)) = 0x160000 | 7;
	smp_call(s, 1, hv_sleeper);
	smp_start(s, 2);
	assert_int_equal(poll(&p, 1, 30000), 1);
	flusher_args(s, 0, 0, 1ULL << 62, amd);
	smp_call(s, 0, hv_looker);
	smp_start(s, 1);
	while (!*smp_word(s, 0x140210))
		sched_yield();
	/* Returns once KVM_RUN has. */
	s->run[0]->immediate_exit = 1;
	api_ok(api_ioctl(s->vcpu[0], KVM_GET_MP_STATE, &state));
	if (!api_real())
		assert_int_equal(*smp_word(s, 0x140208), 0);
	s->run[0]->immediate_exit = 0;
	api_ok(ioctl(p.fd, UFFDIO_ZEROPAGE, &zero));
	smp_wait(s, 3);
	assert_int_equal(smp_args(s, 0)[3], SUCCESS);
	assert_int_equal(smp_args(s, 0)[5], *smp_word(s, 0x160000));
	if (!api_real())
		assert_int_equal(smp_stat(s, 0, "hv_tlb_flushes"), 1);
	close(p.fd);
	smp_free(s);
}

static void test_sleeping(void **state)
{
	if (!hv_there() || !smp_able())
		skip();
	guest_each_model(sleeping);
}

/* Who waits for a flush does not hold up the one who has to serve it. */
static void split_locks(bool amd)
{
	struct smp *s = partition_of(3);

	*smp_word(s, SMP_PTE(0x150000)) = 0x160000 | 7;
	*smp_word(s, SMP_PTE(0x144000)) = 0x146000 | 7;
	flusher_args(s, 0, ROUNDS, 3ULL << 61, amd);
	smp_call(s, 0, hv_changer);
	smp_call(s, 1, hv_locker);
	smp_call(s, 2, hv_locker);
	smp_run(s, 7);
	assert_int_equal(smp_args(s, 0)[3], 0);
	assert_true(smp_args(s, 1)[3] > 0 && smp_args(s, 2)[3] > 0);
	assert_int_equal(*(volatile uint32_t *)(s->mem + 0x143ffc), (uint32_t)(smp_args(s, 1)[3] + smp_args(s, 2)[3]));
	smp_free(s);
}

static void test_split_locks(void **state)
{
	if (!hv_there() || !smp_able())
		skip();
	guest_each_model(split_locks);
}

static void mutual(bool amd)
{
	struct smp *s = partition_of(3);

	for (unsigned int n = 0; n < 3; n++) {
		flusher_args(s, n, ROUNDS, 7ULL << 61, amd);
		smp_call(s, n, hv_flusher);
	}
	smp_run(s, 7);
	for (unsigned int n = 0; n < 3; n++) {
		assert_int_equal(smp_args(s, n)[3], 0);
		if (!api_real())
			assert_int_equal(smp_stat(s, n, "hv_tlb_flushes"), ROUNDS);
	}
	smp_free(s);
}

/* Nobody waits for one who waits for him. */
static void test_mutual(void **state)
{
	if (!hv_there() || !smp_able())
		skip();
	guest_each_model(mutual);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_statuses),
	cmocka_unit_test(test_bad_memory),
	cmocka_unit_test(test_undefined),
	cmocka_unit_test(test_32bit),
	cmocka_unit_test(test_permits),
	cmocka_unit_test(test_spin),
	cmocka_unit_test(test_xmm_input),
	cmocka_unit_test(test_extended),
	cmocka_unit_test(test_debugger),
	cmocka_unit_test(test_ipi_sets),
	cmocka_unit_test(test_ipi_mask),
	cmocka_unit_test(test_ipi_vectors),
	cmocka_unit_test(test_ipi_no_lapic),
	cmocka_unit_test(test_too_many_banks),
	cmocka_unit_test(test_flush_sets),
	cmocka_unit_test(test_flush_mask),
	cmocka_unit_test(test_shootdown),
	cmocka_unit_test(test_outside),
	cmocka_unit_test(test_sleeping),
	cmocka_unit_test(test_split_locks),
	cmocka_unit_test(test_mutual),
};

API_MAIN(tests)
