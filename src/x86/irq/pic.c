// SPDX-License-Identifier: MIT
/*
 * pic.c - a pair of 8259A (Intel's data sheet 231468) as KVM models it.
 *
 * The state is KVM's struct kvm_pic_state itself.  What is to be reported,
 * acknowledged pins and a rising output, is collected under the lock and
 * reported behind it, since who hears of it may drive pins.
 */
#include "x86/irq/pic.h"

#include <errno.h>
#include <string.h>

#define NONE	8	/* no priority */
#define CASCADE	2	/* the master's pin for the slave */

#define ICW1		0x10
#define ICW1_IC4	0x01
#define ICW4_AEOI	0x02
#define ICW4_SFNM	0x10
#define OCW3		0x08
#define OCW3_RR		0x02
#define OCW3_RIS	0x01
#define OCW3_POLL	0x04
#define OCW3_ESMM	0x40
#define OCW3_SMM	0x20

/* What the next write to the data port is (kvm_pic_state.init_state). */
enum {
	EXPECT_OCW1,
	EXPECT_ICW2,
	EXPECT_ICW3,
	EXPECT_ICW4,
};

_Static_assert(sizeof(struct kvm_pic_state) == 16, "KVM_GET_IRQCHIP");

static unsigned int first_pin(const struct pic *p, const struct kvm_pic_state *c)
{
	return c == &p->chip[0] ? 0 : 8;
}

static unsigned int chip_of(unsigned int pin)
{
	return pin < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE;
}

static void report(struct pic *p, uint16_t acked, uint16_t changed, uint16_t imr)
{
	for (; acked; acked &= acked - 1)
		p->ops->pins.acked(p->vm, chip_of(__builtin_ctz(acked)), __builtin_ctz(acked));
	for (; changed; changed &= changed - 1) {
		unsigned int pin = __builtin_ctz(changed);

		p->ops->pins.masked(p->vm, chip_of(pin), pin, imr >> pin & 1);
	}
}

static void lock(struct pic *p)
{
	pthread_mutex_lock(&p->lock);
}

static void unlock(struct pic *p)
{
	uint16_t acked = p->acked, changed = p->mask_changed, imr = p->chip[1].imr << 8 | p->chip[0].imr;
	bool rose = p->rose;

	p->acked = 0;
	p->mask_changed = 0;
	p->rose = false;
	pthread_mutex_unlock(&p->lock);
	report(p, acked, changed, imr);
	if (rose)
		p->ops->raised(p->vm);
}

void pic_init(struct pic *p, const struct pic_ops *ops, void *vm)
{
	memset(p, 0, sizeof(*p));
	pthread_mutex_init(&p->lock, NULL);
	p->ops = ops;
	p->vm = vm;
	/* IRQ 0, 1, 2, 8 and 13 are always edge triggered (PIIX3, ELCR1 and ELCR2). */
	p->chip[0].elcr_mask = 0xf8;
	p->chip[1].elcr_mask = 0xde;
}

void pic_destroy(struct pic *p)
{
	pthread_mutex_destroy(&p->lock);
}

/* The position of the first pin in @mask, in the order of priority, which rotates; or NONE. */
static unsigned int priority(const struct kvm_pic_state *c, uint8_t mask)
{
	unsigned int n = 0;

	if (!mask)
		return NONE;
	while (!(mask >> ((n + c->priority_add) & 7) & 1))
		n++;
	return n;
}

static unsigned int pin_at(const struct kvm_pic_state *c, unsigned int prio)
{
	return (prio + c->priority_add) & 7;
}

/* The pin that wants service and may have it now; or -1. */
static int wanted(const struct pic *p, const struct kvm_pic_state *c)
{
	unsigned int want = priority(c, c->irr & ~c->imr);
	uint8_t serving = c->isr;

	/* In special mask mode an interrupt in service holds back nothing once masked. */
	if (c->special_mask)
		serving &= ~c->imr;
	/* In special fully nested mode the slave may interrupt again while it is served. */
	if (c->special_fully_nested_mode && c == &p->chip[0])
		serving &= ~(1 << CASCADE);
	return want < priority(c, serving) ? (int)pin_at(c, want) : -1;
}

