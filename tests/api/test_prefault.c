/* SPDX-License-Identifier: MIT */
/* Memory that is resident before the guest uses it: KVM_PRE_FAULT_MEMORY, and the parameter kvm.global_tdp. */
#include "guest.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>

#include "anykvm.h"

#define BASE 0x100000UL         /* the slot that is populated */
#define PAGES 64UL

/* For rcx pages from rsi on: mov al,[rsi]; add rsi,1000h; dec ecx; jnz; and out 10h,al */
#define READ_PAGES 0x8a, 0x06, 0x48, 0x81, 0xc6, 0x00, 0x10, 0x00, 0x00, 0xff, 0xc9, 0x75, 0xf3, 0xe6, 0x10
/* The same, with inc byte [rsi] */
#define WRITE_PAGES 0xfe, 0x06, 0x48, 0x81, 0xc6, 0x00, 0x10, 0x00, 0x00, 0xff, 0xc9, 0x75, 0xf3, 0xe6, 0x10

/* Shared memory that nobody has touched. */
static uint8_t *fresh(size_t pages)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);
	void *p;

	assert_int_equal(ftruncate(fd, (off_t)(pages * PAGE)), 0);
	p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	close(fd);
	return p;
}

static size_t resident(void *p, size_t pages)
{
	unsigned char *is = malloc(pages);
	size_t n = 0;

	assert_int_equal(mincore(p, pages * PAGE, is), 0);
	for (size_t i = 0; i < pages; i++)
		n += is[i] & 1;
	free(is);
	return n;
}

static bool has_prefault(void)
{
	return api_cap(api_sys(), KVM_CAP_PRE_FAULT_MEMORY) > 0;
}

/* Ends the case where the device has not got it. */
static void need_prefault(int vm, int vcpu)
{
	if (has_prefault())
		return;
	api_close(vcpu);
	api_close(vm);
	skip();
}

/* KVM_PRE_FAULT_MEMORY; @left: what the range says then. */
static int prefault(int vcpu, uint64_t gpa, uint64_t size, uint64_t flags, struct kvm_pre_fault_memory *left)
{
	*left = (struct kvm_pre_fault_memory){ .gpa = gpa, .size = size, .flags = flags };
	return api_ioctl(vcpu, KVM_PRE_FAULT_MEMORY, left);
}

static void run_over(struct guest *g, uint64_t gpa, uint64_t pages)
{
	SET(g, rip, GUEST_CODE);
	SET(g, rsi, gpa);
	SET(g, rcx, pages);
	guest_port(g, 0x10);
}

/* --- the request --- */

static void arguments(void **state)
{
	struct kvm_pre_fault_memory left;
	int vm = api_vm(), vcpu = api_vcpu(vm, 0);

	need_prefault(vm, vcpu);
	api_ok(api_set_slot(vm, 0, 0, BASE, PAGES * PAGE, fresh(PAGES)));
	api_fails(EINVAL, prefault(vcpu, BASE, PAGE, 1, &left));
	api_fails(EINVAL, prefault(vcpu, BASE + 1, PAGE, 0, &left));
	api_fails(EINVAL, prefault(vcpu, BASE, PAGE - 1, 0, &left));
	api_fails(EINVAL, prefault(vcpu, BASE, 0, 0, &left));
	api_fails(EINVAL, prefault(vcpu, ~0UL << 12, PAGE, 0, &left));
	api_fails(EINVAL, prefault(vcpu, ~0UL << 12, 2 * PAGE, 0, &left));
	/* Nothing there, and nothing done. */
	api_fails(ENOENT, prefault(vcpu, BASE - PAGE, 2 * PAGE, 0, &left));
	assert_int_equal(left.gpa, BASE - PAGE);
	assert_int_equal(left.size, 2 * PAGE);
	api_fails(ENOENT, prefault(vcpu, 1ULL << 45, PAGE, 0, &left));
	/* It is a vCPU's. */
	api_fails(ENOTTY, prefault(vm, BASE, PAGE, 0, &left));
	api_close(vcpu);
	api_close(vm);
}

