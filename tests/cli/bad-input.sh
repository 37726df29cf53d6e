#!/bin/sh
# SPDX-License-Identifier: MIT
# Whatever is wrong with what the user gives is named, in one line, without a crash.
. "$(dirname "$0")/lib.sh"
echo 1..38
cd "$work" || exit 1

# A kernel that only ends: a bzImage with the least header that is taken.
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
# At 0x200 behind its start: mov $7, %al; out %al, $0xf4
open('kernel', 'wb').write(setup + b'\x90' * 512 + b'\xb0\x07\xe6\xf4\xeb\xfe' + bytes(10))
setup[0x1f4:0x1f8] = struct.pack('<I', 0x1000)
open('cut', 'wb').write(setup)
setup[0x236] = 0
open('kernel32', 'wb').write(setup)
P
: >empty
mkdir dir
mkfifo pipe
echo hello >text
gzip -c text >text.gz
truncate -s 1M disk
truncate -s 700M big

run
is 'no kernel' 2 'anykvm: no kernel: give one with -k*'
run -k
is 'no argument' 2 'anykvm: -k: needs an argument*'
run -k kernel extra
is 'an operand' 2 'anykvm: extra: *'
run --nonsense
is 'an unknown option' 2 'anykvm: --nonsense: no such option*'
run -Z
is 'an unknown letter' 2 'anykvm: -Z: no such option*'
run -k kernel -m 0
is 'no memory' 2 'anykvm: -m 0: too little*'
run -k kernel -m 99999999G
is 'absurd memory' 2 'anykvm: -m 99999999G: too much: this host has * MiB*'
run -k kernel -m -5
is 'negative memory' 2 'anykvm: -m -5: not a size*'
run -k kernel -m 99999999999999999999999
is 'memory beyond numbers' 2 'anykvm: -m 9*: too much*'
run -k kernel -c 0
is 'no vCPU' 2 'anykvm: -c 0: not a number of vCPUs*'
run -k kernel -c 100000
is 'absurd vCPUs' 2 'anykvm: -c 100000: *give 1 to *'
run -k kernel --accel quantum
is 'an unknown engine' 2 'anykvm: --accel quantum: unknown*'
run -k kernel --console vga
is 'an unknown console' 2 'anykvm: --console vga: unknown*'
run -k kernel -n bridge
is 'an unknown network' 2 'anykvm: -n bridge: unknown network*'
run -k kernel -n user,hostfwd=tcp:99999-:22
is 'a bad forward' 2 'anykvm: *'
run -k kernel --share :x
is 'a share without a folder' 2 'anykvm: --share :x: no folder named*'

run -k missing
is 'a missing kernel' 1 'anykvm: missing: cannot open: No such file or directory'
run -k dir
is 'a folder as kernel' 1 'anykvm: dir: is a directory*'
run -k pipe
is 'a pipe as kernel' 1 'anykvm: pipe: is a pipe*'
run -k empty
is 'an empty kernel' 1 'anykvm: empty: is empty'
run -k text
is 'text as kernel' 1 'anykvm: text: is of an unknown kind*'
run -k text.gz
is 'a compressed kernel' 1 'anykvm: text.gz: is a gzip file*'
run -k /bin/true
is 'a program as kernel' 1 'anykvm: /bin/true: is an ELF *x86-64*'
run -k cut
is 'a kernel cut short' 1 'anykvm: cut: truncated: header says 68096 bytes, file has 2560'
run -k kernel32
is 'a kernel for 32 bits' 1 'anykvm: kernel32: is a 32-bit Linux kernel*'
run -k disk
is 'a disk as kernel' 1 'anykvm: disk: is of an unknown kind*'
run -k kernel -m 2M
is 'a kernel larger than memory' 1 'anykvm: kernel: kernel needs *give more with -m'
run -k kernel -i missing
is 'a missing initrd' 1 'anykvm: missing: cannot open: *'
run -k kernel -i dir
is 'a folder as initrd' 1 'anykvm: dir: is a directory*'
run -k kernel -i big
is 'an initrd larger than memory' 1 'anykvm: big: initrd of 700 MiB does not fit*give more with -m'
run -k kernel -p "$(head -c 5000 /dev/zero | tr '\0' x)"
is 'too many parameters' 1 'anykvm: kernel parameters: * bytes are too long: this kernel takes 2047'
run -k kernel -d missing
is 'a missing disk' 1 'anykvm: missing: *No such file or directory*'
run -k kernel -d dir
is 'a folder as disk' 1 'anykvm: dir: *'
run -k kernel --share missing
is 'a missing share' 1 'anykvm: missing: *No such file or directory*'
run -k kernel --cpu z80
is 'an unknown CPU' 1 'anykvm: --cpu z80: unknown CPU or feature*'
run -k kernel --stats missing/file
is 'statistics that cannot be written' 7 '*missing/file: cannot write statistics: No such file or directory*'
run -k kernel -d disk
is 'and what is right runs' 7 ''
run -k kernel -c 2 --stats stats
python3 -c 'import json; s = json.load(open("stats")); assert s["vm"] and len(s["vcpus"]) == 2 and s["vcpus"][0]' ||
	status=bad
is 'statistics are JSON' 7 ''
