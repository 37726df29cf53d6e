#!/bin/sh
# SPDX-License-Identifier: MIT
# Build the KVM selftests of Debian's kernel source, as they are, for tests/selftests.
# Usage: tools/selftests.sh BUILDDIR
# The package is linux-source-6.1: the installed one, else the one that apt fetches (140 MB), which is not installed.
# BUILDDIR/selftests/bin and BUILDDIR/selftests/version are there afterwards.  What it says goes to standard error.
set -eu
dir=$1/selftests
package=linux-source-6.1
[ ! -s "$dir/version" ] || exit 0

. "$(dirname "$0")/apt.sh"

rm -rf "$dir.part"
mkdir -p "$dir.part/linux" "$dir.part/bin"
tarball=/usr/src/$package.tar.xz
if [ -r "$tarball" ]; then
	version=$(dpkg-query -W -f '${Version}' "$package")
else
	fresh download "$dir.part" "$package" || {
		say "cannot fetch $package through apt"
		exit 1
	}
	deb=$(echo "$dir.part"/*.deb)
	version=$(dpkg-deb -f "$deb" Version)
	dpkg-deb --fsys-tarfile "$deb" | tar -xO "./usr/src/$package.tar.xz" >"$dir.part/linux.tar.xz"
	tarball=$dir.part/linux.tar.xz
	rm "$deb"
fi

# The tests, and what their Makefile and their sources include; the kernel's API is that of linux-libc-dev.
say "unpacking the selftests of $package $version"
tar -xJf "$tarball" -C "$dir.part/linux" --strip-components=1 --wildcards \
	'*/scripts/subarch.include' '*/tools/arch/x86/include' '*/tools/build' '*/tools/include' '*/tools/scripts' \
	'*/tools/lib/rbtree.c' '*/tools/testing/selftests/lib.mk' '*/tools/testing/selftests/kselftest*.h' \
	'*/tools/testing/selftests/kvm' '*/tools/testing/selftests/rseq'
rm -f "$dir.part/linux.tar.xz"

# As they stand two would not build: dirty_log_test of 6.1.192 has a macro's later name, and steal_time includes a
# header of the kernel's API before the one that this needs.
say "building them"
out=$(cd "$dir.part/bin" && pwd)
env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -s -j "$(nproc)" -C "$dir.part/linux/tools/testing/selftests/kvm" \
	OUTPUT="$out" EXTRA_CFLAGS="-DTEST_ASSERT_EQ=ASSERT_EQ -include linux/stddef.h" >"$dir.part/build.log" 2>&1 || {
	tail -n 20 "$dir.part/build.log" >&2
	say "cannot build the selftests"
	exit 1
}
cp "$dir.part/linux/tools/testing/selftests/kvm/x86_64/nx_huge_pages_test.sh" "$out/x86_64/"
rm -rf "$dir.part/linux" "$dir.part/bin/lib"
echo "$version" >"$dir.part/version"
rm -rf "$dir"
mv "$dir.part" "$dir"
