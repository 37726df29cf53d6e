#!/bin/sh
# SPDX-License-Identifier: MIT
# Debian's libguestfs, unmodified, on anykvm: its own test, and a file system made and read by guestfish.
# Arguments: SOURCEDIR BUILDDIR.  Its appliance boots the kernel of the test guest.
. "$(dirname "$0")/lib.sh"
need libguestfs-test-tool guestfish supermin depmod qemu-system-x86_64
# supermin looks at it whatever it is told.
[ -d /lib/modules ] || mkdir -p /lib/modules 2>/dev/null || skip '/lib/modules is missing'
release=$(cat "$guest/version")
mkdir -p "$work/lib"
cp -r "$guest/lib/modules" "$work/lib/" && depmod -b "$work" "$release" || skip 'depmod fails'

export LIBGUESTFS_BACKEND=direct TMPDIR="$work"
export SUPERMIN_KERNEL="$guest/vmlinuz" SUPERMIN_MODULES="$work/lib/modules/$release"

echo 1..6
check 'libguestfs-test-tool ends well' 'on "$work/tool" libguestfs-test-tool'
check 'its last word' 'grep -q "TEST FINISHED OK" "$log"'
check 'the engine ran it' 'ours && grep -q "kvm-clock: Using msrs" "$log"'
cat >"$work/make.fish" <<END
sparse $work/disk.img 64M
run
part-disk /dev/sda mbr
mkfs ext4 /dev/sda1
mount /dev/sda1 /
write /word "written in a guest"
umount /
END
check 'guestfish makes a file system' 'on "$work/make" guestfish -f "$work/make.fish"'
check 'and reads it' 'on "$work/read" guestfish --ro -a "$work/disk.img" -m /dev/sda1 cat /word'
check 'what was written' 'ours && grep -q "^written in a guest$" "$log"'
