#!/bin/sh
# SPDX-License-Identifier: MIT
# Linux's perf events on the PMU, on a CPU of each vendor.
. "$1/tests/boot/lib.sh"
echo 1..12

# near NAME LEAST MOST: the number after that name in the guest's output is within these.
near() {
	value=$(sed -n "s/^$1 //p" "$out")
	[ "${value:-0}" -ge "$2" ] && [ "${value:-0}" -le "$3" ]
}

# Samples are not to be throttled where the host is slow (Documentation/admin-guide/sysctl/kernel.rst).
for cpu in intel amd; do
	case $cpu in
	intel) driver='Icelake events, full-width counters, Intel PMU driver' ;;
	amd) driver='core perfctr, AMD PMU driver' ;;
	esac
	boot 'dmesg | grep "Performance Events"; dmesg | grep -c "unchecked MSR"
		echo 0 >/proc/sys/kernel/perf_cpu_time_max_percent; /anykvm/perf' --cpu "$cpu"
	check "$cpu: the kernel finds the PMU" 'grep -q "$driver" "$out" && [ "$(sed -n 2p "$out")" = 0 ]'
	check "$cpu: instructions are counted" 'near instructions 2000000 2000200'
	check "$cpu: branches are counted" 'near branches 1000000 1000100'
	check "$cpu: mispredicted ones are few" 'near branch-misses 1 1000'
	check "$cpu: cycles are counted" 'near cycles 10000 10000000000'
	check "$cpu: every period takes its sample" 'near samples 199 199'
done
