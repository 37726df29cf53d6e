/* SPDX-License-Identifier: MIT */
/*
 * Pages that the host may have to fetch before a guest can use them.  Whether it
 * has to is the environment's question; here is remembered for a moment what it
 * answered, since a fill of the software TLB is to cost no system call.
 */
#include "host/clock.h"
#include "x86/cpu/vec.h"
#include "x86/mmu/internal.h"

#define MOMENT_SHIFT 27         /* ticks of the host's TSC: some 50 ms */
#define MOMENT_MASK 0x7fff
#define WRITABLE 0x8000
#define PAGE_SHIFT_IN_KEY 16

void mmu_await_asked(struct x86_cpu *cpu, uint8_t *hva, gpa_t gpa, bool write)
{
	uint64_t page = (uintptr_t)hva >> GUEST_PAGE_SHIFT;
	uint64_t key = page << PAGE_SHIFT_IN_KEY | (host_rdtsc() >> MOMENT_SHIFT & MOMENT_MASK);
	uint64_t *seen = &cpu->watch->seen[page % X86_WATCH_SLOTS];

	if (*seen == (key | WRITABLE) || (!write && *seen == key))
		return;
	/* What the environment would say no to anyway, without putting the vector state away. */
	if (!(cpu->rflags & FL_IF) || cpu->is_delivering)
		return;
	x86_vec_put(cpu);
	if (cpu->env->page(cpu, hva, gpa, write))
		*seen = key | (write ? WRITABLE : 0);
}
