// SPDX-License-Identifier: MIT
/* Senders on other threads against an owner that takes and ends: no interrupt is lost or doubled. */
#include <pthread.h>

#include "unit.h"

#define SENDERS	3
#define EACH	30000u

struct sender {
	struct fake_vm *vm;
	uint8_t vector;
	unsigned int taken;	/* by the owner, atomic */
	pthread_t thread;
};

/* The next message goes when the one before was taken, so each must arrive. */
static void *send(void *p)
{
	struct sender *s = p;
	struct apic_msg msg = { .vector = s->vector, .assert = true };

	for (unsigned int i = 0; i < EACH; i++) {
		apic_bus_deliver(&s->vm->bus, NULL, &msg, NULL);
		while (__atomic_load_n(&s->taken, __ATOMIC_ACQUIRE) != i + 1)
			sched_yield();
	}
	return NULL;
}

static void irr(void **state)
{
	struct fake_vm *vm = *state;
	struct lapic *l = &vm->cpu[0].l;
	struct sender s[SENDERS];
	unsigned int left = SENDERS * EACH;

	/* Two in one word of IRR, one in another. */
	for (unsigned int i = 0; i < SENDERS; i++) {
		s[i] = (struct sender){ .vm = vm, .vector = (uint8_t[]){ 0x41, 0x52, 0xe1 }[i] };
		pthread_create(&s[i].thread, NULL, send, &s[i]);
	}
	while (left) {
		int vector;

		/* The cheap check alone decides: if it misses one, this hangs until the time limit. */
		if (!lapic_has_pending(l)) {
			sched_yield();
			continue;
		}
		vector = lapic_ack(l);
		if (vector < 0)
			continue;
		lapic_eoi(l);
		for (unsigned int i = 0; i < SENDERS; i++)
			if (s[i].vector == vector)
				__atomic_fetch_add(&s[i].taken, 1, __ATOMIC_RELEASE);
		left--;
	}
	for (unsigned int i = 0; i < SENDERS; i++) {
		pthread_join(s[i].thread, NULL);
		assert_int_equal(s[i].taken, EACH);
	}
	assert_false(lapic_has_pending(l));
	assert_int_equal(vm->cpu[0].kicks, SENDERS * EACH);
}

static void *pulse_level(void *p)
{
	struct fake_vm *vm = p;

	for (unsigned int i = 0; i < EACH; i++) {
		ioapic_set_irq(&vm->ioapic, 9, IRQ_SOURCE_USER, true, false);
		ioapic_set_irq(&vm->ioapic, 9, IRQ_SOURCE_USER, false, false);
		pic_set_irq(&vm->pic, 5, IRQ_SOURCE_USER, i & 1);
	}
	/* High for good at the end. */
	ioapic_set_irq(&vm->ioapic, 9, IRQ_SOURCE_USER, true, false);
	return NULL;
}

static void level_against_eoi(void **state)
{
	struct fake_vm *vm = *state;
	struct lapic *l = &vm->cpu[0].l;
	pthread_t t;

	fake_redir(vm, 9, 0x8061);
	pthread_create(&t, NULL, pulse_level, vm);
	while (pthread_tryjoin_np(t, NULL)) {
		if (lapic_ack(l) >= 0)
			lapic_eoi(l);
		if (pic_output(&vm->pic))
			pic_ack(&vm->pic);
		fake_out(vm, 0x20, 0x20);
		sched_yield();
	}
	/* However the race went, a line that is high interrupts again after each EOI. */
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(lapic_ack(l), 0x61);
		assert_int_equal(lapic_eoi(l), 0x61);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { UNIT(irr), UNIT(level_against_eoi) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
