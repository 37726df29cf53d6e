/* SPDX-License-Identifier: MIT */
/* Making the client's memory resident before somebody waits for it. */
#ifndef HOST_POPULATE_H
#define HOST_POPULATE_H

#include <stdbool.h>
#include <stddef.h>

/**
 * host_populate - makes @n bytes at @p resident, both of them whole pages, as reading (@write: writing) each page
 * would; none is changed.  What is shared until it is written stays so unless @write.
 * 0; -EFAULT: nothing is mapped there, or there is no memory behind it; -ENOMEM; -EINVAL: it is mapped, but
 * not as memory that can be populated so (a device's, or not to be written).
 */
int host_populate(void *p, size_t n, bool write);

#endif
