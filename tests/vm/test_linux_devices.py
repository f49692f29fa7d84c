#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
Linux's own drivers as judges of the devices, in one boot with four CPUs: virtio-blk reads and writes an image
whose checksum is the same inside and outside, virtio-rng feeds it, and virtio-balloon gives statistics, gives
memory on request, reports what is free without any, takes memory back when the guest runs out of it, and leaves and
comes back in the middle of an inflation. The power button ends it in the middle of another one, and the pool that
it had its memory from has all of it back.
"""
import hashlib
import os
import subprocess

import vmtest
from linuxvm import BALLOON, Linux, linux_wants_hardware, on_emulated_ring0, on_hardware, steps
from vmtest import KIB, MIB, Pool, check, current, equal, matches, path, wait_until

SIZE = 2 * MIB
MEMORY = 256 * MIB
DRIVER = "sh cd /sys/bus/virtio/drivers/virtio_balloon && "
REPORT_ORDER = "/sys/module/page_reporting/parameters/page_reporting_order"


def sha256(name):
    with open(name, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def image(name, size=SIZE):
    with open(path(name), "wb") as f:
        f.write(os.urandom(size))
    return path(name)


def memory_file_system():
    """Where a pool has huge pages, which an emulated processor is many times faster with; else /dev/shm."""
    place = path("memory")
    os.mkdir(place)
    mount = ["mount", "-t", "tmpfs", "-o", "huge=advise", "memback-test", place]
    if os.geteuid() != 0 or vmtest.run(mount).returncode != 0:
        return "/dev/shm"
    current.at_end(lambda: subprocess.run(["umount", "-l", place], check=False))
    return place


class Devices:
    """The steps, and what they share."""

    def __init__(self):
        self.disk, self.second = image("disk"), image("second", MIB // 2)
        self.pool = Pool(2 * MEMORY, 2 * MEMORY, memory_file_system())
        self.vm = Linux(cpus=4, memory=MEMORY, pool=self.pool.path, rng=True,
                        disk=[self.disk + ",serial=of Linux", self.second + ",readonly"]).ready()
        self.client = self.vm.qmp()
        current.at_end(self.client.close)

    def stats(self):
        return self.client.execute("qom-get", path=BALLOON, property="guest-stats")["stats"]

    def clean(self):
        equal(self.client.execute("memback-check")["count"], 0, "discrepancies")

    def cpus_and_clock(self):
        matches(r"linux: cpus 4\n", self.vm.tell("cpus"), "the answer")
        matches(r"kvm-clock|tsc", self.vm.tell("sh cat /sys/devices/system/clocksource/*/current_clocksource"),
                "the clock")

    def disks(self):
        vm, disk, second = self.vm, self.disk, self.second
        before = sha256(second)
        check("of Linux" in vm.tell("sh cat /sys/block/vda/serial; echo"), "the serial number is another one")
        check(sha256(disk) in vm.tell("sh sha256sum /dev/vda"), "Linux reads something else")
        vm.tell("sh dd if=/dev/urandom of=/dev/vda bs=48k count=%d conv=fsync" % (SIZE // (48 * KIB)))
        check(sha256(disk) in vm.tell("sh sha256sum /dev/vda"), "Linux has written something else")
        blocks = os.stat(disk).st_blocks
        vm.tell("sh blkdiscard -o %d -l %d /dev/vda" % (MIB // 2, MIB))
        equal(blocks - os.stat(disk).st_blocks, MIB // 512, "blocks that the host has back")
        check(sha256(disk) in vm.tell("sh echo 3 > /proc/sys/vm/drop_caches; sha256sum /dev/vda"),
              "Linux reads something else after a discard")
        vm.tell("sh test $(cat /sys/block/vdb/ro) = 1 && ! dd if=/dev/zero of=/dev/vdb count=1")
        check(before in vm.tell("sh sha256sum /dev/vdb"), "Linux reads something else from the second disk")
        equal(sha256(second), before, "the second disk's checksum")

    def entropy(self):
        self.vm.tell("sh grep virtio_rng /sys/class/misc/hw_random/rng_current")
        self.vm.tell("sh test $(dd if=/dev/hwrng bs=512 count=4 | wc -c) = 2048")

    def statistics(self):
        self.client.execute("qom-set", path=BALLOON, property="guest-stats-polling-interval", value=1)
        wait_until(lambda: "guest-stats-age" in self.client.execute("memback-status"), "statistics")
        stats = self.stats()
        check(MEMORY * 3 // 4 < stats["stat-total-memory"] < MEMORY, "total memory: %r" % stats)
        check(0 < stats["stat-free-memory"] < stats["stat-total-memory"], "free memory: %r" % stats)

    def reporting(self):
        """Without any command: what the guest's program frees is the host's again."""
        self.vm.tell("alloc 64M")
        full, before = self.vm.resident(), self.client.execute("memback-status")["reported-total"]
        self.vm.tell("free")
        wait_until(lambda: self.vm.resident() < full - 48 * MIB, "what is free to be reported", seconds=30)
        status = self.client.execute("memback-status")
        check(status["reported-total"] >= before + 48 * MIB, "reported: %d" % status["reported-total"])
        equal(status["actual"], status["maximum"], "actual")
        self.clean()

    def actual(self):
        return self.client.execute("query-balloon")["actual"]

    def free_memory(self):
        return int(matches(r"MemFree:\s*(\d+)", self.vm.tell("memory"), "meminfo").group(1)) << 10

    def all_back(self):
        self.client.execute("balloon", value=MEMORY)
        wait_until(lambda: self.actual() == MEMORY, "the balloon to be empty", seconds=60)
        self.clean()

    def resident_memory_follows(self):
        """Nearly all that is free was touched, and nobody reports it: what the balloon takes, the host has back."""
        vm, reported = self.vm, lambda: self.client.execute("memback-status")["reported-total"]
        usual = matches(r"(?m)^\d+$", vm.tell("sh cat " + REPORT_ORDER), "the order of reports").group(0)
        vm.tell("sh echo 11 > " + REPORT_ORDER)  # no free block is so large
        vm.tell("alloc %dM" % (self.free_memory() // MIB - 32))
        vm.tell("free")
        full, before = vm.resident(), reported()
        vm.ctl("inflate", "64M", "--wait")
        fallen = full - vm.resident() - (reported() - before)
        check(48 * MIB <= fallen <= 68 * MIB, "resident memory is less by %d MiB" % (fallen // MIB))
        vm.tell("sh echo %s > %s" % (usual, REPORT_ORDER))
        self.all_back()

    def driver_that_leaves_in_an_inflation(self):
        vm, target = self.vm, 128 * MIB
        vm.tell("alloc 32M")
        name = matches(r"virtio\d+", vm.tell(DRIVER + "echo virtio*"), "the driver's device").group(0)
        self.client.execute("balloon", value=target)
        wait_until(lambda: self.actual() < MEMORY - MIB, "the inflation to begin")
        check(self.actual() > target, "the inflation is over already")
        vm.tell(DRIVER + "echo %s > unbind" % name)
        equal(self.actual(), MEMORY, "actual without a driver")
        self.clean()
        vm.tell("verify")
        vm.tell(DRIVER + "echo %s > bind" % name)
        wait_until(lambda: self.actual() == target, "the new driver to go on", seconds=60)
        self.clean()
        vm.tell("verify")
        vm.tell("free")
        self.all_back()

    def balloon(self):
        vm = self.vm
        vm.tell("alloc 32M")
        free, before = self.stats()["stat-free-memory"], vm.resident()
        vm.ctl("inflate", "32M", "--wait")
        equal(self.client.execute("query-balloon")["actual"], MEMORY - 32 * MIB, "actual")
        # its total does not change, since it may take pages back when it needs them (deflate on OOM)
        wait_until(lambda: self.stats()["stat-free-memory"] <= free - 24 * MIB, "the guest's free memory to be less")
        check(vm.resident() <= before, "resident memory grew by an inflation")
        self.clean()
        vm.ctl("deflate", "32M", "--wait")
        equal(self.client.execute("query-balloon")["actual"], MEMORY, "actual")
        vm.tell("verify")
        vm.tell("free")
        vm.tell("alloc 48M")
        vm.tell("verify")
        vm.tell("free")
        self.clean()

    def power_button_in_an_inflation(self):
        vm, client = self.vm, self.client
        vm.type("watch-power\n")
        vm.line(r"linux: watching")
        client.execute("balloon", value=96 * MIB)
        wait_until(lambda: client.execute("query-balloon")["actual"] < MEMORY - MIB, "the inflation to begin")
        check(client.execute("query-balloon")["actual"] > 96 * MIB, "the inflation is over already")
        equal(client.execute("system_powerdown"), {}, "the answer")
        client.wait_event("POWERDOWN")
        equal(client.wait_event("SHUTDOWN"), {"guest": True, "reason": "guest-shutdown"}, "the event")
        equal(vm.wait(), 0, "exit status\n" + vm.stderr)
        matches(r"linux: power button", vm.stdout, "the console")


@on_hardware
def one_boot_for_all_devices():
    d = Devices()
    steps(d.cpus_and_clock, d.disks, d.entropy, d.statistics, d.reporting, d.balloon, d.resident_memory_follows,
          d.driver_that_leaves_in_an_inflation, d.power_button_in_an_inflation)
    d.pool.destroy()


@on_emulated_ring0
def linux_wants_hardware_and_its_disk_is_unharmed():
    disk = image("disk")
    before = sha256(disk)
    linux_wants_hardware(disk=disk, rng=True)
    equal(sha256(disk), before, "the disk's checksum")


if __name__ == "__main__":
    vmtest.main()
