// SPDX-License-Identifier: MIT
/*
 * Which VMCBs VMRUN takes: valid ones, of which one to three fields are bent to their limits, and a table of the
 * rules, which is the manual's text and knows nothing of the library's own (APM 2, 15.5.1, 15.20, 15.25.3 and
 * tables B-1 and B-2).  Where the manual leaves it open nothing is compared.
 *
 * RULES_CASES in the environment is how many, RULES_SEED where to begin.
 */
#include <stdio.h>
#include <stdlib.h>

#include "anykvm.h"
#include "guest.h"
#include "../rnd.h"

#define CASES 40000
#define VMCB 0x4000
#define HSAVE 0x5000
#define IOPM 0x6000
#define MSRPM 0x9000
#define L2_CODE 0x2000          /* HLT, whatever the mode */
#define PAE_TABLE 0x3000
#define LEGACY_TABLE 0xb000
#define INVALID (~0ULL)

/* Offsets in the VMCB; tables B-1 and B-2. */
enum {
	EXCEPTIONS = 0x08, INTERCEPTS3 = 0x0c, INTERCEPTS4 = 0x10, IOPM_BASE = 0x40, MSRPM_BASE = 0x48, ASID = 0x58,
	TLB_CONTROL = 0x5c, EXITCODE = 0x70, NP_ENABLE = 0x90, EVENTINJ = 0xa8, NCR3 = 0xb0,
	ES = 0x400, CS = 0x410, SS = 0x420, DS = 0x430, FS = 0x440, GS = 0x450, GDTR = 0x460, LDTR = 0x470, IDTR = 0x480,
	TR = 0x490, CPL = 0x4cb, EFER = 0x4d0, CR4 = 0x548, CR3 = 0x550, CR0 = 0x558, DR7 = 0x560, DR6 = 0x568,
	RFLAGS = 0x570, RIP = 0x578, RSP = 0x5d8, G_PAT = 0x668,
};

/* --- the rules -------------------------------------------------------------------------------------- */

enum verdict { TAKEN, REFUSED, OPEN };

struct machine {
	unsigned int maxphyaddr;
	uint64_t cr4, efer;     /* bits that there are */
};

static uint64_t get(const uint8_t *vmcb, unsigned int at, size_t size)
{
	uint64_t value = 0;

	memcpy(&value, vmcb + at, size);
	return value;
}

static uint64_t q(const uint8_t *vmcb, unsigned int at)
{
	return get(vmcb, at, 8);
}

static enum verdict when(bool refused)
{
	return refused ? REFUSED : TAKEN;
}

static uint64_t beyond(const struct machine *m)
{
	return ~((1ULL << m->maxphyaddr) - 1);
}

static bool paging(const uint8_t *v)
{
	return q(v, CR0) >> 31 & 1;
}

static bool lme(const uint8_t *v)
{
	return q(v, EFER) >> 8 & 1;
}

static bool pae(const uint8_t *v)
{
	return q(v, CR4) >> 5 & 1;
}

static enum verdict svme(const struct machine *m, const uint8_t *v)
{
	return when(!(q(v, EFER) >> 12 & 1));
}

static enum verdict cache(const struct machine *m, const uint8_t *v)
{
	return when((q(v, CR0) >> 29 & 3) == 1);        /* NW without CD */
}

static enum verdict cr0_high(const struct machine *m, const uint8_t *v)
{
	return when(q(v, CR0) >> 32);
}

/* Which bits are MBZ outside long mode the manual does not say: its CR3 has 32 bits there. */
static enum verdict cr3(const struct machine *m, const uint8_t *v)
{
	if (!(q(v, CR3) & beyond(m)))
		return TAKEN;
	return lme(v) && paging(v) ? REFUSED : OPEN;
}

static enum verdict cr4(const struct machine *m, const uint8_t *v)
{
	return when(q(v, CR4) & ~m->cr4);
}

static enum verdict dr6(const struct machine *m, const uint8_t *v)
{
	return when(q(v, DR6) >> 32);
}

static enum verdict dr7(const struct machine *m, const uint8_t *v)
{
	return when(q(v, DR7) >> 32);
}

/* Bits 7:1 read as zero, and bit 13 (LMSLE) came and went. */
static enum verdict efer(const struct machine *m, const uint8_t *v)
{
	uint64_t open = 0x20fe;

