/* SPDX-License-Identifier: MIT */
/* IN OUT INS OUTS.  SDM 1, chapter 19. */
#include <errno.h>

#include <Zydis/Zydis.h>

#include "x86/cpu/debug.h"
#include "x86/cpu/insn/string.h"

/* The I/O permission bitmap of the TSS; SDM 1, 19.5.2.  A bit that lies beyond the limit is a 1. */
static bool bitmap_allows(struct x86_cpu *cpu, uint16_t port, unsigned int size)
{
	const struct x86_seg *tss = &cpu->tr.seg;
	uint32_t at, mask = (1u << size) - 1;

	if (tss->unusable || !(tss->type & 8) || tss->limit < 0x67)
		return false;
	at = (uint32_t)sys_load(cpu, cpu->tr.base + 0x66, 2) + port / 8;
	/* Two bytes are read even where one would do. */
	if (at + 1 > tss->limit)
		return false;
	return !((sys_load(cpu, cpu->tr.base + at, 2) >> (port & 7)) & mask);
}

/* VMware opens these two to everybody, and KVM can do so too. */
static bool is_vmware_backdoor(const struct x86_cpu *cpu, uint16_t port)
{
	return cpu->vmware_backdoor && (port == 0x5658 || port == 0x5659);
}

static void check_permission(struct x86_cpu *cpu, uint16_t port, unsigned int size)
{
	unsigned int iopl = (cpu->rflags & FL_IOPL) >> 12;

	if (unlikely(is_vmware_backdoor(cpu, port)))
		return;
	if (x86_protected(cpu) && (cpu->cpl > iopl || x86_vm86(cpu)) && !bitmap_allows(cpu, port, size))
		x86_raise_ec(cpu, X86_GP, 0);
}

/* @how: ICPT_IO_*, of the instruction. */
static void check_port(struct x86_cpu *cpu, const struct insn *i, uint16_t port, uint64_t how)
{
	check_permission(cpu, port, i->opsize);
	x86_intercept(cpu, i, ICPT_IO, port | how | (uint64_t)i->opsize << ICPT_IO_SIZE_SHIFT);
	x86_debug_check_io(cpu, port, i->opsize);
}

/* ------------------------------------------------------------------ IN, OUT */

static uint16_t port_of(const struct x86_cpu *cpu, const struct insn *i)
{
	return (uint16_t)(i->aux ? cpu->regs[R_RDX] : i->imm);
}

static void port_in(struct x86_cpu *cpu, const struct insn *i)
{
	uint16_t port = port_of(cpu, i);
	uint32_t v = 0;

	at(cpu, i);
	check_port(cpu, i, port, ICPT_IO_IN | (i->aux ? 0 : ICPT_IO_IMM));
	x86_port_access(cpu, port, &v, i->opsize, false);
	if (i->opsize == 1)
		reg8(cpu, R_RAX * 8) = (uint8_t)v;
	else if (i->opsize == 2)
		PUT_16(cpu, R_RAX, v);
	else
		PUT_32(cpu, R_RAX, v);
}

static void port_out(struct x86_cpu *cpu, const struct insn *i)
{
	uint16_t port = port_of(cpu, i);
	uint32_t v = (uint32_t)cpu->regs[R_RAX];

	at(cpu, i);
	check_port(cpu, i, port, i->aux ? 0 : ICPT_IO_IMM);
	x86_port_access(cpu, port, &v, i->opsize, true);
}

static void in(struct x86_cpu *cpu, const struct insn *i)
{
	port_in(cpu, i);
	NEXT(cpu, i);
}

static void out(struct x86_cpu *cpu, const struct insn *i)
{
	port_out(cpu, i);
	NEXT(cpu, i);
}

static int build_port(struct insn *i, const struct insn_build *b)
{
	int port;

	i->fn = (insn_fn *)b->row->arg;
	port = i->fn == out ? 0 : 1;
	/* There is no 64-bit port access: REX.W is ignored. */
	if (i->opsize == 8)
		i->opsize = 4;
	if (build_is_imm(b, port))
		i->imm = (uint8_t)build_imm(b, port);
	else
		i->aux = 1;
	return 0;
}

/* ------------------------------------------------------------------ INS, OUTS */

static uint64_t string_how(const struct insn *i)
{
	return ICPT_IO_STRING | (i->ea_flags & (EA_REP | EA_REPNE) ? ICPT_IO_REP : 0);
}

