/* SPDX-License-Identifier: MIT */
/*
 * pit.h - the 8254 interval timer of a PC (ports 40h to 43h) and its port B
 * (61h): gate and output of counter 2, the speaker.
 *
 * Any thread may call anything; the PIT has one lock, and calls out without
 * it, but for now_ns() and arm_timer().
 */
#ifndef ANYKVM_X86_IRQ_PIT_H
#define ANYKVM_X86_IRQ_PIT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>

#define PIT_FREQ	1193182u	/* Hz */
#define PIT_SPEAKER	0x61		/* port B */

/** struct pit_ops - what the PIT needs of the VM. */
struct pit_ops {
	/* CLOCK_MONOTONIC in ns. */
	uint64_t (*now_ns)(void *vm);
	/*
	 * Call pit_timer_expired() when now_ns() has reached @deadline_ns, from a thread that holds no lock.
	 * Replaces the earlier deadline; 0: there is none.  Must not block.
	 */
	void (*arm_timer)(void *vm, uint64_t deadline_ns);
	/* A tick: raise and lower GSI 0 from IRQ_SOURCE_PIT, then apic_bus_pulse_lint0(). */
	void (*tick)(void *vm);
};

/** struct pit - the timer.  Private. */
struct pit {
	pthread_mutex_t lock;
	const struct pit_ops *ops;
	void *vm;
	struct kvm_pit_channel_state channel[3];
	uint32_t flags;		/* KVM_PIT_FLAGS_* */
	bool speaker;		/* port B is ours */
	uint64_t period;	/* of counter 0, ns; 0: never started */
	uint64_t expires;	/* of counter 0; stays when it has, to reckon from */
	bool armed;
	bool periodic;
	bool reinject;
	bool acked;		/* the last tick was taken */
	uint64_t pending;	/* ticks that wait for that */
	bool due;		/* one is to be sent */
	bool sending;		/* a thread does so, without the lock */
};

/**
 * pit_init - makes @p a timer as after power-on, with reinjection on.
 * @speaker: serve port B too (KVM_PIT_SPEAKER_DUMMY).
 * @ops, @vm: kept; callbacks may run at once.
 */
void pit_init(struct pit *p, bool speaker, const struct pit_ops *ops, void *vm);

/** pit_destroy - frees what pit_init() took.  The caller has stopped its timer; nothing is called. */
void pit_destroy(struct pit *p);

/** pit_timer_expired - the armed deadline has passed.  Early or idle calls do no harm. */
void pit_timer_expired(struct pit *p);

/**
 * pit_set_reinject - KVM_REINJECT_CONTROL: with it a tick that the guest has
 * not yet taken is not lost but repeated later.
 */
void pit_set_reinject(struct pit *p, bool reinject);

/** pit_wants_ack - 1 with reinjection: GSI 0 needs pit_acked() (irq_pin_ops.ack_wanted). */
bool pit_wants_ack(struct pit *p);

/** pit_acked - the guest finished an interrupt of GSI 0.  Calls tick() if more are due. */
void pit_acked(struct pit *p);

/** pit_unmasked - the guest unmasked GSI 0: what was missed meanwhile is forgotten. */
void pit_unmasked(struct pit *p);

/**
 * pit_read, pit_write - a guest's IN or OUT.  @len: bytes.
 * Returns 0, or -EOPNOTSUPP where @port is not the PIT's.
 */
int pit_read(struct pit *p, uint16_t port, unsigned int len, void *data);
int pit_write(struct pit *p, uint16_t port, unsigned int len, const void *data);

/** pit_get_state, pit_set_state - KVM_GET_PIT2, KVM_SET_PIT2: counters start anew with their count. */
void pit_get_state(struct pit *p, struct kvm_pit_state2 *s);
void pit_set_state(struct pit *p, const struct kvm_pit_state2 *s);

/** pit_set_state1 - KVM_SET_PIT, which has no flags. */
void pit_set_state1(struct pit *p, const struct kvm_pit_state *s);

#endif
