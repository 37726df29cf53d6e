/* SPDX-License-Identifier: MIT */
/* Asynchronous page faults by interrupt.  Kernel documentation: virt/kvm/x86/msr.rst, MSR_KVM_ASYNC_PF_*. */
#ifndef X86_PV_ASYNC_PF_H
#define X86_PV_ASYNC_PF_H

#include <stdbool.h>
#include <stdint.h>

#include "kvm/types.h"

struct x86_cpu;
struct x86_vcpu;
struct x86_vm;

#define MSR_ASYNC_PF_EN 0x4b564d02
#define MSR_ASYNC_PF_INT 0x4b564d06
#define MSR_ASYNC_PF_ACK 0x4b564d07

/** x86_async_pf_init, x86_async_pf_destroy - a vCPU's part.  0 or -errno. */
void x86_async_pf_init(struct x86_vcpu *v);
void x86_async_pf_destroy(struct x86_vcpu *v);

/** x86_async_pf_vm_init, x86_async_pf_vm_stop - the VM's; the latter waits for every page that is being fetched. */
void x86_async_pf_vm_init(struct x86_vm *x);
void x86_async_pf_vm_stop(struct x86_vm *x);

/** x86_async_pf_reset - RESET and INIT: the MSRs are zero, what was under way is nobody's. */
void x86_async_pf_reset(struct x86_vcpu *v);

/** x86_async_pf_set_en, x86_async_pf_set_int, x86_async_pf_ack - WRMSR.  -EINVAL: #GP. */
int x86_async_pf_set_en(struct x86_vcpu *v, uint64_t value);
int x86_async_pf_set_int(struct x86_vcpu *v, uint64_t value, bool host);
void x86_async_pf_ack(struct x86_vcpu *v, uint64_t value);

/** x86_async_pf_page - env->page(): may leave the instruction with the event "page not present". */
bool x86_async_pf_page(struct x86_cpu *cpu, uint8_t *hva, gpa_t gpa, bool write);

/** x86_async_pf_done - are there pages whose arrival the guest has not been told of?  One load; any thread. */
bool x86_async_pf_done(const struct x86_vcpu *v);

/** x86_async_pf_tell - tells the guest of as many of them as it can take now.  Owner, outside of guest code. */
void x86_async_pf_tell(struct x86_vcpu *v);

#endif
