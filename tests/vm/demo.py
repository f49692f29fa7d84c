#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
demo - two guests of 1 GiB share a pool of 2 GiB of frame numbers, of which 1.5 GiB may be in use. Memory moves
from one to the other while both verify what they have. Each step is shown, and checked.

Under emulation, where memory is slow, all sizes are an eighth of that.
"""
import os
import shutil
import textwrap

import vmtest
from vmtest import GIB, MIB, Pool, Vmm, check, equal, matches, near, verified, wait_until

GUEST = GIB // 8 if vmtest.EMULATED else GIB
HALF = GUEST // 2
BUDGET = GUEST + HALF
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


def mib(number):
    return "%d MiB" % round(number / MIB)


def size(number):
    """As the command lines take it."""
    return "%dG" % (number // GIB) if number % GIB == 0 else "%dM" % (number // MIB)


def start(name, pool):
    vm = Vmm("balloon", name=name, memory=size(GUEST), pool=pool.path)
    say("memback-vmm --name %s --memory %s --pool %s --kernel .../guest/balloon" %
        (name, size(GUEST), pool.path))
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
        if os.path.isdir(directory) and shutil.disk_usage(directory).free > BUDGET * 1.1:
            return directory
    raise vmtest.Skip("neither /dev/shm nor the temporary directory has %s left" % mib(BUDGET * 1.1))


def demonstration():
    step("A pool: %s of frame numbers, but a budget of %s that may be out with guests at once." %
         (mib(2 * GUEST), mib(BUDGET)))
    say("membackctl pool create POOL --size %s --budget %s" % (size(2 * GUEST), size(BUDGET)))
    pool = Pool(size(2 * GUEST), size(BUDGET), directory=place())
    table(pool)

    step("The first guest gets %s." % mib(GUEST))
    first = start("first", pool)
    ready(first)
    near(table(pool)["budget-used"], GUEST, 0, "what is used of the budget")
    near(pool.resident(), GUEST, 0.03, "resident memory")

    step("A second one of %s is refused: %s are missing." % (mib(GUEST), mib(HALF)))
    refused = start("second", pool)
    equal(refused.wait(), 1, "exit status of the second")
    say(refused.stderr.strip())
    matches(r"\b%s|\b%d\b" % (mib(HALF), HALF), refused.stderr, "the refusal")

    step("So the first is inflated: its balloon takes %s from it, and the kernel gets the memory." % mib(HALF))
    before = pool.resident()
    ctl(first, "inflate", size(HALF), "--wait")
    verify(first)
    table(pool)
    near(before - pool.resident(), HALF, 0.02, "what the kernel got back")

    step("Now the second one starts.")
    second = start("second", pool)
    ready(second)
    equal(table(pool)["budget-used"], BUDGET, "what is used of the budget")

    step("The first wants its memory back. The budget has none left, so its deflation is held back.")
    ctl(first, "deflate", size(HALF))
    missing = wait_until(lambda: waiting(first), "the deflation to be held back", 60)
    say("status of first: waiting for the %s, %s missing" % (missing["reason"], mib(missing["missing"])))
    verify(first, second)
    status = table(pool)
    check(status["budget-used"] <= status["budget"], "the budget is exceeded")
    check(waiting(first), "it waits no longer")

    step("The second is inflated by %s; with that, the first gets its own." % mib(HALF))
    ctl(second, "inflate", size(HALF), "--wait")
    with first.qmp() as client:
        wait_until(lambda: client.execute("query-balloon")["actual"] == GUEST, "the deflation to end", 120)
    check(not waiting(first), "it still waits")
    verify(first, second)
    table(pool)
    charges = {o["name"]: o["actual"] for o in pool.status()["owners"]}
    equal(charges, {"first": GUEST, "second": HALF}, "charges")
    check(pool.resident() <= BUDGET * 1.02, "more is resident than the budget allows")
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
