/* SPDX-License-Identifier: MIT */
/* Parameters of KVM's modules that change what a guest finds; process-wide, as a module's are system-wide. */
#ifndef X86_STATE_PARAMETER_H
#define X86_STATE_PARAMETER_H

#include <stdbool.h>

enum x86_parameter {
	X86_PARAM_VMWARE_BACKDOOR,      /* enable_vmware_backdoor: its two ports are open whatever the TSS says */
	X86_PARAM_IGNORE_MSRS,          /* ignore_msrs: those that do not exist read as zero and take any value */
	X86_PARAM_REPORT_IGNORED_MSRS,  /* report_ignored_msrs: and a line says so */
	X86_PARAM_GLOBAL_TDP,           /* global_tdp: memory is made resident with its slot; there is no SMM */
	X86_PARAM_HYPERV_NESTED,        /* anykvm.hyperv_nested: a hypervisor inside finds Hyper-V below, not KVM */
	X86_PARAM_COUNT
};

/** x86_parameter - its value now; what belongs to a VM for good is asked for when that is made. */
bool x86_parameter(enum x86_parameter p);

#endif
