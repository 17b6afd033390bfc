"""python_programs.py - Python programs under the shim: `LD_PRELOAD=libhgshim.so python train.py`. The programs: tests/python.

Their environment is what `make deps-python` makes. Nothing in it knows of hgshim; what is set here a user would set, too, and
docs/python.md says why.
"""
import glob
import math
import os
import re
import shutil
import threading
import time

import harness
from harness import CPU, CUDA, LONG, ON, Failed, Place, Program, checkpoint, expect, migrate, replay, run, tool
from programs import bind

PROGRAMS = os.path.join(harness.ROOT, "tests", "python")
PYTHON = os.path.join(harness.BUILD, "python", "bin", "python")
SHIM = os.path.join(harness.BUILD, "libhgshim.so")
CUDA_HOME = os.environ.get("CUDA_HOME", "/usr/local/cuda")
MOMENTS = 10 if LONG else 3
TRAIN = os.path.join(PROGRAMS, "train.py")
ROUNDS = {"cpu": 160, "cuda": 12}  # of train.py; the double executes slowly
PACE = {"cpu": 20000, "cuda": 500000}  # microseconds of rest in each, where something is to happen meanwhile
TOLERANCE = 1e-3  # of a loss of tinygrad's CPU backend, relative; its compiler contracts, and sums in another order

lock = threading.Lock()
undisturbed = {}


def nvrtc():
    """The library, of the toolkit or of the wheel."""
    found = glob.glob(os.path.join(CUDA_HOME, "lib64", "libnvrtc.so")) + \
        glob.glob(os.path.join(harness.BUILD, "python", "lib", "python*", "site-packages", "nvidia", "*", "lib", "libnvrtc.so.*"))
    expect(found, f"no NVRTC in '{CUDA_HOME}' nor in the Python environment: run 'make deps-python'")
    return found[0]


def python_place(place, driver=SHIM):
    """For tinygrad: it looks for the driver's file itself, and has no other way to go on without graphs than JIT=2."""
    return Place(place.name, [*place.prefix, PYTHON], is_double=place.is_double, DEV="CUDA", JIT="2", CUDA_PATH=driver,
                 NVRTC_PATH=nvrtc(), CACHEDB=os.path.join(harness.BUILD, "e2e", "tinygrad.db"))


def places():
    """Where tinygrad runs. NVRTC makes the same code for the double's GPU as for the cpu target."""
    same = {"HG_FAKE_CUDA_COMPUTE_CAPABILITY": "121"}
    double = os.path.join(harness.BUILD, "drivers", "cuda", "libcuda.so.1")
    return {"cpu": python_place(CPU), "cuda": python_place(CUDA).with_env("", **same),
            "cuda:bare": python_place(CUDA.bare, double).with_env("", **same)}


def losses(program):
    """What a program of train.py said: (spirals, pictures) of each round, as it was printed."""
    return [tuple(l.split()[3::2]) for l in program.lines if l.startswith("ROUND ")]


def start(place, log, rounds, pace=0, **env):
    return Program("train.py", log, "--rounds", rounds, "--pace", pace, path=TRAIN, env=env, place=place)


def reference(name, rounds):
    """Losses and checksum of a run that nobody disturbs; once for each place."""
    with lock:
        entry = undisturbed.setdefault((name, rounds), {"lock": threading.Lock()})
    with entry["lock"]:
        if "losses" not in entry:
            scratch = harness.make_scratch()
            try:
                with start(places()[name], os.path.join(scratch, "log"), rounds) as p:
                    entry["checksum"] = p.passed()
                    entry["losses"] = losses(p)
            finally:
                harness.remove(scratch)
    return entry["losses"], entry["checksum"]


def expect_silence(program):
    said = [l for l in program.stderr().splitlines() if "hgshim" in l]
    expect(not said, f"hgshim says: {said[:3]}")


def expect_undisturbed(program, name, rounds):
    """It ends as one that nobody has disturbed: the same losses to the last digit, the same weights."""
    want, checksum = reference(name, rounds)
    got = program.passed()
    expect(losses(program) == want, f"the losses differ from round {next((i for i, (a, b) in enumerate(zip(losses(program), want)) if a != b), '?')} on")
    expect(got == checksum, f"the weights are {got}; of a run that nobody disturbs they are {checksum}")
    expect_silence(program)


def learns(scratch):
    """The losses are those of tinygrad's own CPU backend, but for rounding."""
    rounds = ROUNDS["cpu"]
    got, checksum = reference("cpu", rounds)
    expect(len(got) == rounds, f"{len(got)} rounds were told of, not {rounds}")
    clang = os.environ.get("CLANG") or "clang"
    expect(shutil.which(clang), f"no '{clang}', which tinygrad's CPU backend compiles with")
    env = {"DEV": "CPU", "CC": clang, "CACHEDB": places()["cpu"].env["CACHEDB"]}
    with Program("train.py", os.path.join(scratch, "log"), "--rounds", rounds, path=TRAIN, place=Place("bare", [PYTHON], **env)) as p:
        p.passed()
        want = losses(p)
    worst = max(abs(float(a) - float(b)) / max(abs(float(b)), 1e-3) for x, y in zip(got, want) for a, b in zip(x, y))
    expect(len(want) == rounds and worst < TOLERANCE, f"a loss differs by {worst:.2g} of its value from that of tinygrad's CPU backend")
    return f"{rounds} rounds, losses {' '.join(got[0])} -> {' '.join(got[-1])}, at most {worst:.1g} from the CPU backend's"


