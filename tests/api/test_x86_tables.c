// SPDX-License-Identifier: MIT
/*
 * Page tables as a client meets them: large pages over several slots, a CR3 that names no memory, the address space of
 * system management mode, and few pages for KVM_SET_NR_MMU_PAGES.
 */
#include "guest.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "anykvm.h"

#define GIB 0x40000000UL
#define MIB2 0x200000UL
#define DATA 0x8000
#define PT 0x9000               /* tables beside guest_long()'s, whose first three are the levels 4 to 2 */
#define P4 GUEST_TABLES
#define P3 (GUEST_TABLES + 0x1000)
#define P2 (GUEST_TABLES + 0x2000)
#define LARGE 0x83

static uint64_t *table(struct guest *g, uint64_t at)
{
	return (uint64_t *)(g->mem + at);
}

/* mov rax,[rsi]; out 10h,al; mov [rsi],rdx; out 11h,al; invlpg [rsi]; jmp to the start */
static const uint8_t accesses[] = {
	0x48, 0x8b, 0x06, 0xe6, 0x10, 0x48, 0x89, 0x16, 0xe6, 0x11, 0x0f, 0x01, 0x3e, 0xeb, 0xf1,
};

static struct guest with_accesses(void)
{
	struct guest g = guest_of(accesses, sizeof(accesses), false);

	if (!guest_runs_long_mode()) {
		guest_end(&g);
		skip();
	}
	assert_int_equal(api_cap(api_sys(), ANYKVM_CAP_ENGINE), !api_real());
	guest_long(&g);
	return g;
}

static uint64_t reads(struct guest *g, uint64_t gva)
{
	SET(g, rip, GUEST_CODE);
	SET(g, rsi, gva);
	guest_port(g, 0x10);
	return guest_regs(g).rax;
}

static void reads_device(struct guest *g, uint64_t gva, uint64_t gpa)
{
	SET(g, rip, GUEST_CODE);
	SET(g, rsi, gva);
	guest_run(g, KVM_EXIT_MMIO);
	assert_int_equal(g->run->mmio.phys_addr, gpa);
	guest_port(g, 0x10);
}

/* --- large pages --- */

/* Sets CPUID with 1 GiB pages or without.  Are they offered? */
static bool give_cpuid(int vcpu, bool huge)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 e[256];
	} c;

	bool offered = false;

	c.head.nent = 256;
	api_ok(api_ioctl(api_sys(), KVM_GET_SUPPORTED_CPUID, &c));
	for (unsigned int n = 0; n < c.head.nent; n++)
		if (c.e[n].function == 0x80000001) {
			offered = c.e[n].edx >> 26 & 1;
			c.e[n].edx = (c.e[n].edx & ~(1u << 26)) | (uint32_t)huge << 26;
		}
	api_ok(api_ioctl(vcpu, KVM_SET_CPUID2, &c));
	return offered;
}

