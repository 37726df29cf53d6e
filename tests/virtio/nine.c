/* SPDX-License-Identifier: MIT */
#include "nine.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct p9_str str(const char *text)
{
	return (struct p9_str){ text, (uint16_t)strlen(text) };
}

void begin(struct bench *b)
{
	b->out = (struct p9_out){ b->req + P9_HEADER, b->req + sizeof(b->req) };
}

/* Send what was built; the answer's errno, with b->in at its fields where that is 0. */
int call(struct bench *b, enum p9_type type)
{
	struct p9_out head = { b->req, b->req + P9_HEADER };
	uint32_t len = (uint32_t)(b->out.p - b->req), size, err;
	uint16_t tag;
	uint8_t got;
	int64_t n;

	assert_int_equal(p9_put(&head, "dbh", len, (unsigned int)type, 7u), 0);
	n = p9_serve(&b->s, b->req, len, b->reply, sizeof(b->reply));
	assert_in_range(n, P9_HEADER, sizeof(b->reply));
	b->in = (struct p9_in){ b->reply, b->reply + n };
	GET(b, "dbh", &size, &got, &tag);
	assert_int_equal(size, n);
	assert_int_equal(tag, 7);
	if (got == type + 1)
		return 0;
	assert_int_equal(got, P9_LERROR + 1);
	GET(b, "d", &err);
	assert_int_not_equal(err, 0);
	return (int)err;
}

void version(struct bench *b)
{
	struct p9_str v = str("9P2000.L"), got;
	uint32_t msize;

	begin(b);
	PUT(b, "ds", MSIZE, &v);
	assert_int_equal(call(b, P9_VERSION), 0);
	GET(b, "ds", &msize, &got);
	assert_int_equal(msize, MSIZE);
	assert_true(p9_str_is(&got, "9P2000.L"));
}

int attach(struct bench *b, uint32_t fid)
{
	struct p9_str user = str("root"), tree = str("/etc");

	begin(b);
	PUT(b, "ddssd", fid, NO_FID, &user, &tree, 0u);
	return call(b, P9_ATTACH);
}

/* Walk names that '/' separates; the steps taken, or -errno. */
int walk(struct bench *b, uint32_t fid, uint32_t newfid, const char *path)
{
	const char *names[32];
	char copy[512], *save, *t;
	unsigned int n = 0;
	uint16_t steps;
	int err;

	snprintf(copy, sizeof(copy), "%s", path);
	for (t = strtok_r(copy, "/", &save); t; t = strtok_r(NULL, "/", &save))
		names[n++] = t;
	begin(b);
	PUT(b, "ddh", fid, newfid, n);
	for (unsigned int i = 0; i < n; i++) {
		struct p9_str s = str(names[i]);

		PUT(b, "s", &s);
	}
	err = call(b, P9_WALK);
	if (err)
		return -err;
	GET(b, "h", &steps);
	return steps;
}

int clunk(struct bench *b, uint32_t fid)
{
	begin(b);
	PUT(b, "d", fid);
	return call(b, P9_CLUNK);
}

int lopen(struct bench *b, uint32_t fid, int flags)
{
	begin(b);
	PUT(b, "dd", fid, (unsigned int)flags);
	return call(b, P9_LOPEN);
}

int lcreate(struct bench *b, uint32_t fid, const char *name, int flags, unsigned int mode)
{
	struct p9_str s = str(name);

	begin(b);
	PUT(b, "dsddd", fid, &s, (unsigned int)flags, mode, 0u);
	return call(b, P9_LCREATE);
}

int write_at(struct bench *b, uint32_t fid, uint64_t off, const char *text)
{
	uint32_t n;
	int err;

	begin(b);
	PUT(b, "dqd", fid, off, (unsigned int)strlen(text));
	memcpy(b->out.p, text, strlen(text));
	b->out.p += strlen(text);
	err = call(b, P9_WRITE);
	if (err)
		return err;
	GET(b, "d", &n);
	assert_int_equal(n, strlen(text));
	return 0;
}

