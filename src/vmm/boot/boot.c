/* SPDX-License-Identifier: MIT */
#include "vmm/boot/boot.h"

#include <errno.h>
#include <string.h>

#include "vmm/boot/layout.h"

#define MIB(bytes) ((unsigned long long)((bytes) + (1u << 20) - 1) >> 20)

unsigned int boot_e820(const struct guest_mem *gm, struct e820_range *out)
{
	uint64_t low_end = gm->region[0].len;
	unsigned int n = 0;

	out[n++] = (struct e820_range){ 0, BOOT_EBDA, E820_RAM };
	out[n++] = (struct e820_range){ BOOT_EBDA, BOOT_VGA - BOOT_EBDA, E820_RESERVED };
	out[n++] = (struct e820_range){ BOOT_ACPI, BOOT_ACPI_MAX, E820_RESERVED };
	if (low_end > BOOT_HIGH)
		out[n++] = (struct e820_range){ BOOT_HIGH, low_end - BOOT_HIGH, E820_RAM };
	out[n++] =
	    (struct e820_range){ KVM_IDENTITY_PAGE, GUEST_HIGH_GPA - KVM_IDENTITY_PAGE, E820_RESERVED };
	if (gm->count > 1)
		out[n++] = (struct e820_range){ gm->region[1].gpa, gm->region[1].len, E820_RAM };
	return n;
}

int boot_initrd(struct boot_ctx *ctx, struct vmm_err *err)
{
	uint64_t end = ctx->low_end < ctx->initrd_max + 1 ? ctx->low_end : ctx->initrd_max + 1;
	struct image img;
	int r;

	if (!ctx->opts->initrd)
		return 0;
	r = image_open(&img, ctx->opts->initrd, err);
	if (r)
		return r;
	if (img.size > end || ((end - img.size) & ~4095ull) < ctx->kernel_end) {
		r = vmm_fail(err, E2BIG,
			     "%s: initrd of %llu MiB does not fit above the kernel in the %llu MiB of memory "
			     "below 4 GiB: give more with -m",
			     img.path, MIB(img.size), MIB(ctx->low_end));
	} else {
		ctx->initrd_gpa = (end - img.size) & ~4095ull;
		ctx->initrd_len = img.size;
		r = image_read(&img, 0, guest_mem_ptr(ctx->gm, ctx->initrd_gpa, img.size), img.size, err);
	}
	image_close(&img);
	return r;
}

int boot_cmdline(struct boot_ctx *ctx, uint64_t max, struct vmm_err *err)
{
	size_t len = strlen(ctx->opts->cmdline);

	if (max > BOOT_CMDLINE_MAX - 1)
		max = BOOT_CMDLINE_MAX - 1;
	if (len > max)
		return vmm_fail(err, E2BIG,
				"kernel parameters: %zu bytes are too long: this kernel takes %llu", len,
				(unsigned long long)max);
	return guest_mem_write(ctx->gm, BOOT_CMDLINE, ctx->opts->cmdline, len + 1);
}

/* Page-table entries: present, writable; page size (SDM 3A, 4.5). */
#define PTE_TABLE 0x3ull
#define PTE_2M	  0x83ull

void boot_page_tables(struct guest_mem *gm)
{
	/* Null, unused, 64-bit code, flat data: accessed, so that loading writes nothing (SDM 3A, 3.4.5). */
	static const uint64_t gdt[] = { 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff };
	uint64_t *pml4 = guest_mem_ptr(gm, BOOT_PAGE_TABLES, 6 * 4096);
	uint64_t *pdpt = pml4 + 512, *pd = pml4 + 1024;

	memset(pml4, 0, 6 * 4096);
	pml4[0] = (BOOT_PAGE_TABLES + 0x1000) | PTE_TABLE;
	for (unsigned int i = 0; i < 4; i++)
		pdpt[i] = (BOOT_PAGE_TABLES + 0x2000 + i * 0x1000) | PTE_TABLE;
	for (unsigned int i = 0; i < 4 * 512; i++)
		pd[i] = (uint64_t)i << 21 | PTE_2M;
	guest_mem_write(gm, BOOT_GDT, gdt, sizeof(gdt));
}

static int load_kernel(struct boot_ctx *ctx, struct boot_entry *entry, struct vmm_err *err)
{
	char what[80];

	if (boot_is_bzimage(&ctx->kernel))
		return boot_bzimage(ctx, entry, err);
	if (boot_is_elf(&ctx->kernel))
		return boot_elf(ctx, entry, err);
	return vmm_fail(err, ENOEXEC, "%s: %s: an x86-64 Linux bzImage or ELF vmlinux is needed",
			ctx->kernel.path, image_describe(&ctx->kernel, what, sizeof(what)));
}

int boot_load(struct guest_mem *gm, const struct boot_opts *opts, struct boot_entry *entry,
	      struct vmm_err *err)
{
	struct boot_ctx ctx = { .gm = gm, .opts = opts, .low_end = gm->region[0].len };
	int r;

	if (ctx.low_end < 2u << 20)
		return vmm_fail(err, EINVAL, "memory: %llu MiB are too few to boot in", MIB(ctx.low_end));
	r = image_open(&ctx.kernel, opts->kernel, err);
	if (r)
		return r;
	r = load_kernel(&ctx, entry, err);
	image_close(&ctx.kernel);
	return r;
}
