/* SPDX-License-Identifier: MIT */
/* boot.h - from a kernel, an initrd and parameters to a guest's memory and its first instruction. */
#ifndef VMM_BOOT_BOOT_H
#define VMM_BOOT_BOOT_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/boot/image.h"
#include "vmm/err.h"
#include "vmm/guest_mem.h"

enum boot_mode {
	BOOT_LONG,	/* 64-bit, identity-mapped, %rsi = boot_params (boot.rst, 64-bit BOOT PROTOCOL) */
	BOOT_PROTECTED, /* 32-bit flat, paging off, %ebx = hvm_start_info (Xen's pvh.pandoc) */
};

struct boot_opts {
	const char *kernel;
	const char *initrd; /* or NULL */
	const char *cmdline;
	uint64_t rsdp;	    /* gpa of the ACPI root pointer */
};

struct boot_entry {
	enum boot_mode mode;
	uint64_t rip;
	uint64_t arg; /* gpa for %rsi or %ebx */
};

/**
 * boot_load - put everything where the boot protocol wants it.
 * Returns 0, or -errno with @err naming the file and what is wrong with it.
 */
int boot_load(struct guest_mem *gm, const struct boot_opts *opts, struct boot_entry *entry,
	      struct vmm_err *err);

/* Within the loaders. */

struct boot_ctx {
	struct guest_mem *gm;
	const struct boot_opts *opts;
	struct image kernel;
	uint64_t low_end;	   /* where RAM below 4 GiB ends */
	uint64_t kernel_end;	   /* first gpa that the kernel leaves free */
	uint64_t initrd_max;	   /* last gpa that the initrd may use */
	uint64_t initrd_gpa, initrd_len;
};

struct e820_range {
	uint64_t addr, len;
	uint32_t type; /* E820_* */
};

#define E820_RAM      1u
#define E820_RESERVED 2u
#define E820_RANGES   6u

/** boot_e820 - the memory map; returns how many of E820_RANGES are filled. */
unsigned int boot_e820(const struct guest_mem *gm, struct e820_range *out);

bool boot_is_bzimage(const struct image *img);
int boot_bzimage(struct boot_ctx *ctx, struct boot_entry *entry, struct vmm_err *err);

bool boot_is_elf(const struct image *img);
int boot_elf(struct boot_ctx *ctx, struct boot_entry *entry, struct vmm_err *err);

/** boot_initrd - load the initrd, if there is one, as high as it may lie above the kernel. */
int boot_initrd(struct boot_ctx *ctx, struct vmm_err *err);

/** boot_cmdline - copy the parameters; @max: the longest that the kernel takes, without the NUL. */
int boot_cmdline(struct boot_ctx *ctx, uint64_t max, struct vmm_err *err);

/** boot_page_tables - identity mapping of the first 4 GiB and the GDT of the 64-bit protocol. */
void boot_page_tables(struct guest_mem *gm);

/**
 * boot_zero_page - fill boot_params.
 * @hdr: the setup header out of the kernel, or NULL for a kernel that has none.
 */
struct setup_header;
void boot_zero_page(struct boot_ctx *ctx, const struct setup_header *hdr);

/** boot_pvh_info - fill hvm_start_info. */
void boot_pvh_info(struct boot_ctx *ctx);

#endif
