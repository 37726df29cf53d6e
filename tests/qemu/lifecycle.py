#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How a guest of QEMU under anykvm exec begins again, sleeps and ends: lifecycle.py SOURCEDIR BUILDDIR"""
import signal

from qemu import run, wait

BUSY = 'echo here; while :; do :; done & while :; do :; done'


def resets(test):
    qemu = test.linux('echo here; read go </dev/console; reboot -f', reboot=True)
    test.check('the guest is up', qemu.expect('here'), qemu)
    qemu.ask('system_reset')
    test.check('a reset is told', qemu.event('RESET'), qemu)
    test.check('after a reset it comes up again', wait(lambda: qemu.console().count('here') == 2), qemu)
    qemu.type('\n')
    test.check('and so after one of its own', wait(lambda: qemu.console().count('here') == 3), qemu)
    test.check('of which QEMU tells', qemu.event('RESET', guest=True), qemu)
    test.check('this engine ran it', qemu.ours(), qemu)


def sleeps(test):
    qemu = test.linux("""head -c 4000000 /dev/urandom >/tmp/kept; sum=$(md5sum </tmp/kept)
echo ready; echo mem >/sys/power/state
[ "$(md5sum </tmp/kept)" = "$sum" ] && echo awake on $(nproc)
read go </dev/console""", cpus='2')
    test.check('the guest gets ready', qemu.expect('ready'), qemu)
    test.check('and suspends to memory', qemu.event('SUSPEND'), qemu)
    qemu.ask('system_wakeup')
    test.check('it is woken up', qemu.event('WAKEUP'), qemu)
    test.check('with its memory and both vCPUs', qemu.expect('awake on 2\n'), qemu)
    test.check('this engine ran it', qemu.ours(), qemu)


def ends(test):
    qemu = test.linux("""modprobe button; echo ready
until read n word </sys/firmware/acpi/interrupts/ff_pwr_btn && [ "$n" -gt 0 ]; do :; done
echo pressed; poweroff -f""")
    qemu.expect('ready')
    qemu.ask('system_powerdown')
    test.check('the power button reaches the guest', qemu.expect('pressed'), qemu)
    test.check('which powers off', qemu.event('SHUTDOWN', reason='guest-shutdown'), qemu)
    test.check('so QEMU ends', qemu.ended() == 0, qemu)
    test.check('this engine ran it', qemu.ours(), qemu)

    qemu = test.linux('modprobe pvpanic-mmio; echo 0 >/proc/sys/kernel/panic; echo c >/proc/sysrq-trigger',
                      '-device', 'pvpanic', '-action', 'panic=pause')
    test.check('a panic is told through its device', qemu.event('GUEST_PANICKED'), qemu)
    test.check('this engine ran that, too', qemu.ours(), qemu)

    qemu = test.linux(BUSY, cpus='2')
    qemu.expect('here')
    test.check('QEMU quits while both vCPUs are busy', qemu.quit() == 0, qemu)
    test.check('this engine ran them', qemu.ours(), qemu)
    qemu = test.linux(BUSY, cpus='2')
    qemu.expect('here')
    qemu.process.send_signal(signal.SIGTERM)
    test.check('a signal ends QEMU in good order', qemu.ended() == 0, qemu)
    test.check('this engine ran that, too', qemu.ours(), qemu)


def lives(test):
    resets(test)
    sleeps(test)
    ends(test)


run(lives, 'cloud-amd64')
