/* SPDX-License-Identifier: MIT */
/*
 * Guest memory as instructions touch it.  Every access of the guest goes
 * through here: a hit in the software TLB gives the host pointer, everything
 * else (page walk, split over two pages, device memory, dirty log, code pages,
 * alignment checks, breakpoints) is the slow path.
 *
 * All of these may leave the instruction (#PF, #GP, #SS, #AC, exit); cpu->cur
 * must be set.  Linear addresses; segments are applied by ea().
 */
#ifndef X86_CPU_MEM_H
#define X86_CPU_MEM_H

#include "x86/cpu/insn.h"
#include "x86/mmu/tlb.h"

uint64_t mem_load_slow(struct x86_cpu *cpu, gva_t gva, unsigned int size);
void mem_store_slow(struct x86_cpu *cpu, gva_t gva, unsigned int size, uint64_t value);
void *mem_read_ptr_slow(struct x86_cpu *cpu, gva_t gva, unsigned int size);
void *mem_rmw_slow(struct x86_cpu *cpu, gva_t gva, unsigned int size, bool read);
void mem_commit_slow(struct x86_cpu *cpu, gva_t gva, unsigned int size);

/* Operands lie where the guest says. */
#define MEM_TYPED(bits)                                                                         \
typedef uint##bits##_t __attribute__((aligned(1))) mem_u##bits;                                 \
static ALWAYS_INLINE uint##bits##_t ld##bits(struct x86_cpu *cpu, gva_t gva)                    \
{                                                                                               \
	const uint8_t *p = tlb_hit_read(cpu->ctx, gva, bits / 8);                               \
	if (likely(p))                                                                          \
		return *(const volatile mem_u##bits *)p;                                        \
	return (uint##bits##_t)mem_load_slow(cpu, gva, bits / 8);                               \
}                                                                                               \
static ALWAYS_INLINE void st##bits(struct x86_cpu *cpu, gva_t gva, uint##bits##_t v)            \
{                                                                                               \
	uint8_t *p = tlb_hit_write(cpu->ctx, gva, bits / 8);                                    \
	if (likely(p))                                                                          \
		*(volatile mem_u##bits *)p = v;                                                 \
	else                                                                                    \
		mem_store_slow(cpu, gva, bits / 8, v);                                          \
}
MEM_TYPED(8)
MEM_TYPED(16)
MEM_TYPED(32)
MEM_TYPED(64)

/**
 * mem_read_ptr - @size (1 to 64) readable bytes at @gva: host memory, or a copy
 * in cpu->rmw_buf.  Valid until the next guest access.
 */
static ALWAYS_INLINE const void *mem_read_ptr(struct x86_cpu *cpu, gva_t gva, unsigned int size)
{
	const void *p = tlb_hit_read(cpu->ctx, gva, size);

	return likely(p) ? p : mem_read_ptr_slow(cpu, gva, size);
}

/**
 * mem_rmw - bytes to read and modify: host memory that may be written at once,
 * or a copy in cpu->rmw_buf that mem_commit() writes back.  Both pages of a
 * split have been checked for writing.  @size 1 to 64.
 */
static ALWAYS_INLINE void *mem_rmw(struct x86_cpu *cpu, gva_t gva, unsigned int size)
{
	void *p = tlb_hit_write(cpu->ctx, gva, size);

	return likely(p) ? p : mem_rmw_slow(cpu, gva, size, true);
}

/** mem_write_ptr - like mem_rmw(), the old contents not needed (undefined in the copy). */
static ALWAYS_INLINE void *mem_write_ptr(struct x86_cpu *cpu, gva_t gva, unsigned int size)
{
	void *p = tlb_hit_write(cpu->ctx, gva, size);

	return likely(p) ? p : mem_rmw_slow(cpu, gva, size, false);
}

/** mem_commit - after the modification; @p as mem_rmw() or mem_write_ptr() returned it. */
static ALWAYS_INLINE void mem_commit(struct x86_cpu *cpu, gva_t gva, unsigned int size, void *p)
{
	if (unlikely(p == (void *)cpu->rmw_buf))
		mem_commit_slow(cpu, gva, size);
}

/** mem_probe_write - raises what a write of @size bytes (1 to 4096) at @gva would raise; writes nothing. */
void mem_probe_write(struct x86_cpu *cpu, gva_t gva, unsigned int size);

/** mem_probe_read - raises what a read of the byte at @gva would raise; reads nothing, not even from a device. */
void mem_probe_read(struct x86_cpu *cpu, gva_t gva);

/** mem_is_memory - whether a slot, for @write one that can be written, takes all @size bytes (1 to 4096); may raise. */
bool mem_is_memory(struct x86_cpu *cpu, gva_t gva, unsigned int size, bool write);

/*
 * Blocks of any length in the current privilege: for XSAVE areas, ENTER, descriptor
 * dumps.  Not atomic across pages: probe first where that matters.
 */
void mem_read_block(struct x86_cpu *cpu, gva_t gva, void *dst, unsigned int size);
void mem_write_block(struct x86_cpu *cpu, gva_t gva, const void *src, unsigned int size);

/*
 * Implicit supervisor accesses (descriptor tables, TSS, IDT; SDM 3A 4.6): made
 * as CPL 0 whatever CPL is; SMAP applies whatever AC is.
 */
uint64_t sys_load(struct x86_cpu *cpu, gva_t gva, unsigned int size);
void sys_store(struct x86_cpu *cpu, gva_t gva, unsigned int size, uint64_t value);
void sys_probe_write(struct x86_cpu *cpu, gva_t gva, unsigned int size);

/**
 * sys_update - clears and sets bits of a byte, LOCKed: of a descriptor that another vCPU may use.  Returns what the
 * byte was before.  SDM 3A 9.1.2.1.
 */
uint8_t sys_update(struct x86_cpu *cpu, gva_t gva, uint8_t clear, uint8_t set);

/**
 * x86_port_access - IN, OUT and one iteration of INS, OUTS, permissions checked:
 * @len 1, 2 or 4 bytes at @data.  x86_mmio_access - the same for a gpa outside
 * slots, @len 1 to 8.  They leave with an exit where the client must answer,
 * and find its answer when the instruction runs again.
 */
void x86_port_access(struct x86_cpu *cpu, uint16_t port, void *data, uint8_t len, bool write);
void x86_mmio_access(struct x86_cpu *cpu, gpa_t gpa, void *data, uint8_t len, bool write);

/**
 * mem_lock - for a LOCKed access that mem_rmw() gave cpu->rmw_buf for: its operand lies in two pages that are not
 * neighbours in host memory, so that no host instruction can be atomic on it, or is a device's.  Keeps the VM's
 * other vCPUs out of guest memory and takes the operand anew.  A device is not asked again.
 */
void mem_lock(struct x86_cpu *cpu, gva_t gva, unsigned int size);

/** x86_bus_unlock - ends mem_lock(), if there was one; also where the instruction is left in the middle. */
void x86_bus_unlock(struct x86_cpu *cpu);

/**
 * x86_split_lock_begin, x86_split_lock_end - around a LOCKed access where cpu->watch_bus_locks is set.  One across
 * cache lines runs alone, so that the exit that it asks for is due right behind it.
 */
void x86_split_lock_begin(struct x86_cpu *cpu, gva_t gva, unsigned int size);
void x86_split_lock_end(struct x86_cpu *cpu, gva_t gva, unsigned int size);

/** x86_bus_wait - @cpu is about to touch guest memory: not while another has locked it. */
void x86_bus_park(struct x86_cpu *cpu);
static ALWAYS_INLINE void x86_bus_wait(struct x86_cpu *cpu)
{
	if (unlikely(atomic_load(&cpu->requests) & X86_REQ_PARK))
		x86_bus_park(cpu);
}

/*
 * The stack.  `off` is an offset in SS; wraps and segment-checks outside 64-bit
 * mode (#SS), and is canonical-checked in it.
 */
gva_t stack_ea(struct x86_cpu *cpu, uint64_t off, unsigned int size, bool write);

/** stack_mask - which bits of RSP are the stack pointer: 64, 32 (SS.B) or 16. */
static inline uint64_t stack_mask(const struct x86_cpu *cpu)
{
	if (cpu->mode == CODE64)
		return ~0ULL;
	return cpu->seg[SEG_SS].db ? 0xffffffffULL : 0xffffULL;
}

static inline void stack_set_sp(struct x86_cpu *cpu, uint64_t sp)
{
	uint64_t mask = stack_mask(cpu);

	/* With a 16-bit stack the rest of ESP stays; with a 32-bit one the upper half of RSP is cleared. */
	if (mask == 0xffff)
		cpu->regs[R_RSP] = (cpu->regs[R_RSP] & ~0xffffULL) | (sp & 0xffff);
	else
		cpu->regs[R_RSP] = sp & mask;
}

#endif
