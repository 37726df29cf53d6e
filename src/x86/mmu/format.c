/* SPDX-License-Identifier: MIT */
#include "x86/mmu/format.h"

const struct pt_format pt_format_32 = {
	.levels = 2, .entry_bytes = 4, .index_bits = 10, .leaf_levels = 1 << 1 | 1 << 2, PT_COMMON,
};

const struct pt_format pt_format_pae = {
	.levels = 3, .entry_bytes = 8, .index_bits = 9, .leaf_levels = 1 << 1 | 1 << 2, .root_in_regs = true,
	.no_exec = PT_NX, PT_COMMON,
};

const struct pt_format pt_format_long4 = {
	.levels = 4, .entry_bytes = 8, .index_bits = 9, .leaf_levels = 1 << 1 | 1 << 2 | 1 << 3,
	.no_exec = PT_NX, PT_COMMON,
};

const struct pt_format pt_format_long5 = {
	.levels = 5, .entry_bytes = 8, .index_bits = 9, .leaf_levels = 1 << 1 | 1 << 2 | 1 << 3,
	.no_exec = PT_NX, PT_COMMON,
};

/* The walker asks a page table of the guest's for W, U and NX; EPT's rights are slat.c's. */
#define EPT_COMMON .entry_bytes = 8, .index_bits = 9, .leaf_levels = 1 << 1 | 1 << 2 | 1 << 3, \
	.present = EPT_R | EPT_W | EPT_X, .accessed = EPT_A, .dirty = EPT_D, .page_size = PT_PS

const struct pt_format pt_format_ept4 = { .levels = 4, EPT_COMMON };
const struct pt_format pt_format_ept5 = { .levels = 5, EPT_COMMON };
