/* SPDX-License-Identifier: MIT */
/* The 9P server: what a Linux client sends, by itself and through a virtqueue. */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_mmio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nine.h"
#include "rig.h"
#include "vmm/err.h"
#include "vmm/virtio/9p.h"

static void test_session(void **state)
{
	struct bench *b = *state;
	struct p9_str v = str("9P2000.u"), got;
	uint32_t msize;

	assert_int_equal(attach(b, ROOT), EBADF);
	assert_int_equal(clunk(b, 99), EBADF);
	begin(b);
	PUT(b, "ds", ~0u, &v);
	assert_int_equal(call(b, P9_VERSION), 0);
	GET(b, "ds", &msize, &got);
	assert_int_equal(msize, P9_MSIZE_MAX);
	assert_true(p9_str_is(&got, "unknown"));
	/* No version, no service; and the fids are gone. */
	assert_int_equal(attach(b, ROOT), EINVAL);
	assert_int_equal(b->s.fids, 0);
	begin(b);
	PUT(b, "ds", 100u, &v);
	assert_int_equal(call(b, P9_VERSION), EINVAL);
	version(b);
	assert_int_equal(attach(b, 5), 0);
	begin(b);
	PUT(b, "h", 3u);
	assert_int_equal(call(b, P9_FLUSH), 0);
	begin(b);
	assert_int_equal(call(b, (enum p9_type)3), EOPNOTSUPP);
	begin(b);
	assert_int_equal(call(b, (enum p9_type)250), EOPNOTSUPP);
	begin(b);
	PUT(b, "dd", 5u, 6u);
	assert_int_equal(call(b, P9_XATTRWALK), EOPNOTSUPP);
}

static void test_read_write(void **state)
{
	struct bench *b = *state;
	int err;

	assert_int_equal(walk(b, ROOT, 1, "dir/inner"), 2);
	assert_null(read_at(b, 1, 0, 10, &err));
	assert_int_equal(err, EBADF);
	assert_int_equal(lopen(b, 1, O_RDWR), 0);
	assert_int_equal(lopen(b, 1, O_RDWR), EBUSY);
	assert_string_equal(read_at(b, 1, 0, 100, &err), "inner text");
	assert_string_equal(read_at(b, 1, 6, 2, &err), "te");
	assert_string_equal(read_at(b, 1, 100, 100, &err), "");
	assert_int_equal(write_at(b, 1, 6, "TEXT and more"), 0);
	assert_string_equal(read_at(b, 1, 0, ~0u, &err), "inner TEXT and more");
	begin(b);
	PUT(b, "dd", 1u, 1u);
	assert_int_equal(call(b, P9_FSYNC), 0);
	assert_null(read_at(b, 1, ~0ull, 100, &err));
	assert_int_equal(err, EINVAL);
	assert_int_equal(clunk(b, 1), 0);
	assert_int_equal(clunk(b, 1), EBADF);

	/* A directory is no file. */
	assert_int_equal(walk(b, ROOT, 1, "dir"), 1);
	assert_int_equal(lopen(b, 1, O_WRONLY), EISDIR);
	assert_int_equal(lopen(b, 1, O_RDONLY), 0);
	assert_null(read_at(b, 1, 0, 100, &err));
	assert_int_equal(err, EISDIR);
}

static void test_create(void **state)
{
	struct bench *b = *state;
	struct stat st;
	char path[256];
	mode_t mask = umask(077);
	int err;

	assert_int_equal(walk(b, ROOT, 1, ""), 0);
	assert_int_equal(lcreate(b, 1, "new", O_RDWR, 06755), 0);
	umask(mask);
	assert_int_equal(write_at(b, 1, 0, "made"), 0);
	assert_string_equal(read_at(b, 1, 0, 10, &err), "made");
	snprintf(path, sizeof(path), "%s/new", b->share);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);

	assert_int_equal(walk(b, ROOT, 2, ""), 0);
	assert_int_equal(lcreate(b, 2, "new", O_RDWR | O_EXCL, 0644), EEXIST);
	assert_int_equal(lcreate(b, 2, "dir", O_RDWR, 0644), EEXIST);
	assert_int_equal(lcreate(b, 2, "new", O_RDWR, 0600), 0);
	assert_string_equal(read_at(b, 2, 0, 10, &err), "made");
	assert_int_equal(lcreate(b, 2, "x", O_RDWR, 0600), EBUSY);

	assert_int_equal(name_call(b, P9_MKDIR, ROOT, "sub", 01770), 0);
	snprintf(path, sizeof(path), "%s/sub", b->share);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 01770);
	assert_int_equal(name_call(b, P9_MKDIR, ROOT, "sub", 0755), EEXIST);
}

