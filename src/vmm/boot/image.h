/* SPDX-License-Identifier: MIT */
/* image.h - a file to be loaded into the guest: opened, sized, and told apart by its first bytes. */
#ifndef VMM_BOOT_IMAGE_H
#define VMM_BOOT_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/err.h"

#define IMAGE_HEAD 4096u

struct image {
	const char *path; /* the caller's */
	int fd;
	uint64_t size;	      /* bytes */
	uint8_t head[IMAGE_HEAD]; /* the first bytes, zero behind the file's end */
};

/**
 * image_open - open a regular, non-empty file for reading.
 * Returns 0; -errno with @err saying what is wrong with @path.
 */
int image_open(struct image *img, const char *path, struct vmm_err *err);
void image_close(struct image *img);

/** image_read - [@off, @off + @len) into @to; 0, or -errno with @err set where the file is shorter. */
int image_read(const struct image *img, uint64_t off, void *to, uint64_t len, struct vmm_err *err);

/**
 * image_describe - what a file is that is no kernel, as in "is a gzip file".
 * @buf: where a composed text goes.  Returns @buf or a constant.
 */
const char *image_describe(const struct image *img, char *buf, size_t len);

#endif
