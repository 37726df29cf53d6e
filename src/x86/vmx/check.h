/* SPDX-License-Identifier: MIT */
/* What the checks of VM entry share. */
#ifndef X86_VMX_CHECK_H
#define X86_VMX_CHECK_H

#include "x86/vmx/vmx.h"

/** vmx_bad_page - no page's address, or beyond the physical addresses of the CPU. */
bool vmx_bad_page(const struct x86_vcpu *v, gpa_t gpa);
bool vmx_not_canonical(const struct x86_vcpu *v, uint64_t address);

#endif
