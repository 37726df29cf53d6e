/* SPDX-License-Identifier: MIT */
/* The 9P server against clients that want out of the folder, or to bring it down. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nine.h"

/* Whatever a fid came to be, it must not show or touch what lies outside. */
static void expect_inside(struct bench *b, uint32_t fid)
{
	const char *text;
	int err;

	if (!lopen(b, fid, O_RDONLY)) {
		text = read_at(b, fid, 0, 100, &err);
		assert_false(text && !strcmp(text, "outside"));
	}
	clunk(b, fid);
}

static void test_escape_by_dotdot(void **state)
{
	struct bench *b = *state;

	/* ".." stops at the folder. */
	assert_int_equal(walk(b, ROOT, 1, "../secret"), 1);
	assert_int_equal(clunk(b, 1), EBADF);
	assert_int_equal(walk(b, ROOT, 1, "../../../../../../etc/passwd"), 6);
	assert_int_equal(walk(b, ROOT, 1, "dir/../../file"), 4);
	expect_inside(b, 1);
	assert_int_equal(walk(b, ROOT, 1, "dir"), 1);
	assert_int_equal(walk(b, 1, 2, "../file"), 2);
	expect_inside(b, 2);
	assert_int_equal(walk(b, 1, 2, "../../secret"), 2);
	assert_int_equal(clunk(b, 2), EBADF);
	assert_int_equal(walk(b, ROOT, 2, "."), -EINVAL);

	/* Moved out by the host while a fid holds it: its ".." is still the folder's. */
	if (!chdir(b->share)) {
		assert_int_equal(rename("dir", "../dir"), 0);
		assert_int_equal(chdir("../.."), 0);
	}
	assert_int_equal(walk(b, 1, 2, "../secret"), 1);
	assert_int_equal(clunk(b, 2), EBADF);
}

static void test_escape_by_names(void **state)
{
	struct bench *b = *state;
	static const char *const bad[] = {
		"", ".", "..", "/", "../secret", "dir/inner", "/etc/passwd", "a/",
	};
	char nul[4] = { 'a', 0, 'b' }, longer[300];
	struct p9_str s = { nul, 3 };

	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(lcreate(b, ROOT, bad[i], O_RDWR, 0644), EINVAL);
		assert_int_equal(name_call(b, P9_MKDIR, ROOT, bad[i], 0755), EINVAL);
		assert_int_equal(name_call(b, P9_UNLINKAT, ROOT, bad[i], 0), EINVAL);
		assert_int_equal(name_call(b, P9_UNLINKAT, ROOT, bad[i], AT_REMOVEDIR), EINVAL);
		assert_int_equal(symlink_call(b, ROOT, bad[i], "x"), EINVAL);
		assert_int_equal(mknod_call(b, bad[i], S_IFREG | 0644), EINVAL);
		assert_int_equal(renameat_call(b, ROOT, bad[i], ROOT, "ok"), EINVAL);
		assert_int_equal(renameat_call(b, ROOT, "file", ROOT, bad[i]), EINVAL);
		assert_int_equal(link_call(b, ROOT, ROOT, bad[i]), EINVAL);
	}
	begin(b);
	PUT(b, "ddhs", ROOT, 1u, 1u, &s);
	assert_int_equal(call(b, P9_WALK), EINVAL);
	s = str("dir/inner");
	begin(b);
	PUT(b, "ddhs", ROOT, 1u, 1u, &s);
	assert_int_equal(call(b, P9_WALK), EINVAL);
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(walk(b, ROOT, 1, longer), -ENAMETOOLONG);
	begin(b);
	PUT(b, "ddh", ROOT, 1u, 17u);
	assert_int_equal(call(b, P9_WALK), EINVAL);
}

