// SPDX-License-Identifier: MIT
/* kvmclock: four vCPUs that compare their clocks, the two generations of its MSRs, the wall clock, and the client's hand. */
#include "guest.h"

#include <pthread.h>
#include <time.h>

#define MSR_TSC 0x10
#define MSR_WALL_OLD 0x11
#define MSR_TIME_OLD 0x12
#define MSR_WALL 0x4b564d00
#define MSR_TIME 0x4b564d01
#define F_STABLE (1U << 24)
#define FLAG_STABLE 1
#define FLAG_STOPPED 2
#define NSEC 1000000000ULL

#define CPUS 4
#define TURNS 20000
#define LAST 0x8000
#define PAGE_OF(i) (0x4000U + 0x40 * (unsigned int)(i))
enum { GOOD = 0x10, BACKWARDS = 0x11 };

struct wall_clock {
	uint32_t version, sec, nsec;
};

/*
 * RDI: this vCPU's page, R8: the latest time that any vCPU has seen, ESI: turns.  The
 * latest is read first: what the own clock says then must not be before it.
 */
extern const uint8_t clocks[], clocks_end[];
__asm__(".pushsection .rodata\n"
	".globl clocks, clocks_end\n"
	".hidden clocks, clocks_end\n"
	"clocks:\n"
	"1:	mov (%r8), %r9\n"
	"2:	mov (%rdi), %ebx\n"
	"	test $1, %bl\n"
	"	jnz 2b\n"
	"	lfence\n"
	"	rdtsc\n"
	"	shl $32, %rdx\n"
	"	or %rdx, %rax\n"
	"	sub 8(%rdi), %rax\n"
	"	movsbl 28(%rdi), %ecx\n"
	"	test %ecx, %ecx\n"
	"	js 3f\n"
	"	shl %cl, %rax\n"
	"	jmp 4f\n"
	"3:	neg %ecx\n"
	"	shr %cl, %rax\n"
	"4:	mov 24(%rdi), %edx\n"
	"	mul %rdx\n"
	"	shrd $32, %rdx, %rax\n"
	"	add 16(%rdi), %rax\n"
	"	lfence\n"
	"	cmp (%rdi), %ebx\n"
	"	jne 2b\n"
	"	mov %rax, %r10\n"
	"	cmp %r9, %r10\n"
	"	jb 6f\n"
	"	mov (%r8), %rax\n"
	"5:	cmp %rax, %r10\n"
	"	jbe 7f\n"
	"	lock cmpxchg %r10, (%r8)\n"
	"	jne 5b\n"
	"7:	dec %esi\n"
	"	jnz 1b\n"
	"	out %al, $0x10\n"
	"6:	out %al, $0x11\n"
	"clocks_end:\n"
	".popsection\n");

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * NSEC + (uint64_t)ts.tv_nsec;
}

static volatile struct time_page *page_of(struct guest *g, int i)
{
	return (struct time_page *)(g->mem + PAGE_OF(i));
}

/* A guest that does nothing but exit. */
static struct guest idle(void)
{
	return GUEST(false, 0xe6, 0x10, 0xeb, 0xfc);            /* l: out 0x10,al; jmp l */
}

static struct kvm_clock_data get_clock(struct guest *g)
{
	struct kvm_clock_data c = { 0 };

	api_ok(api_ioctl(g->vm, KVM_GET_CLOCK, &c));
	return c;
}

/* --- four vCPUs ------------------------------------------------------------------------------------- */

static void *run_thread(void *arg)
{
	struct guest *g = arg;

	return api_ioctl(g->vcpu, KVM_RUN, NULL) ? arg : NULL;
}

static void compare(struct guest *g)
{
	pthread_t thread[CPUS];
	void *wrong;

	for (int i = 0; i < CPUS; i++) {
		struct kvm_regs r = {
			.rip = GUEST_CODE, .rflags = 2, .rdi = PAGE_OF(i), .rsi = TURNS, .r8 = LAST, .rsp = 0x9000,
		};

		api_ok(api_ioctl(g[i].vcpu, KVM_SET_REGS, &r));
	}
	for (int i = 0; i < CPUS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, run_thread, &g[i]), 0);
	for (int i = 0; i < CPUS; i++) {
		pthread_join(thread[i], &wrong);
		assert_null(wrong);
		assert_int_equal(g[i].run->exit_reason, KVM_EXIT_IO);
		assert_int_equal(g[i].run->io.port, GOOD);
	}
}

