// SPDX-License-Identifier: MIT
/*
 * PAE paging: the four entries of the page-directory-pointer table are registers, loaded by certain writes to control
 * registers and by nothing else; SDM 3A, 4.4.1 and table 4-8.
 */
#include <stdlib.h>

#include "guest.h"

#define IDT 0x400
#define GDT 0x500
#define CODE 0x2000             /* page 2, see make_tables() */
#define HANDLER 0x2800
#define STACK 0xf00
#define PAGE_A 0x4000
#define PAGE_B 0x5000
#define PDPT 0x8000
#define DIR 0x9000
#define DIR_A 0xa000            /* the second GiB, by one directory or another; their tables follow */
#define DIR_B 0xc000
#define PLACE 0x40000000        /* its first page */

#define PG 0x80000000u
#define CD 0x40000000u
#define NW 0x20000000u
#define CR0 (PG | 0x11)
#define PSE (1u << 4)
#define PAE (1u << 5)

static void put(struct guest *g, uint32_t at, uint64_t value)
{
	memcpy(g->mem + at, &value, sizeof(value));
}

/*
 * What maps the first 2 MiB for PAE serves 32-bit paging as well, which makes of it a directory with a table whose
 * entries 0 and 2 are present: the pages of the descriptor tables and of the code.
 */
static void make_tables(struct guest *g)
{
	put(g, PDPT, DIR | 1);
	put(g, PDPT + 8, DIR_A | 1);
	put(g, DIR, 0x83);
	put(g, DIR + 8, CODE | 3);
	put(g, DIR_A, (DIR_A + 0x1000) | 3);
	put(g, DIR_A + 0x1000, PAGE_A | 3);
	put(g, DIR_B, (DIR_B + 0x1000) | 3);
	put(g, DIR_B + 0x1000, PAGE_B | 3);
	g->mem[PAGE_A] = 'A';
	g->mem[PAGE_B] = 'B';
}

static void flat(struct kvm_segment *s, uint16_t selector, uint8_t type)
{
	*s = (struct kvm_segment){
		.limit = 0xffffffff, .selector = selector, .type = type, .present = 1, .s = 1, .g = 1, .db = 1,
	};
}

static struct guest pae_guest(void)
{
	struct guest g = GUEST(false, 0xf4);
	struct cpuid_table *t = guest_supported();
	struct kvm_sregs s;

	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
	free(t);
	make_tables(&g);
	put(&g, GDT + 8, 0x00cf9b000000ffff);
	put(&g, GDT + 16, 0x00cf93000000ffff);
	put(&g, IDT + 8 * 13, 0x8e0000080000 | HANDLER);
	memcpy(g.mem + HANDLER, (const uint8_t[]){ 0xe6, 0x13 }, 2);    /* out 0x13,al */
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	s.cr0 = CR0;
	s.cr3 = PDPT;
	s.cr4 = PAE;
	flat(&s.cs, 8, 11);
	flat(&s.ds, 16, 3);
	s.es = s.fs = s.gs = s.ss = s.ds;
	s.idt = (struct kvm_dtable){ .base = IDT, .limit = 8 * 32 - 1 };
	s.gdt = (struct kvm_dtable){ .base = GDT, .limit = 23 };
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
	return g;
}

/* Runs @code and out 0x10,al, which has to end at @port: 0x13 is #GP. */
static void run(struct guest *g, const uint8_t *code, size_t n, uint16_t port)
{
	memcpy(g->mem + CODE, code, n);
	memcpy(g->mem + CODE + n, (const uint8_t[]){ 0xe6, 0x10 }, 2);
	SET(g, rip, CODE);
	SET(g, rsp, STACK);
	guest_port(g, port);
}

#define RUN(g, port, ...) run(g, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }), port)

/* The byte that is at PLACE now. */
static uint8_t look(struct guest *g)
{
	RUN(g, 0x10, 0xa0, 0, 0, 0, 0x40);      /* mov al,[PLACE] */
	return *guest_pio(g);
}

/* The guest edits the entry of the second GiB. */
static void edit(struct guest *g, uint64_t entry)
{
	SET(g, rax, (uint32_t)entry);
	SET(g, rbx, entry >> 32);
	RUN(g, 0x10, 0xa3, 0x08, 0x80, 0, 0, 0x89, 0x1d, 0x0c, 0x80, 0, 0);     /* mov [PDPT+8],eax; mov [PDPT+12],ebx */
}

/* Control register @n becomes @first, then @second. */
static void move(struct guest *g, unsigned int n, uint32_t first, uint32_t second, uint16_t port)
{
	SET(g, rax, first);
	SET(g, rbx, second);
	RUN(g, port, 0x0f, 0x22, (uint8_t)(0xc0 | n << 3), 0x0f, 0x22, (uint8_t)(0xc3 | n << 3));
}

static uint64_t loads(struct guest *g)
{
	return guest_stat(g->vcpu, "pdpte_loads");
}

