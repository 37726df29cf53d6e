// SPDX-License-Identifier: MIT
/* HvCallSendSyntheticClusterIpi and its form with a sparse set.  TLFS 10.5. */
#include "x86/hyperv/hyperv.h"
#include "x86/state/state.h"
#include "x86/state/stats.h"

struct input {
	uint32_t vector, reserved;
	uint64_t mask;
};

struct input_ex {
	uint32_t vector, reserved;
	uint64_t format, valid_banks;   /* banks follow */
};
_Static_assert(sizeof(struct input_ex) == 24, "the guest's layout");

/* As KVM: who has switched its local APIC off hears nothing, and that is no error. */
static uint64_t send(struct x86_vcpu *v, const struct hv_vp_set *set, uint32_t vector)
{
	struct apic_msg msg = { .vector = (uint8_t)vector, .delivery = APIC_FIXED };
	struct vcpu *vcpu;
	unsigned int i;

	if (vector < HV_IPI_FIRST || vector > HV_IPI_LAST)
		return HV_INVALID_INPUT;
	kvm_for_each_vcpu(i, vcpu, v->vm->vm) {
		struct x86_vcpu *to = x86_vcpu_of(vcpu);

		if (hv_vp_set_has(set, to) && lapic_accept(&to->lapic, &msg))
			x86_stat_inc(v->vcpu, X86_STAT_HV_IPIS);
	}
	return HV_SUCCESS;
}

uint64_t hv_send_ipi(struct x86_vcpu *v, struct hv_hcall *h)
{
	struct input in = { .vector = (uint32_t)h->in, .reserved = (uint32_t)(h->in >> 32), .mask = h->out };
	struct hv_vp_set set = { 0 };

	if (!v->has_lapic || (!h->fast && x86_guest_read(v, h->in, &in, sizeof(in))))
		return HV_INVALID_INPUT;
	if (h->fast && in.reserved)
		return HV_INVALID_INPUT;
	set.bank[0] = in.mask;
	return send(v, &set, in.vector);
}

uint64_t hv_send_ipi_ex(struct x86_vcpu *v, struct hv_hcall *h)
{
	struct input_ex in = { .vector = (uint32_t)h->in, .format = h->out, .valid_banks = h->xmm[0] };
	struct hv_vp_set set;

	if (!v->has_lapic || (!h->fast && x86_guest_read(v, h->in, &in, sizeof(in))))
		return HV_INVALID_INPUT;
	set.all = in.format == HV_SET_ALL;
	if (hv_vp_set_read(v, h, in.valid_banks, sizeof(in), 1, &set))
		return HV_INVALID_INPUT;
	/* Nobody is meant: the vector is not looked at. */
	if (!set.all && !h->var_count)
		return HV_SUCCESS;
	return send(v, &set, in.vector);
}