static void test_escape_by_symlink(void **state)
{
	struct bench *b = *state;
	char abs[512], cwd[200];

	assert_non_null(getcwd(cwd, sizeof(cwd)));
	snprintf(abs, sizeof(abs), "%s/%.50s/secret", cwd, b->top);
	assert_int_equal(symlink_call(b, ROOT, "rel", "../secret"), 0);
	assert_int_equal(symlink_call(b, ROOT, "abs", abs), 0);
	assert_int_equal(symlink_call(b, ROOT, "up", ".."), 0);
	assert_int_equal(symlink_call(b, ROOT, "self", "/proc/self/root"), 0);
	assert_int_equal(symlink_call(b, ROOT, "near", "file"), 0);

	for (const char *const *n = (const char *const[]){ "rel", "abs", "near", NULL }; *n; n++) {
		assert_int_equal(walk(b, ROOT, 1, *n), 1);
		assert_int_equal(lopen(b, 1, O_RDONLY), ELOOP);
		assert_int_equal(lopen(b, 1, O_RDWR | O_TRUNC), ELOOP);
		assert_int_equal(setattr(b, 1, 0x8, 0, 0, 0, 0), ELOOP);
		assert_int_equal(setattr(b, 1, 0x1, 0777, 0, 0, 0), EOPNOTSUPP);
		assert_int_equal(link_call(b, ROOT, 1, "copy"), 0); /* of the link itself */
		assert_int_equal(walk(b, ROOT, 2, "copy"), 1);
		assert_int_equal(lopen(b, 2, O_RDONLY), ELOOP);
		assert_int_equal(clunk(b, 2), 0);
		assert_int_equal(name_call(b, P9_UNLINKAT, ROOT, "copy", 0), 0);
		assert_int_equal(clunk(b, 1), 0);
		assert_int_equal(walk(b, ROOT, 1, ""), 0);
		assert_int_equal(lcreate(b, 1, *n, O_RDWR | O_TRUNC, 0644), EEXIST);
		assert_int_equal(clunk(b, 1), 0);
	}
	/* No walk goes through one, no name is made behind one. */
	assert_int_equal(walk(b, ROOT, 1, "up/secret"), 1);
	assert_int_equal(walk(b, ROOT, 1, "self/etc"), 1);
	assert_int_equal(walk(b, ROOT, 1, "file/x"), 1);
	assert_int_equal(walk(b, ROOT, 1, "file/.."), 2);
	assert_int_equal(clunk(b, 1), 0);
	assert_int_equal(walk(b, ROOT, 1, "up"), 1);
	assert_int_equal(name_call(b, P9_MKDIR, 1, "made", 0755), ENOTDIR);
	assert_int_equal(name_call(b, P9_UNLINKAT, 1, "secret", 0), ENOTDIR);
	assert_int_equal(renameat_call(b, 1, "secret", ROOT, "got"), ENOTDIR);
	assert_int_equal(walk(b, 1, 2, "secret"), -ENOTDIR);

	/* A directory becomes a link while its fid's descriptor is closed. */
	assert_int_equal(walk(b, ROOT, 3, "dir"), 1);
	b->s.path_fds_max = 1;
	assert_int_equal(walk(b, ROOT, 4, ""), 0);
	assert_int_equal(renameat_call(b, ROOT, "dir", ROOT, "dir2"), 0);
	assert_int_equal(renameat_call(b, ROOT, "dir2", ROOT, "dir3"), 0);
	assert_int_equal(symlink_call(b, ROOT, "dir2", ".."), 0);
	assert_int_equal(walk(b, 3, 5, "secret"), -ENOENT);
}

/* procfs would lead into this very process. */
static void test_escape_by_procfs(void **state)
{
	struct bench *b = *state;
	struct p9_server saved = b->s;

	if (p9_server_init(&b->s, "/proc", false))
		skip();
	version(b);
	assert_int_equal(attach(b, ROOT), 0);
	assert_int_equal(walk(b, ROOT, 1, "self/mem"), 1); /* "self" is a link */
	assert_int_equal(walk(b, ROOT, 1, "1/status"), 2);
	assert_int_equal(lopen(b, 1, O_RDONLY), EACCES);
	assert_int_equal(walk(b, ROOT, 2, "1"), 1);
	assert_int_equal(lcreate(b, 2, "comm", O_RDONLY, 0644), EACCES);
	p9_server_fini(&b->s);
	b->s = saved;
	TAILQ_INIT(&b->s.lru); /* the list head moved; its one fid is entered again */
	TAILQ_INSERT_TAIL(&b->s.lru, p9_fid_find(&b->s, ROOT), lru);
}