	if (q(v, EFER) & ~m->efer & ~open)
		return REFUSED;
	return q(v, EFER) & open ? OPEN : TAKEN;
}

static enum verdict long_without_pae(const struct machine *m, const uint8_t *v)
{
	return when(lme(v) && paging(v) && !pae(v));
}

static enum verdict long_unprotected(const struct machine *m, const uint8_t *v)
{
	return when(lme(v) && paging(v) && !(q(v, CR0) & 1));
}

static enum verdict long_and_big(const struct machine *m, const uint8_t *v)
{
	uint64_t attributes = get(v, CS + 2, 2);

	return when(lme(v) && paging(v) && pae(v) && (attributes >> 9 & 1) && (attributes >> 10 & 1));
}

static enum verdict vmrun_intercept(const struct machine *m, const uint8_t *v)
{
	return when(!(get(v, INTERCEPTS4, 4) & 1));
}

/* The low 12 bits of the address are ignored; 12 KiB and 8 KiB. */
static enum verdict map_end(const struct machine *m, uint64_t base, uint64_t size)
{
	uint64_t first = base & ~0xfffULL, last = first + size - 1;

	return when(last < first || (last & beyond(m)));
}

static enum verdict iopm(const struct machine *m, const uint8_t *v)
{
	return map_end(m, q(v, IOPM_BASE), 0x3000);
}

/* Whether it must be memory the manual does not say. */
static enum verdict msrpm(const struct machine *m, const uint8_t *v)
{
	enum verdict end = map_end(m, q(v, MSRPM_BASE), 0x2000);

	return end == TAKEN && q(v, MSRPM_BASE) >= GUEST_MEM - 0x1000 ? OPEN : end;
}

/* 15.20; which vectors of 0 to 31 are no exceptions changes with the processor, and with the mode. */
static enum verdict event(const struct machine *m, const uint8_t *v)
{
	const uint32_t sure = 0x000f7dcb;       /* #DE, #DB, #BP, #UD... */
	uint64_t e = q(v, EVENTINJ);
	unsigned int vector = e & 0xff, type = e >> 8 & 7;

	if (!(e >> 31 & 1))
		return TAKEN;
	if (type == 1 || type > 4)
		return REFUSED;
	if (type != 3)
		return TAKEN;
	if (vector == 2 || vector > 31)
		return REFUSED;
	return sure >> vector & 1 ? TAKEN : OPEN;
}

static enum verdict asid(const struct machine *m, const uint8_t *v)
{
	return when(!get(v, ASID, 4));
}

/* Encodings but 0, 1, 3 and 7 are reserved (table 15-9), which KVM takes for a failure; other bytes are others' fields. */
static enum verdict tlb_control(const struct machine *m, const uint8_t *v)
{
	unsigned int c = v[TLB_CONTROL];

	return when(c != 0 && c != 1 && c != 3 && c != 7);
}

static bool np(const uint8_t *v)
{
	return v[NP_ENABLE] & 1;
}

/* 15.25.4; L1 is in long mode, so its format it is. */
static enum verdict ncr3(const struct machine *m, const uint8_t *v)
{
	return when(np(v) && (q(v, NCR3) & beyond(m)));
}

static enum verdict pat(const struct machine *m, const uint8_t *v)
{
	for (unsigned int n = 0; np(v) && n < 8; n++)
		if (v[G_PAT + n] > 7 || v[G_PAT + n] == 2 || v[G_PAT + n] == 3)
			return REFUSED;
	return TAKEN;
}

/* PAE's four entries are read by VMRUN, and are wherever CR3 says: not looked at here. */
static enum verdict pae_tables(const struct machine *m, const uint8_t *v)
{
	return !np(v) && paging(v) && pae(v) && !lme(v) && q(v, CR3) != PAE_TABLE ? OPEN : TAKEN;
}

