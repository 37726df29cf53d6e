/* SPDX-License-Identifier: MIT */
/* Memory slots and dirty logs: arguments, and what a real-mode guest sees of them. */
#include "guest.h"

#include <stdlib.h>

#include "anykvm.h"

#define LOG KVM_MEM_LOG_DIRTY_PAGES
#define RO KVM_MEM_READONLY

static void create_delete(void **state)
{
	int vm = api_vm();
	void *m = api_memory(16 * PAGE);

	api_fails(EINVAL, api_set_slot(vm, 0, 0, 0, 0, m));
	api_ok(api_set_slot(vm, 0, 0, 0, 16 * PAGE, m));
	/* The same once more is nothing to do. */
	api_ok(api_set_slot(vm, 0, 0, 0, 16 * PAGE, m));
	api_ok(api_set_slot(vm, 0, 0, 0, 0, m));
	api_fails(EINVAL, api_set_slot(vm, 0, 0, 0, 0, m));
	/* Memory that is not there is nobody's business yet. */
	api_ok(api_set_slot(vm, 0, 0, 0, PAGE, api_bad()));
	api_ok(api_set_slot(vm, 1, 0, PAGE, PAGE, (void *)PAGE));
	api_close(vm);
}

static void arguments(void **state)
{
	int vm = api_vm(), slots = api_cap(vm, KVM_CAP_NR_MEMSLOTS);
	char *m = api_memory(16 * PAGE);

	api_fails(EINVAL, api_set_slot(vm, 0, 0, 0, PAGE + 1, m));
	api_fails(EINVAL, api_set_slot(vm, 0, 0, 0, PAGE / 2, m));
	api_fails(EINVAL, api_set_slot(vm, 0, 0, 1, PAGE, m));
	api_fails(EINVAL, api_set_slot(vm, 0, 0, 0, PAGE, m + 1));
	api_fails(EINVAL, api_set_slot(vm, 0, 4, 0, PAGE, m));
	api_fails(EINVAL, api_set_slot(vm, 0, ~0U, 0, PAGE, m));
	/* Host addresses beyond user space. */
	api_fails(EINVAL, api_set_slot(vm, 0, 0, 0, PAGE, (void *)0xffff800000000000));
	api_fails(EINVAL, api_set_slot(vm, 0, 0, 0, 2 * PAGE, (void *)(~0UL << 12)));
	/* Guest addresses that wrap, or that no processor has. */
	api_fails(EINVAL, api_set_slot(vm, 0, 0, ~0UL << 12, 2 * PAGE, m));
	api_fails(EINVAL, api_set_slot(vm, 0, 0, 1UL << 60, PAGE, m));
	/* More than 2^31 - 1 pages. */
	api_fails(EINVAL, api_set_slot(vm, 0, 0, 0, PAGE << 31, (void *)PAGE));
	/* Slot and address space numbers. */
	api_fails(EINVAL, api_set_slot(vm, (uint32_t)slots, 0, 0, PAGE, m));
	api_fails(EINVAL, api_set_slot(vm, 0xffff, 0, 0, PAGE, m));
	api_fails(EINVAL, api_set_slot(vm, 2 << 16, 0, 0, PAGE, m));
	api_fails(EINVAL, api_set_slot(vm, 0xffff0000, 0, 0, PAGE, m));
	api_ok(api_set_slot(vm, (uint32_t)slots - 1, 0, 0, PAGE, m));
	api_close(vm);
}

/* The later request's first fields are the same; there is no memory of a guest's own. */
static void region2(void **state)
{
	int vm = api_vm();
	struct kvm_userspace_memory_region2 m = {
		.slot = 3, .guest_phys_addr = PAGE, .memory_size = PAGE, .userspace_addr = (uintptr_t)api_memory(PAGE),
	};

	if (api_cap(api_sys(), KVM_CAP_USER_MEMORY2) <= 0) {
		api_close(vm);
		skip();
	}
	m.flags = 4;
	api_fails(EINVAL, api_ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &m));
	m.flags = LOG;
	api_ok(api_ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &m));
	/* Both speak of the same slots. */
	api_fails(EEXIST, api_set_slot(vm, 4, 0, PAGE, PAGE, (void *)(uintptr_t)m.userspace_addr));
	m.memory_size = 0;
	api_ok(api_ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &m));
	api_ok(api_set_slot(vm, 4, 0, PAGE, PAGE, (void *)(uintptr_t)m.userspace_addr));
	api_close(vm);
}

