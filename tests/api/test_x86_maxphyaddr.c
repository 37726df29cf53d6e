// SPDX-License-Identifier: MIT
/*
 * The guest's MAXPHYADDR, which may be smaller than the host's (KVM_CAP_SMALLER_MAXPHYADDR), or larger: which bits of
 * page tables and of CR3 are reserved follows CPUID at once.  And the addresses that the large ones open: memory
 * above 2^48, and linear addresses of 57 bits.
 */
#include "guest.h"

#include <stdlib.h>

#include "anykvm.h"

#define HANDLER 0x2000
#define IDT 0x3000
#define GDT 0x4000
#define STACK 0x6ff0
#define PT 0x7000               /* one page table; its first entry is the page in question */
#define PD 0x8000
#define PDPT 0x9000
#define PML5 0xa000
#define DATA 0xb000
#define GVA 0x8000000000ULL     /* the second entry of the root: its own tables below it */

#define READ 0
#define WRITE 0x10
#define FETCH 0x20

/* Error codes of #PF. */
#define P 1
#define W 2
#define RSVD 8
#define I 16

#define EFER_NX (1 << 11)

/* mov rax,[rsi]; out 10h,al; at +10h: mov [rsi],rax; out 10h,al; at +20h: jmp rsi */
static const uint8_t program[] = {
	0x48, 0x8b, 0x06, 0xe6, 0x10, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4,
	0x48, 0x89, 0x06, 0xe6, 0x10, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4,
	0xff, 0xe6, 0xf4,
};
/* pop rax; mov rbx,cr2; out 20h,eax */
static const uint8_t handler[] = { 0x58, 0x0f, 0x20, 0xd3, 0xe7, 0x20, 0xf4 };

static uint64_t *table(struct guest *g, uint64_t at)
{
	return (uint64_t *)(g->mem + at);
}

/* Sets CPUID with this MAXPHYADDR.  Returns the one that is offered. */
static unsigned int set_maxphyaddr(int vcpu, unsigned int bits)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 e[256];
	} c;
	unsigned int offered = 0;

	c.head.nent = 256;
	api_ok(api_ioctl(api_sys(), KVM_GET_SUPPORTED_CPUID, &c));
	for (unsigned int n = 0; n < c.head.nent; n++)
		if (c.e[n].function == 0x80000008) {
			offered = c.e[n].eax & 0xff;
			c.e[n].eax = (c.e[n].eax & ~0xffu) | bits;
		}
	api_ok(api_ioctl(vcpu, KVM_SET_CPUID2, &c));
	return offered;
}

/* A smaller MAXPHYADDR is the processor's here, and a kernel's only where it says so. */
static bool can_run(void)
{
	return guest_runs_long_mode() && (!api_real() || api_cap(api_sys(), KVM_CAP_SMALLER_MAXPHYADDR) > 0);
}

/* 64-bit mode with page faults told; GVA is mapped to DATA through PDPT, PD and PT. */
static void enter(struct guest *g, int vcpu)
{
	struct guest as = *g;
	uint64_t *gdt = table(g, GDT);
	struct kvm_sregs s;

	as.vcpu = vcpu;
	guest_long(&as);
	memcpy(g->mem + HANDLER, handler, sizeof(handler));
	table(g, IDT)[2 * 14] = (HANDLER & 0xffff) | 8 << 16 | 0x8e00ULL << 32;
	gdt[1] = 0x00af9b000000ffffULL;
	gdt[2] = 0x00cf93000000ffffULL;
	table(g, GUEST_TABLES)[1] = PDPT | 3;
	table(g, PDPT)[0] = PD | 3;
	table(g, PD)[0] = PT | 3;
	table(g, PT)[0] = DATA | 3;
	api_ok(api_ioctl(vcpu, KVM_GET_SREGS, &s));
	s.idt = (struct kvm_dtable){ .base = IDT, .limit = 0xfff };
	s.gdt = (struct kvm_dtable){ .base = GDT, .limit = 0xff };
	s.efer |= EFER_NX;
	api_ok(api_ioctl(vcpu, KVM_SET_SREGS, &s));
}

static struct guest with_maxphyaddr(unsigned int bits)
{
	struct guest g = guest_of(program, sizeof(program), false);

	set_maxphyaddr(g.vcpu, bits);
	enter(&g, g.vcpu);
	return g;
}

/* The access, after all translations are dropped. */
static void try(struct guest *g, unsigned int how, uint64_t gva)
{
	struct kvm_regs r = { .rip = GUEST_CODE + how, .rsi = gva, .rsp = STACK, .rflags = 2, .rax = 0x77 };
	struct kvm_sregs s;

	api_ok(api_ioctl(g->vcpu, KVM_GET_SREGS, &s));
	api_ok(api_ioctl(g->vcpu, KVM_SET_SREGS, &s));
	api_ok(api_ioctl(g->vcpu, KVM_SET_REGS, &r));
	api_ok(api_ioctl(g->vcpu, KVM_RUN, NULL));
}

