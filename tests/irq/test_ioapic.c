// SPDX-License-Identifier: MIT
/* The I/O APIC: registers, edges and levels, EOI, the RTC's pin, state. */
#include "unit.h"

#define LEVEL	0x8000ull
#define MASKED	0x10000ull
#define LOGICAL	0x800ull
#define DEST(d)	((uint64_t)(d) << 56)

static int set(struct fake_vm *vm, unsigned int pin, bool level)
{
	return ioapic_set_irq(&vm->ioapic, pin, IRQ_SOURCE_USER, level, false);
}

static bool remote_irr(struct fake_vm *vm, unsigned int pin)
{
	return fake_ioapic(vm, 0x10 + 2 * pin) >> 14 & 1;
}

static void registers(void **state)
{
	struct fake_vm *vm = *state;
	uint64_t v64 = ~0ull;
	uint8_t v8;

	assert_int_equal(fake_ioapic(vm, 1), 0x170011);
	fake_set_ioapic(vm, 1, 0);
	assert_int_equal(fake_ioapic(vm, 1), 0x170011);
	fake_set_ioapic(vm, 0, ~0u);
	assert_int_equal(fake_ioapic(vm, 0), 0x0f000000);
	assert_int_equal(fake_ioapic(vm, 2), 0x0f000000);
	fake_set_ioapic(vm, 2, 0);
	assert_int_equal(fake_ioapic(vm, 0), 0x0f000000);
	for (unsigned int pin = 0; pin < 24; pin++)
		assert_int_equal(fake_ioapic(vm, 0x10 + 2 * pin), 0x10000);
	assert_int_equal(fake_ioapic(vm, 0x40), 0xffffffff);
	fake_set_ioapic(vm, 0x40, 0);
	/* Remote IRR and delivery status are read-only. */
	fake_set_ioapic(vm, 0x12, 0x1ffff);
	assert_int_equal(fake_ioapic(vm, 0x12), 0x1afff);
	fake_set_ioapic(vm, 0x13, 0x03abcdef);
	assert_int_equal(fake_ioapic(vm, 0x13), 0x03abcdef);
	/* Sizes, and addresses that are no register. */
	assert_int_equal(ioapic_read(&vm->ioapic, IOAPIC_DEFAULT_BASE, 8, &v64), 0);
	assert_int_equal(v64, 0x13);
	assert_int_equal(ioapic_read(&vm->ioapic, IOAPIC_DEFAULT_BASE, 1, &v8), 0);
	assert_int_equal(v8, 0x13);
	assert_int_equal(ioapic_read(&vm->ioapic, IOAPIC_DEFAULT_BASE + 0x40, 8, &v64), 0);
	assert_int_equal(v64, 0);
	assert_int_equal(ioapic_read(&vm->ioapic, IOAPIC_DEFAULT_BASE + 0x100, 4, &v64), -EOPNOTSUPP);
	assert_int_equal(ioapic_write(&vm->ioapic, IOAPIC_DEFAULT_BASE - 4, 4, &v64), -EOPNOTSUPP);
}

static void edges(void **state)
{
	struct fake_vm *vm = *state;
	struct lapic *l = &vm->cpu[1].l;

	assert_int_equal(set(vm, 4, true), -1);
	set(vm, 4, false);
	fake_redir(vm, 4, DEST(1) | 0x51);
	assert_int_equal(vm->unmasked[KVM_IRQCHIP_IOAPIC][4], 1);
	assert_int_equal(set(vm, 4, true), 1);
	assert_int_equal(lapic_ack(l), 0x51);
	assert_int_equal(set(vm, 4, true), 0);
	assert_int_equal(lapic_ack(l), -1);
	assert_int_equal(set(vm, 4, false), 1);
	lapic_eoi(l);
	assert_int_equal(set(vm, 4, true), 1);
	assert_int_equal(lapic_ack(l), 0x51);
	lapic_eoi(l);
	assert_int_equal(vm->nr_eoi, 0);
	assert_false(remote_irr(vm, 4));
}

