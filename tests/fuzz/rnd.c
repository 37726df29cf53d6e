/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include "../rnd.h"

static __thread uint64_t state;

void rnd_seed(uint64_t seed)
{
	state = seed;
}

uint64_t rnd(void)
{
	return splitmix64(&state);
}

static const uint64_t edges[] = {
	0, 1, 2, 3, 4, 8, 0x10, 0x20, 0x40, 0x7f, 0x80, 0xff, 0x100, 0xfff, 0x1000, 0x1001, 0x7fffffff, 0x80000000,
	0xffffffff, 0x100000000, 0xfee00000, 0xfec00000, 0x7fffffffffff, 0x800000000000, 0xffff800000000000,
	0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff,
};

uint64_t number(void)
{
	switch (below(4)) {
	case 0: return rnd();
	case 1: return below(64);
	case 2: return 1ULL << below(64);
	default: return pick(edges);
	}
}
