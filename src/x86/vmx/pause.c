// SPDX-License-Identifier: MIT
/* PAUSE-loop exiting: a run of PAUSEs that lasts too long.  SDM 3C, 24.6.13 and 25.1.3. */
#include "x86/vmx/vmx.h"

bool vmx_pause_loops(struct x86_vcpu *v)
{
	const struct vmcs *m = &v->vmx->m;
	struct x86_vmx *x = v->vmx;
	uint64_t now = x86_guest_tsc(v);
	bool first = !x->pausing || now - x->last_pause > m->ple_gap;

	x->pausing = true;
	x->last_pause = now;
	if (first)
		x->first_pause = now;
	return !first && now - x->first_pause > m->ple_window;
}
