"""libraries.py - programs that use the toolkit's own libraries, unmodified, on the cpu target."""
import os
import subprocess

import harness
from harness import CPU, LONG, Program, Skipped, checkpoint, compare, expect, replay

ROUNDS = 160 if LONG else 16    # all kinds of calls once in 16


def program(name):
    path = os.path.join(harness.BUILD, "libraries", name)
    if not os.access(path, os.X_OK):
        raise Skipped(f"the toolkit has no {name}: the program was not built")
    return path


def held(scratch):
    """One run, held and checkpointed in the middle; the rest of it is run again by the replay."""
    log, hold = os.path.join(scratch, "log"), os.path.join(scratch, "hold")
    with Program("cublas", log, "--rounds", ROUNDS, "--hold", f"{hold}@{ROUNDS // 2}", path=program("cublas"),
                 env={"HGSHIM_CALLS": "all"}) as p:
        p.wait_file(hold, limit=300)
        snapshot = checkpoint(p)
        memory = p.memory()
        os.unlink(hold)
        p.finish(limit=300)
        checksum = p.passed()
        said = p.stderr().strip()
    expect(not said, f"it was told: {said.splitlines()[-1:]}")
    known = harness.snapshots(log)
    later = [s for s in harness.launches(log) if s > known[snapshot]]
    expect(later, "no launch after the snapshot: nothing would be shown")
    dump = os.path.join(scratch, "held")
    replay(log, "--snapshot", snapshot, "--to", known[snapshot], "--dump", dump)
    compare(memory, dump, "cublas, held")
    replay(log, "--snapshot", snapshot, "--verify", limit=300)
    return f"{checksum}, {len(harness.launches(log))} launches, {len(later)} of them replayed"


def runs(name, scratch):
    with Program(name, os.path.join(scratch, "log"), path=program(name)) as p:
        p.finish(limit=300)
        return p.passed()


def tests():
    return [("cublas: runs on cpu, its products and vectors are right, and its log replays", held)] + [
        (f"{name}: runs on cpu, and its results are right", lambda scratch, name=name: runs(name, scratch))
        for name in ("curand", "cusparse", "cusolver")]
