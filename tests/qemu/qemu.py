# SPDX-License-Identifier: MIT
"""What the tests share that run Debian's QEMU under anykvm exec: arguments SOURCEDIR BUILDDIR [MORE...]"""
import glob
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

SOURCE, BUILD = sys.argv[1:3]
TIMEOUT = float(os.environ.get('BOOT_TIMEOUT', '240'))


def wait(condition, seconds=TIMEOUT):
    """Wait until the condition holds; what it gave, or False."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    return False


def drain(connection):
    try:
        while connection.recv(65536):
            pass
    except OSError:
        pass


class Qemu:
    """A QEMU with a guest, its control socket, and the guest's first serial port."""

    def __init__(self, test, *options, machine='q35', accel='kvm', cpu='host', cpus='1', memory='128', how=()):
        self.name = '%s/%d' % (test.work, len(test.qemus))
        test.qemus.append(self)
        self.events = []
        self.errors = open(self.name + '.errors', 'w+', encoding='utf-8')
        self.vcpus = int(cpus.split(',')[0])
        serial = 'socket,id=serial,path=%s.serial,server=on,wait=off,logfile=%s.console' % (self.name, self.name)
        self.process = subprocess.Popen(
            [BUILD + '/src/cli/anykvm', 'exec', '-v', '--stats', self.name + '.stats', *how, '--', 'qemu-system-x86_64',
             '-M', machine, '-accel', accel, '-cpu', cpu, '-smp', cpus, '-m', memory, '-nodefaults', '-display', 'none',
             '-chardev', serial, '-serial', 'chardev:serial', '-qmp', 'unix:%s.qmp,server=on,wait=off' % self.name,
             *options], stdin=subprocess.DEVNULL, stdout=self.errors, stderr=self.errors)
        self.typing = None
        self.qmp = self.connect('.qmp').makefile('rw', encoding='utf-8')
        self.qmp.readline()
        self.ask('qmp_capabilities')

    def connect(self, what):
        """A connection to a socket that QEMU makes."""
        connection = socket.socket(socket.AF_UNIX)

        def connected():
            if self.process.poll() is not None:
                raise RuntimeError('QEMU has ended: ' + self.said())
            try:
                connection.connect(self.name + what)
            except OSError:
                return False
            return True
        wait(connected)
        return connection

    def said(self):
        """What QEMU and anykvm have written."""
        with open(self.name + '.errors', encoding='utf-8', errors='replace') as errors:
            return errors.read()

    def read(self):
        """The next message of QEMU, which is noted if it is an event."""
        line = self.qmp.readline()
        if not line:
            raise ConnectionError('QEMU has ended: ' + self.said())
        message = json.loads(line)
        if 'event' in message:
            self.events.append(message)
        return message

    def read_rest(self):
        try:
            while True:
                self.read()
        except OSError:
            pass

    def ask(self, command, **arguments):
        """The answer to a command."""
        self.qmp.write(json.dumps({'execute': command, 'arguments': arguments}) + '\n')
        self.qmp.flush()
        while True:
            answer = self.read()
            if 'return' in answer:
                return answer['return']
            if 'error' in answer:
                raise RuntimeError(answer['error']['desc'])

    def monitor(self, line):
        """The answer to a line of the human monitor."""
        return self.ask('human-monitor-command', **{'command-line': line})

    def event(self, name, **data):
        """Wait for an event that was not taken yet and has that in its data."""
        def come():
            try:
                self.ask('query-status')
            except OSError:  # it has ended; what it said before may be unread
                self.read_rest()
            for index, event in enumerate(self.events):
                if event['event'] == name and data.items() <= event.get('data', {}).items():
                    del self.events[index]
                    return True
            return self.process.poll() is not None and 'ended'
        return wait(come) is True

    def console(self):
        """What the guest has written."""
        try:
            with open(self.name + '.console', encoding='utf-8', errors='replace') as console:
                return console.read().replace('\r', '')
        except OSError:
            return ''

    def expect(self, text, seconds=TIMEOUT):
        """Wait until the guest has written this, which may be the last that it does."""
        wait(lambda: text in self.console() or self.process.poll() is not None, seconds)
        return text in self.console()

    def type(self, text):
        if not self.typing:
            self.typing = self.connect('.serial')
            # What nobody reads would keep the guest from writing more.
            threading.Thread(target=drain, args=(self.typing,), daemon=True).start()
        self.typing.sendall(text.encode())

    def migrate(self, uri):
        """Move the guest; whether all of it arrived."""
        # A guest that writes faster than a busy machine copies is stopped for the rest.
        self.ask('migrate-set-parameters', **{'downtime-limit': 2000})
        self.ask('migrate', uri=uri)
        wait(lambda: self.ask('query-migrate')['status'] in ('completed', 'failed'))
        return self.ask('query-migrate')['status'] == 'completed'

    def ended(self, seconds=TIMEOUT):
        """The exit status, once QEMU has ended."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def quit(self):
        """End QEMU in good order; its exit status."""
        if self.process.poll() is None:
            try:
                self.ask('quit')
            except (RuntimeError, OSError):
                pass
        return self.ended(60)

    def stats(self):
        """The statistics of the VM, which are written when QEMU ends."""
        self.quit()
        with open(self.name + '.stats', encoding='utf-8') as lines:
            return json.loads(lines.readlines()[-1])

    def ours(self):
        """Whether this engine ran it, on each of the vCPUs; ends it."""
        stats = self.stats()
        return 'anykvm: qemu-system-x86_64' in self.said() and stats['engine'].startswith('anykvm ') and \
            len(stats['vcpus']) == self.vcpus and all(vcpu['instructions'] for vcpu in stats['vcpus'])

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Test:
    """Cases of TAP, and the QEMUs that run for them."""

    def __init__(self):
        self.number = 0
        self.qemus = []
        self.folder = tempfile.TemporaryDirectory()
        self.work = self.folder.name

    def check(self, name, good, *qemus):
        """One case; where it fails, also what these QEMUs and their guests said."""
        self.number += 1
        print('%sok %d - %s' % ('' if good else 'not ', self.number, name), flush=True)
        for qemu in () if good else qemus:
            for what in (qemu.said(), qemu.console()):
                print('# ' + what[-2500:].replace('\n', '\n# '), flush=True)
        return bool(good)

    def file(self, name, data):
        path = os.path.join(self.work, name)
        with open(path, 'wb') as out:
            out.write(data if isinstance(data, bytes) else data.encode())
        return path

    def initramfs(self, command, flavour, modules, more=''):
        """The test guest's, with that command to run, modules of the kernel's in its root, and a list of more files."""
        self.file('cmd', command)
        whole = '%s/initramfs.%d' % (self.work, len(self.qemus))
        found = [glob.glob('%s/**/%s.ko' % (guest(flavour, 'lib'), name), recursive=True) for name in modules]
        files = self.file('modules', more + ''.join('file\t%s\t%s\t644\n' % (os.path.basename(path), path) for path, in found))
        subprocess.run([SOURCE + '/tools/guest-command.sh', guest(flavour, 'initramfs'), self.work + '/cmd', whole, files],
                       check=True)
        return whole

    def linux(self, command, *options, flavour='cloud-amd64', modules=(), append='', reboot=False, more='', **kind):
        """A QEMU whose guest is Debian's kernel with the test guest's userland, and runs that command."""
        return Qemu(self, *([] if reboot else ['-no-reboot']), '-kernel', guest(flavour, 'vmlinuz'),
                    '-initrd', self.initramfs(command, flavour, modules, more),
                    '-append', 'console=ttyS0 panic=-1 quiet loglevel=1 ' + append, *options, **kind)


def guest(flavour, name):
    return '%s/guest/%s/%s' % (BUILD, flavour, name)


def run(cases, *flavours, needs=()):
    """Run a test: cases(test) checks; flavours are the kernels that it boots."""
    for program in ('qemu-system-x86_64', *needs):
        if not shutil.which(program, path=os.environ['PATH'] + ':/usr/sbin:/sbin') and not os.path.exists(program):
            print('1..0 # SKIP %s is missing' % program)
            return
    if flavours:
        subprocess.run([SOURCE + '/tools/guest.sh', BUILD, *flavours], check=True)
    test = Test()
    try:
        cases(test)
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        test.check('no error: %r' % error, False, *test.qemus[-1:])
    finally:
        for qemu in test.qemus:
            qemu.kill()
        test.folder.cleanup()
        print('1..%d' % test.number, flush=True)
