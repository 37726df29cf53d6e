/* SPDX-License-Identifier: MIT */
/*
 * rig.h - the driver's side of virtio for tests: a platform without KVM, RAM,
 * and a ring writer that does what it is told, right or wrong.
 */
#ifndef TESTS_VIRTIO_RIG_H
#define TESTS_VIRTIO_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/platform.h"
#include "vmm/virtio/virtio.h"

#define RIG_RAM (8u << 20)

struct rig_seg {
	uint64_t gpa;
	uint32_t len;
	bool write; /* the device's to write */
};

struct rig_queue {
	uint16_t num;
	uint64_t desc, avail, used;
	uint16_t next_desc, avail_idx, used_idx;
};

struct rig {
	struct platform p;
	uint64_t dev; /* gpa of the registers at hand */
	uint64_t next; /* free RAM */
	struct rig_queue q[VIRTIO_MAX_QUEUES];
};

void rig_init(struct rig *r);
void rig_fini(struct rig *r);

/* Interrupts raised so far, by any rig. */
unsigned int rig_irqs(void);

/* RAM: @len bytes at a multiple of @align, zeroed; and a pointer to it. */
uint64_t rig_alloc(struct rig *r, uint64_t len, uint64_t align);
void *rig_ptr(struct rig *r, uint64_t gpa);

uint32_t rig_read(struct rig *r, uint32_t reg);
void rig_write(struct rig *r, uint32_t reg, uint32_t v);

/* Reset, negotiate @features (all that is offered where ~0), set up @queues of @num entries, DRIVER_OK. */
void rig_start(struct rig *r, uint64_t features, unsigned int queues, uint16_t num);

/* The steps of rig_start(). */
void rig_negotiate(struct rig *r, uint64_t features);
void rig_queue_layout(struct rig *r, unsigned int q, uint16_t num);
void rig_queue_program(struct rig *r, unsigned int q);

/* Raw parts of a ring. */
void rig_desc(struct rig *r, uint64_t table, uint16_t i, uint64_t gpa, uint32_t len, uint16_t flags,
	      uint16_t next);
void rig_avail(struct rig *r, unsigned int q, uint16_t head);

/* A chain of @n segments, made available; its head. */
uint16_t rig_add(struct rig *r, unsigned int q, const struct rig_seg *seg, unsigned int n);
void rig_kick(struct rig *r, unsigned int q);

/* Wait for the next used element; false after some seconds.  @len may be NULL. */
bool rig_used(struct rig *r, unsigned int q, uint32_t *id, uint32_t *len);

/* Add, kick, wait: the used length; fails the test where nothing comes. */
uint32_t rig_do(struct rig *r, unsigned int q, const struct rig_seg *seg, unsigned int n);

/* Wait until the device asks for a reset; false after some seconds. */
bool rig_needs_reset(struct rig *r);

#endif
