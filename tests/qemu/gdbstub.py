#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A debugger on QEMU's gdb stub under anykvm exec: gdbstub.py SOURCEDIR BUILDDIR

Speaks gdb's remote protocol (GDB manual, appendix E) and stops a running Linux, in its kernel.
"""
import re
import socket

from qemu import run

# The guest tells where in its kernel these are, and gives each of them work at a word of ours.
COMMAND = """grep -E ' (T __x64_sys_sethostname|D init_uts_ns|T __x64_sys_getppid)$' /proc/kallsyms
echo ready
while read name </dev/console; do hostname $name; [ $(hostname) = $name ] && echo named $name; done
"""
RIP, GENERAL = 16, 17
TRAP = 5
SOFTWARE, HARDWARE, WRITE, READ, ACCESS = range(5)
# Where the name is in init_uts_ns: behind sysname, below 1 KiB of it all.
SPAN = 1024


class Stub:
    """A connection to the stub."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(240)
        self.socket.connect(path)
        self.bytes = b''

    def byte(self):
        if not self.bytes:
            self.bytes = self.socket.recv(65536)
            if not self.bytes:
                raise RuntimeError('the stub has hung up')
        first, self.bytes = self.bytes[:1], self.bytes[1:]
        return first

    def send(self, text):
        packet = b'$%s#%02x' % (text.encode(), sum(text.encode()) % 256)
        self.socket.sendall(packet)
        while self.byte() != b'+':
            pass

    def receive(self):
        while self.byte() != b'$':
            pass
        text = b''
        while not text.endswith(b'#'):
            text += self.byte()
        self.byte()
        self.byte()
        self.socket.sendall(b'+')
        return text[:-1].decode()

    def ask(self, text):
        self.send(text)
        return self.receive()

    def stop(self):
        """Stop the guest, as Ctrl-c does."""
        self.socket.sendall(b'\x03')
        return self.receive()

    def registers(self):
        """rax to r15 and rip."""
        data = bytes.fromhex(self.ask('g').replace('x', '0')[:GENERAL * 16])
        return [int.from_bytes(data[at:at + 8], 'little') for at in range(0, len(data), 8)]

    def memory(self, address, size):
        return bytes.fromhex(self.ask('m%x,%x' % (address, size)))

    def point(self, on, kind, address, size=1):
        return self.ask('%s%d,%x,%x' % ('Z' if on else 'z', kind, address, size)) == 'OK'

    def cont(self):
        self.send('c')

    def step(self):
        return self.ask('vCont;s:p1.1')


def debugging(test):
    qemu = test.linux(COMMAND, '-gdb', 'unix:%s/gdb,server=on,wait=off' % test.work, append='nokaslr', cpus='1')
    test.check('the guest runs', qemu.expect('ready'), qemu)
    symbols = {name: int(address, 16) for address, name in
               re.findall(r'^([0-9a-f]{16}) \w (\w+)$', qemu.console(), re.MULTILINE)}
    function, names = symbols['__x64_sys_sethostname'], symbols['init_uts_ns']
    stub = Stub(test.work + '/gdb')
    stub.ask('?')
    test.check('a debugger stops it', stub.registers()[RIP], qemu)

    for kind, what in (SOFTWARE, 'software'), (HARDWARE, 'hardware'):
        code = stub.memory(function, 16)
        test.check('a %s breakpoint is set' % what, stub.point(True, kind, function), qemu)
        stub.cont()
        qemu.type(what + '\n')
        reason = stub.receive()
        test.check('the guest stops at it', int(reason[1:3], 16) == TRAP and stub.registers()[RIP] == function, qemu)
        # As a debugger does it, which steps over what it has put there.
        test.check('the breakpoint is taken away', stub.point(False, kind, function), qemu)
        test.check('and the code is as it was', stub.memory(function, 16) == code, qemu)
        path = []
        for _ in range(12):
            stub.step()
            path.append(stub.registers()[RIP])
        print('# steps: ' + ' '.join('%x' % rip for rip in path))
        near = [rip for rip in path if 0 < rip - function < 64]
        test.check('it goes on by single steps', len(near) >= 2 and near[0] - function < 16 and
                   all(a != b for a, b in zip(path, path[1:])), qemu)
        stub.cont()
        test.check('and the guest goes on', qemu.expect('named ' + what), qemu)
        stub.stop()

    # Found where it was written last; the name has no other place.
    place = stub.memory(names, SPAN).find(b'hardware\0')
    test.check("the guest's memory is read", place > 0, qemu)
    for kind, what in (WRITE, 'written'), (ACCESS, 'accessed'):
        test.check('a watchpoint is set', stub.point(True, kind, names + place), qemu)
        stub.cont()
        qemu.type(what + '\n')
        reason = stub.receive()
        print('# ' + reason)
        found = re.search(r'(watch|rwatch|awatch):([0-9a-f]+);', reason)
        test.check('the guest stops when it is %s' % what, found and int(found[2], 16) == names + place, qemu)
        test.check('behind the access', kind == ACCESS or stub.memory(names + place, 1) == what[:1].encode(), qemu)
        test.check('the watchpoint is taken away', stub.point(False, kind, names + place), qemu)
        stub.cont()
        test.check('and the guest goes on', qemu.expect('named ' + what), qemu)
        stub.stop()

    # As a debugger changes a variable.
    data = b'poked\0'
    test.check('memory is written', stub.ask('M%x,%x:%s' % (names + place, len(data), data.hex())) == 'OK', qemu)
    test.check('and reads so', stub.memory(names + place, len(data)) == data, qemu)
    test.check('the debugger lets go', stub.ask('D') == 'OK', qemu)
    qemu.type('last\n')
    test.check('and the guest runs on', qemu.expect('named last'), qemu)
    stats = qemu.stats()
    test.check('this engine ran it', qemu.ours() and stats['vcpus'][0]['exits'], qemu)


run(debugging, 'cloud-amd64')
