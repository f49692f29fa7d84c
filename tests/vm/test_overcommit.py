#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
Guests whose memory is taken when they touch it, in a pool that has less than all of them could: the budget holds to
the byte, who finds it empty is paused and says so, and goes on when another gives. Option size=BYTES: of a guest.
"""
import json
import os
import signal
import time
import xml.etree.ElementTree

import vmtest
from vmtest import MIB, Pool, Vmm, case, check, equal, file_resident, matches, verified, wait_until

RESERVE = 256 * 1024  # a VM is charged for so much besides what it touched


def guest_size():
    """1 GiB where the machine has room for two of them and more, else a small one."""
    given = vmtest.option("size")
    if given:
        return int(given)
    stat = os.statvfs("/dev/shm")
    with open("/proc/meminfo") as f:
        available = int([line for line in f if line.startswith("MemAvailable")][0].split()[1]) * 1024
    room = min(stat.f_bavail * stat.f_bsize, available)
    return 1024 * MIB if room > 3072 * MIB and not os.environ.get("MEMBACK_TESTHOST") else 128 * MIB


def start(pool, size, kernel="balloon", **options):
    vm = Vmm(kernel, pool=pool.path, memory=str(size), overcommit=True, **options)
    client = vm.qmp()
    client.seconds = 120 * vmtest.SLOWNESS  # a guest that fills its memory takes its time
    return vm, client


def status(vm):
    return vm.ctl_json("status")


def starved(vm):
    return "out-of-memory" in status(vm)


def hold(pool, count):
    """At rest: what is charged is what the kernel holds, and a reserve each that is not used."""
    state = pool.status()
    used, resident = state["budget-used"], file_resident(pool.memory)
    check(used <= state["budget"], "%d bytes are used, the budget is %d" % (used, state["budget"]))
    check(resident <= used <= resident + count * RESERVE,
          "%d bytes are charged, the kernel holds %d" % (used, resident))
    vmtest.ctl("pool", "check", pool.path)
    return state


def fill_pool(pool, size):
    """Two that fill themselves in a pool with room for all but a little; the second starves."""
    giver, giver_qmp = start(pool, size, append="exit-after=600")
    giver.line("^balloon: ready", seconds=120)
    taker, taker_qmp = start(pool, size, append="exit-after=600")
    event = taker_qmp.wait_event("MEMBACK_OUT_OF_MEMORY")
    return giver, giver_qmp, taker, taker_qmp, event


@case
def four_on_half_of_what_they_could_have():
    size = guest_size()
    pool = Pool(str(4 * size), str(2 * size))
    others = [start(pool, size, kernel="hello", append="echo")[0] for _ in range(2)]
    for vm in others:
        vm.line(r"cpu 0 is up")
    small = pool.status()["budget-used"]
    check(small < 2 * 12 * MIB, "two that do nothing use %d bytes" % small)
    giver, _, taker, qmp, event = fill_pool(pool, size)
    equal(event["reason"], "budget", "the reason")
    check(event["missing"] > 0, "nothing is missing")
    state = hold(pool, 4)
    check(state["budget"] - state["budget-used"] < 4096, "%s are used, and it starves" % state["budget-used"])
    equal(qmp.execute("query-status")["running"], False, "running")
    equal(qmp.execute("memback-status")["out-of-memory"]["reason"], "budget", "the reason")
    for vm in others + [giver]:
        equal(status(vm)["status"], "running", "status of %s" % vm.name)
    matches("(?i)out of memory|out-of-memory|budget", taker.ctl("status").stdout, "its status")
    giver.ctl("inflate", str(size // 2), "--wait", seconds=120)
    event = qmp.wait_event("MEMBACK_MEMORY_AVAILABLE")
    check("paused-ms" in event, "how long is not said")
    taker.line("^balloon: ready", seconds=120)
    verified(taker)
    verified(giver)
    wait_until(lambda: not starved(taker), "it goes on")
    hold(pool, 4)
    for vm in others + [giver, taker]:
        vm.ctl("check")
        vm.ctl("quit")
        equal(vm.wait(), 0, "exit status of %s" % vm.name)
    pool.destroy()


def small_pool():
    return Pool("256M", "112M"), 64 * MIB


@case
def starved_it_stops_continues_and_quits():
    pool, size = small_pool()
    giver, _, taker, qmp, _ = fill_pool(pool, size)
    qmp.execute("stop")
    equal(qmp.execute("query-status")["status"], "paused", "status")
    giver.ctl("inflate", "32M", "--wait")
    qmp.wait_event("MEMBACK_MEMORY_AVAILABLE")
    equal(qmp.execute("query-status")["status"], "paused", "status, since that was asked for")
    qmp.execute("cont")
    taker.line("^balloon: ready", seconds=120)
    verified(taker)
    for vm in (giver, taker):
        vm.ctl("quit")
        equal(vm.wait(), 0, "exit status of %s" % vm.name)
    pool.destroy()


@case
def starved_it_can_be_ended():
    pool, size = small_pool()
    for end in ("quit", "SIGTERM", "SIGKILL"):
        giver, _, taker, qmp, _ = fill_pool(pool, size)
        if end == "quit":
            qmp.execute("quit")
        else:
            os.kill(taker.pid, getattr(signal, end))
        code = taker.wait()
        equal(code, -signal.SIGKILL if end == "SIGKILL" else 0, "exit status after " + end)
        if end == "SIGKILL":
            os.unlink(taker.socket)
        wait_until(lambda: len(pool.status()["owners"]) == 1, "its memory comes back")
        hold(pool, 1)
        giver.ctl("quit")
        equal(giver.wait(), 0, "exit status")
        pool.check_empty()
    pool.destroy()


@case
def one_that_dies_feeds_another():
    pool, size = small_pool()
    giver, _, taker, qmp, _ = fill_pool(pool, size)
    os.kill(giver.pid, signal.SIGKILL)
    giver.wait()
    os.unlink(giver.socket)
    # whoever attaches takes back what the dead had
    wait_until(lambda: len(pool.status()["owners"]) == 1, "its memory comes back")
    qmp.wait_event("MEMBACK_MEMORY_AVAILABLE")
    taker.line("^balloon: ready", seconds=120)
    verified(taker)
    taker.ctl("quit")
    equal(taker.wait(), 0, "exit status")
    pool.destroy()


def kill(vm):
    """When it was done."""
    os.kill(vm.pid, signal.SIGKILL)
    equal(vm.wait(), -signal.SIGKILL, "exit status")
    os.unlink(vm.socket)
    return time.monotonic()


@case
def a_large_one_is_killed_while_it_writes():
    """Another that waits gets its memory; what is left of the next death is taken back by who is asked to."""
    size = guest_size()
    pool = Pool(str(3 * size), str(size + size // 4))
    writer, _ = start(pool, size, kernel="touch", append="passes=1000000 stride=64")
    writer.line("touch: pass=1 ", seconds=120)
    taker, qmp = start(pool, size, append="exit-after=600")
    qmp.wait_event("MEMBACK_OUT_OF_MEMORY")
    had = next(o["actual"] for o in pool.status()["owners"] if o["name"] == writer.name)
    check(had > size * 0.9, "the writer has %d bytes only" % had)
    writer.line("touch: pass=", seconds=120)  # and writes on
    killed = kill(writer)
    qmp.wait_event("MEMBACK_MEMORY_AVAILABLE")
    print("%d MiB: the one that waits goes on %.0f ms after the death" % (size // MIB,
                                                                        1000 * (time.monotonic() - killed)))
    taker.line("^balloon: ready", seconds=120)
    verified(taker)
    wait_until(lambda: len(pool.status()["owners"]) == 1, "its memory comes back")
    hold(pool, 1)
    kill(taker)
    begin = time.monotonic()
    did = json.loads(vmtest.ctl("--json", "pool", "recover", pool.path).stdout)
    print("%d MiB of the dead are taken back in %.0f ms" % (did["charged"] // MIB,
                                                           1000 * (time.monotonic() - begin)))
    equal((did["owners"], did["frames"]), (1, size), "the dead, and the frames that they had")
    check(did["charged"] > size * 0.9, "%d bytes were charged only" % did["charged"])
    pool.check_empty()
    pool.destroy()


@case
def what_is_ballooned_and_touched_is_charged():
    pool = Pool("128M", "56M")
    vm, qmp = start(pool, 64 * MIB, memory_min="8M", append="exit-after=600")
    qmp.wait_event("MEMBACK_OUT_OF_MEMORY")  # it fills all its memory, and has not so much
    vm.ctl("quit")
    equal(vm.wait(), 0, "exit status")
    vm, qmp = start(pool, 48 * MIB, append="exit-after=600")
    vm.line("^balloon: ready", seconds=120)
    vm.ctl("inflate", "24M", "--wait")
    before = hold(pool, 1)["budget-used"]
    vm.type("poke 5\n")
    vm.line("^balloon: poked")
    wait_until(lambda: status(vm)["overcommit"]["ballooned-touches"] > 0, "it is counted")
    after = hold(pool, 1)["budget-used"]
    check(after > before, "%d bytes are charged, as many as before" % after)
    vm.ctl("deflate", "24M", "--wait")
    verified(vm)
    hold(pool, 1)
    vm.ctl("quit")
    equal(vm.wait(), 0, "exit status")
    pool.destroy()


@case
def all_are_starved_and_each_is_told():
    pool, size = Pool("256M", "72M"), 64 * MIB
    vms = [start(pool, size, append="exit-after=600") for _ in range(2)]
    for vm, qmp in vms:
        event = qmp.wait_event("MEMBACK_OUT_OF_MEMORY")
        while not event["everyone"]:
            event = qmp.wait_event("MEMBACK_OUT_OF_MEMORY")
        check(qmp.execute("memback-status")["out-of-memory"]["everyone"], "its status does not say so")
        matches("all VMs of the pool", vm.ctl("status").stdout, "its status, to read")
    hold(pool, 2)
    vmtest.ctl("pool", "set-budget", pool.path, "160M")
    for vm, qmp in vms:
        qmp.wait_event("MEMBACK_MEMORY_AVAILABLE")
        vm.line("^balloon: ready", seconds=120)
        verified(vm)
        vm.ctl("quit")
        equal(vm.wait(), 0, "exit status")
    pool.destroy()


@case
def the_pool_is_drawn():
    pool = Pool("256M")
    vm, _ = start(pool, 64 * MIB, name="<A&B>", append="exit-after=600")
    vm.line("^balloon: ready", seconds=120)
    vm.ctl("inflate", "32M", "--wait")
    cells = json.loads(vmtest.ctl("--json", "pool", "map", pool.path).stdout)
    equal(sum(c["size"] for c in cells["cells"]), 256 * MIB, "size of all cells")
    equal(sum(c["owned"] for c in cells["cells"]), 64 * MIB, "what is somebody's")
    equal(sum(c["resident"] for c in cells["cells"]), file_resident(pool.memory), "what is there")
    text = vmtest.ctl("pool", "map", pool.path).stdout
    cells = "".join(line.split(" ", 1)[1] for line in text.splitlines() if line.startswith("0x"))
    equal((len(cells), cells.count(".")), (128, 96), "cells, and free ones in " + text)
    check(14 <= cells.count("A") <= 18, "half of it is there: " + text)
    picture = vmtest.path("pool.svg")
    vmtest.ctl("pool", "map", pool.path, "--svg", picture)
    root = xml.etree.ElementTree.parse(picture).getroot()
    matches("<A&B>", " ".join(root.itertext()), "the legend")
    vm.ctl("quit")
    equal(vm.wait(), 0, "exit status")
    pool.destroy()


@case
def a_minimum_is_kept():
    pool = Pool("256M", "112M")
    idle, _ = start(pool, 64 * MIB, kernel="hello", append="echo", memory_min="60M")
    idle.line(r"cpu 0 is up")
    check(pool.status()["budget-used"] >= 60 * MIB, "the minimum is not charged")
    taker, qmp = start(pool, 64 * MIB, append="exit-after=600")
    qmp.wait_event("MEMBACK_OUT_OF_MEMORY")
    idle.type("quit\n")
    equal(idle.wait(), 0, "exit status")
    qmp.wait_event("MEMBACK_MEMORY_AVAILABLE")
    taker.ctl("quit")
    equal(taker.wait(), 0, "exit status")
    pool.destroy()


@case
def what_cannot_be_is_refused():
    for options, pattern in (({}, "memfd"), ({"backing": "memfd", "prealloc": True}, "prealloc"),
                             ({"backing": "memfd", "memory_min": "128M"}, "minimum")):
        vm = Vmm("hello", overcommit=True, **options)
        equal(vm.wait(), 1, "exit status (%s)" % vm.stderr)
        matches(pattern, vm.stderr, "the error")
    vm = Vmm("hello", memory_min="32M")
    equal(vm.wait(), 1, "exit status (%s)" % vm.stderr)
    matches("overcommit", vm.stderr, "the error")


vmtest.main()
