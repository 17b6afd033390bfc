"""python_programs.py - Python programs under the shim: `LD_PRELOAD=libhgshim.so python train.py`. The programs: tests/python.

Their environment is what `make deps-python` makes. Nothing in it knows of hgshim; what is set here a user would set, too, and
docs/python.md says why.
"""
import contextlib
import glob
import os
import re
import shutil
import threading
import time

import harness
from harness import CPU, CUDA, LONG, Place, Program, checkpoint, expect, migrate, replay, run, tool
from programs import bind

PROGRAMS = os.path.join(harness.ROOT, "tests", "python")
PYTHON = os.path.join(harness.BUILD, "python", "bin", "python")
SHIM = os.path.join(harness.BUILD, "libhgshim.so")
CUDA_HOME = os.environ.get("CUDA_HOME", "/usr/local/cuda")
MOMENTS = 10 if LONG else 3
DOUBLE = os.path.join(harness.BUILD, "drivers", "cuda", "libcuda.so.1")
ROUNDS = {"train.py": {"cpu": 160, "cuda": 12}}  # the double executes slowly
FEW = {"cpu": 100, "cuda": 20}
# what hgshim has to say: of the kernel that fails, and of the log of a process that another one has started
# which of the four blocks of 256 is first to be stopped, nobody knows: 16 + 1024 * block
EXPECTED = {"manners.py": "illegal address 0x(10|410|810|c10) in kernel 'add'|holds another log"}
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


def cache(name):
    """What these libraries compile they keep; here for all tests."""
    return os.path.join(harness.BUILD, "e2e", name)


def without_linker():
    """A folder whose libnvJitLink is none: cuda.core goes to the driver, then, to link."""
    folder = cache("no-linker")
    os.makedirs(folder, exist_ok=True)
    for name in ("libnvJitLink.so.13", "libnvJitLink.so"):
        if not os.path.lexists(os.path.join(folder, name)):
            with contextlib.suppress(FileExistsError):
                os.symlink(SHIM, os.path.join(folder, name))
    return folder


def settings(app, driver):
    """What hgshim does not have, its users switch off: docs/python.md."""
    if app == "train.py":
        return {"DEV": "CUDA", "JIT": "2", "CUDA_PATH": driver, "LD_LIBRARY_PATH": os.path.dirname(nvrtc()), "CACHEDB": cache("tinygrad.db")}
    # the libraries of a toolkit may be where the loader does not look
    return {"CUDA_PATH": CUDA_HOME, "LD_LIBRARY_PATH": f"{without_linker()}:{CUDA_HOME}/lib64", "CUPY_COMPILE_WITH_PTX": "1", "CUPY_CACHE_DIR": cache("cupy")}


def python_place(app, name):
    """cpu, cuda or cuda:bare, for a program. NVRTC makes the same code for the double's GPU as for the cpu target."""
    place = {"cpu": CPU, "cuda": CUDA, "cuda:bare": CUDA.bare}[name]
    return Place(name, [*place.prefix, PYTHON], is_double=place.is_double, HG_FAKE_CUDA_COMPUTE_CAPABILITY="121",
                 **settings(app, DOUBLE if name == "cuda:bare" else SHIM))


def rounds_of(app, name):
    return ROUNDS.get(app, FEW)[name.split(":")[0]]


def told(program):
    """What a program said in each round, to the last digit."""
    return [l for l in program.lines if l.startswith("ROUND ")]


def start(app, name, log, rounds, pace=0, **env):
    return Program(app, log, "--rounds", rounds, "--pace", pace, path=os.path.join(PROGRAMS, app), env=env, place=python_place(app, name))


def reference(app, name, rounds):
    """What a run that nobody disturbs tells, and its checksum; once for each program and place."""
    with lock:
        entry = undisturbed.setdefault((app, name, rounds), {"lock": threading.Lock()})
    with entry["lock"]:
        if "told" not in entry:
            scratch = harness.make_scratch()
            try:
                with start(app, name, os.path.join(scratch, "log"), rounds) as p:
                    entry["checksum"] = p.passed()
                    entry["told"] = told(p)
            finally:
                harness.remove(scratch)
            expect(len(entry["told"]) == rounds, f"'{app}' told of {len(entry['told'])} rounds, not {rounds}")
    return entry["told"], entry["checksum"]


