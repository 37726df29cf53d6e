#!/bin/sh
# SPDX-License-Identifier: MIT
# A hypervisor that needs no nested virtualization: Debian's Xen in Debian's QEMU on anykvm, with Debian's kernel as its
# paravirtualized dom0.  It uses privilege rings, segments and interrupt stacks in ways of its own.
# Arguments: SOURCEDIR BUILDDIR
# The cloud kernel cannot be a dom0.
KERNEL=amd64
. "$(dirname "$0")/lib.sh"
need qemu-system-x86_64
xen=$build/guest/xen
unpacked "$xen" xen-hypervisor-4.17-amd64 || skip 'cannot fetch Xen'
gunzip -c "$xen"/boot/xen-4.17-amd64.gz >"$work/xen"
guest_runs "$work/initramfs" <<'END'
echo clock $(cat /sys/devices/system/clocksource/*/current_clocksource)
echo on $(cat /sys/hypervisor/type) $(nproc)
exit 6
END

echo 1..4
# isa-debug-exit makes the status twice the guest's and one.
on "$work/log" qemu-system-x86_64 -accel kvm -M q35 -smp 2 -m 768 -cpu host -nodefaults -display none \
	-serial "file:$work/serial" -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=1 -kernel "$work/xen" \
	-append 'com1=115200,8n1 console=com1 dom0_mem=512M noreboot' \
	-initrd "$guest/vmlinuz console=hvc0 panic=-1 quiet,$work/initramfs"
ended=$?
cat "$work/serial" >>"$log"
check 'Xen starts' 'grep -q "Xen version 4\.17" "$work/serial"'
check 'its dom0 reaches the userland' 'grep -q "on xen 2" "$work/serial"'
check 'and ends with its status' '[ "$ended" = 13 ]'
check 'the engine ran it' ours
