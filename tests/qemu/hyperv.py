#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Guests that believe to be on Hyper-V, by QEMU under anykvm exec: hyperv.py SOURCEDIR BUILDDIR

Their kernel takes the synthetic timers for its clock events: by vectors, or by messages once there is a VMBus, which
itself is messages between the guest and QEMU.
"""
from qemu import run, wait

# Without kvm=off Linux finds KVM first.
HYPERV = 'host,kvm=off,hv-relaxed,hv-vapic,hv-vpindex,hv-runtime,hv-time,hv-synic,hv-stimer'
DIRECT = HYPERV + ',hv-stimer-direct'
# Sleeps that have to end.
ON_EACH = """for at in $(seq 0 $(($(nproc) - 1))); do
	echo clockevent $at: $(cat /sys/devices/system/clockevents/clockevent$at/current_device)
	taskset -c $at usleep 200000 && echo $at slept
done
dmesg | grep -o 'Hypervisor detected: .*'
"""


def slept(test, qemu, device):
    for at in range(2):
        test.check('clock events of CPU %d: %s' % (at, device), qemu.expect('clockevent %d: %s\n' % (at, device)), qemu)
        test.check('it wakes up', qemu.expect('%d slept' % at), qemu)


def counted(qemu, name):
    return [vcpu[name] for vcpu in qemu.stats()['vcpus']]


def vectors(test):
    qemu = test.linux(ON_EACH, cpu=DIRECT, cpus='2', append='loglevel=6')
    slept(test, qemu, 'Hyper-V clockevent')
    test.check('the kernel finds Hyper-V', qemu.expect('Hypervisor detected: Microsoft Hyper-V'), qemu)
    test.check('the guest powers off', qemu.ended() == 0, qemu)
    test.check('timers came as vectors', all(counted(qemu, 'hv_stimers_direct')), qemu)
    test.check('and none as a message', not any(counted(qemu, 'hv_messages')), qemu)
    test.check('this engine ran it', qemu.ours(), qemu)


def messages(test):
    qemu = test.linux('insmod /hv_vmbus.ko\n' + ON_EACH + "dmesg | grep -o 'Vmbus version:.*'\n", '-device', 'vmbus-bridge',
                      modules=['hv_vmbus'], cpu=HYPERV, cpus='2', append='loglevel=6')
    slept(test, qemu, 'Hyper-V clockevent')
    test.check('guest and QEMU agree on a VMBus', qemu.expect('Vmbus version:'), qemu)
    test.check('the guest powers off', qemu.ended() == 0, qemu)
    test.check('timers came as messages', all(counted(qemu, 'hv_messages')), qemu)
    test.check('and none as a vector', not any(counted(qemu, 'hv_stimers_direct')), qemu)
    test.check('their interrupts ended by themselves', all(counted(qemu, 'hv_auto_eois')), qemu)
    test.check("QEMU's messages came by its eventfd", qemu.stats()['vm']['irqfd_signals'] > 0, qemu)
    test.check('this engine ran it', qemu.ours(), qemu)


def none(test):
    qemu = test.linux(ON_EACH, cpus='2', append='loglevel=6')
    slept(test, qemu, 'lapic-deadline')
    test.check('without, the kernel finds KVM', qemu.expect('Hypervisor detected: KVM'), qemu)
    test.check('the guest powers off', qemu.ended() == 0, qemu)
    test.check('no synthetic timer', not any(counted(qemu, 'hv_stimers_direct') + counted(qemu, 'hv_messages')), qemu)
    test.check('this engine ran it', qemu.ours(), qemu)


TURNS = """while :; do
	echo turn
	usleep 20000
done
"""


def moved(test):
    """Timers are on their way whenever that is."""
    def turns(qemu):
        return qemu.console().count('turn')
    first = test.linux(TURNS, cpu=DIRECT, cpus='2')
    test.check('the guest runs', wait(lambda: turns(first) > 5), first)
    test.check('it is saved to a file', first.migrate('exec:cat >%s/state' % test.work), first)
    test.check('this engine ran it', first.ours(), first)
    second = test.linux(TURNS, '-incoming', 'exec:cat %s/state' % test.work, cpu=DIRECT, cpus='2')
    test.check('it goes on from there', wait(lambda: turns(second) > 50), second)
    second.quit()
    test.check('by its timers', any(counted(second, 'hv_stimers_direct')), second)


def cases(test):
    for case in vectors, messages, none, moved:
        case(test)


run(cases, 'cloud-amd64')
