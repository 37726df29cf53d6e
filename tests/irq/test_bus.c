// SPDX-License-Identifier: MIT
/* Who gets a message: physical, logical flat, cluster and x2APIC, broadcasts, shorthands, lowest priority. */
#include "unit.h"

#define V	0x51

/* Which vCPUs got V; takes and ends it there. */
static unsigned int got(struct fake_vm *vm)
{
	unsigned int who = 0;

	for (unsigned int i = 0; i < FAKE_CPUS; i++) {
		if (lapic_ack(&vm->cpu[i].l) != V)
			continue;
		lapic_eoi(&vm->cpu[i].l);
		who |= 1u << i;
	}
	return who;
}

static unsigned int send(struct fake_vm *vm, uint32_t dest, bool logical)
{
	struct apic_msg msg = { .dest = dest, .vector = V, .logical = logical, .assert = true };

	apic_bus_deliver(&vm->bus, NULL, &msg, NULL);
	return got(vm);
}

static void all_x2apic(struct fake_vm *vm)
{
	for (unsigned int i = 0; i < FAKE_CPUS; i++)
		fake_x2apic(&vm->cpu[i]);
}

static void physical(void **state)
{
	struct fake_vm *vm = *state;

	for (unsigned int i = 0; i < FAKE_CPUS; i++)
		assert_int_equal(send(vm, i, false), 1u << i);
	assert_int_equal(send(vm, 4, false), 0);
	assert_int_equal(send(vm, 0xff, false), 0xf);
	/* The ID is writable; who has the same takes the same, but with 32-bit IDs, where there is one receiver. */
	fake_set_mmio(&vm->cpu[2], 0x20, 9u << 24);
	assert_int_equal(send(vm, 2, false), 0);
	assert_int_equal(send(vm, 9, false), 4);
	fake_set_mmio(&vm->cpu[3], 0x20, 9u << 24);
	assert_int_equal(send(vm, 9, false), 0xc);
	vm->bus.x2apic_format = true;
	assert_int_equal(send(vm, 9, false), 4);
	vm->bus.x2apic_format = false;
	/* Globally disabled: gone.  Disabled by software: discards. */
	lapic_set_base(&vm->cpu[1].l, LAPIC_DEFAULT_BASE, false);
	assert_int_equal(send(vm, 1, false), 0);
	fake_set_mmio(&vm->cpu[0], 0xf0, 0xff);
	assert_int_equal(send(vm, 0xff, false), 0xc);
}

static void flat(void **state)
{
	struct fake_vm *vm = *state;

	for (unsigned int i = 0; i < FAKE_CPUS; i++)
		fake_set_mmio(&vm->cpu[i], 0xd0, 1u << (24 + i));
	assert_int_equal(send(vm, 1, true), 1);
	assert_int_equal(send(vm, 6, true), 6);
	assert_int_equal(send(vm, 0xf0, true), 0);
	assert_int_equal(send(vm, 0xff, true), 0xf);
	fake_set_mmio(&vm->cpu[0], 0xd0, 0);
	assert_int_equal(send(vm, 0x0f, true), 0xe);
}

static void cluster(void **state)
{
	struct fake_vm *vm = *state;

	for (unsigned int i = 0; i < FAKE_CPUS; i++) {
		fake_set_mmio(&vm->cpu[i], 0xe0, 0);
		assert_int_equal(fake_mmio(&vm->cpu[i], 0xe0), 0x0fffffff);
		/* Two clusters of two. */
		fake_set_mmio(&vm->cpu[i], 0xd0, (uint32_t)(i / 2 << 4 | 1u << i % 2) << 24);
	}
	assert_int_equal(send(vm, 0x01, true), 1);
	assert_int_equal(send(vm, 0x03, true), 3);
	assert_int_equal(send(vm, 0x11, true), 4);
	assert_int_equal(send(vm, 0x1f, true), 0xc);
	assert_int_equal(send(vm, 0x21, true), 0);
	/* A model that is neither. */
	fake_set_mmio(&vm->cpu[0], 0xe0, 0x50000000);
	assert_int_equal(send(vm, 0x01, true), 0);
}

