# SPDX-License-Identifier: MIT
# What the shell's tests of Debian's QEMU under anykvm exec share; to be sourced with the arguments SOURCEDIR BUILDDIR.
# shellcheck shell=sh disable=SC2034
. "$(dirname "$0")/lib.sh"
anykvm=$build/src/cli/anykvm
guest=$build/guest/cloud-amd64

if ! command -v qemu-system-x86_64 >/dev/null 2>&1; then
	echo '1..0 # SKIP no qemu-system-x86_64 here (Debian package qemu-system-x86)'
	exit 0
fi

# qemu COMMAND [OPTION OF QEMU...]: run COMMAND in a guest; sets $out, $err, $stats (files) and $status, which is
# twice the command's and one (isa-debug-exit).  $parameters, if set, are those of KVM's modules; $files names more
# files for the guest (see tools/cpio.py).
qemu() {
	printf '%s\n' "$1" >"$work/cmd"
	shift
	"$source/tools/guest-command.sh" "$guest/initramfs" "$work/cmd" "$work/initramfs" "${files:-}"
	out=$work/out
	err=$work/err
	stats=$work/stats
	status=0
	timeout -k 10 "$boot_timeout" "$anykvm" exec -v --stats "$stats" ${parameters:+--param "$parameters"} -- \
		qemu-system-x86_64 -nodefaults -display none -serial stdio -no-reboot \
		-device isa-debug-exit,iobase=0xf4,iosize=1 -kernel "$guest/vmlinuz" -initrd "$work/initramfs" \
		-append 'console=ttyS0 panic=-1 quiet loglevel=1' "$@" >"$out" 2>"$err" </dev/null || status=$?
	tr -d '\r' <"$out" >"$out.text"
}

# engine EXPRESSION: it was this engine, and that is so of its statistics: vm, and of the vCPUs vcpus.
engine() {
	grep -q 'anykvm: qemu-system-x86_64 .* opened the engine' "$err" && python3 - "$stats" "$1" <<-'END'
		import json, sys
		all, = [json.loads(line) for line in open(sys.argv[1])]
		assert all['engine'].startswith('anykvm ')
		assert eval(sys.argv[2], {'vm': all['vm'], 'vcpus': all['vcpus']})
	END
}
