/* SPDX-License-Identifier: MIT */
/*
 * iov.h - copies between flat buffers and scattered guest memory.
 *
 * The segments point into guest RAM, which the guest may change meanwhile:
 * what is copied out is the device's own, what stays behind is not trusted.
 */
#ifndef VIRTIO_IOV_H
#define VIRTIO_IOV_H

#include <stddef.h>
#include <sys/uio.h>

/** iov_bytes - the sum of the lengths of @n segments. */
size_t iov_bytes(const struct iovec *iov, unsigned int n);

/**
 * iov_read - copy up to @len bytes, that lie @off bytes into the segments, to @to.
 * Returns the bytes copied: fewer than @len where the segments end early.
 */
size_t iov_read(const struct iovec *iov, unsigned int n, size_t off, void *to, size_t len);

/** iov_write - copy up to @len bytes from @from into the segments at @off; returns the bytes copied. */
size_t iov_write(const struct iovec *iov, unsigned int n, size_t off, const void *from, size_t len);

/** iov_zero - clear up to @len bytes of the segments at @off; returns the bytes cleared. */
size_t iov_zero(const struct iovec *iov, unsigned int n, size_t off, size_t len);

/**
 * iov_slice - the segments that cover [@off, @off + @len) of @iov.
 * @to: room for @n segments.
 * Returns how many of @to were filled; they hold fewer than @len bytes where @iov ends early.
 */
unsigned int iov_slice(const struct iovec *iov, unsigned int n, size_t off, size_t len, struct iovec *to);

#endif
