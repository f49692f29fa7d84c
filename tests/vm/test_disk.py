#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
Disks: what the guest writes is in the file, what the host wrote is what the guest reads, nothing else changes,
and a file that cannot be a disk is refused with the reason.
"""
import os
import shutil
import struct
import time

import vmtest
from vmtest import KIB, MIB, Vmm, case, check, equal, matches, path, wait_until

SIZE = 2 * MIB if vmtest.EMULATED else 16 * MIB
SECTOR = 512
MASK = (1 << 64) - 1


def pattern_sector(sector, seed):
    first = (sector + (seed << 40) + 1) * 0x9E3779B97F4A7C15
    return struct.pack("<64Q", *[(first + w * 0xBF58476D1CE4E5B9) & MASK for w in range(64)])


def pattern(size, seed):
    return b"".join(pattern_sector(s, seed) for s in range(size // SECTOR))


def checksum(data):
    value = 0xCBF29CE484222325
    for word in struct.unpack("<%dQ" % (len(data) // 8), data):
        value = ((value ^ word) * 0x100000001B3) & MASK
    return value


def image(name, size=SIZE, data=None):
    with open(path(name), "wb") as f:
        if data is None:
            f.truncate(size)
        else:
            f.write(data)
    return path(name)


def content(name):
    with open(name, "rb") as f:
        return f.read()


def guest(disks, words, status=0, **options):
    """Runs the guest to its end, which must have this status."""
    vm = Vmm("disk", append=words, disk=disks, **options)
    equal(vm.wait(120), status, "exit status of the guest\n" + vm.diagnosis())
    return vm


@case
def both_ways():
    """Host to guest, guest to host, and a checksum on both sides."""
    disk = image("disk", data=pattern(SIZE, 3))
    vm = guest([disk + ",serial=number one"], "info verify=3 sum write=4 verify=4 flush sum")
    matches(r"info: disk 0 has %d sectors .*serial 'number one'" % (SIZE // SECTOR), vm.stdout, "the console")
    data = content(disk)
    equal(len(data), SIZE, "bytes of the file")
    check(data == pattern(SIZE, 4), "the file is not what the guest wrote")
    sums = [int(word, 16) for word in vmtest.re.findall(r"sum: (0x[0-9a-f]+): ok", vm.stdout)]
    equal(sums, [checksum(pattern(SIZE, 3)), checksum(data)], "checksums inside")
    equal(vm.stderr.strip(), "", "what the VMM says")


@case
def several_disks():
    """Each is itself, whatever the order; one may only be read."""
    first, second = image("first"), image("second", MIB, pattern(MIB, 9))
    third = image("third,with comma", 64 * KIB)
    before = os.stat(second).st_mtime_ns
    guest([first, second + ",readonly", third.replace(",", ",,")],
          "disk=1 info verify=9 refuse disk=2 write=2 disk=0 write=1 disk=2 verify=2 disk=0 verify=1")
    equal((content(first), content(second), content(third)),
          (pattern(SIZE, 1), pattern(MIB, 9), pattern(64 * KIB, 2)), "the files")
    equal(os.stat(second).st_mtime_ns, before, "when the read-only file was written")


@case
def given_back():
    """What the guest discards, the host's file system has back."""
    disk = image("disk")
    sectors = SIZE // SECTOR
    guest([disk], "write=1 flush")
    full = os.stat(disk).st_blocks
    half = "0+%d" % (sectors // 2)
    guest([disk], "discard=%s zeros=%s" % (half, half))
    check(os.stat(disk).st_blocks <= full - sectors // 2 + 64,
          "%d blocks of %d are left" % (os.stat(disk).st_blocks, full))
    data = content(disk)
    check(data[:SIZE // 2] == bytes(SIZE // 2), "discarded sectors are not zero")
    check(data[SIZE // 2:] == pattern(SIZE, 1)[SIZE // 2:], "sectors that were not discarded have changed")
    last = "%d+7" % (sectors - 7)
    guest([disk], "zero=%s zeros=%s" % (last, last))
    check(content(disk)[SIZE // 2:-7 * SECTOR] == data[SIZE // 2:-7 * SECTOR], "others have changed")


@case
def resets():
    """A reset waits for what is in flight; the guest's memory is its own after it."""
    guest([image("disk")], "write=6 reset=%d verify=6" % (3 if vmtest.EMULATED else 30))


def busy(disk, seed):
    vm = Vmm("disk", append="serve", disk=[disk])
    vm.line("disk: ready")
    vm.type("write=%d\n" % seed)
    return vm


@case
def pause():
    """While the VM is stopped its disk is still, and it goes on where it was."""
    disk = image("disk")
    vm = Vmm("disk", append="serve", disk=[disk])
    vm.line("disk: ready")
    with vm.qmp() as client:
        for seed in range(5):
            vm.type("write=%d verify=%d\n" % (seed, seed))
            time.sleep(0.01 * seed)
            client.execute("stop")
            before = content(disk), os.stat(disk).st_mtime_ns
            time.sleep(0.1)
            check(before == (content(disk), os.stat(disk).st_mtime_ns), "the disk of a stopped VM has changed")
            client.execute("cont")
            vm.line("disk: done", 120)
        check("FAILED" not in vm.stdout, "the guest is not content")
        client.execute("quit")
    equal(vm.wait(), 0, "exit status")


@case
def quit_in_the_middle():
    """The VM ends while requests are in flight: each sector is the old one or the new one."""
    disk = image("disk", data=pattern(SIZE, 1))
    vm = busy(disk, 2)
    time.sleep(0.02)
    with vm.qmp() as client:
        client.execute("quit")
    equal(vm.wait(), 0, "exit status")
    data = content(disk)
    odd = [s for s in range(0, SIZE // SECTOR)
           if data[s * SECTOR:(s + 1) * SECTOR] not in (pattern_sector(s, 1), pattern_sector(s, 2))]
    equal(odd[:5], [], "sectors that are neither")


@case
def two_writers():
    """A disk has one writer, or many readers."""
    disk = image("disk", data=pattern(SIZE, 5))
    vm = Vmm("disk", append="serve", disk=[disk])
    vm.line("disk: ready")
    for options in ("", ",readonly"):
        other = guest([disk + options], "verify=5", status=1)
        matches(r"disk .* is in use", other.stderr, "the message")
    vm.type("quit\n")
    equal(vm.wait(), 0, "exit status")
    twice = guest([disk, disk], "info", status=1)
    matches(r"disk .* is in use", twice.stderr, "the message")
    reader = Vmm("disk", append="serve", disk=[disk + ",readonly"])
    reader.line("disk: ready")
    guest([disk + ",readonly"], "verify=5")
    other = guest([disk], "verify=5", status=1)
    matches(r"disk .* is in use", other.stderr, "the message")
    reader.type("verify=5\nquit\n")
    equal(reader.wait(), 0, "exit status of a reader")


@case
def errors_name_the_cause():
    os.mkfifo(path("fifo"))
    for disk, pattern_text in (
            (path("missing"), r"no such file.*truncate"),
            (path("."), r"is a directory"),
            (path("fifo"), r"neither a file nor a block device"),
            ("/dev/null", r"neither a file nor a block device"),
            (image("odd", 1000), r"1000 bytes.*no multiple.*512"),
            (image("empty", 0), r"is empty"),
            (image("good") + ",sometimes", r"'sometimes' is not known"),
            (image("good") + ",serial=" + "x" * 21, r"longer than 20"),
            ("", r"name a file")):
        vm = guest([disk], "info", status=1)
        matches(pattern_text, vm.stderr, "the message about %r" % disk)
        equal(len(vm.stderr.strip().splitlines()), 1, "lines of it")
    vm = guest([image("d%d" % n) for n in range(6)], "info", status=1)
    matches(r"at most 5 disks", vm.stderr, "the message about too many")


@case
def no_permission():
    """Permissions bind root too, where it is without two capabilities."""
    prefix = []
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            raise vmtest.Skip("permissions do not bind root, and no setpriv here: install the Debian package util-linux")
        without = "-dac_override,-dac_read_search"
        prefix = ["setpriv", "--inh-caps", without, "--bounding-set", without]
    disk = image("disk")
    os.chmod(disk, 0o400)
    command = prefix + [vmtest.VMM, "--serial", "none", "--kernel", vmtest.guest("disk"), "--append"]
    done = vmtest.run(command + ["info", "--disk", disk], seconds=120)
    equal(done.returncode, 1, "exit status")
    matches(r"cannot be written.*,readonly", done.stderr, "the message")
    done = vmtest.run(command + ["refuse", "--disk", disk + ",readonly"], seconds=120)
    equal(done.returncode, 0, "exit status when it is only read (%s)" % done.stderr)


@case
def block_device():
    """A loop device, where we may make one."""
    if not shutil.which("losetup"):
        raise vmtest.Skip("no losetup here: install the Debian package mount")
    disk = image("disk", data=pattern(SIZE, 1))
    done = vmtest.run(["losetup", "--find", "--show", disk])
    if done.returncode:
        raise vmtest.Skip("no loop device: " + done.stderr.strip())
    device = done.stdout.strip()
    vmtest.current.at_end(lambda: vmtest.run(["losetup", "--detach", device]))
    guest([device], "info verify=1 write=2 flush discard=0+1024 zeros=0+1024")
    vmtest.run(["losetup", "--detach", device])
    wait_until(lambda: content(disk)[1024 * SECTOR:] == pattern(SIZE, 2)[1024 * SECTOR:], "the loop device")


@case
def random_numbers():
    guest([], "random=20000 random=5", rng=True)


vmtest.main()
