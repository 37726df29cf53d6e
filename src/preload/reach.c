/* SPDX-License-Identifier: MIT */
/* By mapping the file and no allocation: the preload asks in children of vfork(). */
#include "preload/reach.h"

#include <elf.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#define LOADER "ld-linux-x86-64.so.2"
#define NOTE_GO 4               /* type of Go's build id, owner "Go" */

int reach_map(struct reach_image *image, int fd)
{
	struct stat st;
	void *p;

	*image = (struct reach_image){ NULL, 0 };
	if (fstat(fd, &st))
		return -errno;
	if (!st.st_size)
		return 0;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*image = (struct reach_image){ p, (size_t)st.st_size };
	return 0;
}

void reach_unmap(struct reach_image *image)
{
	if (image->at)
		munmap((void *)image->at, image->size);
	image->at = NULL;
}

bool reach_is_elf(const struct reach_image *image)
{
	return image->size >= sizeof(Elf64_Ehdr) && !memcmp(image->at, ELFMAG, SELFMAG);
}

static const Elf64_Ehdr *head(const struct reach_image *image)
{
	return (const void *)image->at;
}

/* The program headers, aligned or not; NULL where they are not all there. */
static const char *headers(const struct reach_image *image)
{
	const Elf64_Ehdr *h = head(image);
	uint64_t size = (uint64_t)h->e_phnum * sizeof(Elf64_Phdr);

	if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phoff > image->size || size > image->size - h->e_phoff)
		return NULL;
	return image->at + h->e_phoff;
}

/* The next segment of @type from number *@n on, whose bytes are in the file. */
static bool segment(const struct reach_image *image, uint32_t type, unsigned int *n, struct reach_image *part)
{
	const char *at = headers(image);
	Elf64_Phdr s;

	for (; at && *n < head(image)->e_phnum; ++*n) {
		memcpy(&s, at + *n * sizeof(s), sizeof(s));
		if (s.p_type != type)
			continue;
		if (s.p_offset > image->size || s.p_filesz > image->size - s.p_offset)
			return false;
		*part = (struct reach_image){ image->at + s.p_offset, s.p_filesz };
		++*n;
		return true;
	}
	return false;
}

/* Whether @notes have one of Go's, which every program has that Go's compiler made. */
static bool has_go_note(const struct reach_image *notes)
{
	size_t at = 0;

	while (notes->size - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr n;
		uint64_t name = at + sizeof(n), end;

		memcpy(&n, notes->at + at, sizeof(n));
		end = name + ((n.n_namesz + 3ULL) & ~3ULL) + ((n.n_descsz + 3ULL) & ~3ULL);
		if (end > notes->size)
			return false;
		if (n.n_type == NOTE_GO && n.n_namesz == 4 && !memcmp(notes->at + name, "Go\0", 4))
			return true;
		at = end;
	}
	return false;
}

static bool is_go(const struct reach_image *image)
{
	struct reach_image notes;
	unsigned int n = 0;

	while (segment(image, PT_NOTE, &n, &notes))
		if (has_go_note(&notes))
			return true;
	return false;
}

/* Whether it asks for any library at all. */
static bool needs_library(const struct reach_image *image)
{
	struct reach_image dynamic;
	unsigned int n = 0;
	Elf64_Dyn d;

	if (!segment(image, PT_DYNAMIC, &n, &dynamic))
		return false;
	for (size_t at = 0; at + sizeof(d) <= dynamic.size; at += sizeof(d)) {
		memcpy(&d, dynamic.at + at, sizeof(d));
		if (d.d_tag == DT_NULL)
			return false;
		if (d.d_tag == DT_NEEDED)
			return true;
	}
	return false;
}

static bool has_segment(const struct reach_image *image, uint32_t type)
{
	const char *at = headers(image);
	Elf64_Phdr s;

	for (unsigned int n = 0; n < head(image)->e_phnum; n++) {
		memcpy(&s, at + n * sizeof(s), sizeof(s));
		if (s.p_type == type)
			return true;
	}
	return false;
}

static const char *loader(const struct reach_image *image, char why[128])
{
	struct reach_image path;
	unsigned int n = 0;
	const char *base;

	if (!has_segment(image, PT_INTERP))
		return "a static program";
	if (!segment(image, PT_INTERP, &n, &path) || !path.size || path.at[path.size - 1])
		return "a damaged program";
	base = strrchr(path.at, '/');
	if (!strcmp(base ? base + 1 : path.at, LOADER))
		return NULL;
	snprintf(why, 128, "a program for another C library (%.60s)", path.at);
	return why;
}

const char *reach_why_not(const struct reach_image *image, char why[128])
{
	const Elf64_Ehdr *h = head(image);
	const char *r;

	if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_machine != EM_X86_64)
		return "a program for another architecture";
	if (!headers(image))
		return "a damaged program";
	r = loader(image, why);
	if (!r && is_go(image))
		r = "a program made by Go, which makes system calls by itself";
	if (!r && !needs_library(image))
		r = "a program without a C library";
	return r;
}

/* ld.so(8), secure execution; credentials(7). */
bool reach_gains_rights(int fd)
{
	struct statvfs fs;
	struct stat st;

	if (fstat(fd, &st) || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
		return false;
	if (!fstatvfs(fd, &fs) && fs.f_flag & ST_NOSUID)
		return false;
	if (st.st_mode & S_ISUID && st.st_uid != getuid())
		return true;
	if ((st.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && st.st_gid != getgid())
		return true;
	return getuid() && fgetxattr(fd, "security.capability", NULL, 0) > 0;
}

bool reach_names_device(const struct reach_image *image)
{
	return image->size && memmem(image->at, image->size, "/dev/kvm", 8);
}
