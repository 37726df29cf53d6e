#!/bin/sh
# SPDX-License-Identifier: MIT
# Make of the test guest's initramfs one that runs a script, instead of a shell.
# Usage: tools/guest-command.sh INITRAMFS SCRIPT OUT [LIST]
# LIST names more files for it, as tools/cpio.py reads them.
set -eu
# A second archive behind the first adds to it (the kernel's buffer-format.rst).
{
	printf 'dir\tanykvm\nfile\tanykvm/cmd\t%s\t644\n' "$2"
	[ -z "${4:-}" ] || cat "$4"
} | python3 "$(dirname "$0")/cpio.py" "$3.part"
cat "$1" "$3.part" >"$3"
rm "$3.part"
