#!/bin/sh
# SPDX-License-Identifier: MIT
# Debian's libvirt, unmodified, on anykvm: a session's daemon, started by virsh, starts a QEMU in an environment of its
# own making; the machine is saved to a file and goes on from it.
# Arguments: SOURCEDIR BUILDDIR
. "$(dirname "$0")/lib.sh"
need virsh libvirtd virtlogd qemu-system-x86_64

# root's daemon is the system's, which needs users and folders of its own: be somebody else.
as=
if [ "$(id -u)" = 0 ]; then
	need setpriv
	as='setpriv --reuid=65534 --regid=65534 --clear-groups'
fi
DESTDIR=$work/inst meson install -C "$build" --no-rebuild >/dev/null || skip 'cannot install'
anykvm=$(find "$work/inst" -path '*/bin/anykvm')
cp "$guest/vmlinuz" "$work"
guest_runs "$work/initramfs" <<'END'
echo clock $(cat /sys/devices/system/clocksource/*/current_clocksource)
i=0; while :; do i=$((i + 1)); echo count $i; sleep 0.1; done
END
cat >"$work/domain.xml" <<END
<domain type='kvm'>
  <name>anykvm-test</name>
  <memory unit='MiB'>256</memory>
  <vcpu>2</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>$work/vmlinuz</kernel>
    <initrd>$work/initramfs</initrd>
    <cmdline>console=ttyS0 panic=-1 quiet loglevel=1</cmdline>
  </os>
  <features><acpi/><apic/></features>
  <cpu mode='host-passthrough'/>
  <devices>
    <emulator>$(command -v qemu-system-x86_64)</emulator>
    <serial type='file'><source path='$work/serial' append='on'/></serial>
  </devices>
</domain>
END
export HOME="$work/home" XDG_RUNTIME_DIR="$work/home/run" XDG_CACHE_HOME="$work/home/cache" XDG_CONFIG_HOME="$work/home/config"
mkdir -p "$XDG_RUNTIME_DIR" "$XDG_CACHE_HOME" "$XDG_CONFIG_HOME"
chmod -R a+rwX "$work"

end_daemons() {
	${as:-command} virsh -c qemu:///session destroy anykvm-test >/dev/null 2>&1
	for pid in "$XDG_RUNTIME_DIR"/libvirt/*.pid; do
		[ ! -s "$pid" ] || kill "$(cat "$pid")" 2>/dev/null
	done
}
trap 'end_daemons; rm -rf "$work"' EXIT

# virsh COMMAND...: the first call starts the daemon, by anykvm exec.
virsh() {
	log=$work/virsh
	# shellcheck disable=SC2086
	timeout -k 10 300 $as "$anykvm" exec -v --stats "$work/stats" -- virsh -c qemu:///session "$@" >"$log" 2>&1
}

# says PATTERN: the guest's serial line does so, within four minutes.
says() {
	for _ in $(seq 480); do
		grep -q "$1" "$work/serial" 2>/dev/null && return 0
		sleep 0.5
	done
	return 1
}

last_count() {
	sed -n 's/^count \([0-9]*\).*/\1/p' "$work/serial" | tail -n 1
}

echo 1..7
check 'libvirt offers KVM' 'virsh domcapabilities --virttype kvm && grep -q "<domain>kvm</domain>" "$log"'
check 'a machine starts' 'virsh create "$work/domain.xml"'
check 'and runs' 'says "^clock kvm-clock" && says "^count 3"'
check 'it is saved' 'virsh save anykvm-test "$work/saved" && [ -s "$work/saved" ] && saved=$(last_count)'
check 'and restored' 'virsh restore "$work/saved"'
check 'it goes on counting, and did not start anew' 'says "^count $((saved + 9))" && [ "$(grep -c "^count 1\$" "$work/serial")" = 1 ]'
check 'it ends, and the engine ran it' 'virsh destroy anykvm-test && ours'
