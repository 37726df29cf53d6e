// SPDX-License-Identifier: MIT
/* The 8254: modes, latches, read-back, port B, reinjection. */
#include "unit.h"

#define MS	1000000ull
#define HZ	PIT_FREQ

static uint64_t ns(uint64_t clocks)
{
	return clocks * 1000000000ull / HZ;
}

static void load(struct fake_vm *vm, unsigned int n, uint8_t mode, uint16_t count)
{
	fake_out(vm, 0x43, n << 6 | 0x30 | mode << 1);
	fake_out(vm, 0x40 + n, count);
	fake_out(vm, 0x40 + n, count >> 8);
}

static uint16_t latched(struct fake_vm *vm, unsigned int n)
{
	uint16_t v;

	fake_out(vm, 0x43, n << 6);
	v = fake_in(vm, 0x40 + n);
	return v | fake_in(vm, 0x40 + n) << 8;
}

static bool near(uint64_t a, uint64_t b)
{
	return a + 2 >= b && a <= b + 2;
}

/* As Linux drives it: mode 2 at HZ, then one-shots in mode 4. */
static void linux_ticks(void **state)
{
	struct fake_vm *vm = *state;

	assert_int_equal(vm->pit_deadline, 0);
	load(vm, 0, 2, 11932);		/* 100 Hz */
	assert_int_equal(vm->pit_deadline, vm->now + ns(11932));
	for (unsigned int i = 1; i <= 10; i++) {
		fake_run(vm, ns(11932));
		assert_int_equal(vm->ticks, i);
		pit_acked(&vm->pit);
	}
	load(vm, 0, 4, 2000);
	vm->ticks = 0;
	fake_run(vm, 100 * MS);
	assert_int_equal(vm->ticks, 1);
	pit_timer_expired(&vm->pit);
	assert_int_equal(vm->ticks, 1);
	/* pit_shutdown(): mode 0, count 0: one last interrupt much later. */
	load(vm, 0, 0, 0);
	fake_run(vm, 54 * MS);
	assert_int_equal(vm->ticks, 1);
	fake_run(vm, MS);
	assert_int_equal(vm->ticks, 2);
}

static void counting(void **state)
{
	static const struct {
		uint8_t mode;
		uint32_t at, want;
	} row[] = {
		{ 0, 100, 900 }, { 0, 1000, 0 }, { 0, 1010, 0xfff6 },
		{ 1, 400, 600 }, { 4, 1001, 0xffff }, { 5, 10, 990 },
		{ 2, 100, 900 }, { 2, 1100, 900 }, { 6, 2500, 500 },
		{ 3, 100, 800 }, { 3, 600, 800 }, { 7, 1100, 800 },
	};
	struct fake_vm *vm = *state;

	for (unsigned int i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		for (unsigned int n = 1; n < 3; n++) {
			load(vm, n, row[i].mode, 1000);
			vm->now += ns(row[i].at) + 1;
			assert_int_equal(latched(vm, n), (uint16_t)row[i].want);
		}
		/* Counter 0 reckons from its timer; mode 5 has none. */
		if (row[i].mode == 5)
			continue;
		load(vm, 0, row[i].mode, 1000);
		vm->now += ns(row[i].at) + 1;
		assert_true(near(latched(vm, 0), (uint16_t)row[i].want));
	}
}

static void outputs(void **state)
{
	static const struct {
		uint8_t mode;
		uint32_t at;
		bool want;
	} row[] = {
		{ 0, 10, false }, { 0, 1000, true }, { 0, 5000, true },
		{ 1, 10, true }, { 1, 1000, false },
		{ 2, 10, false }, { 2, 1000, true }, { 2, 1001, false },
		{ 3, 10, true }, { 3, 499, true }, { 3, 500, false }, { 3, 999, false }, { 3, 1000, true },
		{ 4, 999, false }, { 4, 1000, true }, { 4, 1001, false },
	};
	struct fake_vm *vm = *state;

	for (unsigned int i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		load(vm, 2, row[i].mode, 1000);
		vm->now += ns(row[i].at) + 1;
		assert_int_equal(fake_in(vm, 0x61) >> 5 & 1, row[i].want);
	}
}

