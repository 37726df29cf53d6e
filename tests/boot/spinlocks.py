#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What Debian's kernel makes of its spinlocks, by what KVM offers and hints at: spinlocks.py SOURCEDIR BUILDDIR

A kernel says so early in its boot; it is ended as soon as it has.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading

SOURCE, BUILD = sys.argv[1:3]
TIMEOUT = float(os.environ.get('BOOT_TIMEOUT', '240'))
ANYKVM = BUILD + '/src/cli/anykvm'
KERNEL = BUILD + '/guest/cloud-amd64/vmlinuz'
LINE = re.compile(r'kvm-guest: (PV spinlocks .*?)\r?\n')

RUN = ['run', '--stats', 'STATS', '-m', '128M', '-k', KERNEL]
QEMU = ['exec', '--stats', 'STATS', '--', 'qemu-system-x86_64', '-accel', 'kvm', '-m', '128', '-nodefaults',
        '-display', 'none', '-serial', 'stdio', '-no-reboot', '-kernel', KERNEL, '-append', 'console=ttyS0 panic=-1']
CASES = [
    ('enabled', RUN + ['-c', '2'], 'enabled'),
    ('not for one CPU', RUN + ['-c', '1'], 'disabled, single CPU'),
    ('not where the user says so', RUN + ['-c', '2', '-p', 'nopvspin'], 'disabled, forced by "nopvspin" parameter'),
    ('not where nobody can be kicked', RUN + ['-c', '2', '--cpu', 'intel,-kvm_pv_unhalt'], 'disabled, no host support'),
    ('not on processors of its own', QEMU + ['-smp', '2', '-cpu', 'host,kvm-hint-dedicated=on'],
     'disabled with KVM_HINTS_REALTIME hints'),
]


def instructions(stats):
    """How many the engine has counted: no other engine does."""
    with open(stats, encoding='utf-8') as text:
        return sum(vcpu['instructions'] for vcpu in json.load(text)['vcpus'])


def boot(arguments, stats):
    """The kernel's line, or None, and how many instructions it took."""
    command = [ANYKVM] + [stats if word == 'STATS' else word for word in arguments]
    said = []
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          errors='replace') as run:
        watchdog = threading.Timer(TIMEOUT, run.kill)
        watchdog.start()
        line = None
        for text in run.stdout:
            said.append(text)
            match = LINE.search(text)
            if match and not line:
                line = match.group(1)
                run.terminate()
        watchdog.cancel()
    if not line:
        print(''.join('# ' + text for text in said[-15:]), flush=True)
    return line, instructions(stats)


subprocess.run([SOURCE + '/tools/guest.sh', BUILD, 'cloud-amd64'], check=True)
print('1..%d' % len(CASES), flush=True)
for number, (name, arguments, wanted) in enumerate(CASES):
    if arguments[0] == 'exec' and not shutil.which('qemu-system-x86_64'):
        print('ok %d - %s # SKIP no qemu-system-x86_64 here' % (number + 1, name), flush=True)
        continue
    with tempfile.TemporaryDirectory() as work:
        line, executed = boot(arguments, work + '/stats')
    good = line == 'PV spinlocks ' + wanted and executed > 0
    print('%s %d - %s' % ('ok' if good else 'not ok', number + 1, name), flush=True)
    if not good:
        print('# %r after %d instructions' % (line, executed), flush=True)
