#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
Stock Linux kernels boot to their first process, bring up their CPUs, and go down in every way there is; their
virtio-balloon, whose driver nobody here wrote, gives memory back and takes it.

Where KVM emulates ring 0, Linux does not get far; there, the one case is that the VMM says so.
"""
import os

import linuxguest
import vmtest
from vmtest import MIB, Vmm, equal, matches, path, wait_until

RING0_IS_EMULATED = os.path.exists("/sys/module/kvm_pvm")
APPEND = "console=ttyS0 quiet panic=-1 tsc=reliable mitigations=off random.trust_cpu=on"
INIT = os.path.join(vmtest.BUILD, "guest", "linux-init")
RESET = 3  # VM_STATUS_RESET in vmm/vm.h


def case(fn):
    return fn if RING0_IS_EMULATED else vmtest.case(fn)


class Linux(Vmm):
    """A Linux guest with our init in it."""

    def __init__(self, kernel="cloud", elf=True, append="", **options):
        try:
            k = linuxguest.kernel(kernel)
        except linuxguest.Unavailable as e:
            raise vmtest.Skip(str(e)) from None
        linuxguest.make_initrd(k, INIT, path("initrd"))
        options.setdefault("memory", "192M")
        super().__init__(k.vmlinux if elf else k.vmlinuz, append=(APPEND + " " + append).strip(),
                         initrd=path("initrd"), **options)
        self.release = k.release

    def ready(self):
        equal(self.line(r"linux: ready (\S+)", seconds=60).group(1), self.release, "the kernel that is up")
        return self

    def tell(self, command, seconds=30):
        """Has our init do something; returns what it printed meanwhile."""
        begin = self.seen
        self.type(command + "\n")
        answer = self.line(r"linux: (ok|error.*)", seconds).group(1)
        equal(answer, "ok", "the answer to " + command)
        return self.stdout[begin:self.seen].replace("\r", "")  # one may come without its newline


@case
def compressed_as_distributions_ship_it():
    vm = Linux(elf=False).ready()
    matches(r"LNRO0005", vm.tell("sh ls /sys/bus/platform/devices"), "the devices")
    vm.type("poweroff\n")
    equal(vm.wait(), 0, "exit status")


@case
def reboot_ends_the_vm():
    vm = Linux().ready()
    with vm.qmp() as client:
        vm.type("reboot\n")
        equal(client.wait_event("SHUTDOWN"), {"guest": True, "reason": "guest-reset"}, "the event")
    equal(vm.wait(), RESET, "exit status")


@case
def four_cpus_and_the_power_button():
    vm = Linux(cpus=4).ready()
    matches(r"linux: cpus 4\n", vm.tell("cpus"), "the answer")
    matches(r"kvm-clock|tsc", vm.tell("sh cat /sys/devices/system/clocksource/*/current_clocksource"), "clock")
    vm.tell("sh cat /proc/interrupts")
    vm.type("watch-power\n")
    vm.line(r"linux: watching")
    with vm.qmp() as client:
        equal(client.execute("system_powerdown"), {}, "the answer")
        client.wait_event("POWERDOWN")
        equal(client.wait_event("SHUTDOWN"), {"guest": True, "reason": "guest-shutdown"}, "the event")
    equal(vm.wait(), 0, "exit status")
    matches(r"linux: power button", vm.stdout, "the console")


@case
def balloon_of_linux():
    vm = Linux(cpus=2, memory="256M").ready()
    vm.tell("alloc 64M")
    before = vm.resident()
    vm.tell("free")  # which Linux reports by itself, a little later
    wait_until(lambda: vm.resident() <= before - 48 * MIB, "what was freed to leave the host", 60)
    vm.ctl("inflate", "32M", "--wait")
    equal(vm.ctl_json("status")["actual"], 224 * MIB, "actual")
    vm.ctl("check")
    vm.tell("alloc 32M")
    vm.ctl("deflate", "32M", "--wait")
    vm.tell("verify")
    vm.tell("free")
    status = vm.ctl_json("status")
    equal(status["actual"], status["maximum"], "actual")
    vm.ctl("check")
    vm.type("panic\n")
    equal(vm.wait(), 1, "exit status of a panic")
    matches(r"panicked", vm.stderr, "the message")


@case
def another_kernel_and_panic_without_a_word():
    vm = Linux("6.12", elf=False, append="without=pvpanic-mmio,pvpanic").ready()
    vm.ctl("inflate", "32M", "--wait")
    vm.type("panic\n")
    equal(vm.wait(), RESET, "exit status of a panic that resets")


def linux_wants_hardware():
    """In this kind of KVM: told at once, and again with the instruction where the guest comes to one."""
    try:
        image = linuxguest.memtest()
    except linuxguest.Unavailable as e:
        raise vmtest.Skip(str(e)) from None
    vm = Vmm(image, memory="32M", append="console=ttyS0,115200 nosmp")
    wait_until(lambda: "hardware" in vm.stderr, "the warning")
    equal(vm.wait(60), 1, "exit status")
    matches(r"cannot emulate.*rip 0x[0-9a-f]+, CPL 0, instruction bytes [0-9a-f]{2} .*hardware", vm.stderr, "the message")


if RING0_IS_EMULATED:
    vmtest.case(linux_wants_hardware)

if __name__ == "__main__":
    vmtest.main()
