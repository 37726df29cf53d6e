#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""QEMU's migration under anykvm exec: migrate.py SOURCEDIR BUILDDIR

A guest that checks the sum of a file in its memory and writes another, over and over, is saved to a file, restored
from it, and moved live to a third QEMU.
"""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

SOURCE, BUILD = sys.argv[1:3]
TIMEOUT = float(os.environ.get('BOOT_TIMEOUT', '240'))
GUEST = BUILD + '/guest/cloud-amd64/'
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


def wait(condition):
    """Wait until the condition holds; whether it did."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


class Qemu:
    """A QEMU with a guest, and its control socket."""

    def __init__(self, work, name, initramfs, *options):
        self.name = work + '/' + name
        self.errors = open(self.name + '.errors', 'w+', encoding='utf-8')
        self.process = subprocess.Popen(
            [BUILD + '/src/cli/anykvm', 'exec', '-v', '--', 'qemu-system-x86_64', '-M', 'q35', '-accel', 'kvm',
             '-cpu', 'host', '-m', '128', '-nodefaults', '-display', 'none', '-no-reboot',
             '-serial', 'file:%s.console' % self.name, '-qmp', 'unix:%s.qmp,server=on,wait=off' % self.name,
             '-kernel', GUEST + 'vmlinuz', '-initrd', initramfs,
             '-append', 'console=ttyS0 panic=-1 quiet loglevel=1', *options],
            stdin=subprocess.DEVNULL, stderr=self.errors)
        self.socket = socket.socket(socket.AF_UNIX)
        wait(self.connect)
        self.file = self.socket.makefile('rw', encoding='utf-8')
        self.file.readline()
        self.ask('qmp_capabilities')

    def connect(self):
        if self.process.poll() is not None:
            raise RuntimeError('QEMU has ended')
        try:
            self.socket.connect(self.name + '.qmp')
        except OSError:
            return False
        return True

    def ask(self, command, **arguments):
        """The answer to a command; events that come between are dropped."""
        self.file.write(json.dumps({'execute': command, 'arguments': arguments}) + '\n')
        self.file.flush()
        while True:
            answer = json.loads(self.file.readline())
            if 'return' in answer:
                return answer['return']
            if 'error' in answer:
                raise RuntimeError(answer['error']['desc'])

    def turns(self):
        """How often the guest went round since this QEMU has it; 0 once something was damaged."""
        with open(self.name + '.console', encoding='utf-8', errors='replace') as console:
            text = console.read()
        return 0 if 'damaged' in text else text.count('turn ')

    def migrate(self, uri):
        """Move the guest; whether all of it arrived."""
        # A guest that writes faster than a busy machine copies is stopped for the rest.
        self.ask('migrate-set-parameters', **{'downtime-limit': 2000})
        self.ask('migrate', uri=uri)
        wait(lambda: self.ask('query-migrate')['status'] in ('completed', 'failed'))
        return self.ask('query-migrate')['status'] == 'completed'

    def is_ours(self):
        self.errors.seek(0)
        return 'opened the engine: anykvm' in self.errors.read()

    def end(self):
        self.process.kill()
        self.process.wait()


def make_initramfs(work):
    """The test guest's, with COMMAND to run."""
    with open(work + '/cmd', 'w', encoding='utf-8') as command:
        command.write(COMMAND)
    listing = 'dir\tanykvm\nfile\tanykvm/cmd\t%s/cmd\t644\n' % work
    subprocess.run([sys.executable, SOURCE + '/tools/cpio.py', work + '/extra'], input=listing.encode(), check=True)
    with open(work + '/initramfs', 'wb') as whole:
        for part in (GUEST + 'initramfs', work + '/extra'):
            with open(part, 'rb') as data:
                shutil.copyfileobj(data, whole)
    return work + '/initramfs'


def check(number, name, good, *qemus):
    print('%sok %d - %s' % ('' if good else 'not ', number, name), flush=True)
    for qemu in () if good else qemus:
        qemu.errors.seek(0)
        print('# ' + qemu.errors.read()[-2000:].replace('\n', '\n# '))


def migrations(work, qemus):
    initramfs = make_initramfs(work)
    first = Qemu(work, 'first', initramfs)
    qemus.append(first)
    check(1, 'the guest runs', wait(lambda: first.turns() > 2) and first.is_ours(), first)
    check(2, 'it is saved to a file', first.migrate('exec:cat >%s/state' % work), first)
    first.end()
    second = Qemu(work, 'second', initramfs, '-incoming', 'exec:cat %s/state' % work)
    qemus.append(second)
    check(3, 'and goes on from there', wait(lambda: second.turns() > 2) and second.is_ours(), second)
    third = Qemu(work, 'third', initramfs, '-incoming', 'unix:%s/socket' % work)
    qemus.append(third)
    check(4, 'it moves while it runs', second.migrate('unix:%s/socket' % work), second, third)
    check(5, 'and goes on there', wait(lambda: third.turns() > 2) and third.is_ours(), third)


def main():
    if not shutil.which('qemu-system-x86_64'):
        print('1..0 # SKIP no qemu-system-x86_64 here (Debian package qemu-system-x86)')
        return
    subprocess.run([SOURCE + '/tools/guest.sh', BUILD, 'cloud-amd64'], check=True)
    print('1..5', flush=True)
    qemus = []
    with tempfile.TemporaryDirectory() as work:
        try:
            migrations(work, qemus)
        finally:
            for qemu in qemus:
                qemu.end()


main()
