/* SPDX-License-Identifier: MIT */
/* acpi.h - the machine's tables: RSDP, XSDT, FADT, FACS, MADT, DSDT (ACPI 6.4, chapter 5). */
#ifndef VMM_ACPI_ACPI_H
#define VMM_ACPI_ACPI_H

#include <stddef.h>
#include <stdint.h>

/* The fixed hardware that the FADT names (chapter 4); dev/pm.c answers there. */
#define ACPI_PM1_EVENT	 0x600u /* 4 bytes: status, enable */
#define ACPI_PM1_CONTROL 0x604u /* 2 bytes */
#define ACPI_PM_TIMER	 0x608u /* 4 bytes */
#define ACPI_RESET_PORT	 0xcf9u
#define ACPI_RESET_VALUE 0x06u
#define ACPI_SLP_TYP_S5	 5u
#define ACPI_SCI	 9u

struct acpi_opts {
	unsigned int cpus;	   /* APIC ids 0 to cpus - 1 */
	unsigned int virtio_slots; /* LNRO0005 devices, at virtio_slot_at(0..) */
};

/**
 * acpi_build - write the tables.
 * @mem, @len: the host's view of the gpa range that starts at @gpa.
 * Returns 0 with the RSDP at @gpa, or -ENOSPC.
 */
int acpi_build(void *mem, size_t len, uint64_t gpa, const struct acpi_opts *opts);

#endif