static void test_special_files(void **state)
{
	struct bench *b = *state;

	assert_int_equal(mknod_call(b, "null", S_IFCHR | 0666), EPERM);
	assert_int_equal(mknod_call(b, "disk", S_IFBLK | 0666), EPERM);
	assert_int_equal(mknod_call(b, "odd", S_IFDIR | 0755), EINVAL);
	assert_int_equal(mknod_call(b, "fifo", S_IFIFO | 0644), 0);
	assert_int_equal(mknod_call(b, "sock", S_IFSOCK | 0644), 0);
	assert_int_equal(mknod_call(b, "plain", S_IFREG | 04755), 0);
	/* Neither opens: the guest has FIFOs and sockets of its own. */
	assert_int_equal(walk(b, ROOT, 1, "fifo"), 1);
	assert_int_equal(lopen(b, 1, O_WRONLY), ENXIO);
	assert_int_equal(walk(b, ROOT, 2, "sock"), 1);
	assert_int_equal(lopen(b, 2, O_RDONLY), ENXIO);
	assert_int_equal(walk(b, ROOT, 3, ""), 0);
	assert_int_equal(lcreate(b, 3, "fifo", O_WRONLY, 0644), EEXIST);
}

/* Fids follow their files through renames, their directories' too, even with their descriptors closed. */
static void test_rename(void **state)
{
	struct bench *b = *state;
	int err;

	assert_int_equal(walk(b, ROOT, 1, "dir"), 1);
	assert_int_equal(walk(b, ROOT, 2, "dir/inner"), 2);
	assert_int_equal(walk(b, ROOT, 3, "file"), 1);
	assert_int_equal(renameat_call(b, ROOT, "dir", ROOT, "moved"), 0);
	assert_true(exists(b, "moved/inner"));
	b->s.path_fds_max = 2;
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(walk(b, ROOT, 100 + i, "file"), 1);
	assert_true(b->s.path_fds <= 2);
	assert_int_equal(lopen(b, 2, O_RDONLY), 0);
	assert_string_equal(read_at(b, 2, 0, 100, &err), "inner text");

	assert_int_equal(rename_call(b, 3, 1, "file2"), 0);
	assert_true(exists(b, "moved/file2") && !exists(b, "file"));
	assert_int_equal(rename_call(b, 3, ROOT, "file3"), 0);
	assert_true(exists(b, "file3"));
	assert_int_equal(rename_call(b, ROOT, 1, "root"), EBUSY);
	assert_int_equal(renameat_call(b, ROOT, "moved", 1, "loop"), EINVAL);

	assert_int_equal(link_call(b, 1, 3, "hard"), 0);
	assert_true(exists(b, "moved/hard"));
	assert_int_equal(remove_call(b, 3), 0);
	assert_false(exists(b, "file3"));
	assert_int_equal(clunk(b, 3), EBADF);
	/* Its other fids find the name gone, or taken by another file. */
	file_at(b->share, "file3", "another");
	assert_int_equal(walk(b, 100, 4, ""), -ESTALE);
	assert_int_equal(remove_call(b, ROOT), EBUSY);
	assert_int_equal(clunk(b, ROOT), EBADF);
}

