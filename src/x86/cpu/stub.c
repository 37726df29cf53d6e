/* SPDX-License-Identifier: MIT */
/*
 * Host code made for one instruction form each.  A memfd, mapped twice: it is
 * written through `w` and run through `x`, so that no page is writable and
 * executable at once.
 *
 * Forms are few, but a guest can make up a hundred thousand.  A full area is
 * replaced; with it die all blocks, since any may use its stubs, and it is
 * unmapped when they are freed.  A draft that has begun before is made again.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "x86/cpu/code.h"

#define STUB_AREA (8u << 20)

struct stub_area {
	struct stub_area *next;
	uint8_t *w, *x;         /* one memory, two mappings */
	size_t used;
};

struct stub_key {
	uint64_t hash;
	uint32_t off, len;      /* len 0: free */
};

static uint8_t *map(int fd, int prot)
{
	void *p = mmap(NULL, STUB_AREA, prot, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

void stub_free(struct stub_area *list)
{
	while (list) {
		struct stub_area *next = list->next;

		if (list->w)
			munmap(list->w, STUB_AREA);
		if (list->x)
			munmap(list->x, STUB_AREA);
		free(list);
		list = next;
	}
}

static struct stub_area *area_new(void)
{
	struct stub_area *a = calloc(1, sizeof(*a));
	int fd = memfd_create("anykvm-stubs", MFD_CLOEXEC);

	if (a && fd >= 0 && !ftruncate(fd, STUB_AREA)) {
		a->w = map(fd, PROT_READ | PROT_WRITE);
		a->x = map(fd, PROT_READ | PROT_EXEC);
	}
	if (fd >= 0)
		close(fd);
	if (a && a->w && a->x)
		return a;
	stub_free(a);
	return NULL;
}

int stub_init(struct code_cache *cc)
{
	cc->stubs = area_new();
	return cc->stubs ? 0 : -1;
}

void stub_destroy(struct code_cache *cc)
{
	stub_free(cc->stubs);
	stub_free(cc->stubs_dead);
	stub_free(cc->stubs_dying);
	free(cc->stub_key);
}

/* Full: a new area, and nothing in it.  The lock is held. */
static int area_replace(struct code_cache *cc)
{
	struct stub_area *a = area_new();

	if (!a)
		return -1;
	cc->stubs->next = cc->stubs_dead;
	cc->stubs_dead = cc->stubs;
	cc->stubs = a;
	cc->stub_gen++;
	cc->stub_key_count = 0;
	for (unsigned int i = 0; i < cc->stub_keys; i++)
		cc->stub_key[i].len = 0;
	code_drop_all_locked(cc);
	return 0;
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
				!code || !equal(cc->stubs->w + table[i].off, code, n)))
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
	if (2 * cc->stub_key_count >= cc->stub_keys && grow_keys(cc))
		goto out;
	k = key_slot(cc, cc->stub_key, cc->stub_keys, hash, code, n);
	if (!k->len) {
		if (cc->stubs->used + n > STUB_AREA) {
			if (area_replace(cc))
				goto out;
			k = key_slot(cc, cc->stub_key, cc->stub_keys, hash, code, n);
		}
		for (size_t i = 0; i < n; i++)
			cc->stubs->w[cc->stubs->used + i] = ((const uint8_t *)code)[i];
		*k = (struct stub_key){ .hash = hash, .off = cc->stubs->used, .len = n };
		cc->stubs->used = (cc->stubs->used + n + 15) & ~15UL;
		cc->stub_key_count++;
	}
	result = cc->stubs->x + k->off;
out:
	host_unlock(&cc->lock);
	return result;
}

static bool list_owns(const struct stub_area *a, uintptr_t ip)
{
	while (a && ip - (uintptr_t)a->x >= STUB_AREA)
		a = a->next;
	return a;
}

bool code_stub_owns(struct code_cache *cc, uintptr_t ip)
{
	bool owns;

	host_lock(&cc->lock);
	owns = list_owns(cc->stubs, ip) || list_owns(cc->stubs_dead, ip) || list_owns(cc->stubs_dying, ip);
	host_unlock(&cc->lock);
	return owns;
}
