// SPDX-License-Identifier: MIT
/* The local APIC in xAPIC mode: registers, priorities, EOI, modes, reset, state. */
#include "unit.h"

static void reset_values(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[1];

	lapic_reset(&c->l, false);
	assert_int_equal(fake_mmio(c, 0x20), 1u << 24);
	assert_int_equal(fake_mmio(c, 0x30), 0x50014);
	assert_int_equal(fake_mmio(c, 0xe0), 0xffffffff);
	assert_int_equal(fake_mmio(c, 0xf0), 0xff);
	for (unsigned int off = 0x320; off <= 0x370; off += 0x10)
		assert_int_equal(fake_mmio(c, off), 0x10000);
	assert_int_equal(lapic_base(&c->l), LAPIC_DEFAULT_BASE | LAPIC_BASE_ENABLE);
	/* The boot processor, and its LINT0 for the PIC. */
	c = &vm->cpu[0];
	lapic_reset(&c->l, false);
	assert_int_equal(lapic_base(&c->l), LAPIC_DEFAULT_BASE | LAPIC_BASE_ENABLE | LAPIC_BASE_BSP);
	assert_int_equal(fake_mmio(c, 0x350), 0x700);
	vm->bus.lint0_reenabled = false;
	lapic_reset(&c->l, false);
	assert_int_equal(fake_mmio(c, 0x350), 0x10000);
}

/* The entry for corrected machine checks is there only where the CPU has them. */
static void cmci_entry(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[1];

	fake_set_mmio(c, 0xf0, 0x1ff);
	fake_set_mmio(c, 0x2f0, 0x55);
	assert_int_equal(fake_mmio(c, 0x2f0), 0);
	lapic_set_cmci(&c->l, true);
	assert_int_equal(fake_mmio(c, 0x30), 0x60014);
	assert_int_equal(fake_mmio(c, 0x2f0), 0x10000);
	assert_int_equal(lapic_deliver_lvt(&c->l, LAPIC_LVT_CMCI), 0);
	fake_set_mmio(c, 0x2f0, 0xfffe0055);
	assert_int_equal(fake_mmio(c, 0x2f0), 0x55);
	assert_int_equal(lapic_deliver_lvt(&c->l, LAPIC_LVT_CMCI), 1);
	assert_int_equal(fake_mmio(c, 0x220), 1u << 21);
	/* Software disabling masks it too, and a reset keeps it. */
	fake_set_mmio(c, 0xf0, 0xff);
	assert_int_equal(fake_mmio(c, 0x2f0), 0x10055);
	lapic_reset(&c->l, true);
	assert_int_equal(fake_mmio(c, 0x2f0), 0x10000);
	assert_int_equal(fake_mmio(c, 0x30), 0x60014);
	lapic_set_cmci(&c->l, false);
	assert_int_equal(fake_mmio(c, 0x30), 0x50014);
	assert_int_equal(fake_mmio(c, 0x2f0), 0);
}

static void init_keeps_id_and_base(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[1];

	fake_set_mmio(c, 0x20, 9u << 24);
	fake_set_mmio(c, 0x80, 0x40);
	lapic_reset(&c->l, true);
	assert_int_equal(fake_mmio(c, 0x20), 9u << 24);
	assert_int_equal(fake_mmio(c, 0x80), 0);
	fake_x2apic(c);
	lapic_reset(&c->l, true);
	assert_true(lapic_in_x2apic(&c->l));
	lapic_reset(&c->l, false);
	assert_false(lapic_in_x2apic(&c->l));
	assert_int_equal(fake_mmio(c, 0x20), 1u << 24);
}

static void register_masks(void **state)
{
	static const struct {
		unsigned int off;
		uint32_t want;		/* after writing ~0 */
	} row[] = {
		{ 0x20, 0xff000000 }, { 0x80, 0xff }, { 0xd0, 0xff000000 }, { 0xe0, 0xffffffff },
		{ 0xf0, 0x3ff }, { 0x310, 0xff000000 }, { 0x320, 0x700ff }, { 0x330, 0x107ff },
		{ 0x340, 0x107ff }, { 0x350, 0x1a7ff }, { 0x360, 0x1a7ff }, { 0x370, 0x100ff },
		{ 0x3e0, 0xb },
		/* read-only */
		{ 0x30, 0x50014 }, { 0x90, 0 }, { 0xa0, 0xff }, { 0x100, 0 }, { 0x180, 0 }, { 0x200, 0 },
		{ 0x390, 0 },
	};
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[0];

	for (unsigned int i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		fake_set_mmio(c, row[i].off, ~0u);
		assert_int_equal(fake_mmio(c, row[i].off), row[i].want);
	}
}

