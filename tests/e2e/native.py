"""native.py - programs that test what recording behind a driver and leaving it promise: pointers, the runtime, strange calls."""
import json
import os
import re
import time

import harness
import leaving
from harness import CPU, CUDA, Program, checkpoint, compare, expect, expect_refusal, migrate, replay, tool

SHIM = os.path.join(harness.BUILD, "libhgshim.so")


def program(name):
    return os.path.join(harness.BUILD, "e2e-apps", name)


def names(scratch):
    """Every symbol of the driver, its name for cuGetProcAddress, and its version."""
    with open(os.path.join(harness.ROOT, "intercept", "symbols.def")) as f:
        found = re.findall(r"^HG_SYM\(\s*(\w+),\s*\w+,\s*(\w+),\s*(\d+),", f.read(), re.M)
    expect(len(found) == 637, f"{len(found)} symbols")
    path = os.path.join(scratch, "names")
    with open(path, "w") as f:
        f.writelines(" ".join(row) + "\n" for row in found)
    return path


class Given:
    """What the keeper says it was given, by where it lies."""

    def __init__(self, lines, maps):
        self.ranges = {}
        for start, end, permissions, path in maps:
            if path and os.path.exists(path) and os.path.samefile(path, SHIM):
                self.ranges.setdefault("shim", []).append((start, end))
            elif os.path.basename(path).startswith("libcuda.so"):
                self.ranges.setdefault("driver", []).append((start, end))
        self.pointer, self.slot = {}, {}
        for line in lines:
            words = line.split()
            if words[0] == "POINTER":
                address = 0 if words[4] == "(nil)" else int(words[4], 16)
                self.pointer[tuple(words[1:4])] = address
            elif words[0] == "SLOT":
                self.slot[words[1], words[2], int(words[3])] = 0 if words[4] == "(nil)" else int(words[4], 16)

    def owner(self, address):
        for name, ranges in self.ranges.items():
            for start, end in ranges:
                if start <= address < end:
                    return name
        return "other"

    def check_pointers(self, when):
        """Every pointer of that time is one of the shim's."""
        count = {}
        for (at, how, name), address in self.pointer.items():
            if at != when or not address:
                continue
            owner = self.owner(address)
            expect(owner == "shim", f"{when}: '{name}' by {how} is {address:#x}, of {owner}")
            count[how.split(":")[0]] = count.get(how.split(":")[0], 0) + 1
        expect(count and all(n > 30 for n in count.values()), f"{when}: pointers by way: {count}")
        return sum(count.values())


def check_given(p, moved, maps):
    given = Given(p.lines, maps)
    expect("shim" in given.ranges, "the shim is not among the mappings")
    nr = given.check_pointers("first") + given.check_pointers("last")
    given.check_pointers("kept")
    for (when, how, name), address in given.pointer.items():
        if when == "last":
            first = given.pointer["first", how, name]
            expect(first == address, f"'{name}' by {how} was {first:#x} at first and is {address:#x} at last")
    return given, nr


def table_owners(given, when, table):
    return [given.owner(a) for (w, t, i), a in sorted(given.slot.items()) if w == when and t == table and a]


