// SPDX-License-Identifier: MIT
/*
 * What a request hands out is defined to the last byte: it does not depend on
 * what the buffer, or memory of the library, held before.
 */
#include "api.h"

#include <sched.h>
#include <stdlib.h>

#define SIZE 16384

enum kind { SYS, VM, VCPU };

/* Where `keep` is set the request also reads its argument, and that many bytes are its question. */
struct request {
	const char *name;
	unsigned long nr;
	enum kind kind;
	uint32_t keep;          /* bytes at the front that are given */
	uint64_t given;
	uint32_t echo_from, echo_to;    /* bytes that are the client's own, or the time */
	uint32_t size;          /* 0: as the number says */
	long cap;
};

#define GET(nr, kind) { #nr, nr, kind, 0, 0, 0, 0, 0, 0 }

static const struct request requests[] = {
	GET(KVM_GET_REGS, VCPU),
	GET(KVM_GET_SREGS, VCPU),
	{ "KVM_GET_SREGS2", KVM_GET_SREGS2, VCPU, 0, 0, 0, 0, 0, KVM_CAP_SREGS2 },
	GET(KVM_GET_FPU, VCPU),
	GET(KVM_GET_XSAVE, VCPU),
	{ "KVM_GET_XSAVE2", KVM_GET_XSAVE2, VCPU, 0, 0, 0, 0, 0, KVM_CAP_XSAVE2 },
	GET(KVM_GET_XCRS, VCPU),
	GET(KVM_GET_DEBUGREGS, VCPU),
	GET(KVM_GET_VCPU_EVENTS, VCPU),
	GET(KVM_GET_MP_STATE, VCPU),
	GET(KVM_GET_LAPIC, VCPU),
	{ "KVM_TRANSLATE", KVM_TRANSLATE, VCPU, 8, 0x1000, 19, 24, 0, 0 },
	{ "KVM_GET_CPUID2", KVM_GET_CPUID2, VCPU, 8, 256, 8 + 40 * 256, SIZE, SIZE, 0 },
	{ "KVM_GET_SUPPORTED_CPUID", KVM_GET_SUPPORTED_CPUID, SYS, 8, 256, 0, 0, SIZE, 0 },
	{ "KVM_GET_MSR_INDEX_LIST", KVM_GET_MSR_INDEX_LIST, SYS, 4, 1000, 0, 0, SIZE, 0 },
	{ "KVM_GET_MSR_FEATURE_INDEX_LIST", KVM_GET_MSR_FEATURE_INDEX_LIST, SYS, 4, 1000, 0, 0, SIZE, 0 },
	GET(KVM_X86_GET_MCE_CAP_SUPPORTED, SYS),
	{ "KVM_GET_IRQCHIP 0", KVM_GET_IRQCHIP, VM, 8, 0, 8 + 16, 520, 0, 0 },
	{ "KVM_GET_IRQCHIP 1", KVM_GET_IRQCHIP, VM, 8, 1, 8 + 16, 520, 0, 0 },
	{ "KVM_GET_IRQCHIP 2", KVM_GET_IRQCHIP, VM, 8, 2, 8 + 216, 520, 0, 0 },
	{ "KVM_GET_PIT2", KVM_GET_PIT2, VM, 0, 0, 0, 0, 0, 0 },
	/* clock, realtime and host_tsc go on */
	{ "KVM_GET_CLOCK flags", KVM_GET_CLOCK, VM, 0, 0, 0, 8, 0, 0 },
};

/* Bytes of the answer that another call may give otherwise, beside the echo. */
static bool moves(const struct request *q, uint32_t at)
{
	if (q->nr == KVM_GET_CLOCK)
		return at < 8 || (at >= 16 && at < 32);
	/* count_load_time of each channel */
	if (q->nr == KVM_GET_PIT2)
		return at < 72 && at % 24 >= 16;
	return q->echo_to && at >= q->echo_from && at < q->echo_to;
}

/* Lists are as long as the answer's first word says; behind them the buffer is the client's. */
static uint32_t length(const struct request *q, const uint8_t *out)
{
	uint32_t n;

	if (!q->size)
		return _IOC_SIZE(q->nr);
	memcpy(&n, out, sizeof(n));
	return q->keep == 4 ? 4 + 4 * n : 8 + 40 * n;
}

static void ask(const int *fds, const struct request *q, uint8_t fill, uint8_t *out)
{
	memset(out, fill, SIZE);
	memcpy(out, &q->given, q->keep);
	if (api_ioctl(fds[q->kind], q->nr, out) < 0)
		fail_msg("%s: %s", q->name, strerror(errno));
}

