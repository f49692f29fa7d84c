#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
Guests of a terabyte, on a host that has far less: they start, touch memory at both ends, in the middle and
anywhere, show it in their map, and cost the host what they touch. What is too large is refused before anything
is spent. No time is asserted; bench-balloon and the README have the numbers.
"""
import json
import re

import vmtest
from vmtest import GIB, MIB, Skip, Vmm, case, check, equal, matches, run

TIB = 1 << 40
SIZE = "1T"


def terabyte(kernel, **options):
    """A VMM whose host may have too little memory for KVM's own tables."""
    vm = Vmm(kernel, memory=SIZE, **options)
    try:
        vm.line(r"here I am|touch: ranges", seconds=120)
    except vmtest.Failure:
        refused = re.search(r"at most .* would work now", vm.stderr)
        if refused:
            raise Skip("this host has too little memory for the slots: " + refused.group(0)) from None
        raise
    return vm


def is_amd():
    with open("/proc/cpuinfo") as f:
        return bool(re.search(r"AuthenticAMD|HygonGenuine", f.read()))


def shadow_paging():
    for name in ("kvm_intel/parameters/ept", "kvm_amd/parameters/npt"):
        try:
            with open("/sys/module/" + name) as f:
                if f.read(1) in "Y1":
                    return False
        except OSError:
            pass
    return True


@case
def hello_with_a_terabyte():
    vm = terabyte("hello", append="echo", verbose=True)
    vm.seen = 0
    equal(vm.line(r"with (\d+) MiB").group(1), str((1 << 20) - 1), "MiB of memory")
    ranges = []
    for _ in range(4 if is_amd() else 3):
        found = vm.line(r"memory (0x[0-9a-f]+) to (0x[0-9a-f]+)")
        ranges.append((int(found.group(1), 16), int(found.group(2), 16)))
    equal(ranges[1], (MIB, 3 * GIB), "what lies below the devices")
    if is_amd():
        # the 12 GiB below 1 TiB are HyperTransport's
        equal(ranges[2], (4 * GIB, 0xFD00000000), "what lies below the hole")
        equal(ranges[3], (TIB, TIB + 13 * GIB), "what lies above it")
    else:
        equal(ranges[2], (4 * GIB, TIB + GIB), "what lies above 4 GiB")
    vm.line(r"cpu 0 is up")
    matches(r"memory slots for 1 TiB with .*: at most [\d.]+ .iB of the host's memory expected", vm.stderr,
            "the price of the slots, at --verbose")
    large = vm.resident()
    vm.type("quit\n")
    equal(vm.wait(), 0, "exit status")
    vm = Vmm("hello", append="echo", memory="1G")
    vm.line(r"cpu 0 is up")
    small = vm.resident()
    vm.type("quit\n")
    equal(vm.wait(), 0, "exit status")
    check(large - small < 32 * MIB, "a terabyte costs %d KiB more than a gigabyte" % ((large - small) >> 10))


@case
def touched_at_the_ends_and_in_the_middle():
    last = (TIB + 13 * GIB if is_amd() else TIB + GIB) - 64 * MIB
    places = ("64M+8M", "2048M+8M", "4G+8M", "%#x+8M" % (TIB // 2), "%#x+64M" % last)
    vm = terabyte("touch", append=" ".join("at=" + place for place in places) + " stride=1M passes=1 verify")
    touches = vm.line(r"touch: verify ok touches=(\d+)", seconds=120).group(1)
    equal(int(touches), 4 * 8 + 64, "touches")
    equal(vm.wait(), 0, "exit status")


@case
def touched_anywhere():
    touches = 30 if vmtest.EMULATED else 100
    vm = terabyte("touch", append="anywhere=%d passes=2 verify" % touches)
    vm.line(r"touch: verify ok touches=%d$" % touches, seconds=120)
    equal(vm.wait(), 0, "exit status")


@case
def shown_and_checked():
    vm = terabyte("touch", append="anywhere=20 passes=1000 pause=1000")
    vm.line(r"touch: pass=1 ", seconds=120)
    with vm.qmp() as client:
        client.seconds = 60 * vmtest.SLOWNESS
        runs = client.execute("memback-map", cells=4096)
        equal(sum(r["size"] for r in runs), TIB, "bytes in the map")
        resident = sum(r["resident"] for r in runs)
        check(20 * 4096 <= resident <= 128 * MIB, "the map shows %d bytes resident" % resident)
        touched = sum(1 for r in runs if r["resident"])
        check(touched >= 15, "20 touches show in %d runs" % touched)
        equal(client.execute("memback-check")["count"], 0, "discrepancies")
    shown = vm.ctl("map").stdout
    matches(r"touched in part [1-9]\d* GiB.*untouched (9\d\d|10\d\d) GiB", shown, "the picture")
    with vm.qmp() as client:
        client.execute("quit")
    equal(vm.wait(), 0, "exit status")


def refusal(memory):
    done = run([vmtest.VMM, "--memory", memory, "--kernel", vmtest.guest("hello")], seconds=60)
    return done.returncode, done.stderr


@case
def too_large_is_refused_with_the_most_that_fits():
    status, text = refusal("5000T")
    check(status not in (0, -9), "5000T were not refused")
    matches(r"addresses have \d+ bits on this host; at most \d+[GT] fit", text, "the refusal of 5000T")


@case
def too_large_for_the_host_is_refused_unspent():
    """150 GiB of the kernel's memory, or 30 GiB with the TDP MMU if that keeps something for each page at all."""
    if not shadow_paging() and not vmtest.EMULATED:
        raise Skip("with nested paging the host may have enough for the slots of 60T, and this would take it")
    status, text = refusal("60T")
    check(status == 1 or (status == 0 and not shadow_paging()), "60T were not refused, but ended with %d" % status)
    if status == 0:
        return  # a KVM that keeps nothing for each page
    most = matches(r"(?:paging|MMU)\).* are available; at most (\d+[GT]) would work now", text,
                   "the refusal of 60T").group(1)
    check(int(most[:-1]) > 0, "nothing would work: %s" % text)


if __name__ == "__main__":
    vmtest.main()