static void access_modes(void **state)
{
	struct fake_vm *vm = *state;

	fake_out(vm, 0x43, 0x90);		/* counter 2, low byte, mode 0 */
	fake_out(vm, 0x42, 0x80);
	assert_int_equal(fake_in(vm, 0x42), 0x80);
	assert_int_equal(fake_in(vm, 0x42), 0x80);
	fake_out(vm, 0x43, 0xa0);		/* high byte */
	fake_out(vm, 0x42, 0x12);
	assert_int_equal(fake_in(vm, 0x42), 0x12);
	load(vm, 2, 0, 0x3456);
	assert_int_equal(fake_in(vm, 0x42), 0x56);
	assert_int_equal(fake_in(vm, 0x42), 0x34);
	/* Half a count does nothing yet. */
	fake_out(vm, 0x42, 0x99);
	assert_int_equal(fake_in(vm, 0x42), 0x56);
	assert_int_equal(fake_in(vm, 0x43), 0);
	/* A latch holds, and a second one does not replace it. */
	load(vm, 1, 2, 0x8000);
	fake_out(vm, 0x43, 0x40);
	vm->now += ns(0x1000);
	fake_out(vm, 0x43, 0x40);
	assert_int_equal(fake_in(vm, 0x41), 0x00);
	assert_int_equal(fake_in(vm, 0x41), 0x80);
	assert_true(near(latched(vm, 1), 0x7000));
}

static void read_back(void **state)
{
	struct fake_vm *vm = *state;

	load(vm, 1, 3, 0x1000);
	load(vm, 2, 0, 0x2000);
	fake_out(vm, 0x43, 0xec);		/* status of counters 1 and 2 */
	assert_int_equal(fake_in(vm, 0x41), 0xb6);
	assert_int_equal(fake_in(vm, 0x42), 0x30);
	fake_out(vm, 0x43, 0xc8);		/* status and count of counter 2: status first */
	assert_int_equal(fake_in(vm, 0x42), 0x30);
	assert_int_equal(fake_in(vm, 0x42), 0x00);
	assert_int_equal(fake_in(vm, 0x42), 0x20);
	/* BCD is kept, and counted in binary. */
	fake_out(vm, 0x43, 0xb1);
	fake_out(vm, 0x42, 0x00);
	fake_out(vm, 0x42, 0x10);
	fake_out(vm, 0x43, 0xe8);
	assert_int_equal(fake_in(vm, 0x42), 0x31);
	assert_int_equal(latched(vm, 2), 0x1000);
}

/* Linux and SeaBIOS calibrate by counter 2 in mode 0 and its output at port B. */
static void calibration(void **state)
{
	struct fake_vm *vm = *state;
	uint64_t start;

	fake_out(vm, 0x61, (fake_in(vm, 0x61) & ~2) | 1);
	assert_int_equal(fake_in(vm, 0x61) & 3, 1);
	load(vm, 2, 0, HZ / 20);
	start = vm->now;
	while (!(fake_in(vm, 0x61) & 0x20))
		vm->now += 10000;
	assert_in_range(vm->now - start, 49 * MS, 51 * MS);
	/* The refresh bit toggles. */
	vm->now = 0;
	assert_int_equal(fake_in(vm, 0x61) & 0x10, 0);
	vm->now = 1 << 14;
	assert_int_equal(fake_in(vm, 0x61) & 0x10, 0x10);
}

static void gate(void **state)
{
	struct fake_vm *vm = *state;
	struct kvm_pit_state2 s;

	fake_out(vm, 0x61, 2);
	pit_get_state(&vm->pit, &s);
	assert_int_equal(s.flags, KVM_PIT_FLAGS_SPEAKER_DATA_ON);
	assert_int_equal(s.channels[2].gate, 0);
	assert_int_equal(s.channels[0].gate, 1);
	load(vm, 2, 2, 1000);
	vm->now += ns(300);
	fake_out(vm, 0x61, 3);
	assert_true(near(latched(vm, 2), 1000));
	vm->now += ns(300);
	fake_out(vm, 0x61, 3);
	assert_true(near(latched(vm, 2), 700));
}

static void ports(void **state)
{
	struct fake_vm *vm = *state;
	struct pit silent;
	uint32_t v = ~0u;

	assert_int_equal(pit_read(&vm->pit, 0x44, 1, &v), -EOPNOTSUPP);
	assert_int_equal(pit_write(&vm->pit, 0x60, 1, &v), -EOPNOTSUPP);
	assert_int_equal(pit_read(&vm->pit, 0x61, 4, &v), 0);
	assert_int_equal(v & ~0x3fu, 0);
	pit_init(&silent, false, vm->pit.ops, vm);
	assert_int_equal(pit_read(&silent, 0x61, 1, &v), -EOPNOTSUPP);
	assert_int_equal(pit_read(&silent, 0x40, 1, &v), 0);
	pit_destroy(&silent);
}

