/* SPDX-License-Identifier: MIT */
/* p9_files.c - messages about what a name stands for: attributes, contents, directories, locks. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/virtio/p9_server.h"

/* Bits of getattr and setattr (9P2000.L). */
#define GETATTR_BASIC	  0x7ffull
#define SETATTR_MODE	  0x001u
#define SETATTR_UID	  0x002u
#define SETATTR_GID	  0x004u
#define SETATTR_SIZE	  0x008u
#define SETATTR_ATIME	  0x010u
#define SETATTR_MTIME	  0x020u
#define SETATTR_ATIME_SET 0x080u
#define SETATTR_MTIME_SET 0x100u

#define LOCK_SUCCESS 0u
#define LOCK_BLOCKED 1u
#define LOCK_ERROR   2u
#define LOCK_UNLCK   2u /* type: 0 read, 1 write, 2 none */

/* Flags that have the same value in 9P2000.L and on x86 Linux, and a meaning here. */
#define OPEN_FLAGS (O_ACCMODE | O_TRUNC | O_APPEND | O_DSYNC | O_SYNC | O_NOATIME | O_DIRECTORY)

static int find(struct p9_server *s, uint32_t num, struct p9_fid **f)
{
	*f = p9_fid_find(s, num);
	return *f ? 0 : -EBADF;
}

/* The descriptor to ask about @f: the open one stays right when the name has gone. */
static int any_fd(struct p9_server *s, struct p9_fid *f)
{
	return f->open_fd >= 0 ? f->open_fd : p9_fid_fd(s, f);
}

int p9_statfs(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	struct statfs fs;
	struct p9_fid *f;
	uint32_t num;
	uint64_t fsid;
	int fd, err;

	if (p9_get(in, "d", &num))
		return -EINVAL;
	err = find(s, num, &f);
	if (err)
		return err;
	fd = any_fd(s, f);
	if (fd < 0)
		return fd;
	if (fstatfs(fd, &fs) < 0)
		return -errno;
	memcpy(&fsid, &fs.f_fsid, sizeof(fsid));
	return p9_put(out, "ddqqqqqqd", (unsigned int)fs.f_type, (unsigned int)fs.f_bsize,
		      (uint64_t)fs.f_blocks, (uint64_t)fs.f_bfree, (uint64_t)fs.f_bavail,
		      (uint64_t)fs.f_files, (uint64_t)fs.f_ffree, fsid, (unsigned int)fs.f_namelen);
}

