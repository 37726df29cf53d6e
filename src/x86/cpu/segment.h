/* SPDX-License-Identifier: MIT */
/*
 * Segment descriptors and the loading of segment registers.  SDM 3A chapters 3
 * and 5.
 *
 * A load is done in two steps, so that an instruction which loads several
 * registers commits them together: x86_*_check() reads and judges the
 * descriptor (raising where it fails) and sets its accessed bit, and
 * x86_seg_commit() writes the register and cannot fail.
 */
#ifndef X86_CPU_SEGMENT_H
#define X86_CPU_SEGMENT_H

#include "x86/cpu/insn.h"

/* Descriptor types: of system descriptors, and bits of code and data types. SDM 3A tables 3-1, 3-2. */
enum x86_sys_type {
	SYS_TSS16 = 1, SYS_LDT = 2, SYS_TSS16_BUSY = 3, SYS_CALL16 = 4, SYS_TASK_GATE = 5, SYS_INT16 = 6,
	SYS_TRAP16 = 7, SYS_TSS32 = 9, SYS_TSS32_BUSY = 11, SYS_CALL32 = 12, SYS_INT32 = 14, SYS_TRAP32 = 15,
};
#define SYS_BUSY 2              /* a TSS that is in use */
#define SEG_ACCESSED 1
#define SEG_WRITABLE 2          /* data */
#define SEG_READABLE 2          /* code */
#define SEG_EXPAND_DOWN 4       /* data */
#define SEG_CONFORMING 4        /* code */
#define SEG_CODE 8

struct x86_desc {
	uint64_t raw, high;     /* high: the second half of a 16-byte descriptor */
	gva_t addr;             /* where it lies */
};

static inline unsigned int desc_type(const struct x86_desc *d) { return (d->raw >> 40) & 15; }
static inline bool desc_s(const struct x86_desc *d) { return (d->raw >> 44) & 1; }
static inline unsigned int desc_dpl(const struct x86_desc *d) { return (d->raw >> 45) & 3; }
static inline bool desc_p(const struct x86_desc *d) { return (d->raw >> 47) & 1; }
static inline bool desc_l(const struct x86_desc *d) { return (d->raw >> 53) & 1; }
static inline bool desc_db(const struct x86_desc *d) { return (d->raw >> 54) & 1; }

static inline bool desc_is_code(const struct x86_desc *d)
{
	return desc_s(d) && (desc_type(d) & SEG_CODE);
}

static inline bool desc_is_conforming(const struct x86_desc *d)
{
	return desc_type(d) & SEG_CONFORMING;
}

static inline uint64_t desc_base(const struct x86_desc *d)
{
	return ((d->raw >> 16) & 0xffffff) | ((d->raw >> 32) & 0xff000000);
}

static inline uint32_t desc_limit(const struct x86_desc *d)
{
	uint32_t limit = (d->raw & 0xffff) | ((d->raw >> 32) & 0xf0000);

	return (d->raw >> 55) & 1 ? limit << 12 | 0xfff : limit;
}

static inline bool sel_null(uint16_t sel)
{
	return !(sel & ~3u);
}

/** x86_desc_fetch - the 8 bytes that @sel (not null) names; false: beyond its table.  May raise #PF. */
bool x86_desc_fetch(struct x86_cpu *cpu, uint16_t sel, struct x86_desc *d) must_check;
/** x86_desc_fetch16 - the 16 bytes of a system descriptor in long mode. */
bool x86_desc_fetch16(struct x86_cpu *cpu, uint16_t sel, struct x86_desc *d) must_check;
/** x86_desc_access - sets the accessed bit of a code or data descriptor in memory. */
void x86_desc_access(struct x86_cpu *cpu, struct x86_desc *d);

/** x86_seg_unpack - the hidden part that @d gives a segment register. */
void x86_seg_unpack(struct x86_seg *seg, uint16_t sel, const struct x86_desc *d);

/* A judged load, ready to be committed. */
struct x86_seg_load {
	struct x86_desc d;
	uint16_t sel;
	bool null;
};

/*
 * What a segment load is judged by: privilege to check against, vector and EXT
 * bit of the errors that are #GP in an instruction and #TS in a task or stack
 * switch.
 */
