/* SPDX-License-Identifier: MIT */
/*
 * An architecture without a processor: enough for src/kvm to be tested alone.
 * A "guest" is a loop in vcpu_run that does what struct fake says.
 */
#ifndef TESTS_KVM_FAKE_ARCH_H
#define TESTS_KVM_FAKE_ARCH_H

#include <stdatomic.h>

#include "kvm/vcpu.h"

enum fake_guest { FAKE_EXIT, FAKE_COUNT, FAKE_HALT };

struct fake {
	_Atomic int guest;              /* enum fake_guest */
	_Atomic uint32_t events;        /* wakes a halted guest: taken, counted in taken */
	_Atomic uint64_t taken, syncs, dirties;
	_Atomic bool kicked;
};

struct fake_vm {
	_Atomic int level[64];          /* by gsi */
	_Atomic int raised[64];
	_Atomic bool no_irqchip;
};

static inline struct fake *fake_of(struct vcpu *vcpu)
{
	return vcpu->arch_data;
}

static inline struct fake_vm *fake_vm_of(struct vm *vm)
{
	return vm->arch_data;
}

#endif
