// SPDX-License-Identifier: MIT
/* The 8259 pair: as Linux and SeaBIOS program it, and each command by itself. */
#include "unit.h"

static void set(struct fake_vm *vm, unsigned int pin, bool level)
{
	pic_set_irq(&vm->pic, pin, IRQ_SOURCE_USER, level);
}

static void pulse(struct fake_vm *vm, unsigned int pin)
{
	set(vm, pin, true);
	set(vm, pin, false);
}

/* As Linux's init_8259A() does: vectors 30h and 38h, all unmasked but as @imr says. */
static void init_linux(struct fake_vm *vm, uint16_t imr, uint8_t icw4)
{
	fake_out(vm, 0x21, 0xff);
	fake_out(vm, 0x20, 0x11);
	fake_out(vm, 0x21, 0x30);
	fake_out(vm, 0x21, 0x04);
	fake_out(vm, 0x21, icw4);
	fake_out(vm, 0xa0, 0x11);
	fake_out(vm, 0xa1, 0x38);
	fake_out(vm, 0xa1, 0x02);
	fake_out(vm, 0xa1, icw4);
	fake_out(vm, 0x21, imr);
	fake_out(vm, 0xa1, imr >> 8);
}

static void linux_sequence(void **state)
{
	struct fake_vm *vm = *state;

	init_linux(vm, 0xfffa, 1);		/* the timer and the slave */
	assert_int_equal(fake_in(vm, 0x21), 0xfa);
	assert_int_equal(pic_set_irq(&vm->pic, 1, IRQ_SOURCE_USER, true), -1);
	set(vm, 1, false);
	assert_false(pic_output(&vm->pic));
	assert_int_equal(pic_set_irq(&vm->pic, 0, IRQ_SOURCE_USER, true), 1);
	assert_true(pic_output(&vm->pic));
	assert_int_equal(vm->raised, 1);
	assert_int_equal(pic_set_irq(&vm->pic, 0, IRQ_SOURCE_USER, true), 1);
	set(vm, 0, false);
	assert_int_equal(pic_set_irq(&vm->pic, 0, IRQ_SOURCE_USER, true), 0);	/* coalesced */
	assert_int_equal(pic_ack(&vm->pic), 0x30);
	assert_false(pic_output(&vm->pic));
	/* mask_and_ack_8259A(): mask, then a specific EOI. */
	fake_out(vm, 0x21, 0xfb);
	fake_out(vm, 0x20, 0x60);
	assert_int_equal(vm->acked[KVM_IRQCHIP_PIC_MASTER][0], 1);
	assert_true(vm->masked[KVM_IRQCHIP_PIC_MASTER][0] >= 1);
	set(vm, 0, false);
	fake_out(vm, 0x21, 0xfa);
	assert_true(vm->unmasked[KVM_IRQCHIP_PIC_MASTER][0] >= 1);
	pulse(vm, 0);
	assert_int_equal(pic_ack(&vm->pic), 0x30);
}

/* SeaBIOS: vectors 08h and 70h, one EOI to each chip. */
static void seabios_slave(void **state)
{
	struct fake_vm *vm = *state;

	init_linux(vm, 0, 1);
	fake_out(vm, 0x20, 0x11);
	fake_out(vm, 0x21, 0x08);
	fake_out(vm, 0x21, 0x04);
	fake_out(vm, 0x21, 0x01);
	fake_out(vm, 0xa0, 0x11);
	fake_out(vm, 0xa1, 0x70);
	fake_out(vm, 0xa1, 0x02);
	fake_out(vm, 0xa1, 0x01);
	pulse(vm, 8);
	assert_true(pic_output(&vm->pic));
	assert_int_equal(pic_ack(&vm->pic), 0x70);
	fake_out(vm, 0x20, 0x0b);
	assert_int_equal(fake_in(vm, 0x20), 0x04);
	fake_out(vm, 0xa0, 0x0b);
	assert_int_equal(fake_in(vm, 0xa0), 0x01);
	fake_out(vm, 0xa0, 0x20);
	assert_int_equal(vm->acked[KVM_IRQCHIP_PIC_SLAVE][8], 1);
	fake_out(vm, 0x20, 0x20);
	assert_int_equal(fake_in(vm, 0x20), 0);
	assert_int_equal(fake_in(vm, 0xa0), 0);
}