static void overlap(void **state)
{
	int vm = api_vm();
	char *m = api_memory(16 * PAGE);

	api_ok(api_set_slot(vm, 5, 0, 4 * PAGE, 4 * PAGE, m));
	api_fails(EEXIST, api_set_slot(vm, 6, 0, 4 * PAGE, 4 * PAGE, m));
	api_fails(EEXIST, api_set_slot(vm, 6, 0, 3 * PAGE, 2 * PAGE, m));
	api_fails(EEXIST, api_set_slot(vm, 6, 0, 7 * PAGE, 2 * PAGE, m));
	api_fails(EEXIST, api_set_slot(vm, 6, 0, 0, 16 * PAGE, m));
	api_fails(EEXIST, api_set_slot(vm, 6, 0, 5 * PAGE, PAGE, m));
	api_ok(api_set_slot(vm, 6, 0, 3 * PAGE, PAGE, m));
	api_ok(api_set_slot(vm, 7, 0, 8 * PAGE, PAGE, m));
	/* Two slots may show the same host memory. */
	api_ok(api_set_slot(vm, 8, 0, 9 * PAGE, PAGE, m));
	/* Deleting needs the number alone. */
	api_ok(api_set_slot(vm, 5, 0, 0x123000, 0, NULL));
	api_ok(api_set_slot(vm, 9, 0, 4 * PAGE, 4 * PAGE, m));
	api_close(vm);
}

static void modify(void **state)
{
	int vm = api_vm();
	char *m = api_memory(16 * PAGE);

	api_ok(api_set_slot(vm, 0, 0, 0, 4 * PAGE, m));
	/* Size, host address and the read-only flag are for life. */
	api_fails(EINVAL, api_set_slot(vm, 0, 0, 0, 5 * PAGE, m));
	api_fails(EINVAL, api_set_slot(vm, 0, 0, 0, 3 * PAGE, m));
	api_fails(EINVAL, api_set_slot(vm, 0, 0, 0, 4 * PAGE, m + PAGE));
	api_fails(EINVAL, api_set_slot(vm, 0, RO, 0, 4 * PAGE, m));
	/* Moving, also over itself. */
	api_ok(api_set_slot(vm, 0, 0, PAGE, 4 * PAGE, m));
	api_ok(api_set_slot(vm, 1, 0, 16 * PAGE, PAGE, m));
	api_fails(EEXIST, api_set_slot(vm, 0, 0, 14 * PAGE, 4 * PAGE, m));
	/* Flags alone, and flags while moving. */
	api_ok(api_set_slot(vm, 0, LOG, PAGE, 4 * PAGE, m));
	api_ok(api_set_slot(vm, 0, 0, 32 * PAGE, 4 * PAGE, m));
	api_ok(api_set_slot(vm, 2, RO, 0, PAGE, m));
	api_ok(api_set_slot(vm, 2, RO | LOG, 0, PAGE, m));
	api_fails(EINVAL, api_set_slot(vm, 2, LOG, 0, PAGE, m));
	api_close(vm);
}

