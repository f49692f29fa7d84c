#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
Linux's own drivers as judges of the devices: virtio-blk reads and writes an image whose checksum is the same
inside and outside, Linux runs from a disk, virtio-rng feeds it, and virtio-balloon gives statistics, gives
memory on request, and reports what is free without any.
"""
import hashlib
import os
import shutil
import sys

import linuxguest
import vmtest
from vmtest import KIB, MIB, Vmm, case, check, equal, matches, path, wait_until

APPEND = "console=ttyS0 quiet panic=-1 tsc=reliable mitigations=off random.trust_cpu=on"
INIT = os.path.join(vmtest.BUILD, "guest", "linux-init")
BALLOON = "/machine/peripheral-anon/device[0]"
SIZE = 4 * MIB
FROM_DISK = """#!/bin/busybox sh
b=/bin/busybox
for m in $($b cat /modules/order); do $b insmod /modules/$m; done
$b mount -t devtmpfs dev /dev
until [ -b /dev/vda ]; do $b sleep 0.1; done
$b mkdir /disk
$b mount -t ext4 /dev/vda /disk
exec $b switch_root /disk /sbin/init
"""


class Linux(Vmm):
    """A Linux guest with our init in it, or with another program as its first process."""

    def __init__(self, init=INIT, **options):
        try:
            kernel = linuxguest.kernel("cloud")
        except linuxguest.Unavailable as e:
            raise vmtest.Skip(str(e)) from None
        linuxguest.make_initrd(kernel, init, path("initrd"))
        options.setdefault("memory", "192M")
        super().__init__(kernel.vmlinux, append=APPEND, initrd=path("initrd"), **options)

    def ready(self):
        self.line(r"linux: ready", seconds=60)
        return self

    def tell(self, command, seconds=30):
        """Has our init do something; returns what it printed meanwhile."""
        begin = self.seen
        self.type(command + "\n")
        answer = self.line(r"linux: (ok|error.*)", seconds).group(1)
        equal(answer, "ok", "the answer to " + command)
        return self.stdout[begin:self.seen]


def sha256(name):
    with open(name, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def image(name, size=SIZE):
    with open(path(name), "wb") as f:
        f.write(os.urandom(size))
    return path(name)


def finish(vm):
    vm.type("poweroff\n")
    equal(vm.wait(), 0, "exit status\n" + vm.stderr)


@case
def disks_of_linux():
    disk, second = image("disk"), image("second", MIB)
    before = sha256(second)
    vm = Linux(disk=[disk + ",serial=of Linux", second + ",readonly"], rng=True).ready()
    check("of Linux" in vm.tell("sh cat /sys/block/vda/serial; echo"), "the serial number is another one")
    check(sha256(disk) in vm.tell("sh sha256sum /dev/vda"), "Linux reads something else")
    vm.tell("sh dd if=/dev/urandom of=/dev/vda bs=48k count=%d conv=fsync" % (SIZE // (48 * KIB)))
    check(sha256(disk) in vm.tell("sh sha256sum /dev/vda"), "Linux has written something else")
    blocks = os.stat(disk).st_blocks
    vm.tell("sh blkdiscard -o %d -l %d /dev/vda" % (MIB, 2 * MIB))
    equal(blocks - os.stat(disk).st_blocks, 2 * MIB // 512, "blocks that the host has back")
    check(sha256(disk) in vm.tell("sh echo 3 > /proc/sys/vm/drop_caches; sha256sum /dev/vda"),
          "Linux reads something else after a discard")
    vm.tell("sh test $(cat /sys/block/vdb/ro) = 1 && ! dd if=/dev/zero of=/dev/vdb count=1")
    check(before in vm.tell("sh sha256sum /dev/vdb"), "Linux reads something else from the second disk")
    vm.tell("sh grep virtio_rng /sys/class/misc/hw_random/rng_current")
    vm.tell("sh test $(dd if=/dev/hwrng bs=512 count=4 | wc -c) = 2048")
    finish(vm)
    equal(sha256(second), before, "the second disk's checksum")


def root_image():
    """A file system with our init and busybox."""
    tool = shutil.which("mke2fs") or "/usr/sbin/mke2fs"
    if not os.path.exists(tool):
        raise vmtest.Skip("no mke2fs here: install the Debian package e2fsprogs")
    root = path("root")
    for directory in ("bin", "sbin", "proc", "sys", "dev", "tmp", "modules", "lost+found"):
        os.makedirs(os.path.join(root, directory), exist_ok=True)
    shutil.copy(INIT, os.path.join(root, "sbin", "init"))
    shutil.copy(shutil.which("busybox"), os.path.join(root, "bin", "busybox"))
    with open(os.path.join(root, "modules", "order"), "w"):
        pass
    disk = path("rootdisk")
    done = vmtest.run([tool, "-q", "-t", "ext4", "-d", root, disk, "16M"])
    equal(done.returncode, 0, "exit status of mke2fs (%s)" % done.stderr)
    return disk


def from_disk():
    """A first process that has no more than what is needed to go on from /dev/vda."""
    with open(path("from-disk"), "w") as f:
        f.write(FROM_DISK)
    return path("from-disk")


@case
def boots_from_a_disk():
    disk = root_image()
    vm = Linux(from_disk(), disk=[disk]).ready()
    matches(r"/dev/vda / ext4", vm.tell("sh cat /proc/mounts"), "what is mounted")
    vm.tell("sh echo something to be kept > /kept && sync")
    vm.tell("sh mount -o remount,ro /")
    finish(vm)
    vm = Linux(from_disk(), disk=[disk]).ready()
    check("something to be kept" in vm.tell("sh cat /kept"), "what was written is not there")
    vm.tell("sh mount -o remount,ro /")
    finish(vm)
    check_tool = shutil.which("e2fsck") or "/usr/sbin/e2fsck"
    done = vmtest.run([check_tool, "-f", "-n", disk])
    equal(done.returncode, 0, "exit status of e2fsck (%s)" % done.stdout)


@case
def reports_what_is_free():
    """Without any command: what the guest's program frees is the host's again."""
    vm = Linux(memory="256M").ready()
    vm.tell("alloc 96M")
    full = vm.resident()
    before = vm.ctl_json("status")["reported-total"]
    vm.tell("free")
    wait_until(lambda: vm.resident() < full - 64 * MIB, "what is free to be reported", seconds=30)
    status = vm.ctl_json("status")
    check(status["reported-total"] >= before + 64 * MIB, "reported: %d" % status["reported-total"])
    equal(status["actual"], status["maximum"], "actual")
    vm.tell("alloc 96M")
    vm.tell("verify")
    vm.ctl("check")
    finish(vm)


@case
def statistics_and_a_balloon():
    vm = Linux(memory="192M").ready()
    with vm.qmp() as client:
        client.execute("qom-set", path=BALLOON,
                       property="guest-stats-polling-interval", value=1)
        wait_until(lambda: "guest-stats-age" in client.execute("memback-status"), "statistics")
        stats = client.execute("qom-get", path=BALLOON, property="guest-stats")
        total = stats["stats"]["stat-total-memory"]
        check(128 * MIB < total < 192 * MIB, "total memory: %r" % stats)
        free = stats["stats"]["stat-free-memory"]
        check(0 < free < total, "free memory: %r" % stats)
        vm.tell("alloc 48M")
        vm.tell("free")
        before = vm.resident()
        vm.ctl("inflate", "32M", "--wait")
        # its total does not change, since it may take pages back when it needs them (deflate on OOM)
        wait_until(lambda: client.execute("qom-get", path=BALLOON,
                                          property="guest-stats")["stats"]["stat-free-memory"] <= free - 24 * MIB,
                   "the guest's free memory to be less")
        check(vm.resident() <= before, "resident memory grew by an inflation")
        vm.ctl("deflate", "32M", "--wait")
        vm.tell("alloc 48M")
        vm.tell("verify")
        equal(client.execute("memback-check")["count"], 0, "discrepancies")
    finish(vm)


if __name__ == "__main__":
    if os.path.exists("/sys/module/kvm_pvm"):
        print("this KVM emulates ring 0, where Linux does not get far")
        sys.exit(vmtest.SKIP)
    vmtest.main()
