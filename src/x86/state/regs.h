/* SPDX-License-Identifier: MIT */
/* A vCPU's state in the client's structures. */
#ifndef X86_STATE_REGS_H
#define X86_STATE_REGS_H

#include <linux/kvm.h>

struct x86_vcpu;

void x86_get_regs(struct x86_vcpu *v, struct kvm_regs *regs);
void x86_put_regs(struct x86_vcpu *v, const struct kvm_regs *regs);
void x86_get_sregs(struct x86_vcpu *v, struct kvm_sregs *s);
/** x86_put_sregs - 0; -EINVAL: nothing is changed, or with a wrong apic_base nothing but that. */
int x86_put_sregs(struct x86_vcpu *v, const struct kvm_sregs *s);
void x86_get_events(struct x86_vcpu *v, struct kvm_vcpu_events *e);
int x86_put_events(struct x86_vcpu *v, const struct kvm_vcpu_events *e);

#endif
