/* SPDX-License-Identifier: MIT */
/*
 * apic_bus.h - what joins the local APICs of a VM: interrupt messages, who
 * they are for, and the settings that all local APICs of a VM share.
 *
 * A message comes from another local APIC (an IPI), from the I/O APIC or from
 * an MSI.  It is delivered on the sender's thread: acceptance by a local APIC
 * is atomic operations on its IRR, so any number of threads may deliver at once
 * and none takes a lock.  Local APICs only ever join, and live as long as the
 * bus; that is why walking them needs no lock either.
 */
#ifndef ANYKVM_X86_IRQ_APIC_BUS_H
#define ANYKVM_X86_IRQ_APIC_BUS_H

#include <stdbool.h>
#include <stdint.h>

struct lapic;

/* As many as KVM_CAP_MAX_VCPUS of Linux 6.1. */
#define APIC_BUS_MAX		1024

/* Delivery modes: bits 10:8 of an ICR, an LVT, an MSI's data, a redirection entry (SDM 3A, 11.5.1). */
enum apic_delivery {
	APIC_FIXED,
	APIC_LOWEST,
	APIC_SMI,
	APIC_REMOTE_READ,	/* KVM's: unhalts the target, for paravirtual spinlocks */
	APIC_NMI,
	APIC_INIT,
	APIC_STARTUP,
	APIC_EXTINT,
};

/* Destination shorthands: bits 19:18 of an ICR. */
enum apic_shorthand {
	APIC_TO_DEST,
	APIC_TO_SELF,
	APIC_TO_ALL,
	APIC_TO_OTHERS,
};

/** struct apic_msg - one interrupt message. */
struct apic_msg {
	uint32_t dest;		/* an APIC ID or a logical destination; unused with a shorthand */
	uint8_t vector;
	uint8_t delivery;	/* enum apic_delivery */
	uint8_t shorthand;	/* enum apic_shorthand */
	bool logical;		/* @dest is a logical destination */
	bool level_trig;
	bool assert;		/* the level, for level triggered messages and INIT */
	bool redir_hint;	/* an MSI that may go to any one of its destinations */
};

/**
 * apic_msg_from_msi - the message that an MSI is (SDM 3A, 11.11).
 * @address_hi: with @x2apic_format (KVM_X2APIC_API_USE_32BIT_IDS) its bits 31:8
 * are those of the destination, and bits 7:0 reserved.
 * Returns 0, or -EINVAL where those are not 0.
 */
int apic_msg_from_msi(struct apic_msg *msg, uint32_t address_lo, uint32_t address_hi, uint32_t data,
		      bool x2apic_format);

/** struct apic_dests - a set of local APICs, by their index on the bus. */
struct apic_dests {
	uint64_t map[APIC_BUS_MAX / 64];
};

/** struct apic_bus_ops - what the bus needs of the VM. */
struct apic_bus_ops {
	/*
	 * The local APIC @index finished @vector, one of those named by apic_bus_set_eoi_vectors(): for the
	 * I/O APIC.  @level: it was level triggered.  On the thread of that vCPU.
	 */
	void (*eoi)(void *vm, unsigned int index, uint8_t vector, bool level);
};

/**
 * struct apic_bus - the bus.  The flags belong to the VM's owner, who sets
 * them before vCPUs run.
 */
struct apic_bus {
	const struct apic_bus_ops *ops;
	void *vm;
	bool x2apic_format;		/* KVM_X2APIC_API_USE_32BIT_IDS */
	bool no_broadcast_quirk;	/* KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK */
	bool directed_eoi;		/* the I/O APIC is userspace's: it may have an EOI register */
	bool lint0_reenabled;		/* KVM_X86_QUIRK_LINT0_REENABLED is in force */
	bool mmio_hole;			/* KVM_X86_QUIRK_LAPIC_MMIO_HOLE is in force */
	/* The rest is private. */
	uint32_t count;
	bool ids_changed;		/* a guest has written an xAPIC ID: two may be the same */
	uint64_t eoi_vectors[4];
	struct lapic *lapic[APIC_BUS_MAX];
};

/**
 * apic_bus_init - makes @bus empty, with both quirks in force as in a new VM.
 * @ops, @vm: kept; @ops may be NULL where nobody wants EOIs.
 */
void apic_bus_init(struct apic_bus *bus, const struct apic_bus_ops *ops, void *vm);

/**
 * apic_bus_add - lets @l receive messages from now on.  Calls are serialized
 * by the caller; deliveries may run meanwhile.  For lapic_join().
 * Returns its index, or -ENOSPC.
 */
int apic_bus_add(struct apic_bus *bus, struct lapic *l);

/**
 * apic_bus_deliver - delivers @msg to every local APIC that it is for.
 * @src: the sender of an IPI; NULL for the I/O APIC and MSIs.
 * @dests: where not NULL, the local APICs that accepted a fixed or lowest
 * priority interrupt are added.
 * Any thread.  Returns how many accepted it; -1 where a broadcast or a
 * shorthand found nobody.
 */
int apic_bus_deliver(struct apic_bus *bus, struct lapic *src, const struct apic_msg *msg,
		     struct apic_dests *dests);

/**
 * apic_bus_match - 1 if a message from @src (NULL: not an IPI) to @dest is for
 * @l, as far as addresses go; shorthands aside (SDM 3A, 11.6.2, 11.12.10).
 */
bool apic_bus_match(const struct apic_bus *bus, const struct lapic *src, const struct lapic *l,
		    uint32_t dest, bool logical);

/**
 * apic_bus_in_flight - adds to @dests the local APICs that @dest names and
 * that hold @vector in IRR or ISR.  Returns how many.
 */
int apic_bus_in_flight(struct apic_bus *bus, uint32_t dest, bool logical, uint8_t vector,
		       struct apic_dests *dests);

/** apic_bus_set_eoi_vectors - bit n of @v (256 bits): EOIs of vector n are wanted.  Any thread. */
void apic_bus_set_eoi_vectors(struct apic_bus *bus, const uint64_t v[4]);

/** apic_bus_eoi - tells the VM of an EOI, where wanted.  For lapic.c. */
void apic_bus_eoi(struct apic_bus *bus, unsigned int index, uint8_t vector, bool level);

/**
 * apic_bus_pulse_lint0 - a pulse on LINT0 of all processors, where any of them
 * has it in NMI mode: how a PIT tick becomes the old Linux NMI watchdog.
 * Any thread.
 */
void apic_bus_pulse_lint0(struct apic_bus *bus);

/** apic_bus_find - the local APIC with x2APIC ID @id (the vCPU id), or NULL. */
struct lapic *apic_bus_find(struct apic_bus *bus, uint32_t id);

#endif