static void levels(void **state)
{
	struct fake_vm *vm = *state;
	struct lapic *l = &vm->cpu[2].l;

	fake_redir(vm, 9, DEST(2) | LEVEL | 0x61);
	assert_int_equal(set(vm, 9, true), 1);
	assert_true(remote_irr(vm, 9));
	assert_int_equal(set(vm, 9, true), -1);
	assert_int_equal(lapic_ack(l), 0x61);
	/* Still high at the EOI: again. */
	lapic_eoi(l);
	assert_int_equal(vm->acked[KVM_IRQCHIP_IOAPIC][9], 1);
	assert_true(remote_irr(vm, 9));
	assert_int_equal(lapic_ack(l), 0x61);
	set(vm, 9, false);
	lapic_eoi(l);
	assert_false(remote_irr(vm, 9));
	assert_int_equal(lapic_ack(l), -1);
	/* High while masked: sent when unmasked. */
	fake_redir(vm, 9, DEST(2) | LEVEL | MASKED | 0x61);
	assert_int_equal(set(vm, 9, true), -1);
	fake_redir(vm, 9, DEST(2) | LEVEL | 0x61);
	assert_int_equal(lapic_ack(l), 0x61);
	/* Linux's way to clear remote IRR: edge for a moment. */
	set(vm, 9, false);
	fake_set_ioapic(vm, 0x22, MASKED | 0x61);
	assert_false(remote_irr(vm, 9));
}

/* A resampling irqfd lowers the line in its ack, which must come before the line is looked at. */
static void resample(void **state)
{
	struct fake_vm *vm = *state;
	struct lapic *l = &vm->cpu[0].l;

	vm->lower_on_ack = 10;
	fake_redir(vm, 10, LEVEL | 0x71);
	ioapic_set_irq(&vm->ioapic, 10, IRQ_SOURCE_RESAMPLE, true, false);
	assert_int_equal(lapic_ack(l), 0x71);
	lapic_eoi(l);
	assert_int_equal(vm->acked[KVM_IRQCHIP_IOAPIC][10], 1);
	assert_int_equal(lapic_ack(l), -1);
	assert_false(remote_irr(vm, 10));
	/* What userspace holds high stays high. */
	set(vm, 10, true);
	ioapic_set_irq(&vm->ioapic, 10, IRQ_SOURCE_RESAMPLE, true, false);
	assert_int_equal(lapic_ack(l), 0x71);
	lapic_eoi(l);
	assert_int_equal(lapic_ack(l), 0x71);
}

static void edge_acks_when_wanted(void **state)
{
	struct fake_vm *vm = *state;
	struct lapic *l = &vm->cpu[0].l;

	fake_redir(vm, 2, 0x31);
	fake_redir(vm, 5, LEVEL | 0x31);
	for (unsigned int i = 0; i < 2; i++) {
		set(vm, 2, true);
		set(vm, 2, false);
		assert_int_equal(lapic_ack(l), 0x31);
		lapic_eoi(l);
		vm->ack_wanted = 1u << 2;
		ioapic_acks_changed(&vm->ioapic);
	}
	/* An edge is no EOI for a level triggered pin of that vector. */
	assert_int_equal(vm->acked[KVM_IRQCHIP_IOAPIC][5], 0);
	fake_redir(vm, 5, MASKED);
	vm->acked[KVM_IRQCHIP_IOAPIC][2] = 0;
	set(vm, 2, true);
	lapic_ack(l);
	lapic_eoi(l);
	assert_int_equal(vm->acked[KVM_IRQCHIP_IOAPIC][2], 1);
	vm->ack_wanted = 0;
	ioapic_acks_changed(&vm->ioapic);
	set(vm, 2, false);
	set(vm, 2, true);
	lapic_ack(l);
	lapic_eoi(l);
	assert_int_equal(vm->acked[KVM_IRQCHIP_IOAPIC][2], 1);
}

static void destinations(void **state)
{
	struct fake_vm *vm = *state;

	for (unsigned int i = 0; i < FAKE_CPUS; i++)
		fake_set_mmio(&vm->cpu[i], 0xd0, 1u << (24 + i));
	fake_redir(vm, 3, DEST(6) | LOGICAL | 0x51);
	assert_int_equal(set(vm, 3, true), 2);
	assert_int_equal(lapic_ack(&vm->cpu[1].l), 0x51);
	assert_int_equal(lapic_ack(&vm->cpu[2].l), 0x51);
	fake_redir(vm, 6, DEST(0xf) | LOGICAL | 0x100 | 0x52);
	assert_int_equal(set(vm, 6, true), 1);
	fake_redir(vm, 7, DEST(3) | 0x400);
	assert_int_equal(set(vm, 7, true), 1);
	assert_int_equal(vm->cpu[3].nmis, 1);
	fake_redir(vm, 11, DEST(9) | 0x53);
	assert_int_equal(set(vm, 11, true), 0);
}