static const struct rule {
	const char *name;
	enum verdict (*judge)(const struct machine *m, const uint8_t *vmcb);
} rules[] = {
	{ "EFER.SVME is zero", svme }, { "CR0.CD is zero and CR0.NW is set", cache },
	{ "CR0[63:32] are not zero", cr0_high }, { "an MBZ bit of CR3 is set", cr3 },
	{ "an MBZ bit of CR4 is set", cr4 }, { "DR6[63:32] are not zero", dr6 }, { "DR7[63:32] are not zero", dr7 },
	{ "an MBZ bit of EFER is set", efer }, { "EFER.LME and CR0.PG without CR4.PAE", long_without_pae },
	{ "EFER.LME and CR0.PG without CR0.PE", long_unprotected },
	{ "EFER.LME, CR0.PG, CR4.PAE, CS.L and CS.D are all set", long_and_big },
	{ "the VMRUN intercept is clear", vmrun_intercept }, { "the I/O map ends beyond physical memory", iopm },
	{ "the MSR map ends beyond physical memory", msrpm }, { "illegal event injection", event },
	{ "the ASID is zero", asid }, { "a reserved TLB_CONTROL", tlb_control }, { "an MBZ bit of nCR3 is set", ncr3 },
	{ "G_PAT has a reserved type", pat }, { "PDPTEs", pae_tables },
};

#define RULES (sizeof(rules) / sizeof(rules[0]))

/* The rule that decides. */
static enum verdict judge(const struct machine *m, const uint8_t *vmcb, const struct rule **why)
{
	enum verdict all = TAKEN;

	*why = NULL;
	for (unsigned int n = 0; n < RULES; n++) {
		enum verdict one = rules[n].judge(m, vmcb);

		if (one == REFUSED) {
			*why = &rules[n];
			return REFUSED;
		}
		if (one == OPEN)
			all = OPEN;
	}
	return all;
}

/* --- what the machine has ----------------------------------------------------------------------------- */

struct bit {
	uint8_t bit;
	uint32_t leaf;
	uint8_t reg;            /* EAX to EDX */
	uint8_t in;
};

/* APM 2, 3.1.3 and 3.1.7; leaf 0: always. */
static const struct bit cr4_bits[] = {
	{ 0, 1, 3, 1 }, { 1, 1, 3, 1 }, { 2, 1, 3, 4 }, { 3, 1, 3, 2 }, { 4, 1, 3, 3 }, { 5, 1, 3, 6 }, { 6, 1, 3, 7 },
	{ 7, 1, 3, 13 }, { 8, 0, 0, 0 }, { 9, 1, 3, 24 }, { 10, 1, 3, 25 }, { 11, 7, 2, 2 }, { 12, 7, 2, 16 },
	{ 16, 7, 1, 0 }, { 17, 1, 2, 17 }, { 18, 1, 2, 26 }, { 20, 7, 1, 7 }, { 21, 7, 1, 20 }, { 22, 7, 2, 3 },
	{ 23, 7, 2, 7 },
};
static const struct bit efer_bits[] = {
	{ 0, 0, 0, 0 }, { 8, 0x80000001, 3, 29 }, { 10, 0x80000001, 3, 29 }, { 11, 0x80000001, 3, 20 },
	{ 12, 0x80000001, 2, 2 }, { 14, 0x80000001, 3, 25 }, { 15, 0x80000001, 2, 17 }, { 17, 0x80000008, 1, 8 },
	{ 18, 0x80000008, 1, 13 }, { 20, 0x80000021, 0, 7 }, { 21, 0x80000021, 0, 8 },
};

static uint64_t existing(const struct cpuid_table *t, const struct bit *bits, size_t count)
{
	uint64_t all = 0;

	for (size_t n = 0; n < count; n++)
		for (uint32_t k = 0; k < t->head.nent; k++) {
			const uint32_t regs[] = { t->e[k].eax, t->e[k].ebx, t->e[k].ecx, t->e[k].edx };

			if (!bits[n].leaf || (t->e[k].function == bits[n].leaf && !t->e[k].index &&
					      (regs[bits[n].reg] >> bits[n].in & 1)))
				all |= 1ULL << bits[n].bit;
		}
	return all;
}

static struct machine learn(struct guest *g)
{
	struct cpuid_table *t = guest_cpuid(g->vcpu);
	struct machine m = {
		.maxphyaddr = guest_leaf(t, 0x80000008, 0)->eax & 0xff,
		.cr4 = existing(t, cr4_bits, sizeof(cr4_bits) / sizeof(cr4_bits[0])),
		.efer = existing(t, efer_bits, sizeof(efer_bits) / sizeof(efer_bits[0])),
	};