/* The clock of none is behind what any other has shown, whatever their TSCs, and by whichever MSR they were started. */
static void test_four(void **state)
{
	struct kvm_clock_data c = { .clock = 1000 * NSEC };
	struct guest g[CPUS];
	uint64_t before;

	if (!guest_runs_long_mode())
		skip();
	g[0] = guest_of(clocks, (size_t)(clocks_end - clocks), false);
	for (int i = 1; i < CPUS; i++) {
		g[i] = g[0];
		g[i].vcpu = api_vcpu(g[0].vm, (unsigned int)i);
		g[i].run = api_run_of(g[i].vcpu);
	}
	for (int i = 0; i < CPUS; i++) {
		guest_long(&g[i]);
		/* A kernel whose own TSC is unstable makes something of what is written. */
		if (!api_real())
			assert_int_equal(guest_set_msr(&g[i], MSR_TSC, (uint64_t)i << 45), 1);
	}
	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < CPUS; i++)
			assert_int_equal(guest_set_msr(&g[i], (round >> (i & 1)) & 1 ? MSR_TIME_OLD : MSR_TIME,
						       PAGE_OF(i) | 1), 1);
		before = get_clock(&g[0]).clock;
		compare(g);
		if (!(page_of(&g[0], 0)->flags & FLAG_STABLE) && api_real())
			break;
		for (int i = 0; i < CPUS; i++)
			assert_int_equal(page_of(&g[0], i)->flags, FLAG_STABLE);
		assert_true(*(uint64_t *)(g[0].mem + LAST) >= before);
		assert_true(*(uint64_t *)(g[0].mem + LAST) <= get_clock(&g[0]).clock + (api_real() ? 1000000 : 2000));
		/* While none runs the client sets it forward. */
		api_ok(api_ioctl(g[0].vm, KVM_SET_CLOCK, &c));
		c.clock *= 2;
	}
	for (int i = 1; i < CPUS; i++)
		api_close(g[i].vcpu);
	guest_end(&g[0]);
}

/* --- MSRs ---------------------------------------------------------------------------------------------- */

/* One register behind two numbers; without bit 0 the page is left alone. */
static void test_two_numbers(void **state)
{
	static const uint32_t msr[] = { MSR_TIME, MSR_TIME_OLD };
	struct kvm_clock_data c = { .clock = NSEC };
	struct guest g = idle();
	uint32_t version = 0;
	uint64_t value;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(guest_set_msr(&g, msr[i], PAGE_OF(i) | 1), 1);
		guest_port(&g, 0x10);
		for (int j = 0; j < 2; j++) {
			assert_int_equal(guest_get_msr(&g, msr[j], &value), 1);
			assert_int_equal(value, PAGE_OF(i) | 1);
		}
		assert_true(page_of(&g, i)->version && !(page_of(&g, i)->version & 1));
		assert_true(page_of(&g, i)->mul);
	}
	assert_int_equal(guest_set_msr(&g, MSR_TIME, PAGE_OF(1)), 1);
	version = page_of(&g, 1)->version;
	api_ok(api_ioctl(g.vm, KVM_SET_CLOCK, &c));
	guest_port(&g, 0x10);
	assert_int_equal(page_of(&g, 1)->version, version);
	guest_end(&g);
}

static void test_stable(void **state)
{
	struct guest g = idle();

	assert_true(guest_kvm_features(&g, ~0U) & F_STABLE);
	assert_int_equal(guest_set_msr(&g, MSR_TIME, PAGE_OF(0) | 1), 1);
	guest_port(&g, 0x10);
	if (!api_real())
		assert_int_equal(page_of(&g, 0)->flags, FLAG_STABLE);
	guest_end(&g);
}

