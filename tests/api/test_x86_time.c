// SPDX-License-Identifier: MIT
/* Time as a guest sees it: the TSC and its rate, kvmclock on several vCPUs, sleep. */
#include "api.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#define MSR_TSC 0x10
#define MSR_TSC_ADJUST 0x3b
#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01
#define CLOCK_PAGE(i) (0x4000 + 0x40 * (i))
#define FLAG_STOPPED 2

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

struct msr_io {
	struct kvm_msrs head;
	struct kvm_msr_entry e;
};

static void set_msr(int vcpu, uint32_t index, uint64_t value)
{
	struct msr_io m = { { .nmsrs = 1 }, { .index = index, .data = value } };

	assert_int_equal(api_ioctl(vcpu, KVM_SET_MSRS, &m), 1);
}

static uint64_t get_msr(int vcpu, uint32_t index)
{
	struct msr_io m = { { .nmsrs = 1 }, { .index = index } };

	assert_int_equal(api_ioctl(vcpu, KVM_GET_MSRS, &m), 1);
	return m.e.data;
}

/* A VM whose vCPUs execute HLT, which ends KVM_RUN. */
struct machine {
	int vm, vcpu[2];
	struct kvm_run *run[2];
	uint8_t *mem;
};

static void start(struct machine *m)
{
	static const uint8_t halt[] = { 0xf4, 0xeb, 0xfd };    /* hlt; jmp .-1 */

	m->vm = api_vm();
	m->mem = api_memory(0x10000);
	api_ok(api_set_slot(m->vm, 0, 0, 0, 0x10000, m->mem));
	for (unsigned int i = 0; i < 2; i++) {
		m->vcpu[i] = api_vcpu(m->vm, i);
		m->run[i] = api_run_of(m->vcpu[i]);
		api_real_mode(m->vcpu[i], m->mem, halt, sizeof(halt));
	}
}

static void stop(struct machine *m)
{
	api_close(m->vcpu[0]);
	api_close(m->vcpu[1]);
	api_close(m->vm);
}

static void run(struct machine *m, int i)
{
	api_ok(api_ioctl(m->vcpu[i], KVM_RUN, NULL));
	assert_int_equal(m->run[i]->exit_reason, KVM_EXIT_HLT);
}

static struct time_page *page_of(struct machine *m, int i)
{
	return (struct time_page *)(m->mem + CLOCK_PAGE(i));
}

static void start_clocks(struct machine *m)
{
	for (int i = 0; i < 2; i++) {
		set_msr(m->vcpu[i], MSR_KVM_SYSTEM_TIME_NEW, CLOCK_PAGE(i) | 1);
		run(m, i);
		assert_true(page_of(m, i)->version && !(page_of(m, i)->version & 1));
	}
}

static uint64_t vm_clock(struct machine *m)
{
	struct kvm_clock_data c = { 0 };

	api_ok(api_ioctl(m->vm, KVM_GET_CLOCK, &c));
	return c.clock;
}

/* What the guest computes; msr.rst, MSR_KVM_SYSTEM_TIME_NEW. */
static uint64_t guest_clock(struct machine *m, int i)
{
	const struct time_page *p = page_of(m, i);
	uint64_t delta = get_msr(m->vcpu[i], MSR_TSC) - p->tsc_timestamp;

	delta = p->shift < 0 ? delta >> -p->shift : delta << p->shift;
	return p->system_time + (uint64_t)((unsigned __int128)delta * p->mul >> 32);
}

/* Both vCPUs' clocks lie between two readings of the VM's. */
static void check_agreement(struct machine *m)
{
	const uint64_t slack = api_real() ? 1000000 : 2000;

	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 2; i++) {
			uint64_t before = vm_clock(m), c = guest_clock(m, i), after = vm_clock(m);

			assert_true(c + slack >= before);
			assert_true(c <= after + slack);
		}
	}
}

