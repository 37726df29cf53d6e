/* SPDX-License-Identifier: MIT */
/* A CPU with an MMU and 4 MiB of memory, and no VM around it. */
#ifndef TESTS_MMU_FIXTURE_H
#define TESTS_MMU_FIXTURE_H

#include "../one_slot.h"
#include "x86/cpu/cpu.h"
#include "x86/features.h"
#include "x86/mmu/mmu.h"

#define RAM_SIZE (4u << 20)

struct fixture {
	struct x86_cpu *cpu;
	uint8_t *ram;
	struct memslots *slots;
	struct x86_cpuid cpuid;
	uint8_t no_exit;
};

int fixture_create(void **state);
int fixture_destroy(void **state);

/** fixture_long_mode - 4-level paging, tables at 0x1000.., every protection on. */
void fixture_long_mode(struct fixture *f);

static inline uint64_t *fixture_u64(struct fixture *f, gpa_t gpa)
{
	return (uint64_t *)(f->ram + gpa);
}

#endif
