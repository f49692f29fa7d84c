#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
The same exchange with QEMU, the reference server, and with our VMM gives answers of the same shape: the same
keys, with values of the same type, and errors of the same class.
"""
import os
import shutil

import vmtest
from vmtest import MIB, Process, Qmp, Vmm, case, check, equal, path

# What is not compared, with the reason.
LEFT_OUT = {
    # Deprecated in QEMU, and gone in later versions of it.
    ("query-status", "singlestep"),
}


def shape(value):
    """The shape of an answer: types in place of values; a list has the shapes of its elements, once each."""
    if isinstance(value, dict):
        return {key: shape(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        shapes = []
        for element in value:
            if shape(element) not in shapes:
                shapes.append(shape(element))
        return shapes
    return type(value).__name__


def without_left_out(name, answer):
    content = answer.get("return")
    if isinstance(content, dict):
        for command, key in LEFT_OUT:
            if command == name:
                content.pop(key, None)
    return answer


def digest(name, answer):
    """What of an answer must be the same."""
    if "error" in answer:
        return {"error": answer["error"]["class"], "keys": sorted(answer["error"]), "id": answer.get("id")}
    answer = without_left_out(name, answer)
    if name in ("query-commands", "query-events"):  # entries may carry more, but each has a name
        equal([e for e in answer["return"] if not isinstance(e.get("name"), str)], [], name)
        return "a list of objects with a name"
    return {"answer": shape(answer), "id": answer.get("id")}


VMEM = "/machine/peripheral/vmem0"
STEPS = [
    ("query-status", {"execute": "query-status", "id": "early"}),
    ("nonsense", {"execute": "nonsense"}),
    ("qmp_capabilities", {"execute": "qmp_capabilities", "arguments": {"enable": ["nonsense"]}}),
    ("qmp_capabilities", {"execute": "qmp_capabilities", "id": 1}),
    ("qmp_capabilities", {"execute": "qmp_capabilities"}),
    ("query-version", {"execute": "query-version", "id": [1, {"a": None}]}),
    ("query-status", {"execute": "query-status", "id": None}),
    ("query-commands", {"execute": "query-commands"}),
    ("query-balloon", {"execute": "query-balloon", "id": 2.5}),
    ("query-memory-size-summary", {"execute": "query-memory-size-summary"}),
    ("balloon", {"execute": "balloon"}),
    ("balloon", {"execute": "balloon", "arguments": {"value": "64M"}}),
    ("balloon", {"execute": "balloon", "arguments": {"value": -1}}),
    ("balloon", {"execute": "balloon", "arguments": {"value": 0}}),
    ("balloon", {"execute": "balloon", "arguments": {"value": 64 * MIB, "more": 1}}),
    ("balloon", {"execute": "balloon", "arguments": {"value": 96 * MIB}, "id": "b"}),
    ("nonsense", {"execute": "nonsense", "id": "n"}),
    ("nothing", {}),
    ("nothing", {"id": 3}),
    ("nothing", []),
    ("query-status", {"execute": "query-status", "extra": 1}),
    ("query-status", {"execute": "query-status", "arguments": {"extra": 1}}),
    ("query-status", {"execute": "query-status", "arguments": 5}),
    ("stop", {"execute": "stop"}),
    ("query-status", {"execute": "query-status"}),
    ("stop", {"execute": "stop"}),
    ("cont", {"execute": "cont"}),
    ("query-status", {"execute": "query-status"}),
    ("qom-get", {"execute": "qom-get", "arguments": {"path": "/nowhere", "property": "x"}}),
    ("query-memory-devices", {"execute": "query-memory-devices"}),
    ("qom-get", {"execute": "qom-get", "arguments": {"path": VMEM, "property": "requested-size"}}),
    ("qom-get", {"execute": "qom-get", "arguments": {"path": VMEM, "property": "size"}}),
    ("qom-get", {"execute": "qom-get", "arguments": {"path": VMEM, "property": "block-size"}}),
    ("qom-get", {"execute": "qom-get", "arguments": {"path": VMEM, "property": "nonsense"}}),
    ("qom-get", {"execute": "qom-get", "arguments": {"path": VMEM}}),
    ("qom-set", {"execute": "qom-set", "arguments": {"path": VMEM, "property": "requested-size", "value": 4 * MIB}}),
    ("qom-set", {"execute": "qom-set", "arguments": {"path": VMEM, "property": "requested-size", "value": "4M"}}),
    ("qom-set", {"execute": "qom-set", "arguments": {"path": VMEM, "property": "requested-size", "value": 1}}),
    ("qom-set", {"execute": "qom-set", "arguments": {"path": VMEM, "property": "requested-size", "value": -1}}),
    ("qom-set", {"execute": "qom-set", "arguments": {"path": VMEM, "property": "requested-size",
                                                     "value": 1024 * MIB}}),
    ("qom-set", {"execute": "qom-set", "arguments": {"path": VMEM, "property": "size", "value": 0}}),
    ("qom-set", {"execute": "qom-set", "arguments": {"path": VMEM, "property": "nonsense", "value": 0}}),
    ("qom-set", {"execute": "qom-set", "arguments": {"path": VMEM, "property": "requested-size"}}),
    ("qom-set", {"execute": "qom-set", "arguments": {"path": "/nowhere", "property": "x", "value": 1}}),
    ("query-memory-devices", {"execute": "query-memory-devices", "arguments": {"extra": 1}}),
    ("query-memory-size-summary", {"execute": "query-memory-size-summary", "id": "grown"}),
    ("quit", {"execute": "quit"}),
]


def exchange(client):
    """Goes through the steps: the digest of each answer, and the shapes of the events by name."""
    check(isinstance(client.greeting["QMP"].pop("capabilities"), list), "capabilities are no list")
    record = [("greeting", shape(client.greeting))]
    for name, message in STEPS:
        client.send(message)
        record.append((str(message), digest(name, client.answer())))
    try:
        while True:
            client.events.append(client.receive())
    except (EOFError, ConnectionResetError):
        pass
    wanted = ("STOP", "RESUME", "SHUTDOWN")
    events = {event["event"]: shape(event) for event in client.events if event["event"] in wanted}
    order = [event["event"] for event in client.events if event["event"] in wanted]
    return record, events, order


def reference():
    program = shutil.which("qemu-system-x86_64")
    if not program:
        raise vmtest.Skip("no qemu-system-x86_64 here: install the Debian package qemu-system-x86")
    process = Process([program, "-accel", "tcg", "-M", "q35", "-m", "128M,maxmem=384M", "-nodefaults", "-display", "none",
                       "-device", "virtio-balloon-pci", "-object", "memory-backend-ram,id=backend,size=256M",
                       "-device", "virtio-mem-pci,id=vmem0,memdev=backend",
                       "-qmp", "unix:%s,server=on,wait=off" % path("reference")])
    with Qmp(path("reference")) as client:
        result = exchange(client)
    equal(process.wait(), 0, "exit status of the reference")
    return result


@case
def same_shapes_as_the_reference():
    theirs, their_events, their_order = reference()
    vm = Vmm("balloon", memory="128M", max_memory="384M")
    with Qmp(vm.socket) as client:
        ours, our_events, our_order = exchange(client)
    equal(vm.wait(), 0, "exit status")
    differences = "".join("\n  %s: reference %s, ours %s" % (a[0], a[1], b[1])
                          for a, b in zip(theirs, ours) if a[1] != b[1])
    check(not differences, "differences:" + differences)
    equal(our_events, their_events, "shapes of the events")
    equal(our_order, their_order, "order of the events")
    check(not os.path.exists(vm.socket), "the socket is left")


vmtest.main()
