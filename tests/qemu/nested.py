#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A hypervisor with its guest, moved by QEMU's migration: nested.py SOURCEDIR BUILDDIR intel|amd

Debian's KVM in a guest of QEMU's under anykvm exec, with a guest of its own that checks the sum of a file, over and over.
The machine is saved to a file in the middle of that and goes on in another QEMU, and once more, live, in a third.
"""
import subprocess
import sys

from qemu import BUILD, SOURCE, run, wait

MODEL = sys.argv[3]
INSIDE = """head -c 2000000 /dev/urandom >/tmp/kept
sum=$(md5sum </tmp/kept)
while [ "$(md5sum </tmp/kept)" = "$sum" ]; do echo turn; done
echo damaged
"""
HYPERVISOR = """for m in irqbypass kvm kvm-%s; do insmod /anykvm/kvm/$m.ko || echo damaged; done
/anykvm/anykvm run --accel host -k /anykvm/vmlinuz -i /anykvm/initramfs -p 'quiet loglevel=1' -m 96 </dev/null
""" % MODEL
# -cpu host has the vendor of the machine, whatever the engine's model.
CPU = {'intel': 'max,vendor=GenuineIntel,+vmx', 'amd': 'max,vendor=AuthenticAMD,+svm'}
KIND = {'memory': '768', 'cpu': CPU[MODEL], 'how': ['--cpu', MODEL]}


def turns(qemu):
    """How often L2 went round since this QEMU has it; 0 once something was damaged."""
    text = qemu.console()
    return 0 if 'damaged' in text else text.count('turn')


def entries(qemu):
    """Of L1 into L2, as this engine counts them."""
    return qemu.stats()['vcpus'][0]['nested_run']


def migrations(test):
    inside = test.initramfs(INSIDE, 'cloud-amd64', ())
    extra = subprocess.run([SOURCE + '/tools/nested-list.sh', BUILD, inside], check=True, capture_output=True, text=True).stdout
    first = test.linux(HYPERVISOR, more=extra, **KIND)
    test.check('L2 runs', wait(lambda: turns(first) > 2), first)
    test.check('its machine is saved to a file', first.migrate('exec:cat >%s/state' % test.work), first)
    test.check('L1 had entered it by this engine', first.ours() and entries(first) > 1000, first)
    second = test.linux(HYPERVISOR, '-incoming', 'exec:cat %s/state' % test.work, more=extra, **KIND)
    test.check('L2 goes on from there', wait(lambda: turns(second) > 2), second)
    third = test.linux(HYPERVISOR, '-incoming', 'unix:%s/socket' % test.work, more=extra, **KIND)
    test.check('it moves while it runs', second.migrate('unix:%s/socket' % test.work), second, third)
    test.check('and goes on there', wait(lambda: turns(third) > 2), third)
    test.check('this engine ran both', second.ours() and third.ours() and entries(second) > 100, second, third)


run(migrations, 'cloud-amd64')