static void access_sizes(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[3];
	uint8_t byte = 0, quad[8];
	uint16_t word = 1;
	uint32_t v = 0x55;

	assert_int_equal(lapic_read(&c->l, LAPIC_DEFAULT_BASE + 0x23, 1, &byte), 0);
	assert_int_equal(byte, 3);
	assert_int_equal(lapic_read(&c->l, LAPIC_DEFAULT_BASE + 0x22, 2, &word), 0);
	assert_int_equal(word, 0x300);
	memset(quad, 0xaa, sizeof(quad));
	assert_int_equal(lapic_read(&c->l, LAPIC_DEFAULT_BASE + 0x20, 8, quad), 0);
	for (unsigned int i = 0; i < 8; i++)
		assert_int_equal(quad[i], 0);
	/* Only 32-bit writes at a 16-byte boundary. */
	lapic_write(&c->l, LAPIC_DEFAULT_BASE + 0x80, 1, &v);
	lapic_write(&c->l, LAPIC_DEFAULT_BASE + 0x84, 4, &v);
	assert_int_equal(fake_mmio(c, 0x80), 0);
	assert_int_equal(lapic_read(&c->l, LAPIC_DEFAULT_BASE - 4, 4, &v), -EOPNOTSUPP);
	assert_int_equal(lapic_read(&c->l, LAPIC_DEFAULT_BASE + 0x1000, 4, &v), -EOPNOTSUPP);
}

static void page_moves_and_hides(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[0];
	uint32_t v;

	assert_int_equal(lapic_set_base(&c->l, 0xd0000000 | LAPIC_BASE_ENABLE, false), 0);
	assert_int_equal(lapic_read(&c->l, LAPIC_DEFAULT_BASE + 0x30, 4, &v), -EOPNOTSUPP);
	assert_int_equal(lapic_read(&c->l, 0xd0000030, 4, &v), 0);
	assert_int_equal(v, 0x50014);
	/* Off: a hole in the page, or no page, as the quirk says. */
	assert_int_equal(lapic_set_base(&c->l, 0xd0000000, false), 0);
	assert_int_equal(lapic_read(&c->l, 0xd0000030, 4, &v), 0);
	assert_int_equal(v, 0xffffffff);
	assert_int_equal(lapic_write(&c->l, 0xd0000030, 4, &v), 0);
	vm->bus.mmio_hole = false;
	assert_int_equal(lapic_read(&c->l, 0xd0000030, 4, &v), -EOPNOTSUPP);
	assert_int_equal(lapic_write(&c->l, 0xd0000030, 4, &v), -EOPNOTSUPP);
}

static void priorities(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[0];

	assert_false(lapic_has_pending(&c->l));
	assert_int_equal(lapic_ack(&c->l), -1);
	assert_int_equal(fake_fixed(c, 0x41, false), 1);
	assert_int_equal(fake_fixed(c, 0x52, false), 1);
	assert_true(lapic_has_pending(&c->l));
	assert_int_equal(c->kicks, 2);
	assert_int_equal(lapic_pending_vector(&c->l), 0x52);
	assert_int_equal(lapic_ack(&c->l), 0x52);
	assert_int_equal(fake_mmio(c, 0xa0), 0x50);
	/* 41h waits for the EOI; 5Fh is of the class in service; 60h is above it. */
	assert_int_equal(lapic_pending_vector(&c->l), -1);
	fake_fixed(c, 0x5f, false);
	assert_int_equal(lapic_pending_vector(&c->l), -1);
	fake_fixed(c, 0x60, false);
	assert_int_equal(lapic_ack(&c->l), 0x60);
	assert_int_equal(fake_mmio(c, 0x130), 1);
	assert_int_equal(fake_mmio(c, 0x120), 1u << 0x12);
	c->requests = 0;
	fake_set_mmio(c, 0xb0, 0);
	assert_int_equal(c->requests, 0);
	fake_set_mmio(c, 0xb0, 0);
	assert_int_equal(c->requests, 1);
	assert_int_equal(lapic_ack(&c->l), 0x5f);
	assert_int_equal(lapic_eoi(&c->l), 0x5f);
	assert_int_equal(lapic_ack(&c->l), 0x41);
	assert_false(lapic_has_pending(&c->l));
	assert_int_equal(lapic_eoi(&c->l), 0x41);
	assert_int_equal(lapic_eoi(&c->l), -1);
}

