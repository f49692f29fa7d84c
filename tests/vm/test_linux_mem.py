#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
The virtio-mem driver of Debian's ordinary kernel, which nobody here wrote, plugs memory, brings it online, uses
it, and unplugs it again; the kernel of the host counts what it really has. Then the guest reboots with memory
plugged and in its balloon.
"""
import vmtest
from linuxvm import RESET, Linux, linux_wants_hardware, on_emulated_ring0, on_hardware, steps
from vmtest import MIB, Pool, check, equal, wait_until

VMEM = "/machine/peripheral/vmem0"


def request(client, size):
    """Asks for so much, and waits until it is there or gone."""
    equal(client.execute("qom-set", path=VMEM, property="requested-size", value=size), {}, "qom-set")
    wait_until(lambda: client.execute("memback-status")["plugged"] == size, "%d MiB to be plugged" % (size >> 20),
               seconds=60)


@on_hardware
def linux_plugs_unplugs_and_reboots():
    vm = Linux("amd64", memory="256M", max_memory="1280M", append="memhp_default_state=online_movable").ready()
    with vm.qmp() as client:
        client.seconds = 60 * vmtest.SLOWNESS
        equal(client.execute("memback-status")["mem-driver"], True, "driver")
        before = vm.total()

        def clean():
            equal(client.execute("memback-check")["count"], 0, "discrepancies")

        def plugging():
            request(client, 64 * MIB)
            client.wait_event("MEMORY_DEVICE_SIZE_CHANGE")
            wait_until(lambda: vm.total() >= before + 60 * MIB, "the memory to be online", seconds=60)

        def using():
            # more than the guest had free before
            vm.tell("alloc 120M")
            vm.tell("verify")
            clean()

        def unplugging():
            used = vm.resident()
            vm.tell("free")
            request(client, 0)
            wait_until(lambda: vm.total() <= before + 4 * MIB, "the memory to be offline", seconds=60)
            check(vm.resident() < used, "resident: %d, then %d" % (used, vm.resident()))
            clean()
            refused = client.execute("memback-status")["mem-refused"]
            equal(refused, 0, "requests of Linux's driver that were refused")

        def rebooting():
            vm.ctl("resize", "384M", "--wait")
            wait_until(lambda: vm.total() >= before + 120 * MIB, "the memory to be online", seconds=60)
            vm.ctl("inflate", "32M", "--wait")
            clean()
            vm.type("reboot\n")
            equal(client.wait_event("SHUTDOWN"), {"guest": True, "reason": "guest-reset"}, "the event")

        steps(plugging, using, unplugging, rebooting)
    equal(vm.wait(), RESET, "exit status")


@on_emulated_ring0
def linux_wants_hardware_and_its_pool_is_whole():
    pool = Pool("2G", "256M")
    linux_wants_hardware(pool=pool.path, max_memory="1056M")
    pool.destroy()


if __name__ == "__main__":
    vmtest.main()
