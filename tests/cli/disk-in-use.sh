#!/bin/sh
# SPDX-License-Identifier: MIT
# An image has one writer, or readers.
. "$(dirname "$0")/lib.sh"
tests=$(cd "$(dirname "$0")" && pwd)
echo 1..3
cd "$work" || exit 1
truncate -s 1M disk
python3 "$tests/kernels.py"

"$anykvm" run -k stays -d disk >ready 2>/dev/null </dev/null &
holder=$!
for _ in $(seq 200); do
	[ ! -s ready ] || break
	sleep 0.1
done
run -k ends -d disk
is 'a disk that another process writes' 1 'anykvm: disk: *in use*'
run -k ends -d disk,ro
is 'nor is it read meanwhile' 1 'anykvm: disk: *in use*'
kill "$holder"
wait "$holder"
run -k ends -d disk
is 'and it is free again afterwards' 7 ''
