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

const char *slotmem_name(enum slotmem_kind kind)
{
	return kinds[kind].name;
}

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

bool slotmem_has(enum slotmem_kind kind)
{
	struct slotmem m[2];
	unsigned int n = 0;

	while (n < 2 && slotmem_make(kind, &m[n]))
		n++;
	for (unsigned int k = 0; k < n; k++)
		slotmem_drop(&m[k]);
	return n == 2;
}

bool slotmem_punch(struct slotmem *s)
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

uint64_t slotmem_dirty(int vm)
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
