#!/bin/sh
# SPDX-License-Identifier: MIT
# Make a disk image with Debian on it that boots by itself, by a BIOS or by UEFI, both through GRUB.
# Usage: tools/debian-disk.sh DIR
# DIR/disk.img is there afterwards: an ext4 root and an EFI system partition; root's password is "anykvm", and there
# is a login on the first serial port.  No root is needed where user namespaces or fakechroot work.
set -eu
tools=$(cd "$(dirname "$0")" && pwd)
dir=$1
[ ! -s "$dir/disk.img" ] || [ "$0" -nt "$dir/disk.img" ] || exit 0
for program in mmdebstrap mke2fs mkfs.fat mcopy sfdisk; do
	PATH=$PATH:/usr/sbin:/sbin command -v $program >/dev/null || {
		echo "anykvm: $program is missing" >&2
		exit 1
	}
done

part=$dir.$$
mkdir -p "$part"
trap 'rm -rf "$part"' EXIT
trap 'exit 1' INT TERM HUP

# From where this machine gets its own packages, where that is Debian's.
suite=bookworm
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $suite" 'Label: Debian' 2>/dev/null |
	head -n 1)

# What is done in the tree, where the files belong to root, be it for show.
cat >"$part/hook" <<'END'
set -eu
root=$1
echo 'root:anykvm' | chroot "$root" chpasswd
echo debian >"$root/etc/hostname"
cat >"$root/etc/fstab" <<FSTAB
LABEL=root / ext4 errors=remount-ro 0 1
FSTAB
mkdir -p "$root/boot/grub"
# A slow machine is no broken one: by default each of these gives up after one to three minutes.
patience="udev.event_timeout=1800 systemd.default_timeout_start_sec=1800"
patience="$patience systemd.default_device_timeout_sec=1800"
cat >"$root/boot/grub/grub.cfg" <<GRUB
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
set timeout=0
echo "GRUB on \$grub_platform"
linux $(cd "$root" && ls boot/vmlinuz-*) root=LABEL=root console=ttyS0 quiet $patience
initrd $(cd "$root" && ls boot/initrd.img-*)
boot
GRUB
sed -i -E 's,^(linux|initrd) boot,\1 /boot,' "$root/boot/grub/grub.cfg"
# What grub-install does, but that it looks for the disk that it runs from.
chroot "$root" grub-mkimage -O i386-pc -p '(hd0,msdos1)/boot/grub' -o /boot/grub/core.img \
	biosdisk part_msdos ext2 serial terminal normal linux echo
echo 'search.fs_label root root
set prefix=($root)/boot/grub' >"$root/boot/grub/early.cfg"
chroot "$root" grub-mkimage -O x86_64-efi -c /boot/grub/early.cfg -p /boot/grub -o /boot/grub/bootx64.efi \
	part_msdos ext2 search_label serial terminal normal linux echo
cp "$root/usr/lib/grub/i386-pc/boot.img" "$root/boot/grub/boot.img"
rm -rf "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb
PATH=$PATH:/usr/sbin:/sbin
# Without what is mounted there for the packages' scripts.
stage=$(mktemp -d)
cp -ax "$root/." "$stage"
image=$(mktemp)
mke2fs -q -t ext4 -L root -d "$stage" "$image" "$(($(du -s --block-size=1M "$stage" | cut -f 1) + 150))M"
rm -rf "$stage"
mv "$image" "$root/root.img"
END

echo "anykvm: making a disk with Debian $suite on it" >&2
# shellcheck disable=SC2016
mmdebstrap --quiet --variant=minbase --format=null \
	--include=linux-image-cloud-amd64,systemd-sysv,dbus,udev,kmod,grub-common,grub-pc-bin,grub-efi-amd64-bin \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	--customize-hook="sh '$part/hook' \"\$1\"" \
	--customize-hook="download /root.img $part/root.img" \
	--customize-hook="download /boot/grub/boot.img $part/boot.img" \
	--customize-hook="download /boot/grub/core.img $part/core.img" \
	--customize-hook="download /boot/grub/bootx64.efi $part/bootx64.efi" \
	"$suite" /dev/null $mirror >&2

# A boot sector that reads the rest of GRUB from the sectors behind it, as it is made to do unless told otherwise; the
# root; and what UEFI looks for.
PATH=$PATH:/usr/sbin:/sbin
disk=$part/disk.img
sectors=$(($(stat -c %s "$part/root.img") / 512))
esp=$((2048 + (sectors + 2047) / 2048 * 2048))
truncate -s $(((esp + 16384 + 2048) * 512)) "$disk"
printf 'label: dos\nstart=2048, size=%d, type=83, bootable\nstart=%d, size=16384, type=ef\n' $sectors $esp |
	sfdisk -q "$disk"
dd if="$part/boot.img" of="$disk" bs=440 count=1 conv=notrunc status=none
dd if="$part/core.img" of="$disk" bs=512 seek=1 conv=notrunc status=none
truncate -s $((16384 * 512)) "$part/esp.img"
mkfs.fat -F 12 "$part/esp.img" >/dev/null
mmd -i "$part/esp.img" ::EFI ::EFI/BOOT
mcopy -i "$part/esp.img" "$part/bootx64.efi" ::EFI/BOOT/BOOTX64.EFI
dd if="$part/root.img" of="$disk" bs=1M seek=1 conv=notrunc,sparse status=none
dd if="$part/esp.img" of="$disk" bs=1M seek=$((esp / 2048)) conv=notrunc,sparse status=none
mkdir -p "$dir"
mv "$disk" "$dir/disk.img"
