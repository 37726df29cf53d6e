/* SPDX-License-Identifier: MIT */
/*
 * lapic.h - the local APIC of one vCPU (SDM 3A, chapter 11), as KVM has it.
 *
 * Threads: the vCPU's own thread, or whoever holds that vCPU's ioctl lock, is
 * the owner and calls everything.  Other threads call only what is marked "any
 * thread": they set IRR and TMR bits and pending events with atomic operations
 * and then kick the owner.  Registers that decide about destinations are read
 * by senders, so every register is loaded and stored as a whole.
 *
 * The timer has no thread: the owner is told the next deadline (arm_timer)
 * and calls lapic_timer_expired() once it has passed.  The bus clock is 1 GHz,
 * as KVM's.
 */
#ifndef ANYKVM_X86_IRQ_LAPIC_H
#define ANYKVM_X86_IRQ_LAPIC_H

#include <stdbool.h>
#include <stdint.h>

struct apic_bus;
struct apic_msg;
struct kvm_lapic_state;

#define LAPIC_DEFAULT_BASE	0xfee00000ull

/* IA32_APIC_BASE (MSR 1Bh), SDM 3A, 11.4.4 and 11.12.1 */
#define LAPIC_BASE_BSP		(1ull << 8)
#define LAPIC_BASE_X2APIC	(1ull << 10)
#define LAPIC_BASE_ENABLE	(1ull << 11)

/* x2APIC MSRs: 800h + register offset / 16 */
#define LAPIC_MSR_FIRST		0x800
#define LAPIC_MSR_LAST		0x8ff

/* Events for lapic_events(): they wait here until the vCPU can take them. */
#define LAPIC_EVENT_INIT	1u
#define LAPIC_EVENT_SIPI	2u

/* What the vCPU's CPUID says that concerns the local APIC. */
#define LAPIC_FEAT_X2APIC	1u	/* CPUID.1:ECX[21] */
#define LAPIC_FEAT_TSC_DEADLINE	2u	/* CPUID.1:ECX[24] */
#define LAPIC_FEAT_INTEL	4u	/* a PMI masks LVTPC, as on Intel */

/* Local vector table entries, in the order of their registers, but for the last. */
enum lapic_lvt {
	LAPIC_LVT_TIMER,
	LAPIC_LVT_THERMAL,
	LAPIC_LVT_PMC,
	LAPIC_LVT_LINT0,
	LAPIC_LVT_LINT1,
	LAPIC_LVT_ERROR,
	LAPIC_LVT_CMCI,                 /* only where there is one: lapic_set_cmci() */
	LAPIC_NR_LVT,
};

/** struct lapic_ops - what a local APIC needs of its vCPU.  Nothing here may block. */
struct lapic_ops {
	/* CLOCK_MONOTONIC in ns.  Owner. */
	uint64_t (*now_ns)(void *vcpu);
	/* The guest's TSC (L1's where it nests), and its frequency in kHz.  Owner. */
	uint64_t (*guest_tsc)(void *vcpu);
	uint32_t (*tsc_khz)(void *vcpu);
	/*
	 * Call lapic_timer_expired() when now_ns() has reached @deadline_ns, which may be in the past; until
	 * then wake the vCPU from HLT for it.  Replaces the earlier deadline; 0: there is none.  Owner.
	 */
	void (*arm_timer)(void *vcpu, uint64_t deadline_ns);
	/* Evaluate interrupts before the next guest instruction.  Owner: nobody to wake. */
	void (*request)(void *vcpu);
	/* The same, and wake or interrupt the vCPU.  Any thread. */
	void (*kick)(void *vcpu);
	/* Make an NMI, an SMI pending, and kick.  Any thread. */
	void (*nmi)(void *vcpu);
	void (*smi)(void *vcpu);
	/* End a HLT without an interrupt (KVM_HC_KICK_CPU).  Any thread.  May be NULL. */
	void (*unhalt)(void *vcpu);
	/* The guest read or wrote TPR (KVM_TPR_ACCESS_REPORTING).  Owner.  May be NULL. */
	void (*tpr_access)(void *vcpu, bool write);
	/*
	 * @vector, one of those that lapic_set_watched() named, has ended, by an EOI or (@automatic) as it was
	 * taken.  Owner.  May be NULL.
	 */
	void (*ended)(void *vcpu, uint8_t vector, bool automatic);
};

