"""leaving.py - a running program is moved from the driver behind hgshim to the cpu target, and never notices."""
import os
import struct
import subprocess
import threading
import time

import harness
import programs
from harness import CUDA, LONG, Program, checkpoint, compare, compare_runs, expect, migrate, replay, tool
from programs import bind, plain, sized, step, ticks, wait_moment

LEAVES = 10 if LONG else 5      # of each program, each in a run of its own
ARENA = 0x200000000000          # HGSHIM_ARENA=1
IN_ARENA = ("threads", "linked_list", "ptx_driver", "saxpy_streams")
VARIANTS = {
    "ptx_driver": [("does not tell the parameters of kernels", {"HG_FAKE_CUDA_NO_PARAM_INFO": "1"})],
    "train": [("does not tell the parameters of kernels", {"HG_FAKE_CUDA_NO_PARAM_INFO": "1"}),
              ("is of CUDA 13.1 and sees two devices", {"HG_FAKE_CUDA_DEVICES": "2", "HG_FAKE_CUDA_VERSION": "13010"})],
    "threads": [("keeps its addresses reserved", {"HG_FAKE_CUDA_KEEP_RESERVATION": "1"})],
}
SEVERAL_QUEUES = ("threads", "saxpy_streams")
KILLS = 4 if LONG else 2
MOVE_MS = 100                   # about how long a move takes
LEAVING_MS = 15                 # the part of it after the snapshot
STATES = ("waiting", "quiescing", "copying", "committing", "moving")
TICK = 0.03                     # seconds at least between two lines in which a program says how far it is
references = {}
reference_lock = threading.Lock()


def hold_tick(place, app):
    """When a program is looked at from outside."""
    return ticks(place, app) * 3 // 4


def hold_at(place, app, file):
    return ["--hold", f"{file}@{hold_tick(place, app) * step(place, app)}"]


def unhurried(place, app):
    """Options and environment that make a program last long enough, its kernels if it can be; seconds of a tick."""
    checksum, seconds = plain(place, app)
    if not place.is_double:
        options, seconds = programs.pace(place, app, seconds, TICK)
        return options, {}, seconds
    more = max(0, TICK - seconds) / step(place, app)
    return sized(place, app), {"HG_FAKE_CUDA_KERNEL_US": str(int(more * 1e6))}, max(seconds, TICK)


def reference(place, app):
    """The memory of a program that nobody disturbs, at the hold, without hgshim."""
    with reference_lock:
        lock = references.setdefault((place.name, app), {"lock": threading.Lock()})
    with lock["lock"]:
        if "memory" not in lock:
            scratch = harness.make_scratch()
            hold = os.path.join(scratch, "hold")
            try:
                with Program(app, os.path.join(scratch, "log"), *sized(place, app), *hold_at(place, app, hold),
                             place=place.bare or place) as p:
                    p.wait_file(hold)
                    lock["memory"] = p.memory()
            finally:
                harness.remove(scratch)
    return lock["memory"]


def wait_in_flight(program, seconds):
    """Until a stream of the double has work; how many have."""
    end = time.monotonic() + seconds
    while True:
        busy = harness.busy_queues(program.pid)
        if busy or time.monotonic() > end:
            return busy
        time.sleep(0.0005)


def check_whole(log, what=""):
    check = tool("hgshim-log", "check", log)
    expect(check.status == 0, f"{what}hgshim-log check: {check}")


def leave_once(place, app, folder, rng, early=False):
    """One run of a program that leaves its driver at a random moment; how many streams had work in it."""
    log, hold, control = (os.path.join(folder, n) for n in ("log", "hold", "control"))
    checksum, unused = plain(place, app)
    options, env, seconds = unhurried(place, app)
    if place.is_double:
        env["HG_FAKE_CUDA_CONTROL"] = control
    before = None
    with Program(app, log, *options, *hold_at(place, app, hold), env=env, place=place) as p:
        tick = rng.randrange(1 if early else 0, hold_tick(place, app) - 1)
        if early:
            wait_moment(p, place, app, rng, rng.randrange(0, tick), seconds)
            before = checkpoint(p)
        wait_moment(p, place, app, rng, tick, seconds)
        busy = wait_in_flight(p, 0.2 + 2 * seconds) if place.is_double else 0
        moved = migrate(p)
        with harness.counted(place, control) as counters:
            at_move = counters and counters.calls()
            p.wait_file(hold)
            memory = p.memory()
            if place.reads_memory:
                compare_runs(reference(place, app), memory, f"moved in round {p.round} or before, held")
            after = checkpoint(p)
            os.unlink(hold)
            got = p.passed()
            late = counters and harness.made_since(at_move, counters.calls())
    expect(got == checksum, f"the result is {got}; of a program that stays it is {checksum}")
    expect(not late, f"the driver that was left has been called: {late}")
    said = [l for l in p.stderr().splitlines() if l.startswith("hgshim")]
    expect(not said, f"messages: {said[:3]}")

    check_whole(log)
    known = harness.snapshots(log)
    expect(set(known) >= {n for n in (before, moved, after) if n}, f"snapshots {sorted(known)} are in the log")
    # each alone; and the launches behind it, on either side of the move
    for n in sorted(known):
        replay(log, "--snapshot", n, "--to", known[n], "--verify")
    replay(log, "--snapshot", moved, "--verify")
    dump = os.path.join(folder, "dump")
    replay(log, "--snapshot", after, "--to", known[after], "--dump", dump)
    compare(memory, dump, f"snapshot {after}, taken after the move")
    return busy


