// SPDX-License-Identifier: MIT
/* The local APIC's timer against a clock that moves when told. */
#include "unit.h"

#define MS	1000000ull

static void one_shot(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[0];

	fake_set_mmio(c, 0x3e0, 0xb);		/* divide by 1: a count is 1 ns */
	fake_set_mmio(c, 0x320, 0x51);
	fake_set_mmio(c, 0x380, 5 * MS);
	assert_int_equal(c->deadline, vm->now + 5 * MS);
	fake_run(vm, 2 * MS);
	assert_int_equal(fake_mmio(c, 0x390), 3 * MS);
	assert_int_equal(lapic_ack(&c->l), -1);
	fake_run(vm, 3 * MS);
	assert_int_equal(lapic_ack(&c->l), 0x51);
	lapic_eoi(&c->l);
	assert_int_equal(fake_mmio(c, 0x390), 0);
	assert_int_equal(c->deadline, 0);
	fake_run(vm, 20 * MS);
	assert_int_equal(lapic_ack(&c->l), -1);
	/* Idle and early calls. */
	lapic_timer_expired(&c->l);
	fake_set_mmio(c, 0x380, MS);
	lapic_timer_expired(&c->l);
	assert_int_equal(lapic_ack(&c->l), -1);
	assert_int_equal(c->deadline, vm->now + MS);
	fake_set_mmio(c, 0x380, 0);
	assert_int_equal(c->deadline, 0);
}

/* SDM 3A, figure 11-10: bits 3, 1 and 0 of the divide configuration, and what they divide by. */
static const struct divider {
	uint32_t tdcr, by;
} divider[] = {
	{ 0, 2 }, { 1, 4 }, { 2, 8 }, { 3, 16 }, { 8, 32 }, { 9, 64 }, { 10, 128 }, { 11, 1 },
};

static void dividers(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[0];

	fake_set_mmio(c, 0x320, 0x51);
	for (unsigned int i = 0; i < 8; i++) {
		fake_set_mmio(c, 0x380, 0);
		fake_set_mmio(c, 0x3e0, divider[i].tdcr);
		fake_set_mmio(c, 0x380, MS);
		assert_int_equal(c->deadline, vm->now + MS * divider[i].by);
		fake_run(vm, divider[i].by * 1000);
		assert_int_equal(fake_mmio(c, 0x390), MS - 1000);
	}
}

/* Each value of the register's 32 bits that differs in one, and all of them: three bits are kept, and divide. */
static void divider_bits(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[0];

	fake_set_mmio(c, 0x320, 0x51);
	for (unsigned int bit = 0; bit < 32; bit++)
		for (unsigned int i = 0; i < 8; i++) {
			uint32_t kept = divider[i].tdcr, extra = 1u << bit & ~0xbu;

			fake_set_mmio(c, 0x3e0, kept | extra);
			assert_int_equal(fake_mmio(c, 0x3e0), kept);
			fake_set_mmio(c, 0x380, MS);
			assert_int_equal(c->deadline, vm->now + MS * divider[i].by);
		}
	fake_set_mmio(c, 0x3e0, 0xffffffff);
	assert_int_equal(fake_mmio(c, 0x3e0), 0xb);
	assert_int_equal(c->deadline, vm->now + MS);
}

/* A timer that runs goes on with the count that is left, at the new rate: from each divider to each. */
static void divider_changes_on_the_way(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[0];

	fake_set_mmio(c, 0x320, 0x51);
	for (unsigned int from = 0; from < 8; from++)
		for (unsigned int to = 0; to < 8; to++) {
			fake_set_mmio(c, 0x380, 0);
			fake_set_mmio(c, 0x3e0, divider[from].tdcr);
			fake_set_mmio(c, 0x380, 4 * MS);
			fake_run(vm, MS * divider[from].by);
			fake_set_mmio(c, 0x3e0, divider[to].tdcr);
			assert_int_equal(c->deadline, vm->now + 3 * MS * divider[to].by);
			assert_int_equal(fake_mmio(c, 0x390), 3 * MS);
			/* The same again changes nothing, and one that stands still stays so. */
			fake_set_mmio(c, 0x3e0, divider[to].tdcr | 4);
			assert_int_equal(c->deadline, vm->now + 3 * MS * divider[to].by);
		}
	fake_set_mmio(c, 0x380, 0);
	fake_set_mmio(c, 0x3e0, 0);
	assert_int_equal(c->deadline, 0);
}

static void periodic(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[0];

	fake_set_mmio(c, 0x3e0, 0xb);
	fake_set_mmio(c, 0x320, 0x20051);
	fake_set_mmio(c, 0x380, 10 * MS);
	for (unsigned int i = 0; i < 5; i++) {
		fake_run(vm, 10 * MS - 1);
		assert_int_equal(lapic_ack(&c->l), -1);
		fake_run(vm, 1);
		assert_int_equal(lapic_ack(&c->l), 0x51);
		lapic_eoi(&c->l);
	}
	/* Missed periods are one interrupt, and the timer goes on. */
	vm->now += 95 * MS;
	fake_run(vm, 0);
	assert_int_equal(lapic_ack(&c->l), 0x51);
	lapic_eoi(&c->l);
	assert_true(c->deadline > vm->now && c->deadline <= vm->now + 10 * MS);
	/* Masked, it runs on in silence. */
	fake_set_mmio(c, 0x320, 0x30051);
	fake_run(vm, 50 * MS);
	assert_int_equal(lapic_ack(&c->l), -1);
	fake_set_mmio(c, 0x320, 0x20051);
	fake_run(vm, 10 * MS);
	assert_int_equal(lapic_ack(&c->l), 0x51);
	/* A period that would keep the host busy is stretched. */
	fake_set_mmio(c, 0x380, 100);
	assert_int_equal(c->deadline, vm->now + 200000);
}

