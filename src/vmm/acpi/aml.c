/* SPDX-License-Identifier: MIT */
#include "vmm/acpi/aml.h"

#include <string.h>

/* Opcodes: ACPI 6.4, section 20.3. */
#define OP_NAME	   0x08
#define OP_BYTE	   0x0a
#define OP_WORD	   0x0b
#define OP_DWORD   0x0c
#define OP_STRING  0x0d
#define OP_QWORD   0x0e
#define OP_SCOPE   0x10
#define OP_BUFFER  0x11
#define OP_PACKAGE 0x12
#define OP_EXT	   0x5b
#define OP_DEVICE  0x82

#define PKG_LENGTH 3u /* a PkgLength always written in three bytes (20.2.4): up to 1 MiB */

void aml_byte(struct aml *a, uint8_t b)
{
	if (a->len < a->cap)
		a->buf[a->len++] = b;
	else
		a->full = true;
}

void aml_bytes(struct aml *a, const void *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		aml_byte(a, ((const uint8_t *)p)[i]);
}

void aml_le(struct aml *a, uint64_t v, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		aml_byte(a, v >> (8 * i));
}

static size_t pkg_open(struct aml *a)
{
	size_t at = a->len;

	aml_le(a, 0, PKG_LENGTH);
	return at;
}

void aml_end(struct aml *a, size_t open)
{
	size_t len = a->len - open;

	if (a->full)
		return;
	a->buf[open] = 0x80 | (len & 0xf);
	a->buf[open + 1] = len >> 4;
	a->buf[open + 2] = len >> 12;
}

static void path_put(struct aml *a, const char *path)
{
	aml_bytes(a, path, strlen(path));
}

size_t aml_scope(struct aml *a, const char *path)
{
	size_t open;

	aml_byte(a, OP_SCOPE);
	open = pkg_open(a);
	path_put(a, path);
	return open;
}

size_t aml_device(struct aml *a, const char *path)
{
	size_t open;

	aml_byte(a, OP_EXT);
	aml_byte(a, OP_DEVICE);
	open = pkg_open(a);
	path_put(a, path);
	return open;
}

size_t aml_package(struct aml *a, uint8_t count)
{
	size_t open;

	aml_byte(a, OP_PACKAGE);
	open = pkg_open(a);
	aml_byte(a, count);
	return open;
}

void aml_name(struct aml *a, const char *path)
{
	aml_byte(a, OP_NAME);
	path_put(a, path);
}

void aml_int(struct aml *a, uint64_t v)
{
	static const struct {
		uint64_t max;
		uint8_t op, bytes;
	} forms[] = {
		{ 0xff, OP_BYTE, 1 },
		{ 0xffff, OP_WORD, 2 },
		{ 0xffffffff, OP_DWORD, 4 },
		{ UINT64_MAX, OP_QWORD, 8 },
	};
	unsigned int i = 0;

	if (v <= 1) { /* ZeroOp, OneOp */
		aml_byte(a, v);
		return;
	}
	while (v > forms[i].max)
		i++;
	aml_byte(a, forms[i].op);
	aml_le(a, v, forms[i].bytes);
}

void aml_string(struct aml *a, const char *s)
{
	aml_byte(a, OP_STRING);
	aml_bytes(a, s, strlen(s) + 1);
}

static unsigned int hex(char c)
{
	return c <= '9' ? c - '0' : c - 'A' + 10;
}

/* Three letters in five bits each, four hex digits; stored big endian (19.3.4, EISAID). */
void aml_eisa_id(struct aml *a, const char *id)
{
	uint32_t v =
	    (uint32_t)(id[0] - '@') << 26 | (uint32_t)(id[1] - '@') << 21 | (uint32_t)(id[2] - '@') << 16;

	v |= hex(id[3]) << 12 | hex(id[4]) << 8 | hex(id[5]) << 4 | hex(id[6]);
	aml_byte(a, OP_DWORD);
	aml_le(a, __builtin_bswap32(v), 4);
}

#define BUFFER_SIZE 2u /* a buffer's size is always written as a word */

size_t aml_resources(struct aml *a)
{
	size_t open;

	aml_byte(a, OP_BUFFER);
	open = pkg_open(a);
	aml_byte(a, OP_WORD);
	aml_le(a, 0, BUFFER_SIZE);
	return open;
}

void aml_resources_end(struct aml *a, size_t open)
{
	size_t head = open + PKG_LENGTH + 1 + BUFFER_SIZE;

	aml_byte(a, 0x79); /* end tag (6.4.2.9); checksum 0: treated as correct */
	aml_byte(a, 0);
	if (!a->full) {
		a->buf[head - 2] = a->len - head;
		a->buf[head - 1] = (a->len - head) >> 8;
	}
	aml_end(a, open);
}

void aml_io(struct aml *a, uint16_t port, uint8_t len)
{
	aml_byte(a, 0x47); /* 6.4.2.5 */
	aml_byte(a, 1);	   /* decodes 16 bits */
	aml_le(a, port, 2);
	aml_le(a, port, 2);
	aml_byte(a, 1); /* alignment */
	aml_byte(a, len);
}

void aml_irq(struct aml *a, unsigned int irq)
{
	aml_byte(a, 0x22); /* 6.4.2.1, without flags */
	aml_le(a, 1u << irq, 2);
}

void aml_memory32(struct aml *a, uint32_t base, uint32_t len)
{
	aml_byte(a, 0x86); /* 6.4.3.4 */
	aml_le(a, 9, 2);
	aml_byte(a, 1); /* writable */
	aml_le(a, base, 4);
	aml_le(a, len, 4);
}

void aml_interrupt(struct aml *a, uint32_t gsi)
{
	aml_byte(a, 0x89); /* 6.4.3.6 */
	aml_le(a, 6, 2);
	aml_byte(a, 0x3); /* consumer, edge */
	aml_byte(a, 1);
	aml_le(a, gsi, 4);
}
