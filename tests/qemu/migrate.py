#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""QEMU's migration under anykvm exec: migrate.py SOURCEDIR BUILDDIR log|ring|split

A guest that checks the sum of a file in its memory and writes another, over and over, is saved to a file, restored
from it, and moved live to a third QEMU.
"""
import sys

from qemu import run, wait

COMMAND = """head -c 8000000 /dev/urandom >/tmp/kept
sum=$(md5sum </tmp/kept)
i=0
while [ "$(md5sum </tmp/kept)" = "$sum" ]; do
	i=$((i + 1))
	yes $i | head -n 500000 >/tmp/changing
	[ "$(sort -u /tmp/changing)" = $i ] || break
	echo turn $i
done
echo damaged
"""
# How the pages that the guest writes are found, and what else the machine is.
KINDS = {
    'log': {},
    'ring': {'accel': 'kvm,dirty-ring-size=4096', 'cpus': '2'},
    'split': {'accel': 'kvm,kernel-irqchip=split', 'cpus': '2'},
}


def turns(qemu):
    """How often the guest went round since this QEMU has it; 0 once something was damaged."""
    text = qemu.console()
    return 0 if 'damaged' in text else text.count('turn ')


def migrations(test):
    kind = KINDS[sys.argv[3]]
    first = test.linux(COMMAND, **kind)
    test.check('the guest runs', wait(lambda: turns(first) > 2), first)
    test.check('it is saved to a file', first.migrate('exec:cat >%s/state' % test.work), first)
    test.check('this engine ran it', first.ours(), first)
    second = test.linux(COMMAND, '-incoming', 'exec:cat %s/state' % test.work, **kind)
    test.check('it goes on from there', wait(lambda: turns(second) > 2), second)
    third = test.linux(COMMAND, '-incoming', 'unix:%s/socket' % test.work, **kind)
    test.check('it moves while it runs', second.migrate('unix:%s/socket' % test.work), second, third)
    moved = second.ask('query-migrate')
    test.check('in several passes over its memory', moved['ram']['dirty-sync-count'] > 1, second)
    test.check('and goes on there', wait(lambda: turns(third) > 2), third)
    stats = second.stats()
    test.check('told of the pages that it writes %s' % ('by its ring' if 'ring' in kind.get('accel', '') else 'by the log'),
               ('ring' in kind.get('accel', '')) == (stats['vm']['dirty_ring_pages'] > 0), second)
    test.check('this engine ran both', second.ours() and third.ours(), second, third)


run(migrations, 'cloud-amd64')
