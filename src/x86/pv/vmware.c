// SPDX-License-Identifier: MIT
#include "x86/pv/vmware.h"

#include "host/clock.h"
#include "x86/pv/kvmclock.h"

#define PMC_HOST_TSC 0x10000
#define PMC_REAL_TIME 0x10001           /* nanoseconds since the host came up */
#define PMC_APPARENT_TIME 0x10002       /* ... since the guest did: kvmclock */

int x86_vmware_pmc(const struct x86_vcpu *v, uint32_t index, uint64_t *value)
{
	switch (index) {
	case PMC_HOST_TSC: *value = host_rdtsc(); return 0;
	case PMC_REAL_TIME: *value = host_boottime_ns(); return 0;
	case PMC_APPARENT_TIME: *value = x86_kvmclock_now(v); return 0;
	default: return 1;
	}
}
