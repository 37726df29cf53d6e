#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Write kernels of a few instructions into the current folder: bzImages with the least header that is taken."""
import struct

CODE = {
    'ends': b'\xb0\x07\xe6\xf4\xeb\xfe',                    # mov $7, %al; out %al, $0xf4; jmp .
    'stays': b'\x66\xba\xf8\x03\xb0\x21\xee\xeb\xfe',       # mov $0x3f8, %dx; mov $'!', %al; out %al, %dx; jmp .
    'floods': b'\x66\xba\xf8\x03\xb0\x21\xee\xeb\xfd',      # the same, with the jump back to out
}


def bzimage(code):
    setup = bytearray(5 * 512)

    def put(offset, form, *values):
        struct.pack_into(form, setup, offset, *values)

    put(0x1f1, '<B', 4)
    put(0x1f4, '<I', (512 + 64) // 16)
    put(0x1fe, '<H', 0xaa55)
    put(0x202, '<4sH', b'HdrS', 0x20f)
    put(0x22c, '<I', 0x7fffffff)
    put(0x230, '<IBBHI', 0x200000, 1, 21, 1, 2047)
    put(0x258, '<QI', 0x1000000, 0x100000)
    return bytes(setup) + b'\x90' * 512 + code.ljust(64, b'\0')  # the 64-bit entry is 0x200 behind the start


if __name__ == '__main__':
    for name, code in CODE.items():
        with open(name, 'wb') as out:
            out.write(bzimage(code))
