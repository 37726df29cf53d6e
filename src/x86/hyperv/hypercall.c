// SPDX-License-Identifier: MIT
/*
 * Hypercalls: a control word in RCX says which; the input is in guest memory at
 * RDX, or is RDX, R8 and the XMM registers themselves ("fast"); the output is
 * at R8.  Outside 64-bit mode pairs of registers take their place.  TLFS,
 * chapter 3.
 *
 * What each takes is a row of the table; what is common to all is checked here,
 * in the order in which KVM does so.
 */
#include "x86/hyperv/hyperv.h"

#include <string.h>

#include "host/lock.h"
#include "kvm/trace.h"
#include "x86/cpu/vec_state.h"
#include "x86/mmu/mmu.h"
#include "x86/state/state.h"
#include "x86/state/stats.h"

/* --- handlers of a few lines -------------------------------------------------------------- */

/* Another vCPU holds the lock for which this one has spun so long: whichever the host picks. */
static uint64_t long_spin_wait(struct x86_vcpu *v, struct hv_hcall *h)
{
	x86_stat_inc(v->vcpu, X86_STAT_HV_SPIN_WAITS);
	host_yield();
	return HV_SUCCESS;
}

static bool spin_wait_permitted(const struct x86_vcpu *v)
{
	uint32_t turns = v->hv.cpuid[HV_HINTS_B];

	return turns && turns != UINT32_MAX;
}

uint64_t hv_ask_client(struct x86_vcpu *v, struct hv_hcall *h)
{
	struct kvm_run *run = v->vcpu->run;

	run->exit_reason = KVM_EXIT_HYPERV;
	memset(&run->hyperv, 0, sizeof(run->hyperv));
	run->hyperv.type = KVM_EXIT_HYPERV_HCALL;
	run->hyperv.u.hcall.input = h->control;
	run->hyperv.u.hcall.params[0] = h->in;
	run->hyperv.u.hcall.params[1] = h->out;
	return HV_ASK_CLIENT;
}

/* The client transports what the debugger says, where it has been told that there is one. */
static uint64_t debug_session(struct x86_vcpu *v, struct hv_hcall *h)
{
	if (!hv_syndbg_offered(v))
		return HV_INVALID_CODE;
	if (!(v->vm->hv.syndbg.options & HV_SYNDBG_USE_HYPERCALLS))
		return HV_OPERATION_DENIED;
	return hv_ask_client(v, h);
}

/* Without a debugger there is no such code, permitted or not. */
static bool debug_permitted(const struct x86_vcpu *v)
{
	return !hv_syndbg_offered(v) || (v->hv.cpuid[HV_FEATURES_B] & HV_DEBUGGING);
}

/*
 * Which extended hypercalls there are the client says.  KVM of Linux 6.1 has none; so for a client of its time, which
 * does not offer them in CPUID.
 */
static uint64_t extended(struct x86_vcpu *v, struct hv_hcall *h)
{
	if (!(v->hv.cpuid[HV_FEATURES_B] & HV_EXTENDED_HYPERCALLS))
		return HV_INVALID_CODE;
	return h->fast ? HV_INVALID_PARAMETER : hv_ask_client(v, h);
}

/* --- the table -------------------------------------------------------------------------------- */

#define HINT(bit) { HV_HINTS_A, HV_HINT_##bit }
#define FEATURE(bit) { HV_FEATURES_B, HV_##bit }

