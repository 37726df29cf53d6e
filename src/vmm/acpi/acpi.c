/* SPDX-License-Identifier: MIT */
#include "vmm/acpi/acpi.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/acpi/aml.h"
#include "vmm/dev/ports.h"
#include "vmm/platform.h"

#define IOAPIC_BASE 0xfec00000u
#define LAPIC_BASE  0xfee00000u

struct header { /* 5.2.6 */
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem_id[6], oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __attribute__((packed));

struct rsdp { /* 5.2.5.3 */
	char signature[8];
	uint8_t checksum;
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt, length;
	uint64_t xsdt;
	uint8_t extended_checksum, reserved[3];
} __attribute__((packed));

struct gas { /* 5.2.3.2 */
	uint8_t space, width, offset, access;
	uint64_t address;
} __attribute__((packed));

struct fadt { /* 5.2.9 */
	struct header h;
	uint32_t facs, dsdt;
	uint8_t reserved0, pm_profile;
	uint16_t sci_int;
	uint32_t smi_cmd;
	uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
	uint32_t pm1a_evt, pm1b_evt, pm1a_cnt, pm1b_cnt, pm2_cnt, pm_tmr, gpe0, gpe1;
	uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len, gpe0_len, gpe1_len, gpe1_base, cst_cnt;
	uint16_t p_lvl2_lat, p_lvl3_lat, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alrm, mon_alrm, century;
	uint16_t iapc_boot_arch;
	uint8_t reserved1;
	uint32_t flags;
	struct gas reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor;
	uint64_t x_facs, x_dsdt;
	struct gas x_pm1a_evt, x_pm1b_evt, x_pm1a_cnt, x_pm1b_cnt, x_pm2_cnt, x_pm_tmr, x_gpe0, x_gpe1;
	struct gas sleep_control, sleep_status;
	uint64_t hypervisor_id;
} __attribute__((packed));

struct facs { /* 5.2.10 */
	char signature[4];
	uint32_t length, hardware_signature, waking_vector, global_lock, flags;
	uint64_t x_waking_vector;
	uint8_t version, reserved[31];
} __attribute__((packed));

_Static_assert(sizeof(struct header) == 36, "5.2.6");
_Static_assert(sizeof(struct rsdp) == 36, "5.2.5.3");
_Static_assert(sizeof(struct fadt) == 276, "5.2.9");
_Static_assert(sizeof(struct facs) == 64, "5.2.10");

#define FADT_WBINVD	   (1u << 0)
#define FADT_PROC_C1	   (1u << 2)
#define FADT_NO_PWR_BUTTON (1u << 4)
#define FADT_NO_SLP_BUTTON (1u << 5)
#define FADT_NO_FIX_RTC	   (1u << 6)
#define FADT_TMR_32	   (1u << 8)
#define FADT_RESET_REG	   (1u << 10)
#define BOOT_LEGACY_DEV	   (1u << 0)
#define BOOT_NO_VGA	   (1u << 2)
#define CMOS_CENTURY	   0x32

static uint8_t checksum(const void *p, size_t len)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += ((const uint8_t *)p)[i];
	return -sum;
}

/* The area that tables are carved from, one behind the other. */
struct area {
	struct aml out; /* an AML writer is a byte writer too */
	uint64_t gpa;
};

static void pad(struct area *ar, size_t align)
{
	while (ar->out.len % align && !ar->out.full)
		aml_byte(&ar->out, 0);
}

static uint64_t here(const struct area *ar)
{
	return ar->gpa + ar->out.len;
}

static size_t table_open(struct area *ar, const char *signature, uint8_t revision)
{
	struct header h = { .revision = revision, .oem_id = "ANYKVM", .oem_table_id = "ANYKVM  ",
			    .oem_revision = 1, .creator_id = "AKVM", .creator_revision = 1 };
	size_t at;

	memcpy(h.signature, signature, 4);
	pad(ar, 16);
	at = ar->out.len;
	aml_bytes(&ar->out, &h, sizeof(h));
	return at;
}

static uint64_t table_close(struct area *ar, size_t at)
{
	struct header *h = (struct header *)(ar->out.buf + at);

	if (ar->out.full)
		return 0;
	h->length = ar->out.len - at;
	h->checksum = checksum(h, h->length);
	return ar->gpa + at;
}

