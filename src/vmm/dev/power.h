/* SPDX-License-Identifier: MIT */
/*
 * power.h - the small devices by which a guest says how it ends: ACPI's fixed
 * hardware with its timer, the reset ports, the exit port and pvpanic.
 */
#ifndef VMM_DEV_POWER_H
#define VMM_DEV_POWER_H

#include <stdint.h>

#include "vmm/bus.h"
#include "vmm/end.h"

struct power {
	struct run_ctl *ctl;
	uint64_t start_ns; /* of the ACPI timer */
	uint16_t pm1_status, pm1_enable, pm1_control; /* one guest, one writer: a race is the guest's own */
	uint8_t i8042_command; /* the command byte that waits for its data, or 0 */
};

/** power_init - put all of them on the bus; 0 or -errno of bus_add(). */
int power_init(struct power *p, struct bus *bus, struct run_ctl *ctl);

#endif
