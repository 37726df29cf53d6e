#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""QEMU's CPU models on both of anykvm's, under anykvm exec: cpus.py SOURCEDIR BUILDDIR intel|amd"""
import subprocess
import sys

from qemu import BUILD, run

VENDOR = sys.argv[3]
# Each with one of its features.  'enforce' asserts that all of them are there; they are not in those without it.
ANY = {'host': 'avx2', 'max': 'avx2', 'qemu64': 'lm', 'kvm64': 'lm'}
NAMED = {
    'intel': {'Nehalem,enforce': 'sse4_2', 'Westmere,enforce': 'pclmulqdq', 'IvyBridge,enforce': 'f16c',
              'Haswell-noTSX,enforce': 'avx2', 'Broadwell-noTSX,enforce': 'adx', 'Skylake-Server': 'clwb'},
    'amd': {'Opteron_G2,enforce': 'cx16', 'EPYC,enforce': 'misalignsse', 'EPYC-Rome,enforce': 'fxsr_opt'},
}
# Features that no host of ours has: QEMU must see that they are not offered.
LACKING = {'intel': 'EPYC,+svm', 'amd': 'Skylake-Client,+vmx'}


def refuses(test, model):
    """QEMU ends at once, and says what is not there."""
    done = subprocess.run([BUILD + '/src/cli/anykvm', 'exec', '-v', '--cpu', VENDOR, '--', 'qemu-system-x86_64',
                           '-accel', 'kvm', '-cpu', model + ',enforce', '-display', 'none', '-nodefaults', '-S'],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=False)
    test.check('%s,enforce is refused' % model, done.returncode == 1 and "doesn't support requested feature" in
               done.stderr and 'opened the engine: anykvm' in done.stderr)


def models(test):
    for model, flag in {**ANY, **NAMED[VENDOR]}.items():
        qemu = test.linux("grep -q -w %s /proc/cpuinfo && echo has it; grep -m 1 'model name' /proc/cpuinfo; poweroff -f"
                          % flag, cpu=model, how=['--cpu', VENDOR])
        test.check('%s boots, with %s' % (model, flag), qemu.expect('has it'), qemu)
        test.check('and powers off', qemu.ended() == 0, qemu)
        test.check('this engine ran it', qemu.ours(), qemu)
    refuses(test, LACKING[VENDOR])


run(models, 'cloud-amd64')
