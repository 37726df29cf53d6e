#!/bin/sh
# SPDX-License-Identifier: MIT
# Fetch a stock Debian kernel through apt and unpack it, without installing it.
# Usage: tools/fetch-kernel.sh DIR [FLAVOUR]
# FLAVOUR is what follows linux-image- in the name of Debian's metapackage: cloud-amd64 (the default), amd64, or
# 6.12-cloud-amd64, the same of a later release.
# DIR/vmlinuz, DIR/config, DIR/lib/modules/VERSION and DIR/version are there afterwards.
set -eu
dir=$1
flavour=${2:-cloud-amd64}
[ ! -s "$dir/version" ] || exit 0

. "$(dirname "$0")/apt.sh"

# The metapackage names the newest kernel of the flavour.
newest() {
	apt-cache depends "linux-image-$flavour" 2>/dev/null |
		sed -n "s/^ *Depends: \(linux-image-[0-9].*-${flavour#[0-9]*-}\)\$/\1/p" | head -n 1
}

rm -rf "$dir.part"
mkdir -p "$dir.part"
fetch() {
	package=$(newest)
	[ -n "$package" ] && download "$dir.part" "$package"
}
fresh fetch || {
	say "cannot fetch linux-image-$flavour through apt"
	exit 1
}

dpkg-deb -x "$dir.part"/*.deb "$dir.part/unpacked"
version=${package#linux-image-}
mkdir -p "$dir.part/lib/modules"
mv "$dir.part/unpacked/lib/modules/$version" "$dir.part/lib/modules/"
# The 6.12 ones are compressed, which the initramfs's insmod does not undo.
find "$dir.part/lib/modules" -name '*.ko.xz' -exec xz -d {} +
mv "$dir.part/unpacked/boot/vmlinuz-$version" "$dir.part/vmlinuz"
mv "$dir.part/unpacked/boot/config-$version" "$dir.part/config"
rm -rf "$dir.part/unpacked" "$dir.part"/*.deb
echo "$version" >"$dir.part/version"
rm -rf "$dir"
mv "$dir.part" "$dir"
