/* SPDX-License-Identifier: MIT */
/* unit.h - cmocka, with a fake VM for each test. */
#ifndef ANYKVM_TESTS_IRQ_UNIT_H
#define ANYKVM_TESTS_IRQ_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "fake.h"

static inline int unit_setup(void **state)
{
	*state = fake_new();
	return 0;
}

static inline int unit_teardown(void **state)
{
	fake_free(*state);
	return 0;
}

#define UNIT(f)		cmocka_unit_test_setup_teardown(f, unit_setup, unit_teardown)

#endif
