#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Guests are launched and end: exit status, CPUs, memory, backings, the serial port's ways."""
import os
import re
import signal
import termios

import vmtest
from vmtest import MIB, Vmm, case, check, equal, matches, path, run


def ends_well(vm):
    vm.line(r"hello: goodbye")
    equal(vm.wait(), 0, "exit status")


@case
def hello_ends_with_status_0():
    ends_well(Vmm("hello"))


@case
def exit_status_is_passed_through():
    for status in (1, 7, 77, 255):
        vm = Vmm("hello", append="exit=%d" % status)
        equal(vm.wait(), status, "exit status")


@case
def several_cpus():
    for cpus in (2, 4):
        vm = Vmm("hello", append="cpus=%d" % cpus, cpus=cpus)
        for cpu in range(cpus):
            vm.line(r"cpu %d is up" % cpu)
        ends_well(vm)


@case
def more_cpus_than_a_byte_counts():
    """Before a CPU enables its x2APIC, its id may be cut to a byte: 257 must not start when 1 does."""
    vm = Vmm("hello", append="cpus=4", cpus=300)
    for cpu in range(4):
        vm.line(r"cpu %d is up, local apic id %d" % (cpu, cpu))
    ends_well(vm)


@case
def four_cpus_share_the_work():
    vm = Vmm("touch", append="smp cpus=4 size=32M verify", cpus=4)
    vm.line(r"touch: ranges=1 bytes=33554432 .* cpus=4 ")
    vm.line(r"touch: verify ok touches=8192")
    equal(vm.wait(), 0, "exit status")


@case
def command_line_reaches_the_guest():
    vm = Vmm("hello", append="one two=3")
    vm.line(r"option one$")
    vm.line(r"option two=3$")
    ends_well(vm)


@case
def guest_sees_its_memory():
    for size in ("64M", "1G", "5G"):
        vm = Vmm("hello", memory=size)
        expected = {"64M": 64, "1G": 1024, "5G": 5120}[size]
        found = vm.line(r"here I am, with (\d+) MiB")
        check(expected - 1 <= int(found.group(1)) <= expected, "the guest has %s MiB" % found.group(1))
        ends_well(vm)


@case
def untouched_memory_costs_nothing():
    vm = Vmm("hello", append="echo", memory="64G")
    vm.line(r"cpu 0 is up")
    check(vm.resident() < 256 * MIB, "a guest of 64 GiB that touches nothing has %d bytes" % vm.resident())
    vm.type("quit\n")
    ends_well(vm)


@case
def every_backing():
    for backing in ("anon", "memfd"):
        ends_well(Vmm("hello", backing=backing))


@case
def backing_of_huge_pages():
    vmtest.reserve_huge_pages(32)
    ends_well(Vmm("hello", backing="hugetlb=2M", memory="64M"))


@case
def serial_takes_input():
    vm = Vmm("hello", append="echo")
    vm.line(r"cpu 0 is up")
    vm.type("how are you\n")
    vm.line(r"you said 'how are you'")
    vm.type("quit\n")
    ends_well(vm)


@case
def escape_ends_the_vm():
    """Typed on a terminal, which is raw meanwhile and as before afterwards."""
    ours, theirs = os.openpty()
    try:
        before = termios.tcgetattr(theirs)
        vm = Vmm("hello", append="echo", stdin=theirs)
        vm.line(r"cpu 0 is up")
        check(termios.tcgetattr(theirs) != before, "the terminal is not raw")
        os.write(ours, b"\x01\x01\r")  # the escape itself, once
        vm.line(r"you said '\x01'")
        os.write(ours, b"\x01x")
        vm.wait()
        check("goodbye" not in vm.stdout, "the guest ended by itself")
        equal(termios.tcgetattr(theirs), before, "the terminal")
        vm = Vmm("hello", append="echo", stdin=theirs)
        vm.line(r"cpu 0 is up")
        os.kill(vm.pid, signal.SIGTERM)
        vm.wait()
        equal(termios.tcgetattr(theirs), before, "the terminal after a signal")
    finally:
        os.close(ours)
        os.close(theirs)


@case
def serial_to_a_file():
    vm = Vmm("hello", serial="file:" + path("console"))
    equal(vm.wait(), 0, "exit status")
    with open(path("console")) as f:
        matches(r"hello: goodbye", f.read(), "the file")
    check("hello:" not in vm.stdout, "the console is on stdout, too")


@case
def serial_to_nowhere():
    vm = Vmm("hello", serial="none")
    equal(vm.wait(), 0, "exit status")
    check("hello:" not in vm.stdout, "the console is on stdout")


@case
def serial_on_a_pty():
    vm = Vmm("hello", append="echo", serial="pty")
    name = vmtest.wait_until(lambda: re.search(r"/dev/pts/\d+", vm.stdout + vm.stderr), "the pty's name")
    fd = os.open(name.group(), os.O_RDWR | os.O_NOCTTY)
    try:
        os.write(fd, b"quit\n")
        equal(vm.wait(), 0, "exit status")
    finally:
        os.close(fd)


@case
def programs_say_what_they_are():
    for program in (vmtest.VMM, vmtest.CTL):
        done = run([program, "--help"])
        equal((done.returncode, done.stderr), (0, ""), "--help")
        matches(r"(?i)usage", done.stdout, "--help")
        done = run([program, "--version"])
        equal(done.returncode, 0, "--version")
        matches(r"\d+\.\d+\.\d+", done.stdout, "--version")


vmtest.main()
