/* SPDX-License-Identifier: MIT */
#include "cli/program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SCRIPT_DEPTH 5          /* Linux's: a script's interpreter may be a script */
#define SCRIPT_LINE 256         /* BINPRM_BUF_SIZE */
#define SEGMENTS_MAX 128u
#define PART_MAX ((size_t)1 << 20)      /* of a note or of the dynamic section; real ones are far smaller */
#define LOADER "ld-linux-x86-64.so.2"
#define NOTE_GO 4               /* type of Go's build id, owner "Go" */

/* --- where it is --- */

static bool is_program(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISREG(st.st_mode) && !access(path, X_OK);
}

static int not_found(const char *name, int seen, struct vmm_err *err)
{
	if (seen)
		return vmm_fail(err, EACCES, "%s: cannot be executed: %s", name, strerror(EACCES));
	return vmm_fail(err, ENOENT, "%s: no such command", name);
}

int program_find(struct program *p, const char *name, struct vmm_err *err)
{
	const char *path = getenv("PATH");
	bool seen = false;

	if (strchr(name, '/')) {
		if ((size_t)snprintf(p->path, sizeof(p->path), "%s", name) >= sizeof(p->path))
			return vmm_fail(err, ENAMETOOLONG, "%s: name too long", name);
		return is_program(name) ? 0 : not_found(name, !access(name, F_OK), err);
	}
	/* As execvp(): without a PATH these, and an empty part is the current folder. */
	for (path = path ? path : "/bin:/usr/bin";; path++) {
		int len = (int)strcspn(path, ":");
		int n = snprintf(p->path, sizeof(p->path), "%.*s%s%s", len, path, len ? "/" : "./", name);

		if (n < (int)sizeof(p->path) && is_program(p->path))
			return 0;
		seen = seen || (n < (int)sizeof(p->path) && !access(p->path, F_OK));
		path += len;
		if (!*path)
			break;
	}
	return not_found(name, seen, err);
}

/* --- what it is --- */

struct elf {
	const char *path;
	int fd;
	Elf64_Ehdr head;
	Elf64_Phdr seg[SEGMENTS_MAX];
};

static int refuse(const char *path, const char *why, struct vmm_err *err)
{
	return vmm_fail(err, EPERM, "%s: %s: anykvm cannot be preloaded into it", path, why);
}

/* A part of the file in memory, which the caller frees; NULL where it is not there. */
static char *part(const struct elf *e, const Elf64_Phdr *s)
{
	char *p = s->p_filesz && s->p_filesz <= PART_MAX ? malloc(s->p_filesz + 1) : NULL;

	if (p && pread(e->fd, p, s->p_filesz, (off_t)s->p_offset) != (ssize_t)s->p_filesz) {
		free(p);
		return NULL;
	}
	if (p)
		p[s->p_filesz] = '\0';
	return p;
}

static const Elf64_Phdr *segment(const struct elf *e, uint32_t type)
{
	for (unsigned int i = 0; i < e->head.e_phnum; i++)
		if (e->seg[i].p_type == type)
			return &e->seg[i];
	return NULL;
}

/* Whether the notes of @s have one of Go's, which every program has that Go's compiler made. */
static bool has_go_note(const struct elf *e, const Elf64_Phdr *s)
{
	char *notes = part(e, s);
	size_t at = 0, size = notes ? s->p_filesz : 0;
	bool found = false;

	while (!found && size - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr n;
		uint64_t name = at + sizeof(n), end;

		memcpy(&n, notes + at, sizeof(n));
		end = name + ((n.n_namesz + 3ULL) & ~3ULL) + ((n.n_descsz + 3ULL) & ~3ULL);
		if (end > size)
			break;
		found = n.n_type == NOTE_GO && n.n_namesz == 4 && !memcmp(notes + name, "Go\0", 4);
		at = end;
	}
	free(notes);
	return found;
}

static bool is_go(const struct elf *e)
{
	for (unsigned int i = 0; i < e->head.e_phnum; i++)
		if (e->seg[i].p_type == PT_NOTE && has_go_note(e, &e->seg[i]))
			return true;
	return false;
}