/* A page of 1 GiB (or 2 MiB) with slots here and there in it: each access ends where its address says. */
static void large(uint64_t size)
{
	struct guest g = with_accesses();
	uint8_t *m = api_memory(4 * PAGE);
	uint64_t bits = 0, base = 4 * GIB;
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = &bits };

	if (!give_cpuid(g.vcpu, true) && size == GIB) {
		assert_true(api_real());
		guest_end(&g);
		skip();
	}
	api_ok(api_set_slot(g.vm, 1, KVM_MEM_LOG_DIRTY_PAGES, base + size / 2, 2 * PAGE, m));
	api_ok(api_set_slot(g.vm, 2, 0, base + size - PAGE, PAGE, m + 2 * PAGE));
	if (size == GIB)
		table(&g, P3)[1] = base | LARGE;
	else
		table(&g, P2)[1] = base | LARGE;
	((uint64_t *)m)[0] = 0x11;
	((uint64_t *)m)[512] = 0x22;
	((uint64_t *)m)[1024] = 0x33;
	assert_int_equal(reads(&g, size + size / 2), 0x11);
	assert_int_equal(reads(&g, size + size / 2 + PAGE), 0x22);
	assert_int_equal(reads(&g, size + size - PAGE), 0x33);
	reads_device(&g, size + size / 2 - 8, base + size / 2 - 8);
	reads_device(&g, size + size / 2 + 2 * PAGE, base + size / 2 + 2 * PAGE);
	/* The log has pages of 4 KiB, of which one was written. */
	SET(&g, rdx, 0x44);
	assert_int_equal(reads(&g, size + size / 2 + PAGE), 0x22);
	guest_port(&g, 0x11);
	api_ok(api_ioctl(g.vm, KVM_GET_DIRTY_LOG, &log));
	assert_int_equal(bits, 2);
	assert_int_equal(((uint64_t *)m)[512], 0x44);
	/* INVLPG of one address ends the whole page, its other pieces as well. */
	assert_int_equal(reads(&g, size + size / 2), 0x11);
	guest_port(&g, 0x11);
	if (size == GIB)
		table(&g, P3)[1] = 0;
	else
		table(&g, P2)[1] = 0;
	guest_run(&g, KVM_EXIT_SHUTDOWN);
	guest_end(&g);
	munmap(m, 4 * PAGE);
}

static void page_of_1_gib(void **state)
{
	large(GIB);
}

static void page_of_2_mib(void **state)
{
	large(MIB2);
}

/* The bit is reserved where CPUID has no such pages; a kernel with EPT walks by the host's rules. */
static void no_page_of_1_gib(void **state)
{
	struct guest g = with_accesses();

	if (api_real()) {
		guest_end(&g);
		skip();
	}
	give_cpuid(g.vcpu, false);
	table(&g, P3)[1] = LARGE;
	SET(&g, rsi, GIB + DATA);
	guest_run(&g, KVM_EXIT_SHUTDOWN);
	guest_end(&g);
}

/* --- CR3 that names no memory --- */

#define NOWHERE 0x700000000ULL

static void cr3_nowhere(void **state)
{
	/* mov cr3,rsi; out 10h,al */
	static const uint8_t load[] = { 0x0f, 0x22, 0xde, 0xe6, 0x10 };
	struct guest g = with_accesses();
	struct kvm_sregs s;

	memcpy(g.mem + GUEST_CODE, load, sizeof(load));
	SET(&g, rsi, NOWHERE);
	guest_run(&g, KVM_EXIT_SHUTDOWN);
	/* The load is done; it was the next fetch that found nothing, and then no handler either. */
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	assert_int_equal(s.cr3, NOWHERE);
	if (!api_real())
		assert_int_equal(guest_regs(&g).rip, GUEST_CODE + 3);
	guest_end(&g);
}

/* The client may set it before there is memory. */
static void cr3_before_memory(void **state)
{
	struct guest g = with_accesses();
	uint8_t *m = api_memory(PAGE);
	struct kvm_sregs s;

	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	s.cr3 = NOWHERE;
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
	memcpy(m, g.mem + P4, PAGE);
	api_ok(api_set_slot(g.vm, 1, 0, NOWHERE, PAGE, m));
	table(&g, DATA)[0] = 0x55;
	assert_int_equal(reads(&g, DATA), 0x55);
	guest_end(&g);
	munmap(m, PAGE);
}

/* --- system management mode: the same root names other tables there --- */

static void set_smm(struct guest *g, bool on)
{
	struct kvm_vcpu_events e;

	api_ok(api_ioctl(g->vcpu, KVM_GET_VCPU_EVENTS, &e));
	e.flags |= KVM_VCPUEVENT_VALID_SMM;
	e.smi.smm = on;
	api_ok(api_ioctl(g->vcpu, KVM_SET_VCPU_EVENTS, &e));
}

