/* SPDX-License-Identifier: MIT */
/* The loaders: good kernels made by hand land where they should; bad files are told apart. */
#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/boot/boot.h"
#include "vmm/boot/layout.h"

#define MIB	(1u << 20)
#define SECTORS 4u
#define CODE	4096u

struct rig {
	char dir[64], kernel[96], initrd[96];
	struct guest_mem gm;
	struct boot_entry entry;
	struct vmm_err err;
	const char *cmdline;
};

static int set_up(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	strcpy(r->dir, "/tmp/anykvm-boot.XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->kernel, sizeof(r->kernel), "%s/kernel", r->dir);
	snprintf(r->initrd, sizeof(r->initrd), "%s/initrd", r->dir);
	r->cmdline = "console=ttyS0";
	assert_int_equal(guest_mem_init(&r->gm, 64 * MIB), 0);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	unlink(r->kernel);
	unlink(r->initrd);
	rmdir(r->dir);
	guest_mem_fini(&r->gm);
	free(r);
	return 0;
}

static void put_file(const char *path, const void *data, size_t len)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static int load(struct rig *r, bool initrd)
{
	struct boot_opts o = { .kernel = r->kernel,
			       .initrd = initrd ? r->initrd : NULL,
			       .cmdline = r->cmdline,
			       .rsdp = BOOT_ACPI };

	r->err.msg[0] = 0;
	return boot_load(&r->gm, &o, &r->entry, &r->err);
}

/* Whether loading fails, with @text in what it says. */
static void refuses(struct rig *r, bool initrd, const char *text)
{
	int e = load(r, initrd);

	if (e >= 0 || !strstr(r->err.msg, text))
		print_error("wanted \"%s\", got %d \"%s\"\n", text, e, r->err.msg);
	assert_true(e < 0);
	assert_non_null(strstr(r->err.msg, text));
	assert_null(strchr(r->err.msg, '\n'));
}

/* A bzImage whose protected-mode part is CODE bytes of 0x90. */
static size_t make_bzimage(uint8_t *buf)
{
	struct setup_header *h = (void *)(buf + 0x1f1);
	size_t setup = (SECTORS + 1) * 512;

	memset(buf, 0, setup);
	memset(buf + setup, 0x90, CODE);
	h->setup_sects = SECTORS;
	h->syssize = CODE / 16;
	h->boot_flag = 0xaa55;
	h->header = 0x53726448;
	h->version = 0x20f;
	h->xloadflags = XLF_KERNEL_64;
	h->relocatable_kernel = 1;
	h->kernel_alignment = 0x200000;
	h->pref_address = 16 * MIB;
	h->init_size = 8 * MIB;
	h->initrd_addr_max = 0x7fffffff;
	h->cmdline_size = 2047;
	return setup + CODE;
}

static void bzimage_lands(void **state)
{
	struct rig *r = *state;
	uint8_t buf[16384];
	const struct boot_params *bp;
	const uint8_t *at;

	put_file(r->kernel, buf, make_bzimage(buf));
	put_file(r->initrd, "initrd!", 7);
	assert_int_equal(load(r, true), 0);
	assert_int_equal(r->entry.mode, BOOT_LONG);
	assert_int_equal(r->entry.rip, 16 * MIB + 0x200);
	assert_int_equal(r->entry.arg, BOOT_PARAMS);
	at = guest_mem_ptr(&r->gm, 16 * MIB, CODE);
	assert_int_equal(at[0], 0x90);
	assert_int_equal(at[CODE - 1], 0x90);
	bp = guest_mem_ptr(&r->gm, BOOT_PARAMS, sizeof(*bp));
	assert_int_equal(bp->hdr.cmd_line_ptr, BOOT_CMDLINE);
	assert_string_equal(guest_mem_ptr(&r->gm, BOOT_CMDLINE, 64), r->cmdline);
	assert_int_equal(bp->hdr.ramdisk_image, 64 * MIB - 4096);
	assert_int_equal(bp->hdr.ramdisk_size, 7);
	assert_memory_equal(guest_mem_ptr(&r->gm, bp->hdr.ramdisk_image, 7), "initrd!", 7);
	assert_int_equal(bp->acpi_rsdp_addr, BOOT_ACPI);
	assert_int_equal(bp->e820_table[3].addr, MIB);
	assert_int_equal(bp->e820_table[3].size, 63 * MIB);
}

static void bzimage_moves_down(void **state)
{
	struct rig *r = *state;
	uint8_t buf[16384];

	put_file(r->kernel, buf, make_bzimage(buf));
	guest_mem_fini(&r->gm);
	assert_int_equal(guest_mem_init(&r->gm, 16 * MIB), 0);
	assert_int_equal(load(r, false), 0);
	assert_int_equal(r->entry.rip, 2 * MIB + 0x200);
}

static void bzimage_faults(void **state)
{
	struct rig *r = *state;
	uint8_t buf[16384];
	size_t len = make_bzimage(buf);
	struct setup_header *h = (void *)(buf + 0x1f1);

	put_file(r->kernel, buf, len - 1000);
	refuses(r, false, "truncated: header says 6656 bytes, file has 5656");
	h->xloadflags = 0;
	put_file(r->kernel, buf, len);
	refuses(r, false, "is a 32-bit Linux kernel");
	h->version = 0x206;
	put_file(r->kernel, buf, len);
	refuses(r, false, "boot protocol 2.06 is too old");
	make_bzimage(buf);
	h->init_size = 100 * MIB;
	put_file(r->kernel, buf, len);
	refuses(r, false, "kernel needs 100 MiB at 16 MiB, memory has 64 MiB");
	h->init_size = 0xffffffff;
	h->pref_address = UINT64_MAX - 4095;
	put_file(r->kernel, buf, len);
	refuses(r, false, "give more with -m");
	make_bzimage(buf);
	h->cmdline_size = 5;
	put_file(r->kernel, buf, len);
	refuses(r, false, "kernel parameters: 13 bytes are too long: this kernel takes 5");
}

static void initrd_faults(void **state)
{
	struct rig *r = *state;
	uint8_t buf[16384];

	put_file(r->kernel, buf, make_bzimage(buf));
	refuses(r, true, "initrd: cannot open: No such file");
	put_file(r->initrd, "", 0);
	refuses(r, true, "initrd: is empty");
	assert_int_equal(truncate(r->initrd, 63 * MIB), 0);
	refuses(r, true, "initrd of 63 MiB does not fit");
	assert_int_equal(truncate(r->initrd, 1ull << 40), 0);
	refuses(r, true, "does not fit");
}

static size_t make_elf(uint8_t *buf, bool pvh)
{
	Elf64_Ehdr *eh = (void *)buf;
	Elf64_Phdr *ph = (void *)(buf + sizeof(*eh));
	struct {
		Elf64_Nhdr h;
		char name[4];
		uint64_t desc;
	} *note = (void *)(buf + 0x400);

	memset(buf, 0, 0x2000);
	memcpy(eh->e_ident, ELFMAG, SELFMAG);
	eh->e_ident[EI_CLASS] = ELFCLASS64;
	eh->e_ident[EI_DATA] = ELFDATA2LSB;
	eh->e_type = ET_EXEC;
	eh->e_machine = EM_X86_64;
	eh->e_phoff = sizeof(*eh);
	eh->e_phentsize = sizeof(*ph);
	eh->e_phnum = 2;
	eh->e_entry = 0xffffffff81000010;
	ph[0] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_offset = 0x1000, .p_vaddr = 0xffffffff81000000,
			      .p_paddr = 16 * MIB, .p_filesz = 0x1000, .p_memsz = 0x3000 };
	ph[1] = (Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = 0x400, .p_filesz = sizeof(*note) };
	note->h = (Elf64_Nhdr){ .n_namesz = 4, .n_descsz = 8, .n_type = pvh ? 18 : 17 };
	memcpy(note->name, "Xen", 4);
	note->desc = 16 * MIB + 0x40;
	memset(buf + 0x1000, 0xcc, 0x1000);
	return 0x2000;
}

