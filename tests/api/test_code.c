/* SPDX-License-Identifier: MIT */
/*
 * Code that changes behind the engine's back: the client writes it, maps other
 * memory over it, or takes it away, while the guest runs it.  With paging off
 * and, where the device can run such a guest, in long mode.
 */
#include "api.h"

#include <pthread.h>
#include <time.h>

#define RAM_PAGES 64
#define FUNCTION 0x5000         /* mov al, N; ret: in a page of its own */
#define RESULT 0x6000           /* where the caller stores what it got */
#define STOP 0x6100

/* 1: call FUNCTION; mov [RESULT], al; cmp byte [STOP], 0; je 1b; hlt */
static const uint8_t caller16[] = {
	0xe8, 0xfd, 0x3f,                       /* 1000: call 5000 */
	0xa2, 0x00, 0x60,                       /* 1003: mov [6000], al */
	0x80, 0x3e, 0x00, 0x61, 0x00,           /* 1006: cmp byte [6100], 0 */
	0x74, 0xf3,                             /* 100b: je 1000 */
	0xf4,
};

static const uint8_t caller64[] = {
	0xe8, 0xfb, 0x3f, 0x00, 0x00,                           /* 1000: call 5000 */
	0x88, 0x04, 0x25, 0x00, 0x60, 0x00, 0x00,               /* 1005: mov [6000], al */
	0x80, 0x3c, 0x25, 0x00, 0x61, 0x00, 0x00, 0x00,         /* 100c: cmp byte [6100], 0 */
	0x74, 0xea,                                             /* 1014: je 1000 */
	0xf4,
};

static const uint8_t function[] = { 0xb0, 0x00, 0xc3 };

struct guest {
	int vm, vcpu;
	struct kvm_run *run;
	volatile uint8_t *m;
	pthread_t thread;
	int result, err;
};

static void long_mode(struct guest *g)
{
	struct kvm_sregs s;
	uint64_t *p4 = (uint64_t *)(g->m + 0x8000), *p3 = (uint64_t *)(g->m + 0x9000);
	uint64_t *p2 = (uint64_t *)(g->m + 0xa000), *p1 = (uint64_t *)(g->m + 0xb000);

	p4[0] = 0x9003;
	p3[0] = 0xa003;
	p2[0] = 0xb003;
	for (uint64_t i = 0; i < RAM_PAGES; i++)
		p1[i] = i << 12 | 3;
	api_ok(api_ioctl(g->vcpu, KVM_GET_SREGS, &s));
	s.cr3 = 0x8000;
	s.cr4 = 1 << 5;
	s.efer = 1 << 8 | 1 << 10;
	s.cr0 = 0x80000011;
	s.cs.l = 1;
	s.cs.db = 0;
	s.cs.type = 11;
	s.cs.s = s.cs.present = s.cs.g = 1;
	s.cs.limit = ~0u;
	s.ss.type = 3;
	api_ok(api_ioctl(g->vcpu, KVM_SET_SREGS, &s));
}

static void make_guest(struct guest *g, bool paging)
{
	struct kvm_regs regs;

	memset(g, 0, sizeof(*g));
	g->vm = api_vm();
	g->vcpu = api_vcpu(g->vm, 0);
	g->run = api_run_of(g->vcpu);
	g->m = api_memory(RAM_PAGES * PAGE);
	api_ok(api_set_slot(g->vm, 0, 0, 0, RAM_PAGES * PAGE, (void *)g->m));
	api_real_mode(g->vcpu, (void *)g->m, paging ? caller64 : caller16,
		      paging ? sizeof(caller64) : sizeof(caller16));
	memcpy((void *)(g->m + FUNCTION), function, sizeof(function));
	api_ok(api_ioctl(g->vcpu, KVM_GET_REGS, &regs));
	regs.rsp = 0x4000;
	api_ok(api_ioctl(g->vcpu, KVM_SET_REGS, &regs));
	if (paging)
		long_mode(g);
}

static void *run_main(void *arg)
{
	struct guest *g = arg;

	g->result = api_ioctl(g->vcpu, KVM_RUN, 0);
	g->err = errno;
	return NULL;
}