static void makes_resident(void **state)
{
	struct kvm_pre_fault_memory left;
	int vm = api_vm(), vcpu = api_vcpu(vm, 0);
	uint8_t *m = fresh(PAGES);

	need_prefault(vm, vcpu);
	api_ok(api_set_slot(vm, 0, 0, BASE, PAGES * PAGE, m));
	assert_int_equal(resident(m, PAGES), 0);
	api_ok(prefault(vcpu, BASE + 8 * PAGE, 16 * PAGE, 0, &left));
	assert_int_equal(left.size, 0);
	assert_int_equal(left.gpa, BASE + 24 * PAGE);
	assert_int_equal(resident(m + 8 * PAGE, 16), 16);
	assert_int_equal(resident(m, 8), 0);
	/* To the end of the slot, and no further: the rest is told. */
	api_ok(prefault(vcpu, BASE, 2 * PAGES * PAGE, 0, &left));
	assert_int_equal(left.gpa, BASE + PAGES * PAGE);
	assert_int_equal(left.size, PAGES * PAGE);
	assert_int_equal(resident(m, PAGES), PAGES);
	api_fails(ENOENT, api_ioctl(vcpu, KVM_PRE_FAULT_MEMORY, &left));
	assert_int_equal(left.size, PAGES * PAGE);
	/* Over several slots. */
	api_ok(api_set_slot(vm, 1, 0, BASE + PAGES * PAGE, PAGES * PAGE, fresh(PAGES)));
	api_ok(api_ioctl(vcpu, KVM_PRE_FAULT_MEMORY, &left));
	assert_int_equal(left.size, 0);
	/* Nothing was written. */
	for (size_t i = 0; i < PAGES * PAGE; i++)
		assert_int_equal(m[i], 0);
	api_close(vcpu);
	api_close(vm);
	munmap(m, PAGES * PAGE);
}

/* Host memory that is not there ends it, behind what is. */
static void hole(void **state)
{
	struct kvm_pre_fault_memory left;
	int vm = api_vm(), vcpu = api_vcpu(vm, 0);
	uint8_t *m = fresh(PAGES);

	need_prefault(vm, vcpu);
	assert_int_equal(munmap(m + 10 * PAGE, PAGE), 0);
	api_ok(api_set_slot(vm, 0, 0, BASE, PAGES * PAGE, m));
	do
		api_ok(prefault(vcpu, BASE, PAGES * PAGE, 0, &left));
	while (left.gpa == BASE);
	assert_int_equal(left.gpa, BASE + 10 * PAGE);
	assert_int_equal(left.size, (PAGES - 10) * PAGE);
	assert_int_equal(resident(m, 10), 10);
	assert_int_equal(resident(m + 11 * PAGE, PAGES - 11), 0);
	api_fails(EFAULT, api_ioctl(vcpu, KVM_PRE_FAULT_MEMORY, &left));
	assert_int_equal(left.gpa, BASE + 10 * PAGE);
	api_close(vcpu);
	api_close(vm);
}

/* Pages that are populated are used without a fault; others have one each, the first time. */
static void counted(void **state)
{
	struct guest g = GUEST(false, READ_PAGES);
	struct kvm_pre_fault_memory left;
	uint8_t *m = fresh(PAGES);
	uint64_t before;

	if (api_real() || !guest_runs_long_mode()) {
		guest_end(&g);
		skip();
	}
	assert_int_equal(api_cap(api_sys(), ANYKVM_CAP_ENGINE), 1);
	guest_long(&g);
	api_ok(api_set_slot(g.vm, 1, 0, BASE, PAGES * PAGE, m));
	/* The code's own page. */
	run_over(&g, 0x1000, 1);
	before = api_stat(g.vcpu, "pf_fixed");
	run_over(&g, BASE, PAGES / 2);
	assert_int_equal(api_stat(g.vcpu, "pf_fixed") - before, PAGES / 2);
	api_ok(prefault(g.vcpu, BASE + PAGES / 2 * PAGE, PAGES / 2 * PAGE, 0, &left));
	assert_int_equal(api_stat(g.vcpu, "pages_prefaulted"), PAGES / 2);
	run_over(&g, BASE, PAGES);
	assert_int_equal(api_stat(g.vcpu, "pf_fixed") - before, PAGES / 2);
	/* The slot is another one: all is new. */
	api_ok(api_set_slot(g.vm, 1, 0, 0, 0, NULL));
	api_ok(api_set_slot(g.vm, 1, 0, BASE, PAGES * PAGE, m));
	run_over(&g, BASE, PAGES);
	assert_int_equal(api_stat(g.vcpu, "pf_fixed") - before, PAGES / 2 + PAGES);
	guest_end(&g);
	munmap(m, PAGES * PAGE);
}

