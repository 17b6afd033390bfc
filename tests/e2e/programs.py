"""programs.py - every acceptance program: run, checkpoint, hold, kill, replay, compare."""
import os
import subprocess
import threading
import time

import harness
from harness import Failed, Program, Skipped, checkpoint, compare, expect, replay, run, tool

MOMENTS = 10
TICKS = 20  # a program says so often how far it is
LONG_ENOUGH = 0.15  # seconds for each of them: ten checkpoints shall fall between launches, not after the last
KILLS = 8 if harness.LONG else 2  # for each program: more than 100 in all in a long run
plain_runs = {}
plain_lock = threading.Lock()


def plain(app):
    """Checksum of a run that nobody disturbs, and seconds from one ROUND line to the next; once for each program."""
    with plain_lock:
        entry = plain_runs.setdefault(app, {"lock": threading.Lock()})
    with entry["lock"]:
        if "checksum" not in entry:
            scratch = harness.make_scratch()
            try:
                with Program(app, os.path.join(scratch, "log")) as p:
                    p.wait_round(0)
                    begin = time.monotonic()
                    p.wait_round(TICKS * 9 // 10 * step(app))
                    entry["tick"] = (time.monotonic() - begin) / (TICKS * 9 // 10)
                    entry["checksum"] = p.passed()
            finally:
                harness.remove(scratch)
    return entry["checksum"], entry["tick"]


def step(app):
    """Rounds from one ROUND line to the next."""
    return default_rounds(app) // TICKS


def pace(app, seconds, wanted=LONG_ENOUGH):
    """Options that make a program last long enough; and how long a tick is then."""
    rest = (wanted - seconds) / step(app)
    if rest <= 0:
        return [], seconds
    return ["--pace", int(rest * 1e6)], wanted


def wait_moment(program, app, rng, tick, seconds):
    """A random moment between two of the lines in which a program says how far it is."""
    program.wait_round(tick * step(app))
    rest = rng.uniform(0, 0.9) * seconds
    if program.round < (tick + 1) * step(app):  # else the last checkpoint took longer than the tick: no time to lose
        time.sleep(rest)
    expect(program.is_running(), f"the program ended too early: {program.describe()}")


def runs_as_it_is(app, scratch):
    checksum, tick = plain(app)
    return f"{checksum}, {tick * TICKS:.1f} s of kernels"


def moments(app, scratch):
    """Ten checkpoints at random moments; each has a launch before and one after it."""
    rng = harness.rng(app, "moments")
    log = os.path.join(scratch, "log")
    checksum, unpaced = plain(app)
    for attempt in range(3):
        # a machine under load checkpoints slowly: then the program shall be slower, too
        options, seconds = pace(app, unpaced, LONG_ENOUGH * (1 + 2 * attempt))
        at = sorted(rng.sample(range(TICKS - 3), MOMENTS))
        taken = []
        with Program(app, log, *options, env={"HGSHIM_CALLS": "all"}) as p:
            try:
                for tick in at:
                    wait_moment(p, app, rng, tick, seconds)
                    taken.append(checkpoint(p))
            except Failed:
                if attempt == 2 or not p.has_passed():
                    raise
                harness.remove(log)
                continue
            got = p.passed()
        expect(got == checksum, f"the result is {got}; without checkpoints it is {checksum}")
        expect(len(set(taken)) == MOMENTS, f"{len(set(taken))} snapshots, not {MOMENTS}: {taken}")
        known = harness.snapshots(log)
        expect(set(taken) <= set(known), f"snapshots {taken} were taken, {sorted(known)} are in the log")
        launched = harness.launches(log)
        expect(launched, "the log holds no launch")
        if launched[0] <= known[taken[0]] and known[taken[-1]] < launched[-1]:
            break
        harness.remove(log)
    else:
        raise Failed(f"no run had a launch before the first moment and after the last one: {at}")

    check = tool("hgshim-log", "check", log)
    expect(check.status == 0, f"hgshim-log check: {check}")
    # each snapshot alone, and one, chosen by chance, with all launches after it
    for n in taken:
        replay(log, "--snapshot", n, "--to", known[n], "--verify")
    replay(log, "--snapshot", rng.choice(taken), "--verify")
    between = [sum(known[a] < s <= known[b] for s in launched) for a, b in zip(taken, taken[1:])]
    return f"{len(launched)} launches, {min(between)} or more between two moments, all {MOMENTS} replayed"


def identity(app, scratch):
    """The bytes of the held program, read through /proc, against what replay reads back after rebuilding."""
    rng = harness.rng(app, "identity")
    log, first, second = (os.path.join(scratch, n) for n in ("log", "first", "second"))
    rounds = default_rounds(app)
    checksum, seconds = plain(app)
    options, seconds = pace(app, seconds)
    for attempt in range(3):
        r1 = rng.randrange(rounds // 5, rounds // 3)
        r2 = rng.randrange(rounds * 2 // 3, rounds * 9 // 10)
        harness.remove(log)
        with Program(app, log, "--hold", f"{first}@{r1}", "--hold", f"{second}@{r2}", *options) as p:
            p.wait_file(first)
            held = checkpoint(p)
            at_first = p.memory()
            os.unlink(first)
            # another one, while it runs
            wait_moment(p, app, rng, rng.randrange(r1 // step(app) + 1, r2 // step(app) - 1), seconds)
            running = checkpoint(p)
            p.wait_file(second)
            at_second = p.memory()
            p.kill()
        os.unlink(second)
        known = harness.snapshots(log)
        later = [s for s in harness.launches(log) if s > known[running]]
        if later:
            break
    else:
        raise Failed("no launch between the last snapshot and the second hold, three times: nothing would be shown")
    expect(any(at_first[n][1] != at_second[n][1] for n in at_first), "no buffer changed between the two holds")

    dump = os.path.join(scratch, "held")
    replay(log, "--snapshot", held, "--to", known[held], "--dump", dump)
    buffers = compare(at_first, dump, f"snapshot {held}, program held in round {r1}")
    dump = os.path.join(scratch, "tail")
    replay(log, "--snapshot", running, "--verify", "--dump", dump)
    compare(at_second, dump, f"snapshot {running} and {len(later)} launches, program held in round {r2}")
    return (f"rounds {r1} and {r2}, {buffers} buffers, {sum(len(d) for a, d in at_first.values())} bytes, "
            f"{len(later)} launches replayed")


def kills(app, scratch):
    """kill -9 at random moments, half of them during a checkpoint."""
    rng = harness.rng(app, "kills")
    checksum, seconds = plain(app)
    options, seconds = pace(app, seconds)
    replayed = missed = 0
    k = 0
    while k < KILLS:
        log = os.path.join(scratch, f"log{k}-{missed}")
        pending = None
        with Program(app, log, *options) as p:
            tick = 0
            try:
                if k % 2 or rng.random() < 0.5:
                    tick = rng.randrange(0, TICKS // 2)
                    wait_moment(p, app, rng, tick, seconds)
                    checkpoint(p)
                wait_moment(p, app, rng, rng.randrange(tick, TICKS - 2), seconds)
            except Failed:
                missed += 1
                if missed > 2 or not p.has_passed():
                    raise
                seconds /= 4  # it is much faster than it was: another moment
                continue
            if k % 2:
                pending = subprocess.Popen([os.path.join(harness.BUILD, "hgshim-ckpt"), str(p.pid)],
                                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                time.sleep(rng.uniform(0, 0.04))
            p.kill()
        if pending:
            try:
                out, err = pending.communicate(timeout=30 * harness.PATIENCE)
            except subprocess.TimeoutExpired:
                pending.kill()
                raise Failed(f"kill {k}: hgshim-ckpt waits for ever for a process that was killed")
            expect(pending.returncode == 0 or (pending.returncode > 0 and err.strip()),
                   f"kill {k}: hgshim-ckpt ended with status {pending.returncode} and said {err!r}")
        check = tool("hgshim-log", "check", log)
        expect(check.status == 0, f"kill {k}: hgshim-log check: {check}")
        if harness.snapshots(log):
            replay(log, "--verify")
            replayed += 1
        harness.remove(log)
        k += 1
    return f"{KILLS} kills, {KILLS // 2} during a checkpoint; {replayed} had a snapshot, and it replayed"


def default_rounds(app):
    """From the program's source: the last argument of app_args."""
    for suffix in (".cu", ".c"):
        path = os.path.join(harness.ROOT, "tests", "apps", app + suffix)
        if os.path.exists(path):
            with open(path) as f:
                return int(f.read().split("app_args(argc, argv, ")[1].split(")")[0])
    raise Failed(f"no source of '{app}'")


def on_the_gpu(app, scratch):
    if not os.path.exists("/dev/nvidiactl"):
        raise Skipped("no NVIDIA GPU on this machine")
    path = os.path.join(harness.BUILD, "apps", app)
    bare = run([path], limit=120)
    expect(bare.status == 0, f"without the shim: {bare}")
    with Program(app, os.path.join(scratch, "log"), on=False,
                 env={"LD_PRELOAD": os.path.join(harness.BUILD, "libhgshim.so"), "HGSHIM_TARGET": "cuda"}) as p:
        got = p.passed()
    want = bare.out.strip().splitlines()[-1].split()[1]
    expect(got == want, f"the result is {got}; without the shim it is {want}")
    return got


def bind(function, app):
    return lambda scratch: function(app, scratch)


def tests():
    found = []
    for app in harness.apps():
        found += [(f"{app}: runs as it is", bind(runs_as_it_is, app)),
                  (f"{app}: {MOMENTS} checkpoints leave its result unchanged and replay", bind(moments, app)),
                  (f"{app}: replay gives back the bytes of the held program", bind(identity, app)),
                  (f"{app}: its log survives kill -9", bind(kills, app))]
    return found


def gpu_tests():
    return [(f"{app}: the same result with the shim in front of the NVIDIA driver", bind(on_the_gpu, app))
            for app in harness.apps()]
