/* SPDX-License-Identifier: MIT */
/* System management mode; see smm.c. */
#ifndef X86_STATE_SMM_H
#define X86_STATE_SMM_H

#include <stdbool.h>

struct kvm_call;
struct x86_cpu;
struct x86_vcpu;

/** x86_smm_enter - takes the pending SMI: the vCPU is at SMBASE + 8000h. */
void x86_smm_enter(struct x86_vcpu *v);

/** x86_smm_leave - RSM.  -EINVAL: SMRAM holds no valid state; what it left is undefined. */
int x86_smm_leave(struct x86_cpu *cpu);

/** x86_smm_changed - puts the vCPU into the mode, or out of it, and nothing else; drops all translations. */
void x86_smm_changed(struct x86_vcpu *v, bool smm);

/** x86_smm_request - an SMI for @v.  Any thread. */
void x86_smm_request(struct x86_vcpu *v);

/** x86_smm_process - moves the SMI that others sent to smi_pending.  The owner. */
void x86_smm_process(struct x86_vcpu *v);

long x86_ioctl_smi(struct kvm_call *c);

#endif
