// SPDX-License-Identifier: MIT
/*
 * Hyper-V's flushes of a nested guest's mappings where there are two vCPUs, or two tables: a hypercall of one vCPU is
 * behind it for the other, too, and of a table that it does not name nothing is forgotten.  TLFS 16.10, 17.6.
 */
#include "mappings.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#define DATA 0x6000UL
#define ROOT VMX_EPT
#define OTHER_ROOT (VMX_FREE + 0x10000) /* a copy of the other's four tables */
#define PAGES (VMX_FREE + 0xc000)       /* what DATA may be: 1, 2, ... */
#define SHARED (VMX_FREE + 0xb000)      /* L2's, in a loop: */
#define FLAG SHARED                     /* what L1 has set behind its flush, */
#define STALE (SHARED + 8)              /* how often it was not so, */
#define SEEN (SHARED + 16)              /* the flag as seen, */
#define COUNT (SHARED + 24)             /* times around, */
#define STOP (SHARED + 32)              /* and the end */
#define ROUNDS 100u
#define WAIT_S 60
#define L2_OTHER (VMX_L2 + 0x400)
#define ABS(a) (a) & 0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff
#define LOAD(a) 0x8a, 0x04, 0x25, ABS(a)                /* mov al,[a] */
#define HLT 0xf4

struct pair {
	struct vmx a, b;                /* vCPU 0, vCPU 1 */
	bool entered_b;
};

static volatile uint64_t *word(struct pair *p, uint64_t gpa)
{
	return vmx_at(&p->a, gpa);
}

static void map(struct pair *p, uint64_t table, unsigned int page)
{
	volatile uint64_t *entry = vmx_at(&p->a, table + 0x3000 + (DATA >> 12) * 8);

	*entry = (PAGES + page * 0x1000) | EPT_ALL | EPT_WB;
}

/* What a vCPU is to write to its VMCS it has to before it is the other's turn. */
static void written(struct vmx *s)
{
	vmx_do(s, NULL, 0);
}

/* Both run the same L2, with EPT at ROOT. */
static struct pair start(uint32_t nested)
{
	const uint8_t code[] = { LOAD(DATA), HLT };
	struct pair p = { 0 };

	p.a = mappings_start(nested, code, sizeof(code));
	p.b = vmx_second(&p.a);
	vmx_put(&p.b, F_EPTP, ROOT | 3 << 3 | 6);
	vmx_put(&p.b, F_VPID, 1);
	vmx_control2(&p.b, P2_EPT | P2_VPID);
	written(&p.b);
	memcpy(vmx_at(&p.a, OTHER_ROOT), vmx_at(&p.a, ROOT), 0x4000);
	for (unsigned int n = 0; n < 3; n++)
		*(uint64_t *)vmx_at(&p.a, OTHER_ROOT + n * 0x1000) = (OTHER_ROOT + (n + 1) * 0x1000) | EPT_ALL;
	for (unsigned int n = 0; n < 4; n++)
		*(uint8_t *)vmx_at(&p.a, PAGES + n * 0x1000) = (uint8_t)(n + 1);
	map(&p, ROOT, 0);
	map(&p, OTHER_ROOT, 2);
	return p;
}

static void end(struct pair *p)
{
	vmx_end_second(&p->b);
	vmx_end(&p->a);
}

/* The two are told by the same memory whether they have been entered. */
static uint8_t loaded(struct pair *p, struct vmx *s)
{
	if (s == &p->b) {
		*vmx_launched(s) = p->entered_b;
		p->entered_b = true;
	}
	vmx_goto(s, VMX_L2);
	vmx_expect(s, R_HLT);
	return (uint8_t)*vmx_reg(s, 0);
}

static uint64_t counter(struct vmx *s, const char *name)
{
	return guest_stat(s->g.vcpu, name);
}

/* --- L2 runs meanwhile ---------------------------------------------------------------------------------- */

static const uint8_t loop[] = {
	0x48, 0x8b, 0x1c, 0x25, ABS(FLAG),      /* 1: mov rbx,[FLAG] */
	LOAD(DATA),
	0x38, 0xd8, 0x73, 0x08,                 /* cmp al,bl; jae 2f */
	0x48, 0xff, 0x04, 0x25, ABS(STALE),     /* inc qword [STALE] */
	0x48, 0x89, 0x1c, 0x25, ABS(SEEN),      /* 2: mov [SEEN],rbx */
	0x48, 0xff, 0x04, 0x25, ABS(COUNT),     /* inc qword [COUNT] */
	0x80, 0x3c, 0x25, ABS(STOP), 0x00,      /* cmp byte [STOP],0 */
	0x74, (uint8_t)-53, HLT,                /* je 1b; hlt */
};

