#!/bin/sh
# SPDX-License-Identifier: MIT
# Debian's general kernel, as a bzImage and as the ELF file in it, which has two ways in.
KERNEL=amd64
export KERNEL
. "$1/tests/boot/lib.sh"
cpus=$3
echo 1..6
vmlinuz=$build/guest/amd64/vmlinuz

# Who loaded it: PVH's entry says 0xb0 for itself, the 64-bit entry gets what our header says.
where='uname -sm; nproc; cat /proc/sys/kernel/bootloader_type; exit 42'
boot "$where" -c "$cpus"
check 'the general kernel boots' '[ "$(cat "$out")" = "$(printf "Linux x86_64\n%d\n255" "$cpus")" ]'
check 'and gives the status' '[ "$status" = 42 ]'
for entry in pvh 64-bit; do
	expected=176 option=
	[ $entry = pvh ] || expected=255 option=--no-note
	python3 "$source/tests/boot/vmlinux.py" "$vmlinuz" "$work/vmlinux" $option
	boot "$where" -c "$cpus" -k "$work/vmlinux"
	check "so does its ELF file by the $entry entry" \
		'[ "$(cat "$out")" = "$(printf "Linux x86_64\n%d\n%d" "$cpus" "$expected")" ]'
	check 'and gives the status' '[ "$status" = 42 ]'
done
