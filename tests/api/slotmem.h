/* SPDX-License-Identifier: MIT */
/*
 * A slot of its own, for tests of what a processor finds in memory that L1 names: memory of each kind that a client may
 * have, other memory in its place, pages taken away from under it, and none at all.
 */
#ifndef TESTS_API_SLOTMEM_H
#define TESTS_API_SLOTMEM_H

#include "api.h"

#define SLOTMEM_BASE 0x400000UL         /* 2 MiB, as a huge page has */
#define SLOTMEM_SIZE 0x200000UL
#define SLOTMEM_PAGE 5u
#define SLOTMEM (SLOTMEM_BASE + SLOTMEM_PAGE * PAGE)    /* where the structure lies */

enum slotmem_kind { SLOTMEM_SHARED, SLOTMEM_PRIVATE, SLOTMEM_MEMFD, SLOTMEM_HUGE, SLOTMEM_FILE, SLOTMEM_KINDS };

struct slotmem {
	uint8_t *m;             /* all of the slot */
	int fd;                 /* of a memfd, else -1 */
};

/** slotmem_make - zeroed; false: this machine has none of the kind.  slotmem_drop - ends it. */
bool slotmem_make(enum slotmem_kind kind, struct slotmem *s);
void slotmem_drop(struct slotmem *s);

/** slotmem_at - the structure. */
static inline void *slotmem_at(const struct slotmem *s)
{
	return s->m + SLOTMEM_PAGE * PAGE;
}

/** slotmem_set - @s becomes the VM's slot, with its log of dirty pages on; NULL: nothing is there. */
void slotmem_set(int vm, const struct slotmem *s);

/* Who looks at the structure: a guest, in which something comes of what it holds. */
struct slotmem_user {
	const char *name;       /* the structure's */
	void *guest;
	int vm;
	void (*fill)(void *guest, void *at, unsigned int n);    /* its contents number 0 or 1 */
	uint64_t (*run)(void *guest, const struct slotmem *m);  /* once; @m is the slot's memory.  What came of it. */
	void (*forget)(void *guest);    /* translations that were found there, which need not follow contents */
	/* What comes of it with either contents, without a slot, and with nothing behind it. */
	uint64_t first, second, absent, unreadable;
	bool written;           /* the processor writes its first page, with the first contents */
};

/* The guests of a test, one for each structure. */
struct slotmem_guests {
	unsigned int count;
	bool (*begin)(unsigned int row, const struct slotmem *m, struct slotmem_user *u);       /* false: this device cannot */
	void (*end)(void *guest);
};

/**
 * slotmem_check - in memory of one kind: the dirty log has what is written and nothing else, other memory that becomes
 * the slot is looked at, and so is a new page; then there is no slot.  Skips where there is none of the kind.
 */
void slotmem_check(const struct slotmem_guests *g, enum slotmem_kind kind);
/** slotmem_check_unreadable - the client takes all access to the slot away. */
void slotmem_check_unreadable(const struct slotmem_guests *g);

/* A test for each kind of @guests, which have to be a constant of that name. */
#define SLOTMEM_TESTS(guests) \
static void test_kind(void **state) { slotmem_check(&(guests), (enum slotmem_kind)(uintptr_t)*state); } \
static void test_unreadable(void **state) { slotmem_check_unreadable(&(guests)); } \
static const struct CMUnitTest tests[] = { \
	SLOTMEM_TEST(SLOTMEM_SHARED), SLOTMEM_TEST(SLOTMEM_PRIVATE), SLOTMEM_TEST(SLOTMEM_MEMFD), SLOTMEM_TEST(SLOTMEM_HUGE), \
	SLOTMEM_TEST(SLOTMEM_FILE), cmocka_unit_test(test_unreadable), \
}
#define SLOTMEM_TEST(kind) { #kind, test_kind, NULL, NULL, (void *)(uintptr_t)(kind) }

#endif
