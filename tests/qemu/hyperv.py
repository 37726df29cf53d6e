#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A guest that believes to be on Hyper-V, by QEMU under anykvm exec: hyperv.py SOURCEDIR BUILDDIR CASE

timers: its kernel takes the synthetic timers for its clock events: their vectors are all the ticks that it gets;
calls: it flushes and interrupts by hypercalls, on both vendors' CPUs.
"""
import sys

from qemu import run

# KVM's own leaves would come first.
HYPERV = 'host,kvm=off,hv-relaxed,hv-vapic,hv-vpindex,hv-runtime,hv-time,hv-synic,hv-stimer,hv-stimer-direct'
# What wakes each vCPU, and that it does: sleeps that have to end.
ON_EACH = """for at in $(seq 0 $(($(nproc) - 1))); do
	echo clockevent $at: $(cat /sys/devices/system/clockevents/clockevent$at/current_device)
	taskset -c $at usleep 200000 && echo $at slept
done
dmesg | grep -o 'Hypervisor detected: .*'
poweroff -f
"""


def clockevents(test):
    for cpus in '1', '2':
        for name, cpu in ('with', HYPERV), ('without', 'host'):
            qemu = test.linux(ON_EACH, cpu=cpu, cpus=cpus, append='loglevel=6')
            hyperv = name == 'with'
            test.check('%s Hyper-V, %s vCPUs: what the kernel finds' % (name, cpus),
                       qemu.expect('Hypervisor detected: ' + ('Microsoft Hyper-V' if hyperv else 'KVM')), qemu)
            for at in range(int(cpus)):
                test.check('clock events of CPU %d' % at, qemu.expect(
                    'clockevent %d: %s\n' % (at, 'Hyper-V clockevent' if hyperv else 'lapic-deadline')), qemu)
                test.check('it wakes up', qemu.expect('%d slept' % at), qemu)
            test.check('the guest powers off', qemu.ended() == 0, qemu)
            ticks = [vcpu['hv_stimers_direct'] for vcpu in qemu.stats()['vcpus']]
            test.check('by synthetic timers' if hyperv else 'by none',
                       all(ticks) if hyperv else not any(ticks), qemu)
            test.check('this engine ran it', qemu.ours(), qemu)


MORE = ',hv-reset,hv-crash,hv-frequencies,hv-reenlightenment,hv-spinlocks=0xfff'
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


def works(test, name, cpu, expected, how):
    """Debian's kernel comes up with such a CPU, says that, and ends; its console, and its vCPUs' counters."""
    qemu = test.linux(WORK, cpu=cpu, cpus='2', how=how)
    test.check(name + ': boots', qemu.expect('done on 2'), qemu)
    for text in expected:
        test.check('%s: %s' % (name, text), text in qemu.console(), qemu)
    test.check(name + ': powers off', qemu.ended() == 0, qemu)
    test.check(name + ': this engine ran it', qemu.ours(), qemu)
    return qemu.console(), qemu.stats()['vcpus']


def calls(test):
    for vendor in 'intel', 'amd':
        how = ['--cpu', vendor]
        _, vcpus = works(test, vendor, HYPERV + MORE + ',hv-ipi,hv-tlbflush', FOUND + CALLS, how)
        test.check(vendor + ': hypercalls flush, and interrupt', all(
            sum(vcpu[name] for vcpu in vcpus) > 10 for name in ('hv_tlb_flushes', 'hv_ipis')))
        # Not offered: by interrupts.
        said, vcpus = works(test, vendor + ', without', HYPERV + MORE, FOUND, how)
        test.check(vendor + ': none without', not any(line in said for line in CALLS) and
                   not any(vcpu[name] for vcpu in vcpus for name in ('hv_tlb_flushes', 'hv_ipis')))


run({'timers': clockevents, 'calls': calls}[sys.argv[3]], 'cloud-amd64')