static void address_spaces(void **state)
{
	int vm = api_vm();
	char *m = api_memory(16 * PAGE);
	uint64_t bits = ~0ULL;
	struct kvm_dirty_log log = { .slot = 1 << 16, .dirty_bitmap = &bits };

	if (api_cap(vm, KVM_CAP_MULTI_ADDRESS_SPACE) < 2) {
		api_fails(EINVAL, api_set_slot(vm, 1 << 16, 0, 0, PAGE, m));
		api_close(vm);
		return;
	}
	api_ok(api_set_slot(vm, 0, 0, 0, 4 * PAGE, m));
	api_ok(api_set_slot(vm, 1 << 16, 0, 0, 4 * PAGE, m));
	api_fails(EEXIST, api_set_slot(vm, 1 << 16 | 1, 0, 0, PAGE, m));
	api_ok(api_set_slot(vm, 0, 0, 0, 0, m));
	api_fails(EEXIST, api_set_slot(vm, 1 << 16 | 1, 0, 0, PAGE, m));
	/* Each has logs of its own. */
	api_ok(api_set_slot(vm, 1 << 16, LOG, 0, 4 * PAGE, m));
	api_ok(api_set_slot(vm, 0, 0, 0, 4 * PAGE, m));
	api_ok(api_ioctl(vm, KVM_GET_DIRTY_LOG, &log));
	assert_int_equal(bits, 0);
	log.slot = 0;
	api_fails(ENOENT, api_ioctl(vm, KVM_GET_DIRTY_LOG, &log));
	log.slot = 2 << 16;
	api_fails(EINVAL, api_ioctl(vm, KVM_GET_DIRTY_LOG, &log));
	api_ok(api_set_slot(vm, 1 << 16, 0, 0, 0, m));
	api_close(vm);
}

/* Outside system management mode a guest sees the first one alone. */
static void second_space_unseen(void **state)
{
	/* mov al,[0x8000]; hlt */
	struct guest g = GUEST(false, 0xa0, 0x00, 0x80, 0xf4);
	char *m = api_memory(PAGE);

	if (api_cap(g.vm, KVM_CAP_MULTI_ADDRESS_SPACE) < 2) {
		guest_end(&g);
		skip();
	}
	api_ok(api_set_slot(g.vm, 0, 0, 0, 0, NULL));
	api_ok(api_set_slot(g.vm, 0, 0, 0, 8 * PAGE, g.mem));
	m[0] = 0x55;
	api_ok(api_set_slot(g.vm, 1 << 16, 0, 8 * PAGE, PAGE, m));
	guest_run(&g, KVM_EXIT_MMIO);
	assert_int_equal(g.run->mmio.phys_addr, 0x8000);
	guest_end(&g);
}

#define RANDOM_IDS 300
#define RANDOM_PAGES 1200

/* Which slot is where: what KVM is to think. */
struct layout {
	int owner[RANDOM_PAGES + 3];
	struct {
		unsigned int at, pages;
	} slot[RANDOM_IDS];
};

static bool is_free(const struct layout *l, unsigned int id, unsigned int at, unsigned int pages)
{
	for (unsigned int i = at; i < at + pages; i++)
		if (l->owner[i] && l->owner[i] != (int)id + 1)
			return false;
	return true;
}

static void place(struct layout *l, unsigned int id, unsigned int at, unsigned int pages)
{
	for (unsigned int i = 0; i < l->slot[id].pages; i++)
		l->owner[l->slot[id].at + i] = 0;
	for (unsigned int i = 0; i < pages; i++)
		l->owner[at + i] = (int)id + 1;
	l->slot[id].at = at;
	l->slot[id].pages = pages;
}

static void change_at_random(int vm, struct layout *l, struct drand48_data *seed, void *m)
{
	unsigned int id, at, pages;
	long n[3];

	for (int i = 0; i < 3; i++)
		lrand48_r(seed, &n[i]);
	id = (unsigned int)(n[0] >> 4) % RANDOM_IDS;
	at = (unsigned int)(n[1] >> 4) % RANDOM_PAGES;
	/* A quarter is deleted; what is there can else only be moved. */
	pages = (unsigned int)(n[2] >> 4) % 4;
	if (pages && l->slot[id].pages)
		pages = l->slot[id].pages;
	if (!pages && !l->slot[id].pages) {
		api_fails(EINVAL, api_set_slot(vm, id, 0, 0, 0, NULL));
	} else if (!is_free(l, id, at, pages)) {
		api_fails(EEXIST, api_set_slot(vm, id, 0, at * PAGE, pages * PAGE, m));
	} else {
		api_ok(api_set_slot(vm, id, 0, at * PAGE, pages * PAGE, m));
		place(l, id, at, pages);
	}
}