static void task_priority(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[0];

	fake_set_mmio(c, 0x80, 0x45);
	assert_int_equal(c->tpr_writes, 1);
	assert_int_equal(fake_mmio(c, 0x80), 0x45);
	assert_int_equal(c->tpr_reads, 1);
	assert_int_equal(fake_mmio(c, 0xa0), 0x45);
	assert_int_equal(lapic_get_cr8(&c->l), 4);
	fake_fixed(c, 0x4f, false);
	assert_int_equal(lapic_pending_vector(&c->l), -1);
	c->requests = 0;
	lapic_set_cr8(&c->l, 3);
	assert_int_equal(c->requests, 1);
	assert_int_equal(fake_mmio(c, 0x80), 0x30);
	assert_int_equal(lapic_pending_vector(&c->l), 0x4f);
	/* In service of the same class, PPR is TPR whole; of a higher, its class. */
	lapic_set_tpr(&c->l, 0x38);
	assert_int_equal(lapic_ack(&c->l), 0x4f);
	assert_int_equal(fake_mmio(c, 0xa0), 0x40);
	lapic_set_tpr(&c->l, 0x4c);
	assert_int_equal(fake_mmio(c, 0xa0), 0x4c);
}

static void disabled_discards(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[0];
	struct apic_msg nmi = { .delivery = APIC_NMI };

	fake_set_mmio(c, 0x350, 0x41);
	fake_set_mmio(c, 0xf0, 0xff);
	assert_int_equal(fake_mmio(c, 0x350), 0x10041);
	assert_int_equal(fake_fixed(c, 0x41, false), 0);
	assert_int_equal(lapic_accept(&c->l, &nmi), 1);
	assert_int_equal(c->nmis, 1);
	/* While it is disabled the masks stay. */
	fake_set_mmio(c, 0x350, 0x41);
	assert_int_equal(fake_mmio(c, 0x350), 0x10041);
	fake_set_mmio(c, 0xf0, 0x1ff);
	assert_int_equal(fake_mmio(c, 0x350), 0x10041);
	/* What was pending survives. */
	fake_fixed(c, 0x51, false);
	fake_set_mmio(c, 0xf0, 0xff);
	assert_int_equal(lapic_ack(&c->l), 0x51);
	lapic_set_base(&c->l, LAPIC_DEFAULT_BASE, false);
	assert_int_equal(fake_fixed(c, 0x61, false), 0);
	assert_int_equal(lapic_pending_vector(&c->l), -1);
}

static void level_and_eoi_broadcast(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[0];
	const uint64_t wanted[4] = { 0, 1ull << (0x51 - 64), 0, 0 };

	apic_bus_set_eoi_vectors(&vm->bus, wanted);
	assert_true(lapic_eoi_wanted(&c->l, 0x51));
	assert_false(lapic_eoi_wanted(&c->l, 0x61));
	fake_fixed(c, 0x51, true);
	fake_fixed(c, 0x61, true);
	assert_int_equal(fake_mmio(c, 0x1a0), 1u << 0x11);
	lapic_ack(&c->l);
	lapic_eoi(&c->l);
	assert_int_equal(vm->nr_eoi, 0);
	lapic_ack(&c->l);
	lapic_eoi(&c->l);
	assert_int_equal(vm->nr_eoi, 1);
	/* An edge of the same vector clears its TMR bit. */
	fake_fixed(c, 0x51, false);
	assert_int_equal(fake_mmio(c, 0x1a0), 0);
	/* A de-asserting level message is none. */
	assert_int_equal(lapic_accept(&c->l, &(struct apic_msg){ .vector = 0x71, .level_trig = true }), 0);
}

