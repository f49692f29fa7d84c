#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What goes wrong at start is told in one line that names cause and remedy, with exit status 1."""
import os
import re
import socket
import struct
import subprocess

import vmtest
from vmtest import VMM, Vmm, case, check, ctl, equal, matches, path, run


def refused(pattern, *arguments, prefix=(), kernel=None):
    """Starts a VMM that must not come up. Returns its one line."""
    words = list(prefix) + [VMM, "--name", "refused", "--serial", "none"]
    if "--kernel" not in arguments:
        words += ["--kernel", kernel or vmtest.guest("hello")]
    if "--memory" not in arguments:
        words += ["--memory", "32M"]
    done = run(words + list(arguments), 10)
    lines = [line for line in done.stderr.splitlines() if "warning" not in line]
    equal(done.returncode, 1, "exit status of %s (%s)" % (" ".join(arguments), done.stderr))
    equal(len(lines), 1, "number of lines in %r" % done.stderr)
    return matches(pattern, lines[0], "the error").string


def write(name, data):
    with open(path(name), "wb") as f:
        f.write(data)
    return path(name)


def hello():
    with open(vmtest.guest("hello"), "rb") as f:
        return f.read()


def segments(image):
    """Where in an ELF file the headers of its loaded segments are, and their contents: (at, offset, size)."""
    table, size, count = struct.unpack_from("<Q", image, 32) + struct.unpack_from("<HH", image, 54)
    for at in range(table, table + size * count, size):
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", image, at)
        if kind == 1:  # PT_LOAD
            yield at, offset, length


@case
def memory_that_is_no_size():
    for size in ("0", "999E", "-1", "abc", "", "1", "64Q", "18446744073709551616", "0x40000000G", "64M64"):
        refused("memory", "--memory", size)


@case
def cpus_that_are_no_number():
    for count in ("0", "-1", "x", "100000", ""):
        refused("cpus", "--cpus", count)


@case
def options_that_are_wrong():
    refused("frobnicate", "--frobnicate")
    refused("backing", "--backing", "gold")
    refused("serial", "--serial", "telepathy")
    refused("balloon", "--balloon", "64M")
    refused("budget", "--budget", "x")
    done = run([VMM, "--memory", "32M"])
    equal(done.returncode, 1, "exit status without a kernel")
    matches("kernel", done.stderr, "the error")


