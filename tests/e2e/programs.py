"""programs.py - every acceptance program: run, checkpoint, hold, kill, replay, compare."""
import os
import subprocess
import threading
import time

import harness
from harness import Failed, Program, Skipped, checkpoint, compare, expect, replay, run, tool

MOMENTS = 10
KILLS = 8 if harness.LONG else 2  # for each program: more than 100 in all in a long run
plain_runs = {}
plain_lock = threading.Lock()


def plain(app):
    """Checksum and seconds of a run that nobody disturbs; once for each program."""
    with plain_lock:
        entry = plain_runs.setdefault(app, {"lock": threading.Lock()})
    with entry["lock"]:
        if "checksum" not in entry:
            scratch = harness.make_scratch()
            try:
                with Program(app, os.path.join(scratch, "log")) as p:
                    p.wait_ready()
                    ready = time.monotonic()
                    checksum = p.passed()
                    entry["seconds"] = time.monotonic() - ready
                    entry["checksum"] = checksum
            finally:
                harness.remove(scratch)
    return entry["checksum"], entry["seconds"]


def runs_as_it_is(app, scratch):
    checksum, seconds = plain(app)
    return f"{checksum}, {seconds:.1f} s"


def moments(app, scratch):
    """Ten checkpoints at random moments; each has a launch before and one after it."""
    rng = harness.rng(app, "moments")
    log = os.path.join(scratch, "log")
    checksum, seconds = plain(app)
    at = sorted(rng.uniform(0.02, 0.85) * seconds for i in range(MOMENTS))
    taken = []
    with Program(app, log, env={"HGSHIM_CALLS": "all"}) as p:
        p.wait_ready()
        ready = time.monotonic()
        stopped = 0.0  # time spent in checkpoints is not the program's
        for moment in at:
            time.sleep(max(0.0, ready + moment + stopped - time.monotonic()))
            expect(p.is_running(), f"the program ended before moment {moment:.2f} s: {p.describe()}")
            begin = time.monotonic()
            taken.append(checkpoint(p))
            stopped += time.monotonic() - begin
        got = p.passed()
    expect(got == checksum, f"the result is {got}; without checkpoints it is {checksum}")
    expect(len(set(taken)) == MOMENTS, f"{len(set(taken))} snapshots, not {MOMENTS}: {taken}")

    known = harness.snapshots(log)
    launched = harness.launches(log)
    expect(launched, "the log holds no launch")
    for n in taken:
        expect(n in known, f"snapshot {n} is not in the log: {sorted(known)}")
        expect(launched[0] <= known[n] < launched[-1],
               f"snapshot {n} at {known[n]} has no launch before or after it ({launched[0]}..{launched[-1]})")
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
    r1 = rng.randrange(rounds // 5, rounds // 3)
    r2 = rng.randrange(rounds * 2 // 3, rounds * 9 // 10)
    checksum, seconds = plain(app)
    with Program(app, log, "--hold", f"{first}@{r1}", "--hold", f"{second}@{r2}") as p:
        p.wait_ready()
        p.wait_file(first)
        held = checkpoint(p)
        at_first = p.memory()
        os.unlink(first)
        # another one, while it runs
        time.sleep(rng.uniform(0.05, 0.25) * seconds)
        running = checkpoint(p)
        p.wait_file(second)
        at_second = p.memory()
        p.kill()
    known = harness.snapshots(log)
    later = [s for s in harness.launches(log) if s > known[running]]
    expect(later, f"no launch between snapshot {running} and the second hold: nothing would be shown")
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
    replayed = 0
    for k in range(KILLS):
        log = os.path.join(scratch, f"log{k}")
        pending = None
        with Program(app, log) as p:
            p.wait_ready()
            if k % 2 or rng.random() < 0.5:
                time.sleep(rng.uniform(0, 0.3) * seconds)
                checkpoint(p)
            time.sleep(rng.uniform(0, 0.5) * seconds)
            expect(p.is_running(), f"the program ended too early: {p.describe()}")
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
