/* SPDX-License-Identifier: MIT */
/* KVM_RUN and what ends it: signals, immediate_exit, masks; halting; other threads meanwhile. */
#include "api.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <time.h>

static const uint8_t spin[] = { 0xeb, 0xfe };           /* jmp . */
static const uint8_t halt[] = { 0xf4, 0xeb, 0xfd };     /* hlt; jmp back */

static _Atomic int handled;
static struct kvm_run *in_handler;

static void on_signal(int sig)
{
	atomic_fetch_add(&handled, 1);
	if (in_handler)
		in_handler->immediate_exit = 1;
}

static void install(int sig)
{
	struct sigaction act = { .sa_handler = on_signal };

	sigemptyset(&act.sa_mask);
	assert_int_equal(sigaction(sig, &act, NULL), 0);
	atomic_store(&handled, 0);
	in_handler = NULL;
}

struct guest {
	int vm, vcpu;
	struct kvm_run *run;
	char *memory;
};

static void make_guest(struct guest *g, const void *code, size_t n, bool irqchip)
{
	g->vm = api_vm();
	if (irqchip)
		api_ok(api_ioctl(g->vm, KVM_CREATE_IRQCHIP, 0));
	g->vcpu = api_vcpu(g->vm, 0);
	g->run = api_run_of(g->vcpu);
	g->memory = api_memory(16 * PAGE);
	api_ok(api_set_slot(g->vm, 0, 0, 0, 16 * PAGE, g->memory));
	api_real_mode(g->vcpu, g->memory, code, n);
}

static void end_guest(struct guest *g)
{
	api_close(g->vcpu);
	api_close(g->vm);
}

static void immediate_exit(void **state)
{
	struct guest g;

	make_guest(&g, spin, sizeof(spin), false);
	api_fails(EINVAL, api_ioctl(g.vcpu, KVM_RUN, (void *)1));
	g.run->immediate_exit = 1;
	for (int i = 0; i < 100; i++)
		api_fails(EINTR, api_ioctl(g.vcpu, KVM_RUN, 0));
	g.run->immediate_exit = 255;
	api_fails(EINTR, api_ioctl(g.vcpu, KVM_RUN, 0));
	end_guest(&g);
}

/* --- signals --- */

struct kick {
	pthread_t target;
	int sig;
	unsigned int after_ms;
};

static void sleep_ms(unsigned int ms)
{
	struct timespec ts = { ms / 1000, (long)(ms % 1000) * 1000000 };

	while (nanosleep(&ts, &ts))
		;
}

static void *kick_main(void *arg)
{
	struct kick *k = arg;

	sleep_ms(k->after_ms);
	pthread_kill(k->target, k->sig);
	return NULL;
}

/* KVM_RUN ends with EINTR some time after the signal, and the handler has run once. */
static void kicked(struct guest *g)
{
	struct kick k = { pthread_self(), SIGUSR1, 50 };
	pthread_t t;

	install(SIGUSR1);
	assert_int_equal(pthread_create(&t, NULL, kick_main, &k), 0);
	api_fails(EINTR, api_ioctl(g->vcpu, KVM_RUN, 0));
	assert_int_equal(g->run->exit_reason, KVM_EXIT_INTR);
	assert_int_equal(atomic_load(&handled), 1);
	pthread_join(t, NULL);
}

static void signal_ends_running(void **state)
{
	struct guest g;

	make_guest(&g, spin, sizeof(spin), false);
	kicked(&g);
	end_guest(&g);
}

static int asked_by_handler;
static _Atomic long asked_result;

static void ask(int sig)
{
	struct kvm_regs regs;

	atomic_store(&asked_result, api_ioctl(asked_by_handler, KVM_GET_REGS, &regs));
	atomic_fetch_add(&handled, 1);
}

/* The handler runs when the vCPU is free again: it may ask for its registers. */
static void handler_may_ask(void **state)
{
	struct sigaction act = { .sa_handler = ask };
	struct guest g;

	make_guest(&g, spin, sizeof(spin), false);
	asked_by_handler = g.vcpu;
	atomic_store(&asked_result, -1);
	atomic_store(&handled, 0);
	assert_int_equal(sigaction(SIGUSR2, &act, NULL), 0);
	for (unsigned int i = 1; i <= 3; i++) {
		struct kick k = { pthread_self(), SIGUSR2, 20 };
		pthread_t t;

		assert_int_equal(pthread_create(&t, NULL, kick_main, &k), 0);
		api_fails(EINTR, api_ioctl(g.vcpu, KVM_RUN, 0));
		pthread_join(t, NULL);
		assert_int_equal(atomic_load(&handled), i);
		assert_int_equal(atomic_load(&asked_result), 0);
	}
	end_guest(&g);
}

