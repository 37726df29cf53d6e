#!/bin/sh
# SPDX-License-Identifier: MIT
# Debian's kernel on memory that comes late.  It is its kernel that touches a page first, and zeroes it; and it does
# not ask to be told of pages in kernel mode: so a vCPU sleeps until the page comes, or an interrupt.
# Arguments: SOURCEDIR BUILDDIR PRELOAD
. "$1/tests/boot/lib.sh"
late=$3
mib=200
cpus=2

# count NAME: the sum of a statistic over the vCPUs.
count() {
	python3 -c 'import json, sys; print(sum(v[sys.argv[2]] for v in json.load(open(sys.argv[1]))["vcpus"]))' \
		"$work/stats" "$1"
}

# slow COMMAND: as boot, with the memory that comes late.
slow() {
	printf '#!/bin/sh\nLD_PRELOAD=%s SLOW_MEMORY=%s exec %s/src/cli/anykvm "$@"\n' "$late" $((mib << 20)) "$build" \
		>"$work/anykvm"
	chmod +x "$work/anykvm"
	ANYKVM=$work/anykvm boot "$@" -m ${mib}M -c "$cpus" --stats "$work/stats"
	if [ "$status" = 77 ]; then
		echo '1..0 # SKIP no userfaultfd for faults of the kernel here'
		exit 0
	fi
}

# A kernel that has switched them on, as each CPU does, is woken once for all that it may have waited for.
told='head -c 8000000 /dev/zero >/tmp/file
awk "/HYP:/ { for (i = 2; i < NF; i++) if (\$i ~ /^[0-9]+\$/) n += \$i } END { print n + 0 }" /proc/interrupts; exit 5'

slow "$told"
echo 1..5
check 'the guest does its work' '[ "$status" = 5 ]'
check 'each CPU has heard from the host' '[ "$(cat "$out")" -ge "$cpus" ] && [ "$(count async_pf_ready)" -ge "$(cat "$out")" ]'
check 'for pages that came late they slept' '[ "$(count async_pf_halts)" -gt 0 ]'
PARAMS=no-kvmapf
export PARAMS
slow "$told"
check 'a guest that does not want to know works too' '[ "$status" = 5 ] && [ "$(cat "$out")" = 0 ]'
check 'and is left alone' '[ "$(count async_pf_not_present) $(count async_pf_ready) $(count async_pf_halts)" = "0 0 0" ]'
