#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A client that is killed at any moment leaves nothing behind.

Arguments: ANYKVM, SOURCE, CLIENT: a client that makes VMs and runs guests for ever.
Its folders for temporary things are its own here, and all its processes carry a variable by which they are found.
"""
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ANYKVM, SOURCE, CLIENT = sys.argv[1:4]
ROUNDS = 8
work = tempfile.mkdtemp()
mark = 'KILLED_TEST=%d.%d' % (os.getpid(), time.time_ns())
environment = dict(os.environ)
for name in ('TMPDIR', 'HOME', 'XDG_RUNTIME_DIR', 'XDG_CACHE_HOME'):
    environment[name] = os.path.join(work, name)
    os.mkdir(environment[name])
environment['KILLED_TEST'] = mark.split('=')[1]
random.seed(1)
failures = []


def marked():
    """The processes of this test."""
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open('/proc/%s/environ' % pid, 'rb') as f:
                if mark.encode() in f.read().split(b'\0'):
                    found.append(int(pid))
        except OSError:
            pass
    return found


def shared():
    """What lies in /dev/shm that may be ours: nothing else there has the name."""
    return [name for name in os.listdir('/dev/shm') if 'kvm' in name]


def leftovers():
    left = [os.path.join(folder, name) for name in ('TMPDIR', 'HOME', 'XDG_RUNTIME_DIR', 'XDG_CACHE_HOME')
            for folder, folders, files in os.walk(environment[name]) for name in folders + files]
    # A killed process is gone once its parent has waited for it; those of others are the kernel's to end.
    deadline = time.monotonic() + 30
    while marked() and time.monotonic() < deadline:
        time.sleep(0.02)
    return left + ['process %d' % pid for pid in marked()]


def kill_at(delay, command):
    """Start it, kill it after that many seconds, and say whether it was still there to be killed."""
    with subprocess.Popen(command, env=environment, cwd=work, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, start_new_session=True) as process:
        time.sleep(delay)
        process.kill()
        return process.wait() == -signal.SIGKILL


def expect(good, what):
    if not good:
        failures.append(what)


def stat():
    """anykvm stat ends as it should, whoever dies while it looks."""
    r = subprocess.run([ANYKVM, 'stat', '-1'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    expect(r.returncode in (0, 1), 'anykvm stat: status %d: %s' % (r.returncode, r.stderr.decode()))


def machines():
    before = shared()
    command = [ANYKVM, 'run', '-k', 'stays', '-d', 'disk', '-n', 'user', '--share', 'folder']
    killed = sum(kill_at(random.uniform(0, 0.4), command) for _ in range(ROUNDS))
    expect(killed == ROUNDS, '%d machines of %d ended by themselves' % (ROUNDS - killed, ROUNDS))
    expect(not leftovers(), 'left: %s' % leftovers())
    expect(shared() == before, 'left in /dev/shm: %s' % shared())


def disk_is_free():
    command = [ANYKVM, 'run', '-k', 'stays', '-d', 'disk']
    for _ in range(5):
        kill_at(random.uniform(0.05, 0.3), command)
        r = subprocess.run([ANYKVM, 'run', '-k', 'ends', '-d', 'disk'], cwd=work, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        expect(r.returncode == 7, 'a machine after one that was killed: status %d: %s' %
               (r.returncode, r.stderr.decode()))


def clients():
    before = shared()
    command = [ANYKVM, 'exec', '--', 'sh', '-c', '"$0" for-ever & "$0" for-ever; wait', CLIENT]
    for _ in range(ROUNDS):
        with subprocess.Popen(command, env=environment, cwd=work, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as process:
            time.sleep(random.uniform(0, 0.3))
            stat()
            # The whole group at once, as a job's end is.
            os.killpg(process.pid, signal.SIGKILL)
            stat()
            expect(process.wait() == -signal.SIGKILL, 'a client ended by itself')
    expect(not leftovers(), 'left: %s' % leftovers())
    expect(shared() == before, 'left in /dev/shm: %s' % shared())


def qemu():
    """QEMU, at a few moments of its start and its firmware."""
    command = [ANYKVM, 'exec', '--', 'qemu-system-x86_64', '-accel', 'kvm', '-M', 'q35', '-display', 'none',
               '-smp', '2', '-m', '64']
    killed = sum(kill_at(delay, command) for delay in (0.1, 0.3, 0.6, 1.0, 1.5))
    expect(killed == 5, '%d of 5 ended by themselves' % (5 - killed))
    expect(not leftovers(), 'left: %s' % leftovers())


def main():
    os.mkdir(os.path.join(work, 'folder'))
    with open(os.path.join(work, 'disk'), 'wb') as disk:
        disk.truncate(1 << 20)
    subprocess.run([sys.executable, os.path.join(SOURCE, 'tests/cli/kernels.py')], cwd=work, check=True)
    cases = (machines, disk_is_free, clients, qemu)
    print('1..%d' % len(cases))
    for number, case in enumerate(cases, 1):
        if case is qemu and not shutil.which('qemu-system-x86_64'):
            print('ok %d - qemu # SKIP there is none here' % number)
            continue
        failures.clear()
        case()
        print('%sok %d - %s' % ('not ' if failures else '', number, case.__name__))
        for failure in failures:
            print('# ' + failure)
    shutil.rmtree(work)


main()
