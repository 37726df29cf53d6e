// SPDX-License-Identifier: MIT
#include <cpuid.h>
#include <errno.h>
#include <string.h>

#include "host/clock.h"
#include "host/fork.h"
#include "x86/cpu/vec.h"
#include "x86/state/model.h"

#define XCR0_YMM 0x6ULL
#define XCR0_ZMM 0xe6ULL
#define XCR0_PKRU 0x200ULL

/* The one model that anykvm_set_cpu() chooses: process-wide, as /dev/kvm is system-wide. */
static struct {
	struct host_process_lock lock;
	bool chosen;
	struct x86_model model;
} current = { .lock = HOST_PROCESS_LOCK };

static bool host_bit(const struct x86_feature_row *row)
{
	uint32_t r[4];

	if (!__get_cpuid_count(row->leaf, row->subleaf, &r[0], &r[1], &r[2], &r[3]))
		return false;
	return r[row->reg] >> row->bit & 1;
}

static bool xcr0_has(uint64_t bits)
{
	return (vec_supported_xcr0() & bits) == bits;
}

bool x86_feature_feasible(unsigned int f)
{
	const struct x86_feature_row *row = &x86_feature_rows[f];
	uint64_t ns;

	switch ((enum x86_feature_need)row->need) {
	case NEED_HOST: return host_bit(row);
	case NEED_YMM: return host_bit(row) && xcr0_has(XCR0_YMM);
	case NEED_ZMM: return host_bit(row) && xcr0_has(XCR0_ZMM);
	case NEED_RUN_DELAY: return !host_run_delay_ns(&ns);
	case NEED_PKRU: return xcr0_has(XCR0_PKRU);
	default: return true;
	}
}

static unsigned int host_vendor(void)
{
	uint32_t a, b = 0, c, d;

	__get_cpuid(0, &a, &b, &c, &d);
	return b == signature_AMD_ebx || b == 0x6f677948 /* "Hygo" */ ? V_AMD : V_INTEL;
}

void x86_model_default(struct x86_model *m, unsigned int vendor)
{
	memset(m, 0, sizeof(*m));
	m->vendor = vendor ? vendor : host_vendor();
	for (unsigned int f = 1; f < X86_F_COUNT; f++) {
		const struct x86_feature_row *row = &x86_feature_rows[f];

		if (row->need == NEED_CLIENT || row->need == NEED_RUNTIME || !(row->vendors & m->vendor))
			continue;
		if (x86_feature_feasible(f))
			m->has[f / 64] |= 1ULL << (f % 64);
	}
}

static unsigned int find_flag(const char *name, size_t n)
{
	for (unsigned int f = 1; f < X86_F_COUNT; f++)
		if (strlen(x86_feature_rows[f].flag) == n && !memcmp(x86_feature_rows[f].flag, name, n))
			return f;
	return 0;
}

static int parse_feature(struct x86_model *m, const char *word, size_t n)
{
	unsigned int f = n > 1 ? find_flag(word + 1, n - 1) : 0;

	if (!f || (*word != '+' && *word != '-') || x86_feature_rows[f].need == NEED_RUNTIME)
		return -EINVAL;
	if (*word == '-') {
		m->has[f / 64] &= ~(1ULL << (f % 64));
		return 0;
	}
	if (!x86_feature_feasible(f))
		return -EINVAL;
	m->has[f / 64] |= 1ULL << (f % 64);
	return 0;
}

int x86_model_parse(struct x86_model *m, const char *spec)
{
	static const struct { const char *name; unsigned int vendor; } vendors[] = {
		{ "intel", V_INTEL }, { "amd", V_AMD }, { "host", 0 },
	};
	size_t n = spec ? strcspn(spec, ",") : 0;
	size_t v;

	if (!spec) {
		x86_model_default(m, 0);
		return 0;
	}
	for (v = 0; v < ARRAY_SIZE(vendors); v++)
		if (strlen(vendors[v].name) == n && !memcmp(spec, vendors[v].name, n))
			break;
	if (v == ARRAY_SIZE(vendors))
		return -EINVAL;
	x86_model_default(m, vendors[v].vendor);
	for (spec += n; *spec; spec += n) {
		int r;

		spec++;
		n = strcspn(spec, ",");
		r = parse_feature(m, spec, n);
		if (r)
			return r;
	}
	return 0;
}

int x86_model_set(const char *spec)
{
	struct x86_model m;
	int r = x86_model_parse(&m, spec);

	if (r)
		return r;
	host_process_lock(&current.lock);
	current.model = m;
	current.chosen = true;
	host_process_unlock(&current.lock);
	return 0;
}

/*
 * Some clients, QEMU among them, take where XSAVE puts a component from the
 * CPUID of the machine they run on.  Who has not chosen a model knows nothing
 * of us, so PKRU is offered to him only where that agrees with the engine.
 */
static bool host_agrees_on_pkru(void)
{
	uint32_t size, offset, c, d;
	struct xsave_layout l;

	vec_layout(&l);
	return __get_cpuid_count(0xd, XCOMP_PKRU, &size, &offset, &c, &d) && size == l.c[XCOMP_PKRU].size &&
	       offset == l.c[XCOMP_PKRU].offset;
}

void x86_model_get(struct x86_model *m)
{
	host_process_lock(&current.lock);
	if (!current.chosen) {
		x86_model_default(&current.model, 0);
		if (!host_agrees_on_pkru())
			current.model.has[X86_F_PKU / 64] &= ~(1ULL << (X86_F_PKU % 64));
	}
	current.chosen = true;
	*m = current.model;
	host_process_unlock(&current.lock);
}
