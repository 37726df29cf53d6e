/* SPDX-License-Identifier: MIT */
/*
 * Binary statistics (api.rst 4.134).  Rows are tables, generic ones first and
 * the architecture's after them; a counter is a word of the block that the
 * client reads through KVM_GET_STATS_FD, and costs one relaxed addition.
 */
#ifndef KVM_STATS_H
#define KVM_STATS_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

struct kvm_object;

#define KVM_STATS_NAME_MAX 48   /* as in Linux 6.1 */

struct kvm_stats_row {
	const char *name;
	uint32_t flags;         /* KVM_STATS_TYPE_* | KVM_STATS_UNIT_* | KVM_STATS_BASE_* */
	int16_t exponent;
	uint16_t size;          /* words; 1 but for histograms */
	uint32_t bucket_size;
};

#define KVM_STAT_COUNTER(name) \
	{ name, KVM_STATS_TYPE_CUMULATIVE | KVM_STATS_UNIT_NONE | KVM_STATS_BASE_POW10, 0, 1, 0 }
#define KVM_STAT_INSTANT(name) \
	{ name, KVM_STATS_TYPE_INSTANT | KVM_STATS_UNIT_NONE | KVM_STATS_BASE_POW10, 0, 1, 0 }
#define KVM_STAT_PEAK(name) \
	{ name, KVM_STATS_TYPE_PEAK | KVM_STATS_UNIT_NONE | KVM_STATS_BASE_POW10, 0, 1, 0 }
#define KVM_STAT_BOOL(name) \
	{ name, KVM_STATS_TYPE_INSTANT | KVM_STATS_UNIT_BOOLEAN | KVM_STATS_BASE_POW10, 0, 1, 0 }
#define KVM_STAT_TIME_NS(name) \
	{ name, KVM_STATS_TYPE_CUMULATIVE | KVM_STATS_UNIT_SECONDS | KVM_STATS_BASE_POW10, -9, 1, 0 }
#define KVM_STAT_LOGHIST_NS(name, words) \
	{ name, KVM_STATS_TYPE_LOG_HIST | KVM_STATS_UNIT_SECONDS | KVM_STATS_BASE_POW10, -9, words, 0 }

struct kvm_stats_rows {
	const struct kvm_stats_row *row;
	size_t count;
};

#define KVM_HALT_HIST_WORDS 32

/* Words of the generic rows: the index for kvm_stat_add().  The architecture's rows start at *_ARCH. */
enum kvm_vm_stat {
	KVM_VM_STAT_TLB_FLUSH,
	KVM_VM_STAT_TLB_FLUSH_REQUESTS,
	KVM_VM_STAT_DIRTY_RING_PAGES,   /* that the client was told of and gave back */
	KVM_VM_STAT_IOEVENTFD_SIGNALS,
	KVM_VM_STAT_IRQFD_SIGNALS,
	KVM_VM_STAT_PAGES_POPULATED,    /* not KVM's: when their slot was made */
	KVM_VM_STAT_ARCH
};

enum kvm_vcpu_stat {
	KVM_VCPU_STAT_HALT_SUCCESSFUL_POLL,
	KVM_VCPU_STAT_HALT_ATTEMPTED_POLL,
	KVM_VCPU_STAT_HALT_POLL_INVALID,
	KVM_VCPU_STAT_HALT_WAKEUP,
	KVM_VCPU_STAT_HALT_POLL_SUCCESS_NS,
	KVM_VCPU_STAT_HALT_POLL_FAIL_NS,
	KVM_VCPU_STAT_HALT_WAIT_NS,
	KVM_VCPU_STAT_HALT_POLL_SUCCESS_HIST,
	KVM_VCPU_STAT_HALT_POLL_FAIL_HIST = KVM_VCPU_STAT_HALT_POLL_SUCCESS_HIST + KVM_HALT_HIST_WORDS,
	KVM_VCPU_STAT_HALT_WAIT_HIST = KVM_VCPU_STAT_HALT_POLL_FAIL_HIST + KVM_HALT_HIST_WORDS,
	KVM_VCPU_STAT_BLOCKING = KVM_VCPU_STAT_HALT_WAIT_HIST + KVM_HALT_HIST_WORDS,
	KVM_VCPU_STAT_PAGES_PREFAULTED, /* not KVM's: by KVM_PRE_FAULT_MEMORY */
	KVM_VCPU_STAT_ARCH
};

struct kvm_stats {
	uint64_t *word;         /* the data block: generic words, then the architecture's */
	void *map;
	size_t map_size;
	int fd;                 /* memfd, made at the first KVM_GET_STATS_FD; else -1 */
	struct kvm_stats_rows rows[2];
	char id[KVM_STATS_NAME_MAX];
};

/** kvm_stat_add - adds @n to word @index.  Any thread where several write it; exact only for one writer. */
static inline void kvm_stat_add(struct kvm_stats *s, unsigned int index, uint64_t n)
{
	__atomic_store_n(&s->word[index], __atomic_load_n(&s->word[index], __ATOMIC_RELAXED) + n,
			 __ATOMIC_RELAXED);
}

/** kvm_stat_set - sets word @index. */
static inline void kvm_stat_set(struct kvm_stats *s, unsigned int index, uint64_t v)
{
	__atomic_store_n(&s->word[index], v, __ATOMIC_RELAXED);
}

/**
 * kvm_stats_init - header, descriptors and zeroed counters.
 * @generic, @arch (may be NULL): tables, kept.  @id: text of at most KVM_STATS_NAME_MAX - 1.
 * 0 or -ENOMEM.
 */
int kvm_stats_init(struct kvm_stats *s, const struct kvm_stats_rows *generic,
		   const struct kvm_stats_rows *arch, const char *id);
void kvm_stats_destroy(struct kvm_stats *s);

/**
 * kvm_stats_open - a new read-only descriptor of the whole block, with an
 * offset of its own, entered in no table.  The counters' writers are stopped
 * or tolerate the loss of a count.  -errno: EMFILE, ENFILE, ENOMEM.
 */
int kvm_stats_open(struct kvm_stats *s);

extern const struct kvm_stats_rows kvm_stats_rows_vm, kvm_stats_rows_vcpu;

#endif
