"""harness.py - what the end-to-end tests share: programs under the shim, the tools, memory seen from outside."""
import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.abspath(os.environ.get("HG_BUILD", os.path.join(ROOT, "build")))
ON = os.path.join(ROOT, "tests", "on")
LONG = os.environ.get("HG_LONG") == "1"
SEED = os.environ.get("HG_SEED") or str(random.SystemRandom().randrange(10 ** 6))
# Sanitizers and valgrind make everything slower; the machine may be busy, too.
PATIENCE = float(os.environ.get("HG_PATIENCE", "4" if os.environ.get("SAN") else "1"))


class Failed(Exception):
    """A test's reason to fail."""


class Skipped(Exception):
    """A test's reason not to run."""


def rng(*names):
    return random.Random("/".join((SEED,) + names))


def apps():
    names = sorted(os.listdir(os.path.join(BUILD, "apps")))
    return [n for n in names if os.access(os.path.join(BUILD, "apps", n), os.X_OK)]


def make_scratch():
    base = os.path.join(BUILD, "e2e")
    os.makedirs(base, exist_ok=True)
    return tempfile.mkdtemp(prefix="t-", dir=base)


class Result:
    def __init__(self, status, out, err):
        self.status = status
        self.out = out
        self.err = err

    def __str__(self):
        text = f"status {self.status}"
        tail = (self.err.strip() or self.out.strip()).splitlines()[-3:]
        return text + (": " + " | ".join(tail) if tail else "")