static void faults(struct guest *g, uint64_t gva, uint32_t error)
{
	struct kvm_regs r = guest_regs(g);

	if (g->run->exit_reason != KVM_EXIT_IO || g->run->io.port != 0x20)
		fail_msg("exit %u, no page fault", g->run->exit_reason);
	assert_int_equal(r.rax, error);
	assert_int_equal(r.rbx, gva);
}

static const unsigned int sizes[] = { 36, 40, 46, 48, 52 };

#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

/* Each address bit of the last entry: reserved, or the address of a device. */
static void page_bits(struct guest *g, unsigned int size)
{
	for (unsigned int bit = 34; bit < 52; bit++) {
		table(g, PT)[0] = DATA | 3 | 1ULL << bit;
		try(g, READ, GVA + 8);
		if (bit >= size) {
			faults(g, GVA + 8, P | RSVD);
			try(g, WRITE, GVA + 8);
			faults(g, GVA + 8, P | RSVD | W);
			try(g, FETCH, GVA + 8);
			faults(g, GVA + 8, P | RSVD | I);
			continue;
		}
		assert_int_equal(g->run->exit_reason, KVM_EXIT_MMIO);
		assert_int_equal(g->run->mmio.phys_addr, (DATA + 8) | 1ULL << bit);
		guest_port(g, 0x10);
	}
	table(g, PT)[0] = DATA | 3;
}

/* And of those above it, where the table is then nowhere: nothing is mapped; or the page is a large one. */
static void table_bits(struct guest *g, unsigned int size)
{
	static const struct {
		unsigned int at, n;
	} entries[] = { { PD, 0 }, { PDPT, 0 }, { GUEST_TABLES, 1 } };

	for (unsigned int e = 0; e < 3; e++) {
		uint64_t *p = &table(g, entries[e].at)[entries[e].n], old = *p;

		for (unsigned int bit = 34; bit < 52; bit++) {
			*p = old | 1ULL << bit;
			try(g, READ, GVA);
			faults(g, GVA, bit >= size ? P | RSVD : 0);
		}
		*p = old;
	}
	table(g, PD)[0] = 0x83 | 1ULL << 51;
	try(g, WRITE, GVA);
	if (size < 52)
		faults(g, GVA, P | RSVD | W);
	else
		assert_int_equal(g->run->exit_reason, KVM_EXIT_MMIO);
	table(g, PD)[0] = PT | 3;
}

static void reserved_bits(void **state)
{
	if (!can_run())
		skip();
	assert_int_equal(api_cap(api_sys(), KVM_CAP_SMALLER_MAXPHYADDR), 1);
	for (unsigned int n = 0; n < SIZES; n++) {
		struct guest g = with_maxphyaddr(sizes[n]);

		table(&g, DATA)[1] = 0x1122;
		try(&g, READ, GVA + 8);
		assert_int_equal(g.run->exit_reason, KVM_EXIT_IO);
		assert_int_equal(guest_regs(&g).rax, 0x1122);
		page_bits(&g, sizes[n]);
		table_bits(&g, sizes[n]);
		guest_end(&g);
	}
}