/* Slots come, move and go in no order. */
static void random_slots(void **state)
{
	struct layout l = { .owner = { 0 } };
	struct drand48_data seed;
	int vm = api_vm();
	void *m = api_memory(3 * PAGE);

	srand48_r(1, &seed);
	for (int round = 0; round < 5000; round++)
		change_at_random(vm, &l, &seed, m);
	api_close(vm);
}

static void many_slots(void **state)
{
	int vm = api_vm();
	char *m = api_memory(PAGE);

	for (uint32_t i = 0; i < 500; i++)
		api_ok(api_set_slot(vm, i, 0, (uint64_t)(i * 7 % 500) * 2 * PAGE, PAGE, m));
	api_fails(EEXIST, api_set_slot(vm, 500, 0, 998 * PAGE, PAGE, m));
	api_ok(api_set_slot(vm, 500, 0, 999 * PAGE, PAGE, m));
	for (uint32_t i = 0; i < 500; i++)
		api_ok(api_set_slot(vm, i, 0, 0, 0, NULL));
	api_close(vm);
}

/* --- dirty logs --- */

static int get_log(int vm, uint32_t slot, void *bitmap)
{
	struct kvm_dirty_log log = { .slot = slot, .dirty_bitmap = bitmap };

	return api_ioctl(vm, KVM_GET_DIRTY_LOG, &log);
}

static int clear_log(int vm, uint32_t slot, uint64_t first, uint32_t n, void *bitmap)
{
	struct kvm_clear_dirty_log log = {
		.slot = slot, .first_page = first, .num_pages = n, .dirty_bitmap = bitmap,
	};

	return api_ioctl(vm, KVM_CLEAR_DIRTY_LOG, &log);
}

static void manual_protect(int vm, uint64_t how)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, .args = { how } };

	api_ok(api_ioctl(vm, KVM_ENABLE_CAP, &cap));
}

static void log_arguments(void **state)
{
	int vm = api_vm();
	uint64_t bits[4] = { ~0UL, ~0UL, ~0UL, ~0UL };
	char *m = api_memory(200 * PAGE);

	api_fails(ENOENT, get_log(vm, 0, bits));
	api_ok(api_set_slot(vm, 0, 0, 0, 200 * PAGE, m));
	api_fails(ENOENT, get_log(vm, 0, bits));
	api_ok(api_set_slot(vm, 0, LOG, 0, 200 * PAGE, m));
	api_ok(get_log(vm, 0, bits));
	for (int i = 0; i < 4; i++)
		assert_true(bits[i] == 0);
	api_fails(EINVAL, get_log(vm, 5 << 16, bits));
	api_fails(EINVAL, get_log(vm, 0xffff, bits));
	api_fails(ENOENT, get_log(vm, 1, bits));
	api_fails(EFAULT, get_log(vm, 0, api_bad()));
	api_fails(EFAULT, get_log(vm, 0, api_edge(31)));
	api_ok(get_log(vm, 0, api_edge(32)));
	api_fails(EFAULT, get_log(vm, 0, api_readonly()));
	/* Clearing. */
	api_ok(clear_log(vm, 0, 0, 200, bits));
	api_ok(clear_log(vm, 0, 0, 64, bits));
	api_ok(clear_log(vm, 0, 128, 64, bits));
	api_ok(clear_log(vm, 0, 128, 72, bits));
	api_ok(clear_log(vm, 0, 0, 0, bits));
	api_fails(EINVAL, clear_log(vm, 0, 1, 64, bits));
	api_fails(EINVAL, clear_log(vm, 0, 0, 63, bits));
	api_fails(EINVAL, clear_log(vm, 0, 128, 8, bits));
	api_fails(EINVAL, clear_log(vm, 0, 0, 201, bits));
	api_fails(EINVAL, clear_log(vm, 0, 256, 0, bits));
	api_fails(EINVAL, clear_log(vm, 0, 1UL << 63, 64, bits));
	api_fails(EINVAL, clear_log(vm, 0, 192, 0xffffffff, bits));
	api_fails(ENOENT, clear_log(vm, 1, 0, 64, bits));
	api_fails(EINVAL, clear_log(vm, 5 << 16, 0, 64, bits));
	api_fails(EFAULT, clear_log(vm, 0, 0, 64, api_bad()));
	/* Logging off: the log is gone; on again: empty. */
	api_ok(api_set_slot(vm, 0, 0, 0, 200 * PAGE, m));
	api_fails(ENOENT, get_log(vm, 0, bits));
	api_fails(ENOENT, clear_log(vm, 0, 0, 64, bits));
	api_close(vm);
}