static void reinjection(void **state)
{
	struct fake_vm *vm = *state;

	assert_true(pit_wants_ack(&vm->pit));
	load(vm, 0, 2, 11932);
	/* Nobody acknowledges: one tick is out, the others wait. */
	fake_run(vm, ns(11932) * 5);
	assert_int_equal(vm->ticks, 1);
	for (unsigned int i = 2; i <= 5; i++) {
		pit_acked(&vm->pit);
		assert_int_equal(vm->ticks, i);
	}
	pit_acked(&vm->pit);
	assert_int_equal(vm->ticks, 5);
	/* A late timer owes all the periods that passed. */
	vm->now += ns(11932) * 3;
	fake_run(vm, 0);
	pit_acked(&vm->pit);
	pit_acked(&vm->pit);
	pit_acked(&vm->pit);
	assert_int_equal(vm->ticks, 8);
	/* Unmasking forgets. */
	fake_run(vm, ns(11932) * 4);
	assert_int_equal(vm->ticks, 9);
	pit_unmasked(&vm->pit);
	pit_acked(&vm->pit);
	assert_int_equal(vm->ticks, 9);
	/* Without it ticks are sent as they come, and lost as they are. */
	pit_set_reinject(&vm->pit, false);
	assert_false(pit_wants_ack(&vm->pit));
	vm->ticks = 0;
	fake_run(vm, ns(11932) * 4);
	assert_int_equal(vm->ticks, 4);
	vm->now += ns(11932) * 4;
	fake_run(vm, 0);
	assert_int_equal(vm->ticks, 5);
	pit_acked(&vm->pit);
	assert_int_equal(vm->ticks, 5);
}

/* The whole way: counter 0, the PIC, the guest's EOI, and the tick that was missed. */
static void ticks_through_the_pic(void **state)
{
	struct fake_vm *vm = *state;

	vm->pit_to_pic = true;
	fake_out(vm, 0x20, 0x11);
	fake_out(vm, 0x21, 0x30);
	fake_out(vm, 0x21, 4);
	fake_out(vm, 0x21, 1);
	fake_out(vm, 0x21, 0xfe);
	load(vm, 0, 2, 11932);
	fake_run(vm, ns(11932) * 3);
	for (unsigned int i = 0; i < 3; i++) {
		assert_true(pic_output(&vm->pic));
		assert_int_equal(pic_ack(&vm->pic), 0x30);
		fake_out(vm, 0x20, 0x60);
	}
	assert_false(pic_output(&vm->pic));
}

/* What is owed then is sent behind that tick, not within it, where it would be no edge. */
static void acked_at_once(void **state)
{
	struct fake_vm *vm = *state;

	load(vm, 0, 2, 11932);
	vm->now += ns(11932) * 5 + 10;
	vm->pit_to_pic = vm->eager = true;
	pit_timer_expired(&vm->pit);
	assert_int_equal(vm->ticks, 5);
	assert_int_equal(vm->overlaps, 0);
}

static void short_periods(void **state)
{
	struct fake_vm *vm = *state;

	pit_set_reinject(&vm->pit, false);
	load(vm, 0, 2, 2);
	fake_run(vm, 10 * MS);
	assert_in_range(vm->ticks, 45, 55);
}

static void state_and_hpet(void **state)
{
	struct fake_vm *vm = *state;
	struct kvm_pit_state2 s, t;

	load(vm, 0, 2, 11932);
	load(vm, 2, 3, 5000);
	pit_get_state(&vm->pit, &s);
	assert_int_equal(s.channels[0].count, 11932);
	assert_int_equal(s.channels[0].mode, 2);
	pit_set_state(&vm->pit, &s);
	assert_int_equal(vm->pit_deadline, vm->now + ns(11932));
	pit_get_state(&vm->pit, &t);
	assert_memory_equal(&s, &t, sizeof(s));
	/* An HPET in legacy mode silences counter 0; leaving it starts it anew. */
	s.flags |= KVM_PIT_FLAGS_HPET_LEGACY;
	pit_set_state(&vm->pit, &s);
	assert_int_equal(vm->pit_deadline, 0);
	load(vm, 0, 2, 11932);
	assert_int_equal(vm->pit_deadline, 0);
	s.flags = 0;
	pit_set_state(&vm->pit, &s);
	assert_int_equal(vm->pit_deadline, vm->now + ns(11932));
	pit_get_state(&vm->pit, &t);
	assert_int_equal(t.channels[0].mode, 2);
	/* Anything may come from userspace, a count of 0 among it. */
	memset(&s, 0xff, sizeof(s));
	s.flags = 0;
	pit_set_state(&vm->pit, &s);
	for (unsigned int port = 0x40; port < 0x44; port++)
		fake_in(vm, port);
	memset(&s, 0, sizeof(s));
	pit_set_state1(&vm->pit, &(struct kvm_pit_state){ 0 });
	for (unsigned int n = 0; n < 3; n++)
		latched(vm, n);
	fake_in(vm, 0x61);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT(linux_ticks), UNIT(counting), UNIT(outputs), UNIT(access_modes), UNIT(read_back),
		UNIT(calibration), UNIT(gate), UNIT(ports), UNIT(reinjection), UNIT(ticks_through_the_pic),
		UNIT(acked_at_once), UNIT(short_periods), UNIT(state_and_hpet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
