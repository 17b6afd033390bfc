"""errors.py - every call of the driver that a snapshot or a move makes fails once: the program and its snapshots survive."""
import os
import re

import harness
import leaving
import native
from harness import CUDA, Counters, Program, checkpoint, expect, migrate, replay, tool

OUT_OF_MEMORY, INVALID_HANDLE, UNKNOWN = 2, 400, 999
# What only gives back what hgshim used for itself: when it fails, the snapshot is good all the same.
TIDIES_UP = {"cuEventDestroy_v2", "cuStreamDestroy_v2", "cuMemFreeHost", "cuStreamSynchronize"}
AROUND_IT = {"cuCtxPushCurrent_v2", "cuCtxPopCurrent_v2"}
# As often as it takes until something is done: there is no last one.
POLLED = {"cuEventQuery", "cuStreamQuery"}


class Held:
    """A program that waits, with a snapshot; and the page of its driver's calls."""

    def __init__(self, scratch, name, nr, place, *options):
        self.log, self.hold, control = (os.path.join(scratch, f"{n}{nr}") for n in ("log", "hold", "control"))
        self.program = Program(name, self.log, *options, "--hold", self.hold, path=native.program(name), place=place,
                               env={"HG_FAKE_CUDA_CONTROL": control})
        self.counters = None
        try:
            self.program.wait_file(self.hold)
            self.good = checkpoint(self.program)
            self.counters = Counters(control)
        except BaseException:
            self.close()
            raise

    def ends(self):
        """Lets it run to its end; its checksum."""
        os.unlink(self.hold)
        return self.program.passed()

    def is_whole(self, what):
        """The log, and the snapshot that was there before."""
        leaving.check_whole(self.log, f"{what}: ")
        known = harness.snapshots(self.log)
        expect(self.good in known, f"{what}: snapshot {self.good} is gone")
        replay(self.log, "--snapshot", self.good, "--to", known[self.good], "--verify")

    def said(self):
        return self.program.stderr()

    def close(self):
        self.program.close()
        if self.counters:
            self.counters.page.close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()


def calls_of(held, *options):
    """How often each call is made for a request."""
    before = held.counters.calls()
    checkpoint(held.program, *options)
    made = harness.made_since(before, held.counters.calls())
    expect(len(made) > 5, f"only {made} calls: nothing would be shown")
    return made


def moments(made, but={}):
    """The first and the last of each, after those that are not of interest."""
    return [(call, nth) for call, n in sorted(made.items()) for nth in sorted({but.get(call, 0) + 1, n})
            if but.get(call, 0) < nth <= n and (nth == 1 or call not in POLLED)]


def code(k, call):
    chosen = (UNKNOWN, OUT_OF_MEMORY, INVALID_HANDLE)[k % 3]
    # an event that was never recorded is no failure
    return UNKNOWN if call == "cuEventElapsedTime_v2" else chosen


def in_a_snapshot(scratch):
    tolerated = set()
    with Held(scratch, "lasting", "", CUDA, "--rounds", 20) as held:
        todo = moments(calls_of(held))
        for k, (call, nth) in enumerate(todo):
            what = f"'{call}', call {nth}, fails with {code(k, call)}"
            before = harness.snapshots(held.log)
            held.counters.fail(call, nth, code(k, call))
            result = tool("hgshim-ckpt", held.program.pid)
            expect(not held.counters.pending(call), f"{what}: it was not called so often: {result}")
            known = harness.snapshots(held.log)
            if result.status:
                expect(call in result.err, f"{what}: the message does not name it: {result.err!r}")
                expect(known == before, f"{what}: snapshots {sorted(known)}, before {sorted(before)}")
            else:
                expect(call in TIDIES_UP | AROUND_IT, f"{what}: and hgshim-ckpt says nothing of it")
                tolerated.add(call)
                held.good = max(known)
            expect(held.program.is_running(), f"{what}: the program ended: {held.program.describe()}")
            held.is_whole(what)
        held.good = checkpoint(held.program)
        held.ends()
        held.is_whole("after all of them")
    return f"{len(todo)} failures of {len({c for c, n in todo})} calls; harmless: {', '.join(sorted(tolerated)) or 'none'}"


def in_a_move(place, name, scratch):
    with Held(scratch, name, "-undisturbed", place, "--rounds", 20) as held:
        snapshot = calls_of(held)
        made = calls_of(held, "--migrate", "cpu")
        checksum = held.ends()
    # the snapshot's part of a move has a test of its own
    todo = moments(made, snapshot)
    expect(len(todo) > 5, f"only {todo}: nothing would be shown")
    stayed, moved = set(), set()
    held, nr = None, 0
    try:
        for k, (call, nth) in enumerate(todo):
            if not held:
                held, nr = Held(scratch, name, nr, place, "--rounds", 20), nr + 1
            what = f"'{call}', call {nth}, fails with {code(k, call)}"
            held.counters.fail(call, nth, code(k, call))
            result = tool("hgshim-ckpt", "--migrate", "cpu", held.program.pid)
            expect(not held.counters.pending(call), f"{what}: it was not called so often: {result}")
            expect(held.program.is_running(), f"{what}: the program ended: {held.program.describe()}")
            if result.status:
                # it stays where it is, and can be asked again
                expect(call in result.err, f"{what}: the message does not name it: {result.err!r}")
                stayed.add(call)
                calls_of(held)
                held.is_whole(what)
                continue
            moved.add(call)
            got = held.ends()
            expect(got == checksum, f"{what}: the result is {got}, not {checksum}")
            # hgshim's own threads leave their messages to the program's next call
            said = held.said()
            expect(re.search(rf"\b{call}\b", said) or call in TIDIES_UP, f"{what}: and nobody is told: {said[:300]!r}")
            held.is_whole(what)
            held.close()
            held = None
        if held:
            got = held.ends()
            expect(got == checksum, f"after all of them: the result is {got}, not {checksum}")
    finally:
        if held:
            held.close()
    return (f"{len(todo)} failures; it stays for {', '.join(sorted(stayed)) or 'none'}; "
            f"it moves and says so for {', '.join(sorted(moved)) or 'none'}")


def tests():
    arena = CUDA.with_env(" arena", HGSHIM_ARENA="1")
    return [
        ("errors: a call of the driver that fails in a snapshot is named, and nothing else is lost", in_a_snapshot),
        ("errors: a call of the driver that fails in a move is named, and the program ends well",
         lambda s: in_a_move(CUDA, "lasting", s)),
        ("errors: the same with an arena", lambda s: in_a_move(arena, "lasting", s)),
    ]
