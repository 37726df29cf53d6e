// SPDX-License-Identifier: MIT
/* Workloads that live in user space: integer, floating point, calls and memory. */
#include "work.h"

#include <stdlib.h>
#include <string.h>

/* Keeps a result alive in the compiler's eyes. */
static volatile uint64_t sink;

static uint64_t next_random(uint64_t *state)
{
	/* xorshift64 (Marsaglia, "Xorshift RNGs", 2003). */
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/*
 * SHA-256 as FIPS 180-4 describes it, plainly.  The constants are what the standard says they are, the first 32
 * fraction bits of the cube roots (k) and square roots (initial hash) of the first primes, and are computed.
 */
static uint32_t sha_k[64], sha_start[8];
static uint8_t sha_data[65536];

static uint32_t rotr(uint32_t x, unsigned int n)
{
	return x >> n | x << (32 - n);
}

/* The first 32 fraction bits of the @degree-th root of @n, by bisection in integers: r^degree <= n * 2^(32*degree). */
static uint32_t root_fraction(unsigned int n, unsigned int degree)
{
	uint64_t root = 0;

	for (int bit = 36; bit >= 0; bit--) {
		uint64_t try = root | 1ull << bit;
		/* try < 2^37 is at most 2^5.x * 2^32; squares and cubes are compared at half precision steps. */
		unsigned __int128 power = (unsigned __int128)try * try;
		unsigned __int128 limit = (unsigned __int128)n << 64;

		if (degree == 3) {
			/* try^3 <= n * 2^96, that is try^2 <= n * 2^96 / try. */
			unsigned __int128 high = limit / try;
			unsigned __int128 rest = limit % try;

			limit = (high << 32) + (rest << 32) / try;
		}
		if (power <= limit)
			root = try;
	}
	return (uint32_t)root;
}

static int is_prime(unsigned int n)
{
	for (unsigned int d = 2; d * d <= n; d++) {
		if (n % d == 0)
			return 0;
	}
	return 1;
}

void work_sha256_setup(void)
{
	uint64_t state = 1;
	unsigned int count = 0;

	for (unsigned int n = 2; count < 64; n++) {
		if (!is_prime(n))
			continue;
		sha_k[count] = root_fraction(n, 3);
		if (count < 8)
			sha_start[count] = root_fraction(n, 2);
		count++;
	}
	for (size_t i = 0; i < sizeof(sha_data); i++)
		sha_data[i] = (uint8_t)next_random(&state);
}

static void sha_block(uint32_t hash[8], const uint8_t *block)
{
	uint32_t w[64], v[8];

	for (int i = 0; i < 16; i++)
		w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
		       (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
	for (int i = 16; i < 64; i++) {
		uint32_t s0 = rotr(w[i - 15], 7) ^ rotr(w[i - 15], 18) ^ w[i - 15] >> 3;
		uint32_t s1 = rotr(w[i - 2], 17) ^ rotr(w[i - 2], 19) ^ w[i - 2] >> 10;

		w[i] = w[i - 16] + s0 + w[i - 7] + s1;
	}
	memcpy(v, hash, sizeof(v));
	for (int i = 0; i < 64; i++) {
		uint32_t s1 = rotr(v[4], 6) ^ rotr(v[4], 11) ^ rotr(v[4], 25);
		uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
		uint32_t t1 = v[7] + s1 + choice + sha_k[i] + w[i];
		uint32_t s0 = rotr(v[0], 2) ^ rotr(v[0], 13) ^ rotr(v[0], 22);
		uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);

		for (int j = 7; j > 0; j--)
			v[j] = v[j - 1];
		v[4] += t1;
		v[0] = t1 + s0 + majority;
	}
	for (int i = 0; i < 8; i++)
		hash[i] += v[i];
}

uint32_t work_sha256_abc(void)
{
	uint8_t block[64] = { 'a', 'b', 'c', 0x80 };
	uint32_t hash[8];

	block[63] = 24;	/* the message's length in bits */
	memcpy(hash, sha_start, sizeof(hash));
	sha_block(hash, block);
	return hash[0];
}

void work_sha256(void)
{
	for (int i = 0; i < SHA256_OPS; i++) {
		uint32_t hash[8];

		memcpy(hash, sha_start, sizeof(hash));
		for (size_t at = 0; at < sizeof(sha_data); at += 64)
			sha_block(hash, sha_data + at);
		sink += hash[0];
	}
}

#define SORT_ITEMS 2000

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

void work_sort(void)
{
	static uint64_t items[SORT_ITEMS];

	for (int i = 0; i < SORT_OPS; i++) {
		uint64_t state = 88172645463325252ull;

		for (int j = 0; j < SORT_ITEMS; j++)
			items[j] = next_random(&state);
		qsort(items, SORT_ITEMS, sizeof(items[0]), compare);
		for (int j = 1; j < SORT_ITEMS; j++) {
			if (items[j - 1] > items[j])
				work_die("sort: wrong order");
		}
	}
}

#define MATRIX_SIDE 64
static double left[MATRIX_SIDE][MATRIX_SIDE], right[MATRIX_SIDE][MATRIX_SIDE], product[MATRIX_SIDE][MATRIX_SIDE];

void work_matrix_setup(void)
{
	for (int i = 0; i < MATRIX_SIDE; i++) {
		for (int j = 0; j < MATRIX_SIDE; j++) {
			left[i][j] = i + j / 64.0;
			right[i][j] = i == j ? 2.0 : 0.0;
		}
	}
}

void work_matrix(void)
{
	for (int op = 0; op < MATRIX_OPS; op++) {
		for (int i = 0; i < MATRIX_SIDE; i++) {
			for (int j = 0; j < MATRIX_SIDE; j++) {
				double sum = 0;

				for (int k = 0; k < MATRIX_SIDE; k++)
					sum += left[i][k] * right[k][j];
				product[i][j] = sum;
			}
		}
		/* Twice the identity doubles exactly. */
		if (product[op][63] != 2 * left[op][63])
			work_die("matrix: wrong product");
	}
}

static __attribute__((noinline)) unsigned int fib(unsigned int n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

void work_calls(void)
{
	for (int i = 0; i < CALLS_OPS; i++) {
		if (fib(20) != 6765)
			work_die("calls: wrong sum");
	}
}

#define COPY_BYTES (1u << 20)
static char copy_from[COPY_BYTES], copy_to[COPY_BYTES];

void work_memcpy_setup(void)
{
	memset(copy_from, 'c', sizeof(copy_from));
	memset(copy_to, 0, sizeof(copy_to));
}

void work_memcpy(void)
{
	/* Called through a pointer, so that it is the C library's and not open code. */
	void *(*volatile copy)(void *, const void *, size_t) = memcpy;

	for (int i = 0; i < MEMCPY_OPS; i++)
		copy(copy_to, copy_from, COPY_BYTES);
	if (copy_to[COPY_BYTES - 1] != 'c')
		work_die("memcpy: wrong bytes");
}

/* One random cycle through 4 MiB, a cache line a step. */
#define CHASE_ITEMS 65536
static struct chase { struct chase *next; char pad[56]; } chase_items[CHASE_ITEMS];
static struct chase *chase_at;

void work_chase_setup(void)
{
	static unsigned int order[CHASE_ITEMS];
	uint64_t state = 42;

	for (unsigned int i = 0; i < CHASE_ITEMS; i++)
		order[i] = i;
	for (unsigned int i = CHASE_ITEMS - 1; i > 0; i--) {
		unsigned int j = next_random(&state) % (i + 1), swap = order[i];

		order[i] = order[j];
		order[j] = swap;
	}
	for (unsigned int i = 0; i < CHASE_ITEMS; i++)
		chase_items[order[i]].next = &chase_items[order[(i + 1) % CHASE_ITEMS]];
	chase_at = chase_items;
}

void work_chase(void)
{
	struct chase *at = chase_at;

	for (int i = 0; i < CHASE_OPS; i++)
		at = at->next;
	chase_at = at;
}
