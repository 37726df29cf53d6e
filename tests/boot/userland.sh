#!/bin/sh
# SPDX-License-Identifier: MIT
# Debian's kernel to userland, on as many vCPUs as the third argument says.
. "$1/tests/boot/lib.sh"
cpus=$3
echo 1..9

boot 'uname -s; nproc; echo "a  b" | wc -c; exit 42' -c "$cpus"
check "the kernel runs, and the output is the command's alone" \
	'[ "$(cat "$out")" = "$(printf "Linux\n%d\n5" "$cpus")" ]'
check "the status is the command's" '[ "$status" = 42 ]'

# What the CPU computes, seen by programs that check it: compression with CRC, hashes, floating point.
boot 'head -c 300000 /dev/urandom >a; gzip -c a | gunzip -c | cmp - a && echo gzip
	printf abc | sha256sum | cut -c 1-8
	awk "BEGIN { for (i = 1; i <= 1000; i++) sum += 1 / (i * i); printf \"%.10f\\n\", sum }"
	bzip2 -c a | bunzip2 -c | cmp - a && echo bzip2' -c "$cpus"
check 'programs compute rightly' \
	'[ "$(cat "$out")" = "$(printf "gzip\nba7816bf\n1.6439345667\nbzip2")" ]'

# Time must pass in the guest as it does here.
boot 'a=$(cut -d . -f 1 /proc/uptime); sleep 3; b=$(cut -d . -f 1 /proc/uptime); echo $((b - a))
	date +%s; cat /sys/devices/system/clocksource/clocksource0/current_clocksource' -c "$cpus"
check 'three seconds are three seconds' 'case $(sed -n 1p "$out") in 3 | 4) ;; *) false ;; esac'
check 'the wall clock is right' \
	'now=$(date +%s); guest=$(sed -n 2p "$out"); [ "${guest:-0}" -gt $((now - 60)) ] && [ "$guest" -le $((now + 60)) ]'

# Every CPU does work, processes move between them, and the kernel has nothing to complain of.
boot 'i=0; while [ $i -lt '"$cpus"' ]; do taskset -c $i sh -c "sha256sum /bin/busybox" & i=$((i + 1)); done >sums; wait
	sort -u sums | wc -l; wc -l <sums
	dmesg | grep -E "BUG|WARNING|Oops|soft lockup|rcu.*stall|Call Trace|unchecked MSR|spurious" ; echo end' -c "$cpus"
check 'each CPU computes the same' '[ "$(sed -n 1p "$out")" = 1 ] && [ "$(sed -n 2p "$out")" = "$cpus" ]'
check 'the kernel has no complaints' '[ "$(sed -n "3,\$p" "$out")" = end ]'

# Standard input as a script.
out=$work/out err=$work/err status=0
echo 'echo $((6 * 7)); exit 5' |
	timeout -k 10 "$boot_timeout" env -u CMD "$source/tools/run.sh" "$build" -c "$cpus" >"$out" 2>"$err" || status=$?
check 'what comes by standard input is run' '[ "$(cat "$out")" = 42 ] && [ "$status" = 5 ]'

boot 'dmesg | head -n 3 | grep -c "Linux version"; free -m | awk "/Mem/ { print (\$2 > 900) }"' -c "$cpus" -m 1024
check 'memory is as large as asked for' '[ "$(cat "$out")" = "$(printf "1\n1")" ]'
