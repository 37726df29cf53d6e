/* SPDX-License-Identifier: MIT */
/* Page-table formats: what the one walker needs to know of each.  SDM 3A, 4.3 to 4.5. */
#ifndef X86_MMU_FORMAT_H
#define X86_MMU_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

struct pt_format {
	uint8_t levels;
	uint8_t entry_bytes;    /* 4 or 8 */
	uint8_t index_bits;     /* per level */
	uint8_t leaf_levels;    /* bit n: an entry of level n may map a page (level 1 always does) */
	bool root_in_regs;      /* the top level's entries are the PDPTEs that MOV CR3 loaded */
	uint64_t present;       /* any of them: there is an entry */
	uint64_t write, user, accessed, dirty, page_size, global;
	uint64_t no_exec;       /* 0: the format has no such bit */
};

/* The bits that 32-bit, PAE and long-mode entries have in common. */
#define PT_P (1ULL << 0)
#define PT_W (1ULL << 1)
#define PT_U (1ULL << 2)
#define PT_A (1ULL << 5)
#define PT_D (1ULL << 6)
#define PT_PS (1ULL << 7)
#define PT_G (1ULL << 8)
#define PT_NX (1ULL << 63)
#define PT_PKEY_SHIFT 59

#define PT_COMMON .present = PT_P, .write = PT_W, .user = PT_U, .accessed = PT_A, .dirty = PT_D, \
	.page_size = PT_PS, .global = PT_G

/* EPT's, beside the page size at bit 7; SDM 3C 28.3.2. */
#define EPT_R (1ULL << 0)
#define EPT_W (1ULL << 1)
#define EPT_X (1ULL << 2)
#define EPT_TYPE_SHIFT 3
#define EPT_A (1ULL << 8)
#define EPT_D (1ULL << 9)
#define EPT_XU (1ULL << 10)

extern const struct pt_format pt_format_ept4, pt_format_ept5;
extern const struct pt_format pt_format_32, pt_format_pae, pt_format_long4, pt_format_long5;

#endif
