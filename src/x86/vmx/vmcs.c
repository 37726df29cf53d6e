// SPDX-License-Identifier: MIT
/* VMREAD's and VMWRITE's view of the VMCS: fields by their encoding.  SDM 3C, 24.11.2. */
#include "x86/vmx/vmcs.h"

#include <string.h>

#include "kvm/types.h"

/* An encoding: bit 0 the high half, 9:1 an index, 11:10 what it is, 14:13 its width. */
#define INDEX(e) ((e) >> 1 & 0x1ff)
#define INDICES 32                      /* of them in use */
#define PLACE(e) (((e) >> 13 & 3) << 7 | ((e) >> 10 & 3) << 5 | ((e) >> 1 & (INDICES - 1)))
#define ENCODING_BITS 0x6fffu
enum { WIDTH_16, WIDTH_64, WIDTH_32, WIDTH_NATURAL };
#define WIDTH(e) ((e) >> 13 & 3)

#define ROW_NAME(encoding, type, name, ...) ROW_##name,
#define NO_ROW(type, name, count)
enum { ROW_NONE, VMCS_FIELDS(ROW_NAME, ROW_NAME, NO_ROW) };

static const struct {
	uint16_t place, offset;
	uint8_t size;
} rows[] = {
#define ROW(encoding, type, name, ...) [ROW_##name] = { PLACE(encoding), offsetof(struct vmcs, name), sizeof(type) },
	VMCS_FIELDS(ROW, ROW, NO_ROW)
};

static const uint8_t row_at[4 * 4 * INDICES] = {
#define AT_ONE(encoding, type, name) [PLACE(encoding)] = ROW_##name,
#define AT(encoding, type, name, count) [PLACE(encoding) ... PLACE(encoding) + (count) - 1] = ROW_##name,
	VMCS_FIELDS(AT_ONE, AT, NO_ROW)
};

static_assert(ARRAY_SIZE(rows) <= 256, "numbers of rows are bytes");

int vmcs_offset(uint64_t encoding)
{
	unsigned int place, row;

	if ((encoding & ~(uint64_t)ENCODING_BITS) || INDEX(encoding) >= INDICES ||
	    ((encoding & 1) && WIDTH(encoding) != WIDTH_64))
		return -1;
	place = PLACE(encoding);
	row = row_at[place];
	return row == ROW_NONE ? -1 : rows[row].offset + (int)(place - rows[row].place) * rows[row].size;
}

unsigned int vmcs_size(uint32_t encoding)
{
	static const uint8_t size[] = { [WIDTH_16] = 2, [WIDTH_64] = 8, [WIDTH_32] = 4, [WIDTH_NATURAL] = 8 };

	return size[WIDTH(encoding)];
}

uint64_t vmcs_get(const void *at, uint32_t encoding)
{
	uint64_t value = 0;

	memcpy(&value, at, vmcs_size(encoding));
	return encoding & 1 ? value >> 32 : value;
}

/* Bits that a processor does not keep; others are judged at VM entry. */
static uint64_t kept(uint32_t encoding)
{
	bool access = encoding >= 0x4814 && encoding <= 0x4822;

	return access ? 0x1f0ff : ~0ULL;
}

void vmcs_put(void *at, uint32_t encoding, uint64_t value)
{
	uint32_t half = (uint32_t)value;

	value &= kept(encoding);
	if (encoding & 1)
		memcpy((char *)at + 4, &half, 4);
	else
		memcpy(at, &value, vmcs_size(encoding));
}

uint64_t vmcs_read(const struct vmcs *m, uint32_t encoding, int offset)
{
	return vmcs_get((const char *)m + offset, encoding);
}

void vmcs_write(struct vmcs *m, uint32_t encoding, int offset, uint64_t value)
{
	vmcs_put((char *)m + offset, encoding, value);
}

unsigned int vmcs_max_index(void)
{
	unsigned int max = 0;

	for (unsigned int place = 0; place < ARRAY_SIZE(row_at); place++)
		if (row_at[place] != ROW_NONE && place % INDICES > max)
			max = place % INDICES;
	return max;
}