/* Who watches a vector hears of its end, and of no other's; one that ends by itself is never in service. */
static void watched_vectors(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[0];
	const uint64_t none[4] = { 0 }, watched[4] = { 0, 3ull << (0x51 - 64), 0, 0 };
	const uint64_t auto_eoi[4] = { 0, 2ull << (0x51 - 64), 0, 0 };

	lapic_set_watched(&c->l, watched, auto_eoi);
	assert_true(lapic_eoi_wanted(&c->l, 0x51));
	assert_false(lapic_eoi_wanted(&c->l, 0x61));
	fake_fixed(c, 0x51, false);
	assert_int_equal(lapic_ack(&c->l), 0x51);
	assert_int_equal(c->ended, 0);
	fake_set_mmio(c, 0xb0, 0);
	assert_int_equal(c->ended, 1);
	assert_int_equal(c->last_ended, 0x51);
	assert_int_equal(c->ended_auto, 0);
	fake_fixed(c, 0x61, false);
	lapic_ack(&c->l);
	lapic_eoi(&c->l);
	assert_int_equal(c->ended, 1);
	/* 52h is over as it is taken: PPR stays, an EOI finds nothing, and a lower one follows without it. */
	fake_fixed(c, 0x52, false);
	fake_fixed(c, 0x41, false);
	c->requests = 0;
	assert_int_equal(lapic_ack(&c->l), 0x52);
	assert_int_equal(c->requests, 1);
	assert_int_equal(c->ended, 2);
	assert_int_equal(c->ended_auto, 1);
	assert_int_equal(fake_mmio(c, 0xa0), 0);
	assert_int_equal(lapic_highest_isr(&c->l), -1);
	assert_int_equal(lapic_eoi(&c->l), -1);
	assert_int_equal(lapic_ack(&c->l), 0x41);
	assert_int_equal(lapic_eoi(&c->l), 0x41);
	lapic_set_watched(&c->l, none, none);
	fake_fixed(c, 0x52, false);
	lapic_ack(&c->l);
	assert_int_equal(lapic_highest_isr(&c->l), 0x52);
	lapic_eoi(&c->l);
	assert_int_equal(c->ended, 2);
}

static void directed_eoi(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[0];
	const uint64_t wanted[4] = { 0, ~0ull, 0, 0 };

	/* Not offered beside KVM's own I/O APIC. */
	fake_set_mmio(c, 0xf0, 0x11ff);
	assert_int_equal(fake_mmio(c, 0xf0), 0x1ff);
	vm->bus.directed_eoi = true;
	lapic_set_features(&c->l, LAPIC_FEAT_X2APIC, 40);
	assert_int_equal(fake_mmio(c, 0x30), 0x1050014);
	fake_set_mmio(c, 0xf0, 0x11ff);
	assert_int_equal(fake_mmio(c, 0xf0), 0x11ff);
	apic_bus_set_eoi_vectors(&vm->bus, wanted);
	fake_fixed(c, 0x51, true);
	lapic_ack(&c->l);
	lapic_eoi(&c->l);
	assert_int_equal(vm->nr_eoi, 0);
}

static void errors(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[0];

	fake_set_mmio(c, 0x370, 0xfe);
	assert_int_equal(fake_fixed(c, 15, false), 0);
	assert_int_equal(fake_mmio(c, 0x280), 0);
	assert_int_equal(lapic_ack(&c->l), 0xfe);
	lapic_eoi(&c->l);
	fake_set_mmio(c, 0x280, 0);
	assert_int_equal(fake_mmio(c, 0x280), 0x40);
	/* Writing what is read-only, reading what is write-only: nothing. */
	fake_set_mmio(c, 0x200, 1);
	fake_mmio(c, 0xb0);
	fake_set_mmio(c, 0x280, 0);
	assert_int_equal(fake_mmio(c, 0x280), 0);
	/* Sending one, and touching a register that is none. */
	fake_set_mmio(c, 0x300, 0x40005);
	fake_mmio(c, 0x40);
	fake_set_mmio(c, 0x280, 0);
	assert_int_equal(fake_mmio(c, 0x280), 0xa0);
	fake_set_mmio(c, 0x280, 0);
	assert_int_equal(fake_mmio(c, 0x280), 0);
	/* An illegal vector for the error itself ends there. */
	lapic_ack(&c->l);
	lapic_eoi(&c->l);
	fake_set_mmio(c, 0x370, 3);
	fake_fixed(c, 2, false);
	assert_int_equal(lapic_ack(&c->l), -1);
}