static void ins_store(struct x86_cpu *cpu, const struct insn *i, gva_t a, uint32_t v)
{
	if (i->opsize == 4)
		st32(cpu, a, v);
	else if (i->opsize == 2)
		st16(cpu, a, (uint16_t)v);
	else
		st8(cpu, a, (uint8_t)v);
}

/* Element @n of what the client gave. */
static uint32_t ins_element(const struct x86_cpu *cpu, unsigned int size, uint64_t n)
{
	const uint8_t *p = cpu->batch.data + n * size;

	return size == 4 ? *(const uint32_t *)p : size == 2 ? *(const uint16_t *)p : *p;
}

/*
 * Memory is proved writable before the port is read: the device must not be
 * asked in vain.  A client's device may be asked for several elements at once,
 * those that end up in the same page.
 */
static uint64_t ins(struct x86_cpu *cpu, const struct insn *i, uint64_t n)
{
	uint16_t port = (uint16_t)cpu->regs[R_RDX];
	uint64_t most = X86_INS_BATCH / i->opsize, got = 1;
	uint32_t v = 0;
	gva_t a;

	check_port(cpu, i, port, ICPT_IO_IN | string_how(i));
	a = string_ea(cpu, i, R_RDI, SEG_ES, true);
	mem_probe_write(cpu, a, i->opsize);
	if (n > 1)
		n = string_writable(cpu, i, n < most ? n : most);
	cpu->batch.want = (uint16_t)n;
	x86_port_access(cpu, port, &v, i->opsize, false);
	cpu->batch.want = 0;
	ins_store(cpu, i, a, v);
	/* The client may have changed RCX meanwhile. */
	for (; got < cpu->batch.have && got < n; got++)
		ins_store(cpu, i, a + got * (uint64_t)string_step(cpu, i), ins_element(cpu, i->opsize, got));
	string_set(cpu, i, R_RDI, cpu->regs[R_RDI] + got * (uint64_t)string_step(cpu, i));
	return got;
}

static uint64_t outs(struct x86_cpu *cpu, const struct insn *i, uint64_t n)
{
	uint16_t port = (uint16_t)cpu->regs[R_RDX];
	uint32_t v;
	gva_t a;

	check_port(cpu, i, port, string_how(i));
	a = string_ea(cpu, i, R_RSI, i->seg, false);
	v = i->opsize == 4 ? ld32(cpu, a) : i->opsize == 2 ? ld16(cpu, a) : ld8(cpu, a);
	x86_port_access(cpu, port, &v, i->opsize, true);
	string_set(cpu, i, R_RSI, cpu->regs[R_RSI] + (uint64_t)string_step(cpu, i));
	return 1;
}

#define PORT_STRING(name)										\
static void name##_one(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	at(cpu, i);											\
	name(cpu, i, 1);										\
	cpu->regs[R_RIP] = insn_next_rip(cpu, i);							\
}													\
static void name##_rep(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	at(cpu, i);											\
	/* Permission is asked even where the count is zero; a breakpoint then is not met. */		\
	check_permission(cpu, (uint16_t)cpu->regs[R_RDX], i->opsize);					\
	string_repeat(cpu, i, name, false);								\
}

PORT_STRING(ins)
PORT_STRING(outs)

static int build_ins(struct insn *i, const struct insn_build *b)
{
	if (i->opsize == 8)
		i->opsize = 4;
	return string_build(i, b, 0, ins_one, ins_rep);
}

static int build_outs(struct insn *i, const struct insn_build *b)
{
	if (i->opsize == 8)
		i->opsize = 4;
	return string_build(i, b, 1, outs_one, outs_rep);
}

/* ------------------------------------------------------------------ rows */

#define STRING_ROW(MNEMONIC, build) { ZYDIS_MNEMONIC_##MNEMONIC, 0, ROW_END, 0, build, NULL }

static const struct insn_row rows[] = {
	{ ZYDIS_MNEMONIC_IN, 0, 0, 0, build_port, ROW_FN(in) },
	{ ZYDIS_MNEMONIC_OUT, 0, 0, 0, build_port, ROW_FN(out) },
	STRING_ROW(INSB, build_ins), STRING_ROW(INSW, build_ins), STRING_ROW(INSD, build_ins),
	STRING_ROW(OUTSB, build_outs), STRING_ROW(OUTSW, build_outs), STRING_ROW(OUTSD, build_outs),
};

const struct insn_rows insn_rows_io = { rows, ARRAY_SIZE(rows) };