/** struct lapic - one local APIC.  All of it is private; embed it, and use the functions. */
struct lapic {
	uint32_t regs[1024] __attribute__((aligned(64)));
	const struct lapic_ops *ops;
	void *vcpu;
	struct apic_bus *bus;
	uint32_t id;			/* the x2APIC ID: the vCPU id */
	uint32_t index;			/* on the bus */
	uint64_t base;			/* IA32_APIC_BASE */
	uint64_t reserved_gpa;		/* bits from MAXPHYADDR up */
	uint32_t features;
	unsigned int nr_lvt;            /* LAPIC_NR_LVT, or one less without CMCI */
	bool bsp;
	uint8_t irr_pending;		/* 0: IRR is empty; else look */
	int16_t isr_top;		/* the highest vector in service, -1: none */
	uint64_t watched[4];		/* vectors whose end the vCPU is told of */
	uint64_t auto_eoi[4];		/* vectors that end as they are taken */
	uint32_t events;		/* LAPIC_EVENT_* */
	uint8_t sipi_vector;
	uint32_t errors;		/* what the next write to ESR will show */
	struct {
		uint32_t mode;		/* bits 18:17 of LVTT */
		uint32_t divide;
		uint64_t period;	/* ns, 0: stopped */
		uint64_t target;	/* when it expires, ns; 0: it has */
		uint64_t tsc_deadline;	/* IA32_TSC_DEADLINE */
	} timer;
};

/**
 * lapic_init - makes @l a local APIC in its state after RESET, that receives no
 * messages yet.
 * @bus: of the VM; its flags are set already.  Outlives @l.
 * @id: the vCPU id.
 * @bsp: this vCPU is the boot processor.
 * @ops, @vcpu: kept.  Callbacks may run at once.
 */
void lapic_init(struct lapic *l, struct apic_bus *bus, uint32_t id, bool bsp,
		const struct lapic_ops *ops, void *vcpu);

/**
 * lapic_join - lets @l receive messages, for the rest of its bus's life: once
 * nothing can fail any more in creating its vCPU.  Calls for one bus are
 * serialized by the caller; deliveries may run meanwhile.
 * Returns 0, or -ENOSPC beyond APIC_BUS_MAX of them.
 */
int lapic_join(struct lapic *l);

/**
 * lapic_set_features - follows the vCPU's CPUID.
 * @features: LAPIC_FEAT_*.
 * @maxphyaddr: guest-physical address bits, 32 to 52.
 */
void lapic_set_features(struct lapic *l, uint32_t features, unsigned int maxphyaddr);

/**
 * lapic_reset - RESET, or with @init INIT: the APIC ID and IA32_APIC_BASE
 * survive that (SDM 3A, 11.4.7).
 */
void lapic_reset(struct lapic *l, bool init);

/** lapic_base - IA32_APIC_BASE. */
uint64_t lapic_base(const struct lapic *l);

/**
 * lapic_set_base - writes IA32_APIC_BASE.
 * @host: by userspace, which may go from any mode to any valid mode.
 * Returns 0; -EINVAL (a guest's #GP) for reserved bits, x2APIC without the
 * feature, an invalid mode or an invalid transition (SDM 3A, 11.12.5).
 */
int lapic_set_base(struct lapic *l, uint64_t value, bool host);

/** lapic_in_x2apic - 1 in x2APIC mode.  Any thread. */
bool lapic_in_x2apic(const struct lapic *l);

/** lapic_hw_enabled - 1 unless globally disabled by IA32_APIC_BASE.  Any thread. */
bool lapic_hw_enabled(const struct lapic *l);

/** lapic_sw_enabled - 1 if the spurious-interrupt vector register enables it.  Any thread. */
bool lapic_sw_enabled(const struct lapic *l);

/**
 * lapic_read, lapic_write - a guest access to the register page.
 * @gpa: of the access; @len: bytes.
 * Returns 0 once done, -EOPNOTSUPP where @gpa is not this local APIC's (the
 * page is elsewhere, or off in this mode and not a hole).
 */
int lapic_read(struct lapic *l, uint64_t gpa, unsigned int len, void *data);
int lapic_write(struct lapic *l, uint64_t gpa, unsigned int len, const void *data);

/**
 * lapic_read_msr, lapic_write_msr - RDMSR and WRMSR of 800h to 8FFh.
 * Returns 0; -EINVAL (a guest's #GP) outside x2APIC mode, for registers that
 * do not exist or cannot be so accessed, and for reserved bits (SDM 3A,
 * 11.12.1.2 and 11.12.1.3).
 */
int lapic_read_msr(struct lapic *l, uint32_t msr, uint64_t *value);
int lapic_write_msr(struct lapic *l, uint32_t msr, uint64_t value);

/* The registers that Hyper-V's interface gives as MSRs, in any mode; TLFS 10.2. */
enum lapic_hv_reg { LAPIC_HV_EOI, LAPIC_HV_ICR, LAPIC_HV_TPR };

/** lapic_read_hv, lapic_write_hv - one of them, all of the ICR at once.  0, or -EINVAL: #GP. */
int lapic_read_hv(struct lapic *l, enum lapic_hv_reg reg, uint64_t *value);
int lapic_write_hv(struct lapic *l, enum lapic_hv_reg reg, uint64_t value);

/** lapic_tsc_deadline - IA32_TSC_DEADLINE: 0 unless the timer is in that mode and armed. */
uint64_t lapic_tsc_deadline(const struct lapic *l);

/** lapic_set_tsc_deadline - writes IA32_TSC_DEADLINE; ignored in the other timer modes. */
void lapic_set_tsc_deadline(struct lapic *l, uint64_t value);

