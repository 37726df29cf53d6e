// SPDX-License-Identifier: MIT
/*
 * The vector registers in struct vregs and in XSAVE images of the host's
 * layout.  The first 832 bytes are the same everywhere; where AVX-512's three
 * components lie is the host's, and differs between vendors (SDM 1, 13.4.3).
 */
#include <cpuid.h>
#include <stddef.h>
#include <string.h>

#include "judge.h"

#define FIRST_WIDE 5

static const struct {
	size_t at, size;        /* in struct vregs */
} wide[] = {
	{ offsetof(struct vregs, k), sizeof(((struct vregs *)0)->k) },
	{ offsetof(struct vregs, zmm_high), sizeof(((struct vregs *)0)->zmm_high) },
	{ offsetof(struct vregs, zmm), sizeof(((struct vregs *)0)->zmm) },
};
#define WIDE (sizeof(wide) / sizeof(wide[0]))

static struct {
	bool known;
	uint64_t components;
	uint32_t at[WIDE];      /* in the host's images */
} host;

static uint64_t read_xcr0(void)
{
	uint32_t eax, ebx, ecx, edx;

	if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE))
		return 0;
	__asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
	return eax | (uint64_t)edx << 32;
}

/* AVX-512 counts as one: all of its components, each of the size and place that is allowed for. */
static void find_layout(void)
{
	bool whole = (read_xcr0() & AVX512_COMPONENTS) == AVX512_COMPONENTS;

	for (unsigned int k = 0; k < WIDE && whole; k++) {
		uint32_t size = 0, ecx, edx;

		whole = __get_cpuid_count(0xd, FIRST_WIDE + k, &size, &host.at[k], &ecx, &edx) &&
			size == wide[k].size && host.at[k] + size <= IMAGE_BYTES;
	}
	host.components = 7 | (whole ? AVX512_COMPONENTS : 0);
	host.known = true;
}

uint64_t host_components(void)
{
	if (!host.known)
		find_layout();
	return host.components;
}

unsigned int xsave_area_bytes(void)
{
	return host_components() & AVX512_COMPONENTS ? IMAGE_BYTES : 1024;
}

void vregs_to_image(uint8_t *image, const struct vregs *v, uint64_t components)
{
	uint64_t used = v->header[0] & components;

	memcpy(image, v, offsetof(struct vregs, k));
	memcpy(image + offsetof(struct vregs, header), &used, sizeof(used));
	for (unsigned int k = 0; k < WIDE; k++)
		if (components >> (FIRST_WIDE + k) & 1)
			memcpy(image + host.at[k], (const uint8_t *)v + wide[k].at, wide[k].size);
}

void vregs_from_image(struct vregs *v, const uint8_t *image, uint64_t components)
{
	memcpy(v, image, offsetof(struct vregs, k));
	for (unsigned int k = 0; k < WIDE; k++) {
		uint8_t *to = (uint8_t *)v + wide[k].at;

		if (!(components >> (FIRST_WIDE + k) & 1))
			continue;
		if (v->header[0] >> (FIRST_WIDE + k) & 1)
			memcpy(to, image + host.at[k], wide[k].size);
		else
			memset(to, 0, wide[k].size);
	}
}
