# SPDX-License-Identifier: MIT
# What the boot tests share; to be sourced with the arguments SOURCEDIR BUILDDIR.
# shellcheck shell=sh disable=SC2034
source=$1
build=$2
number=0
work=$(mktemp -d)
server=
trap 'stop_server; rm -rf "$work"' EXIT

# The engine is the one that was just built; a boot that takes longer than this hangs.
boot_timeout=${BOOT_TIMEOUT:-${boot_timeout:-240}}

stop_server() {
	[ -z "$server" ] || kill "$server" 2>/dev/null
	server=
}

# boot COMMAND [OPTION OF anykvm run...]: run COMMAND in a guest; sets $out, $err (files) and $status.
boot() {
	command=$1
	shift
	out=$work/out
	err=$work/err
	status=0
	CMD=$command timeout -k 10 "$boot_timeout" "$source/tools/run.sh" "$build" "$@" >"$out" 2>"$err" </dev/null ||
		status=$?
	# One that hangs is no reason to wait for those behind it.
	case $status in
	124 | 137)
		tail -n 15 "$out" | sed 's/^/# output: /'
		tail -n 15 "$err" | sed 's/^/# errors: /'
		echo "Bail out! no end within $boot_timeout s: $command"
		exit 1
		;;
	esac
}

# check NAME CONDITION: one case of TAP; on failure also what the last boot said.
check() {
	number=$((number + 1))
	if eval "$2"; then
		echo "ok $number - $1"
		return
	fi
	echo "not ok $number - $1"
	echo "# not so: $2"
	echo "# status $status"
	tail -n 15 "$out" | sed 's/^/# output: /'
	tail -n 15 "$err" | sed 's/^/# errors: /'
}

# serve DIR: a web server on the loopback for that folder; sets $port.
serve() {
	python3 "$source/tests/boot/serve.py" "$1" "$work/port" &
	server=$!
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		[ ! -s "$work/port" ] || break
		sleep 0.5
	done
	port=$(cat "$work/port")
}

"$source/tools/guest.sh" "$build" "${KERNEL:-cloud-amd64}" || {
	echo "Bail out! cannot make the test guest"
	exit 1
}
