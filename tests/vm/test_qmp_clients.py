#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
Clients of QMP that others wrote drive a VM: each negotiates, inflates to a target, sees BALLOON_CHANGE, quits.

They are qemu-qmp from npm, and the QMP module of Debian's python3-labgrid; qmpclients.py fetches them.
"""
import json
import os
import socket

import qmpclients
import vmtest
from debian import Unavailable
from vmtest import MIB, Skip, Vmm, case, equal, matches, run

TARGET = 40 * MIB

NODE_SCRIPT = """
const QMP = require('qemu-qmp');
const qmp = new QMP();
const [path, target] = [process.argv[1], Number(process.argv[2])];
qmp.connect(path, function(err) {
  if (err) throw err;
  console.log('greeting', JSON.stringify(Object.keys(qmp.version).sort()));
  let quitting = false;
  const look = () => quitting || qmp.execute('query-balloon', function(err, answer) {
    if (err) throw err;
    console.log('actual', answer.actual);
    if (answer.actual == target && !quitting)
      quitting = true, qmp.execute('quit', () => console.log('quits'));
  });
  qmp.on('balloon_change', function() { console.log('event'); look(); });
  qmp.on('shutdown', () => console.log('shutdown'));
  qmp.execute('nonsense', function(err) {
    console.log('error', err.message);
    qmp.execute('balloon', {value: target}, function(err) { if (err) throw err; });
  });
});
"""


def available(get):
    try:
        return get()
    except Unavailable as e:
        raise Skip(str(e)) from None


@case
def qemu_qmp_of_npm():
    modules = available(qmpclients.node_modules)
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
    labgrid = available(qmpclients.labgrid_qmp)
    vm = Vmm("balloon")
    vm.line(r"balloon: ready")
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(60 * vmtest.SLOWNESS)
        s.connect(vm.socket)
        with s.makefile("rb") as out, s.makefile("wb") as into:
            monitor = labgrid.QMPMonitor(out, into)
            equal(monitor.execute("query-status")["status"], "running", "the status")
            equal(monitor.execute("query-balloon"), {"actual": 64 * MIB}, "the balloon")
            try:
                monitor.execute("nonsense")
                raise vmtest.Failure("nonsense is no error")
            except (labgrid.QMPError, TypeError):
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