def keeper(place, move, scratch):
    """Every pointer is the shim's, before and after; those kept from before go on working."""
    log, first, last, control = (os.path.join(scratch, n) for n in ("log", "first", "last", "control"))
    results = []
    for moves in (False, True) if move else (False,):
        size = 40
        with Program("keeper", log, names(scratch), "--rounds", size, "--hold", f"{first}@{size // 3}", "--hold",
                     f"{last}@{size - 1}", path=program("keeper"), place=place,
                     env={"HG_FAKE_CUDA_CONTROL": control} if place.is_double else {}) as p:
            p.wait_file(first)
            checkpoint(p)
            os.unlink(first)
            if moves:
                p.wait_round(size // 2)
                migrate(p)
                with harness.counted(place, control) as counters:
                    at_move = counters and counters.calls()
            p.wait_file(last)
            maps = harness.mappings(p.pid)
            memory = p.memory() if moves or place.reads_memory else {}
            after = checkpoint(p)
            os.unlink(last)
            results.append(p.passed())
            said = p.stderr().strip()
        expect(not said, f"messages: {said[:300]!r}")
        given, nr = check_given(p, moves, maps)
        # storage of contexts is the shim's own from the start; the others lead into the driver until it is left
        expect(set(table_owners(given, "first", "local")) == {"shim"}, "the table of local storage is not the shim's")
        if moves:
            for table in {t for w, t, i in given.slot}:
                owners = table_owners(given, "last", table)
                expect("driver" not in owners, f"table '{table}' leads into the driver that was left: {owners}")
            with harness.counted(place, control) as counters:
                late = counters and harness.made_since(at_move, counters.calls())
            expect(not late, f"the driver that was left has been called: {late}")
        leaving.check_whole(log)
        known = harness.snapshots(log)
        dump = os.path.join(scratch, f"dump{moves}")
        replay(log, "--snapshot", after, "--to", known[after], "--verify", "--dump", dump)
        compare(memory, dump, f"snapshot {after}")
        harness.remove(log)
        if place.is_double:
            os.unlink(control)
    expect(len(set(results)) == 1, f"results {results}")
    return f"{nr} pointers"


def goes_on(place, name, move, scratch):
    """A program that looks at everything it has made; moved while it runs or while it waits, it ends as one that stays."""
    log, hold = (os.path.join(scratch, n) for n in ("log", "hold"))
    results = []
    for moves in (False, True):
        with Program(name, log, "--rounds", 40, "--pace", 5000, "--hold", f"{hold}@34", path=program(name), place=place) as p:
            if moves and move == "running":
                p.wait_round(20)
                snapshot = migrate(p)
                p.wait_file(hold)
            else:
                p.wait_file(hold)
                snapshot = migrate(p) if moves else checkpoint(p)
            memory = p.memory() if moves or place.reads_memory else {}
            after = checkpoint(p)
            os.unlink(hold)
            results.append(p.passed())
            said = p.stderr().strip()
        expect(not said, f"messages: {said[:300]!r}")
        leaving.check_whole(log)
        known = harness.snapshots(log)
        replay(log, "--snapshot", snapshot, "--to", known[snapshot], "--verify")
        dump = os.path.join(scratch, f"dump{moves}")
        replay(log, "--snapshot", after, "--to", known[after], "--verify", "--dump", dump)
        compare(memory, dump, f"snapshot {after}")
        harness.remove(log)
    expect(len(set(results)) == 1, f"the result is {results[1]}; of a program that stays it is {results[0]}")


def ends_meanwhile(scratch):
    """hgshim-ckpt, and a program that is about to end: both do, and nobody waits for the other for ever."""
    rng = harness.rng("ends")
    taken = refused = 0
    for k in range(40 if harness.LONG else 12):
        log = os.path.join(scratch, f"log{k}")
        with Program("threads", log, "--rounds", 40, place=CUDA, env={"HG_FAKE_CUDA_KERNEL_US": "3000"}) as p:
            p.wait_round(38)
            end = time.monotonic() + rng.uniform(0, 0.03)
            while time.monotonic() < end and p.is_running():
                time.sleep(0.0005)
            result = tool("hgshim-ckpt", "--timeout", 10, *(["--migrate", "cpu"] if k % 2 else []), p.pid, limit=30)
            p.finish(limit=30)
            expect(p.has_passed() and p.process.returncode == 0, f"run {k}: {p.describe()} (hgshim-ckpt: {result})")
        expect(result.status in (0, 1) and (result.status == 0 or result.err.strip()), f"run {k}: hgshim-ckpt: {result}")
        taken += result.status == 0
        refused += result.status == 1
        leaving.check_whole(log, f"run {k}: ")
        for n, seq in harness.snapshots(log).items():
            replay(log, "--snapshot", n, "--to", seq, "--verify")
        harness.remove(log)
    return f"{taken} done, {refused} refused"


def coverage(log):
    result = tool("hgshim-log", "coverage", "--json", log)
    expect(result.status == 0, f"hgshim-log coverage: {result}")
    return json.loads(result.out)


def stranger(place, scratch, call="cuMemAllocManaged", *options):
    """A call that hgshim has no row for works, is seen, and is named when something would have to be built on it."""
    log, hold = (os.path.join(scratch, n) for n in ("log", "hold"))
    with Program("stranger", os.path.join(scratch, "other"), *options, path=program("stranger"), place=place.bare) as p:
        checksum = p.passed()
    with Program("stranger", log, "--hold", hold, *options, path=program("stranger"), place=place) as p:
        p.wait_file(hold)
        for what in ([], ["--migrate", "cpu"], ["--migrate", "cpu", "--allow-partial"]):
            result = tool("hgshim-ckpt", *what, p.pid)
            expect_refusal(result, f"hgshim-ckpt {' '.join(what)}", (1, 2))
            expect(call in result.err or result.status == 2, f"hgshim-ckpt {' '.join(what)} does not name the call: {result.err!r}")
        expect(not harness.snapshots(log), "a refused snapshot is in the log")
        partial = checkpoint(p, "--allow-partial")
        shown = tool("hgshim-log", "coverage", log)
        expect(shown.status == 0 and call in shown.out, f"hgshim-log coverage: {shown}: {shown.out[:300]!r}")
        manifest = coverage(log)
        text = json.dumps(manifest)
        expect(call in text and re.search(r'"partial": true', text), f"the snapshot is not marked: {text[:300]}")
        os.unlink(hold)
        expect(p.passed() == checksum, "the result is another one")
    leaving.check_whole(log)
    expect(list(harness.snapshots(log)) == [partial], "another snapshot")
    return checksum


def references(place, scratch):
    """References to textures: their module's memory holds what they are, and calls that change them are replayed."""
    first, log, hold = (os.path.join(scratch, n) for n in ("first", "log", "hold"))
    compared = r"[1-9]\d* results compared, 0 differ"
    with Program("reference", first, env={"HGSHIM_CALLS": "all"}, path=program("reference"), place=place) as p:
        checksum = p.passed()
    with Program("reference", log, "--hold", f"{hold}@20", path=program("reference"), place=place) as p:
        p.wait_file(hold)
        checkpoint(p)
        os.unlink(hold)
        expect(p.passed() == checksum, "the result is another one")
    for where in (first, log):
        leaving.check_whole(where)
        result = replay(where, "--verify")
        expect(re.search(compared, result.out), f"nothing was compared: {result.out[-300:]!r}")
    return checksum


def tests():
    return [
        ("keeper on cpu: every pointer it was given is the shim's, and works as long as it runs",
         lambda s: keeper(CPU, False, s)),
        ("reference on cpu: replayed from the start and from a snapshot in its middle", lambda s: references(CPU, s)),
        ("keeper on cuda: no pointer of the driver reaches it, and those from before a move work after it",
         lambda s: keeper(CUDA, True, s)),
        ("lasting on cuda: moved while it waits, it uses all of the runtime afterwards",
         lambda s: goes_on(CUDA, "lasting", "held", s)),
        ("lasting on cuda: moved while it runs, it uses all of the runtime afterwards",
         lambda s: goes_on(CUDA, "lasting", "running", s)),
        ("contexts on cuda: moved while it waits, each thread has its contexts and each context what is its",
         lambda s: goes_on(CUDA, "contexts", "held", s)),
        ("contexts on cuda: moved while it runs, each thread has its contexts and each context what is its",
         lambda s: goes_on(CUDA, "contexts", "running", s)),
        ("contexts on cuda: the same from an arena",
         lambda s: goes_on(CUDA.with_env(" arena", HGSHIM_ARENA="1"), "contexts", "running", s)),
        ("ending on cuda: hgshim-ckpt and a program that is about to end do not wait for each other", ends_meanwhile),
        ("stranger on cuda: a call without a row is seen, reported, and refused by name", lambda s: stranger(CUDA, s)),
        ("stranger on cuda: an array of the driver is seen, reported, and refused by name",
         lambda s: stranger(CUDA, s, "cuArrayCreate_v2", "--image", "array")),
    ]