/* Whether it asks for any library at all. */
static bool needs_library(const struct elf *e)
{
	const Elf64_Phdr *s = segment(e, PT_DYNAMIC);
	char *p = s ? part(e, s) : NULL;
	bool found = false;

	for (size_t at = 0; p && !found && at + sizeof(Elf64_Dyn) <= s->p_filesz; at += sizeof(Elf64_Dyn)) {
		Elf64_Dyn d;

		memcpy(&d, p + at, sizeof(d));
		if (d.d_tag == DT_NULL)
			break;
		found = d.d_tag == DT_NEEDED;
	}
	free(p);
	return found;
}

static int check_loader(const struct elf *e, struct vmm_err *err)
{
	const Elf64_Phdr *s = segment(e, PT_INTERP);
	char *loader = s ? part(e, s) : NULL, why[128];
	const char *base;
	int r = 0;

	if (!s)
		return refuse(e->path, "a static program", err);
	if (!loader)
		return refuse(e->path, "a damaged program", err);
	base = strrchr(loader, '/');
	if (strcmp(base ? base + 1 : loader, LOADER)) {
		snprintf(why, sizeof(why), "a program for another C library (%.60s)", loader);
		r = refuse(e->path, why, err);
	}
	free(loader);
	return r;
}

static int check_elf(struct elf *e, struct vmm_err *err)
{
	size_t size = e->head.e_phnum * sizeof(e->seg[0]);
	int r;

	if (e->head.e_ident[EI_CLASS] != ELFCLASS64 || e->head.e_machine != EM_X86_64)
		return refuse(e->path, "a program for another architecture", err);
	if (e->head.e_phnum > SEGMENTS_MAX || e->head.e_phentsize != sizeof(e->seg[0]) ||
	    pread(e->fd, e->seg, size, (off_t)e->head.e_phoff) != (ssize_t)size)
		return refuse(e->path, "a damaged program", err);
	r = check_loader(e, err);
	if (r)
		return r;
	if (is_go(e))
		return refuse(e->path, "a program made by Go, which makes system calls by itself", err);
	if (!needs_library(e))
		return refuse(e->path, "a program without a C library", err);
	return 0;
}

/*
 * Whether the loader will drop LD_PRELOAD since the program gets more rights than its caller has: ld.so(8), secure
 * execution; credentials(7).
 */
static bool gains_rights(int fd)
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

/* The interpreter that a script's first line names, in @line; NULL where it names none. */
static char *interpreter(char *line)
{
	char *p = line + 2 + strspn(line + 2, " \t");

	p[strcspn(p, " \t\n")] = '\0';
	return *p ? p : NULL;
}

/* 0, or -errno; *@next: where @path is a script, its interpreter, in @line. */
static int check_file(const char *path, char line[SCRIPT_LINE + 1], char **next, struct vmm_err *err)
{
	struct elf e = { .path = path, .fd = open(path, O_RDONLY | O_CLOEXEC) };
	ssize_t n = e.fd < 0 ? -1 : pread(e.fd, line, SCRIPT_LINE, 0);
	int r = 0;

	*next = NULL;
	if (n < 0) {
		/* One that may be executed but not read: nobody can tell what it is. */
		r = vmm_fail(err, errno, "%s: cannot read: %s", path, strerror(errno));
	} else if (n >= (ssize_t)sizeof(e.head) && !memcmp(line, ELFMAG, SELFMAG)) {
		memcpy(&e.head, line, sizeof(e.head));
		r = gains_rights(e.fd) ? refuse(path, "it runs with more rights than its caller", err)
				       : check_elf(&e, err);
	} else {
		line[n] = '\0';
		*next = n > 2 && line[0] == '#' && line[1] == '!' ? interpreter(line) : NULL;
		if (!*next)
			r = vmm_fail(err, ENOEXEC, "%s: neither a program nor a script with \"#!\"", path);
	}
	if (e.fd >= 0)
		close(e.fd);
	return r;
}

int program_check(const char *path, struct vmm_err *err)
{
	char line[2][SCRIPT_LINE + 1];
	char *next;
	int r;

	for (int depth = 0; depth <= SCRIPT_DEPTH; depth++, path = next) {
		r = check_file(path, line[depth & 1], &next, err);
		if (r || !next)
			return r;
	}
	return vmm_fail(err, ELOOP, "%s: too many scripts that interpret scripts", path);
}
