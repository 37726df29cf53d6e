#!/bin/sh
# SPDX-License-Identifier: MIT
# Debian's KVM as a hypervisor in a guest, with a guest of its own, and one level deeper.
# Usage: nested.sh SOURCEDIR BUILDDIR MODEL
. "$1/tests/boot/lib.sh"
model=$3
boot_timeout=${BOOT_TIMEOUT:-600}
case $model in
amd) tables=npt flag=svm ;;
*) tables=ept flag=vmx ;;
esac
echo 1..13

# inside COMMAND: an initramfs that runs COMMAND in L2, and what L1 needs to run it; sets EXTRA for boot.
inside() {
	printf '%s\n' "$1" >"$work/l2.cmd"
	"$source/tools/guest-command.sh" "$build/guest/cloud-amd64/initramfs" "$work/l2.cmd" "$work/l2"
	"$source/tools/nested-list.sh" "$build" "$work/l2" >"$work/list"
	export EXTRA="$work/list"
}

# l1 PARAMETERS OPTIONS: the command that loads KVM with those parameters of its module, and runs the guest with OPTIONS.
l1() {
	echo "for m in irqbypass kvm 'kvm-$model $1'; do set -- \$m; insmod /anykvm/kvm/\$1.ko \${2:-} || exit 9; done
		uname -r; cat /sys/module/kvm_$model/parameters/$tables; grep -c \"^flags.* $flag\" /proc/cpuinfo
		/anykvm/anykvm run --accel host -k /anykvm/vmlinuz -i /anykvm/initramfs -p 'quiet loglevel=1' $2 </dev/null"
}

# count NAME: that counter of the first vCPU.
count() {
	sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" "$work/stats" | head -n 1
}

entries() {
	count nested_run
}

inside 'uname -r; echo "in L2: $(nproc) $(grep -c hypervisor /proc/cpuinfo)"; exit 5'
for on in 1 0; do
	boot "$(l1 "$tables=$on" '-m 128')" --cpu "$model" -m 1024 --stats "$work/stats"
	check "$tables=$on: KVM loads" '[ "$(sed -n 2p "$out" | tr YN 10)" = "$on" ] && [ "$(sed -n 3p "$out")" = 1 ]'
	check "$tables=$on: its guest runs to userland" 'grep -qx "in L2: 1 1" "$out" && [ "$(grep -c cloud-amd64 "$out")" = 2 ]'
	check "$tables=$on: its exit status comes through" '[ "$status" = 5 ]'
	check "$tables=$on: L1 has entered it by this engine" '[ "$(entries)" -gt 1000 ]'
	# Neither way drops translations: those that are counted are what both kernels ask for.
	check "$tables=$on: in and out of it flushes nothing" '[ "$(count tlb_flush)" -lt $(($(entries) * 3 / 2)) ]'
done

boot "$(l1 "$tables=1" '-m 128 -c 2')" --cpu "$model" -m 1024 -c 2
check 'an L2 of two vCPUs' 'grep -qx "in L2: 2 2" "$out" && [ "$status" = 5 ]'

# L2 is a hypervisor as well.
status=0
timeout -k 10 "$boot_timeout" "$source/tools/nested.sh" "$build" --cpu "$model" --stats "$work/stats" \
	>"$out" 2>"$err" </dev/null || status=$?
check 'a guest of a guest of a guest' 'grep -q "^L3: Linux .*-cloud-amd64, " "$out" && [ "$status" = 0 ]'
check 'and three kernels say who they are' '[ "$(grep -c "^L[123]: Linux " "$out")" = 3 ] && [ "$(entries)" -gt 1000 ]'
