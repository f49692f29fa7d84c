# SPDX-License-Identifier: MIT
"""
qmpclients - QMP clients that others wrote, for the tests: qemu-qmp from npm, and the QMP module of Debian's
python3-labgrid. Fetched once, kept in ${XDG_CACHE_HOME:-$HOME/.cache}/memback/clients; nothing is installed.

In the test host, which has no network, only what is there can be had; `qmpclients.py` fetches all.
"""
import base64
import hashlib
import importlib.util
import io
import os
import shutil
import tarfile
import tempfile
import urllib.request

from debian import Apt, Unavailable, cache_directory, fetch, note, read_package, write_file

REGISTRY = "https://registry.npmjs.org"
# Name, version and SHA-512 of the client and of what it requires.
NPM_PACKAGES = [
    ("qemu-qmp", "0.5.0",
     "jazIasANJd89N3209HkpgUOet/+5mke0vv6Gauj4k8rSFOHpMuMi2F/n2nfUG6rAKYGf+vWWPx0vMrmTESyuZg=="),
    ("split", "1.0.1",
     "mTyOoPbrivtXnwnIxZRFYRrPNtEFKlpB2fvjSnCQUiAA6qAZzqwna5envK4uk6OIeP17CsdF3rSBGYVBsU0Tkg=="),
    ("through", "2.3.8",
     "w89qg7PI8wAdvX60bMDP+bFoD5Dvhm9oLheFp5O4a2QF0cSBGsBX4qZmadPMvVqlLJBBci+WqGGOAPvcDeNSVg=="),
]
LABGRID = "python3-labgrid"


def offline():
    return bool(os.environ.get("MEMBACK_TESTHOST"))


def npm_tarball(name, version, digest):
    url = "%s/%s/-/%s-%s.tgz" % (REGISTRY, name, name, version)
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            data = answer.read(1 << 20)
    except OSError as e:
        raise Unavailable("%s: %s" % (url, e)) from None
    if base64.b64encode(hashlib.sha512(data).digest()).decode() != digest:
        raise Unavailable("%s is not what it was when this test was written" % url)
    return data


def node_modules():
    """The directory for NODE_PATH in which qemu-qmp lies. Raises Unavailable."""
    if not shutil.which("node"):
        raise Unavailable("no node here: install the Debian package nodejs")
    cache = cache_directory("clients")
    place = os.path.join(cache, "node_modules")
    if os.path.isdir(place):
        return place
    if offline():
        raise Unavailable("%s is not there: fetch it with tests/vm/qmpclients.py" % place)
    with tempfile.TemporaryDirectory(dir=cache) as work:
        for package in NPM_PACKAGES:
            with tarfile.open(fileobj=io.BytesIO(npm_tarball(*package))) as archive:
                for member in archive:
                    inner = member.name.partition("/")[2]
                    if not member.isfile() or ".." in inner:
                        continue
                    path = os.path.join(work, "node_modules", package[0], inner)
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    write_file(path, archive.extractfile(member).read())
        try:
            os.rename(os.path.join(work, "node_modules"), place)
        except OSError:
            if not os.path.isdir(place):  # another test was faster
                raise
    return place


def labgrid_qmp():
    """labgrid's module of QMP, alone: the rest of labgrid needs much that has nothing to do with it."""
    path = os.path.join(cache_directory("clients"), "labgrid_qmp.py")
    if not os.path.exists(path):
        if offline():
            raise Unavailable("%s is not there: fetch it with tests/vm/qmpclients.py" % path)
        cache = cache_directory("clients")
        with tempfile.TemporaryDirectory(dir=cache) as work:
            files = read_package(fetch(Apt(cache), LABGRID, work),
                                 lambda name: name.endswith("labgrid/util/qmp.py"))
        if not files:
            raise Unavailable("%s has no labgrid/util/qmp.py" % LABGRID)
        write_file(path, list(files.values())[0])
    spec = importlib.util.spec_from_file_location("labgrid_qmp", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as e:
        raise Unavailable("%s: install the Debian package python3-attr" % e) from None
    return module


def fetch_all():
    """Fetches what is missing, and says what cannot be had, and why."""
    for get in (node_modules, labgrid_qmp):
        try:
            get()
        except Unavailable as e:
            note(str(e))


if __name__ == "__main__":
    fetch_all()
