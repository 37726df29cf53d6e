# SPDX-License-Identifier: MIT
# What the tests of the command line share; to be sourced with the argument ANYKVM.
# shellcheck shell=sh
anykvm=$1
number=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# run ARGUMENT...: anykvm run with them; sets $status, $out and $err (texts).
run() {
	status=0
	timeout -k 5 30 "$anykvm" run "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
	out=$(cat "$work/out")
	err=$(cat "$work/err")
}

# is NAME STATUS PATTERN: one case: the last command ended with STATUS and its errors match PATTERN (of case).
is() {
	number=$((number + 1))
	# shellcheck disable=SC2254
	case $status:$err in
	$2:$3) echo "ok $number - $1" ;;
	*)
		echo "not ok $number - $1"
		echo "# wanted $2 and $3"
		echo "# status $status"
		echo "$err" | sed 's/^/# errors: /'
		;;
	esac
}
