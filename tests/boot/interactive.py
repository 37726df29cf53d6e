#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The shell of 'make run' on a terminal: interactive.py SOURCEDIR BUILDDIR"""
import os
import pty
import select
import signal
import sys
import termios
import time

SOURCE, BUILD = sys.argv[1:3]
TIMEOUT = float(os.environ.get('BOOT_TIMEOUT', '240'))


class Terminal:
    """A guest whose terminal is a pseudo-terminal of ours."""

    def __init__(self):
        env = {key: value for key, value in os.environ.items() if key != 'CMD'}
        env['TERM'] = 'vt100'
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(SOURCE + '/tools/run.sh', ['run.sh', BUILD], env)
        self.before = termios.tcgetattr(self.fd)
        self.seen = ''
        self.at = 0

    def read(self, seconds):
        if select.select([self.fd], [], [], seconds)[0]:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b''
            self.seen += data.decode('utf-8', 'replace')
            return bool(data)
        return True

    def expect(self, text):
        """Wait until the text is there, behind what was waited for before."""
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            found = self.seen.find(text, self.at)
            if found >= 0:
                self.at = found + len(text)
                return True
            if not self.read(1):
                return False
        return False

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self):
        """The exit status, once the guest has ended; None if it does not."""
        end = time.monotonic() + TIMEOUT / 2
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            self.read(0.2)
        # The shell between us and anykvm would wait for it first.
        os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return None

    def restored(self):
        return termios.tcgetattr(self.fd) == self.before


class Tap:
    def __init__(self, plan):
        self.number = 0
        self.bad = 0
        print('1..%d' % plan, flush=True)

    def check(self, name, good, terminal):
        self.number += 1
        print('%s %d - %s' % ('ok' if good else 'not ok', self.number, name), flush=True)
        if not good:
            self.bad += 1
            for line in terminal.seen.splitlines()[-15:]:
                print('# ' + line)


def main():
    tap = Tap(7)
    guest = Terminal()
    tap.check('a prompt appears', guest.expect('guest# '), guest)
    guest.type('echo answer $((6 * 7))\n')
    tap.check('what is typed is run', guest.expect('answer 42'), guest)
    guest.type('sleep 1000\n')
    time.sleep(2)
    guest.type('\x03')
    guest.type('echo still $((40 + 2))\n')
    tap.check('Ctrl-c goes to the guest', guest.expect('still 42'), guest)
    guest.type('poweroff\n')
    tap.check('poweroff ends it with 0', guest.end() == 0, guest)
    tap.check('the terminal is as it was', guest.restored(), guest)

    guest = Terminal()
    guest.expect('guest# ')
    guest.type('\x01x')
    tap.check('Ctrl-a x ends it', guest.end() is not None, guest)
    tap.check('the terminal is as it was then, too', guest.restored(), guest)
    return 1 if tap.bad else 0


sys.exit(main())
