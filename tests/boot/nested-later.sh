#!/bin/sh
# SPDX-License-Identifier: MIT
# Debian's backported kernel as the hypervisor: another KVM than the one that most tests have inside.
# Usage: nested-later.sh SOURCEDIR BUILDDIR
. "$1/tests/boot/lib.sh"
boot_timeout=${BOOT_TIMEOUT:-600}
later=6.12-cloud-amd64
out=$work/out err=$work/err
echo 1..6
for model in amd intel; do
	status=0
	LEVELS=2 KERNEL=$later timeout -k 10 "$boot_timeout" "$source/tools/nested.sh" "$build" --cpu "$model" \
		--stats "$work/stats" >"$out" 2>"$err" </dev/null || status=$?
	check "$model: Linux 6.12 is L1" 'grep -q "^L1: Linux 6\.12" "$out" && [ "$status" = 0 ]'
	check "$model: its guest runs to userland" 'grep -q "^L2: Linux 6\.1\..*-cloud-amd64, " "$out"'
	check "$model: it has entered it by this engine" \
		'[ "$(sed -n "s/.*\"nested_run\": \([0-9]*\).*/\1/p" "$work/stats" | head -n 1)" -gt 1000 ]'
done
