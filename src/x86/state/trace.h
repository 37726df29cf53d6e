/* SPDX-License-Identifier: MIT */
/* KVM's events on x86; see trace.c. */
#ifndef X86_STATE_TRACE_H
#define X86_STATE_TRACE_H

#include "x86/state/state.h"

/** x86_trace_wrap - @env, which is x86_kvm_env, has a line written for each call. */
void x86_trace_wrap(struct x86_env *env);

/** x86_trace_entry - guest code runs (again). */
void x86_trace_entry(struct x86_vcpu *v);
/** x86_trace_answer - the client has answered the access that is pending. */
void x86_trace_answer(struct x86_vcpu *v);
/** x86_trace_interrupt - @vector is delivered. */
void x86_trace_interrupt(uint8_t vector);
/** x86_trace_return - KVM_RUN returns @r. */
void x86_trace_return(struct x86_vcpu *v, int r);

#endif
