#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Guests that believe to be on Hyper-V, by QEMU under anykvm exec: hyperv.py SOURCEDIR BUILDDIR CASE

timers: their kernel takes the synthetic timers for its clock events, by vectors, or by messages once there is a VMBus,
which itself is messages between the guest and QEMU;
calls: it flushes and interrupts by hypercalls, on both vendors' CPUs.
"""
import sys

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


def timers(test):
    for case in vectors, messages, none, moved:
        case(test)


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
        _, vcpus = works(test, vendor, DIRECT + MORE + ',hv-ipi,hv-tlbflush', FOUND + CALLS, how)
        test.check(vendor + ': hypercalls flush, and interrupt', all(
            sum(vcpu[name] for vcpu in vcpus) > 10 for name in ('hv_tlb_flushes', 'hv_ipis')))
        # Not offered: by interrupts.
        said, vcpus = works(test, vendor + ', without', DIRECT + MORE, FOUND, how)
        test.check(vendor + ': none without', not any(line in said for line in CALLS) and
                   not any(vcpu[name] for vcpu in vcpus for name in ('hv_tlb_flushes', 'hv_ipis')))


run({'timers': timers, 'calls': calls}[sys.argv[3]], 'cloud-amd64')
