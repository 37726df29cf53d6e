/* SPDX-License-Identifier: MIT */
#include "vmm/boot/image.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct kind {
	unsigned int mode; /* S_IFMT bits */
	const char *what;
};

static const struct kind kinds[] = {
	{ S_IFDIR, "is a directory" },
	{ S_IFCHR, "is a character device" },
	{ S_IFBLK, "is a block device" },
	{ S_IFIFO, "is a pipe" },
	{ S_IFSOCK, "is a socket" },
};

static const char *not_regular(mode_t mode)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if ((mode & S_IFMT) == kinds[i].mode)
			return kinds[i].what;
	return NULL;
}

static int image_check(struct image *img, struct vmm_err *err)
{
	const char *what;
	struct stat st;

	if (fstat(img->fd, &st))
		return vmm_fail(err, errno, "%s: cannot stat: %s", img->path, strerror(errno));
	what = not_regular(st.st_mode);
	if (what)
		return vmm_fail(err, EINVAL, "%s: %s: a regular file is needed", img->path, what);
	if (!st.st_size)
		return vmm_fail(err, EINVAL, "%s: is empty", img->path);
	img->size = st.st_size;
	memset(img->head, 0, sizeof(img->head));
	return image_read(img, 0, img->head, img->size < IMAGE_HEAD ? img->size : IMAGE_HEAD, err);
}

int image_open(struct image *img, const char *path, struct vmm_err *err)
{
	int r;

	img->path = path;
	/* O_NONBLOCK: a pipe without a writer must not hang us before it is refused. */
	img->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (img->fd < 0)
		return vmm_fail(err, errno, "%s: cannot open: %s", path, strerror(errno));
	r = image_check(img, err);
	if (r)
		image_close(img);
	return r;
}

void image_close(struct image *img)
{
	close(img->fd);
	img->fd = -1;
}

int image_read(const struct image *img, uint64_t off, void *to, uint64_t len, struct vmm_err *err)
{
	uint8_t *p = to;

	while (len) {
		ssize_t n = pread(img->fd, p, len < (1u << 30) ? len : (1u << 30), off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return vmm_fail(err, errno, "%s: cannot read: %s", img->path, strerror(errno));
		if (!n)
			return vmm_fail(err, EINVAL, "%s: truncated: %llu bytes are missing", img->path,
					(unsigned long long)len);
		p += n;
		off += n;
		len -= n;
	}
	return 0;
}

struct magic {
	unsigned int off, len;
	const char *bytes;
	const char *what;
};

static const struct magic magics[] = {
	{ 0, 2, "\x1f\x8b", "is a gzip file" },
	{ 0, 6, "\xfd" "7zXZ\0", "is an xz file" },
	{ 0, 3, "BZh", "is a bzip2 file" },
	{ 0, 4, "\x28\xb5\x2f\xfd", "is a zstd file" },
	{ 0, 4, "\x02\x21\x4c\x18", "is an lz4 file" },
	{ 0, 4, "\x04\x22\x4d\x18", "is an lz4 file" },
	{ 0, 4, "PK\3\4", "is a zip file" },
	{ 0, 8, "!<arch>\n", "is an ar archive or a Debian package" },
	{ 257, 5, "ustar", "is a tar archive" },
	{ 0, 5, "07070", "is a cpio archive (an initramfs goes to --initrd)" },
	{ 0, 4, "QFI\xfb", "is a qcow2 disk image" },
	{ 56, 4, "ARM\x64", "is a Linux kernel for aarch64" },
	{ 48, 4, "RISC", "is a Linux kernel for riscv" },
	{ 0, 2, "#!", "is a script" },
	{ 0, 2, "MZ", "is a PE program without a Linux boot header" },
	{ 510, 2, "\x55\xaa", "is a disk image with a boot sector (a disk goes to --disk)" },
};

struct number_name {
	unsigned int number;
	const char *name;
};

static const struct number_name elf_types[] = {
	{ ET_REL, "an ELF object file" },
	{ ET_EXEC, "an ELF program" },
	{ ET_DYN, "an ELF shared object" },
	{ ET_CORE, "an ELF core dump" },
};

static const struct number_name elf_machines[] = {
	{ EM_386, "i386" },	   { EM_X86_64, "x86-64" }, { EM_AARCH64, "aarch64" }, { EM_ARM, "arm" },
	{ EM_PPC, "powerpc" },	   { EM_PPC64, "ppc64" },   { EM_S390, "s390x" },      { EM_MIPS, "mips" },
	{ EM_RISCV, "riscv" },	   { EM_SPARCV9, "sparc64" }, { EM_LOONGARCH, "loongarch" },
};

#define LOOKUP(table, n, otherwise) lookup(table, sizeof(table) / sizeof((table)[0]), n, otherwise)

static const char *lookup(const struct number_name *t, size_t count, unsigned int n, const char *otherwise)
{
	for (size_t i = 0; i < count; i++)
		if (t[i].number == n)
			return t[i].name;
	return otherwise;
}

static const char *describe_elf(const struct image *img, char *buf, size_t len)
{
	bool big = img->head[EI_DATA] == ELFDATA2MSB;
	const uint8_t *p = img->head + EI_NIDENT;
	unsigned int type = big ? p[0] << 8 | p[1] : p[1] << 8 | p[0];
	unsigned int machine = big ? p[2] << 8 | p[3] : p[3] << 8 | p[2];

	snprintf(buf, len, "is %s for %s", LOOKUP(elf_types, type, "an ELF file"),
		 LOOKUP(elf_machines, machine, "another machine"));
	return buf;
}

const char *image_describe(const struct image *img, char *buf, size_t len)
{
	if (!memcmp(img->head, ELFMAG, SELFMAG))
		return describe_elf(img, buf, len);
	for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++)
		if (!memcmp(img->head + magics[i].off, magics[i].bytes, magics[i].len))
			return magics[i].what;
	return "is of an unknown kind";
}
