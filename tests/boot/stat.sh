#!/bin/sh
# SPDX-License-Identifier: MIT
# anykvm stat on a machine that is booting.
. "$(dirname "$0")/lib.sh"
echo 1..4
out=$work/out
err=$work/err
status=0
guest=$build/guest/${KERNEL:-cloud-amd64}
mkfifo "$work/input"
"$build/src/cli/anykvm" run -k "$guest/vmlinuz" -i "$guest/initramfs" <"$work/input" >/dev/null 2>&1 &
machine=$!
exec 3>"$work/input"

# stat_of MACHINE: what stat prints, once there is something.
for _ in 1 2 3 4 5 6 7 8 9 10; do
	! "$build/src/cli/anykvm" stat -1 -p $machine >"$out" 2>"$err" || break
	sleep 0.5
done
counter() {
	awk -v name="$1" '$1 == name { print $2, $3 }' "$out"
}
check 'a line for each counter: name, total, change' \
	'[ "$(wc -l <"$out")" -gt 10 ] && [ "$(awk "NF == 3 && \$2 ~ /^[0-9]+$/ && \$3 ~ /^[0-9]+$/" "$out" | wc -l)" = "$(wc -l <"$out")" ]'
check 'it counts instructions while the guest runs' '[ "$(counter instructions | cut -d" " -f2)" -gt 0 ]'
check 'and blocks that were decoded' '[ "$(counter blocks_decoded | cut -d" " -f1)" -gt 0 ]'
kill -TERM $machine
wait $machine
exec 3>&-
"$build/src/cli/anykvm" stat -1 -p $machine >"$out" 2>"$err"
status=$?
check 'a process that has ended has none' '[ $status = 1 ] && grep -q "cannot look at it" "$err"'
