/* SPDX-License-Identifier: MIT */
/* Picks a handler by operand form and width. */
#include <errno.h>

#include <Zydis/Zydis.h>

#include "x86/cpu/insn/ops.h"

int build_op_count(const struct insn_build *b)
{
	return b->zi->operand_count_visible;
}

static int form_reg_first(struct insn *i, const struct insn_build *b, bool two)
{
	int n = build_gpr(b, 0);

	if (n < 0)
		return -ENOENT;
	i->dst = (uint8_t)n;
	if (!two)
		return FORM_R;
	if (build_is_imm(b, 1)) {
		i->imm = build_imm(b, 1);
		return FORM_RI;
	}
	if (build_is_mem(b, 1)) {
		build_mem(i, b, 1);
		return FORM_RM;
	}
	n = build_gpr(b, 1);
	if (n < 0)
		return -ENOENT;
	i->src = (uint8_t)n;
	return FORM_RR;
}

static int form_mem_first(struct insn *i, const struct insn_build *b, bool two)
{
	bool lock = build_has_lock(b);
	int n;

	build_mem(i, b, 0);
	if (!two)
		return lock ? FORM_LM : FORM_M;
	if (build_is_imm(b, 1)) {
		i->imm = build_imm(b, 1);
		return lock ? FORM_LMI : FORM_MI;
	}
	n = build_gpr(b, 1);
	if (n < 0)
		return -ENOENT;
	i->src = (uint8_t)n;
	return lock ? FORM_LMR : FORM_MR;
}

int build_form(struct insn *i, const struct insn_build *b)
{
	bool two = build_op_count(b) > 1;

	/* TZCNT and others exist with VEX on Knights Corner alone. */
	if (build_op_count(b) < 1 || b->zi->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
		return -ENOENT;
	return build_is_mem(b, 0) ? form_mem_first(i, b, two) : form_reg_first(i, b, two);
}

int build_forms(struct insn *i, const struct insn_build *b)
{
	const struct insn_forms *t = b->row->arg;
	int form = build_form(i, b);

	if (form < 0)
		return form;
	if (form >= FORM_RM && (i->ea_flags & EA_SLOW))
		form = FORM_SLOW(form);
	i->fn = t->fn[form][build_width((unsigned int)build_opsize(b, 0))];
	return i->fn ? 0 : -ENOENT;
}

int build_plain(struct insn *i, const struct insn_build *b)
{
	i->fn = (insn_fn *)b->row->arg;
	return 0;
}
