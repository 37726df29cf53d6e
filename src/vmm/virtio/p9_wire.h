/* SPDX-License-Identifier: MIT */
/*
 * p9_wire.h - 9P messages as bytes: numbers little endian, strings with a
 * 16-bit length in front.  Formats are strings of these letters:
 *   b h d q  8, 16, 32, 64 bits
 *   s        string (struct p9_str)
 *   Q        qid (struct p9_qid)
 */
#ifndef VIRTIO_P9_WIRE_H
#define VIRTIO_P9_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Requests of 9P2000.L; each answer's number is one more. */
enum p9_type {
	P9_LERROR = 6,
	P9_STATFS = 8,
	P9_LOPEN = 12,
	P9_LCREATE = 14,
	P9_SYMLINK = 16,
	P9_MKNOD = 18,
	P9_RENAME = 20,
	P9_READLINK = 22,
	P9_GETATTR = 24,
	P9_SETATTR = 26,
	P9_XATTRWALK = 30,
	P9_XATTRCREATE = 32,
	P9_READDIR = 40,
	P9_FSYNC = 50,
	P9_LOCK = 52,
	P9_GETLOCK = 54,
	P9_LINK = 70,
	P9_MKDIR = 72,
	P9_RENAMEAT = 74,
	P9_UNLINKAT = 76,
	P9_VERSION = 100,
	P9_AUTH = 102,
	P9_ATTACH = 104,
	P9_FLUSH = 108,
	P9_WALK = 110,
	P9_READ = 116,
	P9_WRITE = 118,
	P9_CLUNK = 120,
	P9_REMOVE = 122,
	P9_TYPES = 128,
};

#define P9_HEADER   7u /* size[4] type[1] tag[2] */
#define P9_QID_SIZE 13u

struct p9_str {
	const char *p; /* inside the message; not terminated */
	uint16_t len;
};

struct p9_qid {
	uint8_t type;
	uint32_t version;
	uint64_t path;
};

/* A cursor over a request, and one over an answer. */
struct p9_in {
	const uint8_t *p, *end;
};

struct p9_out {
	uint8_t *p, *end;
};

/**
 * p9_get - take fields off a request.
 * @fmt: b h d q s; the arguments are pointers to uint8_t ... uint64_t, struct p9_str.
 * Returns 0, or -EINVAL where the message is too short.
 */
int p9_get(struct p9_in *in, const char *fmt, ...) __attribute__((warn_unused_result));

/**
 * p9_put - add fields to an answer.
 * @fmt: b h d q s Q; the arguments are unsigned int (b, h, d), uint64_t,
 * struct p9_str by pointer, struct p9_qid by pointer.
 * Returns 0, or -EMSGSIZE with nothing added where there is no room.
 */
int p9_put(struct p9_out *out, const char *fmt, ...) __attribute__((warn_unused_result));

/** p9_str_is - whether @s is the text @text. */
bool p9_str_is(const struct p9_str *s, const char *text);

#endif
