// SPDX-License-Identifier: MIT
/* x2APIC mode: transitions, every register's reads, writes and reserved bits, IDs in the state. */
#include "unit.h"

#define XAPIC	(LAPIC_DEFAULT_BASE | LAPIC_BASE_ENABLE)
#define X2APIC	(XAPIC | LAPIC_BASE_X2APIC)
#define OFF	LAPIC_DEFAULT_BASE
#define INVALID	(LAPIC_DEFAULT_BASE | LAPIC_BASE_X2APIC)

/* SDM 3A, figure 11-25; the host may do what the guest may not. */
static void transitions(void **state)
{
	static const struct {
		uint64_t from, to;
		int guest, host;
	} row[] = {
		{ OFF, OFF, 0, 0 }, { OFF, XAPIC, 0, 0 }, { OFF, X2APIC, -EINVAL, 0 },
		{ OFF, INVALID, -EINVAL, -EINVAL },
		{ XAPIC, OFF, 0, 0 }, { XAPIC, XAPIC, 0, 0 }, { XAPIC, X2APIC, 0, 0 },
		{ XAPIC, INVALID, -EINVAL, -EINVAL },
		{ X2APIC, OFF, 0, 0 }, { X2APIC, XAPIC, -EINVAL, 0 }, { X2APIC, X2APIC, 0, 0 },
		{ X2APIC, INVALID, -EINVAL, -EINVAL },
	};
	struct fake_vm *vm = *state;
	struct lapic *l = &vm->cpu[1].l;

	for (unsigned int i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		assert_int_equal(lapic_set_base(l, row[i].from, true), 0);
		assert_int_equal(lapic_set_base(l, row[i].to, false), row[i].guest);
		assert_int_equal(lapic_base(l), row[i].guest ? row[i].from : row[i].to);
		assert_int_equal(lapic_set_base(l, row[i].from, true), 0);
		assert_int_equal(lapic_set_base(l, row[i].to, true), row[i].host);
	}
}

static void base_reserved_bits(void **state)
{
	struct fake_vm *vm = *state;
	struct lapic *l = &vm->cpu[1].l;

	for (unsigned int bit = 0; bit < 64; bit++) {
		int want = bit < 8 || bit == 9 || bit >= 40 ? -EINVAL : 0;

		assert_int_equal(lapic_set_base(l, XAPIC | 1ull << bit, true), want);
	}
	lapic_set_features(l, 0, 52);
	assert_int_equal(lapic_set_base(l, X2APIC, true), -EINVAL);
	assert_int_equal(lapic_set_base(l, XAPIC | 1ull << 51, true), 0);
	assert_int_equal(lapic_set_base(l, XAPIC | 1ull << 52, true), -EINVAL);
}

static void ids(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[3];
	uint64_t v;

	fake_set_mmio(c, 0x20, 7u << 24);
	fake_set_mmio(c, 0xd0, 1u << 24);
	fake_x2apic(c);
	assert_int_equal(lapic_read_msr(&c->l, 0x802, &v), 0);
	assert_int_equal(v, 3);
	assert_int_equal(lapic_read_msr(&c->l, 0x80d, &v), 0);
	assert_int_equal(v, 1u << 3);
	/* Through "disabled" back to xAPIC: the ID is the vCPU's again. */
	lapic_set_base(&c->l, OFF, false);
	lapic_set_base(&c->l, XAPIC, false);
	assert_int_equal(fake_mmio(c, 0x20), 3u << 24);
}

enum { R = 1, W = 2 };

/* SDM 3A, table 11-6; "valid" are the bits that a write can set. */
static const struct {
	uint32_t msr, access;
	uint64_t valid;
} msr_row[] = {
	{ 0x802, R, 0 }, { 0x803, R, 0 }, { 0x808, R | W, 0xff }, { 0x80a, R, 0 }, { 0x80b, W, 0 },
	{ 0x80d, R, 0 }, { 0x80f, R | W, 0x3ff },
	{ 0x810, R, 0 }, { 0x811, R, 0 }, { 0x812, R, 0 }, { 0x813, R, 0 },
	{ 0x814, R, 0 }, { 0x815, R, 0 }, { 0x816, R, 0 }, { 0x817, R, 0 },
	{ 0x818, R, 0 }, { 0x819, R, 0 }, { 0x81a, R, 0 }, { 0x81b, R, 0 },
	{ 0x81c, R, 0 }, { 0x81d, R, 0 }, { 0x81e, R, 0 }, { 0x81f, R, 0 },
	{ 0x820, R, 0 }, { 0x821, R, 0 }, { 0x822, R, 0 }, { 0x823, R, 0 },
	{ 0x824, R, 0 }, { 0x825, R, 0 }, { 0x826, R, 0 }, { 0x827, R, 0 },
	{ 0x828, R | W, 0 },
	{ 0x830, R | W, 0xffffffff000cdfffull },	/* with bit 12, which is ignored */
	{ 0x832, R | W, 0x700ff }, { 0x833, R | W, 0x107ff }, { 0x834, R | W, 0x107ff },
	{ 0x835, R | W, 0x1a7ff }, { 0x836, R | W, 0x1a7ff }, { 0x837, R | W, 0x100ff },
	{ 0x838, R | W, 0xffffffff }, { 0x839, R, 0 }, { 0x83e, R | W, 0xb }, { 0x83f, W, 0xff },
};

static unsigned int find_row(uint32_t msr)
{
	unsigned int i = 0;

	while (i < sizeof(msr_row) / sizeof(msr_row[0]) && msr_row[i].msr != msr)
		i++;
	return i;
}

