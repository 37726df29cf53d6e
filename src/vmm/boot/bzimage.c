/* SPDX-License-Identifier: MIT */
/*
 * bzimage.c - the Linux boot protocol, 64-bit entry (Documentation/x86/boot.rst).
 *
 * The file is a real-mode setup part, which is not run, and a protected-mode
 * part, which is loaded where the header prefers and entered 0x200 behind its
 * start in long mode.
 */
#include <asm/bootparam.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "vmm/boot/boot.h"
#include "vmm/boot/layout.h"

#define HDR_OFF	       offsetof(struct boot_params, hdr) /* 0x1f1 */
#define HDR_MAGIC      0x53726448u			 /* "HdrS" */
#define ENTRY_64       0x200u
#define PROTOCOL_2_12  0x020cu /* the first with xloadflags */
#define MIB(bytes)     ((unsigned long long)((bytes) + (1u << 20) - 1) >> 20)

static struct setup_header header_of(const struct image *img)
{
	struct setup_header h;

	memcpy(&h, img->head + HDR_OFF, sizeof(h));
	return h;
}

bool boot_is_bzimage(const struct image *img)
{
	struct setup_header h = header_of(img);

	return h.header == HDR_MAGIC && h.boot_flag == 0xaa55;
}

static uint64_t setup_bytes(const struct setup_header *h)
{
	return ((h->setup_sects ? h->setup_sects : 4) + 1) * 512u;
}

static int check_header(const struct image *img, const struct setup_header *h, struct vmm_err *err)
{
	uint64_t said = setup_bytes(h) + h->syssize * 16ull;

	if (h->version < PROTOCOL_2_12)
		return vmm_fail(err, ENOEXEC,
				"%s: boot protocol %u.%02u is too old: 2.12 (Linux 3.8) is needed",
				img->path, h->version >> 8, h->version & 0xff);
	if (!(h->xloadflags & XLF_KERNEL_64))
		return vmm_fail(err, ENOEXEC, "%s: is a 32-bit Linux kernel: one for x86-64 is needed",
				img->path);
	/* syssize is rounded up to 16 bytes, the file need not be. */
	if (said > img->size + 15)
		return vmm_fail(err, EINVAL, "%s: truncated: header says %llu bytes, file has %llu",
				img->path, (unsigned long long)said, (unsigned long long)img->size);
	return 0;
}

static bool fits(const struct boot_ctx *ctx, uint64_t at, uint64_t need)
{
	return at >= BOOT_HIGH && at <= ctx->low_end && need <= ctx->low_end - at;
}

/* Where to load: the preferred address, else the lowest aligned one; 0 where neither has room. */
static uint64_t place(const struct boot_ctx *ctx, const struct setup_header *h, uint64_t need)
{
	uint64_t align = h->kernel_alignment ? h->kernel_alignment : 0x200000;
	uint64_t low = (BOOT_HIGH + align - 1) / align * align;

	if (fits(ctx, h->pref_address, need))
		return h->pref_address;
	return h->relocatable_kernel && fits(ctx, low, need) ? low : 0;
}

int boot_bzimage(struct boot_ctx *ctx, struct boot_entry *entry, struct vmm_err *err)
{
	const struct image *img = &ctx->kernel;
	struct setup_header h = header_of(img);
	uint64_t off, len, need, at;
	int r = check_header(img, &h, err);

	if (r)
		return r;
	off = setup_bytes(&h);
	len = img->size - off < h.syssize * 16ull ? img->size - off : h.syssize * 16ull;
	need = len > h.init_size ? len : h.init_size;
	at = place(ctx, &h, need);
	if (!at)
		return vmm_fail(
		    err, E2BIG,
		    "%s: kernel needs %llu MiB at %llu MiB, memory has %llu MiB: give more with -m",
		    img->path, MIB(need), MIB(h.pref_address), MIB(ctx->low_end));
	r = image_read(img, off, guest_mem_ptr(ctx->gm, at, len), len, err);
	if (r)
		return r;
	ctx->kernel_end = at + need;
	ctx->initrd_max = h.initrd_addr_max;
	r = boot_cmdline(ctx, h.cmdline_size, err);
	if (!r)
		r = boot_initrd(ctx, err);
	if (r)
		return r;
	h.code32_start = (uint32_t)at;
	boot_zero_page(ctx, &h);
	boot_page_tables(ctx->gm);
	*entry = (struct boot_entry){ .mode = BOOT_LONG, .rip = at + ENTRY_64, .arg = BOOT_PARAMS };
	return 0;
}
