#!/bin/sh
# SPDX-License-Identifier: MIT
# Debian's kvm-intel as a hypervisor in a guest with each of its parameters that take a feature of VMX away or add one,
# both ways: its guest runs, and the counters say that the feature was used, or was not.
# Usage: nested-intel.sh SOURCEDIR BUILDDIR
. "$1/tests/boot/lib.sh"
boot_timeout=${BOOT_TIMEOUT:-900}
echo 1..24

# inside COMMAND [LIST]: as in nested.sh.
inside() {
	printf '%s\n' "$1" >"$work/l2.cmd"
	"$source/tools/guest-command.sh" "$build/guest/cloud-amd64/initramfs" "$work/l2.cmd" "$work/l2" ${2:+"$2"}
	"$source/tools/nested-list.sh" "$build" "$work/l2" >"$work/list"
	export EXTRA="$work/list"
}

# l1 PARAMETERS OPTIONS: loads KVM, shows the parameters, and runs the guest with OPTIONS.
l1() {
	echo "for m in irqbypass kvm 'kvm-intel $1'; do set -- \$m; insmod /anykvm/kvm/\$1.ko \${2:-} || exit 9; done
		cd /sys/module/kvm_intel/parameters; grep . ${1%%=*}
		/anykvm/anykvm run --accel host -k /anykvm/vmlinuz -i /anykvm/initramfs -p 'quiet loglevel=1' $2 </dev/null"
}

# count NAME: that counter, all vCPUs.
count() {
	sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" "$work/stats" | awk '{ n += $1 } END { print n + 0 }'
}

# The counter of what the parameter is about; - where there is none.
inside 'echo "in L2: $(nproc)"; exit 5'
for row in ept:slat_walks vpid:- pml:- enable_shadow_vmcs:- unrestricted_guest:- enable_apicv:virtual_interrupts; do
	name=${row%:*}
	counter=${row#*:}
	for on in 1 0; do
		boot "$(l1 "$name=$on" '-m 128 -c 2')" --cpu intel -m 1024 -c 2 --stats "$work/stats"
		check "$name=$on: it is so, and the guest runs" \
			'[ "$(head -n 1 "$out" | tr YN 10)" = "$on" ] && grep -qx "in L2: 2" "$out" && [ "$status" = 5 ]'
		case $counter$on in
		-?) check "$name=$on: by this engine" '[ "$(count nested_run)" -gt 1000 ]' ;;
		*1) check "$name=$on: $counter" '[ "$(count nested_run)" -gt 1000 ] && [ "$(count "$counter")" -gt 100 ]' ;;
		*0) check "$name=$on: no $counter" '[ "$(count nested_run)" -gt 1000 ] && [ "$(count "$counter")" = 0 ]' ;;
		esac
	done
done