static void elf_lands(void **state)
{
	struct rig *r = *state;
	uint8_t buf[0x2000];
	const uint32_t *info;

	put_file(r->kernel, buf, make_elf(buf, true));
	assert_int_equal(load(r, false), 0);
	assert_int_equal(r->entry.mode, BOOT_PROTECTED);
	assert_int_equal(r->entry.rip, 16 * MIB + 0x40);
	info = guest_mem_ptr(&r->gm, r->entry.arg, 4);
	assert_int_equal(*info, 0x336ec578);
	assert_int_equal(*(uint8_t *)guest_mem_ptr(&r->gm, 16 * MIB + 0xfff, 1), 0xcc);
	put_file(r->kernel, buf, make_elf(buf, false));
	assert_int_equal(load(r, false), 0);
	assert_int_equal(r->entry.mode, BOOT_LONG);
	assert_int_equal(r->entry.rip, 16 * MIB + 0x10);
}

static void elf_faults(void **state)
{
	struct rig *r = *state;
	uint8_t buf[0x2000];
	Elf64_Ehdr *eh = (void *)buf;
	Elf64_Phdr *ph = (void *)(buf + sizeof(*eh));
	size_t len = make_elf(buf, true);

	put_file(r->kernel, buf, len - 1);
	refuses(r, false, "truncated: header says 8192 bytes, file has 8191");
	ph[0].p_paddr = 100 * MIB;
	put_file(r->kernel, buf, len);
	refuses(r, false, "kernel needs memory up to 101 MiB, there are 64 MiB");
	ph[0].p_paddr = 0;
	put_file(r->kernel, buf, len);
	refuses(r, false, "has a segment for 0: not a kernel");
	make_elf(buf, false);
	ph[0].p_offset = UINT64_MAX - 10;
	put_file(r->kernel, buf, len);
	refuses(r, false, "truncated");
	make_elf(buf, false);
	ph[0].p_memsz = UINT64_MAX;
	put_file(r->kernel, buf, len);
	refuses(r, false, "give more with -m");
	make_elf(buf, false);
	eh->e_entry = 1;
	put_file(r->kernel, buf, len);
	refuses(r, false, "starts outside its segments");
	make_elf(buf, false);
	ph[1].p_type = PT_INTERP;
	put_file(r->kernel, buf, len);
	refuses(r, false, "is an ELF program for x86-64: not a kernel");
	make_elf(buf, false);
	eh->e_phnum = 0xffff;
	put_file(r->kernel, buf, len);
	refuses(r, false, "65535 segments");
	make_elf(buf, false);
	eh->e_type = ET_DYN;
	eh->e_machine = EM_AARCH64;
	put_file(r->kernel, buf, len);
	refuses(r, false, "is an ELF shared object for aarch64");
}