def leaves(place, app, times, scratch):
    rng = harness.rng(place.name, app, "leaves")
    busy = []
    for k in range(times):
        folder = os.path.join(scratch, str(k))
        os.mkdir(folder)
        busy.append(leave_once(place, app, folder, rng, early=k % 2 == 1))
        harness.remove(folder)
    if place.is_double and times > 1:
        wanted = 2 if app in SEVERAL_QUEUES else 1
        expect(max(busy) >= wanted, f"streams with work at each moment: {busy}: too few to show anything")
    return f"{times} moments, streams with work in each: {busy}"


def leaves_from_arena(place, app, scratch):
    """Allocations at addresses of hgshim's own choosing from the start."""
    rng = harness.rng(place.name, app, "arena")
    arena = place.with_env(" arena", HGSHIM_ARENA="1")
    busy = leave_once(arena, app, scratch, rng, early=True)
    with Program(app, os.path.join(scratch, "second"), *sized(place, app), place=arena) as p:
        p.wait_ready()
        p.passed()
        # variables of modules are the driver's to place
        inside = [n for n, (address, size) in p.buffers.items() if ARENA <= address < ARENA << 1]
        expect(len(inside) >= len(p.buffers) - 1 and inside, f"only {inside} of {sorted(p.buffers)} lie in the arena")
    return f"{len(inside)} of {len(p.buffers)} buffers in the arena, {busy} streams with work"


def control_state(log):
    """What a process does for hgshim-ckpt, or did when it ended: logdb/control.h."""
    with open(os.path.join(log, "control"), "rb") as f:
        f.seek(40)
        state, status, done, total, snapshot = struct.unpack("<IIQQQ", f.read(32))
    name = STATES[state]
    # before the snapshot it makes the new driver ready, and nothing is stopped yet
    return "preparing" if name == "moving" and not snapshot else name


def killed_while_leaving(place, app, scratch):
    """The first half of the kills at random, the other one when the program is on its way from one driver to the other."""
    rng = harness.rng(place.name, app, "killed")
    options, env, seconds = unhurried(place, app)
    states = []
    for k in range(KILLS):
        log = os.path.join(scratch, f"log{k}")
        with Program(app, log, *options, *hold_at(place, app, os.path.join(scratch, f"hold{k}")), env=env, place=place) as p:
            tick = rng.randrange(1, hold_tick(place, app))
            wait_moment(p, place, app, rng, rng.randrange(0, tick), seconds)
            first = checkpoint(p)
            wait_moment(p, place, app, rng, tick, seconds)
            pending = subprocess.Popen([os.path.join(harness.BUILD, "hgshim-ckpt"), "--migrate", "cpu", str(p.pid)],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            end = time.monotonic() + rng.uniform(0, MOVE_MS / 1000)
            if k >= KILLS // 2:
                while pending.poll() is None and control_state(log) != "moving":
                    time.sleep(0.0002)
                end = time.monotonic() + rng.uniform(0, LEAVING_MS / 1000)
            while pending.poll() is None and time.monotonic() < end:
                time.sleep(0.0002)
            in_time = pending.poll() is None
            p.kill()
        said = harness.expect_answer(pending, f"kill {k}")
        expect(in_time or pending.returncode == 0, f"kill {k}: the move was refused: {said!r}")
        states.append("done" if pending.returncode == 0 else control_state(log))
        check_whole(log, f"kill {k}: ")
        expect(first in harness.snapshots(log), f"kill {k}: snapshot {first} is gone")
        replay(log, "--verify")
        harness.remove(log)
    return f"{KILLS} kills: {', '.join(states)}"


def tests():
    found = []
    for app in harness.apps_that_leave():
        found += [(f"{app} on cuda: the same result with the shim, without it, and on cpu", bind(programs.runs_as_without, CUDA, app)),
                  (f"{app} on cuda: {CUDA.moments} checkpoints leave its result unchanged and replay on cpu",
                   bind(programs.moments, CUDA, app)),
                  (f"{app} on cuda: replay on cpu gives back the bytes of the held program", bind(programs.identity, CUDA, app)),
                  (f"{app} on cuda: its log survives kill -9", bind(programs.kills, CUDA, app)),
                  (f"{app} on cuda: moved to cpu at {LEAVES} moments it goes on as if nothing was", bind(leaves, CUDA, app, LEAVES)),
                  (f"{app} on cuda: its log survives kill -9 while it is moved", bind(killed_while_leaving, CUDA, app))]
        for what, env in VARIANTS.get(app, ()):
            found.append((f"{app} on cuda: moved to cpu from a driver that {what}",
                          bind(leaves, CUDA.with_env(f" that {what}", **env), app, 1)))
        if app in IN_ARENA or LONG:
            found.append((f"{app} on cuda: moved to cpu from an arena of hgshim's own addresses",
                          bind(leaves_from_arena, CUDA, app)))
    return found
