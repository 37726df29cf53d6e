/* SPDX-License-Identifier: MIT */
/*
 * pic.h - the pair of 8259A interrupt controllers of a PC, with the ELCR of
 * the PIIX (ports 20h, 21h, A0h, A1h, 4D0h, 4D1h).
 *
 * Any thread may call anything; the PIC has one lock, and calls out without it.
 */
#ifndef ANYKVM_X86_IRQ_PIC_H
#define ANYKVM_X86_IRQ_PIC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>

#include "x86/irq/irq_pins.h"

#define PIC_PINS	16

/** struct pic_ops - what the PIC needs of the VM. */
struct pic_ops {
	struct irq_pin_ops pins;
	/*
	 * INTR rose: wake a vCPU whose lapic_accept_pic_intr() says so.  pic_output() tells whether it is
	 * still up.
	 */
	void (*raised)(void *vm);
	/* 1 if some vCPU takes the PIC's interrupts. */
	bool (*accepted)(void *vm);
};

/** struct pic - the pair.  Private. */
struct pic {
	pthread_mutex_t lock;
	const struct pic_ops *ops;
	void *vm;
	struct kvm_pic_state chip[2];
	uint32_t lines[PIC_PINS];
	uint8_t output;		/* INTR */
	bool rose;		/* to be reported */
	uint16_t acked;		/* pins, to be reported */
	uint16_t mask_changed;	/* pins, to be reported */
};

/** pic_init - makes @p a pair as after power-on.  @ops, @vm: kept. */
void pic_init(struct pic *p, const struct pic_ops *ops, void *vm);

/** pic_destroy - frees what pic_init() took. */
void pic_destroy(struct pic *p);

/**
 * pic_set_irq - drives @pin (0 to 15).
 * Returns as KVM_IRQ_LINE_STATUS: 1 delivered, 0 coalesced, -1 masked.
 */
int pic_set_irq(struct pic *p, unsigned int pin, enum irq_source source, bool level);

/** pic_output - INTR.  One load: for hot paths. */
static inline bool pic_output(const struct pic *p)
{
	return __atomic_load_n(&p->output, __ATOMIC_ACQUIRE);
}

/** pic_ack - the processor's INTA cycle.  Returns the vector, a spurious one where nothing is pending. */
uint8_t pic_ack(struct pic *p);

/**
 * pic_read, pic_write - a guest's IN or OUT.
 * @len: bytes; only single ones have an effect.
 * Returns 0, or -EOPNOTSUPP where @port is not the PIC's.
 */
int pic_read(struct pic *p, uint16_t port, unsigned int len, void *data);
int pic_write(struct pic *p, uint16_t port, unsigned int len, const void *data);

/** pic_get_state, pic_set_state - KVM_GET_IRQCHIP, KVM_SET_IRQCHIP of chip @n (0 master, 1 slave). */
void pic_get_state(struct pic *p, unsigned int n, struct kvm_pic_state *s);
void pic_set_state(struct pic *p, unsigned int n, const struct kvm_pic_state *s);

#endif