static void test_clocks_agree(void **state)
{
	struct machine m;
	int khz;

	start(&m);
	khz = api_ioctl(m.vcpu[0], KVM_GET_TSC_KHZ, NULL);
	if (api_cap(m.vm, KVM_CAP_TSC_CONTROL))
		api_ok(api_ioctl(m.vcpu[1], KVM_SET_TSC_KHZ, (void *)(uintptr_t)(khz / 3)));
	start_clocks(&m);
	check_agreement(&m);
	usleep(30000);
	check_agreement(&m);
	stop(&m);
}

/* A new time, and another TSC on one vCPU, reach both pages by the next entry. */
static void test_clock_is_set(void **state)
{
	struct kvm_clock_data c = { .clock = 7000000000000ULL };
	struct machine m;

	start(&m);
	start_clocks(&m);
	api_ok(api_ioctl(m.vm, KVM_SET_CLOCK, &c));
	run(&m, 0);
	run(&m, 1);
	check_agreement(&m);
	assert_true(guest_clock(&m, 1) >= c.clock && guest_clock(&m, 1) < c.clock + 10000000000ULL);
	if (!api_real()) {
		set_msr(m.vcpu[1], MSR_TSC, 1ULL << 51);
		run(&m, 1);
		check_agreement(&m);
	}
	stop(&m);
}

/* Within 250 ppm of the host's frequency nothing is scaled, and the page must say what the TSC really does. */
static void test_clock_rate(void **state)
{
	struct machine m;
	int khz;

	start(&m);
	khz = api_ioctl(m.vcpu[0], KVM_GET_TSC_KHZ, NULL);
	api_ok(api_ioctl(m.vcpu[1], KVM_SET_TSC_KHZ, (void *)(uintptr_t)(khz + khz / 5000)));
	start_clocks(&m);
	assert_int_equal(page_of(&m, 0)->mul, page_of(&m, 1)->mul);
	assert_int_equal(page_of(&m, 0)->shift, page_of(&m, 1)->shift);
	stop(&m);
}

/* KVM_KVMCLOCK_CTRL: the flag stays until the guest clears it. */
static void test_stopped_flag(void **state)
{
	struct kvm_clock_data c = { .clock = 1000000000 };
	struct machine m;

	start(&m);
	start_clocks(&m);
	assert_false(page_of(&m, 0)->flags & FLAG_STOPPED);
	api_ok(api_ioctl(m.vcpu[0], KVM_KVMCLOCK_CTRL, NULL));
	run(&m, 0);
	assert_true(page_of(&m, 0)->flags & FLAG_STOPPED);
	api_ok(api_ioctl(m.vm, KVM_SET_CLOCK, &c));
	run(&m, 0);
	assert_true(page_of(&m, 0)->flags & FLAG_STOPPED);
	page_of(&m, 0)->flags &= (uint8_t)~FLAG_STOPPED;
	api_ok(api_ioctl(m.vm, KVM_SET_CLOCK, &c));
	run(&m, 0);
	assert_false(page_of(&m, 0)->flags & FLAG_STOPPED);
	stop(&m);
}

static void test_tsc_rate(void **state)
{
	struct machine m;
	uint64_t t0, t1, n0, n1;
	double khz;
	int want;

	start(&m);
	if (!api_cap(m.vm, KVM_CAP_TSC_CONTROL)) {
		stop(&m);
		skip();
	}
	want = api_ioctl(m.vcpu[0], KVM_GET_TSC_KHZ, NULL) / 2;
	api_ok(api_ioctl(m.vcpu[0], KVM_SET_TSC_KHZ, (void *)(uintptr_t)want));
	assert_int_equal(api_ioctl(m.vcpu[0], KVM_GET_TSC_KHZ, NULL), want);
	n0 = now_ns(CLOCK_MONOTONIC);
	t0 = get_msr(m.vcpu[0], MSR_TSC);
	usleep(100000);
	t1 = get_msr(m.vcpu[0], MSR_TSC);
	n1 = now_ns(CLOCK_MONOTONIC);
	khz = (double)(t1 - t0) * 1e6 / (double)(n1 - n0);
	assert_true(khz > 0.97 * want && khz < 1.03 * want);
	/* What a VM's vCPUs begin with. */
	api_ok(api_ioctl(m.vm, KVM_SET_TSC_KHZ, (void *)(uintptr_t)want));
	assert_int_equal(api_ioctl(m.vm, KVM_GET_TSC_KHZ, NULL), want);
	stop(&m);
}