_Static_assert(sizeof(loop) == 54, "the jump back");

/* NULL, or what was wrong. */
static void *run_loop(void *arg)
{
	struct vmx *s = arg;

	if (api_ioctl(s->g.vcpu, KVM_RUN, NULL))
		return "KVM_RUN";
	return s->g.run->exit_reason == KVM_EXIT_IO && s->g.run->io.port == VMX_DONE ? NULL : "another exit";
}

static bool reaches(volatile uint64_t *at, uint64_t value)
{
	time_t end = time(NULL) + WAIT_S;

	while (*at < value) {
		if (time(NULL) > end)
			return false;
		sched_yield();
	}
	return true;
}

static void start_loop(struct pair *p, pthread_t *thread)
{
	vmx_code(&p->b, L2_OTHER, loop, sizeof(loop));
	vmx_goto(&p->b, L2_OTHER);
	vmx_enter(&p->b);
	assert_int_equal(pthread_create(thread, NULL, run_loop, &p->b), 0);
	/* In L2 it has no need of the memory that it shares with vCPU 0. */
	assert_true(reaches(word(p, COUNT), 1));
}

static void stop_loop(struct pair *p, pthread_t thread)
{
	void *bad;

	*word(p, STOP) = 1;
	assert_int_equal(pthread_join(thread, &bad), 0);
	if (bad)
		fail_msg("vCPU 1: %s", (const char *)bad);
	assert_int_equal(vmx_reason(&p->b), R_HLT);
}

/*
 * vCPU 0 changes the table, flushes and says so, again and again, by the one hypercall and by the other: L2 on vCPU 1
 * that has heard of it does not read what was there before.
 */
static void test_running(void **state)
{
	struct pair p = start(MAPPINGS_OFFERED);
	const uint64_t range = DATA;
	unsigned int lists = 0, bad = 0;
	uint64_t walks;
	pthread_t thread;

	assert_int_equal(loaded(&p, &p.a), 1);
	assert_int_equal(loaded(&p, &p.b), 1);
	walks = counter(&p.b, "slat_walks");
	start_loop(&p, &thread);
	for (uint32_t n = 2; n < ROUNDS + 2 && !bad; n++) {
		bool list = n & 1;
		uint64_t control = list ? MAPPINGS_LIST | MAPPINGS_REPS(1) : MAPPINGS_SPACE;

		*(uint8_t *)vmx_at(&p.a, PAGES + n % 2 * 0x1000) = (uint8_t)n;
		map(&p, ROOT, n % 2);
		mappings_put(&p.a, ROOT, 0, &range, list);
		bad += mappings_call(&p.a, control, MAPPINGS_INPUT, 0, FLAG, n) != MAPPINGS_REPS(list);
		bad += !reaches(word(&p, SEEN), n);
		lists += list;
	}
	stop_loop(&p, thread);
	assert_int_equal(bad, 0);
	assert_int_equal(*word(&p, STALE), 0);
	assert_int_equal(counter(&p.a, "hv_mapping_flushes"), ROUNDS);
	assert_int_equal(counter(&p.a, "hv_mapping_ranges"), lists);
	assert_int_equal(counter(&p.b, "hv_mapping_flushes"), 0);
	/* Each has dropped what vCPU 1 knew. */
	assert_true(counter(&p.b, "slat_walks") - walks >= ROUNDS);
	assert_int_equal(loaded(&p, &p.a), ROUNDS + 1);
	end(&p);
}

/* --- one after the other ---------------------------------------------------------------------------------- */

static void test_outside(void **state)
{
	struct pair p = start(MAPPINGS_OFFERED);
	const uint64_t range = DATA;

	assert_int_equal(loaded(&p, &p.a), 1);
	assert_int_equal(loaded(&p, &p.b), 1);
	for (unsigned int n = 0; n < 2; n++) {
		map(&p, ROOT, 1 - n);
		assert_int_equal(loaded(&p, &p.b), 1 + n);
		mappings_flush(n ? &p.b : &p.a, ROOT, &range, n);
		assert_int_equal(loaded(&p, &p.b), 2 - n);
		assert_int_equal(loaded(&p, &p.a), 2 - n);
	}
	end(&p);
}

