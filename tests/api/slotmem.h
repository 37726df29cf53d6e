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

/** slotmem_name - of a kind, for messages. */
const char *slotmem_name(enum slotmem_kind kind);

/** slotmem_has - this machine has two of the kind: of huge pages it need not. */
bool slotmem_has(enum slotmem_kind kind);

/** slotmem_make - zeroed; false: this machine has none of the kind.  slotmem_drop - ends it. */
bool slotmem_make(enum slotmem_kind kind, struct slotmem *s);
void slotmem_drop(struct slotmem *s);

/** slotmem_at - the structure. */
static inline void *slotmem_at(const struct slotmem *s)
{
	return s->m + SLOTMEM_PAGE * PAGE;
}

/** slotmem_punch - takes the structure's page out of a memfd; false: it is none. */
bool slotmem_punch(struct slotmem *s);

/** slotmem_set - @s becomes the VM's slot, with its log of dirty pages on; NULL: nothing is there. */
void slotmem_set(int vm, const struct slotmem *s);

/** slotmem_dirty - which of the structure's pages the log has as written since: bit 0 is its first. */
uint64_t slotmem_dirty(int vm);

#endif