/* The text at @off, terminated, inside the reply; NULL and *err on an error. */
const char *read_at(struct bench *b, uint32_t fid, uint64_t off, uint32_t count, int *err)
{
	uint32_t n;

	begin(b);
	PUT(b, "dqd", fid, off, count);
	*err = call(b, P9_READ);
	if (*err)
		return NULL;
	GET(b, "d", &n);
	assert_true(b->in.p + n == b->in.end && n <= count && b->in.end < b->reply + MSIZE);
	*(char *)b->in.end = '\0';
	return (const char *)b->in.p;
}

int name_call(struct bench *b, enum p9_type type, uint32_t dir, const char *name, unsigned int arg)
{
	struct p9_str s = str(name);

	begin(b);
	PUT(b, "dsdd", dir, &s, arg, 0u); /* mkdir: mode, gid; unlinkat: flags */
	return call(b, type);
}

int symlink_call(struct bench *b, uint32_t dir, const char *name, const char *target)
{
	struct p9_str s = str(name), t = str(target);

	begin(b);
	PUT(b, "dssd", dir, &s, &t, 0u);
	return call(b, P9_SYMLINK);
}

void file_at(const char *dir, const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

bool exists(struct bench *b, const char *name)
{
	char path[256];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", b->share, name);
	return !lstat(path, &st);
}

static int setup_mode(void **state, bool read_only)
{
	struct bench *b = calloc(1, sizeof(*b));
	char path[256];

	snprintf(b->top, sizeof(b->top), "p9-test-XXXXXX");
	assert_non_null(mkdtemp(b->top));
	snprintf(b->share, sizeof(b->share), "%s/share", b->top);
	assert_int_equal(mkdir(b->share, 0755), 0);
	file_at(b->top, "secret", "outside");
	file_at(b->share, "file", "hello, world");
	snprintf(path, sizeof(path), "%s/dir", b->share);
	assert_int_equal(mkdir(path, 0755), 0);
	file_at(path, "inner", "inner text");
	assert_int_equal(p9_server_init(&b->s, b->share, read_only), 0);
	version(b);
	assert_int_equal(attach(b, ROOT), 0);
	*state = b;
	return 0;
}

int setup(void **state)
{
	return setup_mode(state, false);
}

int setup_read_only(void **state)
{
	return setup_mode(state, true);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

int teardown(void **state)
{
	struct bench *b = *state;

	p9_server_fini(&b->s);
	assert_int_equal(b->s.fids + b->s.path_fds + b->s.open_fds, 0);
	assert_int_equal(b->s.path_bytes, 0);
	nftw(b->top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(b);
	return 0;
}

int mknod_call(struct bench *b, const char *name, unsigned int mode)
{
	struct p9_str s = str(name);

	begin(b);
	PUT(b, "dsdddd", ROOT, &s, mode, 1u, 3u, 0u);
	return call(b, P9_MKNOD);
}

int link_call(struct bench *b, uint32_t dir, uint32_t fid, const char *name)
{
	struct p9_str s = str(name);

	begin(b);
	PUT(b, "dds", dir, fid, &s);
	return call(b, P9_LINK);
}

int renameat_call(struct bench *b, uint32_t from, const char *old, uint32_t to, const char *new)
{
	struct p9_str o = str(old), n = str(new);

	begin(b);
	PUT(b, "dsds", from, &o, to, &n);
	return call(b, P9_RENAMEAT);
}

int rename_call(struct bench *b, uint32_t fid, uint32_t dir, const char *name)
{
	struct p9_str s = str(name);

	begin(b);
	PUT(b, "dds", fid, dir, &s);
	return call(b, P9_RENAME);
}

int remove_call(struct bench *b, uint32_t fid)
{
	begin(b);
	PUT(b, "d", fid);
	return call(b, P9_REMOVE);
}

int setattr(struct bench *b, uint32_t fid, uint32_t valid, uint32_t mode, uint64_t size, uint64_t sec,
	    uint64_t nsec)
{
	begin(b);
	PUT(b, "dddddqqqqq", fid, valid, mode, getuid(), getgid(), size, sec, nsec, sec, nsec);
	return call(b, P9_SETATTR);
}
