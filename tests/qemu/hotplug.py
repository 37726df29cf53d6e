#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""vCPUs that come and go while a guest of QEMU under anykvm exec runs: hotplug.py SOURCEDIR BUILDDIR"""
from qemu import run

# At each line of input the guest takes all CPUs that it has, and does something on each.
COMMAND = """echo ready
while read go </dev/console; do
	for online in /sys/devices/system/cpu/cpu[1-9]*/online; do
		[ ! -e $online ] || [ "$(cat $online)" = 1 ] || echo 1 >$online
	done
	sum=0
	for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
		at=${cpu##*/cpu}
		[ "$(taskset -c $at awk '{ print $39 }' /proc/self/stat)" = $at ] && sum=$((sum + 1))
	done
	echo $go: $sum of $(nproc)
done
"""


def comes_to(qemu, word, answer):
    """The guest learns of a vCPU by an interrupt, perhaps later than it answers: it is asked again."""
    for attempt in range(50):
        asked = '%s%d' % (word, attempt)
        qemu.type(asked + '\n')
        seen = qemu.expect(asked + ': ') and qemu.expect('\n', 5) and qemu.console().rpartition(asked + ': ')[2]
        if not seen or seen.startswith(answer):
            return bool(seen)
    return False


def plugging(test):
    qemu = test.linux(COMMAND, cpus='1,maxcpus=3')
    test.check('the guest runs', qemu.expect('ready'), qemu)
    qemu.type('one\n')
    test.check('with one vCPU', qemu.expect('one: 1 of 1\n'), qemu)
    free = [slot for slot in qemu.ask('query-hotpluggable-cpus') if 'qom-path' not in slot]
    test.check('QEMU has room for two', len(free) == 2, qemu)
    for number, slot in enumerate(sorted(free, key=lambda slot: slot['props']['socket-id'])):
        qemu.ask('device_add', driver=slot['type'], id='more%d' % number, **slot['props'])
    test.check('two more are plugged in, and run', comes_to(qemu, 'three', '3 of 3'), qemu)
    qemu.ask('device_del', id='more1')
    test.check('one is taken out', qemu.event('DEVICE_DELETED', device='more1'), qemu)
    qemu.type('two\n')
    test.check('the others go on', qemu.expect('two: 2 of 2\n'), qemu)
    qemu.ask('device_add', driver=slot['type'], id='again', **slot['props'])
    test.check('and plugged in again', comes_to(qemu, 'again', '3 of 3'), qemu)
    qemu.vcpus = 3
    test.check('this engine ran them', qemu.ours(), qemu)


run(plugging, 'cloud-amd64')
