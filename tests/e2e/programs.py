"""programs.py - every acceptance program: run, checkpoint, hold, kill, replay, compare."""
import os
import subprocess
import threading
import time

import harness
from harness import CPU, Failed, Program, checkpoint, compare, expect, replay, tool

MAX_TICKS = 20  # a program says so often how far it is, or in each round if there are fewer
plain_runs = {}
plain_lock = threading.Lock()


def plain(place, app):
    """Checksum of a run that nobody disturbs, and seconds from one ROUND line to the next; once for each program."""
    with plain_lock:
        entry = plain_runs.setdefault((place.name, app), {"lock": threading.Lock()})
    with entry["lock"]:
        if "checksum" not in entry:
            scratch = harness.make_scratch()
            try:
                with Program(app, os.path.join(scratch, "log"), *sized(place, app), place=place) as p:
                    timed = ticks(place, app) * 9 // 10
                    p.wait_round(0)
                    begin = time.monotonic()
                    p.wait_round(timed * step(place, app))
                    entry["tick"] = (time.monotonic() - begin) / max(timed, 1)
                    entry["checksum"] = p.passed()
            finally:
                harness.remove(scratch)
    return entry["checksum"], entry["tick"]


def rounds(place, app):
    return place.rounds.get(app, default_rounds(app)) if place.rounds else default_rounds(app)


def sized(place, app):
    """Options that make it as long as this place wants it."""
    return ["--rounds", rounds(place, app)] if place.rounds else []


