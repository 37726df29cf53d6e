/* SPDX-License-Identifier: MIT */
#include "preload/cpuinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAX ((size_t)16 << 20)

struct text {
	char *at;
	size_t used;
};

static void put(struct text *t, const char *s, size_t n)
{
	memcpy(t->at + t->used, s, n);
	t->used += n;
}

static bool begins(const char *line, size_t len, const char *word)
{
	size_t n = strlen(word);

	return len > n && !memcmp(line, word, n) && (line[n] == '\t' || line[n] == ':');
}

static bool is_word(const char *word, size_t len, const char *what)
{
	return len == strlen(what) && !memcmp(word, what, len);
}

/* The words behind the colon, but for the two, which are put where they are to be. */
static void put_flags(struct text *t, const char *line, size_t len, bool vmx, bool svm)
{
	const char *colon = memchr(line, ':', len);
	size_t at = colon ? (size_t)(colon - line) + 1 : len;

	put(t, line, at);
	while (at < len) {
		size_t n = 0;

		while (at < len && line[at] == ' ')
			at++;
		while (at + n < len && line[at + n] != ' ')
			n++;
		if (n && !is_word(line + at, n, "vmx") && !is_word(line + at, n, "svm")) {
			put(t, " ", 1);
			put(t, line + at, n);
		}
		at += n;
	}
	if (vmx)
		put(t, " vmx", 4);
	if (svm)
		put(t, " svm", 4);
}

size_t cpuinfo_text(char *to, const char *from, size_t size, bool vmx, bool svm)
{
	struct text t = { to, 0 };

	while (size) {
		const char *end = memchr(from, '\n', size);
		size_t len = end ? (size_t)(end - from) : size, whole = len + (end != NULL);

		if (begins(from, len, "flags")) {
			put_flags(&t, from, len, vmx, svm);
			put(&t, "\n", whole - len);
		} else if (vmx || !begins(from, len, "vmx flags")) {
			put(&t, from, whole);
		}
		from += whole;
		size -= whole;
	}
	return t.used;
}

/* The whole of it, which does not say how long it is. */
static char *slurp(const char *path, size_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t room = 64 << 10;
	char *text = malloc(room);
	ssize_t n = -1;

	*size = 0;
	while (fd >= 0 && text && (n = read(fd, text + *size, room - *size)) > 0) {
		char *more;

		*size += (size_t)n;
		if (*size < room)
			continue;
		more = room < FILE_MAX ? realloc(text, room *= 2) : NULL;
		if (!more)
			break;
		text = more;
	}
	if (fd >= 0)
		close(fd);
	if (n == 0)
		return text;
	free(text);
	return NULL;
}

char *cpuinfo_read(const char *path, bool vmx, bool svm, size_t *size)
{
	int err = errno;
	size_t was;
	char *real = slurp(path, &was), *text = real ? malloc(CPUINFO_ROOM(was)) : NULL;

	if (text)
		*size = cpuinfo_text(text, real, was, vmx, svm);
	if (text && *size == was && !memcmp(text, real, was)) {
		free(text);
		text = NULL;
	}
	free(real);
	errno = err;
	return text;
}

void cpuinfo_free(char *text)
{
	free(text);
}