def run(command, limit=60, env=None, **more):
    """Runs to the end; a program that takes too long is a failure of the test."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                               text=True, errors="replace", env=dict(os.environ, **(env or {})),
                               start_new_session=True, **more)
    try:
        out, err = process.communicate(timeout=limit * PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise Failed(f"'{' '.join(map(str, command))}' did not end within {limit * PATIENCE:.0f} s: {err[-300:]}")
    return Result(process.returncode, out, err)


def tool(name, *args, limit=60, **more):
    return run([os.path.join(BUILD, name), *map(str, args)], limit=limit, **more)


def expect(condition, text):
    if not condition:
        raise Failed(text)


def expect_refusal(result, what, statuses=(1,)):
    """A tool says no: a status that is not 0, and one clear message."""
    lines = [l for l in result.err.splitlines() if l.strip()]
    expect(result.status in statuses, f"{what}: exit {result}, not {' or '.join(map(str, statuses))}")
    expect(1 <= len(lines) <= 2, f"{what}: {len(lines)} lines of message, not one: {lines}")


class Program:
    """An acceptance program under the shim, its output read as it comes."""

    def __init__(self, name, log, *args, env=None, path=None, on=True):
        self.name = name
        self.log = log
        self.buffers = {}
        self.lines = []
        self.first_buffer = threading.Event()
        self.round = -1
        self.started = time.monotonic()
        environment = dict(os.environ, HGSHIM_LOG=log, **(env or {}))
        command = [path or os.path.join(BUILD, "apps", name), *map(str, args)]
        if on:
            command = [ON, "cpu", "--"] + command
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.errors,
                                        stdin=subprocess.DEVNULL, text=True, env=environment)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            match = re.match(r"BUFFER (\S+) (0x[0-9a-f]+) (\d+)$", line)
            if match:
                self.buffers[match.group(1)] = (int(match.group(2), 16), int(match.group(3)))
                self.first_buffer.set()
            elif line.startswith("ROUND "):
                self.round = int(line.split()[1])

    @property
    def pid(self):
        return self.process.pid

    def stderr(self):
        self.errors.seek(0)
        return self.errors.read()

    def is_running(self):
        return self.process.poll() is None

    def wait_ready(self, limit=60):
        """Until it has its buffers: its launches come next."""
        end = time.monotonic() + limit * PATIENCE
        while not self.first_buffer.wait(0.01):
            if not self.is_running() or time.monotonic() > end:
                raise Failed(f"'{self.name}' did not get as far as its buffers: {self.describe()}")

    def wait_round(self, number, limit=120):
        """Until it has said that it is in this round."""
        end = time.monotonic() + limit * PATIENCE
        while self.round < number:
            if not self.is_running() and not self.reader.is_alive():
                raise Failed(f"'{self.name}' ended before round {number}: {self.describe()}")
            if time.monotonic() > end:
                raise Failed(f"'{self.name}' did not get to round {number} in time")
            time.sleep(0.001)

    def wait_file(self, path, limit=120):
        end = time.monotonic() + limit * PATIENCE
        while not os.path.exists(path):
            if not self.is_running():
                raise Failed(f"'{self.name}' ended before it held: {self.describe()}")
            if time.monotonic() > end:
                raise Failed(f"'{self.name}' did not reach its hold in time")
            time.sleep(0.002)

    def finish(self, limit=120):
        try:
            self.process.wait(timeout=limit * PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed(f"'{self.name}' did not end within {limit * PATIENCE:.0f} s")
        self.reader.join(10)
        self.seconds = time.monotonic() - self.started
        return self.process.returncode

    def kill(self):
        if self.is_running():
            self.process.kill()
        self.process.wait()
        self.reader.join(10)

    def describe(self):
        status = self.process.poll()
        text = "running" if status is None else f"status {status}"
        tail = (self.stderr().strip().splitlines() or self.lines)[-3:]
        return text + (": " + " | ".join(tail) if tail else "")

    def passed(self):
        """The checksum of a program that ended well."""
        status = self.finish()
        expect(status == 0 and self.lines and self.lines[-1].startswith("PASS "),
               f"'{self.name}' failed: {self.describe()}")
        return self.lines[-1].split()[1]

    def has_passed(self):
        return bool(self.lines) and self.lines[-1].startswith("PASS ")

    def memory(self):
        """Its device buffers, read from outside; the program must be held."""
        found = {}
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as f:
            for name, (address, size) in self.buffers.items():
                f.seek(address)
                data = b""
                while len(data) < size:
                    part = f.read(size - len(data))
                    expect(part, f"cannot read buffer '{name}' of '{self.name}' through /proc")
                    data += part
                found[name] = (address, data)
        return found

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.kill()
        self.errors.close()


def checkpoint(program, *args, limit=60):
    """hgshim-ckpt; the number of the snapshot taken."""
    result = tool("hgshim-ckpt", *args, program.pid, limit=limit)
    expect(result.status == 0, f"hgshim-ckpt: {result} (program: {program.describe()})")
    match = re.search(r"snapshot\s+#?(\d+)", result.out)
    expect(match, f"hgshim-ckpt does not name the snapshot: {result.out!r}")
    return int(match.group(1))


def log_json(command, log):
    result = tool("hgshim-log", command, "--json", log)
    expect(result.status == 0, f"hgshim-log {command} --json: {result}")
    text = result.out.strip()
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise Failed(f"hgshim-log {command} --json does not print JSON: {error}: {text[:200]!r}")


def rows(value, *names):
    """The list in a JSON answer, whether bare or under one of these names."""
    if isinstance(value, dict):
        for name in names:
            if name in value:
                return value[name]
    return value


def number(value):
    return int(value, 0) if isinstance(value, str) else value


def snapshots(log):
    """number -> seq of every complete snapshot."""
    found = {}
    for row in rows(log_json("snapshots", log), "snapshots"):
        found[number(row["number"])] = number(row["seq"])
    return found


def launches(log):
    """Sequence numbers of all launches logged, ascending."""
    found = []
    for row in rows(log_json("calls", log), "calls"):
        if str(row.get("op", row.get("call", row.get("name", "")))).lower().startswith(("launch", "culaunch")):
            found.append(number(row["seq"]))
    return sorted(found)


def replay(log, *args, limit=120):
    result = tool("hgshim-replay", "--target", "cpu", *args, log, limit=limit)
    expect(result.status == 0, f"hgshim-replay {' '.join(map(str, args))}: {result}")
    return result


def read_dump(folder):
    """address -> bytes of every file of a dump."""
    found = {}
    for name in os.listdir(folder):
        match = re.fullmatch(r"(?:0x)?([0-9a-fA-F]+)(?:\.\w+)?", name)
        if match:
            with open(os.path.join(folder, name), "rb") as f:
                found[int(match.group(1), 16)] = f.read()
    expect(os.path.exists(os.path.join(folder, "manifest.json")), "the dump has no manifest.json")
    return found


def find(dump, address, size):
    """The bytes of a dump at an address; None if it does not hold them."""
    for base, content in dump.items():
        if base <= address and address + size <= base + len(content):
            return content[address - base:address - base + size]
    return None


def compare(memory, folder, what):
    """Every buffer of a held program against the files of a dump."""
    dump = read_dump(folder)
    for name, (address, data) in memory.items():
        got = find(dump, address, len(data))
        expect(got is not None, f"{what}: the dump lacks buffer '{name}' at {address:#x}")
        if got != data:
            at = next(i for i in range(len(data)) if got[i] != data[i])
            bad = sum(1 for a, b in zip(got, data) if a != b)
            raise Failed(f"{what}: buffer '{name}' at {address:#x}: {bad} of {len(data)} bytes differ, "
                         f"the first at offset {at}: program {data[at:at + 8].hex()}, replay {got[at:at + 8].hex()}")
    return len(memory)


def remove(path):
    shutil.rmtree(path, ignore_errors=True)
