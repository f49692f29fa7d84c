#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
The guest `hostile` breaks every rule that it knows, one case after the other. The VMM survives each, says in
few words what happened, and leaves its pool as it should be.
"""
import os
import re
import time

import vmtest
from vmtest import MIB, Pool, Vmm, case, check, equal, matches

LINES_MAX = 40  # of messages that one guest may cause


def hostile_cases(kind):
    vm = Vmm("hostile", append="case=list")
    equal(vm.wait(), 0, "exit status of the list")
    found = re.findall(r"^hostile: (\d+) (\S+) \((\w+)\)", vm.stdout, re.M)
    check(len(found) > 20, "a short list: %r" % vm.stdout)
    return [(int(number), name) for number, name, its_kind in found if its_kind == kind]


def bounded(vm, name):
    """What it said on stderr is little, whole lines, and its own."""
    lines = vm.stderr.strip().splitlines()
    check(len(lines) <= LINES_MAX, "%s: %d lines of messages: %s..." % (name, len(lines), "\n".join(lines[:5])))
    for line in lines:
        check(line.startswith("memback-vmm[%s]: " % vm.name), "%s: a message that is not ours: %r" % (name, line))


def disk():
    """One for the cases that break it."""
    with open(vmtest.path("disk"), "wb") as f:
        f.truncate(MIB)
    return vmtest.path("disk")


def start(pool, number):
    return Vmm("hostile", append="case=%d" % number, pool=pool.path, name="hostile%d" % number, disk=disk(),
               rng=True)


@case
def survivors():
    """Each in a VM of its own; under emulation some, since control_goes_on_meanwhile goes through all in one VM."""
    pool = Pool("256M")
    failures = []
    for number, name in hostile_cases("survives")[::8 if vmtest.EMULATED else 1]:
        vm = start(pool, number)
        try:
            equal(vm.wait(), 0, "exit status")
            matches(r"hostile: recovered", vm.stdout, "the console")
            bounded(vm, name)
            equal(pool.resident(), 0, "bytes that the kernel holds")
        except vmtest.Failure as e:
            failures.append("%d %s: %s\n%s" % (number, name, e, vm.diagnosis()))
            vm.kill()
    check(not failures, "\n".join(failures))
    pool.destroy()


@case
def broken_rules_are_told():
    """Of those that the device must refuse, each leads to a message."""
    silent = []
    for name in ("bad-address", "chain-loop", "next-out-of-range", "head-out-of-range", "frame-out-of-range",
                 "frame-never-inflated", "queue-place"):
        vm = Vmm("hostile", append="case=" + name)
        equal(vm.wait(), 0, "exit status of " + name)
        if "warning" not in vm.stderr:
            silent.append(name)
    equal(silent, [], "cases without a message")


@case
def ends():
    """These end the VM, by the guest or by the VMM, which then says where the guest was; or go on for ever."""
    pool = Pool("256M")
    for number, name in hostile_cases("ends"):
        vm = start(pool, number)
        if name == "hang":
            vm.line(r"case=\d+ hang")
            with vm.qmp() as client:
                client.execute("quit")
        status = vm.wait()
        check(0 <= status <= 3, "%s: exit status %d\n%s" % (name, status, vm.diagnosis()))
        bounded(vm, name)
        if name == "triple-fault":
            equal(status, 1, "exit status of a triple fault")
            for pattern in (r"(?i)triple fault", r"rip 0x[0-9a-f]+", r"(?i)privilege level \d|cpl \d"):
                matches(pattern, vm.stderr, "the message")
        check(not os.path.exists(vm.socket), "%s: the socket is left" % name)
    pool.check_empty()
    pool.destroy()


@case
def control_goes_on_meanwhile():
    """While a guest does its worst, the control socket is answered, and what it says is consistent."""
    pool = Pool("256M")
    vm = Vmm("hostile", append="case=all", pool=pool.path, disk=disk(), rng=True)
    answers = 0
    try:
        with vm.qmp() as client:
            while True:
                status = client.execute("memback-status")
                check(status["actual"] <= status["maximum"] == 64 * MIB, "sizes: %r" % status)
                client.execute("memback-map")
                answers += 1
                time.sleep(0.005 * vmtest.SLOWNESS)  # and not flat out: an emulator would do nothing else
    except (EOFError, ConnectionResetError, BrokenPipeError):
        pass
    equal(vm.wait(), 0, "exit status")
    matches(r"all survived", vm.stdout, "the console")
    check(answers > 5, "%d answers only" % answers)
    pool.destroy()


@case
def fuzz_with_several_seeds():
    pool = Pool("256M")
    names = [(number, name) for number, name in hostile_cases("survives") if "random" in name or "fuzz" in name]
    check(names, "no random case")
    for seed in range(2, 3 if vmtest.EMULATED else 5):
        for number, name in names:
            vm = Vmm("hostile", append="case=%d seed=%d" % (number, seed), pool=pool.path, disk=disk())
            equal(vm.wait(), 0, "exit status of %s, seed %d\n%s" % (name, seed, vm.diagnosis()))
    pool.destroy()


vmtest.main()
