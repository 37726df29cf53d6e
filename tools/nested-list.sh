#!/bin/sh
# SPDX-License-Identifier: MIT
# What the test guest needs to be a hypervisor itself, as a list for tools/cpio.py (EXTRA of tools/run.sh): KVM's modules
# in /anykvm/kvm; this build's anykvm, to be their client (--accel host), with its libraries; and for a guest inside the
# kernel cloud-amd64, and INITRAMFS.
# Usage: tools/nested-list.sh BUILDDIR INITRAMFS
#   KERNEL=   of which of Debian's kernels the modules are (cloud-amd64)
set -eu
build=$1
guest=$build/guest/${KERNEL:-cloud-amd64}
anykvm=$build/src/cli/anykvm

# dirs PATH: the folders that a file needs.
dirs() {
	dir=
	for part in $(dirname "$1" | tr / ' '); do
		dir=$dir${dir:+/}$part
		printf 'dir\t%s\n' "$dir"
	done
}

{
	for module in irqbypass kvm kvm-intel kvm-amd; do
		printf 'file\tanykvm/kvm/%s.ko\t%s\n' "$module" "$(find "$guest/lib/modules" -name "$module.ko")"
	done
	printf 'file\tanykvm/anykvm\t%s\t755\n' "$anykvm"
	printf 'file\tanykvm/vmlinuz\t%s\n' "$build/guest/cloud-amd64/vmlinuz"
	printf 'file\tanykvm/initramfs\t%s\n' "$2"
	ldd "$anykvm" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/lib64[^ ]*\) .*/\1/p' | while read -r lib; do
		printf 'file\t%s\t%s\t755\n' "${lib#/}" "$lib"
	done
} >"$build/nested.list.$$"
trap 'rm -f "$build/nested.list.$$"' EXIT
# The initramfs has these already.
cut -f 2 "$build/nested.list.$$" | while read -r path; do
	dirs "$path"
done | sort -u | grep -Pvx 'dir\t(lib|usr|anykvm)'
cat "$build/nested.list.$$"