static const struct change {
	const char *what;
	unsigned int cr;
	uint32_t first, second;
	unsigned int loads;
} changes[] = {
	{ "CD", 0, CR0, CR0 | CD, 1 },
	{ "CD there and back", 0, CR0 | CD, CR0, 2 },
	{ "CD and NW", 0, CR0, CR0 | CD | NW, 1 },
	{ "NW alone", 0, CR0 | CD, CR0 | CD | NW, 2 },
	{ "PG", 0, CR0 & ~PG, CR0, 1 },
	{ "the same CR3", 3, PDPT, PDPT, 2 },
	{ "PWT and PCD", 3, PDPT, PDPT | 0x18, 2 },
	{ "PSE", 4, PAE, PAE | PSE, 1 },
	{ "PGE", 4, PAE, PAE | 1 << 7, 1 },
	{ "SMEP", 4, PAE, PAE | 1 << 20, 1 },
	/* and what does not load them */
	{ "the same CR0", 0, CR0, CR0, 0 },
	{ "MP, TS", 0, CR0 | 2, CR0 | 8, 0 },
	{ "NE, WP, AM", 0, CR0 | 0x20, CR0 | 0x50000, 0 },
	{ "the same CR4", 4, PAE, PAE, 0 },
	{ "VME, PVI, TSD, DE", 4, PAE | 3, PAE | 12, 0 },
	{ "MCE, PCE, OSFXSR", 4, PAE | 1 << 6, PAE | 3 << 8, 0 },
	{ "UMIP, OSXSAVE", 4, PAE | 1 << 11, PAE | 1 << 18, 0 },
};

/* An entry that changes in memory counts from the next load on, and not before. */
static void loaded(bool amd)
{
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		const struct change *c = &changes[i];
		struct guest g = pae_guest();
		uint64_t before;
		uint8_t seen;

		assert_int_equal(look(&g), 'A');
		before = loads(&g);
		edit(&g, DIR_B | 1);
		assert_int_equal(look(&g), 'A');
		RUN(&g, 0x10, 0x0f, 0x01, 0x3d, 0, 0, 0, 0x40);         /* invlpg [PLACE] */
		assert_int_equal(look(&g), 'A');
		assert_int_equal(loads(&g), before);
		move(&g, c->cr, c->first, c->second, 0x10);
		seen = look(&g);
		if (loads(&g) - before != c->loads || seen != (c->loads ? 'B' : 'A'))
			fail_msg("%s: %c, %d loads", c->what, seen, (int)(loads(&g) - before));
		guest_end(&g);
	}
}

/* #GP(0), and all is as it was. */
static void refused(struct guest *g, unsigned int cr, uint32_t first, uint32_t second, uint64_t entry)
{
	struct kvm_sregs2 old, now;
	uint64_t before = loads(g);

	api_ok(api_ioctl(g->vcpu, KVM_GET_SREGS2, &old));
	move(g, cr, first, second, 0x13);
	assert_int_equal(*(uint32_t *)(g->mem + guest_regs(g).rsp), 0);
	api_ok(api_ioctl(g->vcpu, KVM_GET_SREGS2, &now));
	if (now.cr0 != old.cr0 || now.cr3 != old.cr3 || now.cr4 != old.cr4 || loads(g) != before ||
	    memcmp(now.pdptrs, old.pdptrs, sizeof(now.pdptrs)))
		fail_msg("CR%u: something changed with entry %#llx", cr, (unsigned long long)entry);
	assert_int_equal(look(g), 'A');
}

static void reserved(bool amd)
{
	struct guest g = pae_guest();
	struct cpuid_table *t = guest_supported();
	unsigned int maxphyaddr = guest_leaf(t, 0x80000008, 0)->eax & 0xff;

	free(t);
	for (unsigned int bit = 1; bit < 64; bit++) {
		bool wrong = bit < 3 || (bit >= 5 && bit < 9) || bit >= maxphyaddr;
		uint64_t entry = DIR_B | 1 | 1ULL << bit;

		if (!wrong)
			continue;
		edit(&g, entry);
		refused(&g, 0, CR0 | CD, CR0, entry);
		refused(&g, 3, PDPT, PDPT, entry);
		refused(&g, 4, PAE | PSE, PAE, entry);
		/* One that is not present may hold anything. */
		edit(&g, entry & ~1ULL);
		move(&g, 0, CR0 | CD, CR0, 0x10);
		edit(&g, DIR_A | 1);
		move(&g, 0, CR0 | CD, CR0, 0x10);
		assert_int_equal(look(&g), 'A');
	}
	/* Ignored bits, PWT and PCD. */
	edit(&g, DIR_B | 1 | 0xe18);
	move(&g, 0, CR0 | CD, CR0, 0x10);
	assert_int_equal(look(&g), 'B');
	edit(&g, DIR_A | 1);
	move(&g, 0, CR0 | CD, CR0, 0x10);
	/* A table outside memory. */
	refused(&g, 3, 0x20000, PDPT, 0);
	guest_end(&g);
}

/* PAE itself: 32-bit paging has marked its entry accessed, in what is then a reserved bit, so that the load is refused. */
static void pae_itself(bool amd)
{
	struct guest g = pae_guest();
	struct kvm_sregs s;
	uint64_t before;

	assert_int_equal(look(&g), 'A');
	before = loads(&g);
	move(&g, 4, 0, PAE, 0x13);
	assert_int_equal(*(uint64_t *)(g.mem + PDPT), DIR | 0x21);
	assert_int_equal(loads(&g), before);
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	assert_int_equal(s.cr4, 0);
	guest_end(&g);
}

static void test_loaded(void **state)
{
	if (api_real())         /* with EPT the processor may keep what it has translated */
		skip();
	guest_each_model(loaded);
}

static void test_reserved(void **state)
{
	if (api_real())
		skip();
	guest_each_model(reserved);
	guest_each_model(pae_itself);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_loaded),
	cmocka_unit_test(test_reserved),
};

API_MAIN(tests)
