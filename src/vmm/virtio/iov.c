/* SPDX-License-Identifier: MIT */
#include "vmm/virtio/iov.h"

#include <stdint.h>
#include <string.h>

size_t iov_bytes(const struct iovec *iov, unsigned int n)
{
	size_t sum = 0;

	for (unsigned int i = 0; i < n; i++)
		sum += iov[i].iov_len;
	return sum;
}

/* The part of segment @v, which begins @at bytes into the whole, inside [off, off + len); false if none. */
static int overlap(const struct iovec *v, size_t at, size_t off, size_t len, struct iovec *part)
{
	size_t skip = off > at ? off - at : 0;
	size_t room;

	if (skip >= v->iov_len)
		return 0;
	room = v->iov_len - skip;
	if (len < room)
		room = len;
	part->iov_base = (uint8_t *)v->iov_base + skip;
	part->iov_len = room;
	return room != 0;
}

size_t iov_read(const struct iovec *iov, unsigned int n, size_t off, void *to, size_t len)
{
	size_t done = 0, at = 0;
	struct iovec part;

	for (unsigned int i = 0; i < n && done < len; at += iov[i++].iov_len) {
		if (!overlap(&iov[i], at, off + done, len - done, &part))
			continue;
		memcpy((uint8_t *)to + done, part.iov_base, part.iov_len);
		done += part.iov_len;
	}
	return done;
}

size_t iov_write(const struct iovec *iov, unsigned int n, size_t off, const void *from, size_t len)
{
	size_t done = 0, at = 0;
	struct iovec part;

	for (unsigned int i = 0; i < n && done < len; at += iov[i++].iov_len) {
		if (!overlap(&iov[i], at, off + done, len - done, &part))
			continue;
		memcpy(part.iov_base, (const uint8_t *)from + done, part.iov_len);
		done += part.iov_len;
	}
	return done;
}

size_t iov_zero(const struct iovec *iov, unsigned int n, size_t off, size_t len)
{
	size_t done = 0, at = 0;
	struct iovec part;

	for (unsigned int i = 0; i < n && done < len; at += iov[i++].iov_len) {
		if (!overlap(&iov[i], at, off + done, len - done, &part))
			continue;
		memset(part.iov_base, 0, part.iov_len);
		done += part.iov_len;
	}
	return done;
}

unsigned int iov_slice(const struct iovec *iov, unsigned int n, size_t off, size_t len, struct iovec *to)
{
	size_t done = 0, at = 0;
	unsigned int k = 0;

	for (unsigned int i = 0; i < n && done < len; at += iov[i++].iov_len) {
		if (!overlap(&iov[i], at, off + done, len - done, &to[k]))
			continue;
		done += to[k++].iov_len;
	}
	return k;
}
