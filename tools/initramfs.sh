#!/bin/sh
# SPDX-License-Identifier: MIT
# Make the initramfs of the test guest: busybox, our /init, and the modules that drive anykvm's devices.
# Usage: tools/initramfs.sh KERNELDIR        (a folder that tools/fetch-kernel.sh made)
# Writes KERNELDIR/initramfs when a part of it is newer.
set -eu
tools=$(cd "$(dirname "$0")" && pwd)
dir=$1
version=$(cat "$dir/version")
out=$dir/initramfs
busybox=${BUSYBOX:-/bin/busybox}

newer=$(find "$tools/guest" "$tools/initramfs.sh" "$tools/cpio.py" "$dir/version" "$busybox" \
	-newer "$out" -print 2>/dev/null || echo none)
[ ! -s "$out" ] || [ -n "$newer" ] || exit 0

stage=$dir/stage.$$
trap 'rm -rf "$stage"' EXIT
mkdir -p "$stage/lib/modules/$version"

# They need no C library, which keeps the initramfs small.
for program in exit-code foreground perf; do
	${CC:-cc} -Os -Wall -Wextra -static -nostdlib -ffreestanding -fno-stack-protector -Wl,--build-id=none -s \
		-o "$stage/$program" "$tools/guest/$program.c"
done

# A module and all that it depends on, by the names that it carries itself.  Some are built in: not found.
modules_left="virtio_mmio virtio_blk virtio_net virtio_console virtio-rng 9pnet_virtio 9p ext4 virtio_pci
	e1000 e1000e ata_piix ahci sd_mod pvpanic_mmio button"
while [ -n "$modules_left" ]; do
	next=
	for module in $modules_left; do
		pattern=$(echo "$module" | sed 's/[-_]/[-_]/g')
		file=$(find "$dir/lib/modules/$version" -name "$pattern.ko" | head -n 1)
		[ -n "$file" ] || continue
		to=$stage/lib/modules/$version/$(basename "$file")
		[ ! -e "$to" ] || continue
		cp "$file" "$to"
		depends=$(tr '\0' '\n' <"$to" | LC_ALL=C sed -n 's/^depends=//p' | tr ',' ' ')
		next="$next $depends"
	done
	modules_left=${next# }
	[ -n "$(echo "$modules_left" | tr -d ' ')" ] || modules_left=
done
"$busybox" depmod -b "$stage" "$version"

{
	for path in bin sbin dev proc sys tmp run mnt etc root usr usr/bin usr/sbin usr/share usr/share/udhcpc \
		lib lib/modules "lib/modules/$version" anykvm; do
		echo "dir $path"
	done
	echo "node dev/console 5 1"
	echo "node dev/null 1 3"
	echo "link linuxrc init"
	echo "file init $tools/guest/init"
	echo "file bin/busybox $busybox"
	echo "file anykvm/exit-code $stage/exit-code"
	echo "file anykvm/foreground $stage/foreground"
	echo "file anykvm/perf $stage/perf"
	echo "file usr/share/udhcpc/default.script $tools/guest/udhcpc"
	"$busybox" --list-full | while read -r applet; do
		case $applet in
		bin/busybox | linuxrc) ;;
		*) echo "link $applet /bin/busybox" ;;
		esac
	done
	for file in "$stage/lib/modules/$version"/*; do
		echo "file lib/modules/$version/$(basename "$file") $file 644"
	done
} >"$stage/list"
python3 "$tools/cpio.py" "$out" <"$stage/list"
