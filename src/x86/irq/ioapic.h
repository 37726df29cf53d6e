/* SPDX-License-Identifier: MIT */
/*
 * ioapic.h - the 82093AA I/O APIC, 24 pins, as KVM has it.
 *
 * Any thread may call anything; the I/O APIC has one lock.  Messages are
 * delivered with it held, pin reports are made without it.
 */
#ifndef ANYKVM_X86_IRQ_IOAPIC_H
#define ANYKVM_X86_IRQ_IOAPIC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>

#include "x86/irq/apic_bus.h"
#include "x86/irq/irq_pins.h"

#define IOAPIC_DEFAULT_BASE	0xfec00000ull
#define IOAPIC_MEM_SIZE		0x100u

/** struct ioapic_ops - what the I/O APIC needs of the VM. */
struct ioapic_ops {
	struct irq_pin_ops pins;
	/*
	 * Call ioapic_retry() at CLOCK_MONOTONIC now + @delay_ns, from a thread that holds no lock.  Must not
	 * block.  May be NULL: then interrupt storms are not slowed down.
	 */
	void (*retry_later)(void *vm, uint64_t delay_ns);
};

/** struct ioapic - the I/O APIC.  Private. */
struct ioapic {
	pthread_mutex_t lock;
	const struct ioapic_ops *ops;
	void *vm;
	struct apic_bus *bus;
	struct kvm_ioapic_state state;
	uint32_t irr_delivered;		/* edges in state.irr that were sent */
	uint32_t ack_pins;		/* whose acknowledgement somebody wants, also of edges */
	uint32_t lines[KVM_IOAPIC_NUM_PINS];
	uint32_t successive[KVM_IOAPIC_NUM_PINS];	/* EOIs that found the pin still high */
	/* The RTC's interrupt: who has not finished it, with which vector. */
	struct apic_dests rtc_dests;
	int rtc_pending;
	uint8_t rtc_vector;
};

/**
 * ioapic_init - makes @io an I/O APIC after RESET, all pins masked.
 * @bus: where it delivers, and whose eoi_vectors it keeps from now on.
 * @ops, @vm: kept.
 */
void ioapic_init(struct ioapic *io, struct apic_bus *bus, const struct ioapic_ops *ops, void *vm);

/** ioapic_destroy - frees what ioapic_init() took. */
void ioapic_destroy(struct ioapic *io);

/**
 * ioapic_set_irq - drives @pin (0 to 23).
 * @line_status: the caller wants to know whether it was coalesced
 * (KVM_IRQ_LINE_STATUS), which for the RTC's pin means: not yet finished.
 * Returns how many local APICs accepted it, 0 where it was coalesced, -1 where
 * the pin is masked or the last one not finished; lowering returns 1.
 */
int ioapic_set_irq(struct ioapic *io, unsigned int pin, enum irq_source source, bool level,
		   bool line_status);

/** ioapic_eoi - local APIC @index finished @vector: apic_bus_ops.eoi.  Calls pins.acked(). */
void ioapic_eoi(struct ioapic *io, unsigned int index, uint8_t vector, bool level);

/** ioapic_retry - sends what ioapic_ops.retry_later() put off. */
void ioapic_retry(struct ioapic *io);

/**
 * ioapic_acks_changed - pins.ack_wanted() answers differently now for some
 * pin, since somebody came or went or the routing changed.  The caller holds no
 * lock that ack_wanted() takes.
 */
void ioapic_acks_changed(struct ioapic *io);

/**
 * ioapic_read, ioapic_write - a guest access to its registers.
 * @gpa: of the access; @len: bytes.
 * Returns 0, or -EOPNOTSUPP where @gpa is not the I/O APIC's.
 */
int ioapic_read(struct ioapic *io, uint64_t gpa, unsigned int len, void *data);
int ioapic_write(struct ioapic *io, uint64_t gpa, unsigned int len, const void *data);

/** ioapic_get_state, ioapic_set_state - KVM_GET_IRQCHIP, KVM_SET_IRQCHIP: pins in s->irr are raised anew. */
void ioapic_get_state(struct ioapic *io, struct kvm_ioapic_state *s);
void ioapic_set_state(struct ioapic *io, const struct kvm_ioapic_state *s);

#endif
