#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""savevm and loadvm of QEMU under anykvm exec: snapshot.py SOURCEDIR BUILDDIR

The guest keeps a file in memory, and says in each turn whether it is still the same, and what time it is.
"""
import re
import subprocess

from qemu import run, wait

COMMAND = """head -c 4000000 /dev/urandom >/tmp/kept
sum=$(md5sum </tmp/kept)
i=0
while [ "$(md5sum </tmp/kept)" = "$sum" ]; do
	i=$((i + 1))
	echo turn $i of ${sum%% *} at $(cut -d ' ' -f 1 /proc/uptime) s
done
echo damaged
"""
TURN = re.compile(r'^turn (\d+) of (\w+) at ([0-9.]+) s$', re.MULTILINE)


def turns(qemu, after=0):
    """What the guest has said since its console was that long: turn, sum, time."""
    text = qemu.console()[after:]
    if 'damaged' in text:
        raise ValueError("the guest's memory has changed")
    return [(int(turn), kept, float(time)) for turn, kept, time in TURN.findall(text)]


def goes_on(test, qemu, after, saved):
    """The guest is where it was, and so is its clock."""
    # The console may have held a line that was half written.
    seen = wait(lambda: len(turns(qemu, after)) > 3 and turns(qemu, after))
    test.check('it goes on from there', seen and seen[0][0] in (saved[0], saved[0] + 1, saved[0] + 2), qemu)
    test.check('with the same memory', {kept for _, kept, _ in seen} == {saved[1]}, qemu)
    times = [time for _, _, time in seen]
    # A snapshot takes the clock with it; a turn later it must not show what went by elsewhere.
    print('# saved at %.2f s, then %s' % (saved[2], times))
    test.check('and a clock that goes on', times[0] >= saved[2] and times == sorted(times) and times[0] < times[-1], qemu)
    return times


def snapshots(test):
    image = test.work + '/disk.qcow2'
    subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', image, '64M'], check=True)
    drive = '-drive', 'file=%s,if=none,id=d,discard=unmap' % image, '-device', 'virtio-blk-pci,drive=d'
    first = test.linux(COMMAND, *drive, cpus='2')
    test.check('the guest runs', wait(lambda: len(turns(first)) > 2), first)
    test.check('its state is saved', not first.monitor('savevm one'), first)
    saved = turns(first)[-1]
    test.check('and listed', re.search(r'\bone\b', first.monitor('info snapshots')), first)
    # Further than it comes in the turns that are looked at below.
    later = wait(lambda: turns(first)[-1][0] > saved[0] + 12 and turns(first)[-1])
    test.check('the guest runs on', later and later[2] > saved[2], first)
    first.monitor('stop')
    after = len(first.console())
    test.check('its state is loaded', not first.monitor('loadvm one'), first)
    first.monitor('cont')
    times = goes_on(test, first, after, saved)
    test.check('which went back', times[0] < later[2], first)
    test.check('this engine ran it', first.ours(), first)
    second = test.linux(COMMAND, *drive, '-loadvm', 'one', cpus='2')
    goes_on(test, second, 0, saved)
    test.check('this engine ran that, too', second.ours(), second)


run(snapshots, 'cloud-amd64', needs=['qemu-img'])
