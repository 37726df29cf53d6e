#!/bin/sh
# SPDX-License-Identifier: MIT
# 'make check' ends with one line, the count, whatever goes wrong; around stand-ins for ninja and meson.
source=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
number=0

# A guest and selftests that are there already, so that nothing is fetched.
guest=$work/build/guest/cloud-amd64
mkdir -p "$guest" "$work/bin" "$work/build/selftests"
echo 6.1 >"$work/build/selftests/version"
: >"$work/build/build.ninja"
echo 6.1 >"$guest/version"
: >"$guest/vmlinuz"
echo 'dir base' | python3 "$source/tools/cpio.py" "$guest/initramfs"

cat >"$work/bin/ninja" <<'X'
#!/bin/sh
exit "${BUILD_STATUS:-0}"
X
cat >"$work/bin/meson" <<'X'
#!/bin/sh
[ "$1 $2" = 'test -C' ] || exit 9
mkdir -p "$3/meson-logs"
printf '{"name": "x", "result": "%s", "returncode": 0, "stdout": "1..1\\n%s 1 - x\\n"}\n' "$RESULT" "$CASE" >"$3/meson-logs/anykvm.json"
X
chmod +x "$work/bin/ninja" "$work/bin/meson"
unset MAKEFLAGS MFLAGS MAKELEVEL TESTS
export NO_INSTALL=1

# expect NAME LINE STATUSES [VARIABLE...]: both streams together, as a terminal shows them.
expect() {
	number=$((number + 1))
	name=$1 line=$2 statuses=$3
	shift 3
	status=0
	env PATH="$work/bin:$PATH" "$@" make -C "$source" --no-print-directory check BUILD="$work/build" \
		>"$work/out" 2>&1 </dev/null || status=$?
	# shellcheck disable=SC2254
	case $status:$(tail -n 1 "$work/out") in
	$statuses:"$line") echo "ok $number - $name" ;;
	*)
		echo "not ok $number - $name"
		echo "# status $status, wanted $statuses; wanted the last line '$line', got:"
		sed 's/^/# /' "$work/out"
		;;
	esac
}

echo 1..4
expect 'all is well' '1 passed, 0 failed' 0 RESULT=OK CASE=ok
expect 'a test fails' '0 passed, 1 failed' '[1-9]' RESULT=FAIL CASE='not ok'
expect 'the build fails' '0 passed, 1 failed' '[1-9]' BUILD_STATUS=1
expect 'a record is cut short' '0 passed, 1 failed' '[1-9]' RESULT='FAIL" "' CASE=ok
