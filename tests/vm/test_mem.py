#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
Memory that is plugged and unplugged while the guest runs (virtio-mem): what control asks for arrives, the kernel's
count follows, what comes back is zero; a terabyte that could be plugged costs next to nothing; a guest that breaks
the rules, or touches what is not plugged, harms only itself.
"""
import vmtest
from vmtest import GIB, MIB, Pool, Vmm, case, check, equal, matches, run, wait_until

VMEM = "/machine/peripheral/vmem0"
BASE = 128 * MIB


def start(append="", **options):
    options.setdefault("memory", "128M")
    options.setdefault("max_memory", "4224M")
    vm = Vmm("mem", append=append, **options)
    found = vm.line(r"mem: ready gpa=(0x[0-9a-f]+) bytes=(\d+) block=(\d+)", seconds=60)
    vm.region = int(found.group(1), 16)
    vm.bytes = int(found.group(2))
    vm.block = int(found.group(3))
    return vm


def request(client, size):
    equal(client.execute("qom-set", path=VMEM, property="requested-size", value=size), {}, "qom-set")


def plugged(vm, client, size):
    """Asks for so much, and waits until the guest has it."""
    request(client, size)
    vm.line(r"mem: plugged bytes=%d of=%d" % (size, size), seconds=60)
    device = client.execute("query-memory-devices")[0]
    equal(device["type"], "virtio-mem", "type")
    equal((device["data"]["size"], device["data"]["requested-size"]), (size, size), "sizes")


def clean(client):
    result = client.execute("memback-check")
    equal(result["count"], 0, "discrepancies (%r)" % result["discrepancies"][:3])


def quit_well(vm):
    vm.type("quit\n")
    equal(vm.wait(), 0, "exit status (%s)" % vm.stderr)


@case
def plug_and_unplug():
    vm = start()
    with vm.qmp() as client:
        client.seconds = 60 * vmtest.SLOWNESS
        before = vm.resident()
        some = (16 if vmtest.EMULATED else 64) * MIB
        for size in (some, 3 * some, 2 * MIB, 2 * some + 2 * MIB, 0, some):
            plugged(vm, client, size)
            client.wait_event("MEMORY_DEVICE_SIZE_CHANGE",
                              lambda data: data == {"id": "vmem0", "size": size, "qom-path": VMEM})
            # each page of what is plugged was touched
            check(abs(vm.resident() - before - size) < 16 * MIB,
                  "with %d MiB plugged %d are resident beside the rest" % (size >> 20,
                                                                          (vm.resident() - before) >> 20))
            equal(client.execute("memback-status")["plugged"], size, "plugged")
            equal(client.execute("query-memory-size-summary"), {"base-memory": BASE, "plugged-memory": size},
                  "summary")
            clean(client)
        vm.type("verify\n")
        vm.line(r"mem: verify ok words=%d$" % (some // 4096))
    quit_well(vm)


@case
def in_larger_blocks_and_from_the_top():
    vm = start("from=top batch=3", memory_block="32M", max_memory="1152M", backing="memfd")
    equal((vm.block, vm.bytes), (32 * MIB, GIB), "block and region")
    with vm.qmp() as client:
        client.seconds = 60 * vmtest.SLOWNESS
        matches("block-size", client.error("qom-set", path=VMEM, property="requested-size", value=48 * MIB)["desc"],
                "half a block")
        matches("cannot exceed", client.error("qom-set", path=VMEM, property="requested-size",
                                              value=2 * GIB)["desc"], "more than the region")
        matches("not writable", client.error("qom-set", path=VMEM, property="size", value=0)["desc"], "size")
        for size in (128 * MIB, 32 * MIB, 160 * MIB, 0):
            plugged(vm, client, size)
            clean(client)
    quit_well(vm)


@case
def no_driver_gets_away_with_it():
    vm = start()
    with vm.qmp() as client:
        plugged(vm, client, 8 * MIB)
        vm.type("rules\n")
        vm.line(r"mem: rules ok", seconds=60)
        equal(client.execute("memback-status")["mem-refused"], 18, "requests refused")
        clean(client)
    quit_well(vm)


@case
def unplug_all():
    vm = start()
    with vm.qmp() as client:
        client.seconds = 60 * vmtest.SLOWNESS
        plugged(vm, client, 96 * MIB)
        request(client, 0)
        vm.line(r"mem: plugged bytes=0")
        plugged(vm, client, 32 * MIB)
        vm.type("unplug-all\n")
        vm.line(r"mem: answer ack")
        # and the guest follows the request anew
        vm.line(r"mem: plugged bytes=%d" % (32 * MIB))
        clean(client)
    quit_well(vm)


@case
def a_blind_driver_gets_nothing():
    vm = start("blind")
    with vm.qmp() as client:
        request(client, 64 * MIB)
        vm.type("plug %d 1\n" % vm.region)
        vm.line(r"mem: answer error")
        equal(client.execute("memback-status")["plugged"], 0, "plugged")
    quit_well(vm)


def touch_ends(offset, pattern):
    vm = start()
    with vm.qmp() as client:
        plugged(vm, client, 8 * MIB)
    vm.type("touch %d\n" % (vm.region + offset))
    vm.line(r"mem: touching")
    equal(vm.wait(), 1, "exit status")
    matches(pattern, vm.stderr, "what the VMM says")


@case
def touching_what_is_not_plugged_ends_the_guest():
    touch_ends(8 * MIB, r"not plugged")            # in the GiB that the guest can reach
    touch_ends(3 * GIB, r"touched memory that is not plugged, at 0x[0-9a-f]+")  # in one that it cannot


@case
def the_budget_bounds_it():
    pool = Pool("1G", "192M")
    vm = start(pool=pool.path, max_memory="512M")
    with vm.qmp() as client:
        client.seconds = 60 * vmtest.SLOWNESS
        request(client, 128 * MIB)
        # 64 blocks at once do not fit, so the device is busy
        wait_until(lambda: client.execute("memback-status")["mem-busy"] > 0, "the device to be busy")
        equal(client.execute("memback-status")["plugged"], 0, "plugged")
        plugged(vm, client, 64 * MIB)
        equal(client.execute("memback-status")["budget-left"], 0, "budget left")
        plugged(vm, client, 0)
        clean(client)
    quit_well(vm)
    pool.destroy()


@case
def resize_uses_what_there_is():
    vm = start("batch=4")
    said = vm.ctl("resize", "160M", "--wait").stdout
    matches(r"by virtio-mem: 32 MiB plugged of 32 MiB requested", said, "resize")
    said = vm.ctl("resize", "128M", "--wait").stdout
    matches(r"by virtio-mem: 0 B plugged", said, "resize")
    # below its base there is the balloon, which this guest does not drive
    said = vm.ctl("resize", "64M").stdout
    matches(r"by the balloon: 128 MiB of 128 MiB, target 64 MiB", said, "resize")
    vm.ctl("resize", "128M")
    refused = vm.ctl("resize", "5G", good=False)
    equal(refused.returncode, 1, "exit status")
    matches(r"can have 4.13 GiB at most", refused.stderr, "the refusal")
    quit_well(vm)
    vm = Vmm("balloon", memory="64M")
    vm.line(r"balloon: ready")
    matches(r"by the balloon: 48 MiB of 64 MiB", vm.ctl("resize", "48M", "--wait").stdout, "resize")
    refused = vm.ctl("resize", "65M", good=False)
    matches(r"without --max-memory", refused.stderr, "the refusal")
    with vm.qmp() as client:
        client.execute("quit")
    equal(vm.wait(), 0, "exit status")


def footprint(**options):
    vm = Vmm("hello", append="echo", memory="1G", **options)
    vm.line(r"cpu 0 is up")
    resident = vm.resident()
    quit_well_hello(vm)
    return resident


def quit_well_hello(vm):
    vm.type("quit\n")
    equal(vm.wait(), 0, "exit status")


@case
def a_terabyte_that_is_not_plugged_costs_little():
    plain, large = footprint(), footprint(max_memory="1T")
    check(large - plain < 32 * MIB, "it costs %d KiB" % ((large - plain) >> 10))
    vm = start("from=top", max_memory="1T")
    with vm.qmp() as client:
        client.seconds = 60 * vmtest.SLOWNESS
        plugged(vm, client, 64 * MIB)
        plugged(vm, client, 0)
        clean(client)
    quit_well(vm)


@case
def bad_options():
    for words, text in ((["--max-memory", "64M"], r"less than --memory"),
                        (["--max-memory", "129M"], r"multiple of --memory-block"),
                        (["--memory-block", "3M"], r"power of two"),
                        (["--memory-block", "2G"], r"power of two"),
                        (["--max-memory", "8E"], r"bits on this host|at most|too large")):
        done = run([vmtest.VMM, "--memory", "128M", "--kernel", vmtest.guest("mem")] + words)
        check(done.returncode == 1, "exit status of %s is %d" % (words, done.returncode))
        matches(text, done.stderr, "what is said of %s" % words)


if __name__ == "__main__":
    vmtest.main()