static void test_read_only(void **state)
{
	struct bench *b = *state;
	int err;

	assert_int_equal(walk(b, ROOT, 1, "file"), 1);
	assert_int_equal(lopen(b, 1, O_WRONLY), EROFS);
	assert_int_equal(lopen(b, 1, O_RDWR), EROFS);
	assert_int_equal(lopen(b, 1, O_RDONLY | O_TRUNC), EROFS);
	assert_int_equal(setattr(b, 1, 0x1, 0600, 0, 0, 0), EROFS);
	assert_int_equal(lopen(b, 1, O_RDONLY), 0);
	assert_string_equal(read_at(b, 1, 0, 100, &err), "hello, world");
	assert_int_equal(write_at(b, 1, 0, "x"), EBADF);
	assert_int_equal(lcreate(b, ROOT, "x", O_RDONLY, 0644), EROFS);
	assert_int_equal(name_call(b, P9_MKDIR, ROOT, "x", 0755), EROFS);
	assert_int_equal(name_call(b, P9_UNLINKAT, ROOT, "file", 0), EROFS);
	assert_int_equal(symlink_call(b, ROOT, "x", "y"), EROFS);
	assert_int_equal(mknod_call(b, "x", S_IFIFO), EROFS);
	assert_int_equal(link_call(b, ROOT, 1, "x"), EROFS);
	assert_int_equal(renameat_call(b, ROOT, "file", ROOT, "x"), EROFS);
	assert_int_equal(rename_call(b, 1, ROOT, "x"), EROFS);
	assert_int_equal(remove_call(b, 1), EROFS);
	assert_int_equal(clunk(b, 1), EBADF);
	assert_true(exists(b, "file"));
}

/* More fids than descriptors, and an end to both. */
static void test_limits(void **state)
{
	struct bench *b = *state;
	int err;

	b->s.path_fds_max = 8;
	b->s.open_fds_max = 4;
	for (uint32_t i = 0; i < 500; i++)
		assert_int_equal(walk(b, ROOT, 1000 + i, i % 2 ? "dir/inner" : "file"), 1 + i % 2);
	assert_int_equal(b->s.path_fds, 8);
	for (uint32_t i = 0; i < 6; i++)
		assert_int_equal(lopen(b, 1001 + 2 * i, O_RDONLY), i < 4 ? 0 : EMFILE);
	assert_int_equal(clunk(b, 1001), 0);
	assert_int_equal(lopen(b, 1499, O_RDONLY), 0);
	assert_string_equal(read_at(b, 1499, 0, 100, &err), "inner text");
}

static uint64_t rnd(struct bench *b)
{
	b->seed ^= b->seed << 13;
	b->seed ^= b->seed >> 7;
	b->seed ^= b->seed << 17;
	return b->seed;
}

/* Requests of random types, with small fids, names that exist, and random bytes; cut anywhere. */
static void fuzz_one(struct bench *b)
{
	static const char *const names[] = { "file", "dir", "inner", "..", "a", "b", "up", "" };
	struct p9_out head = { b->req, b->req + P9_HEADER };
	size_t len;
	int64_t n;

	begin(b);
	for (uint64_t fields = rnd(b) % 8; fields; fields--) {
		struct p9_str s = str(names[rnd(b) % 8]);

		switch (rnd(b) % 5) {
		case 0:
			PUT(b, "s", &s);
			break;
		case 1:
			PUT(b, "h", (unsigned int)(rnd(b) % 4));
			break;
		case 2:
			PUT(b, "q", rnd(b) % 2 ? rnd(b) : rnd(b) % 64);
			break;
		default:
			PUT(b, "d", (unsigned int)(rnd(b) % 8 ? rnd(b) % 6 : rnd(b)));
		}
	}
	len = (size_t)(b->out.p - b->req);
	if (rnd(b) % 8 == 0)
		len = rnd(b) % (len + 1);
	assert_int_equal(p9_put(&head, "dbh", (unsigned int)(rnd(b) % 16 ? len : rnd(b)),
				(unsigned int)(rnd(b) % 64 ? 2 * (rnd(b) % 63) : rnd(b) & 0xff), 1u), 0);
	n = p9_serve(&b->s, b->req, len, b->reply, rnd(b) % 4 ? sizeof(b->reply) : rnd(b) % 64);
	assert_true(n == -EINVAL || (n >= P9_HEADER && n <= (int64_t)sizeof(b->reply)));
	if (!b->s.msize)
		version(b);
	if (!b->s.fids)
		assert_int_equal(attach(b, ROOT), 0);
}

static void test_fuzz(void **state)
{
	struct bench *b = *state;
	char cmd[128], out[16] = "";
	FILE *f;

	b->seed = 0x13198a2e03707344ull;
	assert_int_equal(symlink_call(b, ROOT, "up", ".."), 0);
	for (unsigned int i = 0; i < 200000; i++)
		fuzz_one(b);
	snprintf(cmd, sizeof(cmd), "%s/secret", b->top);
	f = fopen(cmd, "r");
	assert_non_null(f);
	assert_non_null(fgets(out, sizeof(out), f));
	fclose(f);
	assert_string_equal(out, "outside");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_escape_by_dotdot),
		T(test_escape_by_names),
		T(test_escape_by_symlink),
		T(test_escape_by_procfs),
		cmocka_unit_test_setup_teardown(test_read_only, setup_read_only, teardown),
		T(test_limits),
		T(test_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
