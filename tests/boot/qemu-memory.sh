#!/bin/sh
# SPDX-License-Identifier: MIT
# Debian's QEMU by anykvm exec, with files on a disk as the guest's memory and as its persistent memory (NVDIMM).
# Arguments: SOURCEDIR BUILDDIR
. "$(dirname "$0")/qemu-lib.sh"

# The drivers, which the test guest's initramfs has not.
files=$work/modules
for module in libnvdimm nd_btt nd_pmem nfit; do
	file=$(find "$guest/lib" -name "$module.ko")
	[ -z "$file" ] || printf 'file\tanykvm/%s.ko\t%s\t644\n' "$module" "$file"
done >"$files"

# On the disk that the tree is on: /tmp may be memory.
disk=$(mktemp -d "$build/memory.XXXXXX")
trap 'rm -rf "$work" "$disk"' EXIT

echo 1..11

# The whole of the guest's memory is a file.
remember='head -c 3000000 /dev/urandom >/tmp/a; cp /tmp/a /tmp/b; cmp /tmp/a /tmp/b && echo "same""d"
echo mark-$((1234567 * 8))-mark >/tmp/mark; cat /tmp/mark; exit 3'
qemu "$remember" -accel kvm -M q35,memory-backend=ram -m 160 \
	-object "memory-backend-file,id=ram,size=160M,mem-path=$disk/ram,share=on"
check 'a file is memory' 'grep -q "^samed$" "$out.text" && [ "$status" = 7 ]'
check 'which has what the guest wrote' 'grep -qa "mark-9876536-mark" "$disk/ram"'
check 'this engine ran it, and used pages as they came' \
	'engine "vm[\"pages_populated\"] == 0 and vcpus[0][\"pf_fixed\"] > 1000"'

# All of it resident from the start.
parameters=kvm.global_tdp=Y
qemu "$remember" -accel kvm -M q35,memory-backend=ram -m 160 \
	-object "memory-backend-file,id=ram,size=160M,mem-path=$disk/ram,share=on"
check 'memory that is populated' 'grep -q "^samed$" "$out.text" && [ "$status" = 7 ]'
check 'is used without a fault' 'engine "vm[\"pages_populated\"] > 40000 and vcpus[0][\"pf_fixed\"] == 0"'

# Persistent memory: read, written as it is, and with a file system whose files are in it.
parameters=
head -c 33554432 /dev/urandom >"$disk/nv"
sum=$(md5sum <"$disk/nv" | cut -d ' ' -f 1)
pmem='appear() { n=0; while [ ! -e /dev/pmem0 ]; do n=$((n + 1)); [ $n -lt 60 ] || exit 9; sleep 1; done; }
for m in libnvdimm nd_btt nd_pmem nfit; do insmod /anykvm/$m.ko; done; appear'
qemu "$pmem; md5sum /dev/pmem0
head -c 1048576 /dev/pmem0 | dd of=/dev/pmem0 bs=64k seek=64 conv=notrunc 2>/dev/null; sync; exit 4" \
	-accel kvm -M q35,nvdimm=on -m 160,slots=2,maxmem=512M -device nvdimm,memdev=nv \
	-object "memory-backend-file,id=nv,size=32M,mem-path=$disk/nv,share=on"
check 'an NVDIMM is found' '[ "$status" = 9 ]'
check 'it is read' 'grep -q "^$sum" "$out.text"'
check 'and written, to its file' 'cmp -n 1048576 "$disk/nv" "$disk/nv" 0 4194304'
check 'it is memory: no device was asked' 'engine "vcpus[0][\"mmio_exits\"] < 20000 and vcpus[0][\"pf_fixed\"] > 8192"'

# A namespace whose pages the guest's kernel has records of, as "ndctl create-namespace -m fsdax" makes one.
fsdax='cd /sys/bus/nd
echo namespace0.0 >drivers/nd_pmem/unbind
echo ram >devices/pfn0.0/mode
cat /proc/sys/kernel/random/uuid >devices/pfn0.0/uuid
echo namespace0.0 >devices/pfn0.0/namespace
echo pfn0.0 >drivers/nd_pmem/bind
appear'
parameters=kvm.global_tdp=Y
qemu "$pmem; $fsdax; mke2fs -b 4096 /dev/pmem0 >/dev/null 2>&1; mount -t ext4 -o dax /dev/pmem0 /mnt || exit 8
head -c 2000000 /dev/urandom >/mnt/a; cp /mnt/a /mnt/b; umount /mnt; mount -t ext4 -o dax /dev/pmem0 /mnt
cmp /mnt/a /mnt/b && grep -o 'dax[=a-z]*' /proc/mounts; echo kept-999999-kept >/mnt/c; umount /mnt; exit 4" \
	-accel kvm -M q35,nvdimm=on -m 160,slots=2,maxmem=512M -device nvdimm,memdev=nv \
	-object "memory-backend-file,id=nv,size=32M,mem-path=$disk/nv,share=on,pmem=on"
check 'a file system with its files in it (DAX)' 'grep -q "^dax" "$out.text" && [ "$status" = 9 ]'
check 'the file has them' 'grep -qa "kept-999999-kept" "$disk/nv"'
