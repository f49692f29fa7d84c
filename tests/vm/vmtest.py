# SPDX-License-Identifier: MIT
"""
vmtest - what the VM tests are written with: starting a VMM, its console, its control socket, its client, and
the kernel's own view of its memory.

A test file lists its cases with @case and ends with main(). Whatever a case starts is ended when it is over,
by its process id, and it must have left nothing behind. The exit status is 0, 1, or 77 if all was skipped.
"""
import ctypes
import glob
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import traceback

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SKIP = 77
EMULATED = bool(os.environ.get("MEMBACK_TESTHOST"))
SLOWNESS = 10 if EMULATED else 1  # by how much every waiting time grows
BUILD = os.environ.get("MEMBACK_BUILD") or os.path.join(os.getcwd(), "build")
VMM = os.path.join(BUILD, "vmm", "memback-vmm")
CTL = os.path.join(BUILD, "vmm", "membackctl")
DIAGNOSTIC_LINES = 40


class Skip(Exception):
    """The case cannot run here; the text says why."""


class Failure(AssertionError):
    pass


def check(condition, text):
    if not condition:
        raise Failure(text)


def equal(actual, expected, what):
    check(actual == expected, "%s is %r, not %r" % (what, actual, expected))


def matches(pattern, text, what):
    found = re.search(pattern, text)
    check(found, "%s does not match %r: %r" % (what, pattern, text))
    return found


def near(actual, expected, share, what):
    check(abs(actual - expected) <= share * abs(expected),
          "%s is %d, which is not within %g %% of %d" % (what, actual, share * 100, expected))


def wait_until(test, what, seconds=20):
    """What test() gives as soon as it is true; fails after so many seconds (more under emulation)."""
    deadline = time.monotonic() + seconds * SLOWNESS
    while True:
        result = test()
        if result:
            return result
        check(time.monotonic() < deadline, "in vain: waiting for " + what)
        time.sleep(0.02 * SLOWNESS)


def guest(name):
    for path in (os.path.join(BUILD, "guest", name), os.path.join(BUILD, "guest", name + ".elf")):
        if os.path.exists(path):
            return path
    raise Failure("no guest %s in %s" % (name, BUILD))


def write_setting(path, value):
    """Writes a kernel setting for the time of the case, or skips."""
    try:
        with open(path) as f:
            old = f.read().strip()
        with open(path, "w") as f:
            f.write(str(value))
    except OSError as e:
        raise Skip("cannot set %s: %s" % (path, e.strerror))
    chosen = re.search(r"\[(\S+)\]", old)
    current.at_end(lambda: put_setting(path, chosen.group(1) if chosen else old))


def put_setting(path, value):
    with open(path, "w") as f:
        f.write(value)


def reserve_huge_pages(count):
    """At least count free huge pages of 2 MiB for the time of the case, or skips."""
    base = "/sys/kernel/mm/hugepages/hugepages-2048kB/"

    def read(name):
        with open(base + name) as f:
            return int(f.read())

    if read("free_hugepages") >= count:
        return
    write_setting(base + "nr_hugepages", read("nr_hugepages") - read("free_hugepages") + count)
    if read("free_hugepages") < count:
        raise Skip("the kernel has no %d huge pages to reserve" % count)


# ---- cases ---------------------------------------------------------------------------------------------


class Current:
    """What the running case must clean up."""

    def __init__(self):
        self.ends = []
        self.directory = None
        self.terminated = False  # no further case is to be begun

    def at_end(self, fn):
        self.ends.append(fn)

    def finish(self):
        while self.ends:
            self.ends.pop()()


current = Current()
cases = []


def case(fn):
    cases.append(fn)
    return fn


def path(name):
    """A path in the case's own directory."""
    return os.path.join(current.directory, name)


def kvm_trouble():
    """Why there is no usable /dev/kvm, or None."""
    get_api_version = 0xAE00
    try:
        with open("/dev/kvm", "r+b", buffering=0) as f:
            import fcntl
            version = fcntl.ioctl(f, get_api_version, 0)
    except OSError as e:
        return "/dev/kvm: " + e.strerror
    return None if version == 12 else "/dev/kvm is not a KVM of API version 12"