/* An ISA device: one range of ports and perhaps an interrupt. */
struct isa_device {
	const char *name, *pnp, *hid; /* an EISA id, or a string */
	uint16_t port;
	uint8_t len;
	int irq; /* -1: none */
};

static const struct isa_device isa_devices[] = {
	{ "COM1", "PNP0501", NULL, PORT_COM1, 8, IRQ_COM1 },
	{ "RTC_", "PNP0B00", NULL, PORT_RTC, 2, IRQ_RTC },
	{ "PEVT", NULL, "QEMU0001", PORT_PVPANIC, 1, -1 },
};

static void dsdt_isa(struct aml *a, const struct isa_device *d)
{
	size_t dev = aml_device(a, d->name), crs;

	aml_name(a, "_HID");
	if (d->pnp)
		aml_eisa_id(a, d->pnp);
	else
		aml_string(a, d->hid);
	aml_name(a, "_UID");
	aml_int(a, 1);
	aml_name(a, "_STA");
	aml_int(a, 0xf);
	aml_name(a, "_CRS");
	crs = aml_resources(a);
	aml_io(a, d->port, d->len);
	if (d->irq >= 0)
		aml_irq(a, d->irq);
	aml_resources_end(a, crs);
	aml_end(a, dev);
}

static void dsdt_virtio(struct aml *a, unsigned int n)
{
	struct virtio_slot slot = virtio_slot_at(n);
	size_t dev, crs;
	char name[8];

	snprintf(name, sizeof(name), "VR%02X", n & 0xff);
	dev = aml_device(a, name);
	aml_name(a, "_HID");
	aml_string(a, "LNRO0005");
	aml_name(a, "_UID");
	aml_int(a, n);
	aml_name(a, "_CCA"); /* DMA is coherent */
	aml_int(a, 1);
	aml_name(a, "_CRS");
	crs = aml_resources(a);
	aml_memory32(a, slot.gpa, VIRTIO_MMIO_SIZE);
	aml_interrupt(a, slot.gsi);
	aml_resources_end(a, crs);
	aml_end(a, dev);
}

static uint64_t build_dsdt(struct area *ar, const struct acpi_opts *opts)
{
	size_t at = table_open(ar, "DSDT", 2), scope, package;
	struct aml *a = &ar->out;

	aml_name(a, "\\_S5_");
	package = aml_package(a, 4);
	aml_int(a, ACPI_SLP_TYP_S5);
	aml_int(a, ACPI_SLP_TYP_S5);
	aml_int(a, 0);
	aml_int(a, 0);
	aml_end(a, package);
	scope = aml_scope(a, "\\_SB_");
	for (size_t i = 0; i < sizeof(isa_devices) / sizeof(isa_devices[0]); i++)
		dsdt_isa(a, &isa_devices[i]);
	for (unsigned int i = 0; i < opts->virtio_slots; i++)
		dsdt_virtio(a, i);
	aml_end(a, scope);
	return table_close(ar, at);
}

static uint64_t build_facs(struct area *ar)
{
	struct facs f = { .signature = "FACS", .length = sizeof(f), .version = 2 };
	uint64_t gpa;

	pad(ar, 64);
	gpa = here(ar);
	aml_bytes(&ar->out, &f, sizeof(f));
	return gpa;
}

static struct gas io_register(uint16_t port, uint8_t bits)
{
	uint8_t access = bits == 8 ? 1 : bits == 16 ? 2 : 3;

	return (struct gas){ .space = 1, .width = bits, .access = access, .address = port };
}

static uint64_t build_fadt(struct area *ar, uint64_t facs, uint64_t dsdt)
{
	size_t at = table_open(ar, "FACP", 6);
	struct fadt f = {
		.facs = facs,
		.dsdt = dsdt,
		.x_dsdt = dsdt,	     /* of FACS only one address may be set */
		.sci_int = ACPI_SCI, /* SMI_CMD 0: always in ACPI mode */
		.pm1a_evt = ACPI_PM1_EVENT,
		.pm1_evt_len = 4,
		.x_pm1a_evt = io_register(ACPI_PM1_EVENT, 32),
		.pm1a_cnt = ACPI_PM1_CONTROL,
		.pm1_cnt_len = 2,
		.x_pm1a_cnt = io_register(ACPI_PM1_CONTROL, 16),
		.pm_tmr = ACPI_PM_TIMER,
		.pm_tmr_len = 4,
		.x_pm_tmr = io_register(ACPI_PM_TIMER, 32),
		.p_lvl2_lat = 0xfff,
		.p_lvl3_lat = 0xfff, /* no C2, no C3 */
		.century = CMOS_CENTURY,
		.iapc_boot_arch = BOOT_LEGACY_DEV | BOOT_NO_VGA,
		.flags = FADT_WBINVD | FADT_PROC_C1 | FADT_NO_PWR_BUTTON | FADT_NO_SLP_BUTTON |
			 FADT_NO_FIX_RTC | FADT_TMR_32 | FADT_RESET_REG,
		.reset_reg = io_register(ACPI_RESET_PORT, 8),
		.reset_value = ACPI_RESET_VALUE,
		.minor = 4,
	};

	aml_bytes(&ar->out, (uint8_t *)&f + sizeof(f.h), sizeof(f) - sizeof(f.h));
	return table_close(ar, at);
}