static void *run_until_cancelled(void *arg)
{
	int old;

	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
	for (;;)
		api_ioctl(((struct guest *)arg)->vcpu, KVM_RUN, 0);
	return NULL;
}

/* Cancelling a thread in KVM_RUN leaves a vCPU that can be used. */
static void cancelled(const void *code, size_t n, bool irqchip)
{
	struct kvm_regs regs;
	struct guest g;
	pthread_t t;
	void *result;

	make_guest(&g, code, n, irqchip);
	assert_int_equal(pthread_create(&t, NULL, run_until_cancelled, &g), 0);
	sleep_ms(30);
	assert_int_equal(pthread_cancel(t), 0);
	assert_int_equal(pthread_join(t, &result), 0);
	assert_ptr_equal(result, PTHREAD_CANCELED);
	api_ok(api_ioctl(g.vcpu, KVM_GET_REGS, &regs));
	api_ok(api_set_slot(g.vm, 0, 0, 0, 0, g.memory));
	end_guest(&g);
}

static void thread_cancelled(void **state)
{
	cancelled(spin, sizeof(spin), false);
	cancelled(halt, sizeof(halt), true);
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void signal_ends_halt(void **state)
{
	struct guest g;
	uint64_t before;

	make_guest(&g, halt, sizeof(halt), true);
	before = cpu_ns();
	kicked(&g);
	/* 50 ms asleep: nobody burns the processor meanwhile. */
	assert_true(cpu_ns() - before < 25000000);
	/* Still halted: the HLT is done, and a second run sleeps as well. */
	kicked(&g);
	end_guest(&g);
}

/* Blocked in the thread, let through by KVM_SET_SIGNAL_MASK: ends the run, stays pending, reaches no handler. */
static void masked_kick(struct guest *g, bool before)
{
	struct { uint32_t len; uint64_t set; } __attribute__((packed)) m = { .len = 8 };
	struct kick k = { pthread_self(), SIGUSR1, 50 };
	struct timespec none = { 0, 0 };
	sigset_t usr1, old, pending;
	pthread_t t;

	install(SIGUSR1);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &usr1, &old);
	m.set = ~(1ULL << (SIGUSR1 - 1));
	api_ok(api_ioctl(g->vcpu, KVM_SET_SIGNAL_MASK, &m));
	if (before)
		k.after_ms = 0;
	assert_int_equal(pthread_create(&t, NULL, kick_main, &k), 0);
	if (before)
		pthread_join(t, NULL);
	api_fails(EINTR, api_ioctl(g->vcpu, KVM_RUN, 0));
	/* And again, until somebody takes it. */
	api_fails(EINTR, api_ioctl(g->vcpu, KVM_RUN, 0));
	if (!before)
		pthread_join(t, NULL);
	assert_int_equal(atomic_load(&handled), 0);
	sigpending(&pending);
	assert_true(sigismember(&pending, SIGUSR1));
	assert_int_equal(sigtimedwait(&usr1, NULL, &none), SIGUSR1);
	api_ok(api_ioctl(g->vcpu, KVM_SET_SIGNAL_MASK, 0));
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	assert_int_equal(atomic_load(&handled), 0);
}

static void signal_mask(void **state)
{
	struct guest g;

	make_guest(&g, spin, sizeof(spin), false);
	masked_kick(&g, true);
	masked_kick(&g, false);
	end_guest(&g);
	make_guest(&g, halt, sizeof(halt), true);
	masked_kick(&g, true);
	masked_kick(&g, false);
	end_guest(&g);
}

