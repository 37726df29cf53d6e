/* SPDX-License-Identifier: MIT */
/* syscall(2) as a function: syscall.S takes the numbers of the set out of it. */
#ifndef PRELOAD_SYSCALL_H
#define PRELOAD_SYSCALL_H

#include <stdint.h>

#define SYSCALL_SET_BITS 512

extern const uint64_t syscall_set[SYSCALL_SET_BITS / 64];

/** syscall_known - number @nr of the set: as syscall(2), -1 with errno on failure. */
long syscall_known(long nr, long a0, long a1, long a2, long a3, long a4, long a5);

/** syscall_failed - sets errno, returns -1. */
long syscall_failed(int err);

#endif
