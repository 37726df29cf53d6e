/* SPDX-License-Identifier: MIT */
/* Guest-physical memory for the library's own use: through slots only, dirty log and code pages served. */
#include <errno.h>

#include "host/bytes.h"
#include "x86/cpu/block.h"
#include "x86/mmu/internal.h"

static size_t page_rest(gpa_t gpa, size_t n)
{
	size_t rest = GUEST_PAGE_SIZE - (gpa & ~GUEST_PAGE_MASK);

	return n < rest ? n : rest;
}

/* Aligned words are read by one access each: tables may be written meanwhile. */
static void copy_in(void *dst, const uint8_t *src, size_t n)
{
	if (((uintptr_t)src | n) % 8) {
		copy_bytes(dst, src, n);
		return;
	}
	for (size_t i = 0; i < n / 8; i++)
		((uint64_t *)dst)[i] = ((const volatile uint64_t *)src)[i];
}

/* A few words by moves: a string instruction takes longer to begin than these. */
#define FEW_BYTES 128

static void copy_out(uint8_t *dst, const uint8_t *src, size_t n)
{
	if (n > FEW_BYTES) {
		copy_bytes(dst, src, n);
		return;
	}
	for (; n >= 8; n -= 8, dst += 8, src += 8)
		*(volatile uint64_t *)dst = *(const uint64_t *)src;
	while (n--)
		*(volatile uint8_t *)dst++ = *src++;
}

int phys_read(struct x86_cpu *cpu, gpa_t gpa, void *dst, size_t n)
{
	uint8_t *out = dst;

	while (n) {
		size_t part = page_rest(gpa, n);
		const struct memslot *slot = memslots_find(cpu->slots, gpa_to_gfn(gpa));

		if (!slot)
			return -EFAULT;
		copy_in(out, memslot_hva(slot, gpa_to_gfn(gpa)) + (gpa & ~GUEST_PAGE_MASK), part);
		gpa += part;
		out += part;
		n -= part;
	}
	return 0;
}

int phys_write(struct x86_cpu *cpu, gpa_t gpa, const void *src, size_t n)
{
	const uint8_t *in = src;

	while (n) {
		size_t part = page_rest(gpa, n);
		const struct memslot *slot = memslots_find(cpu->slots, gpa_to_gfn(gpa));

		if (!slot || memslot_readonly(slot))
			return -EFAULT;
		if (code_gfn_guarded(cpu->code, gpa_to_gfn(gpa)))
			code_written(cpu, gpa, part, NULL);
		copy_out(memslot_hva(slot, gpa_to_gfn(gpa)) + (gpa & ~GUEST_PAGE_MASK), in, part);
		mmu_mark_dirty(cpu, slot, gpa_to_gfn(gpa));
		gpa += part;
		in += part;
		n -= part;
	}
	return 0;
}

static bool within_page(gpa_t gpa, gpa_t at, size_t n)
{
	return gpa_to_gfn(at) == gpa_to_gfn(gpa) && page_rest(at, n) == n;
}

int phys_read_parts(struct x86_cpu *cpu, gpa_t gpa, void *dst, const struct phys_part *part, unsigned int count)
{
	const struct memslot *slot = memslots_find(cpu->slots, gpa_to_gfn(gpa));

	if (!slot)
		return -EFAULT;
	for (unsigned int k = 0; k < count; k++) {
		uint8_t *to = (uint8_t *)dst + part[k].at;
		gpa_t at = gpa + part[k].at;

		if (within_page(gpa, at, part[k].size))
			copy_in(to, memslot_hva(slot, gpa_to_gfn(gpa)) + (at & ~GUEST_PAGE_MASK), part[k].size);
		else if (phys_read(cpu, at, to, part[k].size))
			return -EFAULT;
	}
	return 0;
}

int phys_write_parts(struct x86_cpu *cpu, gpa_t gpa, const void *src, const struct phys_part *part, unsigned int count)
{
	const struct memslot *slot = memslots_find(cpu->slots, gpa_to_gfn(gpa));
	bool written = false;
	int r = 0;

	if (!slot || memslot_readonly(slot))
		return -EFAULT;
	for (unsigned int k = 0; k < count && !r; k++) {
		const uint8_t *from = (const uint8_t *)src + part[k].at;
		gpa_t at = gpa + part[k].at;

		if (!within_page(gpa, at, part[k].size)) {
			r = phys_write(cpu, at, from, part[k].size);
			continue;
		}
		if (code_gfn_guarded(cpu->code, gpa_to_gfn(gpa)))
			code_written(cpu, at, part[k].size, NULL);
		copy_out(memslot_hva(slot, gpa_to_gfn(gpa)) + (at & ~GUEST_PAGE_MASK), from, part[k].size);
		written = true;
	}
	if (written)
		mmu_mark_dirty(cpu, slot, gpa_to_gfn(gpa));
	return r;
}

int phys_and64(struct x86_cpu *cpu, gpa_t gpa, uint64_t mask, uint64_t *old)
{
	const struct memslot *slot = memslots_find(cpu->slots, gpa_to_gfn(gpa));
	uint8_t *p;

	if (!slot || memslot_readonly(slot))
		return -EFAULT;
	if (code_gfn_guarded(cpu->code, gpa_to_gfn(gpa)))
		code_written(cpu, gpa, sizeof(*old), NULL);
	p = memslot_hva(slot, gpa_to_gfn(gpa)) + (gpa & ~GUEST_PAGE_MASK);
	*old = __atomic_fetch_and((uint64_t *)p, mask, __ATOMIC_SEQ_CST);
	mmu_mark_dirty(cpu, slot, gpa_to_gfn(gpa));
	return 0;
}
