"""harness.py - what the end-to-end tests share: programs under the shim, the tools, memory seen from outside."""
import contextlib
import copy
import json
import mmap
import os
import random
import re
import shutil
import signal
import struct
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


# Programs with objects that only the portable driver's snapshots hold: arrays and textures, and what the device's own malloc gave.
PORTABLE_ONLY = ("shapes", "texture")


def apps_that_leave():
    return [n for n in apps() if n not in PORTABLE_ONLY]


def make_scratch():
    base = os.path.join(BUILD, "e2e")
    os.makedirs(base, exist_ok=True)
    return tempfile.mkdtemp(prefix="t-", dir=base)


class Place:
    """Where programs run: behind which driver, and with the shim in front of it or not."""

    def __init__(self, name, prefix, rounds=None, moments=10, kills=2, long_enough=0.15, reads_memory=True, is_double=False,
                 is_exact=True, **env):
        self.name = name
        self.prefix = prefix
        self.env = env
        self.rounds = rounds        # program -> rounds; None, or not in it: the program's own number
        self.moments = moments      # checkpoints in one run
        self.kills = kills          # kills of one program
        self.long_enough = long_enough  # seconds between two lines in which a program says how far it is
        self.reads_memory = reads_memory  # device memory can be read through /proc
        self.is_double = is_double  # the driver is tests/drivers/cuda, with its knobs and counters

        self.is_exact = is_exact    # instructions that PTX leaves approximate give the bits of the cpu target
        self.bare = None            # the same without the shim

    def with_env(self, name, **env):
        place = copy.copy(self)
        place.name += name
        place.env = dict(self.env, **env)
        return place

    def with_rounds(self, other):
        """The same with as many rounds as elsewhere."""
        place = copy.copy(self)
        place.name += f" as on {other.name}"
        place.rounds = other.rounds
        return place


# A double executes kernels slowly: a second or two for each program. Less than 20, or a multiple of it: ticks are equal.
FEW_ROUNDS = {"cg": 8, "histogram": 40, "linked_list": 400, "mandelbrot": 10, "matmul": 10, "nbody": 20, "pipeline": 20, "ptx_driver": 100,
              "reduction": 20, "saxpy_streams": 200, "scan": 20, "threads": 160, "train": 20, "transpose": 100,
              "vector_add": 200}
CPU = Place("cpu", [ON, "cpu", "--"], moments=10 if LONG else 5, kills=8 if LONG else 2)
CUDA = Place("cuda", [ON, "cuda", "--"], rounds=FEW_ROUNDS, moments=10 if LONG else 3, kills=4 if LONG else 1,
             long_enough=0.05, is_double=True)

# AMD's chips, over the double of HIP: waves of 32, and of 64.
CHIPS = ("gfx1100", "gfx90a", "gfx942")
# The doubles of other vendors' drivers run generated code, which is slower still. All have the same, so that a program can be moved on.
GPU_ROUNDS = dict(FEW_ROUNDS, pipeline=1, scan=10, shapes=5, texture=5)
if LONG:  # room for ten moments, a round before the first of them and some after the last
    GPU_ROUNDS = {app: max(number, 13) for app, number in GPU_ROUNDS.items()}
    # It plants new trees in every eighth: which memory these get depends on which warp comes to the heap first, on a GPU another than on cpu.
    GPU_ROUNDS["shapes"] = 8


def on_chip(chip):
    return Place(f"rocm:{chip}", [ON, f"rocm:{chip}", "--"], rounds=GPU_ROUNDS, long_enough=0.05)


def hip(chip, **more):
    """What a tool, or a program on another target, needs to find the double of HIP as that chip."""
    return dict({"HGSHIM_HIP": os.path.join(BUILD, "drivers", "hip", "libamdhip64.so.6"), "HGSHIM_EMBED_IR": "1",
                 "HG_FAKE_HIP_CHIP": chip, "HG_FAKE_HIP_STRICT": "1"}, **more)


# Intel's, over the real loader with its validation layer, and the driver for tests.
LEVEL_ZERO = Place("level-zero", [ON, "level-zero", "--"], rounds=GPU_ROUNDS, long_enough=0.05)


def ze(**more):
    """What a tool, or a program on another target, needs to find the Level Zero driver for tests."""
    return dict({"ZE_ENABLE_ALT_DRIVERS": os.path.join(BUILD, "drivers", "ze", "libze_hgshim_test.so"), "ZE_ENABLE_VALIDATION_LAYER": "1",
                 "ZE_ENABLE_PARAMETER_VALIDATION": "1", "HG_FAKE_ZE_STRICT": "1", "HG_FAKE_ZE_VALIDATE": "1"}, **more)