/* KVM_IRQ_LINE_STATUS of the RTC's pin: coalesced until the guest finished it. */
static void rtc(void **state)
{
	struct fake_vm *vm = *state;
	struct lapic *l = &vm->cpu[0].l;

	fake_redir(vm, 8, 0x81);
	assert_int_equal(ioapic_set_irq(&vm->ioapic, 8, IRQ_SOURCE_USER, true, true), 1);
	ioapic_set_irq(&vm->ioapic, 8, IRQ_SOURCE_USER, false, true);
	assert_int_equal(ioapic_set_irq(&vm->ioapic, 8, IRQ_SOURCE_USER, true, true), 0);
	ioapic_set_irq(&vm->ioapic, 8, IRQ_SOURCE_USER, false, true);
	assert_int_equal(lapic_ack(l), 0x81);
	assert_int_equal(ioapic_set_irq(&vm->ioapic, 8, IRQ_SOURCE_USER, true, true), 0);
	ioapic_set_irq(&vm->ioapic, 8, IRQ_SOURCE_USER, false, true);
	/* The guest may move it meanwhile. */
	fake_redir(vm, 8, 0x91);
	lapic_eoi(l);
	assert_int_equal(ioapic_set_irq(&vm->ioapic, 8, IRQ_SOURCE_USER, true, true), 1);
	assert_int_equal(lapic_ack(l), 0x91);
	/* Restored from what is in flight. */
	struct kvm_ioapic_state s;

	ioapic_get_state(&vm->ioapic, &s);
	ioapic_set_state(&vm->ioapic, &s);
	ioapic_set_irq(&vm->ioapic, 8, IRQ_SOURCE_USER, false, true);
	assert_int_equal(ioapic_set_irq(&vm->ioapic, 8, IRQ_SOURCE_USER, true, true), 0);
	lapic_eoi(l);
	ioapic_set_irq(&vm->ioapic, 8, IRQ_SOURCE_USER, false, true);
	assert_int_equal(ioapic_set_irq(&vm->ioapic, 8, IRQ_SOURCE_USER, true, true), 1);
}

static void storm(void **state)
{
	struct fake_vm *vm = *state;
	struct lapic *l = &vm->cpu[0].l;

	fake_redir(vm, 12, LEVEL | 0x61);
	set(vm, 12, true);
	for (unsigned int i = 1; i < 10000; i++) {
		assert_int_equal(lapic_ack(l), 0x61);
		lapic_eoi(l);
	}
	assert_int_equal(vm->retries, 0);
	assert_int_equal(lapic_ack(l), 0x61);
	lapic_eoi(l);
	assert_int_equal(vm->retries, 1);
	assert_int_equal(vm->retry_delay, 10000000);
	assert_int_equal(lapic_ack(l), -1);
	ioapic_retry(&vm->ioapic);
	assert_int_equal(lapic_ack(l), 0x61);
	ioapic_retry(&vm->ioapic);
	assert_int_equal(lapic_ack(l), -1);
}

static void state_round_trip(void **state)
{
	struct fake_vm *vm = *state;
	struct lapic *l = &vm->cpu[0].l;
	struct kvm_ioapic_state s, t;

	fake_redir(vm, 4, 0x51);
	fake_redir(vm, 9, LEVEL | 0x61);
	set(vm, 4, true);
	set(vm, 9, true);
	ioapic_get_state(&vm->ioapic, &s);
	/* The edge was sent and is not to be raised again; the level is. */
	assert_int_equal(s.irr, 1u << 9);
	assert_int_equal(s.redirtbl[9].fields.remote_irr, 1);
	assert_int_equal(s.base_address, IOAPIC_DEFAULT_BASE);
	lapic_ack(l);
	lapic_ack(l);
	ioapic_set_state(&vm->ioapic, &s);
	ioapic_get_state(&vm->ioapic, &t);
	assert_memory_equal(&s, &t, sizeof(s));
	assert_int_equal(lapic_ack(l), -1);
	lapic_eoi(l);
	assert_int_equal(lapic_ack(l), 0x61);
	/* An edge that found its pin masked is in irr, and raised by the restore. */
	fake_redir(vm, 5, MASKED | 0x71);
	set(vm, 5, true);
	ioapic_get_state(&vm->ioapic, &s);
	assert_int_equal(s.irr >> 5 & 1, 1);
	s.redirtbl[5].fields.mask = 0;
	ioapic_set_state(&vm->ioapic, &s);
	assert_int_equal(lapic_ack(l), 0x71);
	/* Anything may come from userspace. */
	memset(&s, 0xff, sizeof(s));
	ioapic_set_state(&vm->ioapic, &s);
	set(vm, 23, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT(registers), UNIT(edges), UNIT(levels), UNIT(resample), UNIT(edge_acks_when_wanted),
		UNIT(destinations), UNIT(rtc), UNIT(storm), UNIT(state_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