/* A signal that KVM_SET_SIGNAL_MASK blocks does not end the run; one that it does not block does. */
static void mask_blocks(void **state)
{
	struct { uint32_t len; uint64_t set; } __attribute__((packed)) m = { .len = 8 };
	struct kick usr1 = { pthread_self(), SIGUSR1, 20 }, usr2 = { pthread_self(), SIGUSR2, 100 };
	struct timespec start, end;
	struct guest g;
	pthread_t t[2];

	make_guest(&g, spin, sizeof(spin), false);
	install(SIGUSR1);
	install(SIGUSR2);
	m.set = 1ULL << (SIGUSR1 - 1);
	api_ok(api_ioctl(g.vcpu, KVM_SET_SIGNAL_MASK, &m));
	clock_gettime(CLOCK_MONOTONIC, &start);
	pthread_create(&t[0], NULL, kick_main, &usr1);
	pthread_create(&t[1], NULL, kick_main, &usr2);
	api_fails(EINTR, api_ioctl(g.vcpu, KVM_RUN, 0));
	clock_gettime(CLOCK_MONOTONIC, &end);
	assert_true((end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000 >= 80);
	assert_int_equal(atomic_load(&handled), 2);
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	end_guest(&g);
}

/* A signal whose action is to be ignored does not end the run. */
static void ignored_signal(void **state)
{
	struct kick winch = { pthread_self(), SIGWINCH, 20 }, usr2 = { pthread_self(), SIGUSR2, 80 };
	struct timespec start, end;
	struct guest g;
	pthread_t t[2];

	for (int halted = 0; halted < 2; halted++) {
		make_guest(&g, halted ? halt : spin, halted ? sizeof(halt) : sizeof(spin), halted);
		install(SIGUSR2);
		clock_gettime(CLOCK_MONOTONIC, &start);
		pthread_create(&t[0], NULL, kick_main, &winch);
		pthread_create(&t[1], NULL, kick_main, &usr2);
		api_fails(EINTR, api_ioctl(g.vcpu, KVM_RUN, 0));
		clock_gettime(CLOCK_MONOTONIC, &end);
		assert_true((end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000 >= 60);
		pthread_join(t[0], NULL);
		pthread_join(t[1], NULL);
		end_guest(&g);
	}
}

/* --- a storm of kicks: each must be seen --- */

#define KICKS 2000

struct storm {
	struct guest g;
	_Atomic int stop;
	_Atomic unsigned int acked;
};

static void *storm_vcpu(void *arg)
{
	struct storm *s = arg;

	while (!atomic_load(&s->stop)) {
		errno = 0;
		if (api_ioctl(s->g.vcpu, KVM_RUN, 0) == -1 && errno != EINTR)
			return (void *)(long)errno;
		/* As clients do: the handler sets immediate_exit, so that a kick between two runs counts. */
		if (s->g.run->immediate_exit) {
			s->g.run->immediate_exit = 0;
			atomic_fetch_add(&s->acked, 1);
		}
	}
	return NULL;
}

static void kick_storm(void **state)
{
	void *result;

	for (int halted = 0; halted < 2; halted++) {
		struct storm s = { 0 };
		pthread_t t;

		make_guest(&s.g, halted ? halt : spin, halted ? sizeof(halt) : sizeof(spin), halted);
		install(SIGUSR1);
		in_handler = s.g.run;
		assert_int_equal(pthread_create(&t, NULL, storm_vcpu, &s), 0);
		for (unsigned int i = 0; i < KICKS; i++) {
			unsigned int before = atomic_load(&s.acked);
			int patience = 5000000;

			pthread_kill(t, SIGUSR1);
			while (atomic_load(&s.acked) == before && --patience)
				sched_yield();
			if (!patience)
				fail_msg("kick %u was lost", i);
		}
		atomic_store(&s.stop, 1);
		pthread_kill(t, SIGUSR1);
		pthread_join(t, &result);
		assert_ptr_equal(result, NULL);
		end_guest(&s.g);
	}
}

/* --- other threads while it runs --- */

struct runner {
	struct guest *g;
	int result, err;
};

static void *runner_main(void *arg)
{
	struct runner *r = arg;

	r->result = api_ioctl(r->g->vcpu, KVM_RUN, 0);
	r->err = errno;
	return NULL;
}

/* inc word [0x3000]; jmp back */
static const uint8_t count[] = { 0xff, 0x06, 0x00, 0x30, 0xeb, 0xfa };

static void wait_for_change(volatile uint16_t *p)
{
	uint16_t before = *p;

	for (int i = 0; i < 2000 && *p == before; i++)
		sleep_ms(1);
	assert_int_not_equal(*p, before);
}

/*
 * A slot is replaced under a running guest: when the ioctl returns nobody writes to the old memory any more.  While
 * the slot is away the guest is stopped by an exit.
 */
static void slot_replaced(void **state)
{
	struct guest g;
	struct runner r = { .g = &g };
	char *old = api_memory(PAGE);
	uint16_t seen;
	pthread_t t;

	make_guest(&g, count, sizeof(count), false);
	api_ok(api_set_slot(g.vm, 0, 0, 0, 0, NULL));
	api_ok(api_set_slot(g.vm, 0, 0, 0, 3 * PAGE, g.memory));
	api_ok(api_set_slot(g.vm, 1, 0, 3 * PAGE, PAGE, old));
	assert_int_equal(pthread_create(&t, NULL, runner_main, &r), 0);
	wait_for_change((uint16_t *)old);
	api_ok(api_set_slot(g.vm, 1, 0, 0, 0, NULL));
	seen = *(volatile uint16_t *)old;
	pthread_join(t, NULL);
	assert_int_equal(r.result, 0);
	assert_int_equal(g.run->exit_reason, KVM_EXIT_MMIO);
	assert_int_equal(g.run->mmio.phys_addr, 0x3000);
	assert_int_equal(*(volatile uint16_t *)old, seen);
	end_guest(&g);
}

/* Every write ends up in some dirty log: whatever the guest wrote after a look is in the next one. */
static void log_while_running(void **state)
{
	struct guest g;
	struct runner r = { .g = &g };
	struct kvm_dirty_log log = { .slot = 0 };
	uint64_t bits;
	pthread_t t;

	make_guest(&g, count, sizeof(count), false);
	api_ok(api_set_slot(g.vm, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, 16 * PAGE, g.memory));
	install(SIGUSR1);
	in_handler = g.run;
	assert_int_equal(pthread_create(&t, NULL, runner_main, &r), 0);
	log.dirty_bitmap = &bits;
	for (int i = 0; i < 200; i++) {
		api_ok(api_ioctl(g.vm, KVM_GET_DIRTY_LOG, &log));
		wait_for_change((uint16_t *)(g.memory + 0x3000));
		api_ok(api_ioctl(g.vm, KVM_GET_DIRTY_LOG, &log));
		assert_true(bits & 8);
	}
	pthread_kill(t, SIGUSR1);
	pthread_join(t, NULL);
	assert_int_equal(r.err, EINTR);
	end_guest(&g);
}

static void *regs_main(void *arg)
{
	struct runner *r = arg;
	struct kvm_regs regs;

	r->result = api_ioctl(r->g->vcpu, KVM_GET_REGS, &regs);
	r->err = errno;
	return NULL;
}

/* Requests on a vCPU wait until its KVM_RUN has ended; those on the VM do not. */
static void requests_wait(void **state)
{
	struct guest g;
	struct runner r = { .g = &g }, q = { .g = &g, .result = -2 };
	pthread_t t, u;

	make_guest(&g, spin, sizeof(spin), false);
	install(SIGUSR1);
	in_handler = g.run;
	assert_int_equal(pthread_create(&t, NULL, runner_main, &r), 0);
	sleep_ms(30);
	assert_int_equal(pthread_create(&u, NULL, regs_main, &q), 0);
	sleep_ms(50);
	assert_int_equal(*(volatile int *)&q.result, -2);
	assert_int_equal(api_cap(g.vm, KVM_CAP_USER_MEMORY), 1);
	pthread_kill(t, SIGUSR1);
	pthread_join(t, NULL);
	pthread_join(u, NULL);
	assert_int_equal(r.err, EINTR);
	assert_int_equal(q.result, 0);
	end_guest(&g);
}

/* Closing every descriptor while the vCPU runs: the run goes on, and ends well. */
static void closed_while_running(void **state)
{
	struct guest g;
	struct runner r = { .g = &g };
	pthread_t t;

	make_guest(&g, count, sizeof(count), false);
	install(SIGUSR1);
	in_handler = g.run;
	assert_int_equal(pthread_create(&t, NULL, runner_main, &r), 0);
	wait_for_change((uint16_t *)(g.memory + 0x3000));
	end_guest(&g);
	wait_for_change((uint16_t *)(g.memory + 0x3000));
	pthread_kill(t, SIGUSR1);
	pthread_join(t, NULL);
	assert_int_equal(r.err, EINTR);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(immediate_exit),
	cmocka_unit_test(signal_ends_running),
	cmocka_unit_test(signal_ends_halt),
	cmocka_unit_test(handler_may_ask),
	cmocka_unit_test(thread_cancelled),
	cmocka_unit_test(signal_mask),
	cmocka_unit_test(mask_blocks),
	cmocka_unit_test(ignored_signal),
	cmocka_unit_test(kick_storm),
	cmocka_unit_test(slot_replaced),
	cmocka_unit_test(log_while_running),
	cmocka_unit_test(requests_wait),
	cmocka_unit_test(closed_while_running),
};

API_MAIN(tests)
