#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
Memory is inflated and deflated, on the backing named by backing=...: the kernel's count follows, the guest
finds what it kept intact and what it gets back zero, and signals in the middle leave nothing behind.
"""
import os
import signal
import time

import vmtest
from vmtest import MIB, Pool, Vmm, case, check, equal, near, option, verified, wait_until

BACKING = option("backing", "anon")
SIZE = (64 if vmtest.EMULATED else 128 if BACKING.startswith("hugetlb") else 256) * MIB


class Place:
    """Where the guests' memory comes from: the options for it, and whether all is given back."""

    def __init__(self):
        self.pool = None
        if BACKING == "pool":
            self.pool = Pool(str(2 * SIZE), str(SIZE))
            self.options = {"pool": self.pool.path}
        else:
            if BACKING.startswith("hugetlb"):
                vmtest.reserve_huge_pages(SIZE // (2 * MIB))
            self.options = {"backing": BACKING}

    def start(self, **options):
        vm = Vmm("balloon", memory=str(SIZE), **self.options, **options)
        vm.line(r"balloon: ready", seconds=60)
        return vm

    def resident(self, vm):
        """Bytes that the kernel holds for the guest's memory (the pool's records are apart from it)."""
        return self.pool.resident() if self.pool else vm.resident()

    def finish(self, vm):
        with vm.qmp() as client:
            client.execute("quit")
        equal(vm.wait(), 0, "exit status (%s)" % vm.stderr)
        if self.pool:
            self.pool.destroy()


def balloon(client, size):
    equal(client.execute("balloon", value=size), {}, "balloon")
    client.wait_event("BALLOON_CHANGE", lambda data: data["actual"] == size)
    equal(client.execute("query-balloon"), {"actual": size}, "query-balloon")


def settled(vm):
    """The guest has seen that its request was served, and uses what it got back."""
    def asked():
        vm.type("status\n")
        found = vm.line(r"^balloon: status free=\d+ total=(\d+) target=(\d+)", seconds=120)
        return found.group(1) == found.group(2)
    wait_until(asked, "the guest to be where it is to be", 120)


@case
def resident_memory_follows():
    place = Place()
    vm = place.start()
    with vm.qmp() as client:
        client.seconds = 120 * vmtest.SLOWNESS
        full = place.resident(vm)
        check(SIZE - 4 * MIB <= full <= SIZE + MIB, "a guest that filled its memory has %d bytes" % full)
        for size in (SIZE // 2, SIZE * 3 // 4, SIZE // 4, SIZE):
            balloon(client, size)
            settled(vm)
            verified(vm)
            if size == SIZE:
                near(place.resident(vm), full, 0.02, "resident memory at the end")
            else:
                near(full - place.resident(vm), SIZE - size, 0.02, "what the kernel got back at %d" % size)
            result = client.execute("memback-check")
            equal(result["count"], 0, "discrepancies (%r)" % result["discrepancies"][:3])
            near(result["summary"]["kernel"], place.resident(vm), 0.02, "what memback-check says is resident")
        status = client.execute("memback-status")
        equal((status["maximum"], status["target"], status["actual"]), (SIZE,) * 3, "sizes")
        equal(status["rejected-frames"], 0, "rejected frames")
    place.finish(vm)


@case
def by_the_client():
    place = Place()
    vm = place.start()
    full = place.resident(vm)
    vm.ctl("inflate", str(SIZE // 4), "--wait")
    near(full - place.resident(vm), SIZE // 4, 0.02, "what the kernel got back")
    equal(vm.ctl_json("status")["actual"], SIZE * 3 // 4, "actual")
    vm.ctl("set-size", str(SIZE // 2), "--wait")
    near(full - place.resident(vm), SIZE // 2, 0.02, "what the kernel got back")
    vm.ctl("deflate", str(SIZE // 2), "--wait")
    equal(vm.ctl_json("status")["actual"], SIZE, "actual")
    verified(vm)
    for command in ("status", "map", "check"):
        check(vm.ctl(command).stdout.strip(), "membackctl %s says nothing" % command)
    place.finish(vm)


@case
def balloon_from_the_start():
    place = Place()
    vm = place.start(balloon=str(SIZE // 2))
    with vm.qmp() as client:
        wait_until(lambda: client.execute("query-balloon")["actual"] == SIZE // 2, "the balloon", 60)
    verified(vm)
    check(place.resident(vm) <= SIZE // 2 * 1.02, "resident memory is %d" % place.resident(vm))
    place.finish(vm)


def stays_at(client):
    """actual, as soon as it has not changed for a while."""
    seen = []

    def same():
        seen.append(client.execute("memback-status")["actual"])
        time.sleep(0.1 * vmtest.SLOWNESS)
        return len(seen) > 3 and len(set(seen[-3:])) == 1

    wait_until(same, "actual to stay as it is", 60)
    return seen[-1]


@case
def stopped_while_inflating():
    place = Place()
    vm = place.start()
    with vm.qmp() as client:
        client.seconds = 120 * vmtest.SLOWNESS
        client.execute("balloon", value=SIZE // 2)
        client.execute("stop")
        # What the guest has given already may take a moment; it gives nothing more.
        frozen = stays_at(client)
        time.sleep(0.3 * vmtest.SLOWNESS)
        equal(client.execute("memback-check")["count"], 0, "discrepancies")
        equal(client.execute("memback-status")["actual"], frozen, "actual of a stopped VM")
        client.execute("cont")
        client.wait_event("BALLOON_CHANGE", lambda data: data["actual"] == SIZE // 2)
        balloon(client, SIZE)
    verified(vm)
    place.finish(vm)


@case
def terminated_while_inflating():
    place = Place()
    for number in (signal.SIGTERM, signal.SIGINT):
        vm = place.start()
        with vm.qmp() as client:
            client.execute("balloon", value=SIZE // 4)
            os.kill(vm.pid, number)
            status = vm.wait()
        check(status >= 0, "the signal killed it: %d" % status)
        check(not os.path.exists(vm.socket), "the socket is left")
        check("error" not in vm.stderr, "it complains: %s" % vm.stderr)
        if place.pool:
            place.pool.check_empty()


@case
def killed_while_inflating():
    place = Place()
    if not place.pool:
        return
    vm = place.start()
    with vm.qmp() as client:
        client.execute("balloon", value=SIZE // 4)
        os.kill(vm.pid, signal.SIGKILL)
        vm.wait()
    successor = place.start(name=vm.name, qmp=vm.socket)
    verified(successor)
    equal(successor.ctl_json("check")["count"], 0, "discrepancies")
    place.finish(successor)


vmtest.main()
