#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
Clients of QMP that others wrote drive a VM: each negotiates, inflates to a target, sees BALLOON_CHANGE, quits.

They are qemu-qmp from npm, fetched once into the cache, and the QMP module of Debian's python3-labgrid.
"""
import json
import os
import shutil
import socket
import subprocess

import vmtest
from debian import cache_directory
from vmtest import MIB, Skip, Vmm, case, equal, matches, run

NPM_PACKAGE = "qemu-qmp@0.5.0"
TARGET = 40 * MIB

NODE_SCRIPT = """
const QMP = require('qemu-qmp');
const qmp = new QMP();
const [path, target] = [process.argv[1], Number(process.argv[2])];
qmp.connect(path, function(err) {
  if (err) throw err;
  console.log('greeting', JSON.stringify(Object.keys(qmp.version).sort()));
  const look = () => qmp.execute('query-balloon', function(err, answer) {
    if (err) throw err;
    console.log('actual', answer.actual);
    if (answer.actual == target)
      qmp.execute('quit', () => console.log('quits'));
  });
  qmp.on('balloon_change', function() { console.log('event'); look(); });
  qmp.on('shutdown', () => console.log('shutdown'));
  qmp.execute('nonsense', function(err) {
    console.log('error', err.message);
    qmp.execute('balloon', {value: target}, function(err) { if (err) throw err; });
  });
});
"""


def node_modules():
    """Where qemu-qmp lies; fetched if it has to be and can be."""
    if not shutil.which("node"):
        raise Skip("no node here: install the Debian package nodejs")
    place = cache_directory("npm")
    modules = os.path.join(place, "node_modules")
    if not os.path.exists(os.path.join(modules, "qemu-qmp")):
        if vmtest.EMULATED or not shutil.which("npm"):
            raise Skip("%s has no qemu-qmp, and there is no network or npm here" % modules)
        try:
            done = subprocess.run(["npm", "install", "--ignore-scripts", "--prefix", place, NPM_PACKAGE],
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90)
        except subprocess.TimeoutExpired:
            raise Skip("npm install %s: no answer from the registry" % NPM_PACKAGE) from None
        if done.returncode:
            raise Skip("npm install %s: %s" % (NPM_PACKAGE, done.stderr.strip()[-200:]))
    return modules


@case
def qemu_qmp_of_npm():
    modules = node_modules()
    vm = Vmm("balloon")
    vm.line(r"balloon: ready")
    done = run(["node", "-e", NODE_SCRIPT, vm.socket, str(TARGET)], 60,
               env=dict(os.environ, NODE_PATH=modules))
    equal((done.returncode, done.stderr), (0, ""), "the client's end")
    matches(r'greeting \["package","qemu"\]', done.stdout, "what the client saw")
    matches(r"error .*nonsense", done.stdout, "what the client saw")
    matches(r"event\n(.*\n)*actual %d\n" % TARGET, done.stdout, "what the client saw")
    matches(r"quits", done.stdout, "what the client saw")
    equal(vm.wait(), 0, "exit status")


@case
def qmp_of_labgrid():
    try:
        from labgrid.util.qmp import QMPError, QMPMonitor
    except ImportError:
        raise Skip("no labgrid here: install the Debian package python3-labgrid") from None
    vm = Vmm("balloon")
    vm.line(r"balloon: ready")
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(60 * vmtest.SLOWNESS)
        s.connect(vm.socket)
        with s.makefile("rb") as out, s.makefile("wb") as into:
            monitor = QMPMonitor(out, into)
            equal(monitor.execute("query-status")["status"], "running", "the status")
            equal(monitor.execute("query-balloon"), {"actual": 64 * MIB}, "the balloon")
            try:
                monitor.execute("nonsense")
                raise vmtest.Failure("nonsense is no error")
            except (QMPError, TypeError):
                pass  # its error type takes text only, and gets an object, from QEMU too
            # its execute() takes no arguments
            into.write(json.dumps({"execute": "balloon", "arguments": {"value": TARGET}}).encode())
            into.flush()
            actual = None
            while actual != TARGET:
                message = monitor._read_parse_json()
                if message.get("event") == "BALLOON_CHANGE":
                    actual = message["data"]["actual"]
            equal(monitor.execute("query-balloon"), {"actual": TARGET}, "the balloon")
            equal(monitor.execute("quit"), {}, "quit")
    equal(vm.wait(), 0, "exit status")


vmtest.main()
