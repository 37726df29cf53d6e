/* SPDX-License-Identifier: MIT */
#include "vmm/end.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void run_ctl_init(struct run_ctl *c, struct loop *loop)
{
	memset(c, 0, sizeof(*c));
	c->loop = loop;
	pthread_mutex_init(&c->lock, NULL);
}

void run_panicked(struct run_ctl *c)
{
	__atomic_store_n(&c->panicked, true, __ATOMIC_RELEASE);
}

void run_panic_shown(struct run_ctl *c, bool shown)
{
	__atomic_store_n(&c->panic_shown, shown, __ATOMIC_RELEASE);
}

static bool saw_panic(struct run_ctl *c)
{
	return __atomic_load_n(&c->panicked, __ATOMIC_ACQUIRE) ||
	       __atomic_load_n(&c->panic_shown, __ATOMIC_ACQUIRE);
}

void run_end(struct run_ctl *c, enum run_end end, int code, const char *fmt, ...)
{
	pthread_mutex_lock(&c->lock);
	if (c->end == END_NONE) {
		if (end == END_RESET && saw_panic(c))
			end = END_PANIC;
		c->code = code;
		if (fmt) {
			va_list ap;

			va_start(ap, fmt);
			vsnprintf(c->detail, sizeof(c->detail), fmt, ap);
			va_end(ap);
		}
		c->end = end;
	}
	pthread_mutex_unlock(&c->lock);
	loop_quit(c->loop);
}
