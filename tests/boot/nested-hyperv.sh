#!/bin/sh
# SPDX-License-Identifier: MIT
# Debian's KVM in a guest that is told of a Hyper-V below, and in one that is not: the first uses by itself what
# there is for it, and what their guests compute is the same.
# Usage: nested-hyperv.sh SOURCEDIR BUILDDIR intel|amd
. "$1/tests/boot/lib.sh"
boot_timeout=${BOOT_TIMEOUT:-600}
model=$3
# What KVM says when it takes it, and the counter of that.
case $model in
amd) taken='SVM: kvm: Hyper-V enlightened NPT TLB flush enabled' entries=nested_run ;;
*) taken='KVM: vmx: using Hyper-V Enlightened VMCS' entries=hv_evmcs_entries ;;
esac

printf '%s\n' 'echo "in L2: $(nproc) $(seq 1 200000 | sort -r | sha256sum)"; exit 5' >"$work/l2.cmd"
"$source/tools/guest-command.sh" "$build/guest/cloud-amd64/initramfs" "$work/l2.cmd" "$work/l2"
"$source/tools/nested-list.sh" "$build" "$work/l2" >"$work/list"
export EXTRA="$work/list"

# What is written of L2's memory is looked for anew, again and again (Linux's proc(5), clear_refs): KVM has to flush for it.
l1='for m in irqbypass kvm kvm-MODEL; do insmod /anykvm/kvm/$m.ko || exit 9; done
	dmesg | sed -n "s/.*\(Hypervisor detected: .*\)/\1/p; s/.*\([KS]VM: [vk].*Hyper-V .*\)/\1/p"
	t=/sys/kernel/tracing; mount -t tracefs tracefs $t 2>/dev/null
	for e in $t/events/hyperv/hyperv_nested_flush*; do echo 1 >$e/enable; done
	/anykvm/anykvm run --accel host -k /anykvm/vmlinuz -i /anykvm/initramfs -p "quiet loglevel=1" -m 128 </dev/null & l2=$!
	while kill -0 $l2 2>/dev/null; do echo 4 >/proc/$l2/clear_refs; sleep 0.2; done
	wait $l2; r=$?
	echo "flushes: $(grep -c "hyperv_nested_flush_guest_mapping.* ret 0" $t/trace)"
	echo "failed: $(grep "hyperv_nested_flush_guest_mapping" $t/trace | grep -v "#" | grep -vc " ret 0")"
	exit $r'
l1=$(printf '%s\n' "$l1" | sed "s/kvm-MODEL/kvm-$model/")

# count NAME: that counter of the first vCPU.
count() {
	sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" "$work/stats" | head -n 1
}

# said NAME: what L1 says of it.
said() {
	sed -n "s/^$1: //p" "$out"
}

echo 1..9
boot "$l1" --cpu "$model" --hyperv nested -m 1024 --stats "$work/stats"
result=$(said 'in L2')
check 'L1 finds Hyper-V' 'grep -qx "Hypervisor detected: Microsoft Hyper-V" "$out"'
check 'its KVM takes what it offers' 'grep -qx "$taken" "$out"'
check 'and enters its guest by it' '[ "$(count $entries)" -gt 1000 ] && [ "$status" = 5 ]'
check 'its flushes are hypercalls, and none fails' '[ "$(said flushes)" -gt 0 ] && [ "$(said failed)" = 0 ]'
check 'which this engine has done' '[ "$(count hv_mapping_flushes)" -gt 0 ]'

boot "$l1" --cpu "$model" -m 1024 --stats "$work/stats"
check 'without the option it finds KVM' 'grep -qx "Hypervisor detected: KVM" "$out"'
check 'and enters by no enlightened VMCS' '[ "$(count hv_evmcs_entries)" = 0 ] && [ "$(count nested_run)" -gt 1000 ]'
check 'and no hypercall flushes' '[ "$(count hv_mapping_flushes)" = 0 ] && [ "$(said flushes)" = 0 ]'
check 'what the guests inside compute is the same' '[ -n "$result" ] && [ "$(said "in L2")" = "$result" ] && [ "$status" = 5 ]'