static int set_level(struct kvm_pic_state *c, unsigned int pin, bool level)
{
	uint8_t bit = 1 << pin;
	bool edge = !(c->elcr & bit), fresh = true;

	if (level && (!edge || !(c->last_irr & bit))) {
		fresh = !(c->irr & bit);
		c->irr |= bit;
	} else if (!level && !edge) {
		c->irr &= ~bit;
	}
	if (level)
		c->last_irr |= bit;
	else
		c->last_irr &= ~bit;
	return c->imr & bit ? -1 : fresh;
}

static void update_output(struct pic *p)
{
	bool up;

	if (wanted(p, &p->chip[1]) >= 0) {
		set_level(&p->chip[0], CASCADE, true);
		set_level(&p->chip[0], CASCADE, false);
	}
	up = wanted(p, &p->chip[0]) >= 0;
	if (up && !p->output)
		p->rose = true;
	__atomic_store_n(&p->output, up, __ATOMIC_RELEASE);
}

int pic_set_irq(struct pic *p, unsigned int pin, enum irq_source source, bool level)
{
	int r;

	lock(p);
	level = irq_line_update(&p->lines[pin], source, level);
	r = set_level(&p->chip[pin / 8], pin % 8, level);
	update_output(p);
	unlock(p);
	return r;
}

static void end(struct pic *p, struct kvm_pic_state *c, unsigned int pin)
{
	c->isr &= ~(1 << pin);
	p->acked |= 1u << (first_pin(p, c) + pin);
}

static void take(struct pic *p, struct kvm_pic_state *c, unsigned int pin)
{
	c->isr |= 1 << pin;
	if (!(c->elcr >> pin & 1))
		c->irr &= ~(1 << pin);
	if (!c->auto_eoi)
		return;
	if (c->rotate_on_auto_eoi)
		c->priority_add = (pin + 1) & 7;
	end(p, c, pin);
}

/* With nothing to take the answer is pin 7: the spurious interrupt. */
static uint8_t take_wanted(struct pic *p, struct kvm_pic_state *c)
{
	int pin = wanted(p, c);

	if (pin >= 0)
		take(p, c, pin);
	if (pin == CASCADE && c == &p->chip[0])
		return take_wanted(p, &p->chip[1]);
	return c->irq_base + (pin < 0 ? 7 : pin);
}

uint8_t pic_ack(struct pic *p)
{
	uint8_t vector;

	lock(p);
	vector = take_wanted(p, &p->chip[0]);
	/* What is pending still is a new request, to be reported as such. */
	__atomic_store_n(&p->output, 0, __ATOMIC_RELAXED);
	update_output(p);
	unlock(p);
	return vector;
}

/* ICW1.  Edges that were pending are lost, and count as served for those who wait. */
static void icw1(struct pic *p, struct kvm_pic_state *c, uint8_t v)
{
	uint8_t lost = c->irr & ~c->elcr;

	c->init4 = v & ICW1_IC4;
	c->last_irr = 0;
	c->irr &= c->elcr;
	c->imr = 0;
	c->priority_add = 0;
	c->special_mask = 0;
	c->read_reg_select = 0;
	if (!c->init4) {
		c->special_fully_nested_mode = 0;
		c->auto_eoi = 0;
	}
	c->init_state = EXPECT_ICW2;
	if (wanted(p, &p->chip[0]) < 0)
		__atomic_store_n(&p->output, 0, __ATOMIC_RELEASE);
	if (!lost || !p->ops->accepted(p->vm))
		return;
	c->isr &= ~lost;
	p->acked |= lost << first_pin(p, c);
}

static void ocw3(struct kvm_pic_state *c, uint8_t v)
{
	if (v & OCW3_POLL)
		c->poll = 1;
	if (v & OCW3_RR)
		c->read_reg_select = v & OCW3_RIS;
	if (v & OCW3_ESMM)
		c->special_mask = !!(v & OCW3_SMM);
}

