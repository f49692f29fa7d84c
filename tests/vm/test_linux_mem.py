#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
A stock Linux kernel's virtio-mem driver, which nobody here wrote, plugs memory, brings it online, uses it, and
unplugs it again; the kernel of the host counts what it really has.
"""
import os

import linuxguest
import vmtest
from vmtest import MIB, Vmm, case, check, equal, matches, path, wait_until

APPEND = "console=ttyS0 quiet panic=-1 tsc=reliable mitigations=off random.trust_cpu=on " \
         "memhp_default_state=online_movable"
VMEM = "/machine/peripheral/vmem0"


def linux(**options):
    if os.path.exists("/sys/module/kvm_pvm"):
        raise vmtest.Skip("this host's KVM emulates ring 0: Linux needs KVM that is backed by hardware")
    try:
        kernel = linuxguest.kernel("amd64")
    except linuxguest.Unavailable as e:
        raise vmtest.Skip(str(e)) from None
    linuxguest.make_initrd(kernel, os.path.join(vmtest.BUILD, "guest", "linux-init"), path("initrd"))
    vm = Vmm(kernel.vmlinuz, append=APPEND, initrd=path("initrd"), **options)
    vm.line(r"linux: ready", seconds=60)
    return vm


def tell(vm, command):
    begin = vm.seen
    vm.type(command + "\n")
    answer = vm.line(r"linux: (ok|error.*)", 60).group(1)
    equal(answer, "ok", "the answer to " + command)
    return vm.stdout[begin:vm.seen].replace("\r", "")


def total(vm):
    """MemTotal in bytes."""
    return int(matches(r"MemTotal:?\s*(\d+)", tell(vm, "sh grep MemTotal /proc/meminfo"), "meminfo").group(1)) << 10


def request(client, size):
    equal(client.execute("qom-set", path=VMEM, property="requested-size", value=size), {}, "qom-set")


def settled(client, size):
    wait_until(lambda: client.execute("memback-status")["plugged"] == size, "%d MiB to be plugged" % (size >> 20),
               seconds=60)


@case
def linux_plugs_and_unplugs():
    vm = linux(memory="256M", max_memory="1280M")
    with vm.qmp() as client:
        client.seconds = 60 * vmtest.SLOWNESS
        equal(client.execute("memback-status")["mem-driver"], True, "driver")
        before = total(vm)
        request(client, 64 * MIB)
        settled(client, 64 * MIB)
        client.wait_event("MEMORY_DEVICE_SIZE_CHANGE")
        wait_until(lambda: total(vm) >= before + 60 * MIB, "the memory to be online", seconds=60)
        # more than the guest had free before
        tell(vm, "alloc 120M")
        tell(vm, "verify")
        equal(client.execute("memback-check")["count"], 0, "discrepancies")
        used = vm.resident()
        tell(vm, "free")
        request(client, 0)
        settled(client, 0)
        wait_until(lambda: total(vm) <= before + 4 * MIB, "the memory to be offline", seconds=60)
        check(vm.resident() < used, "resident: %d, then %d" % (used, vm.resident()))
        equal(client.execute("memback-check")["count"], 0, "discrepancies")
        refused = client.execute("memback-status")["mem-refused"]
        equal(refused, 0, "requests of Linux's driver that were refused")
    vm.ctl("resize", "384M", "--wait")
    wait_until(lambda: total(vm) >= before + 120 * MIB, "the memory to be online", seconds=60)
    vm.type("poweroff\n")
    equal(vm.wait(), 0, "exit status")


if __name__ == "__main__":
    vmtest.main()
