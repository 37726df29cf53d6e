/* SPDX-License-Identifier: MIT */
/*
 * Events as text, in the layout of ftrace's trace file and with KVM's names.  One
 * file for the process.  Where it is not asked for, nobody comes here: an
 * architecture puts its tracing functions in place when a vCPU is made.
 */
#ifndef KVM_TRACE_H
#define KVM_TRACE_H

#include <stdbool.h>

/** kvm_trace_on - is there a file? */
bool kvm_trace_on(void);

/** kvm_trace - a line: who, where and when; @event; and the rest.  Any thread; lost where it cannot be written. */
void kvm_trace(const char *event, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
