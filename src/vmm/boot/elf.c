/* SPDX-License-Identifier: MIT */
/*
 * elf.c - an uncompressed kernel (vmlinux): its segments go to their physical
 * addresses.  It is entered as its PVH note says, else in long mode at e_entry.
 */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "vmm/boot/boot.h"
#include "vmm/boot/layout.h"

#define ELF_MAX_PHDRS	    64u
#define NOTE_MAX	    65536u
#define NOTE_PHYS32_ENTRY   18u /* XEN_ELFNOTE_PHYS32_ENTRY, public/elfnote.h */
#define CMDLINE_MAX	    2047u /* x86 Linux's COMMAND_LINE_SIZE, NUL off */
#define MIB(bytes)	    ((unsigned long long)((bytes) + (1u << 20) - 1) >> 20)

struct elf {
	Elf64_Ehdr eh;
	Elf64_Phdr ph[ELF_MAX_PHDRS];
};

bool boot_is_elf(const struct image *img)
{
	Elf64_Ehdr eh;

	memcpy(&eh, img->head, sizeof(eh));
	return !memcmp(eh.e_ident, ELFMAG, SELFMAG) && eh.e_ident[EI_CLASS] == ELFCLASS64 &&
	       eh.e_ident[EI_DATA] == ELFDATA2LSB && eh.e_machine == EM_X86_64 && eh.e_type == ET_EXEC;
}

static int read_headers(const struct image *img, struct elf *elf, struct vmm_err *err)
{
	int r = image_read(img, 0, &elf->eh, sizeof(elf->eh), err);

	if (r)
		return r;
	if (elf->eh.e_phentsize != sizeof(Elf64_Phdr) || !elf->eh.e_phnum || elf->eh.e_phnum > ELF_MAX_PHDRS)
		return vmm_fail(err, ENOEXEC,
				"%s: is an ELF program with %u segments of %u bytes: not a kernel",
				img->path, elf->eh.e_phnum, elf->eh.e_phentsize);
	return image_read(img, elf->eh.e_phoff, elf->ph, elf->eh.e_phnum * sizeof(Elf64_Phdr), err);
}

static int load_segment(struct boot_ctx *ctx, const Elf64_Phdr *ph, struct vmm_err *err)
{
	uint8_t *to = guest_mem_ptr(ctx->gm, ph->p_paddr, ph->p_memsz);

	if (ph->p_filesz > ph->p_memsz || ph->p_paddr < BOOT_HIGH)
		return vmm_fail(err, ENOEXEC, "%s: has a segment for %#llx: not a kernel", ctx->kernel.path,
				(unsigned long long)ph->p_paddr);
	if (!to)
		return vmm_fail(
		    err, E2BIG,
		    "%s: kernel needs memory up to %llu MiB, there are %llu MiB: give more with -m",
		    ctx->kernel.path, MIB(ph->p_paddr + ph->p_memsz), MIB(ctx->low_end));
	if (ph->p_offset > ctx->kernel.size || ph->p_filesz > ctx->kernel.size - ph->p_offset)
		return vmm_fail(err, EINVAL, "%s: truncated: header says %llu bytes, file has %llu",
				ctx->kernel.path, (unsigned long long)(ph->p_offset + ph->p_filesz),
				(unsigned long long)ctx->kernel.size);
	if (ph->p_paddr + ph->p_memsz > ctx->kernel_end)
		ctx->kernel_end = ph->p_paddr + ph->p_memsz;
	return image_read(&ctx->kernel, ph->p_offset, to, ph->p_filesz, err);
}

/* The PVH entry among the notes [p, p + len), or 0. */
static uint64_t find_note(const uint8_t *p, uint64_t len)
{
	uint64_t at = 0;

	while (len - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr n;
		uint64_t name = at + sizeof(n), desc, next;
		uint64_t entry = 0;

		memcpy(&n, p + at, sizeof(n));
		desc = name + (((uint64_t)n.n_namesz + 3) & ~3ull);
		next = desc + (((uint64_t)n.n_descsz + 3) & ~3ull);
		if (desc > len || n.n_descsz > len - desc)
			return 0;
		if (n.n_type == NOTE_PHYS32_ENTRY && n.n_namesz == 4 && !memcmp(p + name, "Xen", 4) &&
		    (n.n_descsz == 4 || n.n_descsz == 8)) {
			memcpy(&entry, p + desc, n.n_descsz);
			return entry;
		}
		if (next > len)
			return 0;
		at = next;
	}
	return 0;
}

static int pvh_entry(const struct image *img, const Elf64_Phdr *ph, uint64_t *entry, struct vmm_err *err)
{
	uint8_t notes[NOTE_MAX];
	uint64_t len = ph->p_filesz < NOTE_MAX ? ph->p_filesz : NOTE_MAX;
	int r = image_read(img, ph->p_offset, notes, len, err);

	if (!r && !*entry)
		*entry = find_note(notes, len);
	return r;
}

static int load_segments(struct boot_ctx *ctx, const struct elf *elf, uint64_t *pvh, struct vmm_err *err)
{
	int r = 0;

	for (unsigned int i = 0; i < elf->eh.e_phnum && !r; i++) {
		const Elf64_Phdr *ph = &elf->ph[i];

		if (ph->p_type == PT_LOAD && ph->p_memsz)
			r = load_segment(ctx, ph, err);
		else if (ph->p_type == PT_NOTE)
			r = pvh_entry(&ctx->kernel, ph, pvh, err);
		else if (ph->p_type == PT_INTERP)
			r = vmm_fail(err, ENOEXEC, "%s: is an ELF program for x86-64: not a kernel",
				     ctx->kernel.path);
	}
	return r;
}

/* e_entry is physical in Linux's own vmlinux; others give the virtual address. */
static uint64_t long_entry(const struct elf *elf)
{
	uint64_t e = elf->eh.e_entry;

	for (unsigned int i = 0; i < elf->eh.e_phnum; i++) {
		const Elf64_Phdr *ph = &elf->ph[i];

		if (ph->p_type != PT_LOAD)
			continue;
		if (e - ph->p_paddr < ph->p_memsz)
			return e;
		if (e - ph->p_vaddr < ph->p_memsz)
			return ph->p_paddr + (e - ph->p_vaddr);
	}
	return 0;
}

int boot_elf(struct boot_ctx *ctx, struct boot_entry *entry, struct vmm_err *err)
{
	struct elf elf;
	uint64_t pvh = 0;
	int r = read_headers(&ctx->kernel, &elf, err);

	if (!r)
		r = load_segments(ctx, &elf, &pvh, err);
	if (!r && !ctx->kernel_end)
		r = vmm_fail(err, ENOEXEC, "%s: is an ELF program with nothing to load", ctx->kernel.path);
	ctx->initrd_max = 0x7fffffff; /* what kernels without a header of their own are known to take */
	if (!r)
		r = boot_cmdline(ctx, CMDLINE_MAX, err);
	if (!r)
		r = boot_initrd(ctx, err);
	if (r)
		return r;
	boot_page_tables(ctx->gm);
	boot_zero_page(ctx, NULL);
	boot_pvh_info(ctx);
	if (pvh)
		*entry = (struct boot_entry){ .mode = BOOT_PROTECTED, .rip = pvh, .arg = BOOT_PVH_INFO };
	else
		*entry =
		    (struct boot_entry){ .mode = BOOT_LONG, .rip = long_entry(&elf), .arg = BOOT_PARAMS };
	if (!entry->rip)
		return vmm_fail(err, ENOEXEC,
				"%s: is an ELF program that starts outside its segments: not a kernel",
				ctx->kernel.path);
	return 0;
}