int p9_lopen(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	uint32_t num, flags;
	struct p9_qid qid;
	struct p9_fid *f;
	struct stat st;
	int fd, err;

	if (p9_get(in, "dd", &num, &flags))
		return -EINVAL;
	err = find(s, num, &f);
	if (err)
		return err;
	if (f->open_fd >= 0)
		return -EBUSY;
	if (s->read_only && ((flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC))
		return -EROFS;
	fd = p9_fid_open(s, f, (int)flags & OPEN_FLAGS);
	if (fd < 0)
		return fd;
	f->open_fd = fd;
	err = p9_stat_fd(fd, &st);
	if (err)
		return err;
	qid = p9_qid_of(s, &st);
	/* iounit 0: as much as the message size allows. */
	return p9_put(out, "Qd", &qid, 0u);
}

static int put_time(struct p9_out *out, const struct timespec *t)
{
	return p9_put(out, "qq", (uint64_t)t->tv_sec, (uint64_t)t->tv_nsec);
}

int p9_getattr(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	const struct timespec none = { 0 };
	struct p9_qid qid;
	struct p9_fid *f;
	struct stat st;
	uint64_t mask;
	uint32_t num;
	int fd, err;

	if (p9_get(in, "dq", &num, &mask))
		return -EINVAL;
	err = find(s, num, &f);
	if (err)
		return err;
	fd = any_fd(s, f);
	err = fd < 0 ? fd : p9_stat_fd(fd, &st);
	if (err)
		return err;
	qid = p9_qid_of(s, &st);
	err = p9_put(out, "qQdddqqqqq", (uint64_t)GETATTR_BASIC, &qid, (unsigned int)st.st_mode,
		     (unsigned int)st.st_uid, (unsigned int)st.st_gid, (uint64_t)st.st_nlink,
		     (uint64_t)st.st_rdev, (uint64_t)st.st_size, (uint64_t)st.st_blksize,
		     (uint64_t)st.st_blocks);
	if (!err)
		err = put_time(out, &st.st_atim);
	if (!err)
		err = put_time(out, &st.st_mtim);
	if (!err)
		err = put_time(out, &st.st_ctim);
	if (!err)
		err = put_time(out, &none); /* birth: not among the basic ones */
	return err ? err : p9_put(out, "qq", 0ull, 0ull);
}

struct setattr {
	uint32_t valid, mode, uid, gid;
	uint64_t size;
	uint64_t atime[2], mtime[2]; /* seconds, nanoseconds */
};

static int set_mode(int fd, const struct setattr *a)
{
	struct stat st;
	int err = p9_stat_fd(fd, &st);

	if (err)
		return err;
	if (S_ISLNK(st.st_mode))
		return -EOPNOTSUPP;
	/* Setuid and setgid bits of files would give this user's rights away on the host. */
	return chmod(p9_self(fd).name, a->mode & (S_ISDIR(st.st_mode) ? 07777 : 0777)) < 0 ? -errno : 0;
}

static int set_owner(int fd, const struct setattr *a)
{
	uid_t uid = a->valid & SETATTR_UID ? a->uid : (uid_t)-1;
	gid_t gid = a->valid & SETATTR_GID ? a->gid : (gid_t)-1;

	return fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

static int set_size(struct p9_server *s, struct p9_fid *f, const struct setattr *a)
{
	int fd, err;

	if (a->size > INT64_MAX)
		return -EINVAL;
	if (f->open_fd >= 0 && !ftruncate(f->open_fd, (off_t)a->size))
		return 0;
	fd = p9_fid_open(s, f, O_WRONLY);
	if (fd < 0)
		return fd;
	err = ftruncate(fd, (off_t)a->size) < 0 ? -errno : 0;
	close(fd);
	s->open_fds--;
	return err;
}

static struct timespec time_arg(uint32_t valid, uint32_t change, uint32_t set, const uint64_t *t)
{
	if (!(valid & change))
		return (struct timespec){ .tv_nsec = UTIME_OMIT };
	if (!(valid & set))
		return (struct timespec){ .tv_nsec = UTIME_NOW };
	return (struct timespec){ .tv_sec = (time_t)t[0], .tv_nsec = (long)t[1] };
}

static int set_times(int fd, const struct setattr *a)
{
	const struct timespec ts[2] = {
		time_arg(a->valid, SETATTR_ATIME, SETATTR_ATIME_SET, a->atime),
		time_arg(a->valid, SETATTR_MTIME, SETATTR_MTIME_SET, a->mtime),
	};

	if (a->valid & SETATTR_ATIME_SET && a->atime[1] > 999999999)
		return -EINVAL;
	if (a->valid & SETATTR_MTIME_SET && a->mtime[1] > 999999999)
		return -EINVAL;
	if (!utimensat(fd, "", ts, AT_EMPTY_PATH))
		return 0;
	/* Kernels before 5.8 know no empty path here; a symbolic link's times are out of reach there. */
	if (errno != EINVAL && errno != ENOENT)
		return -errno;
	return utimensat(AT_FDCWD, p9_self(fd).name, ts, 0) < 0 ? -errno : 0;
}

int p9_setattr(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *f;
	struct setattr a;
	uint32_t num;
	int fd, err;

	if (p9_get(in, "dddddqqqqq", &num, &a.valid, &a.mode, &a.uid, &a.gid, &a.size, &a.atime[0],
		   &a.atime[1], &a.mtime[0], &a.mtime[1]))
		return -EINVAL;
	err = find(s, num, &f);
	if (err)
		return err;
	fd = any_fd(s, f);
	if (fd < 0)
		return fd;
	/* The owner first, which clears bits of the mode; the times last, which the size changes. */
	if (a.valid & (SETATTR_UID | SETATTR_GID))
		err = set_owner(fd, &a);
	if (!err && a.valid & SETATTR_MODE)
		err = set_mode(fd, &a);
	if (!err && a.valid & SETATTR_SIZE)
		err = set_size(s, f, &a);
	if (!err && a.valid & (SETATTR_ATIME | SETATTR_MTIME))
		err = set_times(fd, &a);
	return err;
}

/* An entry of getdents64(2), and what getdents64() gives at a time. */
struct dirent64_raw {
	uint64_t ino;
	int64_t next; /* where the following entry begins, for lseek() */
	uint16_t reclen;
	uint8_t type;
	char name[];
} __attribute__((packed));

#define DENTS_SIZE 32768u

/* False where the answer is full. */
static bool put_entry(struct p9_server *s, struct p9_out *out, const struct dirent64_raw *d)
{
	struct p9_str name = { d->name, (uint16_t)strlen(d->name) };
	struct p9_qid qid = { .path = d->ino };

	if (d->type == DT_DIR)
		qid.type = 0x80;
	else if (d->type == DT_LNK)
		qid.type = 0x02;
	/* What lies above the folder is no affair of the guest's. */
	if (p9_str_is(&name, ".."))
		qid.path = s->root_ino;
	return !p9_put(out, "Qqbs", &qid, (uint64_t)d->next, (unsigned int)d->type, &name);
}

int p9_readdir(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	char buf[DENTS_SIZE] __attribute__((aligned(8)));
	struct p9_out size = *out;
	uint32_t num, count;
	struct p9_fid *f;
	uint64_t off;
	bool room = true;
	long got;
	int err;

	if (p9_get(in, "dqd", &num, &off, &count))
		return -EINVAL;
	err = find(s, num, &f);
	if (!err && f->open_fd < 0)
		err = -EBADF;
	if (!err)
		err = p9_put(out, "d", 0u);
	if (err)
		return err;
	if (lseek(f->open_fd, (off_t)off, SEEK_SET) < 0)
		return -errno;
	if (count < (size_t)(out->end - out->p))
		out->end = out->p + count;
	while (room) {
		got = syscall(SYS_getdents64, f->open_fd, buf, sizeof(buf));
		if (got < 0)
			return -errno;
		if (!got)
			break;
		for (long at = 0; at < got && room;) {
			const struct dirent64_raw *d = (const void *)(buf + at);

			room = put_entry(s, out, d);
			at += d->reclen;
		}
	}
	/* Not even one fits: the client must not take that for the end. */
	if (!room && out->p == size.p + 4)
		return -EINVAL;
	return p9_put(&size, "d", (unsigned int)(out->p - size.p - 4));
}

int p9_read(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_out size = *out;
	uint32_t num, count;
	struct p9_fid *f;
	uint64_t off;
	ssize_t got;
	int err;

	if (p9_get(in, "dqd", &num, &off, &count) || off > INT64_MAX)
		return -EINVAL;
	err = find(s, num, &f);
	if (!err && f->open_fd < 0)
		err = -EBADF;
	if (!err)
		err = p9_put(out, "d", 0u);
	if (err)
		return err;
	if (count > (size_t)(out->end - out->p))
		count = (uint32_t)(out->end - out->p);
	do
		got = pread(f->open_fd, out->p, count, (off_t)off);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	out->p += got;
	return p9_put(&size, "d", (unsigned int)got);
}

int p9_write(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	uint32_t num, count;
	struct p9_fid *f;
	uint64_t off;
	ssize_t put;
	int err;

	if (p9_get(in, "dqd", &num, &off, &count) || off > INT64_MAX || count > (size_t)(in->end - in->p))
		return -EINVAL;
	err = find(s, num, &f);
	if (!err && f->open_fd < 0)
		err = -EBADF;
	if (err)
		return err;
	do
		put = pwrite(f->open_fd, in->p, count, (off_t)off);
	while (put < 0 && errno == EINTR);
	if (put < 0)
		return -errno;
	return p9_put(out, "d", (unsigned int)put);
}

int p9_fsync(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	uint32_t num, datasync = 0;
	struct p9_fid *f;
	int err;

	/* Older clients leave the second field out. */
	if (p9_get(in, "d", &num) || (in->p < in->end && p9_get(in, "d", &datasync)))
		return -EINVAL;
	err = find(s, num, &f);
	if (!err && f->open_fd < 0)
		err = -EBADF;
	if (err)
		return err;
	return (datasync ? fdatasync(f->open_fd) : fsync(f->open_fd)) < 0 ? -errno : 0;
}

/*
 * Locks are open-file-description locks of the fid's file, so that they keep
 * the host's programs out.  Among its own processes the guest's kernel decides.
 */
static int lock_arg(uint8_t type, uint64_t start, uint64_t len, struct flock *fl)
{
	static const short types[] = { F_RDLCK, F_WRLCK, F_UNLCK };

	if (type > LOCK_UNLCK || start > INT64_MAX || len > INT64_MAX)
		return -EINVAL;
	*fl = (struct flock){
		.l_type = types[type], .l_whence = SEEK_SET, .l_start = (off_t)start, .l_len = (off_t)len,
	};
	return 0;
}

static int try_lock(int fd, const struct flock *fl)
{
	struct flock copy = *fl;

	return fcntl(fd, F_OFD_SETLK, &copy) < 0 ? -errno : 0;
}

/*
 * A flock() in the guest may lock for writing what is open for reading; fcntl()
 * asks for a descriptor to match.
 */
static int lock_fid(struct p9_server *s, struct p9_fid *f, const struct flock *fl)
{
	int err;

	if (fl->l_type == F_UNLCK && f->lock_fd >= 0)
		try_lock(f->lock_fd, fl);
	err = try_lock(f->open_fd, fl);
	if (err != -EBADF || s->read_only)
		return err;
	if (f->lock_fd < 0)
		f->lock_fd = p9_fid_open(s, f, O_RDWR);
	if (f->lock_fd < 0)
		return -ENOLCK;
	return try_lock(f->lock_fd, fl);
}

int p9_lock(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	uint32_t num, flags, proc;
	struct p9_str client;
	uint64_t start, len;
	struct p9_fid *f;
	struct flock fl;
	uint8_t type;
	int err;

	if (p9_get(in, "dbdqqds", &num, &type, &flags, &start, &len, &proc, &client))
		return -EINVAL;
	err = find(s, num, &f);
	if (!err && f->open_fd < 0)
		err = -EBADF;
	if (!err)
		err = lock_arg(type, start, len, &fl);
	if (err)
		return err;
	/* Never wait here: the client asks again (P9_LOCK_FLAGS_BLOCK). */
	err = lock_fid(s, f, &fl);
	if (err == -EAGAIN || err == -EACCES)
		return p9_put(out, "b", LOCK_BLOCKED);
	return p9_put(out, "b", err ? LOCK_ERROR : LOCK_SUCCESS);
}

int p9_getlock(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_str client;
	uint64_t start, len;
	struct p9_fid *f;
	uint32_t num, proc;
	struct flock fl;
	uint8_t type;
	int err;

	if (p9_get(in, "dbqqds", &num, &type, &start, &len, &proc, &client))
		return -EINVAL;
	err = find(s, num, &f);
	if (!err && f->open_fd < 0)
		err = -EBADF;
	if (!err)
		err = lock_arg(type, start, len, &fl);
	if (err)
		return err;
	if (fcntl(f->open_fd, F_OFD_GETLK, &fl) < 0)
		return -errno;
	if (fl.l_type == F_UNLCK)
		return p9_put(out, "bqqds", LOCK_UNLCK, start, len, proc, &client);
	return p9_put(out, "bqqds", fl.l_type == F_WRLCK ? 1u : 0u, (uint64_t)fl.l_start, (uint64_t)fl.l_len,
		      0u, &client);
}
