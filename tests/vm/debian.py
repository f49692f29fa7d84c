# SPDX-License-Identifier: MIT
"""
debian - Debian's packages as a source of kernels for tests: fetched without installing anything, taken apart,
and put together as an initramfs. Needs no privileges.
"""
import io
import lzma
import os
import re
import struct
import subprocess
import sys
import tarfile


class Unavailable(Exception):
    """What a test needs cannot be had here, for a reason that is no fault of the project's."""


def note(text):
    print(os.path.basename(sys.argv[0]) + ": " + text, file=sys.stderr, flush=True)


def cache_directory(name):
    """A directory of this name in the user's cache; in the test host, in that of who started it."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = os.path.join(os.environ.get("MEMBACK_CACHE") or os.path.join(base, "memback"), name)
    os.makedirs(path, exist_ok=True)
    return path


class Apt:
    """
    Debian's package lists: this machine's, or, where those are missing or stale, our own in the cache, which
    an unprivileged user can have as well.
    """

    def __init__(self, cache):
        self.private = os.path.join(cache, "apt")
        self.options = ["-o", "APT::Sandbox::User=root"]  # as it is: our directory is not for another user

    def use_private_lists(self):
        if "Dir::State=" + self.private in self.options:
            raise Unavailable("Debian's package lists lack what is needed")
        note("this machine's package lists are missing or stale, fetching some of our own")
        for name in ("lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(self.private, name), exist_ok=True)
        self.options += ["-o", "Dir::State=" + self.private, "-o",
                         "Dir::Cache=" + os.path.join(self.private, "cache"),
                         "-o", "Dir::State::status=/var/lib/dpkg/status"]
        done = subprocess.run(["apt-get", "-q", "-q"] + self.options + ["update"], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True)
        if done.returncode:
            raise Unavailable("apt-get update: " + last_line(done.stderr))

    def kernel(self, package):
        """Name and version of the package with the kernel that this one stands for, or None."""
        depends = self.query("depends", package)
        names = re.findall(r"Depends: (linux-image-\d\S*)", depends)
        if not names:
            return None
        version = re.search(r"^Version: (\S+)", self.query("show", "--no-all-versions", names[0]), re.M)
        return (names[0], version.group(1)) if version else None

    def query(self, *arguments):
        done = subprocess.run(["apt-cache"] + self.options + list(arguments), capture_output=True, text=True)
        return done.stdout

    def download(self, package, directory):
        """The path of the downloaded package, or None."""
        done = subprocess.run(["apt-get", "-q", "-q"] + self.options + ["download", package], cwd=directory,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        found = [name for name in os.listdir(directory) if name.startswith(package.split("=")[0] + "_")]
        if done.returncode or not found:
            note("apt-get download " + package + ": " + last_line(done.stderr))
            return None
        return os.path.join(directory, found[0])


def last_line(text):
    lines = [line for line in text.strip().splitlines() if line]
    return lines[-1] if lines else "failed without a word"


def fetch(apt, package, directory):
    path = apt.download(package, directory)
    if not path:
        apt.use_private_lists()
        path = apt.download(package, directory)
    if not path:
        raise Unavailable("the Debian package " + package + " cannot be fetched")
    return path


def read_package(path, wanted):
    """Those files of a Debian package whose name matches: {name: bytes}."""
    files = {}
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", path], stdout=subprocess.PIPE) as process:
        with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            for member in archive:
                name = member.name[2:] if member.name.startswith("./") else member.name
                if member.isfile() and wanted(name):
                    files[name] = archive.extractfile(member).read()
    if process.returncode:
        raise Unavailable(path + " is no proper Debian package")
    return files


def module_files(files):
    """{module name: bytes}, decompressed."""
    modules = {}
    for name, data in files.items():
        match = re.search(r"/([^/]+)\.ko(\.xz)?$", name)
        if match:
            modules[match.group(1).replace("_", "-")] = lzma.decompress(data) if match.group(2) else data
    return modules


def load_order(modules, wanted):
    """The wanted modules and those they need, each after what it needs; a name not in the list is built in."""
    order = []

    def add(name):
        name = name.replace("_", "-")
        if name in order or name not in modules:
            return
        depends = re.search(rb"\0depends=([^\0]*)\0", modules[name])
        for other in (depends.group(1).decode().split(",") if depends else []):
            add(other)
        order.append(name)

    for name in wanted:
        add(name)
    return order


class Cpio:
    """A cpio archive (newc), as the kernel takes it for its initramfs."""

    def __init__(self):
        self.out = io.BytesIO()
        self.inode = 0

    def add(self, name, data=b"", mode=0o100644):
        self.inode += 1
        raw = name.encode() + b"\0"
        fields = [self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0]
        self.out.write(b"070701" + b"".join(b"%08X" % field for field in fields) + raw)
        self.pad()
        self.out.write(data)
        self.pad()

    def pad(self):
        self.out.write(b"\0" * (-self.out.tell() % 4))

    def finish(self):
        self.add("TRAILER!!!")
        self.out.write(b"\0" * (-self.out.tell() % 512))
        return self.out.getvalue()


LZ4_MAGIC = b"\x02\x21\x4c\x18"  # its legacy frame, which Linux has: blocks, each with its size in front


def unpack_lz4(data):
    at, out = 4, bytearray()
    while at + 4 <= len(data):
        size, = struct.unpack_from("<I", data, at)
        if size > len(data) - at - 4:
            break  # the size of the whole, behind the last block
        unpack_lz4_block(data[at + 4:at + 4 + size], out)
        at += 4 + size
    return bytes(out)


def unpack_lz4_block(block, out):
    """Sequences of literals and a match, as in LZ4's block format."""
    at, start = 0, len(out)

    def length(value):
        nonlocal at
        while value >= 15:
            more = block[at]
            at += 1
            value += more
            if more != 255:
                break
        return value

    while at < len(block):
        token = block[at]
        at += 1
        literals = length(token >> 4)
        out += block[at:at + literals]
        at += literals
        if at >= len(block):
            return
        distance = block[at] | block[at + 1] << 8
        at += 2
        match = length(token & 15) + 4
        begin = len(out) - distance
        if distance == 0 or begin < start:
            raise Unavailable("the kernel's LZ4 payload is damaged")
        while match > 0:  # a match may reach into what it makes
            piece = out[begin:begin + match]
            out += piece
            begin += len(piece)
            match -= len(piece)


def unpacked_kernel(image):
    """
    The ELF kernel in a bzImage (Documentation/arch/x86/boot.rst: setup_sects, payload_offset and _length):
    an emulator that starts it through its PVH entry is saved seconds of unpacking. Or, where it is packed in
    another way, the image itself.
    """
    start, length = struct.unpack_from("<II", image, 0x248)
    start += (image[0x1f1] + 1) * 512
    payload = image[start:start + length]
    try:
        kernel = unpack_lz4(payload) if payload.startswith(LZ4_MAGIC) else \
            lzma.LZMADecompressor().decompress(payload)
    except lzma.LZMAError:
        return image
    return kernel if kernel.startswith(b"\x7fELF") else image


def write_file(path, data):
    with open(path + ".new", "wb") as f:
        f.write(data)
    os.rename(path + ".new", path)
