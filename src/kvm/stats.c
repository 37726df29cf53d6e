/* SPDX-License-Identifier: MIT */
/*
 * The block that KVM_GET_STATS_FD shows: header, id, descriptors, data
 * (api.rst 4.134).  It begins as anonymous memory, so that nobody pays a
 * descriptor for statistics that nobody reads; the first KVM_GET_STATS_FD puts
 * a memfd with the same contents in its place, at the same address.
 */
#include "kvm/stats.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "host/memfd.h"
#include "kvm/types.h"

#define DESC_SIZE (sizeof(struct kvm_stats_desc) + KVM_STATS_NAME_MAX)
#define ID_OFFSET sizeof(struct kvm_stats_header)
#define DESC_OFFSET (ID_OFFSET + KVM_STATS_NAME_MAX)

_Static_assert(sizeof(struct kvm_stats_header) == 24, "UAPI");
_Static_assert(sizeof(struct kvm_stats_desc) == 16, "UAPI");

#define HIST(name) KVM_STAT_LOGHIST_NS(name, KVM_HALT_HIST_WORDS)

static const struct kvm_stats_row vm_rows[] = {
	KVM_STAT_COUNTER("remote_tlb_flush"),
	KVM_STAT_COUNTER("remote_tlb_flush_requests"),
	KVM_STAT_COUNTER("dirty_ring_pages"),
	KVM_STAT_COUNTER("ioeventfd_signals"),
	KVM_STAT_COUNTER("irqfd_signals"),
	KVM_STAT_COUNTER("pages_populated"),
};

static const struct kvm_stats_row vcpu_rows[] = {
	KVM_STAT_COUNTER("halt_successful_poll"),
	KVM_STAT_COUNTER("halt_attempted_poll"),
	KVM_STAT_COUNTER("halt_poll_invalid"),
	KVM_STAT_COUNTER("halt_wakeup"),
	KVM_STAT_TIME_NS("halt_poll_success_ns"),
	KVM_STAT_TIME_NS("halt_poll_fail_ns"),
	KVM_STAT_TIME_NS("halt_wait_ns"),
	HIST("halt_poll_success_hist"),
	HIST("halt_poll_fail_hist"),
	HIST("halt_wait_hist"),
	KVM_STAT_BOOL("blocking"),
	KVM_STAT_COUNTER("pages_prefaulted"),
};

const struct kvm_stats_rows kvm_stats_rows_vm = { vm_rows, ARRAY_SIZE(vm_rows) };
const struct kvm_stats_rows kvm_stats_rows_vcpu = { vcpu_rows, ARRAY_SIZE(vcpu_rows) };

static size_t count_words(const struct kvm_stats_rows *rows)
{
	size_t n = 0;

	for (size_t i = 0; i < rows->count; i++)
		n += rows->row[i].size;
	return n;
}

static size_t count_rows(const struct kvm_stats *s)
{
	return s->rows[0].count + s->rows[1].count;
}

static size_t data_offset(const struct kvm_stats *s)
{
	return DESC_OFFSET + count_rows(s) * DESC_SIZE;
}

static size_t block_size(const struct kvm_stats *s)
{
	return data_offset(s) + (count_words(&s->rows[0]) + count_words(&s->rows[1])) * sizeof(uint64_t);
}

static void describe(struct kvm_stats *s)
{
	struct kvm_stats_header head = {
		.name_size = KVM_STATS_NAME_MAX,
		.num_desc = (uint32_t)count_rows(s),
		.id_offset = ID_OFFSET,
		.desc_offset = DESC_OFFSET,
		.data_offset = (uint32_t)data_offset(s),
	};
	char *at = (char *)s->map + DESC_OFFSET;
	uint32_t offset = 0;

	memcpy(s->map, &head, sizeof(head));
	memcpy((char *)s->map + ID_OFFSET, s->id, sizeof(s->id));
	for (int t = 0; t < 2; t++) {
		for (size_t i = 0; i < s->rows[t].count; i++, at += DESC_SIZE) {
			const struct kvm_stats_row *row = &s->rows[t].row[i];
			struct kvm_stats_desc desc = {
				.flags = row->flags,
				.exponent = row->exponent,
				.size = row->size,
				.offset = offset,
				.bucket_size = row->bucket_size,
			};

			memcpy(at, &desc, sizeof(desc));
			snprintf(at + sizeof(desc), KVM_STATS_NAME_MAX, "%s", row->name);
			offset += row->size * (uint32_t)sizeof(uint64_t);
		}
	}
}

int kvm_stats_init(struct kvm_stats *s, const struct kvm_stats_rows *generic,
		   const struct kvm_stats_rows *arch, const char *id)
{
	memset(s, 0, sizeof(*s));
	s->fd = -1;
	s->rows[0] = *generic;
	if (arch)
		s->rows[1] = *arch;
	snprintf(s->id, sizeof(s->id), "%s", id);
	s->map_size = (block_size(s) + GUEST_PAGE_SIZE - 1) & GUEST_PAGE_MASK;
	s->map = mmap(NULL, s->map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s->map == MAP_FAILED)
		return -ENOMEM;
	s->word = (void *)((char *)s->map + data_offset(s));
	describe(s);
	return 0;
}

void kvm_stats_destroy(struct kvm_stats *s)
{
	munmap(s->map, s->map_size);
	if (s->fd >= 0)
		close(s->fd);
}

static int make_memfd(struct kvm_stats *s)
{
	int fd = host_memfd("kvm-stats", block_size(s)), r = -ENOMEM;
	ssize_t n;

	if (fd < 0)
		return fd;
	n = pwrite(fd, s->map, block_size(s), 0);
	if (n != (ssize_t)block_size(s))
		goto fail;
	if (mmap(s->map, s->map_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		goto fail;
	s->fd = fd;
	return 0;
fail:
	close(fd);
	return r;
}

int kvm_stats_open(struct kvm_stats *s)
{
	char path[40];
	int fd, r;

	if (s->fd < 0) {
		r = make_memfd(s);
		if (r)
			return r;
	}
	/* Opened again rather than duplicated: read-only, with its own offset. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", s->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}
