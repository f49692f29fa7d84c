# SPDX-License-Identifier: MIT
"""
linuxguest - stock Linux kernels as guests: Debian's packages, unmodified, with their own virtio modules, and
an initramfs of busybox and a test program of ours (guest/linux/init.c), which does as it is told over the
serial line.

Kernels are fetched once and kept in ${XDG_CACHE_HOME:-$HOME/.cache}/memback/linux. `linuxguest.py` fetches
all of them. In the test host, which has no network, only what is there can be had.
"""
import fcntl
import os
import re
import shutil
import sys
import tempfile

import debian
from debian import Apt, Cpio, Unavailable, cache_directory, fetch, load_order, module_files, read_package
from debian import unpacked_kernel, write_file

# What the tests call a kernel, and the package that stands for its newest version.
PACKAGES = {
    "cloud": "linux-image-cloud-amd64",
    "amd64": "linux-image-amd64",
    "6.12": "linux-image-6.12-cloud-amd64",
}
UNPACKED = ("cloud", "amd64")  # of these an ELF image is kept, too
MODULES = ["virtio_mmio", "virtio_balloon", "virtio_mem", "virtio_blk", "virtio_rng", "virtio_console",
           "button", "evdev", "pvpanic-mmio"]
MEMTEST = "memtest86+"
RECIPE = "1"  # to be counted up whenever what is kept in the cache changes


class Kernel:
    """Files of a kernel in the cache."""

    def __init__(self, place):
        self.vmlinuz = os.path.join(place, "vmlinuz")
        self.vmlinux = os.path.join(place, "vmlinux")  # where it can be unpacked
        self.initrd = os.path.join(place, "initrd")    # modules and busybox; see make_initrd()
        with open(os.path.join(place, "release")) as f:
            self.release = f.read()


def present(cache, name):
    """The newest directory of this name in the cache, or None."""
    found = [e.path for e in os.scandir(cache) if e.name.startswith(name + "=")]
    return max(found, key=os.path.getmtime, default=None)


def busybox():
    path = shutil.which("busybox")
    if not path:
        raise Unavailable("no busybox here: install the Debian package busybox-static")
    with open(path, "rb") as f:
        return f.read()


def build_kernel(work, apt, package, version, unpack):
    files = read_package(fetch(apt, package + "=" + version, work),
                         lambda name: name.startswith("boot/vmlinuz") or ".ko" in name)
    image = [(name, data) for name, data in files.items() if name.startswith("boot/vmlinuz")]
    if not image:
        raise Unavailable("no vmlinuz in " + package)
    name, data = image[0]
    write_file(os.path.join(work, "vmlinuz"), data)
    if unpack:
        write_file(os.path.join(work, "vmlinux"), unpacked_kernel(data))
    write_file(os.path.join(work, "release"), name.split("vmlinuz-")[1].encode())
    modules = module_files(files)
    order = load_order(modules, MODULES)
    cpio = Cpio()
    for directory in ("bin", "proc", "sys", "dev", "modules", "tmp"):
        cpio.add(directory, mode=0o040755)
    cpio.add("bin/busybox", busybox(), 0o100755)
    for module in order:
        cpio.add("modules/" + module, modules[module])
    cpio.add("modules/order", "".join(module + "\n" for module in order).encode())
    write_file(os.path.join(work, "initrd"), cpio.finish())


def build_memtest(work, apt, package, version, _):
    files = read_package(fetch(apt, package + "=" + version, work), lambda name: name.endswith("x64.bin"))
    if not files:
        raise Unavailable("no x64.bin in " + package)
    write_file(os.path.join(work, "memtest.bin"), list(files.values())[0])


def version_of(apt, name):
    """Package and version, or None."""
    if name in PACKAGES:
        return apt.kernel(PACKAGES[name])
    found = re.search(r"^Version: (\S+)", apt.query("show", "--no-all-versions", name), re.M)
    return (name, found.group(1)) if found else None


def obtain(name, build):
    """The directory of this name in the cache, which is filled if it has to be and can be."""
    cache = cache_directory("linux")
    if os.environ.get("MEMBACK_TESTHOST") or not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        place = present(cache, name)
        if not place:
            raise Unavailable("%s is not in %s: fetch it with tests/vm/linuxguest.py" % (name, cache))
        return place
    with open(os.path.join(cache, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        apt = Apt(cache)
        found = version_of(apt, name)
        if not found:
            place = present(cache, name)
            if place:
                return place
            apt.use_private_lists()
            found = version_of(apt, name)
        if not found:
            raise Unavailable("Debian's package lists do not know " + PACKAGES.get(name, name))
        place = os.path.join(cache, "=".join((name,) + found + (RECIPE,)))
        if not os.path.exists(place):
            debian.note("fetching %s %s into %s" % (found + (place,)))
            with tempfile.TemporaryDirectory(dir=cache) as work:
                build(work, apt, found[0], found[1], name in UNPACKED)
                for entry in os.scandir(work):
                    if entry.name.endswith(".deb"):
                        os.unlink(entry.path)
                os.chmod(work, 0o755)
                os.rename(work, place)
                os.mkdir(work)  # for its own end
            for entry in os.scandir(cache):
                if entry.name.startswith(name + "=") and entry.path != place:
                    shutil.rmtree(entry.path, ignore_errors=True)
        return place


def kernel(name):
    """The Kernel of this name in PACKAGES."""
    return Kernel(obtain(name, build_kernel))


def memtest():
    """The path of memtest86+'s image."""
    return os.path.join(obtain(MEMTEST, build_memtest), "memtest.bin")


def make_initrd(kern, init, path):
    """Writes an initramfs at path: the kernel's modules, and the program init as its first process."""
    cpio = Cpio()
    with open(init, "rb") as f:
        cpio.add("init", f.read(), 0o100755)
    with open(kern.initrd, "rb") as f:
        write_file(path, f.read() + cpio.finish())


def fetch_all():
    """Fetches whatever is missing. What cannot be had is told, and is no error: its tests skip."""
    for name, fn in [(name, kernel) for name in PACKAGES] + [(MEMTEST, lambda name: memtest())]:
        try:
            fn(name)
        except Unavailable as e:
            debian.note("%s: %s" % (name, e))


if __name__ == "__main__":
    fetch_all()
    sys.exit(0)
