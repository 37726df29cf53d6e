#!/bin/sh
# SPDX-License-Identifier: MIT
# Boot Debian's kernel as a hypervisor with a guest that is one, too: three kernels print who they are.
# Usage: tools/nested.sh BUILDDIR [ANYKVM-RUN-OPTION...]
#   LEVELS=3  how many kernels, 1 to 3
#   KERNEL=   of Debian's kernels the one that runs first, on anykvm (cloud-amd64); those inside are cloud-amd64
# Exit status: 0, or that of the first anykvm run that could not go on.
set -eu
tools=$(cd "$(dirname "$0")" && pwd)
build=$1
shift
levels=${LEVELS:-3}
kernel=${KERNEL:-cloud-amd64}
case $levels in
[1-3]) ;;
*)
	echo "anykvm: LEVELS=$levels: one to three kernels can run inside each other" >&2
	exit 2
	;;
esac
"$tools/guest.sh" "$build" cloud-amd64 "$kernel"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# command N: what level N runs.  Each has to hold the next, with its kernel and initramfs.
command() {
	cat <<-EOF
		echo "L$1: Linux \$(uname -r), \$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)"
	EOF
	[ "$1" -lt "$levels" ] || return 0
	cat <<-EOF
		grep -q '^flags.* svm' /proc/cpuinfo && vendor=amd || vendor=intel
		for m in irqbypass kvm kvm-\$vendor; do insmod /anykvm/kvm/\$m.ko || exit 9; done
		/anykvm/anykvm run --accel host -k /anykvm/vmlinuz -i /anykvm/initramfs -p 'quiet loglevel=1' \\
			-m $(memory $(($1 + 1))) </dev/null
	EOF
}

memory() {
	echo $((128 + 512 * (levels - $1)))
}

# From the innermost outwards: each initramfs holds the next.
list=
n=$levels
while [ "$n" -gt 1 ]; do
	command "$n" >"$work/command"
	"$tools/guest-command.sh" "$build/guest/cloud-amd64/initramfs" "$work/command" "$work/initramfs$n" "$list"
	n=$((n - 1))
	flavour=cloud-amd64
	[ "$n" -gt 1 ] || flavour=$kernel
	list=$work/list$n
	KERNEL=$flavour "$tools/nested-list.sh" "$build" "$work/initramfs$((n + 1))" >"$list"
done
CMD=$(command 1) EXTRA=$list KERNEL=$kernel "$tools/run.sh" "$build" -m "$(memory 1)" "$@"
