// SPDX-License-Identifier: MIT
/* Steal time: MSR_KVM_STEAL_TIME and the guest's area. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "api.h"

#define MSR_STEAL 0x4b564d03
#define MEM 0x10000
#define AREA 0x8000
#define ENOUGH_NS 200000ULL
#define PATIENCE_S 20

struct area {
	uint64_t steal;
	uint32_t version, flags;
	uint8_t preempted, pad[47];
};

/* 1: mov al, [8010h]; out 10h, al; jmp 1b */
static const uint8_t program[] = { 0xa0, 0x10, 0x80, 0xe6, 0x10, 0xeb, 0xf9 };

struct guest {
	int vm, vcpu;
	uint8_t *mem;
	volatile struct area *area;
	struct kvm_run *run;
};

static struct guest start(void)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 e[256];
	} c;
	struct guest g = { .vm = api_vm(), .mem = api_memory(MEM) };

	if (!api_cap(g.vm, KVM_CAP_STEAL_TIME))
		skip();
	g.area = (struct area *)(g.mem + AREA);
	api_ok(api_set_slot(g.vm, 0, 0, 0, MEM, g.mem));
	g.vcpu = api_vcpu(g.vm, 0);
	g.run = api_run_of(g.vcpu);
	c.head.nent = 256;
	api_ok(api_ioctl(api_sys(), KVM_GET_SUPPORTED_CPUID, &c));
	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, &c));
	api_real_mode(g.vcpu, g.mem, program, sizeof(program));
	return g;
}

static void end(struct guest *g)
{
	api_close(g->vcpu);
	api_close(g->vm);
}

static int set_msr(struct guest *g, uint64_t value)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry e[1];
	} m = { .head.nmsrs = 1, .e = { { .index = MSR_STEAL, .data = value } } };

	return api_ioctl(g->vcpu, KVM_SET_MSRS, &m);
}

/* Returns what the guest, running, read as its own `preempted`. */
static uint8_t run_once(struct guest *g)
{
	api_ok(api_ioctl(g->vcpu, KVM_RUN, NULL));
	assert_int_equal(g->run->exit_reason, KVM_EXIT_IO);
	return *((uint8_t *)g->run + g->run->io.data_offset);
}

static void test_msr(void **state)
{
	struct guest g = start();

	for (unsigned int bit = 1; bit < 6; bit++)
		assert_int_equal(set_msr(&g, AREA | 1 | 1u << bit), 0);
	assert_int_equal(set_msr(&g, AREA | 1), 1);
	assert_int_equal(set_msr(&g, 0), 1);
	run_once(&g);
	assert_int_equal(g.area->version, 0);
	end(&g);
}

/* The area is the guest's, and whatever stands there is survived. */
static void test_area(void **state)
{
	struct guest g = start();

	g.area->version = 7;
	g.area->preempted = 1;
	assert_int_equal(set_msr(&g, AREA | 1), 1);
	assert_int_equal(run_once(&g), 0);
	assert_true(g.area->version > 7);
	assert_int_equal(g.area->version & 1, 0);
	assert_int_equal(g.area->preempted, 0);
	end(&g);
}

/* A vCPU that is loaded anew is told so, however short it was away. */
static void test_each_run(void **state)
{
	struct guest g = start();
	uint32_t version;

	assert_int_equal(set_msr(&g, AREA | 1), 1);
	run_once(&g);
	for (int i = 0; i < 100; i++) {
		version = g.area->version;
		run_once(&g);
		assert_true(g.area->version > version);
		assert_int_equal(g.area->version & 1, 0);
	}
	end(&g);
}

static void test_outside(void **state)
{
	struct guest g = start();

	assert_int_equal(set_msr(&g, 0x10000000 | 1), 1);
	run_once(&g);
	end(&g);
}

static uint64_t run_delay(void)
{
	unsigned long long ran, waited;
	FILE *f = fopen("/proc/thread-self/schedstat", "r");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%llu %llu", &ran, &waited), 2);
	fclose(f);
	return waited;
}

static void *hog(void *stop)
{
	while (!atomic_load((atomic_bool *)stop))
		;
	return NULL;
}

/* Another thread takes this one's processor away: the guest is told of at least what we have seen ourselves. */
static void test_stolen(void **state)
{
	struct guest g = start();
	time_t give_up = time(NULL) + PATIENCE_S;
	atomic_bool stop = false;
	uint64_t before, stolen;
	pthread_t thread;
	cpu_set_t here;

	CPU_ZERO(&here);
	CPU_SET(sched_getcpu(), &here);
	assert_int_equal(sched_setaffinity(0, sizeof(here), &here), 0);
	assert_int_equal(set_msr(&g, AREA | 1), 1);
	run_once(&g);
	stolen = g.area->steal;
	before = run_delay();
	assert_int_equal(pthread_create(&thread, NULL, hog, &stop), 0);
	while (run_delay() - before < ENOUGH_NS && time(NULL) < give_up)
		sched_yield();
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	before = run_delay() - before;
	run_once(&g);
	assert_true(before >= ENOUGH_NS);
	assert_true(g.area->steal - stolen >= before);
	end(&g);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_msr),
	cmocka_unit_test(test_area),
	cmocka_unit_test(test_each_run),
	cmocka_unit_test(test_outside),
	cmocka_unit_test(test_stolen),
};

API_MAIN(tests)