static void initially_set(void **state)
{
	int vm = api_vm();
	uint64_t bits[4], none[4] = { 0 };
	char *m = api_memory(200 * PAGE);

	manual_protect(vm, 3);
	api_ok(api_set_slot(vm, 0, LOG, 0, 200 * PAGE, m));
	api_ok(get_log(vm, 0, bits));
	assert_true(bits[0] == ~0UL && bits[1] == ~0UL && bits[2] == ~0UL && bits[3] == 0xff);
	/* Nothing is cleared by looking. */
	api_ok(get_log(vm, 0, bits));
	assert_true(bits[0] == ~0UL);
	api_ok(clear_log(vm, 0, 0, 200, none));
	bits[0] = 5;
	api_ok(clear_log(vm, 0, 64, 64, bits));
	bits[0] = ~0UL;
	api_ok(clear_log(vm, 0, 192, 8, bits));
	api_ok(get_log(vm, 0, bits));
	assert_true(bits[0] == ~0UL && bits[1] == ~5UL && bits[2] == ~0UL && bits[3] == 0);
	api_close(vm);
}

/* --- with a guest --- */

static int run_until(int vcpu, struct kvm_run *run, uint32_t reason)
{
	api_ok(api_ioctl(vcpu, KVM_RUN, 0));
	assert_int_equal(run->exit_reason, reason);
	return 0;
}

/* mov [0x3000], al; mov [0x5ffe], eax; hlt; jmp back */
static const uint8_t writer[] = {
	0xa2, 0x00, 0x30,
	0x66, 0xa3, 0xfe, 0x5f,
	0xf4,
	0xeb, 0xf6,
};

static void guest_writes(void **state)
{
	int vm = api_vm(), vcpu;
	struct kvm_run *run;
	uint64_t bits = 0;
	char *m = api_memory(16 * PAGE);

	api_ok(api_set_slot(vm, 0, LOG, 0, 16 * PAGE, m));
	vcpu = api_vcpu(vm, 0);
	run = api_run_of(vcpu);
	api_real_mode(vcpu, m, writer, sizeof(writer));
	run_until(vcpu, run, KVM_EXIT_HLT);
	api_ok(get_log(vm, 0, &bits));
	assert_int_equal(bits, 1 << 3 | 1 << 5 | 1 << 6);
	api_ok(get_log(vm, 0, &bits));
	assert_int_equal(bits, 0);
	/* Pages that were written before are seen again. */
	run_until(vcpu, run, KVM_EXIT_HLT);
	api_ok(get_log(vm, 0, &bits));
	assert_int_equal(bits, 1 << 3 | 1 << 5 | 1 << 6);
	/* With manual protection only what is cleared is looked for again. */
	manual_protect(vm, 1);
	run_until(vcpu, run, KVM_EXIT_HLT);
	bits = 1 << 3;
	api_ok(clear_log(vm, 0, 0, 16, &bits));
	api_ok(get_log(vm, 0, &bits));
	assert_int_equal(bits, 1 << 5 | 1 << 6);
	run_until(vcpu, run, KVM_EXIT_HLT);
	api_ok(get_log(vm, 0, &bits));
	assert_int_equal(bits, 1 << 3 | 1 << 5 | 1 << 6);
	api_close(vcpu);
	api_close(vm);
}

