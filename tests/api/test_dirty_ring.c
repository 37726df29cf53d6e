// SPDX-License-Identifier: MIT
/* KVM_CAP_DIRTY_LOG_RING, KVM_RESET_DIRTY_RINGS, KVM_EXIT_DIRTY_RING_FULL; api.rst 8.29. */
#include "guest.h"

#define ENTRIES 1024u
#define BYTES (ENTRIES * sizeof(struct kvm_dirty_gfn))
#define PAGES 600u
#define LOGGED 0x100000u

/* Adds 1 to the first byte of each of 600 pages from 1 MiB on; hlt. */
static const uint8_t touch[] = {
	0x66, 0xbe, 0x00, 0x00, 0x10, 0x00,             /* mov $0x100000, %esi */
	0x66, 0xb9, 0x58, 0x02, 0x00, 0x00,             /* mov $600, %ecx */
	0x67, 0xfe, 0x06,                               /* 1: incb (%esi) */
	0x66, 0x81, 0xc6, 0x00, 0x10, 0x00, 0x00,       /* add $4096, %esi */
	0x66, 0x49, 0x75, 0xf2,                         /* dec %ecx; jnz 1b */
	0xf4,
};

struct ringed {
	struct guest g;
	uint8_t *logged;
	volatile struct kvm_dirty_gfn *ring;
	uint32_t at;                    /* the entry to be read next */
	unsigned int seen[PAGES];
};

static int ringed_vm(void)
{
	int vm = api_vm();

	if (!api_cap(vm, KVM_CAP_DIRTY_LOG_RING))
		skip();
	return vm;
}

static void start(struct ringed *r)
{
	int vm = ringed_vm();

	memset(r, 0, sizeof(*r));
	api_ok(guest_enable(vm, KVM_CAP_DIRTY_LOG_RING, BYTES));
	r->g = guest_on(vm, touch, sizeof(touch));
	guest_unreal(&r->g);
	r->logged = api_memory(PAGES * PAGE);
	api_ok(api_set_slot(vm, 1, KVM_MEM_LOG_DIRTY_PAGES, LOGGED, PAGES * PAGE, r->logged));
	r->ring = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, r->g.vcpu, KVM_DIRTY_LOG_PAGE_OFFSET * PAGE);
	assert_ptr_not_equal(r->ring, MAP_FAILED);
}

static void end(struct ringed *r)
{
	munmap((void *)r->ring, BYTES);
	guest_end(&r->g);
}