/* It is the last CPUID before the first KVM_RUN that counts, and each vCPU's own, on the same tables. */
static void follows_cpuid(void **state)
{
	struct guest g, other;

	if (!can_run())
		skip();
	g = guest_of(program, sizeof(program), false);
	other = g;
	other.vcpu = api_vcpu(g.vm, 1);
	other.run = api_run_of(other.vcpu);
	set_maxphyaddr(other.vcpu, 52);
	enter(&g, other.vcpu);
	enter(&g, g.vcpu);
	set_maxphyaddr(g.vcpu, 52);
	table(&g, PT)[0] = DATA | 3 | 1ULL << 38;
	set_maxphyaddr(g.vcpu, 36);
	try(&g, READ, GVA);
	faults(&g, GVA, P | RSVD);
	try(&other, READ, GVA);
	assert_int_equal(other.run->exit_reason, KVM_EXIT_MMIO);
	/* Memory there changes nothing for the one that cannot reach it. */
	api_ok(api_set_slot(g.vm, 1, 0, DATA | 1ULL << 38, PAGE, g.mem + DATA));
	table(&g, DATA)[0] = 0x99;
	guest_run(&other, KVM_EXIT_IO);
	try(&other, READ, GVA);
	assert_int_equal(other.run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(guest_regs(&other).rax, 0x99);
	try(&g, READ, GVA);
	faults(&g, GVA, P | RSVD);
	if (!api_real())
		assert_int_equal(api_stat(g.vcpu, "mmio_exits"), 0);
	munmap(other.run, 3 * PAGE);
	api_close(other.vcpu);
	guest_end(&g);
}

/* CR3: reserved bits are a #GP, and the client's EINVAL. */
static void cr3(void **state)
{
	/* mov cr3,rsi; out 10h,al */
	static const uint8_t load[] = { 0x0f, 0x22, 0xde, 0xe6, 0x10 };
	/* pop rax; out 21h,eax */
	static const uint8_t gp[] = { 0x58, 0xe7, 0x21, 0xf4 };

	if (!can_run())
		skip();
	for (unsigned int n = 0; n < SIZES; n++) {
		struct guest g = with_maxphyaddr(sizes[n]);
		struct kvm_sregs s, bad;

		memcpy(g.mem + GUEST_CODE, load, sizeof(load));
		memcpy(g.mem + HANDLER + 0x100, gp, sizeof(gp));
		table(&g, IDT)[2 * 13] = (HANDLER + 0x100) | 8 << 16 | 0x8e00ULL << 32;
		api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
		bad = s;
		bad.cr3 |= sizes[n] < 52 ? 1ULL << sizes[n] : 1ULL << 52;
		api_fails(EINVAL, api_ioctl(g.vcpu, KVM_SET_SREGS, &bad));
		try(&g, READ, bad.cr3);
		assert_int_equal(g.run->exit_reason, KVM_EXIT_IO);
		assert_int_equal(g.run->io.port, 0x21);
		assert_int_equal(guest_regs(&g).rax, 0);
		api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &bad));
		assert_int_equal(bad.cr3, s.cr3);
		try(&g, READ, s.cr3);
		assert_int_equal(g.run->io.port, 0x10);
		guest_end(&g);
	}
}

/* PAE: the pointers that MOV CR3 loads are a #GP, the entries below a fault. */
static void pae(void **state)
{
	/* mov cr3,eax; out 10h,al */
	static const uint8_t load[] = { 0x0f, 0x22, 0xd8, 0xe6, 0x10, 0xf4 };
	/* pop eax; out 21h,eax */
	static const uint8_t gp[] = { 0x58, 0xe7, 0x21, 0xf4 };

	/* That a kernel runs 64-bit code says nothing about this. */
	if (!can_run() || api_real())
		skip();
	for (unsigned int n = 0; n < SIZES; n++) {
		struct guest g = guest_of(load, sizeof(load), false);
		uint64_t *pdpt = table(&g, PDPT), *next = table(&g, PDPT + 0x20);
		struct kvm_regs r = { .rip = GUEST_CODE, .rax = PDPT + 0x20, .rsp = STACK, .rflags = 2 };
		struct kvm_sregs s;

		set_maxphyaddr(g.vcpu, sizes[n]);
		enter(&g, g.vcpu);
		memcpy(g.mem + HANDLER, gp, sizeof(gp));
		table(&g, IDT)[13] = (HANDLER & 0xffff) | 8 << 16 | 0x8e00ULL << 32;
		table(&g, GDT)[1] = 0x00cf9b000000ffffULL;
		table(&g, PD)[0] = 0x83;
		pdpt[0] = next[0] = PD | 1;
		api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
		s.efer = EFER_NX;
		s.cr3 = PDPT;
		s.cs.l = 0;
		s.cs.db = 1;
		api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
		api_ok(api_ioctl(g.vcpu, KVM_SET_REGS, &r));
		guest_port(&g, 0x10);
		/* Only where the entry is present. */
		next[1] = 1ULL << 51 | 1ULL << 45;
		api_ok(api_ioctl(g.vcpu, KVM_SET_REGS, &r));
		guest_port(&g, 0x10);
		next[0] |= 1ULL << (sizes[n] < 52 ? sizes[n] : 52);
		api_ok(api_ioctl(g.vcpu, KVM_SET_REGS, &r));
		guest_port(&g, 0x21);
		assert_int_equal((uint32_t)guest_regs(&g).rax, 0);
		guest_end(&g);
	}
}

/*
 * What KVM's emulator does not know is told to a client that asks for that, where KVM with EPT needs the emulator to
 * find the address out: in between the two MAXPHYADDRs.  Else it is a fault as any other.
 */
