# SPDX-License-Identifier: MIT
"""
linuxvm - a VMM with a stock Linux kernel in it, whose first process is our guest/linux/init.c, told what to do
over the serial line; and what tests of it have in common.

A boot takes seconds, where the machine is emulated: so a case does all that it can with one, step by step.
"""
import os
import time

import linuxguest
import vmtest
from vmtest import Vmm, equal, matches, path, wait_until

INIT = os.path.join(vmtest.BUILD, "guest", "linux-init")
RING0_IS_EMULATED = os.path.exists("/sys/module/kvm_pvm")
BALLOON = "/machine/peripheral-anon/device[0]"
RESET = 3  # VM_STATUS_RESET in vmm/vm.h
APPEND = "console=ttyS0 quiet panic=-1 tsc=reliable mitigations=off random.trust_cpu=on"
# What takes a kernel longest in an emulated machine, and concerns nothing that is tested: tables of tracers,
# self-tests of ciphers, certificates, and the clearing of memory that is about to be written anyway.
SPARE = " cryptomgr.notests=1 rodata=off init_on_alloc=0 audit=0 initcall_blacklist=init_kprobe_trace," \
    "trace_eval_init,crypto_kdf108_init,load_system_certificate_list,init_encrypted,cubictcp_register"


def on_hardware(fn):
    """A case for hosts on which Linux runs."""
    return fn if RING0_IS_EMULATED else vmtest.case(fn)


def on_emulated_ring0(fn):
    """A case for hosts whose KVM emulates ring 0, where Linux does not get far."""
    return vmtest.case(fn) if RING0_IS_EMULATED else fn


def fetched(fn, *arguments):
    try:
        return fn(*arguments)
    except linuxguest.Unavailable as e:
        raise vmtest.Skip(str(e)) from None


# QEMU's emulation does not let a hypervisor see XSETBV (up to 7.2 it is not intercepted), so that KVM and the
# guest's second CPU are of different minds about it: Linux warns of an inconsistent XSAVE, and sometimes hangs.
# What wants XSAVE goes with it.
TROUBLE_WHEN_EMULATED = "xsave,xsaveopt,xsavec,xsaves,avx,avx2,f16c,fma,pku,vaes,vpclmulqdq"


class Linux(Vmm):
    """A Linux guest. With plain, its kernel does all that it does as it comes."""

    def __init__(self, kernel="cloud", elf=True, append="", init=INIT, plain=False, **options):
        k = fetched(linuxguest.kernel, kernel)
        linuxguest.make_initrd(k, init, path("initrd"))
        options.setdefault("memory", "192M")
        if vmtest.EMULATED:
            options.setdefault("cpu_disable", TROUBLE_WHEN_EMULATED)
        super().__init__(k.vmlinux if elf else k.vmlinuz, initrd=path("initrd"),
                         append=APPEND + ("" if plain else SPARE) + (" " + append if append else ""), **options)
        self.release = k.release

    def ready(self):
        begin = time.monotonic()
        equal(self.line(r"linux: ready (\S+)", seconds=60).group(1), self.release, "the kernel that is up")
        print("         up after %.1f s: %s" % (time.monotonic() - begin, self.release), flush=True)
        return self

    def tell(self, command, seconds=60):
        """Has our init do something; returns what it printed meanwhile."""
        begin = self.seen
        self.type(command + "\n")
        answer = self.line(r"linux: (ok|error.*)", seconds).group(1)
        equal(answer, "ok", "the answer to " + command)
        return self.stdout[begin:self.seen].replace("\r", "")  # one may come without its newline

    def total(self):
        """Linux's MemTotal in bytes."""
        return int(matches(r"MemTotal:\s*(\d+)", self.tell("memory"), "meminfo").group(1)) << 10


def steps(*functions):
    """The functions one after the other, each with its time."""
    for fn in functions:
        begin = time.monotonic()
        fn()
        print("         %s (%.1f s)" % (fn.__name__.replace("_", " "), time.monotonic() - begin), flush=True)


def linux_wants_hardware(**options):
    """
    What a user of such a KVM must be told: at once that Linux wants another, and then the instruction at which
    the guest came to its end. memtest86+, which is loaded as a Linux kernel is, comes to one in no time.
    """
    vm = Vmm(fetched(linuxguest.memtest), append="console=ttyS0,115200 nosmp", **dict({"memory": "32M"}, **options))
    wait_until(lambda: "hardware" in vm.stderr, "the warning")
    equal(vm.wait(60), 1, "exit status")
    matches(r"cannot emulate.*rip 0x[0-9a-f]+, CPL 0, instruction bytes [0-9a-f]{2} .*hardware", vm.stderr,
            "the message")
    return vm