def wait_moment(program, name, rng, number, step):
    program.wait_round(number)
    time.sleep(rng.uniform(0, 0.9) * PACE[name] * 1e-6 * step)
    expect(program.is_running(), f"the program ended too early: {program.describe()}")


def moments(name, count, scratch):
    """Checkpointed by pid at random moments of the training, it goes on as if nothing was; its log replays and verifies."""
    rng = harness.rng("python", name, "moments")
    rounds, log = ROUNDS[name], os.path.join(scratch, "log")
    reference(name, rounds)
    taken = []
    with start(places()[name], log, rounds, PACE[name], HGSHIM_CALLS="all") as p:
        for number in sorted(rng.sample(range(1, rounds * 3 // 4), count)):
            wait_moment(p, name, rng, number, 1)
            taken.append(checkpoint(p))
        expect_undisturbed(p, name, rounds)
    known = harness.snapshots(log)
    expect(sorted(set(taken)) == sorted(known), f"snapshots {taken} were taken, {sorted(known)} are in the log")
    launched = harness.launches(log)
    expect(launched[0] <= known[taken[0]] and known[taken[-1]] < launched[-1], "no launch before the first or after the last snapshot")
    check = tool("hgshim-log", "check", log)
    expect(check.status == 0, f"hgshim-log check: {check}")
    for n in taken:
        replay(log, "--snapshot", n, "--to", known[n], "--verify")
    result = replay(log, "--snapshot", taken[0], "--verify")
    verdict = re.search(r"(\d+) buffers compared, 0 differ; (\d+) results compared, 0 differ", result.out)
    expect(verdict and int(verdict.group(1)) and int(verdict.group(2)) >= 2, f"the replay compared too little: {result.out[-300:]!r}")
    return f"{len(launched)} launches, {sum(s > known[taken[0]] for s in launched)} after snapshot 1; {verdict.group(0)}"


def killed(name, scratch):
    """Killed some time after a checkpoint: the launches in between are in the log, and it replays."""
    rng = harness.rng("python", name, "killed")
    rounds, log = ROUNDS[name], os.path.join(scratch, "log")
    reference(name, rounds)
    with start(places()[name], log, rounds, PACE[name]) as p:
        wait_moment(p, name, rng, rng.randrange(1, rounds // 2), 1)
        taken = checkpoint(p)
        wait_moment(p, name, rng, min(p.round + rounds // 8, rounds - 2), 1)
        p.kill()
        expect(not p.has_passed(), "it was killed too late")
    check = tool("hgshim-log", "check", log)
    expect(check.status == 0, f"hgshim-log check: {check}")
    known = harness.snapshots(log)
    expect(list(known) == [taken], f"snapshots in the log: {known}")
    after = sum(s > known[taken] for s in harness.launches(log))
    expect(after, "no launch after the snapshot is in the log")
    result = replay(log, "--verify")
    return f"{after} launches after the snapshot; {result.out.strip().splitlines()[-1].strip()}"


def as_without(scratch):
    """In front of NVIDIA's driver (its double): the losses are those without the shim, and those of the cpu target."""
    rounds = ROUNDS["cuda"]
    want = reference("cuda:bare", rounds)
    expect(reference("cuda", rounds) == want, "the losses or weights are not those without the shim")
    expect(reference("cpu", rounds) == want, "the losses or weights are not those of the cpu target")
    return f"{rounds} rounds, weights {want[1]}"


def moved(scratch):
    """It leaves the driver in mid-training, for the cpu target."""
    rng = harness.rng("python", "moved")
    rounds, log = ROUNDS["cuda"], os.path.join(scratch, "log")
    reference("cuda", rounds)
    with start(places()["cuda"], log, rounds, PACE["cuda"]) as p:
        number = rng.randrange(1, rounds // 2)
        wait_moment(p, "cuda", rng, number, 1)
        taken = migrate(p)
        expect_undisturbed(p, "cuda", rounds)
    check = tool("hgshim-log", "check", log)
    expect(check.status == 0, f"hgshim-log check: {check}")
    replay(log, "--snapshot", taken, "--verify")
    return f"moved in round {number} or after"


def tests():
    if not os.access(PYTHON, os.X_OK):
        raise SystemExit(f"python: no '{PYTHON}': run 'make deps-python'")
    return [("tinygrad: a training learns as on tinygrad's CPU backend", learns),
            (f"tinygrad: {MOMENTS} checkpoints in mid-training change no loss, and the log replays", bind(moments, "cpu", MOMENTS)),
            ("tinygrad: killed after a checkpoint, its log replays", bind(killed, "cpu")),
            ("tinygrad on cuda: the same losses with the shim, without it, and on cpu", as_without),
            ("tinygrad on cuda: a checkpoint in mid-training changes no loss, and the log replays on cpu", bind(moments, "cuda", 1)),
            ("tinygrad on cuda: moved to cpu in mid-training it goes on as if nothing was", moved)]
