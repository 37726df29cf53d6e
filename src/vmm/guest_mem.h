/* SPDX-License-Identifier: MIT */
/*
 * guest_mem.h - the guest's RAM, by guest-physical address.
 *
 * The one place that turns a gpa into a host pointer.  The guest may change
 * the bytes behind a pointer at any time: read once, check, use the copy.
 */
#ifndef VMM_GUEST_MEM_H
#define VMM_GUEST_MEM_H

#include <stddef.h>
#include <stdint.h>

struct guest_region {
	uint64_t gpa, len;
	uint8_t *hva;
};

#define GUEST_REGIONS 2

struct guest_mem {
	struct guest_region region[GUEST_REGIONS]; /* by rising gpa */
	unsigned int count;
};

#define GUEST_LOW_MAX  0xc0000000ull  /* RAM ends here at the latest below 4 GiB: 3 GiB */
#define GUEST_HIGH_GPA 0x100000000ull /* the rest goes on from here */

/**
 * guest_mem_init - map @bytes of zeroed RAM, laid out below 3 GiB and from 4 GiB.
 * @bytes: a multiple of 4096.
 * Returns 0 or -ENOMEM, -EINVAL.
 */
int guest_mem_init(struct guest_mem *gm, uint64_t bytes);

/** guest_mem_fini - unmap it. */
void guest_mem_fini(struct guest_mem *gm);

/**
 * guest_mem_ptr - host pointer to [@gpa, @gpa + @len), or NULL unless all of it
 * lies inside one region of RAM (overflow included).  @len 0 gives NULL.
 */
void *guest_mem_ptr(const struct guest_mem *gm, uint64_t gpa, uint64_t len);

/** guest_mem_read, guest_mem_write - copy; 0, or -EFAULT with nothing copied. */
int guest_mem_read(const struct guest_mem *gm, uint64_t gpa, void *to, size_t len);
int guest_mem_write(const struct guest_mem *gm, uint64_t gpa, const void *from, size_t len);

#endif