static void set_cpuid(int vcpu)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 e[256];
	} c;

	c.head.nent = 256;
	api_ok(api_ioctl(api_sys(), KVM_GET_SUPPORTED_CPUID, &c));
	api_ok(api_ioctl(vcpu, KVM_SET_CPUID2, &c));
}

/* SDM 3B 17.17.3: a guest's write of the TSC is counted in TSC_ADJUST, and one of TSC_ADJUST moves the TSC. */
static void test_tsc_adjust(void **state)
{
	/* mov ecx,0x10; xor eax,eax; xor edx,edx; wrmsr; hlt; mov cl,0x3b; wrmsr; hlt */
	static const uint8_t code[] = { 0x66, 0xb9, 0x10, 0, 0, 0, 0x66, 0x31, 0xc0, 0x66, 0x31, 0xd2, 0x0f, 0x30,
					0xf4, 0xb1, 0x3b, 0x0f, 0x30, 0xf4 };
	struct machine m;
	uint64_t before, adjust;

	/* A kernel whose own TSC is unstable makes something of what is written. */
	if (api_real())
		skip();
	start(&m);
	set_cpuid(m.vcpu[0]);
	set_msr(m.vcpu[0], MSR_TSC, 1ULL << 50);
	/* The client's writes of either register leave the other alone. */
	before = get_msr(m.vcpu[0], MSR_TSC);
	set_msr(m.vcpu[0], MSR_TSC_ADJUST, 1ULL << 40);
	assert_true(get_msr(m.vcpu[0], MSR_TSC) - before < 1ULL << 36);
	set_msr(m.vcpu[0], MSR_TSC_ADJUST, 0);
	api_real_mode(m.vcpu[0], m.mem, code, sizeof(code));
	run(&m, 0);
	assert_true(get_msr(m.vcpu[0], MSR_TSC) < 1ULL << 40);
	adjust = get_msr(m.vcpu[0], MSR_TSC_ADJUST);
	assert_true(-adjust >= before && -adjust - before < 1ULL << 40);
	run(&m, 0);
	assert_int_equal(get_msr(m.vcpu[0], MSR_TSC_ADJUST), 0);
	assert_true(get_msr(m.vcpu[0], MSR_TSC) >= before);
	stop(&m);
}

/* --- sleeping --- */

static void on_signal(int sig)
{
}

static void *run_thread(void *vcpu)
{
	int r = api_ioctl(*(int *)vcpu, KVM_RUN, NULL);

	return r < 0 && errno == EINTR ? NULL : vcpu;
}

/* Nobody of ours works while all vCPUs are halted. */
static void test_halt_is_free(void **state)
{
	static const uint8_t code[] = { 0xfb, 0xf4 };   /* sti; hlt */
	struct sigaction sa = { .sa_handler = on_signal };
	int vm = api_vm(), vcpu;
	uint8_t *mem = api_memory(0x10000);
	uint64_t cpu;
	pthread_t t;
	void *wrong;

	sigaction(SIGUSR1, &sa, NULL);
	api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
	api_ok(api_set_slot(vm, 0, 0, 0, 0x10000, mem));
	vcpu = api_vcpu(vm, 0);
	api_real_mode(vcpu, mem, code, sizeof(code));
	assert_int_equal(pthread_create(&t, NULL, run_thread, &vcpu), 0);
	usleep(50000);
	cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);
	usleep(300000);
	cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	pthread_kill(t, SIGUSR1);
	pthread_join(t, &wrong);
	assert_null(wrong);
	assert_true(cpu < 5000000);
	api_close(vcpu);
	api_close(vm);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_clocks_agree),
	cmocka_unit_test(test_clock_is_set),
	cmocka_unit_test(test_clock_rate),
	cmocka_unit_test(test_stopped_flag),
	cmocka_unit_test(test_tsc_rate),
	cmocka_unit_test(test_tsc_adjust),
	cmocka_unit_test(test_halt_is_free),
};

API_MAIN(tests)