/* Notes whose lengths lie are passed over, not followed. */
static void elf_bad_notes(void **state)
{
	static const uint32_t lies[] = { 0, 1, 0x7fffffff, 0x80000000, 0xfffffffd, 0xffffffff };
	struct rig *r = *state;
	uint8_t buf[0x2000];
	size_t len = make_elf(buf, true);
	Elf64_Nhdr *n = (void *)(buf + 0x400);

	for (size_t i = 0; i < 2 * sizeof(lies) / sizeof(lies[0]); i++) {
		make_elf(buf, true);
		if (i & 1)
			n->n_namesz = lies[i / 2];
		else
			n->n_descsz = lies[i / 2];
		put_file(r->kernel, buf, len);
		assert_int_equal(load(r, false), 0);
		assert_int_equal(r->entry.mode, BOOT_LONG);
	}
}

static void says_what_it_is(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *text;
	} files[] = {
		{ "\x1f\x8b\x08", 3, "is a gzip file" },
		{ "\xfd" "7zXZ\0", 6, "is an xz file" },
		{ "#!/bin/sh\n", 10, "is a script" },
		{ "070701", 6, "is a cpio archive" },
		{ "QFI\xfb", 4, "is a qcow2 disk image" },
		{ "!<arch>\ndebian-binary", 21, "Debian package" },
		{ "hello", 5, "is of an unknown kind" },
		{ "\x7f" "ELF\1\1\1\0\0\0\0\0\0\0\0\0\2\0\3\0", 20, "is an ELF program for i386" },
		{ "\x7f" "ELF\2\2\1\0\0\0\0\0\0\0\0\0\0\3\0\x16", 20, "is an ELF shared object for s390x" },
		{ "", 0, "is empty" },
	};
	struct rig *r = *state;

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		put_file(r->kernel, files[i].bytes, files[i].len);
		refuses(r, false, files[i].text);
	}
	unlink(r->kernel);
	refuses(r, false, "kernel: cannot open: No such file or directory");
	assert_int_equal(mkdir(r->kernel, 0700), 0);
	refuses(r, false, "is a directory");
	rmdir(r->kernel);
	assert_int_equal(mkfifo(r->kernel, 0600), 0);
	refuses(r, false, "is a pipe");
}

/* Any bytes of a header may be anything: loading ends in success or an error, never in a crash. */
static void fuzzed_headers(void **state)
{
	struct rig *r = *state;
	uint8_t buf[16384];
	uint64_t seed = 0x9e3779b97f4a7c15;

	for (int i = 0; i < 2000; i++) {
		size_t len = i & 1 ? make_bzimage(buf) : make_elf(buf, i & 2), from = i & 1 ? 0x1f1 : 16;

		for (int j = 0; j < 4; j++) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			buf[from + (seed >> 33) % (i & 1 ? 0x80 : 0x100)] = seed >> 24;
		}
		put_file(r->kernel, buf, len);
		load(r, false);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(bzimage_lands, set_up, tear_down),
		cmocka_unit_test_setup_teardown(bzimage_moves_down, set_up, tear_down),
		cmocka_unit_test_setup_teardown(bzimage_faults, set_up, tear_down),
		cmocka_unit_test_setup_teardown(initrd_faults, set_up, tear_down),
		cmocka_unit_test_setup_teardown(elf_lands, set_up, tear_down),
		cmocka_unit_test_setup_teardown(elf_faults, set_up, tear_down),
		cmocka_unit_test_setup_teardown(elf_bad_notes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(says_what_it_is, set_up, tear_down),
		cmocka_unit_test_setup_teardown(fuzzed_headers, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("vmm/boot", tests, NULL, NULL);
}
