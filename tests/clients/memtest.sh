#!/bin/sh
# SPDX-License-Identifier: MIT
# Memtest86+ from Debian in Debian's QEMU on anykvm: no operating system, both vCPUs, large pages, caches off and on.
# Arguments: SOURCEDIR BUILDDIR
. "$(dirname "$0")/lib.sh"
need qemu-system-x86_64
memtest=$build/guest/memtest
unpacked "$memtest" memtest86+ || skip 'cannot fetch Memtest86+'

echo 1..4
# Until its first pass is over.
log=$work/log
"$build/src/cli/anykvm" exec --stats "$work/stats" -- qemu-system-x86_64 -accel kvm -M pc -smp 2 -m 16 -nodefaults \
	-display none -serial "file:$work/serial" -kernel "$memtest/boot/memtest86+x64.bin" \
	-append 'console=ttyS0,115200' >"$log" 2>&1 </dev/null &
qemu=$!
for _ in $(seq 600); do
	! grep -q 'Pass:  1' "$work/serial" 2>/dev/null && kill -0 $qemu 2>/dev/null || break
	sleep 1
done
kill $qemu
wait $qemu
tail -c 1000 "$work/serial" >>"$log"
check 'it uses both CPUs' 'grep -q "2 Cores 2 Threads *SMP: 2T" "$work/serial"'
check 'it ends a pass' 'grep -q "Pass:  1" "$work/serial"'
check 'without an error' 'grep -q "Errors: 0" "$work/serial" && ! grep -q "Errors: [1-9]" "$work/serial"'
check 'the engine ran it' ours
