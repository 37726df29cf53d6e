# SPDX-License-Identifier: MIT
# What the tests of clients share; to be sourced with the arguments SOURCEDIR BUILDDIR.
# shellcheck shell=sh disable=SC2034
source=$1
build=$2
kernel=${KERNEL:-cloud-amd64}
guest=$build/guest/$kernel
work=$(mktemp -d)
number=0
trap 'rm -rf "$work"' EXIT
PATH=$PATH:/usr/sbin:/sbin

skip() {
	echo "1..0 # SKIP $1"
	exit 77
}

# need PROGRAM...: or there is nothing to test.
need() {
	for program; do
		command -v "$program" >/dev/null || skip "$program is missing"
	done
}

# on LOG COMMAND...: the command under anykvm exec; what it says goes to the file LOG.
on() {
	log=$1
	shift
	timeout -k 10 900 "$build/src/cli/anykvm" exec --stats "$work/stats" -- "$@" >"$log" 2>&1
}

# ours: the command before made a VM here, which ran guest code.
ours() {
	grep -q '"instructions": [1-9]' "$work/stats"
}

# check NAME CONDITION: one case of TAP; on failure also what the last command said.
check() {
	number=$((number + 1))
	if eval "$2"; then
		echo "ok $number - $1"
		return
	fi
	echo "not ok $number - $1"
	tail -n 20 "$log" | sed 's/^/# /'
}

# guest_runs FILE: the test guest's initramfs, with standard input as the script that it runs, becomes FILE.
guest_runs() {
	cat >"$work/cmd"
	"$source/tools/guest-command.sh" "$guest/initramfs" "$work/cmd" "$1"
}

. "$source/tools/apt.sh"
"$source/tools/guest.sh" "$build" "$kernel" || skip 'cannot make the test guest'