static void start(struct guest *g)
{
	assert_int_equal(pthread_create(&g->thread, NULL, run_main, g), 0);
}

static void stop(struct guest *g)
{
	g->m[STOP] = 1;
	pthread_join(g->thread, NULL);
	assert_int_equal(g->result, 0);
	assert_int_equal(g->run->exit_reason, KVM_EXIT_HLT);
	api_close(g->vcpu);
	api_close(g->vm);
}

/* The guest's result becomes @value within five seconds. */
static void becomes(struct guest *g, uint8_t value)
{
	struct timespec ms = { 0, 1000000 };

	for (int i = 0; i < 5000; i++) {
		if (g->m[RESULT] == value)
			return;
		nanosleep(&ms, NULL);
	}
	fail_msg("the guest still runs old code: %u, not %u", g->m[RESULT], value);
}

static void rewrite(bool paging)
{
	struct guest g;

	make_guest(&g, paging);
	start(&g);
	for (unsigned int i = 1; i < 200; i++) {
		g.m[FUNCTION + 1] = (uint8_t)i;
		becomes(&g, (uint8_t)i);
	}
	stop(&g);
}

static void remap(bool paging)
{
	struct guest g;
	void *page;

	make_guest(&g, paging);
	page = (void *)(g.m + FUNCTION);
	start(&g);
	for (unsigned int i = 1; i < 50; i++) {
		uint8_t code[] = { 0xb0, (uint8_t)i, 0xc3 };
		uint8_t *next = api_memory(PAGE);

		memcpy(next, code, sizeof(code));
		/* One step: the guest never sees the place empty. */
		assert_ptr_equal(mremap(next, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, page), page);
		becomes(&g, (uint8_t)i);
	}
	stop(&g);
}

/* The code's own page goes away: an error, in the thread that runs, and nothing worse. */
static void vanish(bool paging)
{
	struct guest g;

	make_guest(&g, paging);
	start(&g);
	g.m[FUNCTION + 1] = 7;
	becomes(&g, 7);
	assert_int_equal(munmap((void *)(g.m + FUNCTION), PAGE), 0);
	pthread_join(g.thread, NULL);
	assert_int_equal(g.result, -1);
	assert_int_equal(g.err, EFAULT);
	assert_ptr_equal(mmap((void *)(g.m + FUNCTION), PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), g.m + FUNCTION);
	api_close(g.vcpu);
	api_close(g.vm);
}

/* Memory is a file, which shrinks under the guest. */
static void truncated(bool paging)
{
	struct guest g;
	int fd = memfd_create("guest", MFD_CLOEXEC);

	make_guest(&g, paging);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	assert_ptr_equal(mmap((void *)(g.m + FUNCTION), PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0),
			 g.m + FUNCTION);
	memcpy((void *)(g.m + FUNCTION), function, sizeof(function));
	g.m[FUNCTION + 1] = 9;
	start(&g);
	becomes(&g, 9);
	assert_int_equal(ftruncate(fd, 0), 0);
	pthread_join(g.thread, NULL);
	assert_int_equal(g.result, -1);
	assert_int_equal(g.err, EFAULT);
	close(fd);
	api_close(g.vcpu);
	api_close(g.vm);
}

/* A kernel whose KVM emulates real mode, or runs no long mode at all, is no judge of these. */
#define REAL_MODE(name) static void name##_real(void **state) { if (api_real()) skip(); name(false); }
#define LONG_MODE(name) static void name##_long(void **state) { if (api_real()) skip(); name(true); }

REAL_MODE(rewrite)
LONG_MODE(rewrite)
REAL_MODE(remap)
LONG_MODE(remap)
REAL_MODE(vanish)
LONG_MODE(vanish)
REAL_MODE(truncated)
LONG_MODE(truncated)

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(rewrite_real), cmocka_unit_test(rewrite_long),
	cmocka_unit_test(remap_real), cmocka_unit_test(remap_long),
	cmocka_unit_test(vanish_real), cmocka_unit_test(vanish_long),
	cmocka_unit_test(truncated_real), cmocka_unit_test(truncated_long),
};

API_MAIN(tests)
