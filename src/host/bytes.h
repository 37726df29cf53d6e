/* SPDX-License-Identifier: MIT */
/* memcpy() of general registers alone, for where vector registers are a guest's. */
#ifndef HOST_BYTES_H
#define HOST_BYTES_H

#include <stddef.h>

/** copy_bytes - @n bytes, in ascending order; the areas may overlap if @dst is below @src. */
static inline void copy_bytes(void *dst, const void *src, size_t n)
{
	__asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
}

#endif
