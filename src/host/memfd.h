/* SPDX-License-Identifier: MIT */
/* Memory with a descriptor. */
#ifndef HOST_MEMFD_H
#define HOST_MEMFD_H

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>

#define HOST_MEMFD_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/**
 * host_memfd - a memfd of @size bytes, zeroed, close-on-exec, whose size is
 * sealed.  @name: for /proc.  The descriptor or -errno (EMFILE, ENFILE, ENOMEM).
 */
int host_memfd(const char *name, size_t size);

/** host_memfd_map - maps all @size bytes shared, readable and writable; NULL on failure. */
void *host_memfd_map(int fd, size_t size);

/**
 * host_eventfd_id - tells which eventfd @fd names: the same number for
 * duplicates.  0; -EBADF; -EINVAL: not an eventfd.
 */
int host_eventfd_id(int fd, uint64_t *id);

/**
 * host_eventfd_dup - a duplicate of the eventfd @fd that is closed on exec, and
 * which it is; or -errno: EBADF, EINVAL for anything else, EMFILE.
 */
int host_eventfd_dup(int fd, uint64_t *id);

/** host_eventfd_signal - adds 1 without ever blocking. */
void host_eventfd_signal(int fd);

#endif
