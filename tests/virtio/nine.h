/* SPDX-License-Identifier: MIT */
/* nine.h - a 9P client for tests: a server on a temporary folder, and a function for each message. */
#ifndef TESTS_VIRTIO_NINE_H
#define TESTS_VIRTIO_NINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vmm/virtio/p9_server.h"

#define ROOT   0u
#define MSIZE  65536u
#define NO_FID 0xffffffffu

struct bench {
	char top[64], share[80]; /* top/secret lies outside top/share */
	struct p9_server s;
	uint8_t req[MSIZE], reply[MSIZE];
	struct p9_out out; /* request being built */
	struct p9_in in;   /* answer being read */
	uint64_t seed;
};

#define PUT(b, ...) assert_int_equal(p9_put(&(b)->out, __VA_ARGS__), 0)
#define GET(b, ...) assert_int_equal(p9_get(&(b)->in, __VA_ARGS__), 0)

/* Messages: built with begin() and PUT(), sent by call(), which gives the answer's errno, read with GET(). */
struct p9_str str(const char *text);
void begin(struct bench *b);
int call(struct bench *b, enum p9_type type);

/* One message each; 0 or the answer's errno.  walk(): the steps taken, or -errno. */
void version(struct bench *b);
int attach(struct bench *b, uint32_t fid);
int walk(struct bench *b, uint32_t fid, uint32_t newfid, const char *path);
int clunk(struct bench *b, uint32_t fid);
int lopen(struct bench *b, uint32_t fid, int flags);
int lcreate(struct bench *b, uint32_t fid, const char *name, int flags, unsigned int mode);
int write_at(struct bench *b, uint32_t fid, uint64_t off, const char *text);
const char *read_at(struct bench *b, uint32_t fid, uint64_t off, uint32_t count, int *err);
int name_call(struct bench *b, enum p9_type type, uint32_t dir, const char *name, unsigned int arg);
int symlink_call(struct bench *b, uint32_t dir, const char *name, const char *target);

/* The host's side. */
void file_at(const char *dir, const char *name, const char *text);
bool exists(struct bench *b, const char *name);

/* A share with file, dir and dir/inner, attached as fid ROOT. */
int setup(void **state);
int setup_read_only(void **state);
int teardown(void **state);

int mknod_call(struct bench *b, const char *name, unsigned int mode);
int link_call(struct bench *b, uint32_t dir, uint32_t fid, const char *name);
int renameat_call(struct bench *b, uint32_t from, const char *old, uint32_t to, const char *new);
int rename_call(struct bench *b, uint32_t fid, uint32_t dir, const char *name);
int remove_call(struct bench *b, uint32_t fid);
int setattr(struct bench *b, uint32_t fid, uint32_t valid, uint32_t mode, uint64_t size, uint64_t sec,
	    uint64_t nsec);

#endif
