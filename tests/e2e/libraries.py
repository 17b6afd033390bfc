"""libraries.py - programs that use the toolkit's own libraries, unmodified."""
import os

import harness
from harness import CPU, CUDA, LONG, Program, Skipped, checkpoint, compare, expect, replay

ROUNDS = 160 if LONG else 16    # all kinds of calls once in 16
# The double takes PTX alone, and of what cuBLAS would choose for a GPU that it knows there is machine code alone.
NEW_CUDA = CUDA.with_env(", newer than the library", HG_FAKE_CUDA_COMPUTE_CAPABILITY="990")


def program(name):
    path = os.path.join(harness.BUILD, "libraries", name)
    if not os.access(path, os.X_OK):
        raise Skipped(f"the toolkit has no {name}: the program was not built")
    return path


def begin(place, log, rounds, *options):
    return Program("cublas", log, "--rounds", rounds, *options, path=program("cublas"), place=place, env={"HGSHIM_CALLS": "all"})


def held(scratch):
    """One run, held and checkpointed in the middle; the rest of it is run again by the replay."""
    log, hold = os.path.join(scratch, "log"), os.path.join(scratch, "hold")
    with begin(CPU, log, ROUNDS, "--hold", f"{hold}@{ROUNDS // 2}") as p:
        p.wait_file(hold, limit=300)
        snapshot = checkpoint(p)
        memory = p.memory()
        os.unlink(hold)
        p.finish(limit=300)
        checksum = p.passed()
        said = p.stderr().strip()
    expect(not said, f"it was told: {said.splitlines()[-1:]}")
    known = harness.snapshots(log)
    launched = harness.launches(log)
    later = [s for s in launched if s > known[snapshot]]
    expect(later, "no launch after the snapshot: nothing would be shown")
    dump = os.path.join(scratch, "held")
    replay(log, "--snapshot", snapshot, "--to", known[snapshot], "--dump", dump)
    compare(memory, dump, "cublas, held")
    replay(log, "--snapshot", snapshot, "--verify", limit=300)
    return f"{checksum}, {len(launched)} launches, {len(later)} of them replayed"


def moved(scratch):
    """Behind the double of NVIDIA's driver, which it leaves in the middle."""
    hold = os.path.join(scratch, "hold")
    rounds = ROUNDS // 2
    with begin(CPU, os.path.join(scratch, "log"), rounds) as p:
        p.finish(limit=300)
        checksum = p.passed()
    with begin(NEW_CUDA, os.path.join(scratch, "moved"), rounds, "--hold", f"{hold}@{rounds // 2}") as p:
        p.wait_file(hold, limit=300)
        checkpoint(p, "--migrate", "cpu", "--timeout", 250, limit=300)
        os.unlink(hold)
        p.finish(limit=300)
        got = p.passed()
    expect(got == checksum, f"moved from cuda to cpu, its result is {got}; on cpu it is {checksum}")
    return checksum


def runs(name, scratch):
    with Program(name, os.path.join(scratch, "log"), path=program(name)) as p:
        p.finish(limit=300)
        return p.passed()


def tests():
    return [("cublas: its results are right on cpu, and its log replays", held),
            ("cublas on cuda: moves to cpu and never notices", moved)] + [
        (f"{name}: its results are right on cpu", lambda scratch, name=name: runs(name, scratch))
        for name in ("curand", "cusparse", "cusolver")]