static void nesting(void **state)
{
	struct fake_vm *vm = *state;

	init_linux(vm, 0, 1);
	pulse(vm, 4);
	pulse(vm, 6);
	assert_int_equal(pic_ack(&vm->pic), 0x34);
	assert_false(pic_output(&vm->pic));
	pulse(vm, 1);
	assert_true(pic_output(&vm->pic));
	assert_int_equal(pic_ack(&vm->pic), 0x31);
	fake_out(vm, 0x20, 0x20);
	assert_false(pic_output(&vm->pic));
	fake_out(vm, 0x20, 0x20);
	assert_int_equal(pic_ack(&vm->pic), 0x36);
}

static void spurious(void **state)
{
	struct fake_vm *vm = *state;

	init_linux(vm, 0, 1);
	assert_int_equal(pic_ack(&vm->pic), 0x37);
	/* A level on the slave that goes away between INTR and INTA. */
	fake_out(vm, 0x4d1, 0x02);
	set(vm, 9, true);
	set(vm, 9, false);
	assert_int_equal(pic_ack(&vm->pic), 0x3f);
	fake_out(vm, 0x20, 0x0b);
	assert_int_equal(fake_in(vm, 0x20), 0x04);
}

static void level_triggered(void **state)
{
	struct fake_vm *vm = *state;

	fake_out(vm, 0x4d0, 0xff);
	fake_out(vm, 0x4d1, 0xff);
	assert_int_equal(fake_in(vm, 0x4d0), 0xf8);
	assert_int_equal(fake_in(vm, 0x4d1), 0xde);
	init_linux(vm, 0, 1);
	set(vm, 5, true);
	assert_int_equal(pic_ack(&vm->pic), 0x35);
	assert_false(pic_output(&vm->pic));
	fake_out(vm, 0x20, 0x65);
	assert_true(pic_output(&vm->pic));
	set(vm, 5, false);
	assert_false(pic_output(&vm->pic));
	/* Two sources on one line. */
	pic_set_irq(&vm->pic, 5, IRQ_SOURCE_USER, true);
	pic_set_irq(&vm->pic, 5, IRQ_SOURCE_RESAMPLE, true);
	pic_set_irq(&vm->pic, 5, IRQ_SOURCE_USER, false);
	assert_true(pic_output(&vm->pic));
	pic_set_irq(&vm->pic, 5, IRQ_SOURCE_RESAMPLE, false);
	assert_false(pic_output(&vm->pic));
}

static void rotation(void **state)
{
	struct fake_vm *vm = *state;

	init_linux(vm, 0, 1);
	/* Set priority: pin 3 lowest, so 4 highest. */
	fake_out(vm, 0x20, 0xc3);
	pulse(vm, 1);
	pulse(vm, 4);
	assert_int_equal(pic_ack(&vm->pic), 0x34);
	/* Rotate on a non-specific EOI: 4 becomes lowest. */
	fake_out(vm, 0x20, 0xa0);
	pulse(vm, 4);
	assert_int_equal(pic_ack(&vm->pic), 0x31);
	/* Rotate on a specific one: 1 becomes lowest. */
	fake_out(vm, 0x20, 0xe1);
	assert_int_equal(pic_ack(&vm->pic), 0x34);
	fake_out(vm, 0x20, 0x20);
	pulse(vm, 0);
	pulse(vm, 2);
	assert_int_equal(pic_ack(&vm->pic), 0x3f);	/* the cascade: nothing behind it */
}

static void auto_eoi(void **state)
{
	struct fake_vm *vm = *state;

	init_linux(vm, 0, 3);
	pulse(vm, 3);
	assert_int_equal(pic_ack(&vm->pic), 0x33);
	assert_int_equal(vm->acked[KVM_IRQCHIP_PIC_MASTER][3], 1);
	fake_out(vm, 0x20, 0x0b);
	assert_int_equal(fake_in(vm, 0x20), 0);
	/* Rotating. */
	fake_out(vm, 0x20, 0x80);
	pulse(vm, 3);
	assert_int_equal(pic_ack(&vm->pic), 0x33);
	pulse(vm, 3);
	pulse(vm, 5);
	assert_int_equal(pic_ack(&vm->pic), 0x35);
	fake_out(vm, 0x20, 0x00);
	/* ICW1 without ICW4 ends it. */
	fake_out(vm, 0x20, 0x10);
	fake_out(vm, 0x21, 0x40);
	fake_out(vm, 0x21, 0x04);
	fake_out(vm, 0x21, 0xaa);
	assert_int_equal(fake_in(vm, 0x21), 0xaa);
}