/* Takes all entries; returns how many. */
static unsigned int harvest(struct ringed *r)
{
	unsigned int n = 0;

	for (;; n++, r->at++) {
		volatile struct kvm_dirty_gfn *e = &r->ring[r->at % ENTRIES];

		if (__atomic_load_n(&e->flags, __ATOMIC_ACQUIRE) != KVM_DIRTY_GFN_F_DIRTY)
			return n;
		assert_int_equal(e->slot, 1);
		assert_true(e->offset < PAGES);
		r->seen[e->offset]++;
		__atomic_store_n(&e->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
	}
}

static int reset(struct ringed *r)
{
	return api_ioctl(r->g.vm, KVM_RESET_DIRTY_RINGS, NULL);
}

static int run(struct ringed *r)
{
	api_ok(api_ioctl(r->g.vcpu, KVM_RUN, NULL));
	return (int)r->g.run->exit_reason;
}

/* The whole program, with as many pauses as the ring asks for. */
static void run_through(struct ringed *r)
{
	unsigned int full = 0;

	SET(&r->g, rip, GUEST_CODE);
	while (run(r) == KVM_EXIT_DIRTY_RING_FULL) {
		unsigned int n = harvest(r);

		assert_true(++full < PAGES);
		assert_true(n > 0);
		assert_int_equal(reset(r), n);
	}
	assert_int_equal(r->g.run->exit_reason, KVM_EXIT_HLT);
}

static void test_arguments(void **state)
{
	int vm = ringed_vm(), vcpu;

	api_fails(EINVAL, api_ioctl(vm, KVM_RESET_DIRTY_RINGS, NULL));
	api_fails(EINVAL, guest_enable(vm, KVM_CAP_DIRTY_LOG_RING, 0));
	api_fails(EINVAL, guest_enable(vm, KVM_CAP_DIRTY_LOG_RING, 3 * BYTES));
	api_fails(EINVAL, guest_enable(vm, KVM_CAP_DIRTY_LOG_RING, PAGE / 2));
	api_fails(E2BIG, guest_enable(vm, KVM_CAP_DIRTY_LOG_RING, 2ULL * api_cap(vm, KVM_CAP_DIRTY_LOG_RING)));
	api_ok(guest_enable(vm, KVM_CAP_DIRTY_LOG_RING, BYTES));
	api_fails(EINVAL, guest_enable(vm, KVM_CAP_DIRTY_LOG_RING, BYTES));
	assert_int_equal(api_ioctl(vm, KVM_RESET_DIRTY_RINGS, NULL), 0);
	api_close(vm);

	vm = api_vm();
	vcpu = api_vcpu(vm, 0);
	api_fails(EINVAL, guest_enable(vm, KVM_CAP_DIRTY_LOG_RING, BYTES));
	api_close(vcpu);
	api_close(vm);
}

/* One or the other. */
static void test_no_bitmap(void **state)
{
	static uint64_t bitmap[PAGES / 64 + 1];
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = bitmap };
	struct kvm_clear_dirty_log clear = { .slot = 1, .num_pages = 64, .dirty_bitmap = bitmap };
	struct ringed r;

	start(&r);
	api_fails(ENXIO, api_ioctl(r.g.vm, KVM_GET_DIRTY_LOG, &log));
	if (!api_real())
		api_fails(ENXIO, api_ioctl(r.g.vm, KVM_CLEAR_DIRTY_LOG, &clear));
	end(&r);
}

/* Full before the program is through; again at once; and on when there is room. */
static void test_full(void **state)
{
	struct ringed r;
	unsigned int n;

	start(&r);
	if (run(&r) != KVM_EXIT_DIRTY_RING_FULL) {
		/* A kernel may keep less in reserve. */
		assert_true(api_real());
		end(&r);
		skip();
	}
	assert_int_equal(run(&r), KVM_EXIT_DIRTY_RING_FULL);
	n = harvest(&r);
	assert_true(n >= PAGES / 2 && n < PAGES);
	/* Taken, but not given back. */
	assert_int_equal(run(&r), KVM_EXIT_DIRTY_RING_FULL);
	assert_int_equal(reset(&r), n);
	assert_int_equal(run(&r), KVM_EXIT_HLT);
	harvest(&r);
	for (unsigned int k = 0; k < PAGES; k++)
		assert_int_equal(r.seen[k], 1);
	end(&r);
}

/* A page stands in the ring once until it is given back, then again. */
static void test_again(void **state)
{
	struct ringed r;

	start(&r);
	for (unsigned int round = 1; round < 4; round++) {
		run_through(&r);
		harvest(&r);
		reset(&r);
		for (unsigned int k = 0; k < PAGES; k++) {
			assert_int_equal(r.seen[k], round);
			assert_int_equal(r.logged[k * PAGE], round);
		}
	}
	end(&r);
}

/* What the client writes into the entries names no memory of anybody's. */
static void test_hostile(void **state)
{
	struct ringed r;

	start(&r);
	run(&r);
	for (unsigned int k = 0; k < ENTRIES; k++) {
		r.ring[k].slot = k % 3 ? 0xffffffff : 1;
		r.ring[k].offset = k % 2 ? ~0ULL - k : PAGES + k;
		r.ring[k].flags = KVM_DIRTY_GFN_F_RESET;
	}
	assert_true(reset(&r) <= (int)ENTRIES);
	end(&r);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_arguments),
	cmocka_unit_test(test_no_bitmap),
	cmocka_unit_test(test_full),
	cmocka_unit_test(test_again),
	cmocka_unit_test(test_hostile),
};

API_MAIN(tests)