static void make(int fds[3])
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 e[256];
	} c;
	struct kvm_pit_config pit = { 0 };

	fds[SYS] = api_sys();
	fds[VM] = api_vm();
	api_ok(api_ioctl(fds[VM], KVM_CREATE_IRQCHIP, NULL));
	api_ok(api_ioctl(fds[VM], KVM_CREATE_PIT2, &pit));
	fds[VCPU] = api_vcpu(fds[VM], 0);
	c.head.nent = 256;
	api_ok(api_ioctl(fds[SYS], KVM_GET_SUPPORTED_CPUID, &c));
	api_ok(api_ioctl(fds[VCPU], KVM_SET_CPUID2, &c));
}

/* Leaves something behind on the stack and the heap. */
static __attribute__((noinline)) void soil(uint8_t with)
{
	volatile uint8_t stack[8192];
	void *heap[64];

	for (size_t i = 0; i < sizeof(stack); i++)
		stack[i] = with;
	for (size_t i = 0; i < 64; i++) {
		heap[i] = malloc(64 << (i % 8));
		memset(heap[i], with, 64 << (i % 8));
	}
	for (size_t i = 0; i < 64; i++)
		free(heap[i]);
}

/* A kernel's CPUID has the APIC ID of the processor that it was asked on. */
static void stay_here(void)
{
	cpu_set_t here;

	CPU_ZERO(&here);
	CPU_SET(sched_getcpu(), &here);
	assert_int_equal(sched_setaffinity(0, sizeof(here), &here), 0);
}

static void test_outputs(void **state)
{
	static uint8_t a[SIZE], b[SIZE];
	int fds[2][3];

	stay_here();
	soil(0x5a);
	make(fds[0]);
	soil(0xa5);
	make(fds[1]);
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		const struct request *q = &requests[i];

		if (q->cap && !api_cap(fds[0][VM], q->cap))
			continue;
		soil(0x5a);
		ask(fds[0], q, 0x5a, a);
		soil(0xa5);
		ask(fds[1], q, 0xa5, b);
		assert_int_equal(length(q, a), length(q, b));
		for (uint32_t at = 0; at < length(q, a); at++)
			if (a[at] != b[at] && !moves(q, at))
				fail_msg("%s: byte %u is %#x or %#x", q->name, at, a[at], b[at]);
	}
	for (int i = 0; i < 2; i++) {
		api_close(fds[i][VCPU]);
		api_close(fds[i][VM]);
	}
}

/* kvm_run's copies of the registers, and the exit itself. */
static void test_run_page(void **state)
{
	static const uint8_t code[] = { 0xe6, 0x10, 0xa1, 0x00, 0xf0, 0xf4 };   /* out; mov ax,[0xf000]; hlt */
	static const uint32_t exits[] = { KVM_EXIT_IO, KVM_EXIT_MMIO, KVM_EXIT_HLT };
	struct kvm_run *run[2];
	int vm[2], vcpu[2];

	for (int i = 0; i < 2; i++) {
		uint8_t *mem = api_memory(0x8000);

		soil(i ? 0xa5 : 0x5a);
		vm[i] = api_vm();
		api_ok(api_set_slot(vm[i], 0, 0, 0, 0x8000, mem));
		vcpu[i] = api_vcpu(vm[i], 0);
		api_real_mode(vcpu[i], mem, code, sizeof(code));
		run[i] = api_run_of(vcpu[i]);
		run[i]->kvm_valid_regs = KVM_SYNC_X86_VALID_FIELDS;
		memset(&run[i]->s, i ? 0xa5 : 0x5a, sizeof(struct kvm_sync_regs));
	}
	for (int exit = 0; exit < 3; exit++) {
		for (int i = 0; i < 2; i++) {
			/* Before the last run it is the answer to the access. */
			if (exit < 2)
				memset((char *)run[i] + 32, i ? 0xa5 : 0x5a, 32);
			api_ok(api_ioctl(vcpu[i], KVM_RUN, NULL));
		}
		assert_int_equal(run[0]->exit_reason, exits[exit]);
		assert_memory_equal(run[0], run[1], 32);
		if (exit == 0)
			assert_memory_equal(&run[0]->io, &run[1]->io, sizeof(run[0]->io));
		if (exit == 1)
			assert_int_equal(run[0]->mmio.phys_addr, 0xf000);
		/* A kernel leaves padding in this page as it is. */
		if (!api_real())
			assert_memory_equal(&run[0]->s, &run[1]->s, sizeof(struct kvm_sync_regs));
	}
	for (int i = 0; i < 2; i++) {
		api_close(vcpu[i]);
		api_close(vm[i]);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_outputs),
	cmocka_unit_test(test_run_page),
};

API_MAIN(tests)
