/* SPDX-License-Identifier: MIT */
#include "cli/program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "preload/reach.h"

#define SCRIPT_DEPTH 5          /* Linux's: a script's interpreter may be a script */
#define SCRIPT_LINE 256         /* BINPRM_BUF_SIZE */

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

static int refuse(const char *path, const char *why, struct vmm_err *err)
{
	return vmm_fail(err, EPERM, "%s: %s: anykvm cannot be preloaded into it", path, why);
}

static int check_elf(const char *path, int fd, const struct reach_image *image, struct vmm_err *err)
{
	char words[128];
	const char *why = reach_gains_rights(fd) ? "it runs with more rights than its caller"
						 : reach_why_not(image, words);

	return why ? refuse(path, why, err) : 0;
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
	int fd = open(path, O_RDONLY | O_CLOEXEC), r = fd < 0 ? -errno : 0;
	struct reach_image image = { NULL, 0 };

	*next = NULL;
	r = r ? r : reach_map(&image, fd);
	if (r) {
		/* One that may be executed but not read: nobody can tell what it is. */
		r = vmm_fail(err, -r, "%s: cannot read: %s", path, strerror(-r));
	} else if (reach_is_elf(&image)) {
		r = check_elf(path, fd, &image, err);
	} else {
		size_t n = image.size < SCRIPT_LINE ? image.size : SCRIPT_LINE;

		memcpy(line, n ? image.at : "", n);
		line[n] = '\0';
		*next = n > 2 && line[0] == '#' && line[1] == '!' ? interpreter(line) : NULL;
		if (!*next)
			r = vmm_fail(err, ENOEXEC, "%s: neither a program nor a script with \"#!\"", path);
	}
	reach_unmap(&image);
	if (fd >= 0)
		close(fd);
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
