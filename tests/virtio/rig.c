/* SPDX-License-Identifier: MIT */
#include "rig.h"

#include <linux/kvm.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_STEP_US 200
#define WAIT_STEPS   25000 /* 5 s and more */

static atomic_uint irqs;

/* In the place of vmm/kvm.c: interrupts are counted, notifications come by the register. */
int vm_ioctl(const struct kvm_vm *vm, unsigned long request, void *arg)
{
	const struct kvm_irq_level *level = arg;

	if (request != KVM_IRQ_LINE)
		return -ENOTTY;
	if (level->level)
		atomic_fetch_add(&irqs, 1);
	return 0;
}

int vm_ioeventfd(const struct kvm_vm *vm, uint64_t addr, unsigned int len, bool port, const uint64_t *match,
		 int fd, bool assign)
{
	return -ENOTTY;
}

unsigned int rig_irqs(void)
{
	return atomic_load(&irqs);
}

void rig_init(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	assert_int_equal(guest_mem_init(&r->p.mem, RIG_RAM), 0);
	r->next = 0x1000;
	r->dev = virtio_slot_at(0).gpa;
}

void rig_fini(struct rig *r)
{
	guest_mem_fini(&r->p.mem);
}

uint64_t rig_alloc(struct rig *r, uint64_t len, uint64_t align)
{
	uint64_t gpa = (r->next + align - 1) & ~(align - 1);

	assert_true(gpa + len <= RIG_RAM);
	r->next = gpa + len;
	memset(rig_ptr(r, gpa), 0, len);
	return gpa;
}

void *rig_ptr(struct rig *r, uint64_t gpa)
{
	void *p = guest_mem_ptr(&r->p.mem, gpa, 1);

	assert_non_null(p);
	return p;
}

uint32_t rig_read(struct rig *r, uint32_t reg)
{
	uint32_t v = 0;

	bus_access(&r->p.bus, BUS_MMIO, r->dev + reg, &v, 4, false);
	return v;
}

void rig_write(struct rig *r, uint32_t reg, uint32_t v)
{
	bus_access(&r->p.bus, BUS_MMIO, r->dev + reg, &v, 4, true);
}

static void set_status(struct rig *r, uint32_t bit)
{
	rig_write(r, VIRTIO_MMIO_STATUS, rig_read(r, VIRTIO_MMIO_STATUS) | bit);
}

void rig_negotiate(struct rig *r, uint64_t features)
{
	uint64_t offered = 0;

	rig_write(r, VIRTIO_MMIO_STATUS, 0);
	set_status(r, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	set_status(r, VIRTIO_CONFIG_S_DRIVER);
	for (uint32_t i = 0; i < 2; i++) {
		rig_write(r, VIRTIO_MMIO_DEVICE_FEATURES_SEL, i);
		offered |= (uint64_t)rig_read(r, VIRTIO_MMIO_DEVICE_FEATURES) << 32 * i;
	}
	features &= offered;
	for (uint32_t i = 0; i < 2; i++) {
		rig_write(r, VIRTIO_MMIO_DRIVER_FEATURES_SEL, i);
		rig_write(r, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32 * i));
	}
	set_status(r, VIRTIO_CONFIG_S_FEATURES_OK);
	assert_true(rig_read(r, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK);
}

void rig_queue_layout(struct rig *r, unsigned int q, uint16_t num)
{
	r->q[q] = (struct rig_queue){
		.num = num,
		.desc = rig_alloc(r, 16 * num, 16),
		.avail = rig_alloc(r, 6 + 2 * num, 2),
		.used = rig_alloc(r, 6 + 8 * num, 4),
	};
}

void rig_queue_program(struct rig *r, unsigned int q)
{
	const uint64_t addr[3] = { r->q[q].desc, r->q[q].avail, r->q[q].used };

	rig_write(r, VIRTIO_MMIO_QUEUE_SEL, q);
	rig_write(r, VIRTIO_MMIO_QUEUE_NUM, r->q[q].num);
	for (uint32_t i = 0; i < 3; i++) {
		rig_write(r, VIRTIO_MMIO_QUEUE_DESC_LOW + 16 * i, (uint32_t)addr[i]);
		rig_write(r, VIRTIO_MMIO_QUEUE_DESC_HIGH + 16 * i, (uint32_t)(addr[i] >> 32));
	}
	rig_write(r, VIRTIO_MMIO_QUEUE_READY, 1);
}

void rig_start(struct rig *r, uint64_t features, unsigned int queues, uint16_t num)
{
	rig_negotiate(r, features);
	for (unsigned int q = 0; q < queues; q++) {
		rig_queue_layout(r, q, num);
		rig_queue_program(r, q);
	}
	set_status(r, VIRTIO_CONFIG_S_DRIVER_OK);
}

void rig_desc(struct rig *r, uint64_t table, uint16_t i, uint64_t gpa, uint32_t len, uint16_t flags,
	      uint16_t next)
{
	struct vring_desc d = { .addr = gpa, .len = len, .flags = flags, .next = next };

	memcpy(rig_ptr(r, table + 16ull * i), &d, sizeof(d));
}

void rig_avail(struct rig *r, unsigned int q, uint16_t head)
{
	struct rig_queue *rq = &r->q[q];
	struct vring_avail *a = rig_ptr(r, rq->avail);

	a->ring[rq->avail_idx % rq->num] = head;
	__atomic_store_n(&a->idx, ++rq->avail_idx, __ATOMIC_SEQ_CST);
}

uint16_t rig_add(struct rig *r, unsigned int q, const struct rig_seg *seg, unsigned int n)
{
	struct rig_queue *rq = &r->q[q];
	uint16_t head = rq->next_desc;

	for (unsigned int i = 0; i < n; i++) {
		uint16_t at = (uint16_t)((head + i) % rq->num);
		uint16_t flags = seg[i].write ? VRING_DESC_F_WRITE : 0;

		if (i + 1 < n)
			flags |= VRING_DESC_F_NEXT;
		rig_desc(r, rq->desc, at, seg[i].gpa, seg[i].len, flags, (uint16_t)((at + 1) % rq->num));
	}
	rq->next_desc = (uint16_t)((head + n) % rq->num);
	rig_avail(r, q, head);
	return head;
}

void rig_kick(struct rig *r, unsigned int q)
{
	rig_write(r, VIRTIO_MMIO_QUEUE_NOTIFY, q);
}

bool rig_used(struct rig *r, unsigned int q, uint32_t *id, uint32_t *len)
{
	struct rig_queue *rq = &r->q[q];
	struct vring_used *u = rig_ptr(r, rq->used);

	for (unsigned int i = 0; i < WAIT_STEPS; i++) {
		if (__atomic_load_n(&u->idx, __ATOMIC_SEQ_CST) != rq->used_idx) {
			const struct vring_used_elem *e = &u->ring[rq->used_idx++ % rq->num];

			if (id)
				*id = e->id;
			if (len)
				*len = e->len;
			return true;
		}
		usleep(WAIT_STEP_US);
	}
	return false;
}

uint32_t rig_do(struct rig *r, unsigned int q, const struct rig_seg *seg, unsigned int n)
{
	uint16_t head = rig_add(r, q, seg, n);
	uint32_t id = 0, len = 0;

	rig_kick(r, q);
	assert_true(rig_used(r, q, &id, &len));
	assert_int_equal(id, head);
	return len;
}

bool rig_needs_reset(struct rig *r)
{
	for (unsigned int i = 0; i < WAIT_STEPS; i++) {
		if (rig_read(r, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET)
			return true;
		usleep(WAIT_STEP_US);
	}
	return false;
}
