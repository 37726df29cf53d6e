/* SPDX-License-Identifier: MIT */
/* one_slot.h - the memory of a CPU without a VM: a snapshot with one slot, from address 0 on; free() frees it. */
#ifndef TESTS_ONE_SLOT_H
#define TESTS_ONE_SLOT_H

#include <stdlib.h>

#include "kvm/memslot.h"

static inline struct memslots *one_slot(uint8_t *ram, size_t bytes)
{
	struct memslots *s = calloc(1, sizeof(*s) + sizeof(s->at[0]) + sizeof(struct memslot_chunk));

	if (!s)
		return NULL;
	s->chunks = 1;
	s->at[0].chunk = (void *)&s->at[1];
	s->at[0].chunk->count = 1;
	s->at[0].chunk->slot[0].npages = bytes >> GUEST_PAGE_SHIFT;
	s->at[0].chunk->slot[0].hva = ram;
	return s;
}

static inline struct memslot *the_slot(struct memslots *s)
{
	return &s->at[0].chunk->slot[0];
}

#endif
