/* SPDX-License-Identifier: MIT */
#include "vmm/virtio/virtqueue.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "vmm/guest_mem.h"

/* Guest and host are little endian both; the loads below are single and untorn. */
#define ring_load(p)	 __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define ring_store(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)

void vq_init(struct virtqueue *vq, const struct guest_mem *mem, uint16_t num_max)
{
	memset(vq, 0, sizeof(*vq));
	vq->mem = mem;
	vq->num_max = num_max;
}

void vq_reset(struct virtqueue *vq)
{
	vq_init(vq, vq->mem, vq->num_max);
}

/* The three parts of a split ring (2.7): bytes for @num entries, and alignment. */
static int ring_map(struct virtqueue *vq, uint64_t gpa, uint64_t len, uint64_t align, void **p)
{
	if (gpa & (align - 1))
		return -EINVAL;
	*p = guest_mem_ptr(vq->mem, gpa, len);
	return *p ? 0 : -EFAULT;
}

int vq_enable(struct virtqueue *vq, bool event_idx, bool indirect)
{
	/* Each ring ends in an event index only if that was negotiated. */
	uint64_t num = vq->num, event = event_idx ? 2 : 0;
	void *desc, *avail, *used;
	int err;

	if (!num || num & (num - 1) || num > vq->num_max)
		return -EINVAL;
	err = ring_map(vq, vq->desc_gpa, 16 * num, VRING_DESC_ALIGN_SIZE, &desc);
	if (!err)
		err = ring_map(vq, vq->avail_gpa, 4 + 2 * num + event, VRING_AVAIL_ALIGN_SIZE, &avail);
	if (!err)
		err = ring_map(vq, vq->used_gpa, 4 + 8 * num + event, VRING_USED_ALIGN_SIZE, &used);
	if (err)
		return err;
	vq->desc = desc;
	vq->avail = avail;
	vq->used = used;
	vq->event_idx = event_idx;
	vq->indirect = indirect;
	vq->broken = false;
	vq->next_avail = vq->next_used = vq->signalled = 0;
	vq->enabled = true;
	return 0;
}

static enum vq_result vq_break(struct virtqueue *vq)
{
	vq->broken = true;
	return VQ_BROKEN;
}

/*
 * Copy descriptor @i, once: the compiler may not go back to the guest's bytes
 * behind the asm.  An indirect table may lie at any address, so no alignment
 * is assumed.
 */
static struct vring_desc desc_load(const void *table, uint32_t i)
{
	struct vring_desc d;

	memcpy(&d, (const uint8_t *)table + i * sizeof(d), sizeof(d));
	__asm__ volatile("" : "+m"(d));
	return d;
}

/* Add the buffer of @d to the chain; false where it is not a buffer in RAM, or comes in the wrong order. */
static bool chain_add(const struct virtqueue *vq, struct vq_chain *c, const struct vring_desc *d)
{
	bool in = d->flags & VRING_DESC_F_WRITE;
	void *p = guest_mem_ptr(vq->mem, d->addr, d->len);

	if (!p || (!in && c->in_n))
		return false;
	c->seg[c->out_n + c->in_n] = (struct iovec){ .iov_base = p, .iov_len = d->len };
	if (in) {
		c->in_n++;
		c->in_len += d->len;
	} else {
		c->out_n++;
		c->out_len += d->len;
	}
	return true;
}

/*
 * Follow a chain through a table of @size descriptors from @i on.  @nested: the
 * table is an indirect one, which may not name another (2.7.5.3.1), and must be
 * the last of its chain.
 */
static bool chain_walk(const struct virtqueue *vq, struct vq_chain *c, const void *table, uint32_t size,
		       uint32_t i, bool nested)
{
	struct vring_desc d;

	do {
		if (i >= size || c->out_n + c->in_n >= vq->num)
			return false;
		d = desc_load(table, i);
		if (d.flags & VRING_DESC_F_INDIRECT) {
			if (nested || !vq->indirect || d.flags & VRING_DESC_F_NEXT || d.len % 16 || !d.len)
				return false;
			table = guest_mem_ptr(vq->mem, d.addr, d.len);
			return table && chain_walk(vq, c, table, d.len / 16, 0, true);
		}
		if (!chain_add(vq, c, &d))
			return false;
		i = d.next;
	} while (d.flags & VRING_DESC_F_NEXT);
	return true;
}

enum vq_result vq_pop(struct virtqueue *vq, struct vq_chain *c)
{
	uint16_t avail, head;

	if (vq->broken)
		return VQ_BROKEN;
	if (!vq->enabled)
		return VQ_EMPTY;
	avail = (uint16_t)(ring_load(&vq->avail->idx) - vq->next_avail);
	if (!avail)
		return VQ_EMPTY;
	if (avail > vq->num)
		return vq_break(vq);
	head = ring_load(&vq->avail->ring[vq->next_avail & (vq->num - 1)]);

	c->head = head;
	c->out_n = c->in_n = 0;
	c->out_len = c->in_len = 0;
	if (!chain_walk(vq, c, vq->desc, vq->num, head, false))
		return vq_break(vq);
	c->out = c->seg;
	c->in = c->seg + c->out_n;
	vq->next_avail++;
	return VQ_CHAIN;
}

void vq_unpop(struct virtqueue *vq)
{
	vq->next_avail--;
}

bool vq_pending(struct virtqueue *vq)
{
	return vq->enabled && !vq->broken && ring_load(&vq->avail->idx) != vq->next_avail;
}

void vq_push(struct virtqueue *vq, uint16_t head, uint32_t written)
{
	struct vring_used_elem *e;

	if (!vq->enabled || vq->broken)
		return;
	e = &vq->used->ring[vq->next_used & (vq->num - 1)];
	ring_store(&e->id, (uint32_t)head);
	ring_store(&e->len, written);
	/* Release: the element and the data in the buffers are visible before the index (2.7.8.2). */
	ring_store(&vq->used->idx, ++vq->next_used);
}

bool vq_should_signal(struct virtqueue *vq)
{
	uint16_t old = vq->signalled, event;

	if (!vq->enabled || vq->broken || old == vq->next_used)
		return false;
	/* The index is out before the driver's wish is read; pairs with the driver's own barrier (2.7.7). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	vq->signalled = vq->next_used;
	if (!vq->event_idx)
		return !(ring_load(&vq->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	event = ring_load(&vq->avail->ring[vq->num]);
	return vring_need_event(event, vq->next_used, old);
}

/* The slot for the event index lies behind the used ring's last element. */
static uint16_t *avail_event(struct virtqueue *vq)
{
	return (uint16_t *)&vq->used->ring[vq->num];
}

void vq_notify_off(struct virtqueue *vq)
{
	/* With event indices, an index left behind does the same. */
	if (vq->enabled && !vq->broken && !vq->event_idx)
		ring_store(&vq->used->flags, (uint16_t)VRING_USED_F_NO_NOTIFY);
}

bool vq_notify_on(struct virtqueue *vq)
{
	if (!vq->enabled || vq->broken)
		return false;
	if (vq->event_idx)
		ring_store(avail_event(vq), vq->next_avail);
	else
		ring_store(&vq->used->flags, (uint16_t)0);
	/* Our wish is out before the index is read again; pairs with the driver's barrier (2.7.10). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return ring_load(&vq->avail->idx) != vq->next_avail;
}
