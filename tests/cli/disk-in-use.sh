#!/bin/sh
# SPDX-License-Identifier: MIT
# An image has one writer, or readers.
. "$(dirname "$0")/lib.sh"
echo 1..3
cd "$work" || exit 1
truncate -s 1M disk

# Kernels: one greets by its serial port and stays, one ends.
python3 - <<'P'
import struct
setup = bytearray(5 * 512)
def put(off, fmt, *v): struct.pack_into(fmt, setup, off, *v)
put(0x1f1, '<B', 4)
put(0x1f4, '<I', 528 // 16)
put(0x1fe, '<H', 0xaa55)
put(0x202, '<4sH', b'HdrS', 0x20f)
put(0x22c, '<I', 0x7fffffff)
put(0x230, '<IBBHI', 0x200000, 1, 21, 1, 2047)
put(0x258, '<QI', 0x1000000, 0x100000)
def kernel(name, code): open(name, 'wb').write(setup + b'\x90' * 512 + code.ljust(16, b'\0'))
kernel('stays', b'\x66\xba\xf8\x03\xb0\x21\xee\xeb\xfe') # mov $0x3f8, %dx; mov $'!', %al; out %al, %dx; jmp .
kernel('ends', b'\xb0\x07\xe6\xf4\xeb\xfe')             # mov $7, %al; out %al, $0xf4; jmp .
P

"$anykvm" run -k stays -d disk >ready 2>/dev/null </dev/null &
holder=$!
for _ in $(seq 200); do
	[ ! -s ready ] || break
	sleep 0.1
done
run -k ends -d disk
is 'a disk that another process writes' 1 'anykvm: disk: *in use*'
run -k ends -d disk,ro
is 'nor is it read meanwhile' 1 'anykvm: disk: *in use*'
kill "$holder"
wait "$holder"
run -k ends -d disk
is 'and it is free again afterwards' 7 ''
