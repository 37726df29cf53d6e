# SPDX-License-Identifier: MIT
"""The benchmark's guests that are hypervisors: one of a few lines (nested/nested.h), and Debian's kernel with KVM."""
import json
import os
import subprocess

# Of nested virtualization QEMU's TCG has SVM alone.
VENDORS = {'svm': 'amd', 'vmx': 'intel'}
COMPUTING = 'sha256,sort,matrix,calls,memcpy,chase'
L1_MIB, L2_MIB = 1024, 512

# In L1, by the test guest's shell: the same workloads there, then the boot of an L2 that runs them.
DEBIAN = '''
for module in irqbypass kvm kvm-%(cpu)s; do insmod /anykvm/kvm/$module.ko; done
echo inside %(vendor)s-l1
BENCH_MS=%(ms)d BENCH_ONLY=%(only)s /bench-init
echo inside %(vendor)s-l2
/anykvm/anykvm run --accel host -k /anykvm/vmlinuz -i /anykvm/initramfs -m %(mib)d \\
	-p 'quiet BENCH_MS=%(ms)d BENCH_ONLY=%(only)s' </dev/null
'''


class Nested:
    def __init__(self, bench):
        self.bench = bench
        self.small = os.path.join(bench.options.build, 'bench', 'bench-nested')
        self.tools = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'tools')
        self.stats = os.path.join(bench.work.name, 'stats')

    def vendors(self, side):
        return [v for v in self.bench.options.nested if side == 'anykvm' or v == 'svm']

    def machine(self, side, vendor, kernel, mib, initramfs, params):
        """The command of an L1."""
        options = self.bench.options
        if side == 'anykvm':
            return [self.bench.anykvm, 'run', '--cpu', VENDORS[vendor], '-k', kernel, '-m', str(mib),
                    '--stats', self.stats, *(['-i', initramfs] if initramfs else []), '-p', params]
        return ['qemu-system-x86_64', '-accel', 'tcg', '-machine', options.machine, '-cpu', 'max,+' + vendor,
                '-nodefaults', '-nographic', '-serial', 'stdio', '-no-reboot', '-m', str(mib),
                '-device', 'isa-debug-exit,iobase=0xf4,iosize=1', '-kernel', kernel,
                *(['-initrd', initramfs] if initramfs else []), '-append', 'console=ttyS0 panic=-1 ' + params]

    def run_small(self, side, vendor):
        self.bench.guest(side, self.machine(side, vendor, self.small, 64, '', 'BENCH_MS=%d' % self.bench.options.ms))
        if side == 'anykvm':
            self.count_flushes(vendor)

    def count_flushes(self, vendor):
        """L2 is entered and left some hundred thousand times, and nothing but its start drops translations."""
        with open(self.stats, encoding='utf-8') as stats:
            vcpu = json.load(stats)['vcpus'][0]
        self.bench.add('anykvm', vendor + '-entries', vcpu['nested_run'], 'times')
        self.bench.add('anykvm', vendor + '-flushes', vcpu['tlb_flush'], 'times')
        if vcpu['tlb_flush'] * 1000 > vcpu['nested_run']:
            self.bench.failures.append('%s: %d flushes in %d entries to L2' %
                                       (vendor, vcpu['tlb_flush'], vcpu['nested_run']))

    def initramfs(self, vendor):
        """The test guest, with KVM, this build's anykvm and the benchmark's own initramfs for L2."""
        options = self.bench.options
        path, command, files = (os.path.join(self.bench.work.name, vendor + end) for end in ('', '.cmd', '.list'))
        if os.path.exists(path):
            return path
        with open(command, 'w', encoding='utf-8') as out:
            out.write(DEBIAN % {'cpu': VENDORS[vendor], 'vendor': vendor, 'ms': options.ms, 'only': COMPUTING,
                                'mib': L2_MIB})
        with open(files, 'wb') as out:
            out.write(subprocess.run([os.path.join(self.tools, 'nested-list.sh'), options.build, self.bench.initramfs],
                                     check=True, stdout=subprocess.PIPE).stdout)
            out.write(('file\tbench-init\t%s\t755\n' % self.bench.init).encode())
        base = os.path.join(options.build, 'guest', 'cloud-amd64', 'initramfs')
        subprocess.run([os.path.join(self.tools, 'guest-command.sh'), base, command, path, files], check=True)
        return path

    def run_debian(self, side, vendor):
        self.bench.guest(side, self.machine(side, vendor, self.bench.kernel, L1_MIB, self.initramfs(vendor),
                                            'quiet loglevel=1'))

    def round(self, side):
        for vendor in self.vendors(side):
            self.run_small(side, vendor)
            self.run_debian(side, vendor)

    def report(self):
        """The figures that there are bars for."""
        for vendor in VENDORS:
            best = {(name[len(vendor) + 1:], side): min(values) for name, sides in self.bench.samples.items()
                    for side, values in sides.items() if name.startswith(vendor + '-')}
            if ('trip', 'anykvm') not in best:
                continue
            # Two switches, and what L1 itself does between them.
            trip, exit_out = best['trip', 'anykvm'], best['exit-out', 'anykvm']
            own = best['empty', 'anykvm']
            print("%s: L2 to L1 and back %.0f ns, without L1's own instructions %.2f exits to the client; "
                  "%d flushes in %d entries" % (vendor, trip, (trip - own) / exit_out,
                  best['flushes', 'anykvm'], best['entries', 'anykvm']))
            if ('trip', 'tcg') in best:
                print("%s: TCG's way from L2 to L1 and back takes %.1f times as long" % (vendor, best['trip', 'tcg'] / trip))
            for side in ('anykvm', 'tcg'):
                shares = ['%s %.3f' % (name, best['l1-' + name, side] / best['l2-' + name, side])
                          for name in COMPUTING.split(',') if ('l2-' + name, side) in best]
                shares += ['%s %.3f' % (name, best[name + '-l1', side] / best[name + '-l2', side])
                           for name in ('int', 'mem', 'tlb') if (name + '-l2', side) in best]
                if shares:
                    print("%s: %s's L2 computes at this share of L1's speed: %s" % (vendor, side, ', '.join(shares)))
                boot = self.bench.samples.get('boot', {}).get(side)
                if boot and ('l2-boot', side) in best:
                    print("%s: %s's L2 takes %.2f times as long to boot as an L1" %
                          (vendor, side, best['l2-boot', side] / min(boot)))
