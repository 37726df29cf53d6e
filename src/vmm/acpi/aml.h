/* SPDX-License-Identifier: MIT */
/*
 * aml.h - writes ACPI Machine Language, as much of it as a DSDT of devices
 * needs (ACPI 6.4, chapter 20; resources: section 6.4).
 *
 * Terms are appended in order.  What encloses others is opened, gets its
 * terms, and is closed by aml_end() with what the opening returned:
 *
 *	dev = aml_device(a, "COM1");
 *	aml_name(a, "_UID"), aml_int(a, 1);
 *	aml_end(a, dev);
 */
#ifndef VMM_ACPI_AML_H
#define VMM_ACPI_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *buf;
	size_t len, cap;
	bool full; /* something did not fit: the result is void */
};

void aml_byte(struct aml *a, uint8_t b);
void aml_bytes(struct aml *a, const void *p, size_t len);
void aml_le(struct aml *a, uint64_t v, unsigned int bytes); /* little endian */

/* @path: "\\" and/or one four-letter segment: "\\_SB_", "COM1". */
size_t aml_scope(struct aml *a, const char *path);
size_t aml_device(struct aml *a, const char *path);
size_t aml_package(struct aml *a, uint8_t count);
void aml_end(struct aml *a, size_t open);

void aml_name(struct aml *a, const char *path); /* the value follows */
void aml_int(struct aml *a, uint64_t v);
void aml_string(struct aml *a, const char *s);
void aml_eisa_id(struct aml *a, const char *id); /* "PNP0501" */

/* A resource template, as the value of _CRS. */
size_t aml_resources(struct aml *a);
void aml_io(struct aml *a, uint16_t port, uint8_t len);
void aml_irq(struct aml *a, unsigned int irq);				/* ISA: edge, active high */
void aml_memory32(struct aml *a, uint32_t base, uint32_t len);
void aml_interrupt(struct aml *a, uint32_t gsi);			/* edge, active high, exclusive */
void aml_resources_end(struct aml *a, size_t open);

#endif