static void test_unlink(void **state)
{
	struct bench *b = *state;
	int err;

	assert_int_equal(walk(b, ROOT, 1, "file"), 1);
	assert_int_equal(lopen(b, 1, O_RDONLY), 0);
	assert_int_equal(name_call(b, P9_UNLINKAT, ROOT, "file", 0), 0);
	/* Open, and gone: as everywhere in Unix. */
	assert_string_equal(read_at(b, 1, 0, 100, &err), "hello, world");
	begin(b);
	PUT(b, "dq", 1u, 0x7ffull);
	assert_int_equal(call(b, P9_GETATTR), 0);
	assert_int_equal(name_call(b, P9_UNLINKAT, ROOT, "file", 0), ENOENT);
	assert_int_equal(name_call(b, P9_UNLINKAT, ROOT, "dir", 0), EISDIR);
	assert_int_equal(name_call(b, P9_UNLINKAT, ROOT, "dir", AT_REMOVEDIR), ENOTEMPTY);
	assert_int_equal(name_call(b, P9_UNLINKAT, ROOT, "dir", 0x100), EINVAL);
	assert_int_equal(walk(b, ROOT, 2, "dir"), 1);
	assert_int_equal(name_call(b, P9_UNLINKAT, 2, "inner", 0), 0);
	assert_int_equal(name_call(b, P9_UNLINKAT, ROOT, "dir", AT_REMOVEDIR), 0);
	assert_false(exists(b, "dir"));
}

/* Fields of Rgetattr up to the size. */
static void getattr(struct bench *b, uint32_t fid, uint32_t *mode, uint64_t *size)
{
	uint32_t uid, gid, version;
	uint64_t valid, path, nlink, rdev;
	uint8_t type;

	begin(b);
	PUT(b, "dq", fid, 0x7ffull);
	assert_int_equal(call(b, P9_GETATTR), 0);
	GET(b, "qbdqdddqqq", &valid, &type, &version, &path, mode, &uid, &gid, &nlink, &rdev, size);
	assert_int_equal(b->in.end - b->in.p, 8 * 12);
	assert_int_equal(valid, 0x7ff);
	assert_int_equal(uid, getuid());
}

