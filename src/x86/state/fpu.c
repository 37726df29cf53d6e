// SPDX-License-Identifier: MIT
/*
 * x87 and vector state for the client.  The engine keeps it in XSAVE standard
 * format, so KVM_GET_XSAVE is a copy; PKRU is the CPU's own and is put into the
 * image on the way out.
 */
#include <errno.h>
#include <string.h>

#include "x86/cpu/control.h"
#include "x86/cpu/vec_state.h"
#include "x86/mmu/mmu.h"
#include "x86/state/state.h"

#define FCW_INIT 0x37f
#define MXCSR_INIT 0x1f80
#define FP_SSE (XFEATURE_X87 | XFEATURE_SSE)

static struct xsave_image *image_of(struct x86_vcpu *v)
{
	return vec_xsave_image(v->cpu.vec);
}

long x86_ioctl_get_fpu(struct kvm_call *c)
{
	const struct xsave_image *img = image_of(x86_vcpu_of(c->vcpu));
	struct kvm_fpu *fpu = c->data;

	memset(fpu, 0, sizeof(*fpu));
	memcpy(fpu->fpr, img->st, sizeof(fpu->fpr));
	fpu->fcw = img->fcw;
	fpu->fsw = img->fsw;
	fpu->ftwx = img->ftw;
	fpu->last_opcode = img->fop;
	fpu->last_ip = img->fip;
	fpu->last_dp = img->fdp;
	memcpy(fpu->xmm, img->xmm, sizeof(fpu->xmm));
	return 0;
}

/* MXCSR stays as it is, as in KVM. */
long x86_ioctl_set_fpu(struct kvm_call *c)
{
	struct xsave_image *img = image_of(x86_vcpu_of(c->vcpu));
	const struct kvm_fpu *fpu = c->data;

	memcpy(img->st, fpu->fpr, sizeof(fpu->fpr));
	img->fcw = fpu->fcw;
	img->fsw = fpu->fsw;
	img->ftw = fpu->ftwx;
	img->fop = fpu->last_opcode;
	img->fip = fpu->last_ip;
	img->fdp = fpu->last_dp;
	memcpy(img->xmm, fpu->xmm, sizeof(fpu->xmm));
	img->xstate_bv |= FP_SSE;
	return 0;
}

static void get_image(struct x86_vcpu *v, uint8_t *out, size_t size)
{
	struct vec_state *vec = v->cpu.vec;
	const struct xsave_layout *l = &vec->layout;
	const struct xsave_image *img = &vec->image;
	uint64_t offered = v->cpuid.supported_xcr0 | FP_SSE, have = img->xstate_bv & offered & ~XFEATURE_PKRU;

	memset(out, 0, size);
	memcpy(out, img, XSAVE_LEGACY);
	/* The bytes behind the XMM registers are software's: KVM clears them. */
	memset(out + 416, 0, XSAVE_LEGACY - 416);
	((struct xsave_image *)out)->mxcsr_mask = vec_mxcsr_mask(&v->cpu);
	for (unsigned int n = XCOMP_AVX; n < XCOMP_COUNT; n++)
		if (have >> n & 1)
			memcpy(out + l->c[n].offset, vec_component(vec, n), l->c[n].size);
	if ((offered & XFEATURE_PKRU) && v->cpu.pkru) {
		memcpy(out + l->c[XCOMP_PKRU].offset, &v->cpu.pkru, sizeof(v->cpu.pkru));
		have |= XFEATURE_PKRU;
	}
	memcpy(out + XSAVE_LEGACY, &have, sizeof(have));
}

long x86_ioctl_get_xsave(struct kvm_call *c)
{
	get_image(x86_vcpu_of(c->vcpu), c->data, sizeof(struct kvm_xsave));
	return 0;
}

/* Components that the header leaves out are in their initial state. */
static void init_missing(const struct xsave_layout *l, struct xsave_image *img)
{
	if (!(img->xstate_bv & XFEATURE_X87)) {
		img->fcw = FCW_INIT;
		img->fsw = img->fop = 0;
		img->ftw = 0;
		img->fip = img->fdp = 0;
		memset(img->st, 0, sizeof(img->st));
	}
	if (!(img->xstate_bv & XFEATURE_SSE))
		memset(img->xmm, 0, sizeof(img->xmm));
	for (unsigned int n = XCOMP_AVX; n < XCOMP_COUNT; n++)
		if (!(img->xstate_bv >> n & 1))
			memset((uint8_t *)img + l->c[n].offset, 0, l->c[n].size);
	if (!(img->xstate_bv & (XFEATURE_SSE | XFEATURE_AVX)))
		img->mxcsr = MXCSR_INIT;
}

static bool valid_header(const struct x86_cpu *cpu, const struct xsave_image *in)
{
	if ((in->xstate_bv & ~vec_supported_xcr0() & ~FP_SSE) || in->xcomp_bv)
		return false;
	for (size_t i = 0; i < sizeof(in->header_rest); i++)
		if (in->header_rest[i])
			return false;
	return !(in->xstate_bv & (XFEATURE_SSE | XFEATURE_AVX)) || !(in->mxcsr & ~vec_mxcsr_mask(cpu));
}

long x86_ioctl_set_xsave(struct kvm_call *c)
{
	struct x86_vcpu *v = x86_vcpu_of(c->vcpu);
	const struct xsave_layout *l = &v->cpu.vec->layout;
	struct xsave_image *img = image_of(v), in;

	_Static_assert(sizeof(in) <= sizeof(struct kvm_xsave), "kvm_xsave");
	memcpy(&in, c->data, sizeof(in));
	if (!valid_header(&v->cpu, &in))
		return -EINVAL;
	v->cpu.pkru = 0;
	if (in.xstate_bv & XFEATURE_PKRU)
		memcpy(&v->cpu.pkru, (char *)c->data + l->c[XCOMP_PKRU].offset, sizeof(v->cpu.pkru));
	mmu_pkey_changed(&v->cpu);
	in.xstate_bv &= ~XFEATURE_PKRU;
	in.mxcsr_mask = img->mxcsr_mask;
	init_missing(l, &in);
	in.xstate_bv |= FP_SSE;
	*img = in;
	x86_update_mode(&v->cpu);
	return 0;
}

long x86_ioctl_get_xcrs(struct kvm_call *c)
{
	struct kvm_xcrs *x = c->data;

	memset(x, 0, sizeof(*x));
	x->nr_xcrs = 1;
	x->xcrs[0].xcr = 0;
	x->xcrs[0].value = x86_vcpu_of(c->vcpu)->cpu.xcr0;
	return 0;
}

long x86_ioctl_set_xcrs(struct kvm_call *c)
{
	const struct kvm_xcrs *x = c->data;

	if (x->nr_xcrs > KVM_MAX_XCRS || x->flags)
		return -EINVAL;
	for (uint32_t i = 0; i < x->nr_xcrs; i++)
		if (x->xcrs[i].xcr == 0)
			return x86_set_xcr(&x86_vcpu_of(c->vcpu)->cpu, 0, x->xcrs[i].value);
	return 0;
}