/** lapic_tsc_changed - the guest's TSC jumped or changed frequency: computes the deadline anew. */
void lapic_tsc_changed(struct lapic *l);

/** lapic_timer_expired - the armed deadline has passed.  Early or idle calls do no harm. */
void lapic_timer_expired(struct lapic *l);

/** lapic_get_cr8, lapic_set_cr8 - TPR as CR8 shows it: bits 7:4, in bits 3:0. */
uint8_t lapic_get_cr8(const struct lapic *l);
void lapic_set_cr8(struct lapic *l, uint8_t cr8);

/** lapic_get_tpr - TPR, without reporting it. */
uint8_t lapic_get_tpr(const struct lapic *l);

/** lapic_set_tpr - sets TPR without reporting it, for a TPR kept elsewhere (the vAPIC page). */
void lapic_set_tpr(struct lapic *l, uint8_t tpr);

/** lapic_has_pending - 0 if IRR is empty.  One load: for hot paths.  Any thread. */
static inline bool lapic_has_pending(const struct lapic *l)
{
	return __atomic_load_n(&l->irr_pending, __ATOMIC_ACQUIRE);
}

/** lapic_pending_vector - the highest vector in IRR if its class is above PPR; else -1. */
int lapic_pending_vector(struct lapic *l);

/**
 * lapic_ack - the processor takes the pending interrupt: moves it from IRR to
 * ISR.  Returns its vector, or -1 where there is none.
 */
int lapic_ack(struct lapic *l);

/** lapic_eoi - as a write to EOI.  Returns the vector that ended, or -1. */
int lapic_eoi(struct lapic *l);

/** lapic_highest_irr, lapic_highest_isr - the highest vector there, or -1. */
int lapic_highest_irr(const struct lapic *l);
int lapic_highest_isr(const struct lapic *l);

/** lapic_in_flight - 1 if @vector is in IRR or ISR.  Any thread. */
bool lapic_in_flight(const struct lapic *l, uint8_t vector);

/**
 * lapic_set_watched - bit n of @watched (256 bits): ops->ended is told when
 * vector n ends; of @auto_eoi: it ends as it is taken, without an EOI and
 * never in service (Hyper-V's synthetic interrupts, TLFS, chapter 11).  Owner.
 */
void lapic_set_watched(struct lapic *l, const uint64_t watched[4], const uint64_t auto_eoi[4]);

/**
 * lapic_eoi_wanted - 1 if an EOI of @vector must reach the I/O APIC, or is
 * watched: then no paravirtual EOI.  Owner.
 */
bool lapic_eoi_wanted(const struct lapic *l, uint8_t vector);

/**
 * lapic_accept_pic_intr - 1 if the PIC's interrupts reach this vCPU: the local
 * APIC is disabled, or LINT0 is unmasked in ExtINT mode.  Any thread.
 */
bool lapic_accept_pic_intr(const struct lapic *l);

/**
 * lapic_accept - takes a message that is for this local APIC.  Any thread.
 * Returns 1 if accepted, 0 if discarded.
 */
int lapic_accept(struct lapic *l, const struct apic_msg *msg);

/** lapic_set_cmci - whether there is an entry for corrected machine checks (SDM 3A, 11.5.1).  Owner. */
void lapic_set_cmci(struct lapic *l, bool there);

/**
 * lapic_deliver_lvt - an event at local source @lvt (enum lapic_lvt).  Any
 * thread but for LAPIC_LVT_PMC.  Returns 1 if it was accepted.
 */
int lapic_deliver_lvt(struct lapic *l, unsigned int lvt);

/** lapic_events - pending LAPIC_EVENT_* bits.  Any thread. */
static inline uint32_t lapic_events(const struct lapic *l)
{
	return __atomic_load_n(&l->events, __ATOMIC_ACQUIRE);
}

/** lapic_take_event - clears @event; 1 if it was pending. */
bool lapic_take_event(struct lapic *l, uint32_t event);

/** lapic_post_event - makes @event pending, as KVM_SET_MP_STATE and KVM_SET_VCPU_EVENTS do.  No kick. */
void lapic_post_event(struct lapic *l, uint32_t event);

/** lapic_sipi_vector, lapic_set_sipi_vector - of the last STARTUP message. */
uint8_t lapic_sipi_vector(const struct lapic *l);
void lapic_set_sipi_vector(struct lapic *l, uint8_t vector);

/** lapic_get_state - KVM_GET_LAPIC: the whole register page in @s. */
void lapic_get_state(struct lapic *l, struct kvm_lapic_state *s);

/**
 * lapic_set_state - KVM_SET_LAPIC.  IA32_APIC_BASE says in which mode @s is.
 * Returns 0; -EINVAL where KVM_X2APIC_API_USE_32BIT_IDS is on and the ID in @s
 * is not the vCPU's.
 */
int lapic_set_state(struct lapic *l, const struct kvm_lapic_state *s);

#endif
