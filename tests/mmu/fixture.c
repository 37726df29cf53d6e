/* SPDX-License-Identifier: MIT */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "x86/cpu/block.h"
#include "x86/cpu/vec.h"

int fixture_create(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->cpu = aligned_alloc(64, (sizeof(*f->cpu) + 63) & ~63UL);
	memset(f->cpu, 0, sizeof(*f->cpu));
	f->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	f->slots = one_slot(f->ram, RAM_SIZE);
	memset(f->cpuid.has, 0xff, sizeof(f->cpuid.has));
	f->cpuid.maxphyaddr = f->cpu->maxphyaddr = 40;
	f->cpuid.vendor = V_INTEL;
	f->cpu->cpuid = &f->cpuid;
	f->cpu->slots = f->slots;
	f->cpu->immediate_exit = &f->no_exit;
	f->cpu->vec = vec_state_create();
	f->cpu->mmu = mmu_create(f->cpu);
	code_cache_join(code_cache_create(), f->cpu);
	f->cpu->rflags = 2;
	f->cpu->ctx = mmu_select(f->cpu);
	*state = f;
	return 0;
}

int fixture_destroy(void **state)
{
	struct fixture *f = *state;
	struct code_cache *cc = f->cpu->code;

	code_cache_leave(cc, f->cpu);
	code_cache_destroy(cc);
	mmu_destroy(f->cpu->mmu);
	vec_state_destroy(f->cpu->vec);
	munmap(f->ram, RAM_SIZE);
	free(f->slots);
	free(f->cpu);
	free(f);
	return 0;
}

void fixture_long_mode(struct fixture *f)
{
	f->cpu->cr0 = CR0_PE | CR0_PG | CR0_WP;
	f->cpu->cr4 = CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP;
	f->cpu->efer = EFER_LME | EFER_LMA | EFER_NX;
	f->cpu->cr3 = 0x1000;
	f->cpu->ctx = mmu_select(f->cpu);
}
