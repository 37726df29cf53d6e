#!/bin/sh
# SPDX-License-Identifier: MIT
# Output that nobody takes, signals at any moment, and runs side by side.
. "$(dirname "$0")/lib.sh"
tests=$(cd "$(dirname "$0")" && pwd)
echo 1..16
cd "$work" || exit 1
python3 "$tests/kernels.py"
truncate -s 1M disk

# with REDIRECTION ARGUMENT...: anykvm with its output so redirected.
with() {
	redirection=$1
	shift
	status=0
	eval 'timeout -k 5 30 "$anykvm" "$@" </dev/null 2>err '"$redirection" || status=$?
	err=$(cat err)
}

# start ARGUMENT...: anykvm run in the background, as $pid, with what it inherits of signals set back.
start() {
	: >ready
	python3 -c 'import os, signal, sys
for number in (signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN if os.environ.get("IGNORED") else signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$anykvm" run "$@" >ready 2>err </dev/null &
	pid=$!
}

# greeted: wait until the guest has written.
greeted() {
	for _ in $(seq 200); do
		[ ! -s ready ] || break
		sleep 0.1
	done
}

# finish: wait for $pid, but not forever.
finish() {
	(sleep 30 && kill -9 "$pid") >/dev/null 2>&1 &
	guard=$!
	status=0
	wait "$pid" || status=$?
	kill "$guard"
	err=$(cat err)
}

with '>/dev/full' run -k floods
is 'a full disk behind the console' 1 'anykvm: standard output: cannot write: No space left on device'
with '>&-' run -k floods
is 'no standard output' 1 'anykvm: standard output: cannot write: Bad file descriptor'
with '>&-' run -k floods -d disk
is 'nor does a disk become it' 1 'anykvm: standard output: *'
cmp -s disk /dev/zero -n 1048576 || status=bad
is 'and the disk is as before' 1 '*'
with '<&- >&- 2>&-' run -k ends
is 'no standard descriptor at all' 7 ''
mkfifo pipe
head -c 1 pipe >/dev/null &
status=0
timeout -k 5 30 "$anykvm" run -k floods >pipe 2>err </dev/null || status=$?
err=$(cat err)
is 'a reader that goes away' 141 'anykvm: ended by signal 13 (Broken pipe)'
with '>/dev/full' version
is 'version says so too' 1 'anykvm: standard output: cannot write: *'
with '>/dev/full' help run
is 'and help' 1 'anykvm: standard output: cannot write: *'

for signal in INT.130 TERM.143 HUP.129; do
	start -k stays -c 2
	greeted
	kill -"${signal%.*}" "$pid"
	finish
	is "SIG${signal%.*} ends a busy guest" "${signal#*.}" 'anykvm: ended by signal *'
done
IGNORED=1 start -k stays
greeted
kill -HUP "$pid"
sleep 0.3
kill -TERM "$pid"
finish
is 'what the parent ignored stays ignored' 143 'anykvm: ended by signal 15 *'
bad=
for delay in 0 0.01 0.02 0.04 0.08; do
	start -k stays -c 4 -d disk
	sleep $delay
	kill -TERM "$pid"
	finish
	[ "$status" = 143 ] || bad="$bad $delay:$status"
done
status=${bad:-0}
is 'SIGTERM at the start' 0 '*'
start -k stays -d disk
greeted
kill -9 "$pid"
finish
run -k ends -d disk
is 'kill -9 leaves nothing locked' 7 ''
run -k ends -d disk -d disk
is 'one disk twice' 1 'anykvm: disk: disk in use*'

pids=
for _ in 1 2 3 4 5 6 7 8; do
	timeout -k 5 60 "$anykvm" run -k ends -c 2 -d disk,ro </dev/null >/dev/null 2>>errs &
	pids="$pids $!"
done
bad=
for pid in $pids; do
	status=0
	wait "$pid" || status=$?
	[ "$status" = 7 ] || bad="$bad $status"
done
status=${bad:-0}
err=$(cat errs)
is 'eight side by side, on one disk that all read' 0 ''