/* KVM_DIRTY_LOG_INITIALLY_SET: everything is to be copied once; what is cleared is followed from then on. */
static void initially_set_guest(void **state)
{
	int vm = api_vm(), vcpu;
	struct kvm_run *run;
	uint64_t bits = 0;
	char *m = api_memory(16 * PAGE);

	manual_protect(vm, 3);
	api_ok(api_set_slot(vm, 0, LOG, 0, 16 * PAGE, m));
	vcpu = api_vcpu(vm, 0);
	run = api_run_of(vcpu);
	api_real_mode(vcpu, m, writer, sizeof(writer));
	run_until(vcpu, run, KVM_EXIT_HLT);
	api_ok(get_log(vm, 0, &bits));
	assert_int_equal(bits, 0xffff);
	bits = 0xfff8;
	api_ok(clear_log(vm, 0, 0, 16, &bits));
	run_until(vcpu, run, KVM_EXIT_HLT);
	api_ok(get_log(vm, 0, &bits));
	assert_int_equal(bits, 7 | 1 << 3 | 1 << 5 | 1 << 6);
	/* A slot whose logging is turned on again begins anew. */
	api_ok(api_set_slot(vm, 0, 0, 0, 16 * PAGE, m));
	api_ok(api_set_slot(vm, 0, LOG, 0, 16 * PAGE, m));
	api_ok(get_log(vm, 0, &bits));
	assert_int_equal(bits, 0xffff);
	api_close(vcpu);
	api_close(vm);
}

/* mov byte [0x8000], 0x42; mov al, [0x8000]; out 0x10, al; hlt */
static const uint8_t pokes[] = {
	0xc6, 0x06, 0x00, 0x80, 0x42,
	0xa0, 0x00, 0x80,
	0xe6, 0x10,
	0xf4,
};

static void start(int vcpu, uint64_t rip)
{
	struct kvm_regs regs = { .rip = rip, .rsp = 0x7000, .rflags = 2 };

	api_ok(api_ioctl(vcpu, KVM_SET_REGS, &regs));
}

static void readonly_slot(void **state)
{
	int vm = api_vm(), vcpu = api_vcpu(vm, 0);
	struct kvm_run *run = api_run_of(vcpu);
	char *m = api_memory(8 * PAGE), *rom = api_memory(PAGE);

	rom[0] = 0x17;
	api_ok(api_set_slot(vm, 0, 0, 0, 8 * PAGE, m));
	api_ok(api_set_slot(vm, 1, RO, 8 * PAGE, PAGE, rom));
	api_real_mode(vcpu, m, pokes, sizeof(pokes));
	/* A write to it is device memory's, a read is memory's. */
	run_until(vcpu, run, KVM_EXIT_MMIO);
	assert_int_equal(run->mmio.phys_addr, 0x8000);
	assert_int_equal(run->mmio.is_write, 1);
	assert_int_equal(run->mmio.len, 1);
	assert_int_equal(run->mmio.data[0], 0x42);
	run_until(vcpu, run, KVM_EXIT_IO);
	assert_int_equal(*((uint8_t *)run + run->io.data_offset), 0x17);
	assert_int_equal(rom[0], 0x17);
	run_until(vcpu, run, KVM_EXIT_HLT);
	api_close(vcpu);
	api_close(vm);
}

