#!/bin/sh
# SPDX-License-Identifier: MIT
# Debian's QEMU, as it is, boots Debian's kernel by anykvm exec.
# Arguments: SOURCEDIR BUILDDIR MACHINE
. "$(dirname "$0")/qemu-lib.sh"
machine=$3

# ran VCPUS: it was this engine, with so many vCPUs, and each of them ran.
ran() {
	engine "[vcpu['exits'] > 0 for vcpu in vcpus] == [True] * $1"
}

say='echo system $(uname -sm) $(nproc); echo clock $(cat /sys/devices/system/clocksource/*/current_clocksource)'
head -c 3145728 /dev/urandom >"$work/disk"
sum=$(md5sum <"$work/disk" | cut -d ' ' -f 1)
# On a bus that the machine has.
case $machine in
microvm*) disk=virtio-blk-device ;;
*) disk=virtio-blk-pci ;;
esac

echo 1..9
qemu "$say; exit 6" -accel kvm -M "$machine" -m 256
check 'one vCPU reaches the userland' 'grep -q "system Linux x86_64 1$" "$out.text"'
check 'which finds a KVM' 'grep -q "^clock kvm-clock$" "$out.text"'
check 'and gives its status' '[ "$status" = 13 ]'
check 'this engine ran it' 'ran 1'
qemu "$say; md5sum /dev/vda; dd if=/dev/vda of=/dev/vda bs=1M count=1 seek=2 conv=notrunc; sync" \
	-accel kvm,kernel-irqchip=split -M "$machine" -m 256 -smp 2 -cpu host \
	-drive "file=$work/disk,format=raw,if=none,id=d" -device "$disk,drive=d"
check 'two vCPUs, with the split interrupt controller' 'grep -q "system Linux x86_64 2$" "$out.text"'
check 'the disk is read' 'grep -q "^$sum" "$out.text"'
check 'and written' 'cmp -n 1048576 "$work/disk" "$work/disk" 0 2097152'
check 'the status' '[ "$status" = 1 ]'
check 'this engine ran both' 'ran 2'
