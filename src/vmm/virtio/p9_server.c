/* SPDX-License-Identifier: MIT */
/* p9_server.c - the session: versions, attaching, and the table of messages. */
#include "vmm/virtio/p9_server.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define NO_FID	  0xffffffffu
#define ERROR_LEN (P9_HEADER + 4)

/* Leave most of the process's descriptors to the rest of it. */
static void share_descriptors(struct p9_server *s)
{
	struct rlimit lim = { .rlim_cur = 1024 };

	getrlimit(RLIMIT_NOFILE, &lim);
	if (lim.rlim_cur > 65536)
		lim.rlim_cur = 65536;
	s->path_fds_max = (unsigned int)lim.rlim_cur / 8;
	s->open_fds_max = (unsigned int)lim.rlim_cur / 4;
	/* A message holds two of them at most. */
	if (s->path_fds_max < 4)
		s->path_fds_max = 4;
}

int p9_server_init(struct p9_server *s, const char *path, bool read_only)
{
	struct stat st;
	int err;

	memset(s, 0, sizeof(*s));
	TAILQ_INIT(&s->lru);
	s->read_only = read_only;
	share_descriptors(s);
	s->root_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->root_fd < 0)
		return -errno;
	err = p9_stat_fd(s->root_fd, &st);
	if (err) {
		p9_server_fini(s);
		return err;
	}
	s->root_dev = st.st_dev;
	s->root_ino = st.st_ino;
	return 0;
}

void p9_server_reset(struct p9_server *s)
{
	for (unsigned int i = 0; i < P9_BUCKETS; i++)
		while (s->bucket[i])
			p9_fid_drop(s, s->bucket[i]);
	s->msize = 0;
}

void p9_server_fini(struct p9_server *s)
{
	p9_server_reset(s);
	if (s->root_fd >= 0)
		close(s->root_fd);
	s->root_fd = -1;
}

static int p9_version(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_str version, answer = { "9P2000.L", 8 };
	uint32_t msize;

	if (p9_get(in, "ds", &msize, &version))
		return -EINVAL;
	p9_server_reset(s);
	if (msize < P9_MSIZE_MIN)
		return -EINVAL;
	if (msize > P9_MSIZE_MAX)
		msize = P9_MSIZE_MAX;
	if (p9_str_is(&version, "9P2000.L"))
		s->msize = msize;
	else
		answer = (struct p9_str){ "unknown", 7 };
	return p9_put(out, "ds", msize, &answer);
}

/* Whoever attaches gets the folder: the guest's users are the guest's affair. */
static int p9_attach(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_str uname, aname;
	struct p9_qid qid;
	uint32_t num, afid, uid;
	struct stat st;
	int fd, err;

	if (p9_get(in, "ddssd", &num, &afid, &uname, &aname, &uid))
		return -EINVAL;
	if (afid != NO_FID)
		return -EBADF;
	fd = fcntl(s->root_fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	err = p9_stat_fd(fd, &st);
	if (err) {
		close(fd);
		return err;
	}
	err = p9_fid_new(s, num, "", fd, NULL);
	qid = p9_qid_of(s, &st);
	return err ? err : p9_put(out, "Q", &qid);
}

static int p9_clunk(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *f;
	uint32_t num;

	if (p9_get(in, "d", &num))
		return -EINVAL;
	f = p9_fid_find(s, num);
	if (!f)
		return -EBADF;
	p9_fid_drop(s, f);
	return 0;
}

/* Messages are served one after the other, so what is to be flushed has been answered already. */
static int p9_flush(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	uint16_t tag;

	return p9_get(in, "h", &tag);
}

static int p9_unsupported(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
	return -EOPNOTSUPP;
}

struct message {
	p9_fn *fn;
	bool changes; /* refused with EROFS where the folder is shared read-only */
};

#define READS(name)   { .fn = name, .changes = false }
#define CHANGES(name) { .fn = name, .changes = true }

static const struct message messages[P9_TYPES] = {
	[P9_STATFS] = READS(p9_statfs),
	[P9_LOPEN] = READS(p9_lopen),
	[P9_LCREATE] = CHANGES(p9_lcreate),
	[P9_SYMLINK] = CHANGES(p9_symlink),
	[P9_MKNOD] = CHANGES(p9_mknod),
	[P9_RENAME] = CHANGES(p9_rename),
	[P9_READLINK] = READS(p9_readlink),
	[P9_GETATTR] = READS(p9_getattr),
	[P9_SETATTR] = CHANGES(p9_setattr),
	[P9_XATTRWALK] = READS(p9_unsupported),
	[P9_XATTRCREATE] = READS(p9_unsupported),
	[P9_READDIR] = READS(p9_readdir),
	[P9_FSYNC] = READS(p9_fsync),
	[P9_LOCK] = READS(p9_lock),
	[P9_GETLOCK] = READS(p9_getlock),
	[P9_LINK] = CHANGES(p9_link),
	[P9_MKDIR] = CHANGES(p9_mkdir),
	[P9_RENAMEAT] = CHANGES(p9_renameat),
	[P9_UNLINKAT] = CHANGES(p9_unlinkat),
	[P9_VERSION] = READS(p9_version),
	[P9_AUTH] = READS(p9_unsupported),
	[P9_ATTACH] = READS(p9_attach),
	[P9_FLUSH] = READS(p9_flush),
	[P9_WALK] = READS(p9_walk),
	[P9_READ] = READS(p9_read),
	[P9_WRITE] = READS(p9_write),
	[P9_CLUNK] = READS(p9_clunk),
	[P9_REMOVE] = READS(p9_remove), /* ends the fid even where it may not remove */
};

static int dispatch(struct p9_server *s, uint8_t type, struct p9_in *in, struct p9_out *out)
{
	const struct message *m = type < P9_TYPES ? &messages[type] : NULL;

	if (!m || !m->fn)
		return -EOPNOTSUPP;
	if (!s->msize && type != P9_VERSION)
		return -EINVAL;
	if (m->changes && s->read_only)
		return -EROFS;
	return m->fn(s, in, out);
}

int64_t p9_serve(struct p9_server *s, const void *req, size_t len, void *reply, size_t room)
{
	struct p9_in in = { req, (const uint8_t *)req + len };
	struct p9_out out = { (uint8_t *)reply + P9_HEADER, (uint8_t *)reply + room };
	struct p9_out head = { reply, (uint8_t *)reply + P9_HEADER };
	uint32_t size;
	uint16_t tag;
	uint8_t type;
	int err;

	if (p9_get(&in, "dbh", &size, &type, &tag) || size < P9_HEADER || size > len || room < ERROR_LEN)
		return -EINVAL;
	in.end = (const uint8_t *)req + size;
	if (s->msize && room > s->msize)
		out.end = (uint8_t *)reply + s->msize;
	err = dispatch(s, type, &in, &out);
	type++;
	if (err) {
		type = P9_LERROR + 1;
		out.p = (uint8_t *)reply + P9_HEADER;
		err = p9_put(&out, "d", (unsigned int)-err);
	}
	if (!err)
		err = p9_put(&head, "dbh", (unsigned int)(out.p - (uint8_t *)reply), (unsigned int)type,
			     (unsigned int)tag);
	return err ? -EINVAL : out.p - (uint8_t *)reply;
}