	free(t);
	return m;
}

/* --- VMCBs ---------------------------------------------------------------------------------------------- */

static uint64_t state;

static uint64_t rnd(void)
{
	return splitmix64(&state);
}

static uint64_t below(uint64_t n)
{
	return rnd() % n;
}

static void put(uint8_t *vmcb, unsigned int at, size_t size, uint64_t value)
{
	memcpy(vmcb + at, &value, size);
}

static void put_seg(uint8_t *vmcb, unsigned int at, uint16_t selector, uint16_t attributes)
{
	put(vmcb, at, 2, selector);
	put(vmcb, at + 2, 2, attributes);
	put(vmcb, at + 4, 4, 0xffffffff);
}

static const struct mode {
	uint64_t cr0, cr3, cr4, efer;
	uint16_t cs;
} modes[] = {
	{ 0x10, 0, 0, 0x1000, 0x9b },                                   /* real mode */
	{ 0x11, 0, 0, 0x1000, 0xc9b },
	{ 0x80000011, LEGACY_TABLE, 0x10, 0x1000, 0xc9b },
	{ 0x80000011, PAE_TABLE, 0x20, 0x1000, 0xc9b },
	{ 0x80000011, GUEST_TABLES, 0x20, 0x1500, 0xc9b },              /* compatibility mode */
	{ 0x80000011, GUEST_TABLES, 0x20, 0x1d00, 0xa9b },
};

/* One that is taken. */
static void fill(uint8_t *vmcb)
{
	const struct mode *m = &modes[below(sizeof(modes) / sizeof(modes[0]))];

	memset(vmcb, 0, PAGE);
	put(vmcb, EXCEPTIONS, 4, ~0u);
	put(vmcb, INTERCEPTS3, 4, ~0u);
	put(vmcb, INTERCEPTS4, 4, 0x7fff);
	put(vmcb, IOPM_BASE, 8, IOPM);
	put(vmcb, MSRPM_BASE, 8, MSRPM);
	put(vmcb, ASID, 4, 1 + below(2));
	put(vmcb, NP_ENABLE, 1, below(2));
	put(vmcb, NCR3, 8, GUEST_TABLES);
	put(vmcb, G_PAT, 8, 0x0007040600070406);
	put_seg(vmcb, CS, 8, m->cs);
	for (unsigned int at = ES; at <= GS; at += 0x10)
		if (at != CS)
			put_seg(vmcb, at, 16, 0xc93);
	put_seg(vmcb, TR, 24, 0x8b);
	put(vmcb, EFER, 8, m->efer);
	put(vmcb, CR0, 8, m->cr0);
	put(vmcb, CR3, 8, m->cr3);
	put(vmcb, CR4, 8, m->cr4);
	put(vmcb, DR6, 8, 0xffff0ff0);
	put(vmcb, DR7, 8, 0x400);
	put(vmcb, RFLAGS, 8, 2);
	put(vmcb, RIP, 8, L2_CODE);
	put(vmcb, RSP, 8, 0x3000);
}

struct field {
	const char *name;
	uint16_t at;
	uint8_t size;
	uint64_t bits;          /* that may be turned; 0: all */
};

static const struct field fields[] = {
	{ "intercepts", INTERCEPTS4, 4, 1 }, { "IOPM", IOPM_BASE, 8, 0 }, { "MSRPM", MSRPM_BASE, 8, 0 }, { "ASID", ASID, 4, 3 },
	{ "TLB_CONTROL", TLB_CONTROL, 1, 0 }, { "EVENTINJ", EVENTINJ, 8, 0x80000fff }, { "nCR3", NCR3, 8, 0 },
	{ "NP_ENABLE", NP_ENABLE, 1, 1 }, { "CS attributes", CS + 2, 2, 0 }, { "SS attributes", SS + 2, 2, 0 },
	{ "DS selector", DS, 2, 0 }, { "FS base", FS + 8, 8, 0 }, { "GDTR base", GDTR + 8, 8, 0 },
	{ "IDTR limit", IDTR + 4, 4, 0 }, { "LDTR attributes", LDTR + 2, 2, 0 }, { "TR attributes", TR + 2, 2, 0 },
	{ "CPL", CPL, 1, 0 }, { "EFER", EFER, 8, 0 }, { "CR4", CR4, 8, 0 }, { "CR3", CR3, 8, 0 }, { "CR0", CR0, 8, 0 },
	{ "DR7", DR7, 8, 0 }, { "DR6", DR6, 8, 0 }, { "RFLAGS", RFLAGS, 8, 0 }, { "RIP", RIP, 8, 0 }, { "RSP", RSP, 8, 0 },
	{ "G_PAT", G_PAT, 8, 0 },
};

