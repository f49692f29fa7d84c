#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
Stock Linux kernels as distributions ship them, compressed, boot to their first process, from an initramfs and
from a disk, and end in a panic; what they wrote to the disk is whole. memtest86+ finds no error.

Where KVM emulates ring 0, Linux does not get far; there, the one case is that the VMM says so.
"""
import os
import re
import shutil

import linuxguest
import vmtest
from linuxvm import INIT, RESET, Linux, fetched, linux_wants_hardware, on_emulated_ring0, on_hardware
from vmtest import Vmm, check, equal, matches, path, wait_until

FROM_DISK = """#!/bin/busybox sh
b=/bin/busybox
for m in $($b cat /modules/order); do $b insmod /modules/$m; done
$b mount -t devtmpfs dev /dev
until [ -b /dev/vda ]; do $b sleep 0.1; done
$b mkdir /disk
$b mount -t ext4 /dev/vda /disk
exec $b switch_root /disk /sbin/init
"""
KEPT = "something to be kept"


def tool(name):
    """A program of e2fsprogs, which ordinary users may not have in their PATH."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        raise vmtest.Skip("no %s here: install the Debian package e2fsprogs" % name)
    return found


def root_image():
    """A file system with our init and busybox."""
    root, busybox = path("root"), shutil.which("busybox")
    if not busybox:
        raise vmtest.Skip("no busybox here: install the Debian package busybox-static")
    for directory in ("bin", "sbin", "proc", "sys", "dev", "tmp", "modules", "lost+found"):
        os.makedirs(os.path.join(root, directory), exist_ok=True)
    shutil.copy(INIT, os.path.join(root, "sbin", "init"))
    shutil.copy(busybox, os.path.join(root, "bin", "busybox"))
    with open(os.path.join(root, "modules", "order"), "w"):
        pass
    disk = path("rootdisk")
    done = vmtest.run([tool("mke2fs"), "-q", "-t", "ext4", "-d", root, disk, "16M"])
    equal(done.returncode, 0, "exit status of mke2fs (%s)" % done.stderr)
    return disk


def from_disk():
    """A first process that has no more than what is needed to go on from /dev/vda."""
    with open(path("from-disk"), "w") as f:
        f.write(FROM_DISK)
    return path("from-disk")


@on_hardware
def compressed_and_from_a_disk_until_it_panics():
    fsck, debugfs = tool("e2fsck"), tool("debugfs")
    disk = root_image()
    vm = Linux(elf=False, init=from_disk(), disk=[disk]).ready()
    matches(r"LNRO0005", vm.tell("sh ls /sys/bus/platform/devices"), "the devices")
    matches(r"/dev/vda / ext4", vm.tell("sh cat /proc/mounts"), "what is mounted")
    vm.tell("sh echo %s > /kept && sync && mount -o remount,ro /" % KEPT)
    vm.type("panic\n")
    equal(vm.wait(), 1, "exit status of a panic")
    matches(r"panicked", vm.stderr, "the message")
    done = vmtest.run([fsck, "-f", "-n", disk])
    equal(done.returncode, 0, "exit status of e2fsck (%s)" % done.stdout)
    done = vmtest.run([debugfs, "-R", "cat /kept", disk])
    check(KEPT in done.stdout, "what Linux wrote is not on the disk: " + done.stdout + done.stderr)


@on_hardware
def another_kernel_plain_with_two_cpus_and_a_panic_without_a_word():
    vm = Linux("6.12", elf=False, plain=True, cpus=2, append="without=pvpanic-mmio,pvpanic -- of-init").ready()
    matches(r"/init of-init \n", vm.tell("sh tr '\\0' ' ' < /proc/1/cmdline; echo"), "what init was told")
    matches(r"linux: cpus 2\n", vm.tell("cpus"), "the answer")
    topology = "sh cd /sys/devices/system/cpu; cat cpu*/topology/"
    matches(r"(?m)^0\n0\n", vm.tell(topology + "physical_package_id"), "the packages of two CPUs")
    matches(r"(?m)^0\n1\n", vm.tell(topology + "core_id"), "the cores of two CPUs")
    log = vm.tell("sh dmesg")
    matches(r"x86/PAT: Configuration", log, "the kernel's log")
    check("MTRRs disabled" not in log, "the guest's MTRRs are disabled")
    check("XSAVE consistency" not in log, "the guest's XSAVE is inconsistent")
    matches(r"(?m)^[^\n]*logical packages: +1$", log, "the kernel's log")
    vm.ctl("inflate", "32M", "--wait")
    vm.ctl("check")
    vm.type("panic\n")
    equal(vm.wait(), RESET, "exit status of a panic that resets")


@on_hardware
def memtest_finds_no_error():
    """memtest86+, loaded as a Linux kernel is: until its first test is completed."""
    vm = Vmm(fetched(linuxguest.memtest), append="console=ttyS0,115200 nosmp", memory="32M")
    wait_until(lambda: re.search(r"Memtest86\+ v\d", vm.stdout), "the test screen")
    wait_until(lambda: re.search(r"#[1-9] +\[", vm.stdout), "the first test to be completed", seconds=60)
    equal(set(re.findall(r"Errors: +(\d+)", vm.stdout)), {"0"}, "numbers of errors")
    matches(r"of 31\.\dMB", vm.stdout, "the memory that it tests")
    with vm.qmp() as client:
        client.execute("quit")
    equal(vm.wait(), 0, "exit status")


@on_emulated_ring0
def linux_wants_hardware_and_says_so():
    linux_wants_hardware()


if __name__ == "__main__":
    vmtest.main()