static void x2apic(void **state)
{
	struct fake_vm *vm = *state;

	all_x2apic(vm);
	for (unsigned int i = 0; i < FAKE_CPUS; i++)
		assert_int_equal(send(vm, i, false), 1u << i);
	assert_int_equal(send(vm, 0x5, true), 5);
	assert_int_equal(send(vm, 0x10005, true), 0);
	assert_int_equal(send(vm, 0xffffffff, false), 0xf);
	assert_int_equal(send(vm, 0xffffffff, true), 0xf);
	/* FFh from a device: all, unless the quirk is off; then it is cluster 0, processors 0 to 7. */
	assert_int_equal(send(vm, 0xff, false), 0xf);
	vm->bus.no_broadcast_quirk = true;
	assert_int_equal(send(vm, 0xff, false), 0);
	assert_int_equal(send(vm, 0x103, true), 3);
}

static void mixed(void **state)
{
	struct fake_vm *vm = *state;

	fake_x2apic(&vm->cpu[0]);
	fake_x2apic(&vm->cpu[1]);
	assert_int_equal(send(vm, 1, false), 2);
	assert_int_equal(send(vm, 2, false), 4);
	/* With 32-bit IDs an xAPIC whose ID is an x2APIC's gives way to it. */
	fake_set_mmio(&vm->cpu[3], 0x20, 1u << 24);
	assert_int_equal(send(vm, 1, false), 0xa);
	vm->bus.x2apic_format = true;
	assert_int_equal(send(vm, 1, false), 2);
	vm->bus.x2apic_format = false;
	assert_int_equal(send(vm, 0xffffffff, false), 3);
	assert_int_equal(send(vm, 0xff, false), 0xf);
}

/* vCPUs above 255 start in xAPIC mode and must be reachable. */
static void large_ids(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[3];
	struct apic_msg msg = { .dest = 300, .delivery = APIC_STARTUP, .vector = 0x10 };

	c->l.id = 300;
	assert_int_equal(apic_bus_deliver(&vm->bus, NULL, &msg, NULL), 1);
	assert_int_equal(lapic_events(&c->l), LAPIC_EVENT_SIPI);
	assert_ptr_equal(apic_bus_find(&vm->bus, 300), &c->l);
	assert_ptr_equal(apic_bus_find(&vm->bus, 1), &vm->cpu[1].l);
	assert_null(apic_bus_find(&vm->bus, 3));
}

static unsigned int ipi(struct fake_vm *vm, unsigned int from, uint32_t icr, uint32_t dest)
{
	fake_set_mmio(&vm->cpu[from], 0x310, dest << 24);
	fake_set_mmio(&vm->cpu[from], 0x300, icr);
	assert_int_equal(fake_mmio(&vm->cpu[from], 0x300), icr & ~0x1000u);
	return got(vm);
}

static void ipis(void **state)
{
	struct fake_vm *vm = *state;

	assert_int_equal(ipi(vm, 0, 0x5000 | V, 2), 4);
	assert_int_equal(ipi(vm, 1, 0x44000 | V, 0), 2);
	assert_int_equal(ipi(vm, 1, 0x84000 | V, 0), 0xf);
	assert_int_equal(ipi(vm, 1, 0xc4000 | V, 0), 0xd);
	assert_int_equal(ipi(vm, 1, 0x4000 | V, 0xff), 0xf);
	/* NMI to all others, INIT and startup of one: as Linux wakes a processor. */
	ipi(vm, 0, 0xc4400, 0);
	assert_int_equal(vm->cpu[0].nmis, 0);
	assert_int_equal(vm->cpu[3].nmis, 1);
	ipi(vm, 0, 0xc500, 1);
	assert_int_equal(lapic_events(&vm->cpu[1].l), LAPIC_EVENT_INIT);
	ipi(vm, 0, 0x8500, 1);
	assert_true(lapic_take_event(&vm->cpu[1].l, LAPIC_EVENT_INIT));
	ipi(vm, 0, 0x4699, 1);
	assert_true(lapic_take_event(&vm->cpu[1].l, LAPIC_EVENT_SIPI));
	assert_int_equal(lapic_sipi_vector(&vm->cpu[1].l), 0x99);
	ipi(vm, 0, 0x4200, 2);
	assert_int_equal(vm->cpu[2].smis, 1);
}

static void x2apic_ipi_is_exact(void **state)
{
	struct fake_vm *vm = *state;

	/* For an IPI FFh is no broadcast in x2APIC mode, quirk or not. */
	all_x2apic(vm);
	lapic_write_msr(&vm->cpu[0].l, 0x830, 0xffull << 32 | V);
	assert_int_equal(got(vm), 0);
	lapic_write_msr(&vm->cpu[0].l, 0x830, 0xffffffffull << 32 | V);
	assert_int_equal(got(vm), 0xf);
}

