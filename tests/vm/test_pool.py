#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
Several VMMs share a pool file: they are charged at launch, told what is missing, and leave nothing behind.
"""
import json
import os
import re
import signal
import xml.etree.ElementTree

import vmtest
from vmtest import MIB, Pool, Vmm, case, check, ctl, equal, matches, near, wait_until


def idle(pool, **options):
    vm = Vmm("hello", append="echo", pool=pool.path, **options)
    vm.line(r"cpu 0 is up")
    return vm


def end(vm):
    vm.type("quit\n")
    equal(vm.wait(), 0, "exit status")


def refused(pattern, pool, **options):
    vm = Vmm("hello", pool=pool.path, **options)
    equal(vm.wait(), 1, "exit status (%s)" % vm.stderr)
    matches(pattern, vm.stderr, "the error")
    check(not os.path.exists(vm.socket), "the socket is left")


@case
def pool_is_made_and_unmade():
    pool = Pool("256M", "128M")
    equal(pool.resident(), 0, "bytes that the kernel holds for a new pool")
    status = pool.status()
    equal((status["size"], status["budget"], status["budget-used"]), (256 * MIB, 128 * MIB, 0), "sizes")
    done = ctl("pool", "create", pool.path, "--size", "64M", good=False)
    equal(done.returncode, 1, "exit status of making it again")
    text = ctl("pool", "status", pool.path).stdout
    matches("(?i)budget", text, "the status")
    pool.destroy()


@case
def vms_are_charged_at_launch():
    pool = Pool("256M", "160M")
    first = idle(pool, memory="64M")
    second = idle(pool, memory="64M")
    status = pool.status()
    equal(status["budget-used"], 128 * MIB, "what is used of the budget")
    equal(sorted(o["name"] for o in status["owners"]), sorted([first.name, second.name]), "owners")
    equal(sorted(o["pid"] for o in status["owners"]), sorted([first.pid, second.pid]), "their pids")
    refused(r"32 ?MiB|32M|%d" % (32 * MIB), pool, memory="64M")
    end(first)
    equal(pool.status()["budget-used"], 64 * MIB, "what is used of the budget")
    end(second)
    pool.destroy()


@case
def frame_numbers_run_out():
    pool = Pool("128M")
    first = idle(pool, memory="96M")
    refused(r"(?i)frame|budget", pool, memory="64M")
    end(first)
    pool.destroy()


@case
def names_are_unique():
    pool = Pool("256M")
    first = idle(pool, name="same")
    refused("same", pool, name="same", qmp=vmtest.path("other"))
    end(first)
    pool.destroy()


@case
def pool_in_use_is_not_destroyed():
    pool = Pool("128M")
    vm = idle(pool)
    done = ctl("pool", "destroy", pool.path, good=False)
    equal(done.returncode, 1, "exit status")
    equal(len(done.stderr.splitlines()), 1, "number of lines in %r" % done.stderr)
    check(os.path.exists(pool.path) and os.path.exists(pool.memory), "it is gone")
    end(vm)
    pool.destroy()


@case
def preallocation_is_real():
    pool = Pool("128M")
    vm = idle(pool, memory="64M", prealloc=True)
    near(pool.resident(), 64 * MIB, 0.02, "resident memory")
    end(vm)
    equal(pool.resident(), 0, "bytes that the kernel holds for the pool")
    pool.destroy()


@case
def pool_on_disk():
    pool = Pool("128M", directory="/var/tmp")
    vm = idle(pool, memory="64M", prealloc=True)
    near(pool.resident(), 64 * MIB, 0.02, "resident memory")
    end(vm)
    pool.destroy()


@case
def termination_leaves_nothing():
    pool = Pool("256M")
    for number in (signal.SIGTERM, signal.SIGINT):
        vm = idle(pool, prealloc=True)
        os.kill(vm.pid, number)
        status = vm.wait()
        check(status >= 0, "signal %d killed it" % -status)
        check(not os.path.exists(vm.socket), "the socket is left")
        pool.check_empty()
    pool.destroy()


@case
def a_killed_vmm_leaves_nothing():
    """Its owner is dead; whoever needs the pool next gets all that it had."""
    pool = Pool("128M", "64M")
    vm = idle(pool, memory="64M", prealloc=True)
    os.kill(vm.pid, signal.SIGKILL)
    equal(vm.wait(), -signal.SIGKILL, "exit status")
    live = [o for o in pool.status()["owners"] if o.get("live", True)]
    equal(live, [], "live owners")
    successor = idle(pool, memory="64M", name=vm.name, qmp=vm.socket)  # needs all of the budget
    equal(pool.status()["budget-used"], 64 * MIB, "what is used of the budget")
    end(successor)
    pool.destroy()


@case
def bytes_move_from_one_vm_to_another():
    pool = Pool("256M", "96M")
    first = Vmm("balloon", memory="64M", pool=pool.path)
    first.line(r"balloon: ready")
    before = pool.resident()
    refused(r"32 ?MiB|32M|%d" % (32 * MIB), pool, memory="64M")
    first.ctl("inflate", "32M", "--wait")
    near(before - pool.resident(), 32 * MIB, 0.02, "what the pool gave back")
    second = Vmm("balloon", memory="64M", pool=pool.path)
    second.line(r"balloon: ready")
    equal(pool.status()["budget-used"], 96 * MIB, "what is used of the budget")

    first.ctl("deflate", "32M")
    with first.qmp() as client:
        wait_until(lambda: client.execute("memback-status").get("waiting"), "the deflation to be held back")
        check(client.execute("query-balloon")["actual"] < 64 * MIB, "it was not held back")
        equal(first.ctl_json("check")["count"], 0, "discrepancies")
        second.ctl("inflate", "32M", "--wait")
        wait_until(lambda: client.execute("query-balloon")["actual"] == 64 * MIB, "the deflation to go on")
        check("waiting" not in client.execute("memback-status"), "it still waits")
    check(pool.resident() <= 96 * MIB * 1.02, "more is resident than the budget: %d" % pool.resident())
    for vm in (first, second):
        equal(vm.ctl_json("check")["count"], 0, "discrepancies")
        with vm.qmp() as client:
            client.execute("quit")
        equal(vm.wait(), 0, "exit status")
    pool.destroy()


@case
def a_pool_changes_under_its_vms():
    pool = Pool("128M", "96M", max_size="192M")
    ctl("pool", "grow", pool.path, "192M")
    vm = idle(pool, memory="64M", name="stays")
    equal([o["name"] for o in json.loads(ctl("--json", "pool", "owners", pool.path).stdout)], ["stays"], "owners")
    done = ctl("pool", "shrink", pool.path, "2M", good=False)
    equal(done.returncode, 1, "exit status of shrinking below what a VM has")
    matches("stays", done.stdout, "who is in the way")
    refused(r"(?i)frame", pool, memory="32M")
    end(vm)
    ctl("pool", "grow", pool.path, "64M")
    equal(pool.status()["size"], 64 * MIB, "the size")
    ctl("pool", "grow", pool.path, "128M")
    ctl("pool", "set-budget", pool.path, "64M")
    refused(r"(?i)budget", pool, memory="96M")
    ctl("pool", "set-budget", pool.path, "96M")
    end(idle(pool, memory="96M"))
    pool.destroy()


@case
def who_waits_goes_on_when_another_is_killed():
    """Nobody tells of the death, and nobody else looks at the pool: the one that waits finds it."""
    pool = Pool("256M", "96M")
    first = Vmm("balloon", memory="64M", pool=pool.path)
    first.line(r"balloon: ready")
    first.ctl("inflate", "32M", "--wait")
    second = idle(pool, memory="64M", prealloc=True)
    first.ctl("deflate", "32M")
    with first.qmp() as client:
        wait_until(lambda: client.execute("memback-status").get("waiting"), "the deflation to be held back")
        os.kill(second.pid, signal.SIGKILL)
        equal(second.wait(), -signal.SIGKILL, "exit status")
        os.unlink(second.socket)
        wait_until(lambda: client.execute("query-balloon")["actual"] == 64 * MIB, "the deflation to go on")
        equal(first.ctl_json("check")["count"], 0, "discrepancies")
        client.execute("quit")
    equal(first.wait(), 0, "exit status")
    # The one that waited took back what it needed; the rest may be left to whoever comes next.
    did = json.loads(ctl("--json", "pool", "recover", pool.path).stdout)
    check(did["owners"] <= 1, "%d owners were dead" % did["owners"])
    pool.destroy()


@case
def what_attaching_found_is_said():
    """By whoever comes first, which may be a VMM: later nobody would know."""
    pool = Pool("128M", "64M")
    vm = idle(pool, memory="64M")
    os.kill(vm.pid, signal.SIGKILL)
    equal(vm.wait(), -signal.SIGKILL, "exit status")
    os.unlink(vm.socket)
    successor = idle(pool, memory="64M")
    wait_until(lambda: "1 dead VM: 64 MiB of frames and 64 MiB of the budget" in successor.stderr, "the VMM to say so")
    end(successor)
    with open(pool.path, "r+b") as f:  # the mark of the boot, see memback/host/format.h
        f.seek(4096 + 32)
        mark = f.read(1)
        f.seek(4096 + 32)
        f.write(bytes([mark[0] ^ 1]))
    vm = idle(pool, memory="64M")
    wait_until(lambda: re.search(r"warning: .*another boot.*empty", vm.stderr), "the VMM to say so")
    end(vm)
    pool.destroy()


def drawn(pool):
    """The cells of the map in the terminal, and its legend."""
    lines = ctl("pool", "map", pool.path).stdout.splitlines()
    rows = [line.split(" ", 1)[1] for line in lines if line.startswith("0x")]
    return "".join(rows), "\n".join(lines[len(rows):])


@case
def three_take_turns_and_are_drawn():
    pool = Pool("256M", "112M")
    vms = []
    for name in ("one", "<two&more>", "three"):  # for a while each has 48 MiB
        vm = Vmm("balloon", name=name, memory="48M", pool=pool.path, append="exit-after=600")
        vm.line(r"balloon: ready", seconds=120)
        vm.ctl("set-size", "32M", "--wait")
        vms.append(vm)
    for turn in range(6):  # 16 MiB go round
        giver, taker = vms[turn % 3], vms[(turn + 1) % 3]
        giver.ctl("inflate", "16M", "--wait")
        taker.ctl("deflate", "16M", "--wait")
        giver.ctl("deflate", "16M", "--wait")
        taker.ctl("inflate", "16M", "--wait")
        check(pool.status()["budget-used"] <= 112 * MIB, "the budget is exceeded")
    ctl("pool", "check", pool.path)
    for vm in vms:
        equal(vm.ctl_json("check")["count"], 0, "discrepancies")
    cells, legend = drawn(pool)
    equal(set(cells.upper()), set("ABC."), "what is drawn: " + cells)
    equal((len(cells), cells.count(".")), (128, 56), "cells, and free ones in " + cells)
    for letter, vm in zip("ABC", vms):
        count = cells.upper().count(letter)
        equal(count, 24, "cells of %s in %s" % (vm.name, cells))
        matches(r"%s %s +pid %d" % (letter, re.escape(vm.name), vm.pid), legend, "the legend")
    picture = vmtest.path("pool.svg")
    ctl("pool", "map", pool.path, "--svg", picture)
    text = " ".join(xml.etree.ElementTree.parse(picture).getroot().itertext())
    for vm in vms:
        check(vm.name in text, "%s is not in the picture: %s" % (vm.name, text))
    for vm in vms:
        vm.ctl("quit")
        equal(vm.wait(), 0, "exit status")
    pool.destroy()


vmtest.main()
