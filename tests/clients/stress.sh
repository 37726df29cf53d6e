#!/bin/sh
# SPDX-License-Identifier: MIT
# Debian's stress-ng and rt-tests, unmodified, in a guest of two vCPUs and one of four: they check what they do.
# Arguments: SOURCEDIR BUILDDIR.  STRESS_SECONDS: how long each runs, 2 without it.
. "$(dirname "$0")/lib.sh"
seconds=${STRESS_SECONDS:-2}

programs='stress-ng cyclictest hackbench signaltest pi_stress'
# With --verify where they have it; 'cpu-online', which has to be asked for twice, takes processors away and brings
# them back.
stressors='cpu vm atomic mutex futex sem pthread fork clone vfork mmap mprotect mremap switch tlb-shootdown membarrier
	timer hrtimers itimer timerfd x86syscall lockbus mcontend dekker peterson misaligned icache cache rdrand
	sigsegv sigfpe sigq pipe eventfd msg yield affinity schedpolicy fault brk vecmath tsc cpu-online'

# shellcheck disable=SC2086
need $programs

# list: what the initramfs needs of them, as tools/cpio.py reads it.
list() {
	for path in usr usr/bin lib lib64 lib/x86_64-linux-gnu; do
		printf 'dir\t%s\n' "$path"
	done
	for program in $programs; do
		file=$(command -v "$program")
		printf 'file\tusr/bin/%s\t%s\t755\n' "$program" "$file"
		ldd "$file" | grep -o '/[^ ]*' >>"$work/libraries"
	done
	sort -u "$work/libraries" | while read -r library; do
		printf 'file\t%s\t%s\t755\n' "${library#/}" "$(readlink -f "$library")"
	done
}
list >"$work/list"

# What runs in the guest says "RESULT NAME STATUS" of each, and after it, on failure, what that said.
cat >"$work/command" <<END
run() {
	name=\$1
	shift
	"\$@" >/tmp/said 2>&1
	status=\$?
	echo "RESULT \$name \$status"
	[ \$status = 0 ] || sed "s/^/SAID \$name /" /tmp/said
}
ulimit -c 0
echo "CPUS \$(nproc)"
for stressor in $(echo $stressors); do
	run \$stressor stress-ng --verify --pathological --timeout $seconds --temp-path /tmp --vm-bytes 32m --\$stressor \$(nproc)
done
run cyclictest cyclictest -q -S -p 80 -i 5000 -l \$(($seconds * 100))
run signaltest signaltest -q -t 2 -l \$(($seconds * 500))
run hackbench hackbench -g 2 -f 5 -l 50
run hackbench-threads hackbench -T -p -g 2 -f 5 -l 50
run pi_stress pi_stress -q -D $seconds -g 1
echo "MESSAGES \$(dmesg | grep -c -E 'BUG:|WARNING:|Oops|rcu: INFO|soft lockup|general protection')"
dmesg | grep -E 'BUG:|WARNING:|Oops|rcu: INFO|soft lockup' | sed 's/^/SAID dmesg /'
END

# verify NAME CONDITION WHO: one case; on failure also what WHO, as a pattern, said in the guest.
verify() {
	log=$work/said
	grep -E "^SAID ($3) " "$work/out.$cpus" >"$log"
	check "$1" "$2"
}

count=$(echo $stressors cyclictest signaltest hackbench hackbench-threads pi_stress | wc -w)
echo "1..$((2 * (count + 3)))"
for cpus in 2 4; do
	status=0
	EXTRA=$work/list CMD=$(cat "$work/command") timeout -k 10 2400 "$source/tools/run.sh" "$build" -c $cpus -m 1G \
		--stats "$work/stats.$cpus" >"$work/out.$cpus" 2>"$work/err.$cpus" || status=$?
	verify "$cpus vCPUs: the guest has them and powers off" \
		'[ $status = 0 ] && grep -q "^CPUS $cpus$" "$work/out.$cpus"' CPUS
	[ $status = 0 ] || tail -n 5 "$work/out.$cpus" "$work/err.$cpus" | sed 's/^/# /'
	for name in $stressors cyclictest signaltest hackbench hackbench-threads pi_stress; do
		# 3 and 4 of stress-ng: this kernel or processor has not what the stressor needs.
		if grep -q -E "^RESULT $name [34]$" "$work/out.$cpus"; then
			number=$((number + 1))
			echo "ok $number - $cpus vCPUs: $name # SKIP what it needs is not there"
			continue
		fi
		verify "$cpus vCPUs: $name" 'grep -q "^RESULT $name 0$" "$work/out.$cpus"' "$name"
	done
	verify "$cpus vCPUs: nothing in the kernel's log" 'grep -q "^MESSAGES 0$" "$work/out.$cpus"' dmesg
	verify "$cpus vCPUs: the engine ran them" 'grep -q "\"instructions\": *[1-9]" "$work/stats.$cpus"' none
done
