// SPDX-License-Identifier: MIT
#include "x86/state/parameter.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "anykvm.h"

static const char *const names[X86_PARAM_COUNT] = {
	[X86_PARAM_VMWARE_BACKDOOR] = "kvm.enable_vmware_backdoor",
	[X86_PARAM_IGNORE_MSRS] = "kvm.ignore_msrs",
	[X86_PARAM_REPORT_IGNORED_MSRS] = "kvm.report_ignored_msrs",
	[X86_PARAM_GLOBAL_TDP] = "kvm.global_tdp",
	[X86_PARAM_HYPERV_NESTED] = "anykvm.hyperv_nested",
};

/* What anykvm_set_parameters() has set. */
static _Atomic bool values[X86_PARAM_COUNT] = {
	[X86_PARAM_REPORT_IGNORED_MSRS] = true,
};

static int find(const char *name, size_t n)
{
	for (int p = 0; p < X86_PARAM_COUNT; p++)
		if (strlen(names[p]) == n && !memcmp(names[p], name, n))
			return p;
	return -ENOENT;
}

bool x86_parameter(enum x86_parameter p)
{
	return atomic_load(&values[p]);
}

/* One "name=value" of @n bytes; 0 or -errno. */
static int parse(const char *word, size_t n, bool set[X86_PARAM_COUNT])
{
	const char *equal = memchr(word, '=', n);
	int p = find(word, equal ? (size_t)(equal - word) : n);

	if (p < 0)
		return p;
	/* The kernel's kstrtobool() looks at no more than this. */
	if (!equal || equal + 1 == word + n || !strchr("YyTt1NnFf0", equal[1]))
		return -EINVAL;
	set[p] = strchr("YyTt1", equal[1]);
	return 0;
}

int anykvm_set_parameters(const char *spec)
{
	bool set[X86_PARAM_COUNT];
	size_t n;

	for (unsigned int p = 0; p < X86_PARAM_COUNT; p++)
		set[p] = x86_parameter(p);
	for (; *spec; spec += n + (spec[n] == ',')) {
		int r;

		n = strcspn(spec, ",");
		r = parse(spec, n, set);
		if (r) {
			errno = -r;
			return -1;
		}
	}
	for (unsigned int p = 0; p < X86_PARAM_COUNT; p++)
		atomic_store(&values[p], set[p]);
	return 0;
}

int anykvm_get_parameter(const char *name)
{
	int p = find(name, strlen(name));

	if (p >= 0)
		return x86_parameter((enum x86_parameter)p);
	errno = ENOENT;
	return -1;
}
