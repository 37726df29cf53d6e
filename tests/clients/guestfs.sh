#!/bin/sh
# SPDX-License-Identifier: MIT
# Debian's libguestfs, unmodified, on anykvm: its own test, and a file system made and read by guestfish.
# Arguments: SOURCEDIR BUILDDIR.  Its appliance boots the kernel of the test guest.
source=$1
build=$2
guest=$build/guest/cloud-amd64
work=$(mktemp -d)
number=0
trap 'rm -rf "$work"' EXIT

skip() {
	echo "1..0 # SKIP $1"
	exit 77
}

for program in libguestfs-test-tool guestfish supermin depmod qemu-system-x86_64; do
	PATH=$PATH:/usr/sbin:/sbin command -v $program >/dev/null || skip "$program is missing"
done
# supermin looks at it whatever it is told.
[ -d /lib/modules ] || mkdir -p /lib/modules 2>/dev/null || skip '/lib/modules is missing'
"$source/tools/guest.sh" "$build" cloud-amd64 || skip 'cannot make the test guest'
release=$(cat "$guest/version")
mkdir -p "$work/lib"
cp -r "$guest/lib/modules" "$work/lib/" && PATH=$PATH:/usr/sbin:/sbin depmod -b "$work" "$release" || skip 'depmod fails'

export LIBGUESTFS_BACKEND=direct TMPDIR="$work"
export SUPERMIN_KERNEL="$guest/vmlinuz" SUPERMIN_MODULES="$work/lib/modules/$release"

# on LOG COMMAND...: the command under anykvm exec; what it says goes to the file LOG.
on() {
	log=$1
	shift
	timeout -k 10 900 "$build/src/cli/anykvm" exec --stats "$work/stats" -- "$@" >"$log" 2>&1
}

# ours: the command before made a VM here, which ran guest code.
ours() {
	grep -q '"instructions": [1-9]' "$work/stats"
}

check() {
	number=$((number + 1))
	if eval "$2"; then
		echo "ok $number - $1"
		return
	fi
	echo "not ok $number - $1"
	tail -n 20 "$log" | sed 's/^/# /'
}

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