static void unknown_to_the_emulator(void **state)
{
	/* fld dword [rsi]; out 10h,al; at +10h: fnstcw [rsi] */
	static const uint8_t x87[] = { 0xd9, 0x06, 0xe6, 0x10, [0x10] = 0xd9, 0x3e };
	unsigned int host;
	struct guest g;

	if (!can_run() || api_real())
		skip();
	g = with_maxphyaddr(36);
	host = set_maxphyaddr(g.vcpu, 36);
	memcpy(g.mem + GUEST_CODE, x87, sizeof(x87));
	table(&g, PT)[0] = DATA | 3 | 1ULL << 36;
	try(&g, READ, GVA);
	faults(&g, GVA, P | RSVD);
	if (host == 36) {
		guest_end(&g);
		skip();
	}
	api_ok(guest_enable(g.vm, KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1));
	try(&g, READ, GVA);
	assert_int_equal(g.run->exit_reason, KVM_EXIT_INTERNAL_ERROR);
	assert_int_equal(g.run->emulation_failure.suberror, KVM_INTERNAL_ERROR_EMULATION);
	assert_int_equal(g.run->emulation_failure.insn_size, 2);
	assert_memory_equal(g.run->emulation_failure.insn_bytes, x87, 2);
	assert_int_equal(guest_regs(&g).rip, GUEST_CODE);
	/* One that it knows, and bits that the host's processor finds. */
	try(&g, WRITE, GVA);
	faults(&g, GVA, P | RSVD | W);
	if (host < 52) {
		table(&g, PT)[0] |= 1ULL << 51;
		try(&g, READ, GVA);
		faults(&g, GVA, P | RSVD);
	}
	guest_end(&g);
}

/* --- what large ones open --- */

/* Slots where no 48 bits reach, found by all that can be had of 52. */
static void memory_above_48_bits(void **state)
{
	static const uint64_t places[] = { 1ULL << 48, 1ULL << 50 | 0x5000, (1ULL << 52) - PAGE };
	struct guest g;

	if (!can_run() || api_real())
		skip();
	g = with_maxphyaddr(52);
	for (unsigned int n = 0; n < 3; n++) {
		uint64_t *m = api_memory(PAGE);

		m[1] = 0x1234 + n;
		api_ok(api_set_slot(g.vm, 1 + n, KVM_MEM_LOG_DIRTY_PAGES, places[n], PAGE, m));
		table(&g, PT)[0] = places[n] | 3;
		try(&g, READ, GVA + 8);
		assert_int_equal(g.run->exit_reason, KVM_EXIT_IO);
		assert_int_equal(guest_regs(&g).rax, 0x1234 + n);
		try(&g, WRITE, GVA + 8);
		assert_int_equal(m[1], 0x77);
	}
	api_fails(EINVAL, api_set_slot(g.vm, 9, 0, 1ULL << 52, PAGE, g.mem));
	/* Page tables too. */
	memcpy(g.mem + DATA, g.mem + PT, PAGE);
	api_ok(api_set_slot(g.vm, 9, 0, 1ULL << 49, PAGE, g.mem + DATA));
	table(&g, PD)[0] = 1ULL << 49 | 3;
	try(&g, READ, GVA + 8);
	assert_int_equal(g.run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(guest_regs(&g).rax, 0x77);
	assert_int_equal(api_stat(g.vcpu, "mmio_exits"), 0);
	guest_end(&g);
}

/* Five levels: 57 bits of linear address, and 52 of the physical one. */
static void five_levels(void **state)
{
	static const uint64_t tops[] = { 0x00ff000000000000ULL, 0x0001000000000000ULL, 0xff00000000000000ULL };
	uint64_t *m = api_memory(PAGE);
	struct guest g;
	struct kvm_sregs s;

	if (!can_run() || api_real())
		skip();
	g = with_maxphyaddr(52);
	api_ok(api_set_slot(g.vm, 1, 0, 1ULL << 51, PAGE, m));
	m[0] = 0x4321;
	table(&g, PT)[0] = 1ULL << 51 | 3;
	table(&g, PML5)[0] = GUEST_TABLES | 3;
	for (unsigned int n = 0; n < 3; n++)
		table(&g, PML5)[tops[n] >> 48 & 511] = GUEST_TABLES | 3;
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	s.cr3 = PML5;
	s.cr4 |= 1 << 12;
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
	for (unsigned int n = 0; n < 3; n++) {
		try(&g, READ, tops[n] | GVA);
		assert_int_equal(g.run->exit_reason, KVM_EXIT_IO);
		assert_int_equal(g.run->io.port, 0x10);
		assert_int_equal(guest_regs(&g).rax, 0x4321);
		/* An entry that names what cannot be. */
		table(&g, PML5)[tops[n] >> 48 & 511] |= 1ULL << 7;
		try(&g, READ, tops[n] | GVA);
		faults(&g, tops[n] | GVA, P | RSVD);
	}
	guest_end(&g);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(reserved_bits),
	cmocka_unit_test(follows_cpuid),
	cmocka_unit_test(cr3),
	cmocka_unit_test(pae),
	cmocka_unit_test(unknown_to_the_emulator),
	cmocka_unit_test(memory_above_48_bits),
	cmocka_unit_test(five_levels),
};

API_MAIN(tests)