/* Sorted by code.  A code that is not here is HV_INVALID_CODE. */
static const struct hv_hcall_row rows[] = {
	{ HV_CALL_FLUSH_SPACE, HV_CALL_FLUSH_SPACE, HV_SIMPLE | HV_XMM_FAST, { HINT(REMOTE_FLUSH) }, NULL, hv_flush },
	{ HV_CALL_FLUSH_LIST, HV_CALL_FLUSH_LIST, HV_REP | HV_XMM_FAST, { HINT(REMOTE_FLUSH) }, NULL, hv_flush },
	{ HV_CALL_LONG_SPIN_WAIT, HV_CALL_LONG_SPIN_WAIT, HV_SIMPLE, { { 0 } }, spin_wait_permitted, long_spin_wait },
	{ HV_CALL_SEND_IPI, HV_CALL_SEND_IPI, HV_SIMPLE, { HINT(CLUSTER_IPI) }, NULL, hv_send_ipi },
	{ HV_CALL_FLUSH_SPACE_EX, HV_CALL_FLUSH_SPACE_EX, HV_SIMPLE | HV_VARIABLE | HV_XMM_FAST,
	  { HINT(REMOTE_FLUSH), HINT(EX_MASKS) }, NULL, hv_flush_ex },
	{ HV_CALL_FLUSH_LIST_EX, HV_CALL_FLUSH_LIST_EX, HV_REP | HV_VARIABLE | HV_XMM_FAST,
	  { HINT(REMOTE_FLUSH), HINT(EX_MASKS) }, NULL, hv_flush_ex },
	{ HV_CALL_SEND_IPI_EX, HV_CALL_SEND_IPI_EX, HV_SIMPLE | HV_VARIABLE | HV_XMM_FAST,
	  { HINT(CLUSTER_IPI), HINT(EX_MASKS) }, NULL, hv_send_ipi_ex },
	{ HV_CALL_POST_MESSAGE, HV_CALL_POST_MESSAGE, HV_SIMPLE, { FEATURE(POST_MESSAGES) }, NULL, hv_post_message },
	{ HV_CALL_SIGNAL_EVENT, HV_CALL_SIGNAL_EVENT, HV_SIMPLE, { FEATURE(SIGNAL_EVENTS) }, NULL, hv_signal_event },
	{ HV_CALL_POST_DEBUG_DATA, HV_CALL_RETRIEVE_DEBUG_DATA, HV_VARIABLE | HV_NOT_FAST, { { 0 } }, debug_permitted,
	  debug_session },
	{ HV_CALL_RESET_DEBUG_SESSION, HV_CALL_RESET_DEBUG_SESSION, HV_VARIABLE, { { 0 } }, debug_permitted,
	  debug_session },
	{ HV_CALL_FLUSH_MAPPINGS, HV_CALL_FLUSH_MAPPINGS, HV_SIMPLE, { { 0 } }, NULL, hv_flush_mappings },
	{ HV_CALL_FLUSH_MAPPINGS_LIST, HV_CALL_FLUSH_MAPPINGS_LIST, HV_REP, { { 0 } }, NULL, hv_flush_mappings_list },
	{ HV_CALL_EXT_QUERY, HV_CALL_EXT_LAST, HV_VARIABLE, { FEATURE(EXTENDED_HYPERCALLS) }, NULL, extended },
};

static const struct hv_hcall_row *find(uint16_t code)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (code >= rows[i].first && code <= rows[i].last)
			return &rows[i];
	return NULL;
}

/* --- the instruction -------------------------------------------------------------------------- */

static uint64_t pair(const uint64_t *regs, unsigned int high, unsigned int low)
{
	return regs[high] << 32 | (uint32_t)regs[low];
}

static void read_registers(const struct x86_vcpu *v, struct hv_hcall *h)
{
	const uint64_t *regs = v->cpu.regs;

	if (v->cpu.mode == CODE64) {
		h->control = regs[R_RCX];
		h->in = regs[R_RDX];
		h->out = regs[R_R8];
	} else {
		h->control = pair(regs, R_RDX, R_RAX);
		h->in = pair(regs, R_RBX, R_RCX);
		h->out = pair(regs, R_RDI, R_RSI);
	}
	h->code = (uint16_t)h->control;
	h->fast = h->control & HV_CONTROL_FAST;
	h->var_count = h->control >> 17 & 0x3ff;
	h->rep_count = h->control >> 32 & 0xfff;
	h->rep_index = h->control >> 48 & 0xfff;
}

static void read_xmm(struct x86_vcpu *v, struct hv_hcall *h)
{
	vec_normalize(&v->cpu);
	for (unsigned int i = 0; i < HV_XMM_HALVES; i++)
		h->xmm[i] = vec_get(v->cpu.vec, i / 2, i % 2, 8);
}

