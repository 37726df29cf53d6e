#!/bin/sh
# SPDX-License-Identifier: MIT
# An image has one writer, or readers.
. "$(dirname "$0")/lib.sh"
tests=$(cd "$(dirname "$0")" && pwd)
echo 1..5
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

# A block device, where this machine lets us make one: claimed as a mount claims it.
device=$(losetup -f --show disk 2>/dev/null) || device=
if [ -z "$device" ] || [ ! -b "$device" ]; then
	echo 'ok 4 # SKIP no block device to be had'
	echo 'ok 5 # SKIP no block device to be had'
	exit
fi
trap 'losetup -d "$device"; rm -rf "$work"' EXIT
mkfifo claimed release
python3 -c 'import os, sys
os.open(sys.argv[1], os.O_RDWR | os.O_EXCL)
open("claimed", "w").close()
open("release").close()' "$device" &
holder=$!
: <claimed
run -k ends -d "$device"
is 'a device that somebody has claimed' 1 'anykvm: /dev/*: disk in use: it is mounted*'
: >release
wait "$holder"
run -k ends -d "$device"
is 'and one that nobody has' 7 ''
