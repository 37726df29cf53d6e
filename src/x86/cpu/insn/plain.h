/* SPDX-License-Identifier: MIT */
/* Rows of instructions without explicit operands: the handler itself is the row's argument. */
#ifndef X86_CPU_INSN_PLAIN_H
#define X86_CPU_INSN_PLAIN_H

#include "x86/cpu/insn.h"

#define PLAIN(f) (&(insn_fn *const){ f })

static inline int build_plain(struct insn *i, const struct insn_build *b)
{
	i->fn = *(insn_fn *const *)b->row->arg;
	return 0;
}

#endif
