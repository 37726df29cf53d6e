/* SPDX-License-Identifier: MIT */
/* kvmclock: the guest's clock page and wall clock.  Kernel documentation: virt/kvm/x86/msr.rst. */
#ifndef X86_PV_KVMCLOCK_H
#define X86_PV_KVMCLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct x86_vcpu;

#define MSR_WALL_CLOCK 0x11
#define MSR_SYSTEM_TIME 0x12
#define MSR_WALL_CLOCK_NEW 0x4b564d00
#define MSR_SYSTEM_TIME_NEW 0x4b564d01

/** x86_kvmclock_update - writes the vCPU's time page if it has one.  Owner, entered. */
void x86_kvmclock_update(struct x86_vcpu *v);

/* At the guest's TSC `tsc` it was `ns`; further ns = (ticks << shift) * mul >> 32, or >> -shift. */
struct x86_kvmclock_reference {
	uint64_t tsc, ns;
	uint32_t mul;
	int8_t shift;
};

/** x86_kvmclock_reference - what the vCPU's time page says, or would. */
void x86_kvmclock_reference(const struct x86_vcpu *v, struct x86_kvmclock_reference *r);

/** x86_kvmclock_now - the VM's clock, ns. */
uint64_t x86_kvmclock_now(const struct x86_vcpu *v);

/** x86_kvmclock_set_page - WRMSR of MSR_SYSTEM_TIME. */
void x86_kvmclock_set_page(struct x86_vcpu *v, uint64_t value);

/** x86_kvmclock_set_wall - WRMSR of MSR_WALL_CLOCK: writes boot time where @value says. */
void x86_kvmclock_set_wall(struct x86_vcpu *v, uint64_t value);

#endif
