#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Hyper-V's interface, as QEMU's hv-* give it to Debian's kernel, under anykvm exec: hyperv.py SOURCEDIR BUILDDIR"""
from qemu import run

# KVM's own leaves would come first.
PLAIN = 'hv-relaxed,hv-vapic,hv-time,hv-vpindex,hv-runtime,hv-reset,hv-crash,hv-frequencies,hv-reenlightenment,' \
    'hv-spinlocks=0xfff'
# Threads of one process wake each other and give memory back, on all vCPUs.
WORK = """echo "Hypervisor: $(dmesg | grep -o 'Hypervisor detected: .*')"
dmesg | grep -i -e hyper-v -e hyperv
cat /sys/devices/system/clocksource/clocksource0/current_clocksource
i=0
while [ $i -lt 40 ]; do
	for cpu in $(seq 0 $(($(nproc) - 1))); do taskset -c $cpu cat /proc/interrupts >/dev/null & done
	wait
	i=$((i + 1))
done
grep HYP /proc/interrupts
echo "done on $(nproc)"
"""


def boots(test, name, cpu, expected, **kind):
    """Debian's kernel comes up with such a CPU, says that, and ends; its statistics."""
    qemu = test.linux(WORK + 'poweroff -f', cpu='host,kvm=off,' + cpu, cpus='2', **kind)
    test.check(name + ': boots', qemu.expect('done on 2'), qemu)
    for text in expected:
        test.check('%s: %s' % (name, text), text in qemu.console(), qemu)
    test.check(name + ': powers off', qemu.ended() == 0, qemu)
    test.check(name + ': this engine ran it', qemu.ours(), qemu)
    return qemu.console(), qemu.stats()['vcpus']


def total(vcpus, name):
    return sum(vcpu[name] for vcpu in vcpus)


def cases(test):
    for vendor in 'intel', 'amd':
        how = ['--cpu', vendor]
        _, vcpus = boots(test, vendor, PLAIN + ',hv-ipi,hv-tlbflush',
                         ['Hypervisor detected: Microsoft Hyper-V', 'hyperv_clocksource_tsc_page',
                          'Hyper-V: Using hypercall for remote TLB flush', 'Hyper-V: Using IPI hypercalls'], how=how)
        test.check(vendor + ': hypercalls flush and interrupt', total(vcpus, 'hv_tlb_flushes') > 10 and
                   total(vcpus, 'hv_ipis') > 100)
        print('#', {name: total(vcpus, name) for name in ('hypercalls', 'hv_tlb_flushes', 'hv_ipis', 'hv_spin_waits')})
        # Without the two the same goes by interrupts.
        said, vcpus = boots(test, vendor + ', not offered', PLAIN, ['Hypervisor detected: Microsoft Hyper-V'], how=how)
        test.check(vendor + ': none without', 'Using IPI hypercalls' not in said and
                   not total(vcpus, 'hv_tlb_flushes') and not total(vcpus, 'hv_ipis'))


run(cases, 'cloud-amd64')