CUDA.bare = Place("cuda:bare", [ON, "cuda:bare", "--"], rounds=FEW_ROUNDS)


# What doubles say of the driver's user on stderr; and what hgshim says where the loader's validation layer refused a call of its, which
# the layer itself tells by the result alone.
COMPLAINT = re.compile(r"^(?:(?:hip double|level-zero test driver): (?:.*misuse of|leak:) .*|.*: ZE_RESULT_ERROR_INVALID_.*)", re.M)


def expect_no_complaint(err, who):
    found = COMPLAINT.findall(err)
    expect(not found, f"{who}: {len(found)} complaints of the driver, the first: {found[:1]}")


class Result:
    def __init__(self, status, out, err):
        self.status = status
        self.out = out
        self.err = err

    def __str__(self):
        text = f"status {self.status}"
        tail = (self.err.strip() or self.out.strip()).splitlines()[-3:]
        return text + (": " + " | ".join(tail) if tail else "")


def run(command, limit=60, env=None, may_complain=False, **more):
    """Runs to the end; a program that takes too long is a failure of the test, and so is one that a double complains of."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                               text=True, errors="replace", env=dict(os.environ, **(env or {})),
                               start_new_session=True, **more)
    try:
        out, err = process.communicate(timeout=limit * PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise Failed(f"'{' '.join(map(str, command))}' did not end within {limit * PATIENCE:.0f} s: {err[-300:]}")
    if not may_complain:
        expect_no_complaint(err, f"'{' '.join(map(str, command))}'")
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
    """An acceptance program at its place, its output read as it comes."""

    def __init__(self, name, log, *args, env=None, path=None, place=CPU):
        self.name = name
        self.log = log
        self.buffers = {}
        self.lines = []
        self.first_buffer = threading.Event()
        self.round = -1
        self.started = time.monotonic()
        self.seconds = None
        environment = dict(os.environ, HGSHIM_LOG=log, **place.env)
        environment.update(env or {})
        command = [*place.prefix, path or os.path.join(BUILD, "apps", name), *map(str, args)]
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
        if self.errors.closed:
            return self.last_words
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

    def has_passed(self, limit=5):
        """Whether it ended well. One that is about to end has the time for it: its driver goes before its last words come."""
        try:
            self.process.wait(timeout=limit * PATIENCE)
            self.reader.join(10)
        except subprocess.TimeoutExpired:
            pass
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

    def close(self):
        """Ends it, if it has not; what it said can still be asked for."""
        self.kill()
        self.last_words = self.stderr()
        self.errors.close()

    def __exit__(self, failure, *unused):
        self.close()
        if not failure:
            expect_no_complaint(self.last_words, f"'{self.name}'")


def checkpoint(program, *args, limit=90):  # hgshim-ckpt itself gives up after 60
    """hgshim-ckpt; the number of the snapshot taken."""
    result = tool("hgshim-ckpt", *args, program.pid, limit=limit)
    expect(result.status == 0, f"hgshim-ckpt: {result} (program: {program.describe()})")
    match = re.search(r"snapshot\s+#?(\d+)", result.out)
    expect(match, f"hgshim-ckpt does not name the snapshot: {result.out!r}")
    return int(match.group(1))


def migrate(program, target="cpu", limit=90):
    """hgshim-ckpt --migrate; the number of the snapshot that it went by."""
    return checkpoint(program, "--migrate", target, limit=limit)


@contextlib.contextmanager
def counted(place, path):
    """The counters of a program that was started with HG_FAKE_CUDA_CONTROL=path; None where there is no double."""
    if not place.is_double:
        yield None
        return
    with Counters(path) as counters:
        yield counters


class Counters:
    """The double's page of calls (tests/drivers/cuda/README.md): how often each was made; which is to fail."""

    SIZE = 128
    FIELDS = struct.Struct("<QII")  # calls, fail_in, error

    def __init__(self, path):
        with open(path, "r+b") as f:
            self.page = mmap.mmap(f.fileno(), 0)
        self.at = {}
        for offset in range(0, len(self.page), self.SIZE):
            name = self.page[offset:offset + 104].split(b"\0")[0].decode()
            if name:
                self.at[name] = offset + 104

    def calls(self):
        return {n: struct.unpack_from("<Q", self.page, at)[0] for n, at in self.at.items()}

    def fail(self, name, nth, error):
        """The nth call from now on fails."""
        struct.pack_into("<I", self.page, self.at[name] + 12, error)
        struct.pack_into("<I", self.page, self.at[name] + 8, nth)

    def pending(self, name):
        """How many calls are left until the one that fails; 0: it has failed, or none is to."""
        return struct.unpack_from("<I", self.page, self.at[name] + 8)[0]

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.page.close()


