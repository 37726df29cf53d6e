/* SPDX-License-Identifier: MIT */
/* The text of /proc/cpuinfo for machines and CPUs of every kind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "preload/cpuinfo.h"

#define INTEL \
	"processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu vme vmx est svm_lock\n" \
	"vmx flags\t: vnmi ept\nbugs\t\t: spectre_v1\n\n"
#define INTEL_WITHOUT \
	"processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu vme est svm_lock\n" \
	"bugs\t\t: spectre_v1\n\n"
#define NONE "flags\t\t: fpu\n"

/* What becomes of @from. */
static void expect(const char *from, bool vmx, bool svm, const char *to)
{
	size_t size = strlen(from), n;
	char *text = malloc(CPUINFO_ROOM(size));

	n = cpuinfo_text(text, from, size, vmx, svm);
	assert_true(n <= CPUINFO_ROOM(size));
	if (n != strlen(to) || memcmp(text, to, n))
		fail_msg("\"%.*s\", not \"%s\"", (int)n, text, to);
	free(text);
}

static void taken_away(void **state)
{
	expect(INTEL, false, false, INTEL_WITHOUT);
	expect(INTEL INTEL, false, false, INTEL_WITHOUT INTEL_WITHOUT);
	expect("flags\t\t: svm fpu svm", false, false, "flags\t\t: fpu");
}

static void added(void **state)
{
	expect(NONE NONE, true, false, "flags\t\t: fpu vmx\nflags\t\t: fpu vmx\n");
	expect(NONE, false, true, "flags\t\t: fpu svm\n");
	expect("flags\t\t: fpu vmx\n", false, true, "flags\t\t: fpu svm\n");
	expect("flags\t\t:", true, true, "flags\t\t: vmx svm");
}

static void left_alone(void **state)
{
	expect(NONE, false, false, NONE);
	expect("", false, false, "");
	expect("\n\nflagship : vmx\nother\t: svm\nflags", false, false, "\n\nflagship : vmx\nother\t: svm\nflags");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(taken_away), cmocka_unit_test(added), cmocka_unit_test(left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
