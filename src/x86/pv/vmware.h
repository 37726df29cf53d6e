/* SPDX-License-Identifier: MIT */
/* What enable_vmware_backdoor adds beside the ports: VMware's clocks as counters of RDPMC. */
#ifndef X86_PV_VMWARE_H
#define X86_PV_VMWARE_H

#include <stdint.h>

struct x86_vcpu;

/** x86_vmware_pmc - the clock that RDPMC of @index reads; 0, or 1: it is none of VMware's. */
int x86_vmware_pmc(const struct x86_vcpu *v, uint32_t index, uint64_t *value);

#endif
