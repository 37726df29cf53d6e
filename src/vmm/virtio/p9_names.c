/* SPDX-License-Identifier: MIT */
/* p9_names.c - messages about names: walking, making, linking, renaming, removing. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vmm/virtio/p9_server.h"

#define WALK_MAX 16u

/* Setuid and setgid bits would give this user's rights away on the host. */
#define FILE_MODE 0777u
#define DIR_MODE  01777u

/* A directory to work in and a name in it, as most messages begin. */
struct place {
	struct p9_fid *dir;
	int dir_fd;
	char name[NAME_MAX + 1];
};

static int place_of(struct p9_server *s, uint32_t dir, const struct p9_str *name, struct place *pl)
{
	int err = p9_name(name, pl->name);

	if (err)
		return err;
	pl->dir = p9_fid_find(s, dir);
	if (!pl->dir)
		return -EBADF;
	pl->dir_fd = p9_fid_fd(s, pl->dir);
	return pl->dir_fd < 0 ? pl->dir_fd : 0;
}

static int put_qid(struct p9_server *s, const struct stat *st, struct p9_out *out)
{
	struct p9_qid qid = p9_qid_of(s, st);

	return p9_put(out, "Q", &qid);
}

/* The qid of what a message just made. */
static int put_made(struct p9_server *s, const struct place *pl, struct p9_out *out)
{
	struct stat st;

	if (fstatat(pl->dir_fd, pl->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return put_qid(s, &st, out);
}

/* The guest has applied its own umask to @mode; undo ours. */
static int set_made_mode(const struct place *pl, mode_t mode)
{
	int fd = p9_child(pl->dir_fd, pl->name), err;

	if (fd < 0)
		return fd;
	err = chmod(p9_self(fd).name, mode) < 0 ? -errno : 0;
	close(fd);
	return err;
}

/* One step of a walk: *@fd and @path go from an object to what @name is from there. */
static int walk_step(struct p9_server *s, const struct p9_str *str, char *path, int *fd)
{
	char name[NAME_MAX + 1], next_path[PATH_MAX];
	int next, err;

	if (p9_str_is(str, "..")) {
		p9_split(path);
		next = p9_walk_path(s, path);
	} else {
		err = p9_name(str, name);
		if (!err)
			err = p9_join(next_path, path, name);
		if (err)
			return err;
		memcpy(path, next_path, strlen(next_path) + 1);
		next = p9_child(*fd, name);
	}
	if (next < 0)
		return next;
	close(*fd);
	*fd = next;
	return 0;
}

/* Walk as far as the names lead; *@n: how many steps it took.  The first error, where it is not the end. */
static int walk_steps(struct p9_server *s, struct p9_in *in, uint16_t names, char *path, int *fd,
		      struct p9_qid *qid, uint16_t *n)
{
	struct p9_str str;
	struct stat st;
	int err;

	for (*n = 0; *n < names; (*n)++) {
		if (p9_get(in, "s", &str))
			return -EINVAL;
		err = walk_step(s, &str, path, fd);
		if (!err)
			err = p9_stat_fd(*fd, &st);
		if (err)
			return *n ? 0 : err;
		qid[*n] = p9_qid_of(s, &st);
	}
	return 0;
}

/* The new fid of a walk that went all the way; the same one where the client says so. */
static int walk_finish(struct p9_server *s, struct p9_fid *f, uint32_t newnum, const char *path, int fd)
{
	if (newnum != f->num)
		return p9_fid_new(s, newnum, path, fd, NULL);
	if (f->open_fd >= 0) {
		close(fd);
		return -EBUSY;
	}
	return p9_fid_retarget(s, f, path, fd);
}

int p9_walk(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_qid qid[WALK_MAX];
	char path[PATH_MAX];
	uint32_t num, newnum;
	uint16_t names, n;
	struct p9_fid *f;
	int fd, err;

	if (p9_get(in, "ddh", &num, &newnum, &names) || names > WALK_MAX)
		return -EINVAL;
	f = p9_fid_find(s, num);
	if (!f)
		return -EBADF;
	if (strlen(f->path) >= sizeof(path))
		return -ENAMETOOLONG;
	memcpy(path, f->path, strlen(f->path) + 1);
	fd = p9_fid_fd(s, f);
	if (fd < 0)
		return fd;
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	err = walk_steps(s, in, names, path, &fd, qid, &n);
	if (err || n < names)
		close(fd);
	else
		err = walk_finish(s, f, newnum, path, fd);
	if (!err)
		err = p9_put(out, "h", (unsigned int)n);
	for (uint16_t i = 0; i < n && !err; i++)
		err = p9_put(out, "Q", &qid[i]);
	return err;
}

/*
 * Open @name for creation.  What is there already is opened if the client does
 * not mind, and if it is a regular file.  *@path_fd: its O_PATH descriptor.
 */
static int create_at(const struct place *pl, int flags, mode_t mode, int *path_fd)
{
	const int base = O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	struct stat st;
	int fd = openat(pl->dir_fd, pl->name, flags | base | O_CREAT | O_EXCL, mode), err = 0;

	if (fd >= 0 && fchmod(fd, mode) < 0)
		err = -errno;
	if (fd < 0 && errno == EEXIST && !(flags & O_EXCL)) {
		/* Looked at before it is opened: opening a FIFO or a device would act. */
		if (fstatat(pl->dir_fd, pl->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
		if (!S_ISREG(st.st_mode))
			return -EEXIST;
		fd = openat(pl->dir_fd, pl->name, flags | base);
	}
	if (fd < 0)
		return -errno;
	*path_fd = err ? -1 : open(p9_self(fd).name, O_PATH | O_CLOEXEC);
	if (*path_fd >= 0)
		return fd;
	err = err ? err : -errno;
	close(fd);
	return err;
}

#define CREATE_FLAGS (O_ACCMODE | O_EXCL | O_TRUNC | O_APPEND | O_DSYNC | O_SYNC | O_NOATIME)

int p9_lcreate(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	uint32_t num, flags, mode, gid;
	char path[PATH_MAX];
	struct p9_str name;
	struct place pl;
	struct p9_qid qid;
	struct stat st;
	int fd, path_fd = -1, err;

	if (p9_get(in, "dsddd", &num, &name, &flags, &mode, &gid))
		return -EINVAL;
	err = place_of(s, num, &name, &pl);
	if (!err)
		err = p9_join(path, pl.dir->path, pl.name);
	if (!err && pl.dir->open_fd >= 0)
		err = -EBUSY;
	if (!err && p9_in_procfs(pl.dir_fd))
		err = -EACCES;
	if (!err && s->open_fds >= s->open_fds_max)
		err = -EMFILE;
	if (err)
		return err;
	fd = create_at(&pl, (int)flags & CREATE_FLAGS, mode & FILE_MODE, &path_fd);
	if (fd < 0)
		return fd;
	/* The directory's fid is the file's from now on. */
	err = p9_fid_retarget(s, pl.dir, path, path_fd);
	if (!err)
		err = p9_stat_fd(fd, &st);
	if (err) {
		close(fd);
		return err;
	}
	pl.dir->open_fd = fd;
	s->open_fds++;
	qid = p9_qid_of(s, &st);
	return p9_put(out, "Qd", &qid, 0u);
}

int p9_symlink(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_str name, target;
	char to[PATH_MAX];
	uint32_t num, gid;
	struct place pl;
	int err;

	if (p9_get(in, "dssd", &num, &name, &target, &gid))
		return -EINVAL;
	if (!target.len || memchr(target.p, '\0', target.len))
		return -EINVAL;
	if (target.len >= sizeof(to))
		return -ENAMETOOLONG;
	err = place_of(s, num, &name, &pl);
	if (err)
		return err;
	memcpy(to, target.p, target.len);
	to[target.len] = '\0';
	if (symlinkat(to, pl.dir_fd, pl.name) < 0)
		return -errno;
	return put_made(s, &pl, out);
}

int p9_mknod(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	uint32_t num, mode, major, minor, gid;
	struct p9_str name;
	struct place pl;
	int err;

	if (p9_get(in, "dsdddd", &num, &name, &mode, &major, &minor, &gid))
		return -EINVAL;
	err = place_of(s, num, &name, &pl);
	if (err)
		return err;
	if (S_ISCHR(mode) || S_ISBLK(mode))
		return -EPERM;
	if (!S_ISREG(mode) && !S_ISFIFO(mode) && !S_ISSOCK(mode))
		return -EINVAL;
	if (mknodat(pl.dir_fd, pl.name, (mode & S_IFMT) | (mode & FILE_MODE), 0) < 0)
		return -errno;
	err = set_made_mode(&pl, mode & FILE_MODE);
	return err ? err : put_made(s, &pl, out);
}

int p9_mkdir(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	uint32_t num, mode, gid;
	struct p9_str name;
	struct place pl;
	int err;

	if (p9_get(in, "dsdd", &num, &name, &mode, &gid))
		return -EINVAL;
	err = place_of(s, num, &name, &pl);
	if (err)
		return err;
	if (mkdirat(pl.dir_fd, pl.name, mode & DIR_MODE) < 0)
		return -errno;
	err = set_made_mode(&pl, mode & DIR_MODE);
	return err ? err : put_made(s, &pl, out);
}

int p9_link(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_str name;
	uint32_t dir, num;
	struct p9_fid *f;
	struct place pl;
	int fd, err;

	if (p9_get(in, "dds", &dir, &num, &name))
		return -EINVAL;
	err = place_of(s, dir, &name, &pl);
	if (err)
		return err;
	f = p9_fid_find(s, num);
	if (!f)
		return -EBADF;
	fd = p9_fid_fd(s, f);
	if (fd < 0)
		return fd;
	/* To follow procfs's link is to end at the object itself, be it a symbolic link. */
	return linkat(AT_FDCWD, p9_self(fd).name, pl.dir_fd, pl.name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

static int rename_between(struct p9_server *s, const char *from_dir, int from_fd, const char *from_name,
			  const struct place *to)
{
	char from[PATH_MAX], path[PATH_MAX];

	if (renameat(from_fd, from_name, to->dir_fd, to->name) < 0)
		return -errno;
	if (!p9_join(from, from_dir, from_name) && !p9_join(path, to->dir->path, to->name))
		p9_fids_renamed(s, from, path);
	return 0;
}

int p9_renameat(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_str old_name, new_name;
	struct place from, to;
	uint32_t old, new;
	int err;

	if (p9_get(in, "dsds", &old, &old_name, &new, &new_name))
		return -EINVAL;
	err = place_of(s, old, &old_name, &from);
	if (!err)
		err = place_of(s, new, &new_name, &to);
	return err ? err : rename_between(s, from.dir->path, from.dir_fd, from.name, &to);
}

/* The directory of @f, open, and the name in it, which must still be @f's; @dir: PATH_MAX bytes. */
static int parent_of(struct p9_server *s, const struct p9_fid *f, char *dir, const char **name)
{
	struct stat st;
	int fd, err = 0;

	if (strlen(f->path) >= PATH_MAX - 1)
		return -ENAMETOOLONG;
	memcpy(dir, f->path, strlen(f->path) + 1);
	*name = p9_split(dir);
	if (!*name)
		return -EBUSY; /* the folder itself */
	fd = p9_walk_path(s, dir);
	if (fd < 0)
		return fd;
	if (fstatat(fd, *name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		err = -errno;
	else if (st.st_dev != f->dev || st.st_ino != f->ino)
		err = -ESTALE;
	if (!err)
		return fd;
	close(fd);
	return err;
}

int p9_rename(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_str new_name;
	char dir[PATH_MAX];
	const char *name;
	uint32_t num, to_dir;
	struct p9_fid *f;
	struct place to;
	int fd, err;

	if (p9_get(in, "dds", &num, &to_dir, &new_name))
		return -EINVAL;
	f = p9_fid_find(s, num);
	if (!f)
		return -EBADF;
	err = place_of(s, to_dir, &new_name, &to);
	if (err)
		return err;
	fd = parent_of(s, f, dir, &name);
	if (fd < 0)
		return fd;
	err = rename_between(s, dir, fd, name, &to);
	close(fd);
	return err;
}

int p9_unlinkat(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	uint32_t num, flags;
	struct p9_str name;
	struct place pl;
	int err;

	if (p9_get(in, "dsd", &num, &name, &flags) || flags & ~(uint32_t)AT_REMOVEDIR)
		return -EINVAL;
	err = place_of(s, num, &name, &pl);
	if (err)
		return err;
	return unlinkat(pl.dir_fd, pl.name, (int)flags) < 0 ? -errno : 0;
}

static int remove_object(struct p9_server *s, struct p9_fid *f)
{
	char dir[PATH_MAX];
	const char *name;
	struct stat st;
	int fd, err;

	if (s->read_only)
		return -EROFS;
	fd = parent_of(s, f, dir, &name);
	if (fd < 0)
		return fd;
	err = fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW);
	if (!err)
		err = unlinkat(fd, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0);
	err = err ? -errno : 0;
	close(fd);
	return err;
}

/* The fid is gone afterwards in any case. */
int p9_remove(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *f;
	uint32_t num;
	int err;

	if (p9_get(in, "d", &num))
		return -EINVAL;
	f = p9_fid_find(s, num);
	if (!f)
		return -EBADF;
	err = remove_object(s, f);
	p9_fid_drop(s, f);
	return err;
}

int p9_readlink(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	char target[PATH_MAX];
	struct p9_str str = { .p = target };
	struct p9_fid *f;
	uint32_t num;
	ssize_t len;
	int fd;

	if (p9_get(in, "d", &num))
		return -EINVAL;
	f = p9_fid_find(s, num);
	if (!f)
		return -EBADF;
	fd = p9_fid_fd(s, f);
	if (fd < 0)
		return fd;
	len = readlinkat(fd, "", target, sizeof(target));
	if (len < 0)
		return errno == ENOENT ? -EINVAL : -errno; /* readlinkat()'s word for "no link" here */
	str.len = (uint16_t)len;
	return p9_put(out, "s", &str);
}