/* When the VM's clock was zero, as the host's calendar has it. */
static void test_wall_clock(void **state)
{
	static const uint32_t msr[] = { MSR_WALL, MSR_WALL_OLD };
	struct guest g = idle();
	uint64_t value;

	for (unsigned int i = 0; i < 2; i++) {
		volatile struct wall_clock *w = (struct wall_clock *)(g.mem + 0x5000 + 0x100 * i);
		uint64_t low = now_ns(CLOCK_REALTIME) - get_clock(&g).clock, told, high;

		w->version = 6 + i;
		assert_int_equal(guest_set_msr(&g, msr[i], 0x5000 + 0x100 * i), 1);
		high = now_ns(CLOCK_REALTIME) - get_clock(&g).clock;
		told = w->sec * NSEC + w->nsec;
		/* Both ends are readings of two clocks, one after the other, on a busy machine. */
		assert_true(told + NSEC / 10 >= low && told <= high + NSEC / 10 + (high - low));
		assert_true(w->nsec < NSEC);
		assert_true(w->version > 6 && !(w->version & 1));
		for (int j = 0; j < 2; j++) {
			assert_int_equal(guest_get_msr(&g, msr[j], &value), 1);
			assert_int_equal(value, 0x5000 + 0x100 * i);
		}
	}
	guest_end(&g);
}

/* --- the client ------------------------------------------------------------------------------------------ */

static void test_set_clock(void **state)
{
	struct kvm_clock_data c = { .clock = 500 * NSEC, .flags = 0x100 };
	struct guest g = idle();
	uint64_t clock;

	api_fails(EINVAL, api_ioctl(g.vm, KVM_SET_CLOCK, &c));
	assert_true(get_clock(&g).clock < 500 * NSEC);
	c.flags = 0;
	api_ok(api_ioctl(g.vm, KVM_SET_CLOCK, &c));
	clock = get_clock(&g).clock;
	assert_true(clock >= 500 * NSEC && clock < 600 * NSEC);
	/* A hundred seconds have passed since the client read it; time that would run backwards has not. */
	c.flags = KVM_CLOCK_REALTIME;
	c.realtime = now_ns(CLOCK_REALTIME) - 100 * NSEC;
	api_ok(api_ioctl(g.vm, KVM_SET_CLOCK, &c));
	clock = get_clock(&g).clock;
	assert_true(clock >= 600 * NSEC && clock < 700 * NSEC);
	c.realtime = now_ns(CLOCK_REALTIME) + 1000 * NSEC;
	api_ok(api_ioctl(g.vm, KVM_SET_CLOCK, &c));
	clock = get_clock(&g).clock;
	assert_true(clock >= 500 * NSEC && clock < 600 * NSEC);
	guest_end(&g);
}

static void test_get_clock(void **state)
{
	struct guest g = idle();
	struct kvm_clock_data a = get_clock(&g), b;
	const uint32_t flags = KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC;

	assert_int_equal(api_cap(g.vm, KVM_CAP_ADJUST_CLOCK) & flags, flags);
	b = get_clock(&g);
	assert_true(b.clock >= a.clock);
	if (!api_real()) {
		assert_int_equal(a.flags, flags);
		assert_true(b.host_tsc > a.host_tsc);
		assert_true(b.realtime && a.realtime);
	}
	guest_end(&g);
}

/* KVM_KVMCLOCK_CTRL: only where there is a page to say it in; then once. */
static void test_paused(void **state)
{
	struct guest g = idle();

	api_fails(EINVAL, api_ioctl(g.vcpu, KVM_KVMCLOCK_CTRL, NULL));
	assert_int_equal(guest_set_msr(&g, MSR_TIME, PAGE_OF(0) | 1), 1);
	guest_port(&g, 0x10);
	assert_false(page_of(&g, 0)->flags & FLAG_STOPPED);
	api_ok(api_ioctl(g.vcpu, KVM_KVMCLOCK_CTRL, NULL));
	guest_port(&g, 0x10);
	assert_true(page_of(&g, 0)->flags & FLAG_STOPPED);
	page_of(&g, 0)->flags = 0;
	guest_port(&g, 0x10);
	assert_false(page_of(&g, 0)->flags & FLAG_STOPPED);
	assert_int_equal(guest_set_msr(&g, MSR_TIME, 0), 1);
	api_fails(EINVAL, api_ioctl(g.vcpu, KVM_KVMCLOCK_CTRL, NULL));
	guest_end(&g);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_four),
	cmocka_unit_test(test_two_numbers),
	cmocka_unit_test(test_stable),
	cmocka_unit_test(test_wall_clock),
	cmocka_unit_test(test_set_clock),
	cmocka_unit_test(test_get_clock),
	cmocka_unit_test(test_paused),
};

API_MAIN(tests)
