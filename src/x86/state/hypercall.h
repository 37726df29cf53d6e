/* SPDX-License-Identifier: MIT */
/* VMCALL and VMMCALL: KVM's hypercalls.  Kernel documentation: virt/kvm/x86/hypercalls.rst. */
#ifndef X86_STATE_HYPERCALL_H
#define X86_STATE_HYPERCALL_H

#include <stdbool.h>

struct x86_cpu;
struct x86_vcpu;

/** x86_hypercall - struct x86_env.hypercall. */
int x86_hypercall(struct x86_cpu *cpu);
/** x86_replaces_hypercall - KVM_X86_QUIRK_FIX_HYPERCALL_INSN is in force. */
bool x86_replaces_hypercall(struct x86_cpu *cpu);

/** x86_hypercall_complete - on KVM_RUN: takes the client's answer to KVM_EXIT_HYPERCALL. */
void x86_hypercall_complete(struct x86_vcpu *v);

#endif
