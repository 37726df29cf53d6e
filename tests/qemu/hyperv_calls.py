#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A guest that believes to be on Hyper-V flushes and interrupts by hypercalls, in QEMU under anykvm exec:
hyperv_calls.py SOURCEDIR BUILDDIR intel|amd
"""
import sys

from qemu import run

VENDOR = sys.argv[3]
# Without kvm=off Linux finds KVM first.
HYPERV = 'host,kvm=off,hv-relaxed,hv-vapic,hv-vpindex,hv-runtime,hv-time,hv-synic,hv-stimer,hv-stimer-direct,' \
    'hv-reset,hv-crash,hv-frequencies,hv-reenlightenment,hv-spinlocks=0xfff'
FOUND = ['Hypervisor detected: Microsoft Hyper-V', 'hyperv_clocksource_tsc_page']
CALLS = ['Hyper-V: Using hypercall for remote TLB flush', 'Hyper-V: Using IPI hypercalls']
# Processes that come and go, and wake each other, on all vCPUs.
WORK = """dmesg | grep -o 'Hypervisor detected: .*'
dmesg | grep 'Hyper-V: '
cat /sys/devices/system/clocksource/clocksource0/current_clocksource
i=0
while [ $i -lt 40 ]; do
	for at in $(seq 0 $(($(nproc) - 1))); do taskset -c $at cat /proc/interrupts >/dev/null & done
	wait
	i=$((i + 1))
done
echo "done on $(nproc)"
poweroff -f
"""


def works(test, name, cpu, expected):
    """Debian's kernel comes up with such a CPU, says that, and ends; its console, and its vCPUs' counters."""
    qemu = test.linux(WORK, cpu=cpu, cpus='2', how=['--cpu', VENDOR])
    test.check(name + ': boots', qemu.expect('done on 2'), qemu)
    for text in expected:
        test.check('%s: %s' % (name, text), text in qemu.console(), qemu)
    test.check(name + ': powers off', qemu.ended() == 0, qemu)
    test.check(name + ': this engine ran it', qemu.ours(), qemu)
    return qemu.console(), qemu.stats()['vcpus']


def calls(test):
    _, vcpus = works(test, 'offered', HYPERV + ',hv-ipi,hv-tlbflush', FOUND + CALLS)
    test.check('hypercalls flush, and interrupt', all(
        sum(vcpu[name] for vcpu in vcpus) > 10 for name in ('hv_tlb_flushes', 'hv_ipis')))
    # Not offered: by interrupts.
    said, vcpus = works(test, 'not offered', HYPERV, FOUND)
    test.check('none then', not any(line in said for line in CALLS) and
               not any(vcpu[name] for vcpu in vcpus for name in ('hv_tlb_flushes', 'hv_ipis')))


run(calls, 'cloud-amd64')
