#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""memback-check finds, and names, what was done behind the VMM's back; and nothing where nothing was."""
import os

import vmtest
from vmtest import MIB, Pool, Vmm, case, check, equal, run

SABOTAGE = os.path.join(vmtest.BUILD, "tests", "vm", "sabotage")
PAGE = 4096


def sabotage(*words):
    done = run([SABOTAGE] + [str(word) for word in words])
    equal(done.returncode, 0, "sabotage (%s)" % done.stderr)


def idle(pool):
    vm = Vmm("hello", append="echo", pool=pool.path, prealloc=True)
    vm.line(r"cpu 0 is up")
    return vm


def discrepancies(vm):
    with vm.qmp() as client:
        result = client.execute("memback-check")
    equal(len(result["discrepancies"]), result["count"], "count")
    return result["discrepancies"]


def only(found, kind, gpa, length):
    equal([(d["kind"], d.get("gpa"), d["len"]) for d in found], [(kind, gpa, length)], "discrepancies")
    check("0x%x" % gpa in found[0]["text"], "the text does not name the address: %r" % found[0]["text"])


def end(vm, pool):
    vm.type("quit\n")
    equal(vm.wait(), 0, "exit status")
    pool.destroy()


@case
def clean_is_clean():
    pool = Pool("128M")
    vm = idle(pool)
    equal(discrepancies(vm), [], "discrepancies")
    equal(vm.ctl("check").returncode, 0, "exit status of membackctl check")
    end(vm, pool)


@case
def a_page_punched():
    pool = Pool("128M")
    vm = idle(pool)
    gpa = 40 * MIB + 5 * PAGE
    sabotage("punch", pool.path, gpa)
    only(discrepancies(vm), "missing", gpa, PAGE)
    done = vm.ctl("check", good=False)
    check(done.returncode != 0, "membackctl check is content")
    check("0x%x" % gpa in done.stdout + done.stderr, "it does not name the address")
    sabotage("touch", pool.path, gpa)  # there again
    equal(discrepancies(vm), [], "discrepancies")
    end(vm, pool)


@case
def a_ballooned_page_touched():
    pool = Pool("128M")
    vm = Vmm("balloon", pool=pool.path)
    vm.line(r"balloon: ready")
    vm.ctl("inflate", "32M", "--wait")
    equal(discrepancies(vm), [], "discrepancies")
    with vm.qmp() as client:
        stretches = client.execute("memback-map", step=2 * MIB)
        gpa = [s["gpa"] for s in stretches if s["state"] == "ballooned"][0] + 3 * PAGE
        sabotage("touch", pool.path, gpa)
        only(discrepancies(vm), "intruder", gpa, PAGE)
        sabotage("punch", pool.path, gpa)
        equal(discrepancies(vm), [], "discrepancies")
        client.execute("quit")
    equal(vm.wait(), 0, "exit status")
    pool.destroy()


@case
def ledger_entries_swapped():
    pool = Pool("128M")
    vm = idle(pool)
    a, b = 16 * MIB, 48 * MIB
    sabotage("swap", pool.path, a, b)
    found = discrepancies(vm)
    equal(sorted((d["kind"], d.get("gpa")) for d in found), [("ledger", a), ("ledger", b)], "discrepancies")
    sabotage("swap", pool.path, a, b)
    equal(discrepancies(vm), [], "discrepancies")
    end(vm, pool)


vmtest.main()