/* The MADT's entries: 5.2.12. */
static void madt_cpu(struct aml *a, unsigned int id)
{
	if (id < 255) { /* local APIC */
		aml_le(a, 8 << 8 | 0, 2);
		aml_byte(a, id);
		aml_byte(a, id);
	} else { /* local x2APIC */
		aml_le(a, 16 << 8 | 9, 2);
		aml_le(a, 0, 2);
		aml_le(a, id, 4);
	}
	aml_le(a, 1, 4); /* enabled */
	if (id >= 255)
		aml_le(a, id, 4);
}

static void madt_ioapic(struct aml *a)
{
	aml_le(a, 12 << 8 | 1, 2);
	aml_le(a, 0, 2); /* id */
	aml_le(a, IOAPIC_BASE, 4);
	aml_le(a, 0, 4); /* first gsi */
}

static void madt_override(struct aml *a, uint8_t irq, uint32_t gsi, uint16_t flags)
{
	aml_le(a, 10 << 8 | 2, 2);
	aml_byte(a, 0); /* ISA */
	aml_byte(a, irq);
	aml_le(a, gsi, 4);
	aml_le(a, flags, 2);
}

static void madt_nmi(struct aml *a)
{
	aml_le(a, 6 << 8 | 4, 2);
	aml_byte(a, 0xff); /* every processor */
	aml_le(a, 0, 2);
	aml_byte(a, 1); /* LINT1 */
}

static uint64_t build_madt(struct area *ar, const struct acpi_opts *opts)
{
	size_t at = table_open(ar, "APIC", 5);
	struct aml *a = &ar->out;

	aml_le(a, LAPIC_BASE, 4);
	aml_le(a, 1, 4); /* there are 8259s, too */
	for (unsigned int i = 0; i < opts->cpus; i++)
		madt_cpu(a, i);
	madt_ioapic(a);
	/*
	 * KVM's default routing has pin n for IRQ n, the timer's included, so
	 * there is nothing to override but the SCI's trigger: level, active high.
	 */
	madt_override(a, ACPI_SCI, ACPI_SCI, 0xd);
	madt_nmi(a);
	return table_close(ar, at);
}

static uint64_t build_xsdt(struct area *ar, uint64_t fadt, uint64_t madt)
{
	size_t at = table_open(ar, "XSDT", 1);

	aml_le(&ar->out, fadt, 8);
	aml_le(&ar->out, madt, 8);
	return table_close(ar, at);
}

static void build_rsdp(void *mem, uint64_t xsdt)
{
	struct rsdp r = { .signature = "RSD PTR ", .oem_id = "ANYKVM", .revision = 2, .length = sizeof(r),
			  .xsdt = xsdt };

	r.checksum = checksum(&r, 20);
	r.extended_checksum = checksum(&r, sizeof(r));
	memcpy(mem, &r, sizeof(r));
}

int acpi_build(void *mem, size_t len, uint64_t gpa, const struct acpi_opts *opts)
{
	struct area ar = { .out = { .buf = mem, .cap = len }, .gpa = gpa };
	struct rsdp none = { 0 };
	uint64_t dsdt, facs, fadt, madt, xsdt;

	aml_bytes(&ar.out, &none, sizeof(none));
	dsdt = build_dsdt(&ar, opts);
	facs = build_facs(&ar);
	fadt = build_fadt(&ar, facs, dsdt);
	madt = build_madt(&ar, opts);
	xsdt = build_xsdt(&ar, fadt, madt);
	if (ar.out.full)
		return -ENOSPC;
	build_rsdp(mem, xsdt);
	return 0;
}