static void test_attributes(void **state)
{
	struct bench *b = *state;
	char path[256];
	struct stat st;
	uint64_t size;
	uint32_t mode;

	snprintf(path, sizeof(path), "%s/file", b->share);
	assert_int_equal(walk(b, ROOT, 1, "file"), 1);
	getattr(b, 1, &mode, &size);
	assert_true(S_ISREG(mode));
	assert_int_equal(size, 12);
	assert_int_equal(setattr(b, 1, 0x1, 06640, 0, 0, 0), 0);
	getattr(b, 1, &mode, &size);
	assert_int_equal(mode, S_IFREG | 0640);
	assert_int_equal(setattr(b, 1, 0x8, 0, 5, 0, 0), 0);
	getattr(b, 1, &mode, &size);
	assert_int_equal(size, 5);
	assert_int_equal(setattr(b, 1, 0x8, 0, 1ull << 63, 0, 0), EINVAL);
	assert_int_equal(setattr(b, 1, 0x30 | 0x180, 0, 0, 1000000, 7), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, 1000000);
	assert_int_equal(st.st_atim.tv_nsec, 7);
	assert_int_equal(setattr(b, 1, 0x20 | 0x100, 0, 0, 0, 0x3fffffff), EINVAL); /* UTIME_NOW as a time */
	assert_int_equal(setattr(b, 1, 0x20, 0, 0, 0, 0), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_mtim.tv_sec > 1000000);
	assert_int_equal(setattr(b, 1, 0x6, 0, 0, 0, 0), 0);
	assert_int_equal(walk(b, ROOT, 2, "dir"), 1);
	assert_int_equal(setattr(b, 2, 0x8, 0, 5, 0, 0), EISDIR);

	/* A symbolic link is itself, not what it names. */
	assert_int_equal(symlink_call(b, ROOT, "ln", "file"), 0);
	assert_int_equal(walk(b, ROOT, 3, "ln"), 1);
	getattr(b, 3, &mode, &size);
	assert_true(S_ISLNK(mode));
	assert_int_equal(setattr(b, 3, 0x1, 0777, 0, 0, 0), EOPNOTSUPP);
	assert_int_equal(setattr(b, 3, 0x8, 0, 0, 0, 0), ELOOP);
	assert_int_equal(setattr(b, 3, 0x20 | 0x100, 0, 0, 77, 0), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_not_equal(st.st_mtim.tv_sec, 77);
}

static void test_statfs_readlink(void **state)
{
	struct bench *b = *state;
	struct p9_str target;
	uint32_t type, bsize;
	uint64_t blocks;

	begin(b);
	PUT(b, "d", ROOT);
	assert_int_equal(call(b, P9_STATFS), 0);
	GET(b, "ddq", &type, &bsize, &blocks);
	assert_true(type && bsize && blocks);
	assert_int_equal(symlink_call(b, ROOT, "ln", "/any/where at all"), 0);
	assert_int_equal(walk(b, ROOT, 1, "ln"), 1);
	begin(b);
	PUT(b, "d", 1u);
	assert_int_equal(call(b, P9_READLINK), 0);
	GET(b, "s", &target);
	assert_true(p9_str_is(&target, "/any/where at all"));
	begin(b);
	PUT(b, "d", ROOT);
	assert_int_equal(call(b, P9_READLINK), EINVAL);
}

/* A directory in pieces of @count bytes: how many entries, and whether each came once. */
static void read_dir(struct bench *b, uint32_t fid, uint32_t count, unsigned int want)
{
	static uint8_t seen[4096];
	unsigned int n = 0, dots = 0;
	uint64_t off = 0;

	memset(seen, 0, sizeof(seen));
	for (;;) {
		uint32_t bytes;

		begin(b);
		PUT(b, "dqd", fid, off, count);
		assert_int_equal(call(b, P9_READDIR), 0);
		GET(b, "d", &bytes);
		assert_true(bytes <= count && b->in.p + bytes == b->in.end);
		if (!bytes)
			break;
		while (b->in.p < b->in.end) {
			struct p9_str name;
			uint32_t version;
			uint64_t path;
			uint8_t qtype, type;

			GET(b, "bdqqbs", &qtype, &version, &path, &off, &type, &name);
			n++;
			if (name.p[0] != 'e') {
				dots++;
				continue;
			}
			assert_int_equal(seen[atoi(name.p + 1)]++, 0);
		}
	}
	assert_int_equal(n, want + 2);
	assert_int_equal(dots, 2);
}

static void test_readdir(void **state)
{
	struct bench *b = *state;
	char dir[128], name[32];

	assert_int_equal(name_call(b, P9_MKDIR, ROOT, "many", 0755), 0);
	snprintf(dir, sizeof(dir), "%s/many", b->share);
	for (unsigned int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "e%u", i);
		file_at(dir, name, "");
	}
	assert_int_equal(walk(b, ROOT, 1, "many"), 1);
	assert_int_equal(lopen(b, 1, O_RDONLY | O_DIRECTORY), 0);
	read_dir(b, 1, 60000, 1000);
	read_dir(b, 1, 300, 1000);
	read_dir(b, 1, ~0u, 1000);
	begin(b);
	PUT(b, "dqd", 1u, 0ull, 3u);
	assert_int_equal(call(b, P9_READDIR), EINVAL);
	begin(b);
	PUT(b, "dqd", 1u, ~0ull, 300u);
	assert_int_not_equal(call(b, P9_READDIR), 0);
	assert_int_equal(walk(b, ROOT, 2, "file"), 1);
	assert_int_equal(lopen(b, 2, O_RDONLY), 0);
	begin(b);
	PUT(b, "dqd", 2u, 0ull, 300u);
	assert_int_equal(call(b, P9_READDIR), ENOTDIR);
}

static unsigned int lock_call(struct bench *b, uint32_t fid, unsigned int type, uint64_t start, uint64_t len)
{
	struct p9_str client = str("guest");
	uint8_t status;

	begin(b);
	PUT(b, "dbdqqds", fid, type, 1u, start, len, 42u, &client);
	assert_int_equal(call(b, P9_LOCK), 0);
	GET(b, "b", &status);
	return status;
}

