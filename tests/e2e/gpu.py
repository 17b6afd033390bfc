"""gpu.py - what `make check-gpu` shows on an NVIDIA GPU: programs recorded, checkpointed, replayed on cpu, moved to cpu.

HG_GPU_DRIVER=FILE takes that driver instead of the machine's. With tests/drivers/cuda it is a rehearsal, and called one.
"""
import os

import harness
import leaving
import native
import programs
from harness import FEW_ROUNDS, LONG, Place, expect, run
from programs import bind

DRIVER = os.environ.get("HG_GPU_DRIVER")
LEAVES = 10 if LONG else 3
SHIM = os.path.join(harness.BUILD, "libhgshim.so")
PROBE = os.path.join(harness.BUILD, "gpu-probe")


def make_place():
    if DRIVER:
        place = Place("the double", [], rounds=FEW_ROUNDS, moments=3, long_enough=0.05, is_double=True,
                      LD_PRELOAD=SHIM, HGSHIM_TARGET="cuda", HGSHIM_DRIVER=DRIVER)
        place.bare = Place("the double alone", [], rounds=FEW_ROUNDS, is_double=True, LD_LIBRARY_PATH=os.path.dirname(DRIVER))
    else:
        place = Place("gpu", [], reads_memory=False, is_exact=False, LD_PRELOAD=SHIM, HGSHIM_TARGET="cuda")
        place.bare = Place("gpu alone", [], reads_memory=False, is_exact=False)
    return place


def probe(scratch):
    """The driver is as hgshim assumes; the answers stay in the build folder, to be put into docs/measurements.md."""
    result = run([PROBE, *(["--driver", DRIVER] if DRIVER else [])], limit=900)
    expect(result.status in (0, 1), f"the probe: {result}")
    with open(os.path.join(harness.BUILD, "gpu-probe.md"), "w") as f:
        f.write(result.out)
    other = [line for line in result.out.splitlines() if line.startswith("- !!")]
    expect(not other and result.status == 0, f"{len(other)} answers are others than assumed, the first: {other[:1]}")
    return f"{result.out.count(chr(10) + '- ')} answers, in gpu-probe.md"


def moved(place, app, scratch):
    """A result of two drivers is not the same in the last bits where instructions are approximate: the program judges."""
    if programs.is_exact(place, app):
        return leaving.leaves(place, app, LEAVES, scratch)
    raise harness.Skipped("its result depends on instructions that are approximate on the GPU")


def tests():
    place = make_place()
    name = "gpu" if not DRIVER else "rehearsal of check-gpu with the double"
    found = [(f"{name}: the driver is as hgshim assumes", probe)]
    for app in harness.apps_that_leave():
        found += [(f"{name}: {app}: the same result with the shim and without it", bind(programs.runs_as_without, place, app)),
                  (f"{name}: {app}: {place.moments} checkpoints leave its result unchanged and replay on cpu",
                   bind(programs.moments, place, app)),
                  (f"{name}: {app}: moved to cpu at {LEAVES} moments it goes on as if nothing was", bind(moved, place, app))]
    if not DRIVER:
        found += [(f"{name}: {app}: the same result with the shim and without it", bind(programs.runs_as_without, place, app))
                  for app in harness.PORTABLE_ONLY]
    found += [(f"{name}: keeper: no pointer of the driver reaches it, and those from before a move work after it",
               lambda s: native.keeper(place, True, s)),
              (f"{name}: lasting: moved while it runs, it uses all of the runtime afterwards",
               lambda s: native.goes_on(place, "lasting", "running", s)),
              (f"{name}: contexts: moved while it runs, each thread has its contexts and each context what is its",
               lambda s: native.goes_on(place, "contexts", "running", s)),
              (f"{name}: stranger: a call without a row is seen, reported, and refused by name",
               lambda s: native.stranger(place, s)),
              (f"{name}: stranger: an array of the driver is seen, reported, and refused by name",
               lambda s: native.stranger(place, s, "cuArrayCreate_v2", "--image", "array"))]
    return found