static void tsc_deadline(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[0];

	/* Not in that mode: the MSR does not exist for the timer. */
	lapic_set_tsc_deadline(&c->l, 1);
	assert_int_equal(lapic_tsc_deadline(&c->l), 0);
	fake_set_mmio(c, 0x320, 0x40051);
	lapic_set_tsc_deadline(&c->l, (vm->now + MS) * 2);
	assert_int_equal(lapic_tsc_deadline(&c->l), (vm->now + MS) * 2);
	assert_int_equal(c->deadline, vm->now + MS);
	fake_set_mmio(c, 0x380, 1000);
	assert_int_equal(fake_mmio(c, 0x380), 0);
	assert_int_equal(fake_mmio(c, 0x390), 0);
	fake_run(vm, MS);
	assert_int_equal(lapic_tsc_deadline(&c->l), 0);
	assert_int_equal(lapic_ack(&c->l), 0x51);
	lapic_eoi(&c->l);
	/* In the past: now.  Odd counts round up, never early. */
	lapic_set_tsc_deadline(&c->l, 7);
	assert_int_equal(c->deadline, vm->now);
	fake_run(vm, 0);
	assert_int_equal(lapic_ack(&c->l), 0x51);
	lapic_eoi(&c->l);
	lapic_set_tsc_deadline(&c->l, vm->now * 2 + 3);
	assert_int_equal(c->deadline, vm->now + 2);
	/* Writing 0 disarms. */
	lapic_set_tsc_deadline(&c->l, 0);
	assert_int_equal(c->deadline, 0);
	/* The end of time is far off, not in the past. */
	lapic_set_tsc_deadline(&c->l, ~0ull);
	assert_true(c->deadline > vm->now + (1ull << 61));
}

static void tsc_jumps(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[0];

	vm->now += 1000 * MS;
	fake_set_mmio(c, 0x320, 0x40051);
	lapic_set_tsc_deadline(&c->l, (vm->now + 10 * MS) * 2);
	c->tsc_offset = -4 * (int64_t)MS;
	lapic_tsc_changed(&c->l);
	assert_int_equal(c->deadline, vm->now + 12 * MS);
	/* Unheard of, the timer looks at the TSC itself and waits on. */
	c->tsc_offset = -8 * (int64_t)MS;
	fake_run(vm, 12 * MS);
	assert_int_equal(lapic_ack(&c->l), -1);
	fake_run(vm, 2 * MS);
	assert_int_equal(lapic_ack(&c->l), 0x51);
}

static void mode_changes(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[0];

	fake_set_mmio(c, 0x3e0, 0xb);
	fake_set_mmio(c, 0x320, 0x51);
	fake_set_mmio(c, 0x380, 5 * MS);
	/* Counting to counting: it runs on. */
	fake_set_mmio(c, 0x320, 0x20051);
	assert_int_equal(fake_mmio(c, 0x390), 0);
	fake_run(vm, MS);
	assert_int_equal(fake_mmio(c, 0x390), 4 * MS);
	/* To the deadline and back: disarmed. */
	fake_set_mmio(c, 0x320, 0x40051);
	assert_int_equal(c->deadline, 0);
	lapic_set_tsc_deadline(&c->l, vm->now * 4);
	fake_set_mmio(c, 0x320, 0x51);
	assert_int_equal(c->deadline, 0);
	assert_int_equal(fake_mmio(c, 0x380), 0);
	fake_run(vm, 100 * MS);
	assert_int_equal(lapic_ack(&c->l), -1);
	/* Both bits: reserved, and no timer. */
	fake_set_mmio(c, 0x320, 0x60051);
	fake_set_mmio(c, 0x380, 5 * MS);
	fake_run(vm, 100 * MS);
	assert_int_equal(lapic_ack(&c->l), -1);
}

static void state_goes_on(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *a = &vm->cpu[0], *b = &vm->cpu[1];
	struct kvm_lapic_state s;

	fake_set_mmio(a, 0x3e0, 0xb);
	fake_set_mmio(a, 0x320, 0x20051);
	fake_set_mmio(a, 0x380, 10 * MS);
	fake_run(vm, 3 * MS);
	lapic_get_state(&a->l, &s);
	assert_int_equal(lapic_set_state(&b->l, &s), 0);
	assert_int_equal(b->deadline, vm->now + 7 * MS);
	fake_run(vm, 7 * MS);
	assert_int_equal(lapic_ack(&b->l), 0x51);
	assert_int_equal(b->deadline, vm->now + 10 * MS);
	/* A deadline is an MSR and survives KVM_SET_LAPIC in that mode. */
	fake_set_mmio(b, 0x320, 0x40051);
	lapic_set_tsc_deadline(&b->l, (vm->now + MS) * 2);
	lapic_get_state(&b->l, &s);
	assert_int_equal(lapic_set_state(&b->l, &s), 0);
	assert_int_equal(b->deadline, vm->now + MS);
	lapic_reset(&b->l, true);
	assert_int_equal(b->deadline, 0);
	assert_int_equal(lapic_tsc_deadline(&b->l), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT(one_shot), UNIT(dividers), UNIT(divider_bits), UNIT(divider_changes_on_the_way), UNIT(periodic),
		UNIT(tsc_deadline), UNIT(tsc_jumps), UNIT(mode_changes), UNIT(state_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
