/* SPDX-License-Identifier: MIT */
/*
 * Host code made for one instruction form each.  One memfd, mapped twice: it is
 * written through stub_w and run through stub_x, so that no page is writable and
 * executable at once.  Stubs live as long as the VM: forms are few.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "x86/cpu/code.h"

#define STUB_AREA (8u << 20)

struct stub_key {
	uint64_t hash;
	uint32_t off, len;      /* len 0: free */
};

void stub_init(struct code_cache *cc)
{
	int fd = memfd_create("anykvm-stubs", MFD_CLOEXEC);
	void *w, *x;

	if (fd < 0)
		return;
	if (!ftruncate(fd, STUB_AREA)) {
		w = mmap(NULL, STUB_AREA, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		x = mmap(NULL, STUB_AREA, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
		if (w != MAP_FAILED && x != MAP_FAILED) {
			cc->stub_w = w;
			cc->stub_x = x;
		} else {
			if (w != MAP_FAILED)
				munmap(w, STUB_AREA);
			if (x != MAP_FAILED)
				munmap(x, STUB_AREA);
		}
	}
	close(fd);
}

void stub_destroy(struct code_cache *cc)
{
	if (cc->stub_w) {
		munmap(cc->stub_w, STUB_AREA);
		munmap(cc->stub_x, STUB_AREA);
	}
	free(cc->stub_key);
}

static uint64_t hash_bytes(const uint8_t *p, size_t n)
{
	uint64_t h = 0xcbf29ce484222325ULL;     /* FNV-1a */

	while (n--)
		h = (h ^ *p++) * 0x100000001b3ULL;
	return h;
}

static bool equal(const uint8_t *a, const uint8_t *b, size_t n)
{
	while (n--)
		if (*a++ != *b++)
			return false;
	return true;
}

static struct stub_key *key_slot(struct code_cache *cc, struct stub_key *table, unsigned int size, uint64_t hash,
				 const uint8_t *code, size_t n)
{
	unsigned int i = hash & (size - 1);

	while (table[i].len && (table[i].hash != hash || table[i].len != n ||
				!code || !equal(cc->stub_w + table[i].off, code, n)))
		i = (i + 1) & (size - 1);
	return &table[i];
}

static int grow_keys(struct code_cache *cc)
{
	unsigned int size = cc->stub_keys ? 2 * cc->stub_keys : 256;
	struct stub_key *table = calloc(size, sizeof(*table));

	if (!table)
		return -1;
	for (unsigned int i = 0; i < cc->stub_keys; i++)
		if (cc->stub_key[i].len)
			*key_slot(cc, table, size, cc->stub_key[i].hash, NULL, 0) = cc->stub_key[i];
	free(cc->stub_key);
	cc->stub_key = table;
	cc->stub_keys = size;
	return 0;
}

const void *code_stub(struct code_cache *cc, const void *code, size_t n)
{
	uint64_t hash = hash_bytes(code, n);
	const void *result = NULL;
	struct stub_key *k;

	host_lock(&cc->lock);
	if (!cc->stub_w || (2 * cc->stub_key_count >= cc->stub_keys && grow_keys(cc)))
		goto out;
	k = key_slot(cc, cc->stub_key, cc->stub_keys, hash, code, n);
	if (!k->len) {
		if (cc->stub_used + n > STUB_AREA)
			goto out;
		for (size_t i = 0; i < n; i++)
			cc->stub_w[cc->stub_used + i] = ((const uint8_t *)code)[i];
		*k = (struct stub_key){ .hash = hash, .off = cc->stub_used, .len = n };
		cc->stub_used = (cc->stub_used + n + 15) & ~15UL;
		cc->stub_key_count++;
	}
	result = cc->stub_x + k->off;
out:
	host_unlock(&cc->lock);
	return result;
}

bool code_stub_owns(const struct code_cache *cc, uintptr_t ip)
{
	return cc->stub_x && ip - (uintptr_t)cc->stub_x < STUB_AREA;
}