/* A bit turned, all bits, none, the ends of physical memory, of the low half, of canonical addresses. */
static uint64_t limit(const struct machine *m, uint64_t old)
{
	const uint64_t end = 1ULL << m->maxphyaddr;
	const uint64_t limits[] = {
		0, ~0ULL, 0xffffffff, 0x100000000, 0x7fffffffffff, 0x800000000000, 0x8000000000000000, end, end - 1,
		end - 0x1000, end - 0x2000, end - 0x2001, end - 0x3000, end - 0x3001, end - 0x4000,
	};

	return below(3) ? old ^ 1ULL << below(64) : limits[below(sizeof(limits) / sizeof(limits[0]))];
}

/* Half of the bits that are turned are within the field. */
static const struct field *bend(const struct machine *m, uint8_t *vmcb)
{
	const struct field *f = &fields[below(sizeof(fields) / sizeof(fields[0]))];
	uint64_t old = get(vmcb, f->at, f->size), value = limit(m, old);

	if (f->bits)
		value = (old & ~f->bits) | (rnd() & f->bits);
	else if (f->size < 8 && below(2))
		value = old ^ 1ULL << below(f->size * 8u);
	put(vmcb, f->at, f->size, value);
	return f;
}

/* vmrun; out 0x10, al */
static const uint8_t code[] = { 0x0f, 0x01, 0xd8, 0xe6, 0x10 };

/* --- the test ------------------------------------------------------------------------------------------------ */

/* The events that L2 is given may have gone to a stack that is anywhere. */
static void put_memory(struct guest *g)
{
	uint64_t *pae = (uint64_t *)(g->mem + PAE_TABLE), *tables = (uint64_t *)(g->mem + GUEST_TABLES);

	memset(g->mem + L2_CODE, 0xf4, PAGE);
	memcpy(g->mem + GUEST_CODE, code, sizeof(code));
	pae[0] = (GUEST_TABLES + 0x2000) | 1;
	pae[1] = pae[2] = pae[3] = 0;
	((uint32_t *)(g->mem + LEGACY_TABLE))[0] = 0x87;
	tables[0] = (GUEST_TABLES + 0x1000) | 7;
	tables[512] = (GUEST_TABLES + 0x2000) | 7;
	tables[1024] = 0x87;
}

static struct guest hypervisor(void)
{
	struct guest g = guest_of(code, sizeof(code), false);
	struct cpuid_table *t = guest_supported();
	struct kvm_sregs s;

	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
	free(t);
	guest_long(&g);
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	s.efer |= 1 << 12;
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
	assert_int_equal(guest_set_msr(&g, 0xc0010117, HSAVE), 1);
	return g;
}

/* L2's events may have gone over what L1 needs for itself. */
static bool memory_whole(const struct guest *g)
{
	const uint64_t *tables = (const uint64_t *)(g->mem + GUEST_TABLES);

	return !memcmp(g->mem + GUEST_CODE, code, sizeof(code)) && (tables[0] & ~0xfffULL) == GUEST_TABLES + 0x1000 &&
	       (tables[512] & ~0xfffULL) == GUEST_TABLES + 0x2000 && (tables[1024] & ~0xfffULL) == 0 &&
	       (tables[0] & tables[512] & tables[1024] & 7) == 7;
}

static bool in_l2(struct guest *g)
{
	struct kvm_nested_state *n = api_memory(2 * PAGE);
	bool in;

	n->size = 2 * PAGE;
	api_ok(api_ioctl(g->vcpu, KVM_GET_NESTED_STATE, n));
	in = n->flags & KVM_STATE_NESTED_GUEST_MODE;
	munmap(n, 2 * PAGE);
	return in;
}