def left_behind():
    sockets = [name for name in os.listdir(current.directory)
               if stat.S_ISSOCK(os.lstat(path(name)).st_mode)]
    return "left behind: socket " + sockets[0] if sockets else None


def where(e):
    """An exception as the lines of the test that led to it, and what it says."""
    frames = [f for f in traceback.extract_tb(e.__traceback__) if f.filename != __file__] or \
        traceback.extract_tb(e.__traceback__)
    name = "" if isinstance(e, Failure) else type(e).__name__ + ": "
    return "".join("line %d, %s: " % (f.lineno, f.line) for f in frames[:1]) + "\n   %s%s\n" % (name, e)


def run_case(fn):
    """True, False, or None for a case that was skipped."""
    begin = time.monotonic()
    result, text = True, ""
    with tempfile.TemporaryDirectory(prefix="memback-") as directory:
        current.directory = directory
        try:
            fn()
            current.finish()
            text = left_behind() or ""
            result = not text
        except Skip as e:
            result, text = None, str(e)
        except Exception as e:
            result, text = False, where(e)
            current.terminated = isinstance(e, Terminated)
            for process in Process.of_case:
                if process in Process.running or process.process.returncode:
                    text += process.diagnosis()
        finally:
            current.finish()
            for process in list(Process.running):
                process.kill()
            Process.of_case.clear()
    word = {True: "ok", False: "FAILED", None: "skipped"}[result]
    text = ": " + text.rstrip() if text else ""
    print("%-8s %s (%.1f s)%s" % (word, fn.__name__, time.monotonic() - begin, text), flush=True)
    return result


class Terminated(Exception):
    pass