def step(place, app):
    """Rounds from one ROUND line to the next."""
    return max(1, rounds(place, app) // MAX_TICKS)


def ticks(place, app):
    return rounds(place, app) // step(place, app)


def pace(place, app, seconds, wanted):
    """Options that make a program last long enough; and how long a tick is then."""
    rest = (wanted - seconds) / step(place, app)
    if rest <= 0:
        return sized(place, app), seconds
    return [*sized(place, app), "--pace", int(rest * 1e6)], wanted


def wait_moment(program, place, app, rng, tick, seconds):
    """A random moment between two of the lines in which a program says how far it is."""
    program.wait_round(tick * step(place, app))
    rest = rng.uniform(0, 0.9) * seconds
    if program.round < (tick + 1) * step(place, app):  # else the last checkpoint took longer than that: no time to lose
        time.sleep(rest)
    expect(program.is_running(), f"the program ended too early: {program.describe()}")


def runs_as_it_is(place, app, scratch):
    checksum, tick = plain(place, app)
    return f"{checksum}, {tick * ticks(place, app):.1f} s of kernels"


# Programs with instructions that PTX leaves approximate.
APPROXIMATE = ("nbody", "train")


def is_exact(place, app):
    return place.is_exact or app not in APPROXIMATE


def runs_as_without(place, app, scratch):
    """With the shim in front of a driver a program's result is the one without it, and the one of the cpu target."""
    checksum, tick = plain(place, app)
    other, other_tick = plain(place.bare, app)
    expect(checksum == other, f"the result is {checksum}; without the shim it is {other}")
    other, unused = plain(CPU.with_rounds(place), app)
    if is_exact(place, app):
        expect(checksum == other, f"the result is {checksum}; on the cpu target it is {other}")
    return f"{checksum}, {tick * ticks(place, app):.1f} s of kernels, {other_tick * ticks(place, app):.1f} s without the shim"


def record_moments(place, app, nr, log):
    """A log with nr checkpoints at random moments; the first has a launch before, and the last one after it.

    The snapshots in their order, each snapshot's sequence number, and those of all launches."""
    rng = harness.rng(place.name, app, "moments")
    checksum, unpaced = plain(place, app)
    for attempt in range(3):
        # a machine under load checkpoints slowly: then the program shall be slower, too; and the run that was measured may have compiled
        options, seconds = pace(place, app, 0 if attempt else unpaced, place.long_enough * 4 ** attempt)
        at = sorted(rng.sample(range(ticks(place, app) - 3), nr))
        taken = []
        with Program(app, log, *options, env={"HGSHIM_CALLS": "all"}, place=place) as p:
            try:
                for tick in at:
                    wait_moment(p, place, app, rng, tick, seconds)
                    taken.append(checkpoint(p))
            except Failed:
                if attempt == 2 or not p.has_passed():
                    raise
                harness.remove(log)
                continue
            got = p.passed()
        expect(got == checksum, f"the result is {got}; without checkpoints it is {checksum}")
        expect(len(set(taken)) == nr, f"{len(set(taken))} snapshots, not {nr}: {taken}")
        known = harness.snapshots(log)
        expect(set(taken) <= set(known), f"snapshots {taken} were taken, {sorted(known)} are in the log")
        launched = harness.launches(log)
        expect(launched, "the log holds no launch")
        if launched[0] <= known[taken[0]] and known[taken[-1]] < launched[-1]:
            return taken, known, launched
        harness.remove(log)
    raise Failed(f"no run had a launch before the first moment and after the last one: {at}")


def moments(place, app, scratch):
    """Checkpoints at random moments, each replayed."""
    rng = harness.rng(place.name, app, "replays")
    log = os.path.join(scratch, "log")
    taken, known, launched = record_moments(place, app, place.moments, log)
    check = tool("hgshim-log", "check", log)
    expect(check.status == 0, f"hgshim-log check: {check}")
    # each snapshot alone, and one, chosen by chance, with all launches after it
    for n in taken:
        replay(log, "--snapshot", n, "--to", known[n], "--verify")
    replay(log, "--snapshot", rng.choice(taken), *(["--verify"] if is_exact(place, app) else []))
    between = [sum(known[a] < s <= known[b] for s in launched) for a, b in zip(taken, taken[1:])]
    return f"{len(launched)} launches, {min(between)} or more between two moments, all {place.moments} replayed"


def identity(place, app, scratch):
    """The bytes of the held program, read through /proc, against what replay reads back after rebuilding."""
    rng = harness.rng(place.name, app, "identity")
    log, first, second = (os.path.join(scratch, n) for n in ("log", "first", "second"))
    last = rounds(place, app)
    checksum, seconds = plain(place, app)
    options, seconds = pace(place, app, seconds, place.long_enough)
    for attempt in range(3):
        r1 = rng.randrange(last // 5, last // 3)
        r2 = rng.randrange(last * 2 // 3, last * 9 // 10)
        harness.remove(log)
        with Program(app, log, "--hold", f"{first}@{r1}", "--hold", f"{second}@{r2}", *options, place=place) as p:
            p.wait_file(first)
            held = checkpoint(p)
            at_first = p.memory()
            os.unlink(first)
            # another one, while it runs
            tick = rng.randrange(r1 // step(place, app) + 1, r2 // step(place, app) - 1)
            wait_moment(p, place, app, rng, tick, seconds)
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


def kills(place, app, scratch):
    """kill -9 at random moments, half of them during a checkpoint."""
    rng = harness.rng(place.name, app, "kills")
    checksum, seconds = plain(place, app)
    options, seconds = pace(place, app, seconds, place.long_enough)
    replayed = missed = during = 0
    k = 0
    while k < place.kills:
        log = os.path.join(scratch, f"log{k}-{missed}")
        pending = None
        in_checkpoint = k % 2 or place.kills == 1
        with Program(app, log, *options, place=place) as p:
            tick = 0
            try:
                if in_checkpoint or rng.random() < 0.5:
                    tick = rng.randrange(0, ticks(place, app) // 2)
                    wait_moment(p, place, app, rng, tick, seconds)
                    checkpoint(p)
                wait_moment(p, place, app, rng, rng.randrange(tick, ticks(place, app) - 2), seconds)
            except Failed:
                missed += 1
                if missed > 2 or not p.has_passed():
                    raise
                seconds /= 4  # it is much faster than it was: another moment
                continue
            if in_checkpoint:
                during += 1
                pending = subprocess.Popen([os.path.join(harness.BUILD, "hgshim-ckpt"), str(p.pid)],
                                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                time.sleep(rng.uniform(0, 0.04))
            p.kill()
        if pending:
            harness.expect_answer(pending, f"kill {k}")
        check = tool("hgshim-log", "check", log)
        expect(check.status == 0, f"kill {k}: hgshim-log check: {check}")
        if harness.snapshots(log):
            replay(log, "--verify")
            replayed += 1
        harness.remove(log)
        k += 1
    return f"{place.kills} kills, {during} during a checkpoint; {replayed} had a snapshot, and it replayed"


def default_rounds(app):
    """From the program's source: the last argument of app_args."""
    for suffix in (".cu", ".c"):
        path = os.path.join(harness.ROOT, "tests", "apps", app + suffix)
        if os.path.exists(path):
            with open(path) as f:
                return int(f.read().split("app_args(argc, argv, ")[1].split(")")[0])
    raise Failed(f"no source of '{app}'")


def bind(function, *args):
    return lambda scratch: function(*args, scratch)


def tests():
    found = []
    for app in harness.apps():
        found += [(f"{app}: runs as it is", bind(runs_as_it_is, CPU, app)),
                  (f"{app}: {CPU.moments} checkpoints leave its result unchanged and replay", bind(moments, CPU, app)),
                  (f"{app}: replay gives back the bytes of the held program", bind(identity, CPU, app)),
                  (f"{app}: its log survives kill -9", bind(kills, CPU, app))]
    return found
