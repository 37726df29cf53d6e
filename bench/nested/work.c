// SPDX-License-Identifier: MIT
#include "nested.h"

#define LINKS (1 << 19)
#define FEW (1 << 15)

/* 64 bytes each. */
static struct link {
	uint64_t next, fill[7];
} links[LINKS];

static uint64_t result;

/* xorshift, and some bits by a table. */
void work_int(void)
{
	static uint8_t table[256];
	uint64_t x = 88172645463325252ULL + result;

	for (int i = 0; i < 256; i++)
		table[i] = (uint8_t)(i * 167 + 13);
	for (int i = 0; i < WORK_OPS * 100; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		x += table[x & 255];
	}
	result = x;
}

/* One round through all links, in steps longer than a page. */
static void chain(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		links[i].next = (i + 104729) % n;
	result = 0;
}

void work_mem_setup(void)
{
	chain(FEW);
}

void work_tlb_setup(void)
{
	chain(LINKS);
}

void work_mem(void)
{
	uint64_t at = result;

	for (int i = 0; i < WORK_OPS * 100; i++)
		at = links[at].next;
	result = at;
}

void work_tlb(void)
{
	work_mem();
}
