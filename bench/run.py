#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run the benchmark: natively, as a guest of anykvm, and as one of QEMU's, by anykvm exec and by TCG, in turns.

Every guest boots the same stock kernel with the same /init (bench/init.c), with the same memory and number of
CPUs.  Prints best, median and ratios for each workload, and writes all single values to BUILD/bench.json.
"""
import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from nested import Nested

SIDES = ('native', 'anykvm', 'qemu', 'tcg')  # 'qemu' is QEMU as a client of 'anykvm exec'
VALUE = re.compile(r'^([a-z0-9-]+) ([0-9]+(?:\.[0-9]+)?) (ns|us|ms|s|MiB|cycles)$')
SMP = 'int-two,mem-two,sys-two,threads,locked'
SHARES = (('int', 'integer work'), ('mem', 'memory'), ('sys', 'system calls'))
HERE = os.path.dirname(os.path.abspath(__file__))


class Run:
    """One process: its lines with the time of their arrival, and what it cost."""

    def __init__(self, command, timeout, env=None, ram_mib=None):
        self.values = {}
        self.host_ns = {}
        self.ready = None
        self.lines = []
        self.error = None
        self.own_mib = None
        start = time.monotonic()
        # A session of its own, so that whatever the command starts ends with it.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, env=env, start_new_session=True)
        watchdog = threading.Timer(timeout, self.kill, (process, timeout))
        watchdog.start()
        began = (None, 0)
        inside, inside_since = '', 0
        for raw in process.stdout:
            now = time.monotonic()
            line = raw.decode('utf-8', 'replace').strip()
            # Firmware ends its output in escape sequences, not in a new line.
            line = re.sub(r'^.*?(?=(?:bench ready|inside \S+)$)', '', line)
            self.lines.append(line)
            if line == 'bench ready' and not inside:
                self.ready = now - start
            elif line == 'bench ready' and inside.endswith('l2-'):
                self.values[inside + 'boot'] = (now - inside_since, 's')
            elif line.startswith('inside '):
                inside, inside_since = line[7:] + '-', now
            elif line.startswith('begin '):
                own = own_memory(process.pid, ram_mib) if ram_mib else None
                if own is not None:
                    self.own_mib = max(own, self.own_mib or 0)
                began = (line[6:], time.monotonic())
            elif line.startswith('failed '):
                self.error = line
            match = VALUE.match(line)
            if match:
                name, value, unit = match.groups()
                self.values[inside + name] = (float(value), unit)
                # An L2's lines take their time.
                if began[0] == name and not inside:
                    self.host_ns[name] = (now - began[1]) * 1e9
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        watchdog.cancel()
        self.rss_mib = usage.ru_maxrss / 1024
        self.cpu_s = usage.ru_utime + usage.ru_stime
        self.wall_s = time.monotonic() - start
        if not self.error and 'bench done' not in self.lines:
            self.error = 'ended with status %d before it was done' % process.returncode

    def kill(self, process, timeout):
        self.error = 'took more than %d s' % timeout
        os.killpg(process.pid, signal.SIGKILL)


def own_memory(pid, ram_mib):
    """What a machine's process holds beside the guest's memory (the mapping that is as large as that), in MiB."""
    total = ram = 0
    try:
        with open('/proc/%d/smaps' % pid, encoding='utf-8', errors='replace') as smaps:
            size = 0
            for line in smaps:
                words = line.split()
                if words[0] == 'Size:':
                    size = int(words[1])
                elif words[0] == 'Rss:':
                    total += int(words[1])
                    if size == ram_mib * 1024:
                        ram += int(words[1])
    except OSError:
        return None
    return (total - ram) / 1024 if ram else None


class Bench:
    def __init__(self, options):
        self.options = options
        guest = os.path.join(options.build, 'guest', 'cloud-amd64')
        self.kernel = options.kernel or os.path.join(guest, 'vmlinuz')
        self.init = os.path.join(options.build, 'bench', 'bench-init')
        self.anykvm = options.anykvm or os.path.join(options.build, 'src', 'cli', 'anykvm')
        self.exit_client = os.path.join(options.build, 'bench', 'bench-exit')
        self.samples = {}
        self.units = {}
        self.order = []
        self.failures = []
        self.work = tempfile.TemporaryDirectory()
        self.initramfs = os.path.join(self.work.name, 'initramfs')
        nodes = 'dir dev\nnode dev/console 5 1\nnode dev/null 1 3\n'
        subprocess.run([os.path.join(HERE, '..', 'tools', 'cpio.py'), self.initramfs],
                       input=(nodes + 'file\tinit\t%s\n' % self.init).encode(), check=True)
        self.nested = Nested(self)

    def add(self, side, name, value, unit):
        if name not in self.units:
            self.units[name] = unit
            self.order.append(name)
        self.samples.setdefault(name, {}).setdefault(side, []).append(value)

    def command(self, side, cpus, only):
        options = self.options
        params = 'quiet BENCH_MS=%d BENCH_ONLY=%s' % (options.ms, only)
        if side == 'anykvm':
            return [self.anykvm, 'run', '-k', self.kernel, '-i', self.initramfs, '-m', str(options.memory),
                    '-c', str(cpus), '-p', params]
        client = [self.anykvm, 'exec', '--'] if side == 'qemu' else []
        return [*client, 'qemu-system-x86_64', '-accel', 'kvm' if client else 'tcg', '-machine', options.machine,
                '-cpu', 'max', '-nodefaults', '-nographic', '-serial', 'stdio', '-no-reboot',
                '-m', str(options.memory), '-smp', str(cpus),
                '-kernel', self.kernel, '-initrd', self.initramfs, '-append', 'console=ttyS0 panic=-1 ' + params]

    def one(self, side, cpus, only):
        timeout = self.options.timeout
        if side == 'native':
            env = dict(os.environ, BENCH_MS=str(self.options.ms), BENCH_ONLY=only)
            run = Run([self.init], timeout, env)
        else:
            run = Run(self.command(side, cpus, only), timeout, ram_mib=self.options.memory)
            if run.ready is not None and cpus == 1:
                self.add(side, 'boot', run.ready, 's')
        self.take(side, run, '%s with %d CPUs' % (side, cpus))
        if cpus == 1 and side != 'native':
            self.add(side, 'peak-memory', run.rss_mib, 'MiB')
            if run.own_mib is not None:
                self.add(side, 'own-memory', run.own_mib, 'MiB')

    def take(self, side, run, what):
        if run.error:
            self.failures.append('%s: %s' % (what, run.error))
            print('  %s; its last lines:' % self.failures[-1], *run.lines[-5:], sep='\n    ', file=sys.stderr)
        for name, (value, unit) in run.values.items():
            self.add(side, name, value, unit)
            self.check_clock(side, name, run.host_ns.get(name))

    def guest(self, side, command):
        self.take(side, Run(command, self.options.timeout), side + ' as a hypervisor')

    def check_clock(self, side, name, host_ns):
        """A guest measures by its own clock: the host's must have moved as far."""
        budget = self.options.ms * 1e6
        if side != 'native' and host_ns is not None and host_ns < 0.8 * budget:
            self.failures.append('%s: %s: its clock showed %d ms and more while %d ms passed' %
                                 (side, name, self.options.ms, host_ns / 1e6))

    def exits(self):
        """The round trip of a port access, through the library and through the kernel where that works."""
        for side, how in (('anykvm', [self.exit_client, 'soft']), ('host KVM', [self.exit_client, 'host']),
                          ('qemu', [self.anykvm, 'exec', '--', self.exit_client, 'host'])):
            if not os.path.exists(self.exit_client):
                return
            try:
                done = subprocess.run(how, stdin=subprocess.DEVNULL, capture_output=True,
                                      timeout=60, check=False, text=True)
            except subprocess.TimeoutExpired:
                print('  %s: exit round trip: no answer within 60 s' % side, file=sys.stderr)
                continue
            for line in done.stdout.splitlines():
                match = VALUE.match(line)
                if match:
                    self.add(side, match[1], float(match[2]), match[3])
            if done.returncode:
                print('  %s: exit round trip: %s' % (side, done.stderr.strip()), file=sys.stderr)

    def rounds(self):
        single = self.options.only or ''
        for number in range(self.options.rounds):
            for side in self.options.sides:
                print('round %d of %d: %s' % (number + 1, self.options.rounds, side), file=sys.stderr, flush=True)
                # Natively both kinds run in one process; a guest has one CPU for the first kind, two for the other.
                self.one(side, 1, single)
                if side != 'native' and (not single or set(single.split(',')) & set(SMP.split(','))):
                    self.one(side, 2, SMP)
            if 'anykvm' in self.options.sides:
                self.exits()
            for side in [side for side in self.options.sides if side in ('anykvm', 'tcg')]:
                print('round %d of %d: %s as a hypervisor' % (number + 1, self.options.rounds, side), file=sys.stderr,
                      flush=True)
                self.nested.round(side)

    def report(self):
        print('%-16s %-4s' % ('workload', 'unit'), *('%10s %10s' % (side, 'median') for side in SIDES),
              '%10s %10s %10s %10s' % ('any/native', 'any/tcg', 'qemu/tcg', 'tcg/native'))
        for name in self.order:
            sides = self.samples[name]
            row = ['%-16s %-4s' % (name, self.units[name])]
            for side in SIDES:
                values = sides.get(side)
                row.append('%10.4g %10.4g' % (min(values), statistics.median(values)) if values else '%10s %10s' % ('-', '-'))
            for top, bottom in (('anykvm', 'native'), ('anykvm', 'tcg'), ('qemu', 'tcg'), ('tcg', 'native')):
                if sides.get(top) and sides.get(bottom):
                    row.append('%9.2fx' % (min(sides[top]) / min(sides[bottom])))
                else:
                    row.append('%10s' % '-')
            if sides.get('host KVM'):
                row.append('  host KVM: %.4g' % min(sides['host KVM']))
            print(' '.join(row))
        self.report_shares()
        self.nested.report()
        print("own-memory is what the machine's process holds beside the memory that the guest has touched.")
        print("'qemu' is the same machine as 'tcg', with -accel kvm under 'anykvm exec', and for exit-out a client of its own.")
        print('The first figure of a pair is the best of %d runs; ratios are of the best.' % self.options.rounds)

    def report_shares(self):
        """What a second CPU is worth: work in two threads on two, against one on one."""
        for name, what in SHARES:
            one, two = self.samples.get(name + '-one', {}), self.samples.get(name + '-two', {})
            shares = ['%s %.2f (median %.2f)' % (side, 2 * min(one[side]) / min(two[side]),
                                                 2 * statistics.median(one[side]) / statistics.median(two[side]))
                      for side in SIDES if one.get(side) and two.get(side)]
            if shares:
                print('two CPUs over one, %s: %s' % (what, ', '.join(shares)))

    def write(self):
        path = os.path.join(self.options.build, 'bench.json')
        result = {
            'machine': machine(),
            'options': {key: value for key, value in vars(self.options).items() if key in
                        ('rounds', 'ms', 'memory', 'machine')},
            'workloads': {name: {
                'unit': self.units[name],
                **{side: {'best': min(values), 'median': statistics.median(values), 'all': values}
                   for side, values in self.samples[name].items()},
            } for name in self.order},
            'failures': self.failures,
        }
        with open(path + '.part', 'w', encoding='utf-8') as out:
            json.dump(result, out, indent=1)
            out.write('\n')
        os.replace(path + '.part', path)
        print('All values are in %s.' % path)