def made_since(before, after):
    """name -> number of the calls made between two looks at the counters."""
    return {n: after[n] - before[n] for n in after if after[n] != before[n]}


def mappings(pid):
    """(start, end, permissions, path) of each."""
    found = []
    with open(f"/proc/{pid}/maps") as f:
        for line in f:
            words = line.rstrip("\n").split(None, 5)
            start, end = (int(w, 16) for w in words[0].split("-"))
            found.append((start, end, words[1], words[5] if len(words) > 5 else ""))
    return found


FUTEX = 202  # the system call, on x86-64


def busy_queues(pid):
    """How many of the double's streams have work right now: their threads do not wait for any."""
    busy = 0
    for tid in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{tid}/comm") as f:
                if f.read().strip() != "fake-cuda":
                    continue
            with open(f"/proc/{pid}/task/{tid}/syscall") as f:
                busy += f.read().split()[0] != str(FUTEX)
        except OSError:
            pass  # it has ended
    return busy


def expect_answer(pending, what):
    """A tool whose process was killed meanwhile: it ends, and when it could not do its work it says so. What it says."""
    try:
        out, err = pending.communicate(timeout=30 * PATIENCE)
    except subprocess.TimeoutExpired:
        pending.kill()
        raise Failed(f"{what}: hgshim-ckpt waits for ever for a process that was killed")
    expect(pending.returncode == 0 or (pending.returncode > 0 and err.strip()),
           f"{what}: hgshim-ckpt ended with status {pending.returncode} and said {err!r}")
    return err.strip()


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


def replay(log, *args, limit=120, target="cpu", env=None):
    result = tool("hgshim-replay", "--target", target, *args, log, limit=limit, env=env)
    expect(result.status == 0, f"hgshim-replay --target {target} {' '.join(map(str, args))}: {result}")
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


def expect_same(want, got, what, name):
    if got == want:
        return
    at = next((i for i in range(min(len(want), len(got))) if got[i] != want[i]), min(len(want), len(got)))
    bad = sum(1 for a, b in zip(got, want) if a != b) + abs(len(got) - len(want))
    raise Failed(f"{what}: buffer '{name}': {bad} of {len(want)} bytes differ, the first at offset {at}: "
                 f"{want[at:at + 8].hex()} is expected, {got[at:at + 8].hex()} is there")


def compare(memory, folder, what):
    """Every buffer of a held program against the files of a dump."""
    dump = read_dump(folder)
    for name, (address, data) in memory.items():
        got = find(dump, address, len(data))
        expect(got is not None, f"{what}: the dump lacks buffer '{name}' at {address:#x}")
        expect_same(data, got, f"{what}, program and replay at {address:#x}", name)
    return len(memory)


def without_addresses(memory):
    """name -> bytes; a pointer to a buffer of the same program becomes the buffer's number and the place in it.

    Two runs of a program have the same bytes but for the addresses that the driver gave them."""
    spans = sorted((address, address + len(data)) for address, data in memory.values())
    low, high = spans[0][0], spans[-1][1]
    found = {}
    for name, (address, data) in memory.items():
        words = [w for (w,) in struct.iter_unpack("<Q", data[:len(data) & ~7])]
        for i, word in enumerate(words):
            if low <= word < high:
                for k, (start, end) in enumerate(spans):
                    if start <= word < end:
                        words[i] = (k << 48) + word - start
        found[name] = struct.pack(f"<{len(words)}Q", *words) + data[len(data) & ~7:]
    return found


def compare_runs(want, got, what):
    """The buffers of two runs of one program, by name."""
    expect(set(want) == set(got), f"{what}: buffers {sorted(want)} and {sorted(got)}")
    if any(want[n][1] != got[n][1] for n in want):
        want, got = without_addresses(want), without_addresses(got)
    else:
        want, got = ({n: data for n, (address, data) in m.items()} for m in (want, got))
    for name, data in want.items():
        expect_same(data, got[name], what, name)


def remove(path):
    shutil.rmtree(path, ignore_errors=True)
