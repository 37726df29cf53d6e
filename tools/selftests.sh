#!/bin/sh
# SPDX-License-Identifier: MIT
# Build the KVM selftests of Debian's kernel sources, as they are, for tests/selftests.
# Usage: tools/selftests.sh BUILDDIR RELEASE...
# RELEASE is 6.1 or 6.12: the package linux-source-RELEASE, the installed one, else the one that apt fetches (150 MB),
# which is not installed.  BUILDDIR/selftests-RELEASE/bin and .../version are there afterwards.  What it says goes to
# standard error.
set -eu
if [ $# -gt 2 ]; then
	build=$1
	shift
	for release; do
		"$0" "$build" "$release"
	done
	exit 0
fi
dir=$1/selftests-$2
package=linux-source-$2
[ ! -s "$dir/version" ] || exit 0

. "$(dirname "$0")/apt.sh"

rm -rf "$dir.part"
mkdir -p "$dir.part/linux" "$dir.part/bin"
part=$(cd "$dir.part" && pwd)
tests=$part/linux/tools/testing/selftests/kvm
tarball=/usr/src/$package.tar.xz
if [ -r "$tarball" ]; then
	version=$(dpkg-query -W -f '${Version}' "$package")
else
	fresh download "$part" "$package" || {
		say "cannot fetch $package through apt"
		exit 1
	}
	deb=$(echo "$part"/*.deb)
	version=$(dpkg-deb -f "$deb" Version)
	dpkg-deb --fsys-tarfile "$deb" | tar -xO "./usr/src/$package.tar.xz" >"$part/linux.tar.xz"
	tarball=$part/linux.tar.xz
	rm "$deb"
fi

# build ARGUMENTS: make, in the kernel's tree, without what our own make has told us.
build() {
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -s -j "$(nproc)" "$@" >>"$part/build.log" 2>&1 || {
		tail -n 20 "$part/build.log" >&2
		say "cannot build the selftests"
		exit 1
	}
}

# The tests, and what their Makefile and their sources include; later ones also what the kernel's API is made of.
say "unpacking the selftests of $package $version"
api=
[ "$2" = 6.1 ] || api="*/Makefile */Kbuild */include/uapi */include/asm-generic */arch/x86 */scripts */usr/include"
set -f
# shellcheck disable=SC2086
tar -xJf "$tarball" -C "$part/linux" --strip-components=1 --wildcards \
	'*/scripts/subarch.include' '*/tools/arch/x86/include' '*/tools/build' '*/tools/include' '*/tools/scripts' \
	'*/tools/lib/rbtree.c' '*/tools/testing/selftests/lib.mk' '*/tools/testing/selftests/kselftest*.h' \
	'*/tools/testing/selftests/kvm' '*/tools/testing/selftests/rseq' $api
set +f
rm -f "$part/linux.tar.xz"

say "building them"
if [ "$2" = 6.1 ]; then
	# The kernel's API is that of linux-libc-dev.  As they stand two would not build: dirty_log_test of 6.1.192 has a
	# macro's later name, and steal_time includes a header of that API before the one that this needs.
	build -C "$tests" OUTPUT="$part/bin" EXTRA_CFLAGS="-DTEST_ASSERT_EQ=ASSERT_EQ -include linux/stddef.h"
else
	build -C "$part/linux" headers
	build -C "$tests" OUTPUT="$part/bin" KHDR_INCLUDES="-isystem $part/linux/usr/include"
fi
cp "$tests/x86_64/nx_huge_pages_test.sh" "$part/bin/x86_64/"
find "$part/bin" -name '*.[od]' -delete
rm -rf "$part/linux" "$part/bin/lib"
echo "$version" >"$dir.part/version"
rm -rf "$dir"
mv "$dir.part" "$dir"
