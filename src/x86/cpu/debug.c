/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "x86/cpu/control.h"
#include "x86/cpu/debug.h"
#include "x86/cpu/exception.h"
#include "x86/features.h"
#include "x86/mmu/mmu.h"

/* DR7.R/W values; SDM 3B, 17.2.4. */
enum { BP_EXEC = 0, BP_WRITE = 1, BP_IO = 2, BP_ACCESS = 3 };

/* The breakpoints in force: the client's, where it has set any. */
static const uint64_t *bp_dr(const struct x86_cpu *cpu)
{
	return unlikely(cpu->client_debug.active) ? cpu->client_debug.dr : cpu->dr;
}

uint64_t x86_debug_dr7(const struct x86_cpu *cpu)
{
	return unlikely(cpu->client_debug.active) ? cpu->client_debug.dr7 : cpu->dr7;
}

static bool bp_enabled(const struct x86_cpu *cpu, unsigned int n)
{
	return (x86_debug_dr7(cpu) >> (2 * n)) & 3;
}

static unsigned int bp_kind(const struct x86_cpu *cpu, unsigned int n)
{
	return (x86_debug_dr7(cpu) >> (16 + 4 * n)) & 3;
}

static unsigned int bp_len(const struct x86_cpu *cpu, unsigned int n)
{
	static const uint8_t len[] = { 1, 2, 8, 4 };

	return len[(x86_debug_dr7(cpu) >> (18 + 4 * n)) & 3];
}

/* Bits n of DR0-3 that are enabled, of one of @kinds (a mask), and meet @size bytes at @addr. */
static uint32_t bp_match(const struct x86_cpu *cpu, unsigned int kinds, uint64_t addr, uint64_t size)
{
	uint32_t hit = 0;

	for (unsigned int n = 0; n < 4; n++) {
		uint64_t len = bp_len(cpu, n), start = bp_dr(cpu)[n] & ~(len - 1);

		if (bp_enabled(cpu, n) && (kinds & 1u << bp_kind(cpu, n)) &&
		    addr < start + len && start < addr + size)
			hit |= DR6_B(n);
	}
	return hit;
}

static bool bp_any(const struct x86_cpu *cpu, unsigned int kinds)
{
	for (unsigned int n = 0; n < 4; n++)
		if (bp_enabled(cpu, n) && (kinds & 1u << bp_kind(cpu, n)))
			return true;
	return false;
}

/* With CR4.DE clear the encoding of I/O breakpoints means nothing. */
static unsigned int io_kind(const struct x86_cpu *cpu)
{
	return cpu->cr4 & CR4_DE ? 1u << BP_IO : 0;
}

bool x86_debug_wants_step(const struct x86_cpu *cpu)
{
	if ((cpu->rflags & FL_TF) || cpu->client_debug.step || cpu->pending_db)
		return true;
	return (x86_debug_dr7(cpu) & DR7_ENABLE_MASK) && bp_any(cpu, 0xf);
}

void x86_debug_check_insn(struct x86_cpu *cpu)
{
	gva_t rip = cpu->regs[R_RIP];
	uint32_t hit = 0;

	bool resumed = cpu->rflags & FL_RF;

	cpu->rflags &= ~FL_RF;
	if (!(x86_debug_dr7(cpu) & DR7_ENABLE_MASK) || resumed)
		return;
	/* Intel's are held back behind MOV SS as well; AMD's are not. */
	if ((cpu->shadow & SHADOW_MOV_SS) && x86_is_intel(cpu))
		return;
	if (cpu->mode != CODE64)
		rip = (uint32_t)(rip + *seg_base(cpu, SEG_CS));
	for (unsigned int n = 0; n < 4; n++)
		if (bp_enabled(cpu, n) && bp_kind(cpu, n) == BP_EXEC && bp_dr(cpu)[n] == rip)
			hit |= DR6_B(n);
	if (hit) {
		at(cpu, &x86_no_insn);
		x86_raise_db_fault(cpu, hit);
	}
}

void x86_debug_check_data(struct x86_cpu *cpu, gva_t gva, unsigned int size, bool write)
{
	unsigned int kinds = 1u << BP_ACCESS | (write ? 1u << BP_WRITE : 0);
	uint32_t hit;

	if (!(x86_debug_dr7(cpu) & DR7_ENABLE_MASK))
		return;
	hit = bp_match(cpu, kinds, gva, size);
	if (hit) {
		cpu->pending_db |= hit;
		x86_request(cpu, X86_REQ_STEP);
	}
}

void x86_debug_check_io(struct x86_cpu *cpu, uint16_t port, unsigned int size)
{
	uint32_t hit;

	if (!(x86_debug_dr7(cpu) & DR7_ENABLE_MASK) || !io_kind(cpu))
		return;
	hit = bp_match(cpu, io_kind(cpu), port, size);
	if (hit) {
		cpu->pending_db |= hit;
		x86_request(cpu, X86_REQ_STEP);
	}
}

bool x86_debug_data_page(const struct x86_cpu *cpu, gva_t gva)
{
	if (!(x86_debug_dr7(cpu) & DR7_ENABLE_MASK))
		return false;
	return bp_match(cpu, 1u << BP_WRITE | 1u << BP_ACCESS, gva & GUEST_PAGE_MASK, GUEST_PAGE_SIZE);
}

void x86_debug_after_insn(struct x86_cpu *cpu, bool tf)
{
	uint64_t db = cpu->pending_db;

	/* A trap on MOV SS or POP SS waits for the instruction behind it; SDM 3A, 6.8.3. */
	if (cpu->shadow & SHADOW_MOV_SS)
		return;
	cpu->pending_db = 0;
	if (tf || cpu->client_debug.step)
		db |= DR6_BS;
	if (db)
		x86_raise_db_trap(cpu, db);
}

void x86_dr7_changed(struct x86_cpu *cpu)
{
	if (cpu->mmu)
		mmu_debug_changed(cpu);
	if (x86_debug_wants_step(cpu))
		x86_request(cpu, X86_REQ_STEP);
}

uint64_t x86_get_dr(const struct x86_cpu *cpu, unsigned int n)
{
	if (n < 4)
		return cpu->dr[n];
	return n & 1 ? cpu->dr7 : cpu->dr6;
}

#define DR6_WRITABLE (0xfu | DR6_BD | DR6_BS | DR6_BT)
#define DR7_WRITABLE 0xffff2bffu

int x86_set_dr(struct x86_cpu *cpu, unsigned int n, uint64_t value)
{
	if (n >= 4 && value >> 32)
		return -EINVAL;
	if (n < 4) {
		/* Any address will do, a canonical one or not; SDM 3B, 17.2.6. */
		cpu->dr[n] = value;
	} else if (n & 1) {
		cpu->dr7 = (value & DR7_WRITABLE) | DR7_FIXED_1;
	} else {
		cpu->dr6 = (value & DR6_WRITABLE) | DR6_FIXED_1;
		return 0;
	}
	x86_dr7_changed(cpu);
	return 0;
}
