#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A terminal is put into raw mode and comes back as it was, whichever way the run ends."""
import os
import pty
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

anykvm = sys.argv[1]
number = 0


def kernel(code):
    setup = bytearray(5 * 512)
    struct.pack_into('<B', setup, 0x1f1, 4)
    struct.pack_into('<I', setup, 0x1f4, (512 + 64) // 16)
    struct.pack_into('<H', setup, 0x1fe, 0xaa55)
    struct.pack_into('<4sH', setup, 0x202, b'HdrS', 0x20f)
    struct.pack_into('<I', setup, 0x22c, 0x7fffffff)
    struct.pack_into('<IBBHI', setup, 0x230, 0x200000, 1, 21, 1, 2047)
    struct.pack_into('<QI', setup, 0x258, 0x1000000, 0x100000)
    return bytes(setup) + b'\x90' * 512 + code.ljust(64, b'\0')


# Greets with '>', then sends back what it gets plus one; ends by the exit port on 'q'.
ECHO = (b'\x66\xba\xf8\x03\xb0>\xee'        # mov $0x3f8, %dx; mov $'>', %al; out %al, %dx
        b'\x66\xba\xfd\x03\xec\xa8\x01\x74\xf7'  # 1: mov $0x3fd, %dx; in %dx, %al; test $1, %al; jz 1b
        b'\x66\xba\xf8\x03\xec\x3cq\x74\x05'     # mov $0x3f8, %dx; in %dx, %al; cmp $'q', %al; je 2f
        b'\xfe\xc0\xee\xeb\xe9'                  # inc %al; out %al, %dx; jmp 1b
        b'\xe6\xf4\xeb\xfe')                     # 2: out %al, $0xf4; jmp .


def say(ok, name, why=''):
    global number
    number += 1
    print(('ok' if ok else 'not ok'), number, '-', name)
    if not ok:
        print('#', why)


def read_until(fd, want, seconds=20):
    got, end = b'', time.time() + seconds
    os.set_blocking(fd, False)
    while want not in got and time.time() < end:
        try:
            got += os.read(fd, 4096)
        except BlockingIOError:
            time.sleep(0.02)
        except OSError:
            break
    return got


def become_foreground():
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever nohup left us
    os.setsid()
    # Whoever started us in the background may have had these ignored.
    for name in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(name, signal.SIG_DFL)
    import fcntl
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def session(path, act):
    """Run on a pseudo-terminal; returns modes before, while running and after, the status and the output."""
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    p = subprocess.Popen([anykvm, 'run', '-k', path], stdin=slave, stdout=slave, stderr=subprocess.PIPE,
                         preexec_fn=become_foreground)
    out = read_until(master, b'>')
    during = termios.tcgetattr(slave)
    out += act(master, p)
    try:
        p.wait(20)
    except subprocess.TimeoutExpired:
        p.kill()
        p.wait()
    after = termios.tcgetattr(slave)
    err = p.stderr.read().decode()
    os.close(slave)
    os.close(master)
    return before, during, after, p.returncode, out, err


def type_in(text, want=b''):
    def act(master, p):
        os.write(master, text)
        return read_until(master, want) if want else b''
    return act


def send(sig):
    def act(master, p):
        p.send_signal(sig)
        return b''
    return act


print('1..26')
with tempfile.TemporaryDirectory() as d:
    path = d + '/kernel'
    with open(path, 'wb') as f:
        f.write(kernel(ECHO))
    before, during, after, status, out, err = session(path, type_in(b'a\x03\x1aq', b'\x1b'))
    say(during[3] & (termios.ICANON | termios.ECHO | termios.ISIG) == 0, 'raw while it runs', during)
    say(b'b\x04\x1b' in out, 'keys that mean something elsewhere reach the guest', out)
    say(status == ord('q'), 'the exit port gives the status', (status, err))
    say(before == after, 'restored after the end', (before, after))

    before, during, after, status, out, err = session(path, type_in(b'\x01\x01', b'\x02'))
    say(b'\x02' in out, 'Ctrl-a Ctrl-a is one Ctrl-a', (out, err))

    before, during, after, status, out, err = session(path, type_in(b'\x01hb\x01x', b'c'))
    say(b'Ctrl-a x ends' in out, 'Ctrl-a h helps', out)
    say(status == 0 and 'ended by the user' in err, 'Ctrl-a x ends', (status, err))
    say(before == after, 'and the terminal is restored', (before, after))

    for sig, code in ((signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGABRT, -signal.SIGABRT),
                      (signal.SIGSEGV, -signal.SIGSEGV), (signal.SIGBUS, -signal.SIGBUS),
                      (signal.SIGQUIT, -signal.SIGQUIT), (signal.SIGXCPU, -signal.SIGXCPU),
                      (signal.SIGUSR1, -signal.SIGUSR1), (signal.SIGRTMAX, -signal.SIGRTMAX)):
        before, during, after, status, out, err = session(path, send(sig))
        say(before == after, 'restored after %s' % signal.Signals(sig).name, (before, after))
        say(status == code, 'which gives its status', (status, err))