static void every_msr(void **state)
{
	struct fake_vm *vm = *state;
	struct lapic *l = &vm->cpu[0].l;
	uint64_t v;

	for (uint32_t msr = 0x800; msr <= 0x8ff; msr++) {
		assert_int_equal(lapic_read_msr(l, msr, &v), -EINVAL);
		assert_int_equal(lapic_write_msr(l, msr, 0), -EINVAL);
	}
	fake_x2apic(&vm->cpu[0]);
	for (uint32_t msr = 0x7ff; msr <= 0x900; msr++) {
		unsigned int i = find_row(msr);
		uint32_t access = i < sizeof(msr_row) / sizeof(msr_row[0]) ? msr_row[i].access : 0;

		assert_int_equal(lapic_read_msr(l, msr, &v), access & R ? 0 : -EINVAL);
		assert_int_equal(lapic_write_msr(l, msr, 0), access & W ? 0 : -EINVAL);
	}
}

/* Where any bit that does not exist is #GP; elsewhere, as with KVM, only those of the upper half are. */
static bool strict(uint32_t msr)
{
	return msr == 0x828 || msr == 0x830 || msr == 0x83f;
}

static void every_reserved_bit(void **state)
{
	struct fake_vm *vm = *state;
	struct lapic *l = &vm->cpu[0].l;

	fake_x2apic(&vm->cpu[0]);
	for (unsigned int i = 0; i < sizeof(msr_row) / sizeof(msr_row[0]); i++) {
		uint32_t msr = msr_row[i].msr;

		if (!(msr_row[i].access & W))
			continue;
		for (unsigned int bit = 0; bit < 64; bit++) {
			bool there = msr_row[i].valid >> bit & 1, taken = there || (bit < 32 && !strict(msr));
			uint64_t v;

			assert_int_equal(lapic_write_msr(l, msr, 1ull << bit), taken ? 0 : -EINVAL);
			if (!taken || !(msr_row[i].access & R) || strict(msr))
				continue;
			assert_int_equal(lapic_read_msr(l, msr, &v), 0);
			assert_int_equal(v, there ? 1ull << bit : 0);
		}
		if (msr == 0x80f)       /* software enabled again: entries do not become masked by themselves */
			assert_int_equal(lapic_write_msr(l, msr, 0x1ff), 0);
	}
	/* Without its feature there is no bit for TSC-deadline mode. */
	lapic_set_features(l, LAPIC_FEAT_X2APIC, 40);
	for (unsigned int mode = 0x20000; mode <= 0x40000; mode <<= 1) {
		uint64_t v;

		assert_int_equal(lapic_write_msr(l, 0x832, mode), 0);
		assert_int_equal(lapic_read_msr(l, 0x832, &v), 0);
		assert_int_equal(v, mode & 0x20000);
	}
}

static void icr_is_one_register(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[0];
	uint64_t v;

	for (unsigned int i = 0; i < FAKE_CPUS; i++)
		fake_x2apic(&vm->cpu[i]);
	assert_int_equal(lapic_write_msr(&c->l, 0x830, 2ull << 32 | 0x1051), 0);
	assert_int_equal(lapic_read_msr(&c->l, 0x830, &v), 0);
	assert_int_equal(v, 2ull << 32 | 0x51);
	assert_int_equal(lapic_ack(&vm->cpu[2].l), 0x51);
	assert_int_equal(lapic_write_msr(&c->l, 0x83f, 0x61), 0);
	assert_int_equal(lapic_ack(&c->l), 0x61);
	/* A self IPI leaves the ICR alone. */
	assert_int_equal(lapic_read_msr(&c->l, 0x830, &v), 0);
	assert_int_equal(v, 2ull << 32 | 0x51);
}

static void page_is_gone(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[0];

	fake_x2apic(c);
	assert_int_equal(fake_mmio(c, 0x30), 0xffffffff);
	fake_set_mmio(c, 0x80, 0x20);
	assert_int_equal(lapic_get_cr8(&c->l), 0);
}

static void id_in_state(void **state)
{
	struct fake_vm *vm = *state;
	struct fake_cpu *c = &vm->cpu[2];
	struct kvm_lapic_state s;
	uint32_t id, wrong = 5;

	fake_x2apic(c);
	lapic_get_state(&c->l, &s);
	memcpy(&id, s.regs + 0x20, 4);
	assert_int_equal(id, 2u << 24);
	assert_int_equal(lapic_set_state(&c->l, &s), 0);
	vm->bus.x2apic_format = true;
	lapic_get_state(&c->l, &s);
	memcpy(&id, s.regs + 0x20, 4);
	assert_int_equal(id, 2);
	assert_int_equal(lapic_set_state(&c->l, &s), 0);
	memcpy(s.regs + 0x20, &wrong, 4);
	assert_int_equal(lapic_set_state(&c->l, &s), -EINVAL);
	/* The logical ID follows from the ID, whatever is in the state. */
	memcpy(s.regs + 0x20, &id, 4);
	memset(s.regs + 0xd0, 0xee, 4);
	assert_int_equal(lapic_set_state(&c->l, &s), 0);
	lapic_get_state(&c->l, &s);
	memcpy(&id, s.regs + 0xd0, 4);
	assert_int_equal(id, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT(transitions), UNIT(base_reserved_bits), UNIT(ids), UNIT(every_msr),
		UNIT(every_reserved_bit), UNIT(icr_is_one_register), UNIT(page_is_gone),
		UNIT(id_in_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
