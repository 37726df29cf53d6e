#!/bin/sh
# SPDX-License-Identifier: MIT
# Make of the test guest's initramfs one that is a hypervisor: with KVM's modules, this build's anykvm to be their client
# (--accel host), and the same kernel and initramfs for a guest inside; it runs SCRIPT.
# Usage: tools/guest-nested.sh BUILDDIR SCRIPT OUT [LIST]
# LIST names more files for it, as tools/cpio.py reads them.  In the guest: /anykvm/anykvm, /anykvm/vmlinuz,
# /anykvm/initramfs, and the modules in /anykvm/kvm.
set -eu
tools=$(cd "$(dirname "$0")" && pwd)
build=$1
guest=$build/guest/cloud-amd64
anykvm=$build/src/cli/anykvm
list=$(mktemp)
trap 'rm -f "$list"' EXIT

{
	echo "dir anykvm/kvm"
	for module in irqbypass kvm kvm-intel kvm-amd; do
		file=$(find "$guest/lib/modules" -name "$module.ko")
		printf 'file\tanykvm/kvm/%s.ko\t%s\n' "$module" "$file"
	done
	printf 'file\tanykvm/anykvm\t%s\t755\n' "$anykvm"
	printf 'file\tanykvm/vmlinuz\t%s\n' "$guest/vmlinuz"
	printf 'file\tanykvm/initramfs\t%s\n' "$guest/initramfs"
	# Its libraries, where its loader looks for them, and the loader itself.
	ldd "$anykvm" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/lib64[^ ]*\) .*/\1/p' | while read -r lib; do
		echo "${lib#/}"
	done >"$list.libs"
	while read -r lib; do
		dir=
		for part in $(dirname "$lib" | tr / ' '); do
			dir=$dir${dir:+/}$part
			echo "dir $dir"
		done
	done <"$list.libs" | sort -u | grep -vx 'dir \(lib\|usr\|bin\)' || :
	while read -r lib; do
		printf 'file\t%s\t/%s\t755\n' "$lib" "$lib"
	done <"$list.libs"
	rm -f "$list.libs"
	[ -z "${4:-}" ] || cat "$4"
} >"$list"
"$tools/guest-command.sh" "$guest/initramfs" "$2" "$3" "$list"
