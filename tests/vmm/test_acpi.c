/* SPDX-License-Identifier: MIT */
/* The tables: signatures, lengths and checksums, found by following the pointers; and AML by its bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/acpi/acpi.h"
#include "vmm/acpi/aml.h"
#include "vmm/platform.h"

#define GPA 0xe0000u
#define LEN 0x20000u

static uint32_t le32(const uint8_t *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len--)
		s += *p++;
	return s;
}

/* The table at @gpa, checked. */
static const uint8_t *table(const uint8_t *mem, uint32_t gpa, const char *signature)
{
	const uint8_t *t = mem + (gpa - GPA);

	assert_in_range(gpa, GPA, GPA + LEN - 36);
	assert_memory_equal(t, signature, 4);
	assert_in_range(le32(t + 4), 36, GPA + LEN - gpa);
	assert_int_equal(sum(t, le32(t + 4)), 0);
	return t;
}

/* Whether @t holds the bytes @p. */
static bool holds(const uint8_t *t, const void *p, size_t len)
{
	return memmem(t, le32(t + 4), p, len);
}

static void all_tables(void **state)
{
	struct acpi_opts o = { .cpus = 4, .virtio_slots = 3 };
	uint8_t *mem = calloc(1, LEN);
	const uint8_t *xsdt, *fadt, *madt, *dsdt, *facs;

	assert_int_equal(acpi_build(mem, LEN, GPA, &o), 0);
	assert_memory_equal(mem, "RSD PTR ", 8);
	assert_int_equal(sum(mem, 20), 0);
	assert_int_equal(sum(mem, 36), 0);
	xsdt = table(mem, le32(mem + 24), "XSDT");
	assert_int_equal(le32(xsdt + 4), 36 + 16);
	fadt = table(mem, le32(xsdt + 36), "FACP");
	madt = table(mem, le32(xsdt + 44), "APIC");
	dsdt = table(mem, le32(fadt + 40), "DSDT");
	assert_int_equal(le32(fadt + 140), le32(fadt + 40)); /* X_DSDT */
	assert_int_equal(le32(fadt + 36) % 64, 0);
	facs = mem + (le32(fadt + 36) - GPA);
	assert_memory_equal(facs, "FACS", 4);
	assert_int_equal(le32(fadt + 56), ACPI_PM1_EVENT);
	assert_int_equal(le32(fadt + 112) & 1u << 10, 1u << 10); /* there is a reset register */
	assert_true(holds(madt, "\0\x8\x3\x3\1\0\0\0", 8));	  /* the fourth CPU */
	assert_false(holds(madt, "\0\x8\x4\x4\1\0\0\0", 8));
	assert_true(holds(dsdt, "VR02\x08_HID\x0dLNRO0005", 19));
	assert_false(holds(dsdt, "VR03", 4));
	assert_true(holds(dsdt, "\x86\x09\0\1\0\x20\0\xd0\0\x10\0\0\x89\6\0\3\1\x12\0\0\0", 21));
	free(mem);
}

static void too_small(void **state)
{
	struct acpi_opts o = { .cpus = 254, .virtio_slots = VIRTIO_MMIO_MAX };
	uint8_t *mem = calloc(1, LEN);
	size_t len = 0;

	assert_int_equal(acpi_build(mem, LEN, GPA, &o), 0);
	memset(mem, 0, LEN);
	while (acpi_build(mem, len, GPA, &o)) {
		assert_int_equal(mem[len], 0);
		memset(mem, 0, LEN);
		len += 16;
		assert_true(len < LEN);
	}
	assert_true(len > 2000);
	free(mem);
}

static void integers(void **state)
{
	static const struct {
		uint64_t v;
		size_t len;
		const char *bytes;
	} all[] = {
		{ 0, 1, "\0" }, { 1, 1, "\1" }, { 2, 2, "\x0a\2" }, { 255, 2, "\x0a\xff" },
		{ 256, 3, "\x0b\0\1" }, { 0x12345678, 5, "\x0c\x78\x56\x34\x12" },
		{ 0x1122334455667788, 9, "\x0e\x88\x77\x66\x55\x44\x33\x22\x11" },
	};
	uint8_t buf[16];

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct aml a = { .buf = buf, .cap = sizeof(buf) };

		aml_int(&a, all[i].v);
		assert_int_equal(a.len, all[i].len);
		assert_memory_equal(buf, all[i].bytes, a.len);
	}
}

static void eisa_ids(void **state)
{
	uint8_t buf[16];
	struct aml a = { .buf = buf, .cap = sizeof(buf) };

	aml_eisa_id(&a, "PNP0A03");
	assert_int_equal(a.len, 5);
	assert_memory_equal(buf, "\x0c\x41\xd0\x0a\x03", 5);
}

static void lengths(void **state)
{
	uint8_t buf[600];
	struct aml a = { .buf = buf, .cap = sizeof(buf) };
	size_t scope = aml_scope(&a, "\\_SB_");

	for (int i = 0; i < 500; i++)
		aml_byte(&a, 0);
	aml_end(&a, scope);
	/* 3 of the length itself, 5 of the name, 500. */
	assert_int_equal(buf[1] >> 6, 2);
	assert_int_equal((buf[1] & 0xf) | buf[2] << 4 | buf[3] << 12, 508);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_tables), cmocka_unit_test(too_small), cmocka_unit_test(integers),
		cmocka_unit_test(eisa_ids),   cmocka_unit_test(lengths),
	};

	return cmocka_run_group_tests_name("vmm/acpi", tests, NULL, NULL);
}
