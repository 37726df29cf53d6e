// SPDX-License-Identifier: MIT
#include "slotmem.h"

#include <fcntl.h>
#include <stdlib.h>

#define SLOT 2

static const struct {
	const char *name;
	int flags;
	enum { NO_FILE, MEMFD, ON_DISK } file;
} kinds[SLOTMEM_KINDS] = {
	[SLOTMEM_SHARED] = { "shared anonymous memory", MAP_SHARED | MAP_ANONYMOUS, NO_FILE },
	[SLOTMEM_PRIVATE] = { "private anonymous memory", MAP_PRIVATE | MAP_ANONYMOUS, NO_FILE },
	[SLOTMEM_MEMFD] = { "a memfd", MAP_SHARED, MEMFD },
	[SLOTMEM_HUGE] = { "huge pages", MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, NO_FILE },
	[SLOTMEM_FILE] = { "a private file", MAP_PRIVATE, ON_DISK },
};

static int file_of(enum slotmem_kind kind)
{
	char path[] = "./anykvm-test-XXXXXX";
	int fd;

	if (kinds[kind].file == NO_FILE)
		return -1;
	fd = kinds[kind].file == MEMFD ? memfd_create("guest", MFD_CLOEXEC) : mkostemp(path, O_CLOEXEC);
	assert_true(fd >= 0);
	if (kinds[kind].file == ON_DISK)
		unlink(path);
	assert_int_equal(ftruncate(fd, SLOTMEM_SIZE), 0);
	return fd;
}

bool slotmem_make(enum slotmem_kind kind, struct slotmem *s)
{
	int fd = file_of(kind);

	s->m = mmap(NULL, SLOTMEM_SIZE, PROT_READ | PROT_WRITE, kinds[kind].flags, fd, 0);
	s->fd = kind == SLOTMEM_MEMFD ? fd : -1;
	if (fd >= 0 && s->fd < 0)
		close(fd);
	if (s->m == MAP_FAILED)
		assert_int_equal(kind, SLOTMEM_HUGE);
	return s->m != MAP_FAILED;
}

void slotmem_drop(struct slotmem *s)
{
	munmap(s->m, SLOTMEM_SIZE);
	if (s->fd >= 0)
		close(s->fd);
}

/* Two of the kind: of huge pages this machine may have none. */
static bool has(enum slotmem_kind kind)
{
	struct slotmem m[2];
	unsigned int n = 0;

	while (n < 2 && slotmem_make(kind, &m[n]))
		n++;
	for (unsigned int k = 0; k < n; k++)
		slotmem_drop(&m[k]);
	return n == 2;
}

/* Takes the structure's page out of a memfd; false: it is none. */
static bool punch(struct slotmem *s)
{
	if (s->fd < 0)
		return false;
	assert_int_equal(fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, SLOTMEM_PAGE * PAGE, PAGE), 0);
	return true;
}

void slotmem_set(int vm, const struct slotmem *s)
{
	if (s)
		api_ok(api_set_slot(vm, SLOT, KVM_MEM_LOG_DIRTY_PAGES, SLOTMEM_BASE, SLOTMEM_SIZE, s->m));
	else
		api_ok(api_set_slot(vm, SLOT, 0, SLOTMEM_BASE, 0, NULL));
}

/* Which of the structure's pages the log has as written since: bit 0 is its first. */
static uint64_t dirty_pages(int vm)
{
	uint64_t map[SLOTMEM_SIZE / PAGE / 64];
	struct kvm_dirty_log log = { .slot = SLOT, .dirty_bitmap = map };

	api_ok(api_ioctl(vm, KVM_GET_DIRTY_LOG, &log));
	/* None before it. */
	assert_int_equal(map[0] & ((1u << SLOTMEM_PAGE) - 1), 0);
	for (unsigned int n = 2; n < sizeof(map) / sizeof(map[0]); n++)
		assert_int_equal(map[n], 0);
	return map[0] >> SLOTMEM_PAGE | map[1] << (64 - SLOTMEM_PAGE);
}

/* --- what all structures have in common ------------------------------------------------------------------------ */

static void expect(const struct slotmem_user *u, enum slotmem_kind kind, const char *when, const struct slotmem *m,
		   uint64_t wanted)
{
	uint64_t was = u->run(u->guest, m);

	if (was != wanted)
		fail_msg("%s in %s, %s: %#lx, not %#lx", u->name, kinds[kind].name, when, was, wanted);
}

static void expect_dirty(const struct slotmem_user *u, enum slotmem_kind kind)
{
	uint64_t was = dirty_pages(u->vm);

	if (was != u->written)
		fail_msg("%s in %s: the log of dirty pages has %#lx", u->name, kinds[kind].name, was);
}

static void becomes(const struct slotmem_user *u, const struct slotmem *m, unsigned int contents)
{
	memset(slotmem_at(m), 0, PAGE);
	u->fill(u->guest, slotmem_at(m), contents);
	slotmem_set(u->vm, NULL);
	slotmem_set(u->vm, m);
}

static void check(const struct slotmem_user *u, enum slotmem_kind kind, struct slotmem m[2])
{
	becomes(u, &m[0], 0);
	expect(u, kind, "first", &m[0], u->first);
	expect_dirty(u, kind);
	becomes(u, &m[1], 1);
	expect(u, kind, "other memory", &m[1], u->second);
	if (punch(&m[1])) {
		u->fill(u->guest, slotmem_at(&m[1]), 0);
		u->forget(u->guest);
		dirty_pages(u->vm);
		expect(u, kind, "a new page", &m[1], u->first);
		expect_dirty(u, kind);
	}
	slotmem_set(u->vm, NULL);
	expect(u, kind, "no memory", &m[1], u->absent);
}

void slotmem_check(const struct slotmem_guests *g, enum slotmem_kind kind)
{
	if (!has(kind))
		skip();
	for (unsigned int row = 0; row < g->count; row++) {
		struct slotmem_user u;
		struct slotmem m[2];

		for (unsigned int n = 0; n < 2; n++)
			assert_true(slotmem_make(kind, &m[n]));
		if (g->begin(row, &m[0], &u)) {
			check(&u, kind, m);
			g->end(u.guest);
		}
		for (unsigned int n = 0; n < 2; n++)
			slotmem_drop(&m[n]);
	}
}

void slotmem_check_unreadable(const struct slotmem_guests *g)
{
	for (unsigned int row = 0; row < g->count; row++) {
		struct slotmem_user u;
		struct slotmem m;

		assert_true(slotmem_make(SLOTMEM_PRIVATE, &m));
		if (g->begin(row, &m, &u)) {
			becomes(&u, &m, 0);
			expect(&u, SLOTMEM_PRIVATE, "first", &m, u.first);
			assert_int_equal(mprotect(m.m, SLOTMEM_SIZE, PROT_NONE), 0);
			u.forget(u.guest);
			expect(&u, SLOTMEM_PRIVATE, "nothing behind the slot", &m, u.unreadable);
			g->end(u.guest);
		}
		slotmem_drop(&m);
	}
}