def on_termination(*ignored):
    """The time limit is over: the running case fails, and with it all that would follow."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated("terminated from outside, as when the time limit is over")


def main():
    """Runs all cases, or those named as arguments."""
    sys.stdout.reconfigure(line_buffering=True)
    trouble = kvm_trouble()
    if trouble:
        print(trouble)
        sys.exit(SKIP)
    signal.signal(signal.SIGTERM, on_termination)
    names = [name for name in sys.argv[1:] if "=" not in name]
    results = []
    try:
        for fn in cases:
            if current.terminated:
                break
            if not names or fn.__name__ in names:
                results.append(run_case(fn))
    finally:
        for process in list(Process.running):
            process.kill()
    if False in results or not results:
        sys.exit(1)
    sys.exit(SKIP if set(results) == {None} else 0)


def option(name, default=None):
    """The value of an argument name=value of the test."""
    for word in sys.argv[1:]:
        if word.startswith(name + "="):
            return word[len(name) + 1:]
    return default


# ---- processes -----------------------------------------------------------------------------------------


def die_with_parent():
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


class Process:
    """A process whose output lines can be waited for."""

    running = []
    of_case = []  # all that the case has started, for a diagnosis

    def __init__(self, command, stdin=subprocess.PIPE):
        self.command = command
        self.process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        preexec_fn=die_with_parent)
        self.pid = self.process.pid
        self.changed = threading.Condition()
        self.text = {"stdout": "", "stderr": ""}
        self.seen = 0  # of stdout: how far line() has come
        self.readers = [threading.Thread(target=self.read, args=(name,), daemon=True) for name in self.text]
        for reader in self.readers:
            reader.start()
        Process.running.append(self)
        Process.of_case.append(self)

    def read(self, name):
        stream = getattr(self.process, name)
        while True:
            data = os.read(stream.fileno(), 65536)
            with self.changed:
                if not data:
                    self.text[name] += "" if self.text[name].endswith("\n") else "\n"
                self.text[name] += data.decode(errors="replace").replace("\r\n", "\n")
                self.changed.notify_all()
            if not data:
                return

    @property
    def stdout(self):
        with self.changed:
            return self.text["stdout"]

    @property
    def stderr(self):
        with self.changed:
            return self.text["stderr"]

    def line(self, pattern, seconds=30):
        """Waits for a whole line of stdout that matches, after the last one found; returns the match."""
        deadline = time.monotonic() + seconds * SLOWNESS
        with self.changed:
            while True:
                text = self.text["stdout"]
                while "\n" in text[self.seen:]:
                    end = text.index("\n", self.seen)
                    found = re.search(pattern, text[self.seen:end])
                    self.seen = end + 1
                    if found:
                        return found
                over = not any(reader.is_alive() for reader in self.readers)
                left = deadline - time.monotonic()
                if over or left <= 0:
                    raise Failure("%s waiting for a line %r" % ("ended while" if over else "in vain:", pattern))
                self.changed.wait(min(left, 0.5))

    def type(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def wait(self, seconds=30):
        """The exit status (minus the signal's number)."""
        try:
            status = self.process.wait(seconds * SLOWNESS)
        except subprocess.TimeoutExpired:
            raise Failure("%s does not end" % os.path.basename(self.command[0])) from None
        for reader in self.readers:
            reader.join(5)
        self.forget()
        return status

    def forget(self):
        if self in Process.running:
            Process.running.remove(self)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            try:
                if stream:
                    stream.close()
            except OSError:
                pass

    def kill(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(2 * SLOWNESS)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        for reader in self.readers:
            reader.join(5)
        self.forget()

    def diagnosis(self):
        text = "-- %s\n" % " ".join(self.command)
        for name in ("stdout", "stderr"):
            for line in self.text[name].splitlines()[-DIAGNOSTIC_LINES:]:
                text += "   %s: %s\n" % (name, line)
        if self.process.poll() is None:
            text += what_it_does(self.pid)
        return text


def what_it_does(pid):
    """Of a process that should have gone on: what its threads do, and how its vCPUs leave their guest."""

    def look():
        seen = {}
        for task in glob.glob("/proc/%d/task/*" % pid):
            fields = contents(task + "/stat").rsplit(")", 1)[-1].split()
            if len(fields) > 40:
                seen["thread " + contents(task + "/comm").strip()] = (
                    "state %s, ticks in user %s, in kernel %s, in guest %s" % (fields[0], fields[11], fields[12],
                                                                             fields[40]))
        for stat in glob.glob("/sys/kernel/debug/kvm/%d-*/*" % pid) + glob.glob(
                "/sys/kernel/debug/kvm/%d-*/vcpu*/*" % pid):
            value = contents(stat).strip()
            if value.isdigit() and value != "0":
                seen["kvm " + "/".join(stat.split("/")[6:])] = value
        return seen

    before = look()
    time.sleep(0.5)
    after = look()
    lines = ["%s: %s, half a second later %s" % (name, before.get(name), what) if before.get(name) != what
             else "%s: %s" % (name, what) for name, what in after.items()]
    for task in glob.glob("/proc/%d/task/*" % pid):
        lines += ["kernel, %s: %s" % (contents(task + "/comm").strip(), line)
                  for line in contents(task + "/stack").splitlines()[:6]]
    return "".join("   %s\n" % line for line in lines)


def contents(path):
    try:
        with open(path) as f:
            return f.read()
    except OSError:
        return ""


def run(command, seconds=30, **more):
    """Runs a command to its end: a CompletedProcess with text."""
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", timeout=seconds * SLOWNESS, preexec_fn=die_with_parent, **more)
    except subprocess.TimeoutExpired:
        raise Failure("%s does not end" % " ".join(command)) from None


def ctl(*arguments, seconds=60, good=True):
    """Calls membackctl; with good, it must succeed."""
    done = run([CTL] + [str(a) for a in arguments], seconds)
    if good:
        equal(done.returncode, 0, "exit status of membackctl %s (%s)" % (" ".join(map(str, arguments)),
                                                                       done.stderr.strip()))
    return done


class Vmm(Process):
    """A memback-vmm. Options by keyword: memory="64M", cpus=2, pool=..., prealloc=True, disk=[...]."""

    count = 0

    def __init__(self, kernel="hello", append="", stdin=subprocess.PIPE, **options):
        Vmm.count += 1
        self.name = options.setdefault("name", "vm%d" % Vmm.count)
        self.socket = options.setdefault("qmp", path(self.name + ".sock"))
        options.setdefault("memory", "64M")
        options.setdefault("serial", "stdio")
        options["kernel"] = kernel if "/" in kernel else guest(kernel)
        if append:
            options["append"] = append
        super().__init__([VMM] + vmm_options(options), stdin)

    def qmp(self):
        """A client that has negotiated."""
        client = Qmp(self.socket)
        client.negotiate()
        return client

    def ctl(self, *arguments, **more):
        return ctl("-s", self.socket, *arguments, **more)

    def ctl_json(self, *arguments, **more):
        return json.loads(self.ctl("--json", *arguments, **more).stdout)

    def resident(self):
        return kernel_resident(self.pid)

    def state(self):
        """The kernel's letter for the state of its main thread, or None when it is gone."""
        try:
            with open("/proc/%d/stat" % self.pid) as f:
                return f.read().rsplit(")", 1)[1].split()[0]
        except OSError:
            return None

    def alive(self):
        return self.process.poll() is None


def verified(vm):
    """The guest `balloon` goes through all the memory that it has now, and finds it intact."""
    vm.type("verify\nstatus\n")  # in this order: so the line before the status is that of this very round
    vm.line(r"^balloon: status", seconds=120)
    before = vm.stdout[:vm.seen].splitlines()[-2]
    check("verify ok" in before, "the guest says: " + before)


def vmm_options(options):
    words = []
    for key, value in options.items():
        if value is None or value is False:
            continue
        for one in value if isinstance(value, list) else [value]:
            words.append("--" + key.replace("_", "-"))
            if one is not True:
                words.append(str(one))
    return words


class Pool:
    """A pool file in memory (or elsewhere), destroyed when the case is over; it must be at zero then."""

    def __init__(self, size, budget=None, directory="/dev/shm", **options):
        place = tempfile.TemporaryDirectory(prefix="memback-", dir=directory)
        current.at_end(place.cleanup)
        self.path = os.path.join(place.name, "pool")
        words = vmm_options(dict(options, size=size, budget=budget))
        ctl("pool", "create", self.path, *words)

    @property
    def memory(self):
        return self.path + ".mem"

    def status(self):
        return json.loads(ctl("--json", "pool", "status", self.path).stdout)

    def resident(self):
        return file_resident(self.memory)

    def check_empty(self):
        status = self.status()
        equal(status["budget-used"], 0, "what is used of the budget")
        equal([o for o in status["owners"] if o.get("live", True)], [], "owners")
        equal(self.resident(), 0, "bytes that the kernel holds for the pool")
        ctl("pool", "check", self.path)

    def destroy(self):
        self.check_empty()
        ctl("pool", "destroy", self.path)
        equal(os.listdir(os.path.dirname(self.path)), [], "what is left of the pool")


# ---- the kernel's view ---------------------------------------------------------------------------------


def large_mappings(pid):
    """The mappings of at least 2 MiB that have no special name: [(address range, inode, bytes resident)]."""
    found = []
    with open("/proc/%d/smaps" % pid) as f:
        for line in f:
            head = re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ (\d+)\s*(.*)", line)
            if head:
                large = int(head.group(2), 16) - int(head.group(1), 16) >= 2 * MIB and "[" not in head.group(4)
                if large:
                    where = "%x-%x" % (int(head.group(1), 16), int(head.group(2), 16))
                    found.append([where, head.group(3), 0])
                continue
            key, _, value = line.partition(":")
            if large and key in ("Rss", "Private_Hugetlb", "Shared_Hugetlb"):
                found[-1][2] += int(value.split()[0]) * KIB
    return found


def stat_mapped(pid, where, inode):
    """The stat of a mapped file; by its descriptor where we may not look at the mapping itself."""
    try:
        return os.stat("/proc/%d/map_files/%s" % (pid, where))
    except OSError:
        for name in os.listdir("/proc/%d/fd" % pid):
            status = os.stat("/proc/%d/fd/%s" % (pid, name))
            if str(status.st_ino) == inode and stat.S_ISREG(status.st_mode):
                return status
    return None


def kernel_resident(pid):
    """
    Bytes of memory that the kernel holds for the large mappings of a process: what is resident of private
    ones, and the blocks of mapped files, each file counted once. None of our own counters is asked.
    """
    total = 0
    files = {}
    for where, inode, resident in large_mappings(pid):
        if inode == "0":
            total += resident
            continue
        mapped, blocks = files.get(inode, (0, 0))
        status = None if blocks else stat_mapped(pid, where, inode)
        if status and not (status.st_mode & 0o111 and status.st_nlink):  # not a program or library
            blocks = status.st_blocks * 512
        files[inode] = (mapped + resident, blocks)
    return total + sum(max(both) for both in files.values() if both[1])


def file_resident(name):
    """Bytes that the kernel holds for a file."""
    return os.stat(name).st_blocks * 512


# ---- QMP -----------------------------------------------------------------------------------------------


class Qmp:
    """
    A QMP client that is strict: each answer must be an object in one line that ends in CRLF, and no line is
    empty. Events are kept apart from answers.
    """

    def __init__(self, socket_path, seconds=20):
        self.seconds = seconds * SLOWNESS
        self.events = []
        self.rest = b""
        self.socket = self.connect(socket_path)
        self.greeting = self.receive()

    def connect(self, socket_path):
        deadline = time.monotonic() + self.seconds
        while True:
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                s.connect(socket_path)
                return s
            except (FileNotFoundError, ConnectionRefusedError) as e:
                s.close()
                check(time.monotonic() < deadline, "%s: %s" % (socket_path, e.strerror))
                time.sleep(0.02 * SLOWNESS)

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        self.close()

    def send_bytes(self, data):
        self.socket.sendall(data)

    def send(self, message):
        self.send_bytes(json.dumps(message).encode())

    def receive_line(self):
        self.socket.settimeout(self.seconds)
        while b"\r\n" not in self.rest:
            try:
                data = self.socket.recv(65536)
            except socket.timeout:
                raise Failure("no answer on the control socket; so far %r" % self.rest) from None
            if not data:
                raise EOFError("the control socket was closed; so far %r" % self.rest)
            self.rest += data
        line, self.rest = self.rest.split(b"\r\n", 1)
        check(line and b"\n" not in line, "a line on the control socket that is no QMP: %r" % line)
        return line

    def receive(self):
        message = json.loads(self.receive_line())
        check(isinstance(message, dict), "not an object: %r" % message)
        return message

    def answer(self):
        """The next message that is no event; events are kept."""
        while True:
            message = self.receive()
            if "event" not in message:
                return message
            self.events.append(message)

    def execute_raw(self, command, **arguments):
        message = {"execute": command}
        if arguments:
            message["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        self.send(message)
        return self.answer()

    def execute(self, command, **arguments):
        answer = self.execute_raw(command, **arguments)
        check("return" in answer, "%s: %r" % (command, answer))
        return answer["return"]

    def error(self, command, **arguments):
        """The error that the command must give."""
        answer = self.execute_raw(command, **arguments)
        check("error" in answer, "%s did not fail: %r" % (command, answer))
        equal(sorted(answer["error"]), ["class", "desc"], "keys of the error")
        return answer["error"]

    def negotiate(self):
        equal(self.execute("qmp_capabilities"), {}, "qmp_capabilities")

    def wait_event(self, name, test=lambda data: True):
        """Takes events up to one of this name for which test(data) holds; returns its data."""
        deadline = time.monotonic() + self.seconds
        while time.monotonic() < deadline:
            while self.events:
                event = self.events.pop(0)
                if event["event"] == name and test(event.get("data", {})):
                    return event.get("data", {})
            message = self.receive()
            check("event" in message, "an answer that nobody asked for: %r" % message)
            self.events.append(message)
        raise Failure("no event " + name)