static void local_sources(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[0];

	assert_int_equal(lapic_deliver_lvt(&c->l, LAPIC_LVT_PMC), 0);
	fake_set_mmio(c, 0x340, 0x400);
	assert_int_equal(lapic_deliver_lvt(&c->l, LAPIC_LVT_PMC), 1);
	assert_int_equal(c->nmis, 1);
	assert_int_equal(fake_mmio(c, 0x340), 0x10400);
	lapic_set_features(&c->l, 0, 40);
	fake_set_mmio(c, 0x340, 0x400);
	lapic_deliver_lvt(&c->l, LAPIC_LVT_PMC);
	assert_int_equal(fake_mmio(c, 0x340), 0x400);
	fake_set_mmio(c, 0x360, 0x200);
	assert_int_equal(lapic_deliver_lvt(&c->l, LAPIC_LVT_LINT1), 1);
	assert_int_equal(c->smis, 1);
}

static void pic_through_lint0(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[0];

	fake_set_mmio(c, 0x350, 0x10700);
	assert_false(lapic_accept_pic_intr(&c->l));
	fake_set_mmio(c, 0x350, 0x700);
	assert_true(lapic_accept_pic_intr(&c->l));
	fake_set_mmio(c, 0x350, 0x41);
	assert_false(lapic_accept_pic_intr(&c->l));
	lapic_set_base(&c->l, LAPIC_DEFAULT_BASE, false);
	assert_true(lapic_accept_pic_intr(&c->l));
}

static void init_and_startup(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[1];
	struct apic_msg init = { .delivery = APIC_INIT, .level_trig = true, .assert = true };
	struct apic_msg sipi = { .delivery = APIC_STARTUP, .vector = 0x9a };

	assert_int_equal(lapic_accept(&c->l, &sipi), 1);
	assert_int_equal(lapic_events(&c->l), LAPIC_EVENT_SIPI);
	assert_int_equal(lapic_accept(&c->l, &init), 1);
	assert_int_equal(lapic_events(&c->l), LAPIC_EVENT_INIT);
	init.assert = false;
	assert_int_equal(lapic_accept(&c->l, &init), 0);
	lapic_accept(&c->l, &sipi);
	assert_int_equal(c->kicks, 3);
	assert_true(lapic_take_event(&c->l, LAPIC_EVENT_INIT));
	assert_false(lapic_take_event(&c->l, LAPIC_EVENT_INIT));
	assert_true(lapic_take_event(&c->l, LAPIC_EVENT_SIPI));
	assert_int_equal(lapic_sipi_vector(&c->l), 0x9a);
	assert_int_equal(lapic_accept(&c->l, &(struct apic_msg){ .delivery = APIC_REMOTE_READ }), 1);
	assert_int_equal(c->unhalts, 1);
	assert_int_equal(lapic_accept(&c->l, &(struct apic_msg){ .delivery = APIC_EXTINT }), 0);
}

static void state_round_trip(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *a = &vm->cpu[0], *b = &vm->cpu[1];
	struct kvm_lapic_state s, t;

	fake_set_mmio(a, 0x80, 0x20);
	fake_set_mmio(a, 0xd0, 0x08000000);
	fake_set_mmio(a, 0x360, 0x400);
	fake_fixed(a, 0x61, true);
	fake_fixed(a, 0x71, false);
	assert_int_equal(lapic_ack(&a->l), 0x71);
	lapic_get_state(&a->l, &s);
	assert_int_equal(lapic_set_state(&b->l, &s), 0);
	lapic_get_state(&b->l, &t);
	assert_memory_equal(&s, &t, sizeof(s));
	assert_int_equal(lapic_pending_vector(&b->l), -1);
	assert_int_equal(lapic_eoi(&b->l), 0x71);
	assert_int_equal(lapic_ack(&b->l), 0x61);
	/* The version is ours, whatever userspace says. */
	memset(&s, 0xff, sizeof(s));
	assert_int_equal(lapic_set_state(&b->l, &s), 0);
	assert_int_equal(fake_mmio(b, 0x30), 0x50014);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT(reset_values), UNIT(cmci_entry), UNIT(init_keeps_id_and_base), UNIT(register_masks),
		UNIT(access_sizes), UNIT(page_moves_and_hides), UNIT(priorities), UNIT(task_priority),
		UNIT(disabled_discards), UNIT(level_and_eoi_broadcast), UNIT(watched_vectors), UNIT(directed_eoi),
		UNIT(errors), UNIT(local_sources), UNIT(pic_through_lint0), UNIT(init_and_startup),
		UNIT(state_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