@case
def kernels_that_are_none():
    image = hello()
    refused("absent", kernel=path("absent"))
    refused("empty", kernel=write("empty", b""))
    refused("text", kernel=write("text", b"hello, world\n" * 1000))
    refused("directory|" + path(""), kernel=path(""))
    loaded = max(offset + size for _, offset, size in segments(image))
    for length in (3, 16, 63, 64, 65, 100, 500, 4096, loaded // 2, loaded - 1):
        refused("short", kernel=write("short", image[:length]))


@case
def kernels_that_lie():
    """
    Each header field at its extremes: refused, or (where the field means nothing) it runs. A guest that is
    sent astray may do so for ever, but can be ended.
    """
    image = hello()
    for at in range(0, 64 + 56 * 2, 4):
        for value in (b"\xff\xff\xff\xff", b"\0\0\0\x80"):
            vm = Vmm(write("liar", image[:at] + value + image[at + 4:]), name="liar", memory="32M", qmp=None)
            try:
                vm.process.wait(1)
            except subprocess.TimeoutExpired:
                vm.process.terminate()
            status = vm.wait()
            check(status in (0, 1, 2, 3), "offset %d: exit status %d (%s)" % (at, status, vm.stderr))


@case
def kernel_larger_than_memory():
    image = bytearray(hello())
    for header, _, _ in segments(image):
        struct.pack_into("<Q", image, header + 40, vmtest.GIB)  # p_memsz
    refused("large", kernel=write("large", bytes(image)))


@case
def files_that_cannot_be_opened():
    refused("nowhere.*; check the path", "--serial", "file:/nowhere/at/all")
    refused("absent.*; check the path", "--initrd", path("absent"))
    refused("absent.*; check the path", kernel=path("absent"))
    refused("name a file", "--serial", "file:" + path(""))


@case
def sockets_that_cannot_be():
    refused("nowhere", "--qmp", "/nowhere/at/all.sock")
    refused("(?i)long|large", "--qmp", path("x" * 200))
    refused("proc", "--qmp", "/proc/memback.sock")
    refused("plain", "--qmp", write("plain", b"a file, not a socket"))
    check(os.path.exists(path("plain")), "a file that was no socket was removed")


@case
def stale_socket_is_replaced():
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(path("s"))
    stale.close()
    vm = Vmm("hello", append="echo", qmp=path("s"))
    vm.qmp().close()
    equal(os.stat(path("s")).st_mode & 0o777, 0o600, "mode of the socket")
    vm.type("quit\n")
    equal(vm.wait(), 0, "exit status")


@case
def live_socket_is_refused():
    vm = Vmm("hello", append="echo")
    vm.qmp().close()
    refused(vm.socket, "--qmp", vm.socket)
    vm.qmp().close()  # it still answers
    vm.type("quit\n")
    equal(vm.wait(), 0, "exit status")


@case
def budget_that_does_not_suffice():
    refused(r"(?i)budget.*32 ?M|32 ?M.*budget", "--memory", "64M", "--budget", "32M")


@case
def prealloc_beyond_the_host():
    """Refused, with what would do; it was the OOM killer's choice."""
    kib = dict(re.findall(r"^(\w+): +(\d+) kB", vmtest.contents("/proc/meminfo"), re.M))
    gib = (int(kib["MemTotal"]) + int(kib["SwapTotal"])) // (1 << 20) + 2
    for backing in "anon", "memfd":
        refused(r"OOM killer.*at most \d+[GM] would work now", "--memory", "%dG" % gib, "--prealloc", "--backing", backing)


@case
def huge_pages_that_are_not_there():
    base = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
    vmtest.write_setting(base, 0)
    refused(r"(?i)huge.*\b32\b|\b32\b.*huge", "--memory", "64M", "--backing", "hugetlb=2M")


@case
def no_kvm():
    if os.geteuid() != 0:
        prefix = ["unshare", "-r", "-m"]
    else:
        prefix = ["unshare", "-m"]
    trial = run(prefix + ["sh", "-c", "mount --bind /dev/null /dev/kvm"])
    if trial.returncode:
        raise vmtest.Skip("no mount namespace to hide /dev/kvm in: " + trial.stderr.strip())
    refused("/dev/kvm", prefix=prefix + ["sh", "-c", 'mount --bind /dev/null /dev/kvm && exec "$@"', "sh"])


@case
def pools_that_are_none():
    refused("absent", "--pool", path("absent"))
    refused("text", "--pool", write("text", b"not a pool\n" * 1000))
    refused("empty", "--pool", write("empty", b""))
    ctl("pool", "create", path("pool"), "--size", "64M")
    with open(path("pool"), "rb") as f:
        head = f.read(5000)
    refused("short", "--pool", write("short", head))
    refused("short", "--pool", write("short", head[:100]))
    ctl("pool", "destroy", path("pool"))


@case
def client_without_a_server():
    done = ctl("-s", path("absent"), "status", good=False)
    equal(done.returncode, 1, "exit status")
    equal(len(done.stderr.splitlines()), 1, "number of lines in %r" % done.stderr)
    matches("absent", done.stderr, "the error")
    for words in (["frobnicate"], ["inflate"], ["inflate", "x"], ["set-size", "-1"], ["qmp", "{"]):
        done = ctl("-s", path("absent"), *words, good=False)
        equal(done.returncode, 1, "exit status of membackctl " + " ".join(words))


@case
def file_system_of_the_pool_that_is_full():
    """Memory was charged, but another file has taken the room: an error, where a signal would end us."""
    prefix = ["unshare", "--mount", "--propagation", "private", "--"]
    place = path("full")
    os.makedirs(place)
    trial = run(prefix + ["mount", "-t", "tmpfs", "memback-test", place])
    if trial.returncode != 0:
        raise vmtest.Skip("no mount namespace to mount a tmpfs in: " + trial.stderr.strip())
    script = ('place=$1 ctl=$2 && shift 2 && mount -t tmpfs -o size=96M memback-test "$place" && '
              '"$ctl" pool create "$place/pool" --size 32M >/dev/null 2>&1 && '
              '{ dd if=/dev/zero of="$place/other" bs=1M 2>/dev/null || true; } && exec "$@"')
    refused("the host has no memory to load the kernel into.*enlarge", "--pool", place + "/pool",
            prefix=prefix + ["sh", "-c", script, "sh", place, vmtest.CTL])


vmtest.main()