static void test_locks(void **state)
{
	struct bench *b = *state;
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 10 };
	struct p9_str client = str("guest");
	uint64_t start, len;
	char path[256];
	uint8_t type;
	int fd;

	snprintf(path, sizeof(path), "%s/file", b->share);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &fl), 0);
	assert_int_equal(walk(b, ROOT, 1, "file"), 1);
	assert_int_equal(lopen(b, 1, O_RDWR), 0);
	assert_int_equal(lock_call(b, 1, 1, 0, 5), 0);
	assert_int_equal(lock_call(b, 1, 1, 0, 0), 1);
	assert_int_equal(lock_call(b, 1, 0, 15, 1), 1);
	begin(b);
	PUT(b, "dbqqds", 1u, 0u, 0ull, 0ull, 42u, &client);
	assert_int_equal(call(b, P9_GETLOCK), 0);
	GET(b, "bqq", &type, &start, &len);
	assert_int_equal(type, 1);
	assert_int_equal(start, 10);
	assert_int_equal(len, 10);
	fl.l_type = F_UNLCK;
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &fl), 0);
	assert_int_equal(lock_call(b, 1, 1, 0, 0), 0);
	fl.l_type = F_RDLCK;
	assert_true(fcntl(fd, F_OFD_SETLK, &fl) < 0);
	assert_int_equal(lock_call(b, 1, 2, 0, 0), 0);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &fl), 0);
	fl.l_type = F_UNLCK;
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &fl), 0);
	/* As flock(LOCK_EX) on a descriptor for reading does. */
	assert_int_equal(walk(b, ROOT, 2, "file"), 1);
	assert_int_equal(lopen(b, 2, O_RDONLY), 0);
	assert_int_equal(lock_call(b, 2, 1, 0, 0), 0);
	fl.l_type = F_RDLCK;
	assert_true(fcntl(fd, F_OFD_SETLK, &fl) < 0);
	assert_int_equal(lock_call(b, 2, 2, 0, 0), 0);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &fl), 0);
	close(fd);
}

/* Through the device: the tag, a message in pieces, and messages that are none. */
static void test_device(void **state)
{
	struct bench *b = *state;
	const struct virtio_9p_opts o = { .path = b->share, .tag = "work", .read_only = false };
	const struct virtio_9p_opts bad_path = { .path = "/nonexistent", .tag = "x" };
	const struct virtio_9p_opts bad_tag = { .path = b->share, .tag = "" };
	static const uint8_t msg[] = { 21, 0, 0, 0, 100, 0xff, 0xff, 0, 0x20, 0, 0, 8, 0,
				       '9', 'P', '2', '0', '0', '0', '.', 'L' };
	struct rig *r = calloc(1, sizeof(*r));
	struct virtio_dev *dev = NULL;
	struct vmm_err e = { 0 };
	uint64_t buf;

	rig_init(r);
	assert_int_equal(virtio_9p_create(&r->p, &bad_path, &dev, &e), -ENOENT);
	assert_string_equal(e.msg, "/nonexistent: cannot share: No such file or directory");
	assert_int_equal(virtio_9p_create(&r->p, &bad_tag, &dev, NULL), -EINVAL);
	assert_int_equal(r->p.bus.count[BUS_MMIO], 0);
	assert_int_equal(virtio_9p_create(&r->p, &o, &dev, &e), 0);
	assert_int_equal(rig_read(r, VIRTIO_MMIO_DEVICE_ID), 9);
	assert_int_equal(rig_read(r, VIRTIO_MMIO_CONFIG), 'o' << 24 | 'w' << 16 | 4);
	rig_start(r, ~0ull, 1, 16);
	buf = rig_alloc(r, 8192, 4096);
	memcpy(rig_ptr(r, buf), msg, sizeof(msg));
	assert_int_equal(rig_do(r, 0, (struct rig_seg[]){ { buf, 3, false }, { buf + 3, 18, false },
		{ buf + 4096, 8, true }, { buf + 5000, 100, true } }, 4), 21);
	assert_int_equal(*(uint8_t *)rig_ptr(r, buf + 4100), 101);

	rig_add(r, 0, (struct rig_seg[]){ { buf, 6, false }, { buf + 4096, 100, true } }, 2);
	rig_kick(r, 0);
	assert_true(rig_needs_reset(r));
	rig_start(r, ~0ull, 1, 16);
	rig_add(r, 0, (struct rig_seg[]){ { buf, 21, false }, { buf + 4096, 10, true } }, 2);
	rig_kick(r, 0);
	assert_true(rig_needs_reset(r));
	virtio_9p_destroy(dev);
	rig_fini(r);
	free(r);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_session),
		T(test_read_write),
		T(test_create),
		T(test_special_files),
		T(test_rename),
		T(test_unlink),
		T(test_attributes),
		T(test_statfs_readlink),
		T(test_readdir),
		T(test_locks),
		T(test_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