/* Two tables, of the same addresses of L2's: from whichever vCPU it is asked, the flush of one is none of the other. */
static void roots(struct pair *p, struct vmx *caller, const uint64_t *range, unsigned int n)
{
	uint64_t walks_a, walks_b, flushes = counter(caller, "hv_mapping_flushes");

	map(p, ROOT, 0);
	map(p, OTHER_ROOT, 2);
	mappings_flush(caller, ROOT, NULL, 0);
	mappings_flush(caller, OTHER_ROOT, NULL, 0);
	assert_int_equal(loaded(p, &p->a), 1);
	assert_int_equal(loaded(p, &p->b), 3);
	map(p, ROOT, 1);
	map(p, OTHER_ROOT, 3);
	walks_a = counter(&p->a, "slat_walks");
	walks_b = counter(&p->b, "slat_walks");
	mappings_flush(caller, ROOT, range, n);
	assert_int_equal(loaded(p, &p->b), 3);
	assert_int_equal(counter(&p->b, "slat_walks"), walks_b);
	assert_int_equal(loaded(p, &p->a), 2);
	assert_true(counter(&p->a, "slat_walks") > walks_a);
	walks_a = counter(&p->a, "slat_walks");
	mappings_flush(caller, OTHER_ROOT, range, n);
	assert_int_equal(loaded(p, &p->a), 2);
	assert_int_equal(counter(&p->a, "slat_walks"), walks_a);
	assert_int_equal(loaded(p, &p->b), 4);
	assert_true(counter(&p->b, "slat_walks") > walks_b);
	assert_int_equal(counter(caller, "hv_mapping_flushes") - flushes, 4);
}

static void test_roots(void **state)
{
	struct pair p = start(MAPPINGS_OFFERED);
	const uint64_t range = DATA;

	vmx_put(&p.b, F_EPTP, OTHER_ROOT | 3 << 3 | 6);
	written(&p.b);
	for (unsigned int n = 0; n < 2; n++) {
		roots(&p, &p.a, &range, n);
		roots(&p, &p.b, &range, n);
	}
	assert_int_equal(counter(&p.a, "hv_mapping_ranges"), 2);
	assert_int_equal(counter(&p.b, "hv_mapping_ranges"), 2);
	end(&p);
}

/* The same of one vCPU, that goes from one to the other. */
static void test_roots_in_turn(void **state)
{
	struct pair p = start(MAPPINGS_OFFERED);
	const uint64_t range = DATA, eptp[] = { ROOT | 3 << 3 | 6, OTHER_ROOT | 3 << 3 | 6 };
	uint64_t walks;

	for (unsigned int n = 0; n < 2; n++) {
		map(&p, ROOT, 0);
		map(&p, OTHER_ROOT, 2);
		mappings_flush(&p.a, ROOT, &range, n);
		mappings_flush(&p.a, OTHER_ROOT, &range, n);
		for (unsigned int i = 0; i < 2; i++) {
			vmx_put(&p.a, F_EPTP, eptp[i]);
			assert_int_equal(loaded(&p, &p.a), i ? 3 : 1);
		}
		map(&p, ROOT, 1);
		map(&p, OTHER_ROOT, 3);
		mappings_flush(&p.a, ROOT, &range, n);
		walks = counter(&p.a, "slat_walks");
		assert_int_equal(loaded(&p, &p.a), 3);
		assert_int_equal(counter(&p.a, "slat_walks"), walks);
		vmx_put(&p.a, F_EPTP, eptp[0]);
		assert_int_equal(loaded(&p, &p.a), 2);
	}
	end(&p);
}

/* Not offered: the hypercalls are none, and each vCPU has INVEPT, which reaches no other.  The memory is the same. */
static void test_not_offered(void **state)
{
	struct pair p = start(0);
	const uint64_t range = DATA;

	assert_int_equal(loaded(&p, &p.a), 1);
	assert_int_equal(loaded(&p, &p.b), 1);
	map(&p, ROOT, 1);
	mappings_put(&p.a, ROOT, 0, &range, 1);
	assert_int_equal(mappings_call(&p.a, MAPPINGS_SPACE, MAPPINGS_INPUT, 0, 0, 0), INVALID_CODE);
	assert_int_equal(mappings_call(&p.a, MAPPINGS_LIST | MAPPINGS_REPS(1), MAPPINGS_INPUT, 0, 0, 0), INVALID_CODE);
	assert_int_equal(loaded(&p, &p.a), 1);
	assert_int_equal(loaded(&p, &p.b), 1);
	mappings_invept(&p.a, 1, ROOT);
	assert_int_equal(loaded(&p, &p.a), 2);
	assert_int_equal(loaded(&p, &p.b), 1);
	mappings_invept(&p.b, 1, ROOT);
	assert_int_equal(loaded(&p, &p.b), 2);
	assert_int_equal(counter(&p.a, "hv_mapping_flushes") + counter(&p.b, "hv_mapping_flushes"), 0);
	end(&p);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_running), cmocka_unit_test(test_outside), cmocka_unit_test(test_roots),
	cmocka_unit_test(test_roots_in_turn), cmocka_unit_test(test_not_offered),
};

API_MAIN(tests)
