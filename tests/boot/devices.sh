#!/bin/sh
# SPDX-License-Identifier: MIT
# Debian's kernel with the devices of anykvm run: disks, network, entropy, console.
. "$1/tests/boot/lib.sh"
cpus=$3
echo 1..11

# A disk of 8 MiB whose first MiB is random; the guest copies it 4 MiB further.
dd if=/dev/urandom of="$work/disk" bs=1M count=1 2>/dev/null
truncate -s 8M "$work/disk"
head -c 1048576 "$work/disk" >"$work/first"
cp "$work/disk" "$work/second"
boot 'blockdev --getsize64 /dev/vda
	dd if=/dev/vda of=/tmp/x bs=64k count=16 2>/dev/null
	dd if=/tmp/x of=/dev/vda bs=64k seek=64 conv=fsync 2>/dev/null
	echo 3 >/proc/sys/vm/drop_caches
	dd if=/dev/vda bs=64k skip=64 count=16 2>/dev/null | sha256sum | cut -d " " -f 1
	cat /sys/block/vdb/ro; dd if=/tmp/x of=/dev/vdb bs=4k count=1 conv=fsync 2>/dev/null || echo refused
	mke2fs /dev/vda >/dev/null 2>&1; mount -t ext2 /dev/vda /mnt && echo hello >/mnt/file && umount /mnt
	cat /sys/class/misc/hw_random/rng_current; head -c 100 /dev/hwrng | wc -c
	' -c "$cpus" -d "$work/disk" -d "$work/second,ro"
check 'the disk has its size' '[ "$(sed -n 1p "$out")" = 8388608 ]'
check 'what was written is read back' '[ "$(sed -n 2p "$out")" = "$(sha256sum <"$work/first" | cut -d " " -f 1)" ]'
check 'and is in the file' 'dd if="$work/disk" bs=64k skip=64 count=16 2>/dev/null | cmp -s - "$work/first"'
check 'a read-only disk refuses' '[ "$(sed -n 3,4p "$out")" = "$(printf "1\nrefused")" ]'
check 'and is unchanged' 'head -c 1048576 "$work/second" | cmp -s - "$work/first"'
check 'a file system on the disk has its file' 'grep -aq hello "$work/disk"'
check 'the guest has a source of entropy' \
	'sed -n 5p "$out" | grep -q "^virtio_rng" && [ "$(sed -n 6p "$out")" = 100 ]'

mkdir "$work/www"
head -c 3000000 /dev/urandom >"$work/www/file"
serve "$work/www"
boot "ip -4 -o addr show dev eth0 | grep -o '10.0.2.[0-9]*/24'
	wget -q -O - http://10.0.2.2:$port/file | sha256sum | cut -d ' ' -f 1" -c "$cpus" -n user
stop_server
check 'the network gives an address' 'sed -n 1p "$out" | grep -q "^10\.0\.2\."'
check 'a download from the host is whole' '[ "$(sed -n 2p "$out")" = "$(sha256sum <"$work/www/file" | cut -d " " -f 1)" ]'

# Into the guest: it serves one connection on a port that the host forwards.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
python3 "$source/tests/boot/fetch.py" "$port" "$boot_timeout" >"$work/fetched" &
server=$!
boot 'echo from the guest | timeout 100 nc -l -p 80' -c "$cpus" -n "user,hostfwd=tcp:127.0.0.1:$port-:80"
stop_server
check 'a forwarded port reaches the guest' '[ "$(cat "$work/fetched")" = "from the guest" ]'

boot 'tty </dev/console; cat /sys/class/tty/console/active; seq 2000 | tail -n 1' -c "$cpus" --console virtio
check 'the virtio console works' '[ "$(sed -n "2,3p" "$out")" = "$(printf "hvc0\n2000")" ]'
