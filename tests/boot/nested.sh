#!/bin/sh
# SPDX-License-Identifier: MIT
# Debian's KVM as a hypervisor in a guest, with a guest of its own, and one level deeper.
# Usage: nested.sh SOURCEDIR BUILDDIR MODEL [parameters]
#   parameters: no deeper than that, but with each combination of what KVM's module can be told to do without
. "$1/tests/boot/lib.sh"
model=$3
boot_timeout=${BOOT_TIMEOUT:-600}
case $model in
amd) tables=npt flag=svm without='vgif=0 vls=0' ;;
*) tables=ept flag=vmx without= ;;
esac

# inside COMMAND: an initramfs that runs COMMAND in L2, and what L1 needs to run it; sets EXTRA for boot.
inside() {
	printf '%s\n' "$1" >"$work/l2.cmd"
	"$source/tools/guest-command.sh" "$build/guest/cloud-amd64/initramfs" "$work/l2.cmd" "$work/l2"
	"$source/tools/nested-list.sh" "$build" "$work/l2" >"$work/list"
	export EXTRA="$work/list"
}

# l1 PARAMETERS OPTIONS: the command that loads KVM with those parameters of its module, and runs the guest with OPTIONS.
l1() {
	echo "for m in irqbypass kvm 'kvm-$model $1'; do
			set -- \$m; n=\$1; shift; insmod /anykvm/kvm/\$n.ko \"\$@\" || exit 9; done
		p() { echo \"\$1=\$(tr YN 10 </sys/module/kvm_$model/parameters/\$1)\"; }
		uname -r; for n in $(echo "$tables $1" | sed 's/=[^ ]*//g'); do p \$n; done; grep -c \"^flags.* $flag\" /proc/cpuinfo
		/anykvm/anykvm run --accel host -k /anykvm/vmlinuz -i /anykvm/initramfs -p 'quiet loglevel=1' $2 </dev/null"
}

# count NAME: that counter of the first vCPU.
count() {
	sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" "$work/stats" | head -n 1
}

entries() {
	count nested_run
}

# taken PARAMETERS: has KVM's module taken all of them?  It drops what the processor does not have.
taken() {
	for parameter in $1; do
		grep -qx "$parameter" "$out" || return 1
	done
	grep -qx 1 "$out"
}

inside 'uname -r; echo "in L2: $(nproc) $(grep -c hypervisor /proc/cpuinfo)"; exit 5'

# each PARAMETERS: one boot with them, two cases.
each() {
	parameters=$1
	boot "$(l1 "$1" '-m 128')" --cpu "$model" -m 1024
	check "$1: taken" 'taken "$parameters"'
	check "$1: a guest runs to userland" 'grep -qx "in L2: 1 1" "$out" && [ "$status" = 5 ]'
}

if [ "${4:-}" = parameters ]; then
	echo 1..16
	# Without nested paging KVM does without virtual VMLOAD and VMSAVE.
	for combination in 'npt=1 vls=1' 'npt=1 vls=0' 'npt=0 vls=0'; do
		each "$combination vgif=1"
		each "$combination vgif=0"
	done
	each 'nrips=0 lbrv=0 tsc_scaling=0'
	each 'lbrv=1 tsc_scaling=1 pause_filter_count=100 pause_filter_thresh=10'
	exit
fi

echo 1..13
for on in 1 0; do
	[ $on = 1 ] || off=$without
	boot "$(l1 "$tables=$on ${off:-}" '-m 128')" --cpu "$model" -m 1024 --stats "$work/stats"
	check "$tables=$on: KVM loads" 'taken "$tables=$on ${off:-}"'
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