def expect_silence(program):
    expected = EXPECTED.get(program.name)
    said = [l for l in program.stderr().splitlines() if l.startswith("hgshim") and not (expected and re.search(expected, l))]
    expect(not said, f"hgshim says: {said[:3]}")


def expect_undisturbed(program, name, rounds):
    """It ends as one that nobody has disturbed: it has told the same, to the last digit."""
    want, checksum = reference(program.name, name, rounds)
    got = program.passed()
    differ = [pair for pair in zip(told(program), want) if pair[0] != pair[1]]
    expect(told(program) == want, f"it tells {differ[:1]}: this, and what one that nobody disturbs tells")
    expect(got == checksum, f"the result is {got}; of a run that nobody disturbs it is {checksum}")
    expect_silence(program)


def losses(lines):
    """Of train.py: (spirals, pictures) of each round."""
    return [tuple(map(float, line.split()[3::2])) for line in lines]


def learns(scratch):
    """The losses are those of tinygrad's own CPU backend, but for rounding."""
    rounds = rounds_of("train.py", "cpu")
    lines, checksum = reference("train.py", "cpu", rounds)
    clang = os.environ.get("CLANG") or "clang"
    expect(shutil.which(clang), f"no '{clang}', which tinygrad's CPU backend compiles with")
    bare = Place("bare", [PYTHON], DEV="CPU", CC=clang, CACHEDB=cache("tinygrad.db"))
    with Program("train.py", os.path.join(scratch, "log"), "--rounds", rounds, path=os.path.join(PROGRAMS, "train.py"), place=bare) as p:
        p.passed()
        others = told(p)
    expect(len(others) == rounds, f"the CPU backend told of {len(others)} rounds, not {rounds}")
    worst = max(abs(a - b) / max(abs(b), 1e-3) for x, y in zip(losses(lines), losses(others)) for a, b in zip(x, y))
    expect(worst < TOLERANCE, f"a loss differs by {worst:.2g} of its value from that of tinygrad's CPU backend")
    return f"{lines[0]}; {lines[-1]}; at most {worst:.1g} from the CPU backend's"


def wait_moment(program, name, rng, number):
    program.wait_round(number)
    time.sleep(rng.uniform(0, 0.9) * PACE[name] * 1e-6)
    expect(program.is_running(), f"the program ended too early: {program.describe()}")


def check_log(log):
    check = tool("hgshim-log", "check", log)
    expect(check.status == 0, f"hgshim-log check: {check}")


def verify(log, *args):
    """The replay's verdict; it must have had something to compare. Results are what the program copied back and waited for."""
    result = replay(log, *args, "--verify")
    verdict = re.search(r"(\d+) buffers? compared, 0 differ; (\d+) results? compared, 0 differ", result.out)
    expect(verdict and int(verdict.group(1)), f"the replay compared too little: {result.out[-300:]!r}")
    return verdict.group(0)


