/* SPDX-License-Identifier: MIT */
/* Whether a library can be preloaded into a program, by what its file says. */
#ifndef PRELOAD_REACH_H
#define PRELOAD_REACH_H

#include <stdbool.h>
#include <stddef.h>

/** struct reach_image - a file, mapped. */
struct reach_image {
	const char *at;
	size_t size;
};

/** reach_map, reach_unmap - maps what @fd names: 0 or -errno; an empty file has size 0. */
int reach_map(struct reach_image *image, int fd);
void reach_unmap(struct reach_image *image);

/** reach_is_elf - it begins as programs do. */
bool reach_is_elf(const struct reach_image *image);

/**
 * reach_why_not - why nothing can be preloaded into that ELF file, in words; NULL: it can.
 * @why: room for them where they are not constant.
 */
const char *reach_why_not(const struct reach_image *image, char why[128]);

/** reach_gains_rights - the loader will drop LD_PRELOAD, since @fd runs with more rights than its caller has. */
bool reach_gains_rights(int fd);

/** reach_names_device - its text has "/dev/kvm". */
bool reach_names_device(const struct reach_image *image);

#endif