static volatile sig_atomic_t ticks;

static void on_tick(int sig)
{
	ticks++;
}

/* Signals end it early, and the rest is asked for again; their handlers run. */
static void interrupted(void **state)
{
	struct itimerval on = { { 0, 500 }, { 0, 500 } }, off = { { 0, 0 }, { 0, 0 } };
	struct sigaction sa = { .sa_handler = on_tick }, old;
	const uint64_t pages = 16384;
	struct kvm_pre_fault_memory left;
	int vm = api_vm(), vcpu = api_vcpu(vm, 0);
	uint8_t *m;

	need_prefault(vm, vcpu);
	ticks = 0;
	sigaction(SIGALRM, &sa, &old);
	for (int round = 0; !ticks; round++) {
		m = fresh(pages);
		api_ok(api_set_slot(vm, 0, 0, BASE, pages * PAGE, m));
		left = (struct kvm_pre_fault_memory){ .gpa = BASE, .size = pages * PAGE };
		setitimer(ITIMER_REAL, &on, NULL);
		while (left.size) {
			uint64_t gpa = left.gpa;
			int r = api_ioctl(vcpu, KVM_PRE_FAULT_MEMORY, &left);

			if (r)
				assert_int_equal(errno, EINTR);
			/* Done means progress, not done means none. */
			assert_int_equal(left.gpa > gpa, !r);
			assert_int_equal(left.gpa + left.size, BASE + pages * PAGE);
		}
		setitimer(ITIMER_REAL, &off, NULL);
		assert_int_equal(resident(m, pages), pages);
		api_ok(api_set_slot(vm, 0, 0, 0, 0, NULL));
		munmap(m, pages * PAGE);
	}
	sigaction(SIGALRM, &old, NULL);
	api_close(vcpu);
	api_close(vm);
}

/* --- with every slot --- */

/* A VM that populates its slots (or, @on false, one that does not).  The library that is linked is asked, no client's. */
static int populating_vm(bool on)
{
	int vm;

	assert_int_equal(anykvm_set_parameters(on ? "kvm.global_tdp=Y" : "kvm.global_tdp=N"), 0);
	vm = api_vm();
	assert_int_equal(anykvm_set_parameters("kvm.global_tdp=N"), 0);
	return vm;
}

