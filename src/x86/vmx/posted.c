// SPDX-License-Identifier: MIT
/* Posted interrupts: L1's notification turns requests in memory into virtual interrupts.  SDM 3C, 29.6. */
#include "x86/state/stats.h"
#include "x86/vmx/apic.h"

#define REQUESTS 4              /* 64-bit words of PIR */
#define OUTSTANDING 32          /* the byte that ON is bit 0 of */

/* Takes the requests; what the descriptor loses by that, it loses at once.  false: it is not there. */
static bool take_requests(struct x86_vcpu *v)
{
	struct vmcs *m = &v->vmx->m;
	uint64_t word;

	if (x86_guest_and64(v, m->posted_desc + OUTSTANDING, ~1ULL, &word))
		return false;
	for (unsigned int n = 0; n < REQUESTS; n++) {
		if (x86_guest_and64(v, m->posted_desc + 8 * n, 0, &word))
			return false;
		for (; word; word &= word - 1) {
			uint8_t vector = (uint8_t)(n * 64 + (unsigned int)__builtin_ctzll(word));
			unsigned int at = VAPIC_IRR + vector / 32 * 0x10u;

			vapic_put(v, at, vapic_get(v, at) | 1u << (vector % 32));
			if (vector > vapic_rvi(m))
				vapic_set_rvi(m, vector);
		}
	}
	return true;
}

void vmx_take_posted(struct x86_vcpu *v)
{
	/* As KVM: L1 is not to go on as if there were nothing. */
	if (!take_requests(v))
		x86_internal(&v->cpu, "a posted-interrupt descriptor outside memory slots");
	lapic_eoi(&v->lapic);
	x86_stat_inc(v->vcpu, X86_STAT_POSTED_INTERRUPTS);
	vapic_evaluate(v);
}
