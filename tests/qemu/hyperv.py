#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A guest that believes to be on Hyper-V, by QEMU under anykvm exec: hyperv.py SOURCEDIR BUILDDIR

Its kernel takes the synthetic timers for its clock events: their vectors are all the ticks that it gets.
"""
from qemu import run

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


run(clockevents, 'cloud-amd64')