/* OCW2: bits 7:5 are rotate, specific, EOI. */
static void ocw2(struct pic *p, struct kvm_pic_state *c, uint8_t v)
{
	bool rotate = v & 0x80, specific = v & 0x40, eoi = v & 0x20;
	unsigned int pin = v & 7;

	if (!eoi && !specific) {
		c->rotate_on_auto_eoi = rotate;
		return;
	}
	if (eoi && !specific) {
		if (!c->isr)
			return;
		pin = pin_at(c, priority(c, c->isr));
	}
	if (rotate)
		c->priority_add = (pin + 1) & 7;
	if (eoi)
		end(p, c, pin);
	if (eoi || rotate)
		update_output(p);
}

static void command(struct pic *p, struct kvm_pic_state *c, uint8_t v)
{
	if (v & ICW1)
		icw1(p, c, v);
	else if (v & OCW3)
		ocw3(c, v);
	else
		ocw2(p, c, v);
}

static void data_write(struct pic *p, struct kvm_pic_state *c, uint8_t v)
{
	switch (c->init_state) {
	case EXPECT_OCW1:
		p->mask_changed |= (uint16_t)(c->imr ^ v) << first_pin(p, c);
		c->imr = v;
		update_output(p);
		break;
	case EXPECT_ICW2:
		c->irq_base = v & 0xf8;
		c->init_state = EXPECT_ICW3;
		break;
	case EXPECT_ICW3:
		/* How the two are wired is known. */
		c->init_state = c->init4 ? EXPECT_ICW4 : EXPECT_OCW1;
		break;
	case EXPECT_ICW4:
		c->special_fully_nested_mode = !!(v & ICW4_SFNM);
		c->auto_eoi = !!(v & ICW4_AEOI);
		c->init_state = EXPECT_OCW1;
		break;
	}
}

/* A poll acknowledges, as INTA does, and answers with the pin, and bit 7 for that there was one. */
static uint8_t poll(struct pic *p, struct kvm_pic_state *c)
{
	int pin = wanted(p, c);

	c->poll = 0;
	if (pin >= 0) {
		if (c == &p->chip[1]) {
			p->chip[0].isr &= ~(1 << CASCADE);
			p->chip[0].irr &= ~(1 << CASCADE);
		}
		c->irr &= ~(1 << pin);
		end(p, c, pin);
	}
	/* After the cascade the slave is polled next; until then it must not ask again. */
	if (pin != CASCADE || c == &p->chip[1])
		update_output(p);
	return pin < 0 ? 7 : 0x80 | pin;
}

static uint8_t port_read(struct pic *p, struct kvm_pic_state *c, bool data)
{
	if (c->poll)
		return poll(p, c);
	if (data)
		return c->imr;
	return c->read_reg_select ? c->isr : c->irr;
}

static struct kvm_pic_state *chip_at(struct pic *p, uint16_t port)
{
	switch (port) {
	case 0x20:
	case 0x21:
	case 0x4d0:
		return &p->chip[0];
	case 0xa0:
	case 0xa1:
	case 0x4d1:
		return &p->chip[1];
	}
	return NULL;
}

int pic_read(struct pic *p, uint16_t port, unsigned int len, void *data)
{
	struct kvm_pic_state *c = chip_at(p, port);
	uint8_t v;

	if (!c)
		return -EOPNOTSUPP;
	memset(data, 0, len);
	if (len != 1)
		return 0;
	lock(p);
	v = port >= 0x4d0 ? c->elcr : port_read(p, c, port & 1);
	unlock(p);
	memcpy(data, &v, 1);
	return 0;
}

int pic_write(struct pic *p, uint16_t port, unsigned int len, const void *data)
{
	struct kvm_pic_state *c = chip_at(p, port);
	uint8_t v;

	if (!c)
		return -EOPNOTSUPP;
	if (len != 1)
		return 0;
	memcpy(&v, data, 1);
	lock(p);
	if (port >= 0x4d0)
		c->elcr = v & c->elcr_mask;
	else if (port & 1)
		data_write(p, c, v);
	else
		command(p, c, v);
	unlock(p);
	return 0;
}

void pic_get_state(struct pic *p, unsigned int n, struct kvm_pic_state *s)
{
	lock(p);
	*s = p->chip[n];
	unlock(p);
}

void pic_set_state(struct pic *p, unsigned int n, const struct kvm_pic_state *s)
{
	lock(p);
	p->chip[n] = *s;
	update_output(p);
	unlock(p);
}