static void smm_has_its_own(void **state)
{
	struct guest g = with_accesses();
	uint8_t *m = api_memory(GUEST_MEM);
	uint64_t fills;

	if (!api_cap(g.vm, KVM_CAP_X86_SMM)) {
		guest_end(&g);
		skip();
	}
	memcpy(m, g.mem, GUEST_MEM);
	/* GIB is DATA outside, another page inside. */
	table(&g, P3)[1] = PT | 3;
	table(&g, PT)[0] = (PT + 0x1000) | 3;
	table(&g, PT + 0x1000)[0] = DATA | 3;
	table(&g, DATA)[0] = 0x11;
	memcpy(m + P4, g.mem + P4, 0x4000);
	memcpy(m + PT, g.mem + PT, 0x2000);
	((uint64_t *)(m + PT + 0x1000))[0] = (DATA - 0x1000) | 3;
	((uint64_t *)(m + DATA))[0] = 0x22;
	((uint64_t *)(m + DATA - 0x1000))[0] = 0x33;
	table(&g, DATA - 0x1000)[0] = 0x44;
	api_ok(api_set_slot(g.vm, 1 << 16, 0, 0, GUEST_MEM, m));
	for (int n = 0; n < 3; n++) {
		assert_int_equal(reads(&g, GIB), 0x11);
		assert_int_equal(reads(&g, DATA), 0x11);
		fills = api_real() ? 0 : api_stat(g.vcpu, "tlb_fills");
		assert_int_equal(reads(&g, GIB), 0x11);
		if (!api_real())
			assert_int_equal(api_stat(g.vcpu, "tlb_fills"), fills);
		set_smm(&g, true);
		assert_int_equal(reads(&g, GIB), 0x33);
		assert_int_equal(reads(&g, DATA), 0x22);
		set_smm(&g, false);
	}
	/* A slot of one space alone. */
	api_ok(api_set_slot(g.vm, 1, 0, GIB, PAGE, api_memory(PAGE)));
	table(&g, PT + 0x1000)[1] = GIB | 3;
	((uint64_t *)(m + PT + 0x1000))[1] = GIB | 3;
	assert_int_equal(reads(&g, GIB + PAGE), 0);
	set_smm(&g, true);
	reads_device(&g, GIB + PAGE, GIB);
	guest_end(&g);
	munmap(m, GUEST_MEM);
}

/* --- few pages for the MMU --- */

#define SPACES 8                /* fewer than the engine keeps by itself */
#define ROUNDS 50
#define ROOTS 0x20000UL         /* each with a page of level 4, 3, 2 and 1, and one of data */
#define ROOT_BYTES (5 * PAGE)
#define RAM (ROOTS + SPACES * ROOT_BYTES)

/*
 * 2: mov rdi,ROOTS; mov ecx,SPACES; 1: mov cr3,rdi; add rax,[rsi]; inc qword [rsi]; add rdi,5000h; dec ecx; jnz 1b;
 * dec edx; jnz 2b; out 10h,al
 */
static const uint8_t tour[] = {
	0x48, 0xc7, 0xc7, 0x00, 0x00, 0x02, 0x00, 0xb9, SPACES, 0x00, 0x00, 0x00,
	0x0f, 0x22, 0xdf, 0x48, 0x03, 0x06, 0x48, 0xff, 0x06, 0x48, 0x81, 0xc7, 0x00, 0x50, 0x00, 0x00,
	0xff, 0xc9, 0x75, 0xec, 0xff, 0xca, 0x75, 0xdc, 0xe6, 0x10,
};

/* Every space has another page at GIB; all have the code. */
static struct guest tourist(uint8_t *ram)
{
	struct guest g = guest_of(tour, sizeof(tour), false);

