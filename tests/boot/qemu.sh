#!/bin/sh
# SPDX-License-Identifier: MIT
# Debian's QEMU, as it is, boots Debian's kernel by anykvm exec.
# Arguments: SOURCEDIR BUILDDIR MACHINE
. "$(dirname "$0")/lib.sh"
machine=$3
anykvm=$build/src/cli/anykvm
guest=$build/guest/cloud-amd64

if ! command -v qemu-system-x86_64 >/dev/null 2>&1; then
	echo '1..0 # SKIP no qemu-system-x86_64 here (Debian package qemu-system-x86)'
	exit 0
fi

# qemu COMMAND [OPTION OF QEMU...]: run COMMAND in a guest; sets $out, $err, $stats (files) and $status, which is
# twice the command's and one (isa-debug-exit).
qemu() {
	printf '%s\n' "$1" >"$work/cmd"
	shift
	printf 'dir\tanykvm\nfile\tanykvm/cmd\t%s\t644\n' "$work/cmd" | python3 "$source/tools/cpio.py" "$work/extra"
	cat "$guest/initramfs" "$work/extra" >"$work/initramfs"
	out=$work/out
	err=$work/err
	stats=$work/stats
	status=0
	timeout -k 10 "$boot_timeout" "$anykvm" exec -v --stats "$stats" -- qemu-system-x86_64 -M "$machine" \
		-m 256 -nodefaults -display none -serial stdio -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=1 \
		-kernel "$guest/vmlinuz" -initrd "$work/initramfs" \
		-append 'console=ttyS0 panic=-1 quiet loglevel=1' "$@" >"$out" 2>"$err" </dev/null || status=$?
	tr -d '\r' <"$out" >"$out.text"
}

# ran VCPUS: it was this engine, with so many vCPUs, and each of them ran.
ran() {
	grep -q 'anykvm: qemu-system-x86_64 .* opened the engine' "$err" && python3 - "$stats" "$1" <<-'END'
		import json, sys
		vm, = [json.loads(line) for line in open(sys.argv[1])]
		assert vm['engine'].startswith('anykvm ')
		assert [vcpu['exits'] > 0 for vcpu in vm['vcpus']] == [True] * int(sys.argv[2])
	END
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
qemu "$say; exit 6" -accel kvm
check 'one vCPU reaches the userland' 'grep -q "system Linux x86_64 1$" "$out.text"'
check 'which finds a KVM' 'grep -q "^clock kvm-clock$" "$out.text"'
check 'and gives its status' '[ "$status" = 13 ]'
check 'this engine ran it' 'ran 1'
qemu "$say; md5sum /dev/vda; dd if=/dev/vda of=/dev/vda bs=1M count=1 seek=2 conv=notrunc; sync" \
	-accel kvm,kernel-irqchip=split -smp 2 -cpu host \
	-drive "file=$work/disk,format=raw,if=none,id=d" -device "$disk,drive=d"
check 'two vCPUs, with the split interrupt controller' 'grep -q "system Linux x86_64 2$" "$out.text"'
check 'the disk is read' 'grep -q "^$sum" "$out.text"'
check 'and written' 'cmp -n 1048576 "$work/disk" "$work/disk" 0 2097152'
check 'the status' '[ "$status" = 1 ]'
check 'this engine ran both' 'ran 2'
