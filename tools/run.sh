#!/bin/sh
# SPDX-License-Identifier: MIT
# Boot Debian's kernel with anykvm, to a shell or to run a command.
# Usage: tools/run.sh BUILDDIR [ANYKVM-RUN-OPTION...]
#   CMD=...   run this in the guest, print its output alone, exit with its exit status; without it, and with a
#             terminal as standard input: a shell; without either: run the shell commands read from standard input
#   V=1       show the kernel's messages as well (they always appear before an interactive shell)
#   PARAMS=   more parameters for the kernel
#   KERNEL=   cloud-amd64 (the default) or amd64: which of Debian's kernels
#   ANYKVM=   another anykvm than BUILDDIR's
#   EXTRA=    a list of files, as tools/cpio.py reads it, to add to the initramfs
# Exit status: the command's, or else that of anykvm run (man anykvm-run).
set -eu
tools=$(cd "$(dirname "$0")" && pwd)
build=$1
shift
anykvm=${ANYKVM:-$build/src/cli/anykvm}
guest=$build/guest/${KERNEL:-cloud-amd64}

"$tools/guest.sh" "$build" "${KERNEL:-cloud-amd64}"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

params=
if [ -n "${CMD:-}" ]; then
	printf '%s\n' "$CMD" >"$work/cmd"
elif [ ! -t 0 ]; then
	cat >"$work/cmd"
fi
if [ -e "$work/cmd" ]; then
	initramfs=$work/initramfs
	"$tools/guest-command.sh" "$guest/initramfs" "$work/cmd" "$initramfs" "${EXTRA:-}"
	# Level 1 still shows a panic; 0 would hide even that.
	[ "${V:-}" = 1 ] || params="quiet loglevel=1"
	exec 0</dev/null
else
	initramfs=$guest/initramfs
	size=$(stty size 2>/dev/null) || size=
	case $size in
	"" | 0\ * | *\ 0) size="24 80" ;; # a terminal that does not say
	esac
	params="TERM=${TERM:-linux} ROWS=${size% *} COLUMNS=${size#* }"
fi

params="$params${PARAMS:+ $PARAMS}"
status=0
"$anykvm" run -k "$guest/vmlinuz" -i "$initramfs" ${params:+-p "$params"} "$@" || status=$?
exit "$status"