static void special_mask(void **state)
{
	struct fake_vm *vm = *state;

	init_linux(vm, 0, 1);
	pulse(vm, 3);
	assert_int_equal(pic_ack(&vm->pic), 0x33);
	fake_out(vm, 0x21, 0x08);
	pulse(vm, 6);
	assert_false(pic_output(&vm->pic));
	fake_out(vm, 0x20, 0x68);
	pulse(vm, 7);
	assert_true(pic_output(&vm->pic));
	assert_int_equal(pic_ack(&vm->pic), 0x36);
	fake_out(vm, 0x20, 0x66);
	fake_out(vm, 0x20, 0x48);
	assert_int_equal(pic_ack(&vm->pic), 0x37);
}

static void special_fully_nested(void **state)
{
	struct fake_vm *vm = *state;

	init_linux(vm, 0, 0x11);
	pulse(vm, 12);
	assert_int_equal(pic_ack(&vm->pic), 0x3c);
	/* A higher one of the slave comes through while the slave is in service. */
	pulse(vm, 9);
	assert_true(pic_output(&vm->pic));
	assert_int_equal(pic_ack(&vm->pic), 0x39);
}

static void polling(void **state)
{
	struct fake_vm *vm = *state;

	init_linux(vm, 0, 1);
	fake_out(vm, 0x20, 0x0c);
	assert_int_equal(fake_in(vm, 0x20), 7);
	pulse(vm, 4);
	fake_out(vm, 0x20, 0x0c);
	assert_int_equal(fake_in(vm, 0x20), 0x84);
	assert_int_equal(vm->acked[KVM_IRQCHIP_PIC_MASTER][4], 1);
	assert_false(pic_output(&vm->pic));
	/* Only the next read is a poll. */
	assert_int_equal(fake_in(vm, 0x21), 0);
	pulse(vm, 10);
	fake_out(vm, 0xa0, 0x0c);
	assert_int_equal(fake_in(vm, 0xa0), 0x82);
	assert_false(pic_output(&vm->pic));
}

static void icw1_loses_edges(void **state)
{
	struct fake_vm *vm = *state;

	init_linux(vm, 0, 1);
	pulse(vm, 0);
	fake_out(vm, 0x20, 0x11);
	assert_false(pic_output(&vm->pic));
	/* Who waited for it is told. */
	assert_int_equal(vm->acked[KVM_IRQCHIP_PIC_MASTER][0], 1);
	/* But not where no vCPU takes the PIC's interrupts. */
	init_linux(vm, 0, 1);
	pulse(vm, 0);
	fake_set_mmio(&vm->cpu[0], 0x350, 0x10000);
	fake_out(vm, 0x20, 0x11);
	assert_int_equal(vm->acked[KVM_IRQCHIP_PIC_MASTER][0], 1);
}

static void ports_and_sizes(void **state)
{
	struct fake_vm *vm = *state;
	uint32_t v = 0xffffffff;

	assert_int_equal(pic_read(&vm->pic, 0x22, 1, &v), -EOPNOTSUPP);
	assert_int_equal(pic_write(&vm->pic, 0x4d2, 1, &v), -EOPNOTSUPP);
	assert_int_equal(pic_write(&vm->pic, 0x21, 2, &v), 0);
	assert_int_equal(fake_in(vm, 0x21), 0);
	assert_int_equal(pic_read(&vm->pic, 0x21, 4, &v), 0);
	assert_int_equal(v, 0);
}

static void state_round_trip(void **state)
{
	struct fake_vm *vm = *state;
	struct kvm_pic_state s, junk;

	init_linux(vm, 0, 1);
	pulse(vm, 3);
	pic_get_state(&vm->pic, 0, &s);
	assert_int_equal(s.irr, 8);
	assert_int_equal(s.irq_base, 0x30);
	assert_int_equal(s.elcr_mask, 0xf8);
	assert_int_equal(pic_ack(&vm->pic), 0x33);
	pic_set_state(&vm->pic, 0, &s);
	assert_true(pic_output(&vm->pic));
	assert_int_equal(pic_ack(&vm->pic), 0x33);
	/* Anything may come from userspace. */
	memset(&junk, 0xff, sizeof(junk));
	pic_set_state(&vm->pic, 0, &junk);
	pic_set_state(&vm->pic, 1, &junk);
	for (unsigned int v = 0; v < 256; v++) {
		fake_out(vm, 0x20 + 0x80 * (v & 1), v);
		fake_out(vm, 0x21 + 0x80 * (v & 1), v);
		fake_in(vm, 0x20);
		pic_ack(&vm->pic);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT(linux_sequence), UNIT(seabios_slave), UNIT(nesting), UNIT(spurious),
		UNIT(level_triggered), UNIT(rotation), UNIT(auto_eoi), UNIT(special_mask),
		UNIT(special_fully_nested), UNIT(polling), UNIT(icw1_loses_edges),
		UNIT(ports_and_sizes), UNIT(state_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
