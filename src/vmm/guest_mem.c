/* SPDX-License-Identifier: MIT */
#include "vmm/guest_mem.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static int region_map(struct guest_mem *gm, uint64_t gpa, uint64_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	gm->region[gm->count++] = (struct guest_region){ .gpa = gpa, .len = len, .hva = p };
	return 0;
}

int guest_mem_init(struct guest_mem *gm, uint64_t bytes)
{
	uint64_t low = bytes < GUEST_LOW_MAX ? bytes : GUEST_LOW_MAX;
	int err;

	memset(gm, 0, sizeof(*gm));
	if (!bytes || bytes & 4095)
		return -EINVAL;
	err = region_map(gm, 0, low);
	if (!err && bytes > low)
		err = region_map(gm, GUEST_HIGH_GPA, bytes - low);
	if (err)
		guest_mem_fini(gm);
	return err;
}

void guest_mem_fini(struct guest_mem *gm)
{
	while (gm->count) {
		struct guest_region *r = &gm->region[--gm->count];

		munmap(r->hva, r->len);
	}
}

void *guest_mem_ptr(const struct guest_mem *gm, uint64_t gpa, uint64_t len)
{
	if (!len)
		return NULL;
	for (unsigned int i = 0; i < gm->count; i++) {
		const struct guest_region *r = &gm->region[i];

		if (gpa >= r->gpa && gpa - r->gpa < r->len)
			return len <= r->len - (gpa - r->gpa) ? r->hva + (gpa - r->gpa) : NULL;
	}
	return NULL;
}

int guest_mem_read(const struct guest_mem *gm, uint64_t gpa, void *to, size_t len)
{
	const void *p = guest_mem_ptr(gm, gpa, len);

	if (!p)
		return len ? -EFAULT : 0;
	memcpy(to, p, len);
	return 0;
}

int guest_mem_write(const struct guest_mem *gm, uint64_t gpa, const void *from, size_t len)
{
	void *p = guest_mem_ptr(gm, gpa, len);

	if (!p)
		return len ? -EFAULT : 0;
	memcpy(p, from, len);
	return 0;
}
