/* SPDX-License-Identifier: MIT */
#include "preload/next.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>

#define NEXT_NAME(name, result, parameters) #name,
static const char *const names[NEXT_COUNT] = { NEXT_FUNCTIONS(NEXT_NAME) };

/* Written once with the same values, by whichever threads come first. */
static _Atomic(void *) found[NEXT_COUNT];
static _Atomic bool looked;
static __thread bool looking __attribute__((tls_model("initial-exec")));

__attribute__((constructor)) static void look(void)
{
	int err = errno;

	if (looking)
		return;
	looking = true;
	for (unsigned int i = 0; i < NEXT_COUNT; i++)
		if (!atomic_load(&found[i]))
			atomic_store(&found[i], dlsym(RTLD_NEXT, names[i]));
	atomic_store(&looked, true);
	looking = false;
	errno = err;
}

void *next_function(enum next_number n)
{
	void *p = atomic_load_explicit(&found[n], memory_order_acquire);

	if (!p && !atomic_load(&looked)) {
		look();
		p = atomic_load(&found[n]);
	}
	return p;
}

int next_missing(void)
{
	errno = ENOSYS;
	return -1;
}
