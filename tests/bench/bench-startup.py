#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
bench-startup - how long memback-vmm takes from exec to the first KVM_RUN, and what it keeps resident apart from
the guest's RAM, beside qemu-system-x86_64 -M microvm with the same kernel, turn by turn in one run.

usage: bench-startup.py MEMBACK_VMM KERNEL [ROUNDS]

The comparison is made for Debian's stock kernel too, where tests/vm/linuxguest.py has fetched it: the time until it
starts is what counts, so that it need not come up. Then comes memback-vmm alone, with 4 GiB beside 4 GiB that can
grow to 1 TiB.

Both run under the same strace, which stamps the two moments; so the times are longer than without it, for both.
The minimum of the rounds counts: what others do on the machine only adds to it.
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

MEMORY = 256 << 20
SECONDS = 60


def commands(vmm, kernel):
    return {
        "memback-vmm": [vmm, "--kernel", kernel, "--memory", str(MEMORY), "--serial", "none", "--append", "echo"],
        "qemu microvm": ["qemu-system-x86_64", "-M", "microvm,accel=kvm", "-cpu", "host,arch-capabilities=off", "-m",
                         "%dM" % (MEMORY >> 20), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                         "-kernel", kernel, "-append", "echo", "-serial", "null",
                         "-global", "virtio-mmio.force-legacy=false", "-device", "virtio-balloon-device"],
    }


GROWING = 4 << 30


def growing_commands(vmm, kernel):
    small = [vmm, "--kernel", kernel, "--memory", str(GROWING), "--serial", "none", "--append", "echo"]
    return {"4G": small, "4G of 1T": small + ["--max-memory", "1T"]}


def wait_for(test):
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        result = test()
        if result:
            return result
        time.sleep(0.02)
    return None


def stamps(trace):
    """Seconds from exec to the first KVM_RUN, or None while it has not been there."""
    with open(trace, errors="replace") as f:
        text = f.read()
    begin = re.search(r"^\d+ +(\d+\.\d+) execve\(", text, re.M)
    end = re.search(r"^\d+ +(\d+\.\d+) ioctl\(\d+, KVM_RUN", text, re.M)
    return float(end.group(1)) - float(begin.group(1)) if begin and end else None


def overhead(pid, memory):
    """Resident bytes, all and private, apart from the guest's RAM: its mappings are as large as it is."""
    resident = private = size = 0
    with open("/proc/%d/smaps" % pid) as f:
        for line in f:
            head = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
            if head:
                size = int(head.group(2), 16) - int(head.group(1), 16)
            found = re.match(r"(Rss|Private_Clean|Private_Dirty): +(\d+) kB", line)
            if found and size < memory // 2:
                if found.group(1) == "Rss":
                    resident += int(found.group(2)) << 10
                else:
                    private += int(found.group(2)) << 10
    return resident, private


def children(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        return [int(word) for word in f.read().split()]


def once(command, memory):
    with tempfile.TemporaryDirectory() as directory:
        trace = os.path.join(directory, "trace")
        tracer = ["strace", "-f", "-ttt", "-e", "trace=execve,ioctl", "-e", "signal=none", "-o", trace]
        process = subprocess.Popen(tracer + command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE)
        try:
            took = wait_for(lambda: os.path.exists(trace) and stamps(trace))
            traced = children(process.pid)
            if not took or not traced:
                process.kill()
                sys.exit("%s does not start: %s" % (command[0], process.stderr.read().decode()[-500:]))
            time.sleep(0.5)  # the guest starts, and with it what serves it
            result = took, overhead(traced[0], memory)
            os.kill(traced[0], signal.SIGKILL)
            return result
        finally:
            process.wait(SECONDS)
            process.stderr.close()


def stock_kernel():
    """The ELF image of Debian's kernel in a list, which is empty where it has not been fetched."""
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "vm"))
    import debian
    import linuxguest
    place = linuxguest.present(debian.cache_directory("linux"), "cloud")
    return [linuxguest.Kernel(place).vmlinux] if place else []


def measure(todo, kernel, memory, rounds):
    """Runs the commands turn by turn, prints a line for each, and returns the best time and residency by name."""
    results = {name: [] for name in todo}
    for _ in range(rounds):
        for name, command in todo.items():
            results[name].append(once(command, memory))
    print("kernel %s, %.1f MiB" % (os.path.basename(kernel), os.path.getsize(kernel) / 2**20))
    print("%-14s %22s %22s %14s" % ("", "exec to KVM_RUN, ms", "resident but RAM, MiB", "private, MiB"))
    best = {}
    for name, rows in results.items():
        took = min(row[0] for row in rows)
        resident, private = (min(row[1][i] for row in rows) for i in (0, 1))
        best[name] = took, resident
        print("%-14s %22.1f %22.1f %14.1f" % (name, took * 1e3, resident / 2**20, private / 2**20))
    return best


def compare(vmm, kernel, rounds):
    """Prints the two beside each other."""
    best = measure(commands(vmm, kernel), kernel, MEMORY, rounds)
    ours, theirs = best["memback-vmm"], best["qemu microvm"]
    print("memback-vmm takes %.2f of QEMU's time (to reach: 0.5) and %.1f MiB (to reach: 5)\n"
          % (ours[0] / theirs[0], ours[1] / 2**20))


def compare_growing(vmm, kernel, rounds):
    """What it costs that a guest can grow."""
    best = measure(growing_commands(vmm, kernel), kernel, GROWING, rounds)
    small, large = best["4G"], best["4G of 1T"]
    print("with --max-memory 1T it takes %.2f of the time, and %.1f MiB more\n"
          % (large[0] / small[0], (large[1] - small[1]) / 2**20))


def main():
    if sys.argv[1:] == ["--help"]:
        print(__doc__.strip())
        return
    if len(sys.argv) not in (3, 4) or sys.argv[1].startswith("-"):
        print(__doc__.strip(), file=sys.stderr)
        sys.exit(2)
    for program in ("strace", "qemu-system-x86_64"):
        if not shutil.which(program):
            print("no %s here" % program)
            sys.exit(77)
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    for kernel in [sys.argv[2]] + stock_kernel():
        compare(sys.argv[1], kernel, rounds)
    compare_growing(sys.argv[1], sys.argv[2], rounds)


main()
