#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the machine's process holds beside the memory that its guest has touched: memory.py SOURCEDIR BUILDDIR"""
import os
import signal
import subprocess
import sys
import tempfile
import threading

SOURCE, BUILD = sys.argv[1:3]
TIMEOUT = float(os.environ.get('BOOT_TIMEOUT', '240'))
RAM_MIB = 384  # a size that no other mapping has
LIMIT_MIB = 32

# Much code, many processes, devices at work; then the guest stays until it is told to go on.
COMMAND = '''
dd if=/dev/urandom of=/tmp/a bs=64k count=16 2>/dev/null
for tool in gzip bzip2 sha256sum md5sum 'od -x' sort; do $tool </tmp/a | wc -c; done >/dev/null
i=0; while [ $i -lt 20 ]; do ls -lR /bin /lib /sys/class | wc -l; i=$((i + 1)); done >/dev/null
awk 'BEGIN { for (i = 1; i < 10000; i++) sum += 1 / (i * i); print sum }' >/dev/null
dd if=/tmp/a of=/dev/vda bs=64k conv=fsync 2>/dev/null
echo ready
sleep 100000
'''


def smaps(pid):
    """Of each mapping its size and what of it is in memory, in KiB."""
    size = 0
    with open('/proc/%d/smaps' % pid, encoding='utf-8', errors='replace') as lines:
        for line in lines:
            words = line.split()
            if words[0] == 'Size:':
                size = int(words[1])
            elif words[0] == 'Rss:':
                yield size, int(words[1])


def end(pid_file):
    """End the machine whose number is in that file; the shell around it follows."""
    with open(pid_file, encoding='ascii') as text:
        os.kill(int(text.read()), signal.SIGTERM)


def measure(cpus, work):
    """The process's own memory and the guest's, in MiB; None where the guest did not come so far."""
    wrapper, pid_file, disk = (os.path.join(work, name) for name in ('anykvm', 'pid', 'disk'))
    with open(wrapper, 'w', encoding='ascii') as script:
        script.write('#!/bin/sh\necho $$ >%s\nexec %s/src/cli/anykvm "$@"\n' % (pid_file, BUILD))
    os.chmod(wrapper, 0o755)
    with open(disk, 'wb') as image:
        image.truncate(8 << 20)
    env = dict(os.environ, CMD=COMMAND, ANYKVM=wrapper)
    command = [SOURCE + '/tools/run.sh', BUILD, '-m', str(RAM_MIB), '-c', cpus, '-n', 'user', '-d', disk]
    found = None
    with subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as run:
        watchdog = threading.Timer(TIMEOUT, end, (pid_file,))
        watchdog.start()
        for line in run.stdout:
            if line != 'ready\n':
                print('# ' + line, end='', flush=True)
                continue
            with open(pid_file, encoding='ascii') as text:
                maps = list(smaps(int(text.read())))
            ram = sum(rss for size, rss in maps if size == RAM_MIB << 10)
            found = (sum(rss for _, rss in maps) - ram) / 1024, ram / 1024
            end(pid_file)
        watchdog.cancel()
    return found


print('1..2', flush=True)
for number, cpus in enumerate(('1', '2')):
    with tempfile.TemporaryDirectory() as work:
        got = measure(cpus, work)
    good = got and got[1] and got[0] <= LIMIT_MIB
    print('%s %d - on %s vCPUs the process holds at most %d MiB beside its guest' %
          ('ok' if good else 'not ok', number + 1, cpus, LIMIT_MIB), flush=True)
    print('# %.1f MiB beside the %.1f MiB of the guest' % got if got else '# the guest did not get ready', flush=True)
