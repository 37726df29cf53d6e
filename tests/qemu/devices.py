#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What drives the interrupts, ports and device memory of QEMU's machines: devices.py SOURCEDIR BUILDDIR CASE

smp: 1 to 4 vCPUs; irqchip: QEMU's own interrupt controllers; virtio: eventfds for virtio, and without;
old: e1000 and IDE, whose registers are all that there is.
"""
import hashlib
import os
import subprocess
import sys

from qemu import SOURCE, run, wait


# Each vCPU runs something that is bound to it.
ON_EACH = """sum=0
for at in $(seq 0 $(($(nproc) - 1))); do
	[ "$(taskset -c $at awk '{ print $39 }' /proc/self/stat)" = $at ] && sum=$((sum + 1))
done
echo $sum of $(nproc)
"""


def smp(test):
    for cpus in '1', '2', '3', '4':
        qemu = test.linux(ON_EACH, cpus=cpus)
        test.check('%s vCPUs are there, and run' % cpus, qemu.expect('%s of %s\n' % (cpus, cpus)), qemu)
        test.check('the guest powers off', qemu.ended() == 0, qemu)
        test.check('this engine ran it', qemu.ours(), qemu)


def irqchip(test):
    for machine in 'q35', 'pc':
        qemu = test.linux('echo up on $(nproc); usleep 100000; echo slept', machine=machine,
                          accel='kvm,kernel-irqchip=off')
        test.check('%s, no interrupt controller from KVM' % machine, qemu.expect('up on 1\n'), qemu)
        test.check('its timer', qemu.expect('slept'), qemu)
        test.check('the guest powers off', qemu.ended() == 0, qemu)
        vcpu, = qemu.stats()['vcpus']
        # Halting is the client's affair then, and so is every access to an APIC.
        test.check('the client halted and injected', not vcpu['halt_wakeup'] and vcpu['irq_injections'] > 100 and
                   vcpu['mmio_exits'] > 100, qemu)
        test.check('this engine ran it', qemu.ours(), qemu)
    # QEMU 7.2.22 never clears CPU_INTERRUPT_SIPI: a vCPU that was started and then halts spins with the big lock held.
    # So the vCPUs must not halt: a firmware that starts none, and a kernel that polls.  Its hypercall for IPIs is KVM's
    # to offer, whoever has the APICs, and there it finds none.
    for machine, cpus in ('q35', '2'), ('pc', '4'):
        qemu = test.linux(ON_EACH + 'sleep 100000', '-bios', 'qboot.rom', machine=machine,
                          accel='kvm,kernel-irqchip=off', cpu='host,kvm-pv-ipi=off', cpus=cpus, append='idle=poll')
        test.check('%s, %s vCPUs' % (machine, cpus), qemu.expect('%s of %s\n' % (cpus, cpus)), qemu)
        vcpus = qemu.stats()['vcpus']
        test.check('the client injected into each', all(vcpu['irq_injections'] > 10 for vcpu in vcpus), qemu)
        test.check('this engine ran it', qemu.ours(), qemu)


# Machine, device, and how its eventfds are switched; the last one sends its interrupts by an eventfd, too.
DISKS = [('q35', 'virtio-blk-pci', 'virtio-pci', False), ('microvm', 'virtio-blk-device', 'virtio-mmio', False),
         ('q35', 'virtio-blk-pci,iothread=io', 'virtio-pci', True)]


def virtio(test):
    data = os.urandom(4 << 20)
    digest = hashlib.md5(data).hexdigest()
    disk = test.file('disk', data)
    for machine, device, bus, irqfd in DISKS:
        counts = []
        for flag in ('on',) if irqfd else ('on', 'off'):
            qemu = test.linux('dd if=/dev/vda iflag=direct bs=4k 2>/dev/null | md5sum; poweroff -f', '-drive',
                              'file=%s,format=raw,if=none,id=d,readonly=on' % disk, '-object', 'iothread,id=io',
                              '-device', device + ',drive=d', '-global', '%s.ioeventfd=%s' % (bus, flag),
                              machine=machine)
            test.check('%s: %s is read with ioeventfd=%s' % (machine, device, flag), qemu.expect(digest), qemu)
            counts.append(qemu.stats()['vm'])
            test.check('this engine ran it', qemu.ours(), qemu)
        # The kernel merges no request of a program that waits for each: 1,024 of them.
        test.check('an eventfd took its requests', counts[0]['ioeventfd_signals'] >= 1024, qemu)
        if irqfd:
            test.check('and one gave its interrupts', counts[0]['irqfd_signals'] >= 1024, qemu)
        else:
            test.check('which it does not where it is off', not counts[1]['ioeventfd_signals'], qemu)


def old(test):
    data = os.urandom(4 << 20)
    disk = test.file('disk', data)
    page = test.file('page', 'what the host serves\n')
    os.mkdir(test.work + '/www')
    os.rename(page, test.work + '/www/page')
    server = subprocess.Popen([sys.executable, SOURCE + '/tests/boot/serve.py', test.work + '/www',
                               test.work + '/port'])
    try:
        wait(lambda: os.path.exists(test.work + '/port') and os.path.getsize(test.work + '/port'))
        with open(test.work + '/port', encoding='ascii') as text:
            port = text.read().strip()
        for machine, nic in ('pc', 'e1000'), ('q35', 'e1000e'):
            # On 'pc' that is IDE, on 'q35' AHCI.
            qemu = test.linux("""modprobe ata_piix; modprobe ahci; modprobe sd_mod; modprobe %s
for i in $(seq 1 300); do [ -b /dev/sda -a -e /sys/class/net/eth0 ] && break; usleep 100000; done
md5sum /dev/sda
dd if=/dev/sda of=/dev/sda bs=1M count=1 seek=3 conv=fsync,notrunc 2>/dev/null
ip link set eth0 up
udhcpc -i eth0 -s /usr/share/udhcpc/default.script -n -q >/dev/null && wget -q -O - http://10.0.2.2:%s/page
ping -c 3 -A 10.0.2.2 | grep loss
""" % (nic, port), '-drive', 'file=%s,format=raw,if=ide' % disk, '-netdev', 'user,id=n', '-device', nic + ',netdev=n',
                              machine=machine, flavour='amd64', cpus='2', memory='256')
            test.check('%s: its IDE disk is read' % machine, qemu.expect(hashlib.md5(data).hexdigest()), qemu)
            test.check('%s: a page comes by %s' % (machine, nic), qemu.expect('what the host serves'), qemu)
            test.check('and echoes', qemu.expect('3 packets received, 0% packet loss'), qemu)
            test.check('the guest powers off', qemu.ended() == 0, qemu)
            data = data[:3 << 20] + data[:1 << 20]
            with open(disk, 'rb') as image:
                test.check('the disk is written', image.read() == data, qemu)
            vcpus = qemu.stats()['vcpus']
            test.check('by ports and device memory', sum(vcpu['mmio_exits'] for vcpu in vcpus) > 100, qemu)
            test.check('this engine ran it', qemu.ours(), qemu)
    finally:
        server.kill()
        server.wait()


CASES = {'smp': (smp, 'cloud-amd64'), 'irqchip': (irqchip, 'cloud-amd64'), 'virtio': (virtio, 'cloud-amd64'),
         'old': (old, 'amd64')}
run(*CASES[sys.argv[3]])