static bool permitted(const struct x86_vcpu *v, const struct hv_hcall_row *row)
{
	if (row->permitted && v->hv.enforced && !row->permitted(v))
		return false;
	return hv_permitted(v, &row->permit[0]) && hv_permitted(v, &row->permit[1]);
}

static uint64_t check_input(const struct hv_hcall_row *row, const struct hv_hcall *h)
{
	if ((row->flags & HV_SIMPLE) && (h->rep_count || h->rep_index))
		return HV_INVALID_INPUT;
	if ((row->flags & HV_REP) && (!h->rep_count || h->rep_index))
		return HV_INVALID_INPUT;
	if (!(row->flags & HV_VARIABLE) && h->var_count)
		return HV_INVALID_INPUT;
	return (row->flags & HV_NOT_FAST) && h->fast ? HV_INVALID_PARAMETER : HV_SUCCESS;
}

/* The result; *@undefined: #UD in its place. */
static uint64_t dispatch(struct x86_vcpu *v, struct hv_hcall *h, bool *undefined)
{
	static const struct hv_permit xmm_input = { HV_FEATURES_D, HV_XMM_INPUT };
	const struct hv_hcall_row *row = find(h->code);
	uint64_t r;

	if (row && !permitted(v, row))
		return HV_ACCESS_DENIED;
	if (h->control & HV_CONTROL_RESERVED)
		return HV_INVALID_INPUT;
	if (!row)
		return HV_INVALID_CODE;
	if (h->fast && (row->flags & HV_XMM_FAST)) {
		*undefined = !hv_permitted(v, &xmm_input);
		if (*undefined)
			return 0;
		read_xmm(v, h);
	}
	r = check_input(row, h);
	return r ? r : row->fn(v, h);
}

static int done(struct x86_vcpu *v, uint64_t result)
{
	uint64_t *regs = v->cpu.regs;

	if (unlikely(v->vm->traced))
		kvm_trace("kvm_hv_hypercall_done", "result 0x%llx", (unsigned long long)result);
	x86_stat_inc(v->vcpu, X86_STAT_HYPERCALLS);
	if (v->cpu.mode == CODE64) {
		regs[R_RAX] = result;
	} else {
		regs[R_RDX] = result >> 32;
		regs[R_RAX] = (uint32_t)result;
	}
	return 0;
}

bool hv_hypercall_wanted(const struct x86_vcpu *v)
{
	if (unlikely(v->completion == X86_COMPLETE_HYPERV))
		return true;
	return v->hv.enabled && atomic_load(&v->vm->hv.guest_os_id);
}

int hv_hypercall(struct x86_vcpu *v)
{
	struct hv_hcall h = { 0 };
	bool undefined = false;
	uint64_t r;

	if (v->completion == X86_COMPLETE_HYPERV) {
		v->completion = X86_COMPLETE_NONE;
		return done(v, v->hypercall_answer);
	}
	if (v->cpu.cpl || !x86_protected(&v->cpu))
		return 1;
	read_registers(v, &h);
	if (unlikely(v->vm->traced))
		kvm_trace("kvm_hv_hypercall", "code 0x%x %s var_cnt 0x%x rep_cnt 0x%x idx 0x%x in 0x%llx out 0x%llx",
			  h.code, h.fast ? "fast" : "slow", h.var_count, h.rep_count, h.rep_index,
			  (unsigned long long)h.in, (unsigned long long)h.out);
	/* L2's address of it is not ours. */
	if (unlikely(v->cpu.nested.in_guest) && v->cpu.nested.slat.kind && !h.fast)
		h.in = mmu_slat_gpa(&v->cpu, h.in, MMU_READ);
	r = dispatch(v, &h, &undefined);
	if (undefined)
		return 1;
	if (unlikely(v->cpu.nested.in_guest))
		r = hv_after_l2_call(v, r);
	if (r == HV_ASK_CLIENT) {
		v->completion = X86_COMPLETE_HYPERV;
		return 2;
	}
	if (r == HV_AGAIN)
		return 3;
	return done(v, r);
}
