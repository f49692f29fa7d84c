#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
demo - two guests of 1 GiB share a pool of 2 GiB of frame numbers, of which 1.5 GiB may be in use. Memory moves
from one to the other while both verify what they have. Each step is shown, and checked.
"""
import os
import shutil
import textwrap

import vmtest
from vmtest import GIB, MIB, Pool, Vmm, check, equal, matches, near, verified, wait_until

steps = 0


def step(text):
    global steps
    steps += 1
    print("\n%d. %s" % (steps, textwrap.fill(text, 96, subsequent_indent="   ")), flush=True)


def say(text):
    print("   > " + text, flush=True)


def table(pool):
    """Budget, owners and the kernel's count; the last asked of the kernel, not of us."""
    status = pool.status()
    rows = [("", "budget", "used", "resident, says the kernel"),
            ("pool", mib(status["budget"]), mib(status["budget-used"]), mib(pool.resident())),
            ("", "maximum", "charged", "in the balloon")]
    for owner in status["owners"]:
        rows.append((owner["name"], mib(owner["maximum"]), mib(owner["actual"]), mib(owner["inflated"])))
    if not status["owners"]:
        rows[2:] = [("no owners", "", "", "")]
    for row in rows:
        print("   | %-10s %10s %10s   %s" % row, flush=True)
    return status


def mib(size):
    return "%d MiB" % round(size / MIB)


def start(name, pool):
    vm = Vmm("balloon", name=name, memory="1G", pool=pool.path)
    say("memback-vmm --name %s --memory 1G --pool %s --kernel .../guest/balloon" % (name, pool.path))
    return vm


def ctl(vm, *words):
    say("membackctl -s %s %s" % (os.path.basename(vm.socket), " ".join(words)))
    vm.ctl(*words, seconds=120)


def ready(vm):
    found = vm.line(r"balloon: ready pages=(\d+)", seconds=120)
    say("the guest has filled %s pages with a pattern" % found.group(1))


def verify(*vms):
    for vm in vms:
        verified(vm)
    say("verified: all patterns are intact" + (" in both guests" if len(vms) > 1 else ""))


def waiting(vm):
    with vm.qmp() as client:
        return client.execute("memback-status").get("waiting")


def end(vm):
    ctl(vm, "quit")
    equal(vm.wait(), 0, "exit status of " + vm.name)


def place():
    """Where the pool goes: memory, if there is enough of it."""
    for directory in ("/dev/shm", os.environ.get("TMPDIR", "/tmp")):
        if os.path.isdir(directory) and shutil.disk_usage(directory).free > 1.6 * GIB:
            return directory
    raise vmtest.Skip("neither /dev/shm nor the temporary directory has 1.6 GiB left")


def demonstration():
    step("A pool: 2 GiB of frame numbers, but a budget of 1.5 GiB that may be out with guests at once.")
    say("membackctl pool create POOL --size 2G --budget 1536M")
    pool = Pool("2G", "1536M", directory=place())
    table(pool)

    step("The first guest gets 1 GiB.")
    first = start("first", pool)
    ready(first)
    near(table(pool)["budget-used"], GIB, 0, "what is used of the budget")
    near(pool.resident(), GIB, 0.02, "resident memory")

    step("A second one of 1 GiB is refused: 512 MiB are missing.")
    refused = start("second", pool)
    equal(refused.wait(), 1, "exit status of the second")
    say(refused.stderr.strip())
    matches(r"\b512 ?MiB|\b512M\b|\b536870912\b", refused.stderr, "the refusal")

    step("So the first is inflated: its balloon takes 512 MiB from it, and the kernel gets the memory.")
    before = pool.resident()
    ctl(first, "inflate", "512M", "--wait")
    verify(first)
    table(pool)
    near(before - pool.resident(), 512 * MIB, 0.02, "what the kernel got back")

    step("Now the second one starts.")
    second = start("second", pool)
    ready(second)
    equal(table(pool)["budget-used"], 1536 * MIB, "what is used of the budget")

    step("The first wants its memory back. The budget has none left, so its deflation is held back.")
    ctl(first, "deflate", "512M")
    missing = wait_until(lambda: waiting(first), "the deflation to be held back", 60)
    say("status of first: waiting for the %s, %s missing" % (missing["reason"], mib(missing["missing"])))
    verify(first, second)
    status = table(pool)
    check(status["budget-used"] <= status["budget"], "the budget is exceeded")
    check(waiting(first), "it waits no longer")

    step("The second is inflated by 512 MiB; with that, the first gets its own.")
    ctl(second, "inflate", "512M", "--wait")
    with first.qmp() as client:
        wait_until(lambda: client.execute("query-balloon")["actual"] == GIB, "the deflation to end", 120)
    check(not waiting(first), "it still waits")
    verify(first, second)
    table(pool)
    charges = {o["name"]: o["actual"] for o in pool.status()["owners"]}
    equal(charges, {"first": GIB, "second": 512 * MIB}, "charges")
    check(pool.resident() <= 1536 * MIB * 1.02, "more is resident than the budget allows")
    for vm in (first, second):
        equal(vm.ctl_json("check")["count"], 0, "discrepancies between ledger and kernel")
    say("memback-check: ledger and kernel agree")

    step("Both end, and everything is at zero.")
    end(first)
    end(second)
    table(pool)
    pool.destroy()
    say("the pool is empty, and destroyed")


if __name__ == "__main__":
    vmtest.cases.append(demonstration)
    vmtest.main()
