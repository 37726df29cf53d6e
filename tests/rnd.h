/* SPDX-License-Identifier: MIT */
/* Random numbers for tests: the same ones from the same seed, everywhere. */
#ifndef TESTS_RND_H
#define TESTS_RND_H

#include <stdint.h>

/** splitmix64 - the next one of the sequence at @state, which is any number to begin with. */
static inline uint64_t splitmix64(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

#endif
