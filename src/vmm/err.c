/* SPDX-License-Identifier: MIT */
#include "vmm/err.h"

#include <stdarg.h>
#include <stdio.h>

int vmm_fail(struct vmm_err *e, int err, const char *fmt, ...)
{
	if (e && !e->msg[0]) {
		va_list ap;

		va_start(ap, fmt);
		vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
		va_end(ap);
	}
	return -err;
}