/* What a slot shows changes between two runs: no translation may survive. */
static void slots_change(void **state)
{
	int vm = api_vm(), vcpu = api_vcpu(vm, 0);
	struct kvm_run *run = api_run_of(vcpu);
	char *m = api_memory(8 * PAGE), *a = api_memory(PAGE), *b = api_memory(PAGE);
	uint8_t *out = (uint8_t *)run + PAGE;

	api_ok(api_set_slot(vm, 0, 0, 0, 8 * PAGE, m));
	api_ok(api_set_slot(vm, 1, 0, 8 * PAGE, PAGE, a));
	api_real_mode(vcpu, m, pokes, sizeof(pokes));
	run_until(vcpu, run, KVM_EXIT_IO);
	assert_int_equal(a[0], 0x42);
	a[0] = b[0] = 0;
	/* Deleted: a hole. */
	api_ok(api_set_slot(vm, 1, 0, 0, 0, NULL));
	start(vcpu, 0x1000);
	run_until(vcpu, run, KVM_EXIT_MMIO);
	assert_int_equal(run->mmio.is_write, 1);
	run_until(vcpu, run, KVM_EXIT_MMIO);
	assert_int_equal(run->mmio.is_write, 0);
	run->mmio.data[0] = 0x99;
	run_until(vcpu, run, KVM_EXIT_IO);
	assert_int_equal(out[0], 0x99);
	assert_int_equal(a[0], 0);
	/* Other memory at the same place. */
	api_ok(api_set_slot(vm, 2, 0, 8 * PAGE, PAGE, b));
	start(vcpu, 0x1000);
	run_until(vcpu, run, KVM_EXIT_IO);
	assert_int_equal(a[0], 0);
	assert_int_equal(b[0], 0x42);
	/* Moved away, and back. */
	api_ok(api_set_slot(vm, 2, 0, 12 * PAGE, PAGE, b));
	start(vcpu, 0x1000);
	run_until(vcpu, run, KVM_EXIT_MMIO);
	b[0] = 0;
	api_ok(api_set_slot(vm, 2, 0, 8 * PAGE, PAGE, b));
	start(vcpu, 0x1000);
	run_until(vcpu, run, KVM_EXIT_IO);
	assert_int_equal(b[0], 0x42);
	api_close(vcpu);
	api_close(vm);
}

/*
 * The access ends in an error, not in a signal.  A kernel that runs real mode by emulating it makes a device access
 * of it.
 */
static void run_into_nothing(int vcpu, struct kvm_run *run)
{
	int r = api_ioctl(vcpu, KVM_RUN, 0);

	if (api_real() && !r && run->exit_reason == KVM_EXIT_MMIO)
		return;
	assert_int_equal(r, -1);
	assert_int_equal(errno, EFAULT);
}

/* Memory behind a slot that goes away; and may come back. */
static void memory_vanishes(void **state)
{
	int vm = api_vm(), vcpu = api_vcpu(vm, 0);
	struct kvm_run *run = api_run_of(vcpu);
	char *m = api_memory(8 * PAGE), *a = api_memory(PAGE);

	api_ok(api_set_slot(vm, 0, 0, 0, 8 * PAGE, m));
	api_ok(api_set_slot(vm, 1, 0, 8 * PAGE, PAGE, a));
	api_real_mode(vcpu, m, pokes, sizeof(pokes));
	assert_int_equal(munmap(a, PAGE), 0);
	run_into_nothing(vcpu, run);
	assert_ptr_equal(mmap(a, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), a);
	start(vcpu, 0x1000);
	run_until(vcpu, run, KVM_EXIT_IO);
	assert_int_equal(a[0], 0x42);
	/* Mapped, but not to be written. */
	assert_int_equal(mprotect(a, PAGE, PROT_READ), 0);
	start(vcpu, 0x1000);
	run_into_nothing(vcpu, run);
	api_close(vcpu);
	api_close(vm);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(create_delete),
	cmocka_unit_test(arguments),
	cmocka_unit_test(region2),
	cmocka_unit_test(overlap),
	cmocka_unit_test(modify),
	cmocka_unit_test(address_spaces),
	cmocka_unit_test(second_space_unseen),
	cmocka_unit_test(many_slots),
	cmocka_unit_test(random_slots),
	cmocka_unit_test(log_arguments),
	cmocka_unit_test(initially_set),
	cmocka_unit_test(guest_writes),
	cmocka_unit_test(initially_set_guest),
	cmocka_unit_test(readonly_slot),
	cmocka_unit_test(slots_change),
	cmocka_unit_test(memory_vanishes),
};

API_MAIN(tests)
