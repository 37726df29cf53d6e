#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A disk with Debian on it that boots by itself in QEMU under anykvm exec: disk.py SOURCEDIR BUILDDIR FIRMWARE

FIRMWARE is bios (SeaBIOS), uefi (OVMF), or smm (OVMF that keeps its variables behind system management mode).
"""
import shutil
import subprocess
import sys

from qemu import BUILD, SOURCE, Qemu, run

OVMF = '/usr/share/OVMF/OVMF_%s_4M%s.fd'
# Three boots' worth for a machine with little time.
PATIENCE = 900
CASES = {
    # The machine's own disk: IDE; and virtio.
    'bios': [('pc', ['-drive', 'file=%s,if=ide,snapshot=on,format=raw'], 'GRUB on pc'),
             ('q35', ['-drive', 'file=%s,if=virtio,snapshot=on,format=raw'], 'GRUB on pc')],
    'uefi': [('q35', ['-drive', 'file=%s,if=virtio,snapshot=on,format=raw'], 'GRUB on efi')],
    'smm': [('q35,smm=on', ['-drive', 'file=%s,if=virtio,snapshot=on,format=raw'], 'GRUB on efi')],
}


def firmware(test, name):
    """The options for it."""
    if name == 'bios':
        return []
    shutil.copy(OVMF % ('VARS', ''), test.work + '/vars')
    code = OVMF % ('CODE', '.secboot' if name == 'smm' else '')
    return ['-drive', 'if=pflash,unit=0,format=raw,readonly=on,file=' + code,
            '-drive', 'if=pflash,unit=1,format=raw,file=%s/vars' % test.work,
            *(['-global', 'driver=cfi.pflash01,property=secure,value=on'] if name == 'smm' else [])]


def boots(test):
    name = sys.argv[3]
    for machine, drive, grub in CASES[name]:
        drive = [word.replace('%s', BUILD + '/guest/debian/disk.img') for word in drive]
        # This OVMF maps up to 47 bits of address, in pages of 2 MiB: its tables would need 513 MiB and take minutes.
        cpu = 'host' if name == 'bios' else 'host,host-phys-bits-limit=39'
        qemu = Qemu(test, *firmware(test, name), *drive, machine=machine, cpus='2', memory='512', cpu=cpu)
        test.check('%s: GRUB comes up' % machine, qemu.expect(grub, PATIENCE), qemu)
        test.check('Debian boots to a login', qemu.expect('debian login:', PATIENCE), qemu)
        qemu.type('root\n')
        test.check('which wants a password', qemu.expect('Password:'), qemu)
        qemu.type('anykvm\n')
        test.check('and lets root in', qemu.expect('root@debian'), qemu)
        # The command's echo must not be taken for its answer.
        qemu.type('echo virt=$(systemd-detect-virt) cpus=$(nproc) efi=$(ls -d /sys/firmware/efi 2>/dev/null | wc -l)\n')
        test.check('systemd sees a KVM', qemu.expect('virt=kvm cpus=2 efi=%d' % (name != 'bios')), qemu)
        qemu.type('systemctl --no-pager --failed --no-legend | wc -l | sed s/^/failed=/; poweroff\n')
        test.check('and all its units well', qemu.expect('failed=0'), qemu)
        test.check('it powers off', qemu.ended(PATIENCE) == 0, qemu)
        if name == 'smm':
            test.check('the vCPUs were in system management mode',
                       all(vcpu['smm_entries'] for vcpu in qemu.stats()['vcpus'][:1]), qemu)
        test.check('this engine ran it', qemu.ours(), qemu)


if subprocess.run([SOURCE + '/tools/debian-disk.sh', BUILD + '/guest/debian'], check=False).returncode:
    print('1..0 # SKIP the disk cannot be made here')
    sys.exit(0)
run(boots, needs=[] if sys.argv[3] == 'bios' else [OVMF % ('VARS', ''), OVMF % ('CODE', '.secboot')])
