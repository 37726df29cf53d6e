/* SPDX-License-Identifier: MIT */
/* /proc/cpuinfo of a machine with the chosen CPU, as far as clients ask it about KVM: the flags vmx and svm. */
#ifndef PRELOAD_CPUINFO_H
#define PRELOAD_CPUINFO_H

#include <stdbool.h>
#include <stddef.h>

/**
 * cpuinfo_text - @from with the flags as they are to be: each line "flags" gets or loses them, and lines "vmx flags"
 * go where @vmx is false.  @to: room for CPUINFO_ROOM(@size) bytes.  Returns the bytes written.
 */
size_t cpuinfo_text(char *to, const char *from, size_t size, bool vmx, bool svm);

/* A line has at least a few characters, and gets two flags at most. */
#define CPUINFO_ROOM(size) (3 * (size) + 16)

/** cpuinfo_read - the file @path so, *@size bytes; NULL where it is so already or cannot be read.  cpuinfo_free() it. */
char *cpuinfo_read(const char *path, bool vmx, bool svm, size_t *size);
void cpuinfo_free(char *text);

#endif