static void slot_is_resident(void **state)
{
	for (int on = 0; api_linked() && on < 2; on++) {
		int vm = populating_vm(on);
		struct guest g = GUEST_ON(vm, WRITE_PAGES);
		uint8_t *m = fresh(PAGES), *private = api_memory(PAGES * PAGE), *rom = fresh(1);
		uint64_t bits = 0;
		struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = &bits };

		guest_long(&g);
		api_ok(api_set_slot(vm, 1, KVM_MEM_LOG_DIRTY_PAGES, BASE, PAGES * PAGE, m));
		api_ok(api_set_slot(vm, 2, 0, BASE + PAGES * PAGE, PAGES * PAGE, private));
		api_ok(api_set_slot(vm, 3, KVM_MEM_READONLY, BASE + 2 * PAGES * PAGE, PAGE, rom));
		assert_int_equal(resident(m, PAGES), on ? PAGES : 0);
		assert_int_equal(resident(private, PAGES), on ? PAGES : 0);
		assert_int_equal(resident(rom, 1), on);
		assert_int_equal(api_stat(vm, "pages_populated"), on ? GUEST_MEM / PAGE + 2 * PAGES + 1 : 0);
		/* The guest takes no fault, and the dirty log is exact. */
		run_over(&g, BASE + 2 * PAGE, 3);
		run_over(&g, BASE + PAGES * PAGE, PAGES);
		assert_int_equal(api_stat(g.vcpu, "pf_fixed"), on ? 0 : 3 + PAGES + 1);
		api_ok(api_ioctl(vm, KVM_GET_DIRTY_LOG, &log));
		assert_int_equal(bits, 7 << 2);
		/* Without its slot it is a device's. */
		api_ok(api_set_slot(vm, 1, 0, 0, 0, NULL));
		SET(&g, rip, GUEST_CODE);
		SET(&g, rsi, BASE);
		guest_run(&g, KVM_EXIT_MMIO);
		guest_end(&g);
		munmap(m, PAGES * PAGE);
		munmap(private, PAGES * PAGE);
		munmap(rom, PAGE);
	}
	if (!api_linked())
		skip();
}

/* Memory that is not there cannot be made resident; what may only be read is. */
static void slot_without_memory(void **state)
{
	uint8_t *m;
	int vm;

	if (!api_linked())
		skip();
	vm = populating_vm(true);
	m = fresh(PAGES);
	assert_int_equal(munmap(m + 5 * PAGE, PAGE), 0);
	api_fails(EFAULT, api_set_slot(vm, 0, 0, 0, PAGES * PAGE, m));
	api_fails(EINVAL, api_set_slot(vm, 0, 0, 0, 0, NULL));
	api_ok(api_set_slot(vm, 0, 0, 0, 5 * PAGE, m));
	assert_int_equal(mprotect(m + 6 * PAGE, 4 * PAGE, PROT_READ), 0);
	api_ok(api_set_slot(vm, 1, 0, 6 * PAGE, 4 * PAGE, m + 6 * PAGE));
	assert_int_equal(resident(m + 6 * PAGE, 4), 4);
	api_close(vm);
}

static void no_smm(void **state)
{
	struct kvm_vcpu_events e;
	int vm, vcpu;

	if (!api_linked())
		skip();
	vm = populating_vm(true);
	vcpu = api_vcpu(vm, 0);
	assert_int_equal(api_cap(vm, KVM_CAP_X86_SMM), 0);
	assert_int_equal(api_cap(vm, KVM_CAP_MULTI_ADDRESS_SPACE), 1);
	api_fails(EINVAL, api_set_slot(vm, 1 << 16, 0, 0, PAGE, api_memory(PAGE)));
	api_fails(ENOTTY, api_ioctl(vcpu, KVM_SMI, NULL));
	api_ok(api_ioctl(vcpu, KVM_GET_VCPU_EVENTS, &e));
	e.flags |= KVM_VCPUEVENT_VALID_SMM;
	e.smi.smm = 1;
	api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_VCPU_EVENTS, &e));
	api_close(vcpu);
	api_close(vm);
	/* Of VMs that are made while the parameter is set. */
	assert_int_equal(api_cap(api_sys(), KVM_CAP_X86_SMM), 1);
	assert_int_equal(anykvm_set_parameters("kvm.global_tdp=Y"), 0);
	assert_int_equal(api_cap(api_sys(), KVM_CAP_X86_SMM), 0);
	assert_int_equal(api_cap(api_sys(), KVM_CAP_MULTI_ADDRESS_SPACE), 1);
	assert_int_equal(anykvm_get_parameter("kvm.global_tdp"), 1);
	assert_int_equal(anykvm_set_parameters("kvm.global_tdp=N"), 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(arguments),
	cmocka_unit_test(makes_resident),
	cmocka_unit_test(hole),
	cmocka_unit_test(counted),
	cmocka_unit_test(interrupted),
	cmocka_unit_test(slot_is_resident),
	cmocka_unit_test(slot_without_memory),
	cmocka_unit_test(no_smm),
};

API_MAIN(tests)