static void lowest_priority(void **state)
{
	struct fake_vm *vm = *state;
	struct apic_msg msg = { .dest = 0xe, .logical = true, .delivery = APIC_LOWEST, .assert = true };
	struct apic_dests dests = { { 0 } };
	unsigned int seen = 0;

	for (unsigned int i = 0; i < FAKE_CPUS; i++)
		fake_set_mmio(&vm->cpu[i], 0xd0, 1u << (24 + i));
	for (unsigned int v = 0x30; v < 0x33; v++) {
		msg.vector = v;
		dests.map[0] = 0;
		assert_int_equal(apic_bus_deliver(&vm->bus, NULL, &msg, &dests), 1);
		assert_int_equal(__builtin_popcountll(dests.map[0]), 1);
		seen |= dests.map[0];
	}
	assert_int_equal(seen, 0xe);
	/* One that is disabled by software is not chosen. */
	fake_set_mmio(&vm->cpu[1], 0xf0, 0xff);
	fake_set_mmio(&vm->cpu[2], 0xf0, 0xff);
	for (unsigned int v = 0x40; v < 0x43; v++) {
		msg.vector = v;
		dests.map[0] = 0;
		assert_int_equal(apic_bus_deliver(&vm->bus, NULL, &msg, &dests), 1);
		assert_int_equal(dests.map[0], 8);
	}
	/* The redirection hint of an MSI means the same. */
	msg.delivery = APIC_FIXED;
	msg.redir_hint = true;
	assert_int_equal(apic_bus_deliver(&vm->bus, NULL, &msg, NULL), 1);
	/* A physical broadcast is for all. */
	msg = (struct apic_msg){ .dest = 0xff, .delivery = APIC_LOWEST, .vector = V, .assert = true };
	assert_int_equal(apic_bus_deliver(&vm->bus, NULL, &msg, NULL), 2);
}

static void lint0_pulse(void **state)
{
	struct fake_vm *vm = *state;

	apic_bus_pulse_lint0(&vm->bus);
	assert_int_equal(vm->cpu[1].nmis, 0);
	fake_set_mmio(&vm->cpu[1], 0x350, 0x400);
	apic_bus_pulse_lint0(&vm->bus);
	assert_int_equal(vm->cpu[1].nmis, 1);
	assert_int_equal(vm->cpu[0].nmis, 0);
}

static void msi(void **state)
{
	struct fake_vm *vm = *state;
	struct apic_msg m;

	assert_int_equal(apic_msg_from_msi(&m, 0xfee0f00c, 0x12345601, 0xc7a3, false), 0);
	assert_int_equal(m.dest, 0x0f);
	assert_true(m.logical && m.redir_hint && m.level_trig && m.assert);
	assert_int_equal(m.delivery, APIC_EXTINT);
	assert_int_equal(m.vector, 0xa3);
	/* The upper address counts only in x2APIC format, and then its low byte is reserved. */
	assert_int_equal(apic_msg_from_msi(&m, 0xfee0f000, 0x12345601, 0x31, true), -EINVAL);
	assert_int_equal(apic_msg_from_msi(&m, 0xfee0f000, 0x12345600, 0x31, true), 0);
	assert_int_equal(m.dest, 0x1234560f);
	assert_false(m.logical || m.redir_hint || m.level_trig);
	apic_msg_from_msi(&m, 0xfee02000, 0, 0x4000 | V, false);
	assert_int_equal(apic_bus_deliver(&vm->bus, NULL, &m, NULL), 1);
	assert_int_equal(got(vm), 4);
}

static void full_bus(void **state)
{
	static struct apic_bus bus;
	struct fake_vm *vm = *state;

	apic_bus_init(&bus, NULL, NULL);
	for (int i = 0; i < APIC_BUS_MAX; i++)
		assert_int_equal(apic_bus_add(&bus, &vm->cpu[0].l), i);
	assert_int_equal(apic_bus_add(&bus, &vm->cpu[0].l), -ENOSPC);
	vm->cpu[0].l.index = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT(physical), UNIT(flat), UNIT(cluster), UNIT(x2apic), UNIT(mixed), UNIT(large_ids),
		UNIT(ipis), UNIT(x2apic_ipi_is_exact), UNIT(lowest_priority), UNIT(lint0_pulse),
		UNIT(msi), UNIT(full_bus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
