/* SPDX-License-Identifier: MIT */
/*
 * Random requests with random arguments on a VM and its vCPUs: whatever they answer, the process stays whole, and a
 * fresh VM works afterwards.  Only against the library: a kernel has better fuzzers, and more to lose.
 *
 * FUZZ_SEED and FUZZ_ROUNDS change the run; a failure prints the seed.
 */
#include "api.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <time.h>

#define ARENA (64 * PAGE)

static uint64_t seed;

/* splitmix64 */
static uint64_t rnd(void)
{
	uint64_t z = seed += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static const uint64_t edges[] = {
	0, 1, 2, 3, 4, 8, 0x10, 0x20, 0x40, 0x7f, 0x80, 0xff, 0x100, 0xfff, 0x1000, 0x1001, 0x7fffffff, 0x80000000,
	0xffffffff, 0x100000000, 0xfee00000, 0xfec00000, 0x7fffffffffff, 0x800000000000, 0xffff800000000000,
	0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff,
};

static uint64_t number(void)
{
	switch (rnd() % 4) {
	case 0: return rnd();
	case 1: return rnd() % 64;
	case 2: return 1ULL << rnd() % 64;
	default: return edges[rnd() % (sizeof(edges) / sizeof(edges[0]))];
	}
}

static const unsigned long vm_requests[] = {
	KVM_CREATE_VCPU, KVM_CHECK_EXTENSION, KVM_ENABLE_CAP, KVM_SET_USER_MEMORY_REGION, KVM_GET_DIRTY_LOG,
	KVM_CLEAR_DIRTY_LOG, KVM_REGISTER_COALESCED_MMIO, KVM_UNREGISTER_COALESCED_MMIO, KVM_IOEVENTFD, KVM_IRQFD,
	KVM_SIGNAL_MSI, KVM_IRQ_LINE, KVM_IRQ_LINE_STATUS, KVM_SET_GSI_ROUTING, KVM_CREATE_DEVICE, KVM_GET_STATS_FD,
	KVM_CREATE_IRQCHIP, KVM_GET_IRQCHIP, KVM_SET_IRQCHIP, KVM_CREATE_PIT2, KVM_GET_PIT2, KVM_SET_PIT2,
	KVM_SET_TSS_ADDR, KVM_SET_IDENTITY_MAP_ADDR, KVM_SET_BOOT_CPU_ID, KVM_GET_CLOCK, KVM_SET_CLOCK,
	KVM_SET_TSC_KHZ, KVM_GET_TSC_KHZ, KVM_X86_SET_MSR_FILTER, KVM_REINJECT_CONTROL, KVM_GET_PIT, KVM_SET_PIT,
};

static const unsigned long vcpu_requests[] = {
	KVM_RUN, KVM_GET_REGS, KVM_SET_REGS, KVM_GET_SREGS, KVM_SET_SREGS, KVM_GET_SREGS2, KVM_SET_SREGS2,
	KVM_TRANSLATE, KVM_INTERRUPT, KVM_GET_MSRS, KVM_SET_MSRS, KVM_SET_CPUID2, KVM_GET_CPUID2, KVM_GET_FPU,
	KVM_SET_FPU, KVM_GET_LAPIC, KVM_SET_LAPIC, KVM_GET_MP_STATE, KVM_SET_MP_STATE, KVM_NMI,
	KVM_SET_GUEST_DEBUG, KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS,
	KVM_ENABLE_CAP, KVM_GET_XSAVE, KVM_SET_XSAVE, KVM_GET_XSAVE2, KVM_GET_XCRS, KVM_SET_XCRS,
	KVM_KVMCLOCK_CTRL, KVM_GET_STATS_FD, KVM_X86_SETUP_MCE, KVM_X86_SET_MCE, KVM_TPR_ACCESS_REPORTING,
	KVM_SET_VAPIC_ADDR, KVM_SET_TSC_KHZ, KVM_GET_TSC_KHZ, KVM_SMI, KVM_RUN, KVM_RUN, KVM_RUN,
};

static char *arena, *page;

static void fill(void)
{
	for (size_t i = 0; i < PAGE / 8; i++)
		((uint64_t *)page)[i] = rnd() % 3 ? number() : 0;
	if (rnd() % 2)
		for (size_t i = 0; i < 16; i++)
			((uint32_t *)page)[i] = (uint32_t)number();
}

/* The client's own mistakes are the client's: what a slot names must be memory that the test can lose. */
static void tame(unsigned long request)
{
	struct kvm_userspace_memory_region *m = (void *)page;

	if (request != KVM_SET_USER_MEMORY_REGION)
		return;
	m->userspace_addr = (uintptr_t)arena + rnd() % 32 * PAGE;
	m->memory_size = rnd() % 16 ? rnd() % 32 * PAGE : number();
	m->guest_phys_addr = rnd() % 16 ? rnd() % 64 * PAGE : number();
	m->slot = rnd() % 16 ? (uint32_t)(rnd() % 8) : (uint32_t)number();
	m->flags = rnd() % 16 ? (uint32_t)(rnd() % 4) : (uint32_t)number();
	/* A size that is refused is fine, one that reaches beyond the arena is not. */
	if (m->memory_size < (1UL << 43) && m->memory_size > 32 * PAGE)
		m->memory_size = PAGE;
}

static void *argument(unsigned long request)
{
	size_t size = _IOC_SIZE(request);

	if (!size && request != KVM_SET_GSI_ROUTING)
		return (void *)(rnd() % 4 ? rnd() % 8 : number());
	fill();
	tame(request);
	switch (rnd() % 32) {
	case 0: return NULL;
	case 1: return api_bad();
	case 2: return page + PAGE - rnd() % (size + 1);
	case 3: return (void *)number();
	default: return page;
	}
}

static void on_alarm(int sig)
{
}

static void one_call(int vm, int *vcpu, struct kvm_run **run)
{
	int n = (int)(rnd() % 2), fd = rnd() % 3 ? vcpu[n] : vm, r;
	unsigned long request;

	if (fd == vm)
		request = vm_requests[rnd() % (sizeof(vm_requests) / sizeof(vm_requests[0]))];
	else
		request = vcpu_requests[rnd() % (sizeof(vcpu_requests) / sizeof(vcpu_requests[0]))];
	if (request == KVM_RUN) {
		for (size_t i = 0; i < 8; i++)
			if (!(rnd() % 8))
				((uint8_t *)run[n])[rnd() % 512] = (uint8_t)number();
		/* Mostly valid, so that the guest runs. */
		run[n]->kvm_valid_regs = rnd() % 16 ? 0 : number();
		run[n]->kvm_dirty_regs = rnd() % 16 ? 0 : number();
		run[n]->immediate_exit = !(rnd() % 8);
		api_ioctl(fd, request, 0);
		return;
	}
	r = api_ioctl(fd, request, argument(request));
	if (r > 2 && (request == KVM_CREATE_VCPU || request == KVM_GET_STATS_FD))
		api_close(r);
}

static void fuzz_one_vm(unsigned int calls)
{
	int vm = api_vm(), vcpu[2], ev[4];
	struct kvm_run *run[2];

	for (int i = 0; i < 4; i++)
		ev[i] = eventfd(0, EFD_NONBLOCK);
	if (rnd() % 2)
		api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, 0));
	for (size_t i = 0; i < ARENA / 8; i++)
		((uint64_t *)arena)[i] = rnd();
	api_ok(api_set_slot(vm, 0, 0, 0, 16 * PAGE, arena));
	for (unsigned int i = 0; i < 2; i++) {
		vcpu[i] = api_vcpu(vm, i);
		run[i] = api_run_of(vcpu[i]);
	}
	if (rnd() % 2)
		api_real_mode(vcpu[0], arena, "\xeb\xfe", 2);
	while (calls--)
		one_call(vm, vcpu, run);
	for (unsigned int i = 0; i < 2; i++) {
		munmap(run[i], 3 * PAGE);
		api_close(vcpu[i]);
	}
	api_close(vm);
	for (int i = 0; i < 4; i++)
		close(ev[i]);
}

static uint64_t setting(const char *name, uint64_t value)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : value;
}

static void fuzz(uint64_t with_seed, unsigned int rounds)
{
	struct sigaction act = { .sa_handler = on_alarm };
	struct itimerval on = { { 0, 3000 }, { 0, 3000 } }, off = { { 0, 0 }, { 0, 0 } };

	seed = with_seed;
	fprintf(stderr, "# seed %#llx\n", (unsigned long long)seed);
	arena = api_memory(ARENA);
	page = api_edge(PAGE);
	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &on, NULL);
	while (rounds--)
		fuzz_one_vm(400);
	setitimer(ITIMER_REAL, &off, NULL);
	munmap(arena, ARENA);
}

static void fixed_seed(void **state)
{
	if (api_real())
		skip();
	fuzz(setting("FUZZ_SEED", 1), (unsigned int)setting("FUZZ_ROUNDS", 20));
}

static void fresh_seed(void **state)
{
	if (api_real())
		skip();
	fuzz((uint64_t)time(NULL) << 20 ^ (uint64_t)getpid(), (unsigned int)setting("FUZZ_ROUNDS", 20));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(fixed_seed),
	cmocka_unit_test(fresh_seed),
};

API_MAIN(tests)