def moments(app, name, count, scratch):
    """Checkpointed by pid at random moments, it goes on as if nothing was; its log replays and verifies."""
    rng = harness.rng("python", app, name, "moments")
    rounds, log = rounds_of(app, name), os.path.join(scratch, "log")
    reference(app, name, rounds)
    taken = []
    with start(app, name, log, rounds, PACE[name], HGSHIM_CALLS="all") as p:
        for number in sorted(rng.sample(range(1, rounds * 3 // 4), count)):
            wait_moment(p, name, rng, number)
            taken.append(checkpoint(p))
        expect_undisturbed(p, name, rounds)
    known = harness.snapshots(log)
    expect(sorted(set(taken)) == sorted(known), f"snapshots {taken} were taken, {sorted(known)} are in the log")
    launched = harness.launches(log)
    expect(launched[0] <= known[taken[0]] and known[taken[-1]] < launched[-1], "no launch before the first or after the last snapshot")
    check_log(log)
    for n in taken:
        replay(log, "--snapshot", n, "--to", known[n], "--verify")
    verdict = verify(log, "--snapshot", taken[0])
    return f"{len(launched)} launches, {sum(s > known[taken[0]] for s in launched)} after snapshot 1; {verdict}"


def killed(app, name, scratch):
    """Killed some time after a checkpoint: the launches in between are in the log, and it replays."""
    rng = harness.rng("python", app, name, "killed")
    rounds, log = rounds_of(app, name), os.path.join(scratch, "log")
    reference(app, name, rounds)
    with start(app, name, log, rounds, PACE[name]) as p:
        wait_moment(p, name, rng, rng.randrange(1, rounds // 2))
        taken = checkpoint(p)
        wait_moment(p, name, rng, min(p.round + rounds // 8, rounds - 2))
        p.kill()
        expect(not p.has_passed(), "it was killed too late")
    check_log(log)
    known = harness.snapshots(log)
    expect(list(known) == [taken], f"snapshots in the log: {known}")
    after = sum(s > known[taken] for s in harness.launches(log))
    expect(after, "no launch after the snapshot is in the log")
    return f"{after} launches after the snapshot; {verify(log)}"


def as_without(app, scratch):
    """In front of NVIDIA's driver (its double): all is as without the shim, and as on the cpu target."""
    rounds = rounds_of(app, "cuda")
    want = reference(app, "cuda:bare", rounds)
    expect(reference(app, "cuda", rounds) == want, "it tells another story than without the shim")
    expect(reference(app, "cpu", rounds) == want, "it tells another story than on the cpu target")
    return f"{rounds} rounds, {want[1]}"


def moved(app, scratch):
    """It leaves the driver while it runs, for the cpu target."""
    rng = harness.rng("python", app, "moved")
    rounds, log = rounds_of(app, "cuda"), os.path.join(scratch, "log")
    reference(app, "cuda", rounds)
    with start(app, "cuda", log, rounds, PACE["cuda"]) as p:
        number = rng.randrange(1, rounds // 2)
        wait_moment(p, "cuda", rng, number)
        taken = migrate(p)
        expect_undisturbed(p, "cuda", rounds)
    check_log(log)
    return f"in round {number}; {verify(log, '--snapshot', taken)}"


OTHERS = {"heat_cupy.py": "CuPy", "walk_bindings.py": "cuda.bindings", "sums_core.py": "cuda.core", "saxpy_numba.py": "numba's compiler",
          "manners.py": "threads, processes and signals"}


def tests():
    if not os.access(PYTHON, os.X_OK):
        raise SystemExit(f"no '{PYTHON}': run 'make deps-python'")
    found = [("tinygrad: a training learns as on tinygrad's CPU backend", learns),
             (f"tinygrad: {MOMENTS} checkpoints in mid-training change no loss, and the log replays",
              bind(moments, "train.py", "cpu", MOMENTS)),
             ("tinygrad: killed after a checkpoint, its log replays", bind(killed, "train.py", "cpu")),
             ("tinygrad on cuda: the same losses with the shim, without it, and on cpu", bind(as_without, "train.py")),
             ("tinygrad on cuda: moved to cpu in mid-training it goes on as if nothing was", bind(moved, "train.py"))]
    if LONG:
        found.append(("tinygrad on cuda: checkpoints in mid-training change no loss, and the log replays on cpu",
                      bind(moments, "train.py", "cuda", 3)))
    # the double of NVIDIA's driver does not link
    found.append(("numba: checkpointed while it runs its results stay, and the log replays",
                  bind(moments, "histogram_numba.py", "cpu", MOMENTS)))
    for app, what in OTHERS.items():
        found += [(f"{what}: checkpointed while it runs its results stay, and the log replays", bind(moments, app, "cpu", MOMENTS)),
                  (f"{what} on cuda: the same results with the shim, without it, and on cpu", bind(as_without, app)),
                  (f"{what} on cuda: moved to cpu while it runs it goes on as if nothing was", bind(moved, app))]
    return found
