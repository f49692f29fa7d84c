#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The control socket keeps the rules of QMP that existing clients depend on, and withstands garbage."""
import json
import os
import random
import socket
import time

import vmtest
from vmtest import MIB, Qmp, Vmm, case, check, equal, matches

COMMANDS = ["balloon", "cont", "memback-check", "memback-map", "memback-status", "qmp_capabilities", "qom-get",
            "query-balloon", "query-commands", "query-events", "query-memory-size-summary", "query-status",
            "query-version", "quit", "stop", "system_powerdown"]
EVENTS = ["BALLOON_CHANGE", "RESUME", "SHUTDOWN", "STOP"]


def idle():
    """A VM whose guest waits."""
    vm = Vmm("hello", append="echo")
    vm.line(r"cpu 0 is up")
    return vm


def end(vm):
    vm.type("quit\n")
    equal(vm.wait(), 0, "exit status")


def error_class(answer, expected):
    check("error" in answer, "no error: %r" % answer)
    equal(answer["error"]["class"], expected, "class of %r" % answer["error"])
    check(answer["error"]["desc"], "an error without a description")


@case
def greeting_is_one_line():
    vm = idle()
    s = socket.socket(socket.AF_UNIX)
    s.connect(vm.socket)
    s.settimeout(10 * vmtest.SLOWNESS)
    data = s.recv(65536)
    check(data.endswith(b"\r\n") and data.count(b"\n") == 1, "the greeting is %r" % data)
    greeting = json.loads(data)["QMP"]
    equal(sorted(greeting), ["capabilities", "version"], "keys of the greeting")
    equal(greeting["capabilities"], [], "capabilities")
    equal(sorted(greeting["version"]), ["package", "qemu"], "keys of the version")
    for key in ("major", "minor", "micro"):
        check(isinstance(greeting["version"]["qemu"][key], int), "version.qemu." + key)
    s.close()
    end(vm)


@case
def negotiation_comes_first_and_once():
    vm = idle()
    with Qmp(vm.socket) as client:
        for command in ("query-status", "balloon", "nonsense", "quit"):
            error_class(client.execute_raw(command), "CommandNotFound")
        client.negotiate()
        error_class(client.execute_raw("qmp_capabilities"), "CommandNotFound")
        equal(client.execute("query-status")["status"], "running", "status")
    end(vm)


@case
def stream_not_lines():
    vm = idle()
    with vm.qmp() as client:
        client.send_bytes(b'{"execute":"query-status","id":1}{"execute":"query-balloon","id":2}')
        equal([client.answer()["id"], client.answer()["id"]], [1, 2], "two objects in a packet")
        for byte in b'  {"execute"\n:\t"query-status", "id": "slow"\r\n} ':
            client.send_bytes(bytes([byte]))
        equal(client.answer()["id"], "slow", "an object in many packets")
        client.send_bytes(b'\n\n\r\n   {"execute":"query-status","id":3}')
        equal(client.answer()["id"], 3, "white space before an object")
    end(vm)


@case
def any_id_is_echoed():
    vm = idle()
    with vm.qmp() as client:
        for value in (0, -5, 1.5, "text", "\u00e4\u20ac\U0001f600", "", True, False, None, [], [1, [2]], {},
                      {"a": {"b": None}}, 2 ** 53):
            client.send({"execute": "query-status", "id": value})
            equal(client.answer().get("id", "none"), value, "id")
            client.send({"execute": "nonsense", "id": value})
            answer = client.answer()
            error_class(answer, "CommandNotFound")
            equal(answer.get("id", "none"), value, "id of an error")
        client.send({"execute": "query-status"})
        check("id" not in client.answer(), "an id that was not sent")
    end(vm)


@case
def bad_input_is_told_and_parsing_goes_on():
    vm = idle()
    with vm.qmp() as client:
        for bad in (b"{'execute': nonsense}\n", b"}\n", b"]\n", b'{"execute": }\n', b"\x01\x02\n",
                    b'{"execute":"query-status"\xff}\n', b"garbage\n", b'{"a":1,}\n'):
            client.send_bytes(bad)
            error_class(client.answer(), "GenericError")
            # A parser may tell one piece of garbage in several errors, as QEMU's does.
            client.send_bytes(b'{"execute":"query-status","id":"after"}\n')
            while True:
                answer = client.answer()
                if answer.get("id") == "after":
                    break
                error_class(answer, "GenericError")
            check("return" in answer, "after %r: %r" % (bad, answer))
        for wrong in ([], [1], {}, {"execute": 5}, {"execute": None}, {"execute": "query-status", "what": 1},
                      {"execute": "query-status", "arguments": []},
                      {"execute": "query-status", "arguments": {"x": 1}}, {"id": 7}):
            client.send(wrong)
            error_class(client.answer(), "GenericError")
    end(vm)


@case
def wrong_arguments():
    vm = idle()
    with vm.qmp() as client:
        for arguments in ({}, {"value": "1"}, {"value": None}, {"value": 1.5}, {"value": 0}, {"value": -1},
                          {"value": True}, {"value": [1]}, {"value": 32 * MIB, "other": 1}):
            error_class(client.execute_raw("balloon", **arguments), "GenericError")
        equal(client.execute("query-balloon"), {"actual": 64 * MIB}, "query-balloon")
    end(vm)


@case
def commands_and_events_are_listed():
    vm = idle()
    with vm.qmp() as client:
        names = [entry["name"] for entry in client.execute("query-commands")]
        equal([name for name in COMMANDS if name not in names], [], "missing commands")
        names = [entry["name"] for entry in client.execute("query-events")]
        equal([name for name in EVENTS if name not in names], [], "missing events")
    end(vm)


