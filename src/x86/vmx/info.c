// SPDX-License-Identifier: MIT
/* The VM-exit instruction-information field.  SDM 3C, 27.2.5, tables 27-8 to 27-14. */
#include "x86/cpu/insn.h"
#include "x86/vmx/vmx.h"

#define REGISTER (1u << 10)
#define NO_INDEX (1u << 22)
#define NO_BASE (1u << 27)

/* 0: 16 bits, 1: 32, 2: 64. */
static uint32_t address_size(const struct x86_cpu *cpu, const struct insn *i)
{
	static const uint8_t of_mode[] = { [CODE16] = 0, [CODE32] = 1, [CODE64] = 2 };

	return i->ea_flags & EA_ADDR16 ? 0 : i->ea_flags & EA_ADDR32 ? 1 : of_mode[cpu->mode];
}

static uint32_t size_code(unsigned int bytes)
{
	return bytes == 2 ? 0 : bytes == 4 ? 1 : 2;
}

static uint32_t memory_operand(const struct x86_cpu *cpu, const struct insn *i)
{
	uint32_t info = (i->scale & 3u) | address_size(cpu, i) << 7 | (uint32_t)i->seg << 15;

	info |= i->index < R_ZERO ? (uint32_t)i->index << 18 : NO_INDEX;
	return info | (i->base < R_ZERO ? (uint32_t)i->base << 23 : NO_BASE);
}

/* Table 27-14: the field is Reg2, the other operand Reg1 where it is no memory. */
static uint32_t vmcs_operands(const struct insn *i)
{
	return (i->memsize ? 0 : REGISTER | (uint32_t)i->dst << 3) | (uint32_t)i->src << 28;
}

/* Tables 27-10 and 27-11: bits 29:28 say which of its kind it is.  Loads have their register in `src`. */
static uint32_t table_operand(const struct insn *i, enum x86_icpt which)
{
	static const struct {
		uint8_t icpt, number, load, selector;
	} kinds[] = {
		{ ICPT_SGDT, 0, 0, 0 }, { ICPT_SIDT, 1, 0, 0 }, { ICPT_LGDT, 2, 0, 0 }, { ICPT_LIDT, 3, 0, 0 },
		{ ICPT_SLDT, 0, 0, 1 }, { ICPT_STR, 1, 0, 1 }, { ICPT_LLDT, 2, 1, 1 }, { ICPT_LTR, 3, 1, 1 },
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(kinds); n++) {
		uint32_t number = (uint32_t)kinds[n].number << 28;

		if (kinds[n].icpt != which)
			continue;
		if (!kinds[n].selector)
			return number | (i->opsize == 2 ? 0 : 1u << 11);
		return number | (i->memsize ? 0 : REGISTER | (uint32_t)(kinds[n].load ? i->src : i->dst) << 3);
	}
	return 0;
}

uint32_t vmx_insn_info(const struct x86_cpu *cpu, const struct insn *i, enum x86_icpt which)
{
	if (which == ICPT_RDRAND || which == ICPT_RDSEED)
		return (uint32_t)i->dst << 3 | size_code(i->opsize) << 11;
	return (i->memsize ? memory_operand(cpu, i) : 0) |
	       (which == ICPT_INVPCID ? (uint32_t)i->dst << 28 : table_operand(i, which));
}

uint32_t vmx_virt_info(const struct x86_cpu *cpu, const struct insn *i)
{
	uint32_t info = i->memsize ? memory_operand(cpu, i) : 0;

	if (i->aux == VIRT_VMREAD || i->aux == VIRT_VMWRITE)
		return info | vmcs_operands(i);
	return i->aux == VIRT_INVEPT || i->aux == VIRT_INVVPID ? info | (uint32_t)i->dst << 28 : info;
}

uint32_t vmx_io_info(const struct x86_cpu *cpu, const struct insn *i)
{
	return address_size(cpu, i) << 7 | (uint32_t)i->seg << 15;
}

/* RIP-relative operands have the address itself. */
uint64_t vmx_displacement(const struct x86_cpu *cpu, const struct insn *i)
{
	return (uint64_t)i->disp + (i->base == R_RIP ? cpu->regs[R_RIP] : 0);
}
