/* SPDX-License-Identifier: MIT */
/* err.h - an error with its object's name, carried up to the one place that prints. */
#ifndef VMM_ERR_H
#define VMM_ERR_H

struct vmm_err {
	char msg[512]; /* "OBJECT: what: why", without "anykvm: " and without a newline */
};

/**
 * vmm_fail - note an error and return it.
 * @e: where the text goes; may be NULL.  A text already there is kept: the
 * first cause is the one worth reading.
 * @err: a positive errno.
 * @fmt: printf format of the text.
 * Returns -@err.
 */
int vmm_fail(struct vmm_err *e, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
