/* SPDX-License-Identifier: MIT */
/* fake.h - a VM with a clock that stands still until told, around the real interrupt controllers. */
#ifndef ANYKVM_TESTS_IRQ_FAKE_H
#define ANYKVM_TESTS_IRQ_FAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "x86/irq/apic_bus.h"
#include "x86/irq/ioapic.h"
#include "x86/irq/lapic.h"
#include "x86/irq/pic.h"
#include "x86/irq/pit.h"

#define FAKE_CPUS	4
#define FAKE_KHZ	2000000u	/* the guest's TSC: 2 per ns */

struct fake_vm;

struct fake_cpu {
	struct lapic l;
	struct fake_vm *vm;
	uint64_t deadline;
	int64_t tsc_offset;
	unsigned int requests, nmis, smis, unhalts, tpr_reads, tpr_writes;
	unsigned int kicks;	/* atomic: any thread */
	unsigned int ended, ended_auto;
	uint8_t last_ended;
};

struct fake_vm {
	uint64_t now;
	struct apic_bus bus;
	struct fake_cpu cpu[FAKE_CPUS];
	struct ioapic ioapic;
	struct pic pic;
	struct pit pit;
	uint64_t pit_deadline, retry_delay;
	unsigned int ticks, raised, retries, nr_eoi;
	unsigned int acked[3][KVM_IOAPIC_NUM_PINS];
	unsigned int masked[3][KVM_IOAPIC_NUM_PINS], unmasked[3][KVM_IOAPIC_NUM_PINS];
	uint32_t ack_wanted;		/* I/O APIC pins */
	int lower_on_ack;		/* an I/O APIC pin that its ack lowers, or -1 */
	bool pit_to_pic;		/* ticks go to pin 0 of the PIC */
	bool eager;			/* a tick is acknowledged while its line is up */
	unsigned int ticking, overlaps;	/* ticks under way; those begun meanwhile */
};

/* Makes a VM of FAKE_CPUS vCPUs with ids 0, 1, ...; all features on, all local APICs software enabled. */
struct fake_vm *fake_new(void);
void fake_free(struct fake_vm *vm);

/* Lets time pass, calling timers in their order. */
void fake_run(struct fake_vm *vm, uint64_t ns);

/* The register page as a guest sees it. */
uint32_t fake_mmio(struct fake_cpu *c, unsigned int off);
void fake_set_mmio(struct fake_cpu *c, unsigned int off, uint32_t v);
void fake_x2apic(struct fake_cpu *c);

/* The I/O APIC by its window; a redirection entry as a whole. */
uint32_t fake_ioapic(struct fake_vm *vm, uint8_t reg);
void fake_set_ioapic(struct fake_vm *vm, uint8_t reg, uint32_t v);
void fake_redir(struct fake_vm *vm, unsigned int pin, uint64_t entry);

uint8_t fake_in(struct fake_vm *vm, uint16_t port);
void fake_out(struct fake_vm *vm, uint16_t port, uint8_t v);

/* A fixed interrupt straight to a local APIC. */
int fake_fixed(struct fake_cpu *c, uint8_t vector, bool level);

#endif
