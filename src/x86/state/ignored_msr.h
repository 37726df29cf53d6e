/* SPDX-License-Identifier: MIT */
/* The parameters ignore_msrs and report_ignored_msrs of KVM's module. */
#ifndef X86_STATE_IGNORED_MSR_H
#define X86_STATE_IGNORED_MSR_H

#include <stdbool.h>
#include <stdint.h>

/**
 * x86_msr_ignored - an MSR that does not exist was read, or written with @value: is that to be
 * passed over?  Where it is, and reports are not turned off, a line on standard error tells: who
 * sets ignore_msrs asks for it.  Any thread.
 */
bool x86_msr_ignored(bool write, uint32_t index, uint64_t value);

#endif