@case
def status_says_its_sizes_by_name():
    vm = idle()
    with vm.qmp() as client:
        status = client.execute("memback-status")
        for key in ("maximum", "target", "actual", "resident"):
            check(isinstance(status.get(key), int), "memback-status without %s: %r" % (key, status))
        equal((status["maximum"], status["target"], status["actual"]), (64 * MIB,) * 3, "sizes")
        check(2 ** 64 - 1 not in status.values(), "an unknown number that is sent")
        summary = client.execute("query-memory-size-summary")
        equal(summary["base-memory"], 64 * MIB, "base-memory")
    end(vm)


@case
def several_clients():
    vm = idle()
    clients = [vm.qmp() for _ in range(8)]
    for number, client in enumerate(clients):
        client.send({"execute": "query-status", "id": number})
    for number, client in reversed(list(enumerate(clients))):
        equal(client.answer()["id"], number, "id")
    clients[0].execute("stop")
    for client in clients[1:]:
        client.wait_event("STOP")
    clients[3].close()  # one goes without a word
    clients[1].execute("cont")
    clients[2].wait_event("RESUME")
    for client in clients:
        client.close()
    end(vm)


@case
def stop_and_cont():
    vm = idle()
    with vm.qmp() as client:
        for _ in range(3):
            client.execute("stop")
            client.wait_event("STOP")
            status = client.execute("query-status")
            equal((status["status"], status["running"]), ("paused", False), "query-status")
            client.execute("stop")  # again: nothing happens
            client.execute("cont")
            client.wait_event("RESUME")
            equal(client.execute("query-status")["running"], True, "running")
    end(vm)


@case
def stopped_guest_does_nothing():
    vm = idle()
    with vm.qmp() as client:
        client.execute("stop")
        vm.type("are you there\n")
        time.sleep(0.3 * vmtest.SLOWNESS)
        check("there" not in vm.stdout, "a stopped guest answered")
        client.execute("cont")
        vm.line("you said 'are you there'")
    end(vm)


@case
def quit_ends_the_vm():
    vm = idle()
    with vm.qmp() as client:
        client.execute("quit")
        client.wait_event("SHUTDOWN", lambda data: data == {"guest": False, "reason": "host-qmp-quit"})
    equal(vm.wait(), 0, "exit status")
    check(not os.path.exists(vm.socket), "the socket is left")


@case
def shutdown_of_the_guest_is_told():
    vm = idle()
    with vm.qmp() as client:
        vm.type("quit\n")
        client.wait_event("SHUTDOWN", lambda data: data["guest"] is True)
    equal(vm.wait(), 0, "exit status")


@case
def events_have_a_time():
    vm = idle()
    with vm.qmp() as client:
        client.execute("stop")
        while not client.events:
            client.events.append(client.receive())
        stamp = client.events[0]["timestamp"]
        check(abs(stamp["seconds"] - time.time()) < 60, "timestamp %r" % stamp)
        check(0 <= stamp["microseconds"] < 1000000, "timestamp %r" % stamp)
        client.execute("cont")
    end(vm)


@case
def garbage_on_the_socket():
    """Whatever comes, the VM stays, and serves the next client."""
    vm = idle()
    random.seed(1)
    pieces = [os.urandom(1), b"\0" * 100000, b"[" * 200000, b"{" * 200000, b'{"a":' * 50000,
              b'"' + b"x" * 5000000, b'{"execute":"' + b"q" * 3000000 + b'"}', b"1" * 1000000, b"\xff\xfe" * 1000,
              b'{"execute":"query-status","id":' + b"[" * 2000 + b"]" * 2000 + b"}"]
    pieces += [random.randbytes(random.randrange(1, 5000)) for _ in range(20)]
    for piece in pieces:
        s = socket.socket(socket.AF_UNIX)
        s.connect(vm.socket)
        s.settimeout(10 * vmtest.SLOWNESS)
        try:
            s.sendall(piece)
            s.shutdown(socket.SHUT_WR)
            while s.recv(65536):
                pass
        except (BrokenPipeError, ConnectionResetError):
            pass  # it hung up on us, as it may
        except socket.timeout:
            raise vmtest.Failure("no end after %d bytes of %r..." % (len(piece), piece[:20])) from None
        finally:
            s.close()
        check(vm.alive(), "the VMM died of %r..." % piece[:40])
    with vm.qmp() as client:
        equal(client.execute("query-status")["status"], "running", "status")
    end(vm)


@case
def client_that_does_not_read():
    """Answers that nobody takes do not pile up without bound, nor hold up others."""
    vm = idle()
    deaf = vm.qmp()
    deaf.socket.setblocking(False)
    try:
        for _ in range(200000):
            deaf.send_bytes(b'{"execute":"query-commands"}')
    except (BlockingIOError, BrokenPipeError, ConnectionResetError):
        pass
    with vm.qmp() as client:
        equal(client.execute("query-status")["status"], "running", "status")
    with open("/proc/%d/status" % vm.pid) as f:
        rss = int(matches(r"VmRSS:\s+(\d+)", f.read(), "status").group(1))
    check(rss < 200 * 1024, "the VMM has grown to %d KiB" % rss)
    deaf.close()
    end(vm)


@case
def powerdown_reaches_the_guest_or_ends_it():
    vm = idle()
    with vm.qmp() as client:
        answer = client.execute_raw("system_powerdown")
        check("return" in answer or "error" in answer, "no answer")
    if vm.alive():
        vm.type("quit\n")
    vm.wait()


vmtest.main()