/* Out of L2, where it has got to something that is the client's to know of. */
static void leave(struct guest *g, struct kvm_sregs *s)
{
	struct kvm_nested_state n = {
		.flags = KVM_STATE_NESTED_GIF_SET, .format = KVM_STATE_NESTED_FORMAT_SVM, .size = sizeof(n),
		.hdr.svm.vmcb_pa = ~0ULL,
	};
	struct kvm_vcpu_events none = { 0 };

	api_ok(api_ioctl(g->vcpu, KVM_SET_NESTED_STATE, &n));
	api_ok(api_ioctl(g->vcpu, KVM_SET_VCPU_EVENTS, &none));
	api_ok(api_ioctl(g->vcpu, KVM_SET_SREGS, s));
}

/* The exit code of VMRUN. */
static uint64_t vmrun(struct guest *g, struct kvm_sregs *s)
{
	struct kvm_regs r = { .rip = GUEST_CODE, .rax = VMCB, .rflags = 2 };

	api_ok(api_ioctl(g->vcpu, KVM_SET_REGS, &r));
	api_ok(api_ioctl(g->vcpu, KVM_RUN, NULL));
	if (!in_l2(g) && g->run->exit_reason == KVM_EXIT_SHUTDOWN && !memory_whole(g)) {
		leave(g, s);
		return q(g->mem + VMCB, EXITCODE);
	}
	if (!in_l2(g)) {
		assert_int_equal(g->run->exit_reason, KVM_EXIT_IO);
		assert_int_equal(g->run->io.port, 0x10);
		return q(g->mem + VMCB, EXITCODE);
	}
	leave(g, s);
	return 0;
}

struct tally {
	unsigned long cases, taken, open, wrong;
	unsigned long refused[RULES];
};

static void one(struct guest *g, struct kvm_sregs *s, const struct machine *m, struct tally *t)
{
	const struct field *bent[3] = { NULL };
	unsigned int count = 1 + (unsigned int)below(3);
	uint8_t *vmcb = g->mem + VMCB, before[PAGE];
	const struct rule *why;
	enum verdict verdict;
	uint64_t code;

	put_memory(g);
	fill(vmcb);
	for (unsigned int n = 0; n < count; n++)
		bent[n] = bend(m, vmcb);
	memcpy(before, vmcb, PAGE);
	verdict = judge(m, vmcb, &why);
	code = vmrun(g, s);
	t->cases++;
	t->open += verdict == OPEN;
	t->taken += verdict == TAKEN;
	if (verdict == REFUSED)
		t->refused[why - rules]++;
	if (verdict == OPEN || (code == INVALID) == (verdict == REFUSED))
		return;
	if (t->wrong++ > 20)
		return;
	print_error("case %lu: exit code %#llx, but %s\n", t->cases, (unsigned long long)code,
		    why ? why->name : "no rule is broken");
	for (unsigned int n = 0; n < count; n++)
		print_error("    %s = %#llx\n", bent[n]->name,
			    (unsigned long long)get(before, bent[n]->at, bent[n]->size));
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

static void test_rules(void **unused)
{
	struct tally t = { 0 };
	struct kvm_sregs s;
	struct machine m;
	struct guest g;
	uint64_t runs, refused = 0;

	if (!api_linked())
		skip();
	assert_int_equal(anykvm_set_cpu("amd"), 0);
	g = hypervisor();
	m = learn(&g);
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	state = from_environment("RULES_SEED", 1);
	runs = from_environment("RULES_CASES", CASES);
	for (uint64_t n = 0; n < runs; n++)
		one(&g, &s, &m, &t);
	print_message("%lu taken, %lu open\n", t.taken, t.open);
	for (unsigned int n = 0; n < RULES; n++)
		print_message("%lu: %s\n", t.refused[n], rules[n].name);
	assert_int_equal(t.wrong, 0);
	/* The last only ever says "open"; each other rule has had its cases, and L2 has run. */
	for (unsigned int n = 0; n + 1 < RULES; n++) {
		refused += t.refused[n];
		assert_true(t.refused[n] > 0);
	}
	assert_true(guest_stat(g.vcpu, "nested_exits") >= refused);
	assert_true(guest_stat(g.vcpu, "nested_run") >= t.taken);
	assert_true(guest_stat(g.vcpu, "nested_run") <= t.cases - refused);
	guest_end(&g);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_rules),
};

API_MAIN(tests)