struct x86_seg_rule {
	uint8_t cpl;
	uint8_t vector;         /* X86_GP or X86_TS */
	uint8_t ext;            /* ORed into error codes */
	bool null_ss;           /* a null SS of RPL == CPL is allowed: 64-bit mode, not CPL 3 */
};

/** x86_data_check - for DS, ES, FS, GS, protected mode. */
void x86_data_check(struct x86_cpu *cpu, uint16_t sel, const struct x86_seg_rule *rule,
		    struct x86_seg_load *load);
/** x86_stack_check - for SS. */
void x86_stack_check(struct x86_cpu *cpu, uint16_t sel, const struct x86_seg_rule *rule,
		     struct x86_seg_load *load);
void x86_seg_commit(struct x86_cpu *cpu, enum x86_seg_reg reg, const struct x86_seg_load *load);

/** x86_seg_load_real - real mode and virtual-8086: base is selector * 16. */
void x86_seg_load_real(struct x86_cpu *cpu, enum x86_seg_reg reg, uint16_t sel);

/** x86_seg_set - MOV and POP to a segment register but CS, in any mode. */
void x86_seg_set(struct x86_cpu *cpu, enum x86_seg_reg reg, uint16_t sel);

/** x86_seg_limit_ok - do @size bytes at offset @off lie within @seg?  Expand-down segments included. */
bool x86_seg_limit_ok(const struct x86_seg *seg, uint64_t off, unsigned int size);

/** x86_code_target - raises #GP(0) unless @rip may be run: canonical for @l, within @limit otherwise. */
void x86_code_target(struct x86_cpu *cpu, bool l, uint32_t limit, uint64_t rip, uint8_t ext);

/** x86_seg_null_user - after a return to privilege @cpl: data segments too privileged for it become null. */
void x86_seg_null_user(struct x86_cpu *cpu, uint8_t cpl);

/** x86_ldt_load / x86_tr_load - LLDT, LTR. */
void x86_ldt_load(struct x86_cpu *cpu, uint16_t sel);
void x86_tr_load(struct x86_cpu *cpu, uint16_t sel);

/** x86_in_vm_or_real - no descriptors: real or virtual-8086 mode. */
static inline bool x86_in_vm_or_real(const struct x86_cpu *cpu)
{
	return !x86_protected(cpu) || x86_vm86(cpu);
}

/* --------------------------------------------------------------- stack images */

/*
 * A stack to push an event frame or a far call's on: the present one, or the
 * one to switch to.  Pushes are gathered, checked as they come, and written by
 * x86_frame_commit() after all of them have been probed.
 */
#define X86_FRAME_ITEMS 40

struct x86_frame {
	uint64_t base, sp, mask;
	struct x86_seg seg;
	bool long_mode;         /* canonical check instead of limits */
	bool system;            /* accesses of CPL 0 */
	uint16_t error_code;    /* of #SS */
	uint8_t count, size;    /* items, bytes of each */
	struct {
		gva_t addr;
		uint64_t value;
	} item[X86_FRAME_ITEMS];
};

/** x86_frame_here - pushes of @size bytes on the present stack, seen from 64-bit mode if @long_mode. */
void x86_frame_here(struct x86_cpu *cpu, struct x86_frame *f, unsigned int size, bool long_mode, uint8_t ext);
/** x86_frame_new - on another stack: @ss, NULL in long mode. */
void x86_frame_new(struct x86_cpu *cpu, struct x86_frame *f, unsigned int size, uint64_t sp,
		   const struct x86_seg_load *ss, uint8_t cpl, uint8_t ext);
void x86_frame_push(struct x86_cpu *cpu, struct x86_frame *f, uint64_t value);
/** x86_frame_commit - probes, then writes.  The caller then loads SS and sets RSP by x86_frame_set_sp(). */
void x86_frame_commit(struct x86_cpu *cpu, const struct x86_frame *f);
void x86_frame_set_sp(struct x86_cpu *cpu, const struct x86_frame *f);

/** x86_tss_stack - the stack of privilege @cpl from the TSS (not long mode).  #TS if beyond its limit. */
void x86_tss_stack(struct x86_cpu *cpu, unsigned int cpl, uint8_t ext, uint16_t *ss, uint32_t *sp);
/** x86_tss_stack64 - RSP @n (0-2), or IST @n - 2 (3-9). */
uint64_t x86_tss_stack64(struct x86_cpu *cpu, unsigned int n, uint8_t ext);

#endif