	if (!guest_runs_long_mode()) {
		guest_end(&g);
		skip();
	}
	guest_long(&g);
	memset(ram, 0, RAM);
	memcpy(ram, g.mem, GUEST_MEM);
	for (uint64_t n = 0; n < SPACES; n++) {
		uint64_t at = ROOTS + n * ROOT_BYTES, *p = (uint64_t *)(ram + at);

		p[0] = (at + PAGE) | 7;
		p[512] = P2 | 7;
		p[512 + 1] = (at + 2 * PAGE) | 7;
		p[2 * 512] = (at + 3 * PAGE) | 7;
		p[3 * 512] = (at + 4 * PAGE) | 7;
		p[4 * 512] = 1000 * n;
	}
	api_ok(api_set_slot(g.vm, 0, 0, 0, 0, NULL));
	api_ok(api_set_slot(g.vm, 0, 0, 0, RAM, ram));
	return g;
}

static void run_tour(struct guest *g, const uint8_t *ram, uint64_t before)
{
	uint64_t sum = 0;

	SET(g, rip, GUEST_CODE);
	SET(g, rsi, GIB);
	SET(g, rax, 0);
	SET(g, rdx, ROUNDS);
	guest_port(g, 0x10);
	for (uint64_t n = 0; n < SPACES; n++) {
		for (uint64_t i = 0; i < ROUNDS; i++)
			sum += 1000 * n + before + i;
		assert_int_equal(((const uint64_t *)(ram + ROOTS + n * ROOT_BYTES))[4 * 512], 1000 * n + before + ROUNDS);
	}
	assert_int_equal(guest_regs(g).rax, sum);
}

static void few_mmu_pages(void **state)
{
	uint8_t *ram = api_memory(RAM);
	struct guest g = tourist(ram);
	uint64_t recycled;

	/* None are taken from one another while there are enough. */
	run_tour(&g, ram, 0);
	if (!api_real())
		assert_int_equal(api_stat(g.vcpu, "mmu_recycled"), 0);
	api_ok(api_ioctl(g.vm, KVM_SET_NR_MMU_PAGES, (void *)64));
	run_tour(&g, ram, ROUNDS);
	if (!api_real()) {
		recycled = api_stat(g.vcpu, "mmu_recycled");
		assert_true(recycled > ROUNDS);
		/* And again with enough. */
		api_ok(api_ioctl(g.vm, KVM_SET_NR_MMU_PAGES, (void *)10000));
		run_tour(&g, ram, 2 * ROUNDS);
		run_tour(&g, ram, 3 * ROUNDS);
		assert_true(api_stat(g.vcpu, "mmu_recycled") - recycled < 2 * SPACES);
	}
	guest_end(&g);
	munmap(ram, RAM);
}

static void *change_pages(void *arg)
{
	struct guest *g = arg;
	struct timespec ms = { 0, 1000000 };

	for (unsigned long n = 0; n < 50; n++) {
		if (api_ioctl(g->vm, KVM_SET_NR_MMU_PAGES, (void *)(64 + n % 5 * 500)))
			return arg;
		nanosleep(&ms, NULL);
	}
	return NULL;
}

/* While it runs. */
static void changing_mmu_pages(void **state)
{
	uint8_t *ram = api_memory(RAM);
	struct guest g = tourist(ram);
	pthread_t thread;
	void *bad;

	assert_int_equal(pthread_create(&thread, NULL, change_pages, &g), 0);
	for (uint64_t n = 0; n < 50; n++)
		run_tour(&g, ram, n * ROUNDS);
	pthread_join(thread, &bad);
	assert_null(bad);
	guest_end(&g);
	munmap(ram, RAM);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(page_of_1_gib),
	cmocka_unit_test(page_of_2_mib),
	cmocka_unit_test(no_page_of_1_gib),
	cmocka_unit_test(cr3_nowhere),
	cmocka_unit_test(cr3_before_memory),
	cmocka_unit_test(smm_has_its_own),
	cmocka_unit_test(few_mmu_pages),
	cmocka_unit_test(changing_mmu_pages),
};

API_MAIN(tests)
