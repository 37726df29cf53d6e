/* SPDX-License-Identifier: MIT */
/* params.c - what the kernel is told at its start: the zero page, or PVH's start info. */
#include <asm/bootparam.h>
#include <string.h>
#include <sys/random.h>

#include "vmm/boot/boot.h"
#include "vmm/boot/layout.h"

#define LOADER_UNDEFINED 0xff /* boot.rst, type_of_loader: no id assigned */
#define SEED_LEN	 32u

/* Entropy for the guest's generator, so that a young guest need not wait for it. */
static uint64_t seed_data(struct guest_mem *gm)
{
	struct setup_data *d = guest_mem_ptr(gm, BOOT_RNG_SEED, sizeof(*d) + SEED_LEN);

	memset(d, 0, sizeof(*d));
	d->type = SETUP_RNG_SEED;
	d->len = SEED_LEN;
	return getrandom(d->data, SEED_LEN, 0) == (ssize_t)SEED_LEN ? BOOT_RNG_SEED : 0;
}

/* A kernel without a header of its own (ELF entry) gets the fields that it reads. */
static const struct setup_header bare_header = {
	.boot_flag = 0xaa55,
	.header = 0x53726448, /* "HdrS" */
	.version = 0x020f,
	.loadflags = LOADED_HIGH,
	.kernel_alignment = 0x1000000,
};

void boot_zero_page(struct boot_ctx *ctx, const struct setup_header *hdr)
{
	struct boot_params *bp = guest_mem_ptr(ctx->gm, BOOT_PARAMS, sizeof(*bp));
	struct e820_range map[E820_RANGES];

	memset(bp, 0, sizeof(*bp));
	bp->hdr = hdr ? *hdr : bare_header;
	bp->hdr.type_of_loader = LOADER_UNDEFINED;
	bp->hdr.vid_mode = 0xffff; /* "normal" */
	bp->hdr.cmd_line_ptr = BOOT_CMDLINE;
	bp->hdr.ramdisk_image = (uint32_t)ctx->initrd_gpa;
	bp->hdr.ramdisk_size = (uint32_t)ctx->initrd_len;
	bp->hdr.setup_data = seed_data(ctx->gm);
	bp->acpi_rsdp_addr = ctx->opts->rsdp;
	bp->e820_entries = boot_e820(ctx->gm, map);
	for (unsigned int i = 0; i < bp->e820_entries; i++)
		bp->e820_table[i] = (struct boot_e820_entry){ map[i].addr, map[i].len, map[i].type };
}

/* Xen's public/arch-x86/hvm/start_info.h describes these three. */
struct hvm_start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist, cmdline, rsdp, memmap;
	uint32_t memmap_entries, reserved;
};

struct hvm_module {
	uint64_t gpa, size, cmdline, reserved;
};

struct hvm_memmap {
	uint64_t addr, size;
	uint32_t type, reserved;
};

#define HVM_START_MAGIC 0x336ec578u

struct pvh_page {
	struct hvm_start_info info;
	struct hvm_module module;
	struct hvm_memmap map[E820_RANGES];
};

_Static_assert(sizeof(struct hvm_start_info) == 56, "start_info.h");
_Static_assert(sizeof(struct hvm_module) == 32, "start_info.h");
_Static_assert(sizeof(struct hvm_memmap) == 24, "start_info.h");

void boot_pvh_info(struct boot_ctx *ctx)
{
	struct pvh_page *p = guest_mem_ptr(ctx->gm, BOOT_PVH_INFO, sizeof(*p));
	struct e820_range map[E820_RANGES];

	memset(p, 0, sizeof(*p));
	p->info.magic = HVM_START_MAGIC;
	p->info.version = 1;
	p->info.cmdline = BOOT_CMDLINE;
	p->info.rsdp = ctx->opts->rsdp;
	if (ctx->initrd_len) {
		p->info.nr_modules = 1;
		p->info.modlist = BOOT_PVH_INFO + offsetof(struct pvh_page, module);
		p->module.gpa = ctx->initrd_gpa;
		p->module.size = ctx->initrd_len;
	}
	p->info.memmap = BOOT_PVH_INFO + offsetof(struct pvh_page, map);
	p->info.memmap_entries = boot_e820(ctx->gm, map);
	for (unsigned int i = 0; i < p->info.memmap_entries; i++)
		p->map[i] = (struct hvm_memmap){ map[i].addr, map[i].len, map[i].type, 0 };
}