def machine():
    with open('/proc/cpuinfo', encoding='utf-8') as info:
        model = re.search(r'^model name\s*: (.*)$', info.read(), re.MULTILINE)
    qemu = ''
    if shutil.which('qemu-system-x86_64'):
        qemu = subprocess.run(['qemu-system-x86_64', '--version'], capture_output=True, text=True,
                              check=False).stdout.splitlines()[0]
    return {'cpu': model[1] if model else 'unknown', 'cpus': os.cpu_count(), 'kernel': os.uname().release,
            'peer': qemu}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--build', default='build', help='build folder')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--ms', type=int, default=300, help='time for each workload in each run')
    parser.add_argument('--memory', type=int, default=512, help='guest memory in MiB')
    parser.add_argument('--machine', default='q35', help="QEMU's machine type")
    parser.add_argument('--only', help='only these workloads, by commas')
    parser.add_argument('--sides', default=','.join(SIDES), type=lambda text: text.split(','),
                        help='who runs, by commas, of ' + ', '.join(SIDES))
    parser.add_argument('--nested', default='svm,vmx', type=lambda text: [v for v in text.split(',') if v],
                        help='hypervisors inside, by commas, of svm, vmx; or none')
    parser.add_argument('--timeout', type=int, default=600, help='longest time of one run in seconds')
    parser.add_argument('--kernel', help='another kernel')
    parser.add_argument('--anykvm', help='another anykvm')
    bench = Bench(parser.parse_args())
    try:
        bench.rounds()
    except KeyboardInterrupt:
        print('interrupted: what follows is incomplete', file=sys.stderr)
    bench.report()
    bench.write()
    for failure in bench.failures:
        print('bench: ' + failure, file=sys.stderr)
    return 1 if bench.failures else 0


if __name__ == '__main__':
    sys.exit(main())
