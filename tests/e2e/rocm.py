"""rocm.py - the AMD target over the double of HIP: programs on it, logs replayed on it, programs moved to it and away."""
import hashlib
import os
import re

import harness
import programs
from harness import CHIPS, CPU, CUDA, LONG, Counters, Failed, Program, expect, hip, migrate, on_chip, replay, run, tool
from programs import bind, plain, rounds, step, ticks, wait_moment

GOLDEN = os.path.join(harness.ROOT, "tests", "golden", "v1")
MOMENTS = 10 if LONG else 2
SLOW = ("pipeline", "shapes", "texture")  # lanes with program counters of their own, or large grids: the double takes long
FROM_CUDA = ("cg", "ptx_driver", "saxpy_streams", "threads")
UNKNOWN = 999                   # hipErrorUnknown
# What gives back what is not used any more: when it fails, that is said, and the work is done all the same.
GIVES_BACK = {"hipEventDestroy", "hipFree", "hipHostFree", "hipHostUnregister", "hipMemAddressFree", "hipMemRelease", "hipMemUnmap",
              "hipModuleUnload", "hipStreamDestroy"}
# What is given back needs its device: where that cannot be made a thread's, at the end, something is left.
BEFORE_GIVING_BACK = {"hipSetDevice"}
# Without an answer of these something else is right as well: mappings of the largest unit, copies in their turn, "?".
HAS_ANOTHER_WAY = {"hipInit", "hipRuntimeGetVersion", "hipMemGetAllocationGranularity", "hipEventQuery", "hipStreamQuery"}


def chip_of(app):
    """Each program's logs are replayed on one chip, and all chips get some."""
    return CHIPS[0] if app in SLOW else CHIPS[harness.apps().index(app) % len(CHIPS)]


def chips_of(app):
    return CHIPS if LONG or app not in SLOW else CHIPS[:1]


def the_same_result(app, scratch):
    want, seconds = plain(CPU.with_rounds(on_chip(CHIPS[0])), app)
    took = []
    for chip in chips_of(app):
        got, seconds = plain(on_chip(chip), app)
        expect(got == want, f"on {chip} the result is {got}; on cpu it is {want}")
        took.append(f"{seconds * ticks(on_chip(chip), app):.1f} s on {chip}")
    return f"{want}, {', '.join(took)}"


def replays(recorder, app, scratch):
    """A log of another target: each snapshot of it, and one with all that follows."""
    log = os.path.join(scratch, "log")
    chip = chip_of(app)
    place = recorder.with_rounds(on_chip(chip))
    nr = min(MOMENTS, ticks(place, app) - 3)
    taken, known, launched = programs.record_moments(place, app, nr, log)
    for n in taken:
        replay(log, "--snapshot", n, "--to", known[n], "--verify", target="rocm", env=hip(chip))
    # what PTX leaves approximate has the bits of cpu
    replay(log, "--snapshot", taken[0], "--verify", target="rocm", env=hip(chip))
    return f"{nr} moments, {sum(s > known[taken[0]] for s in launched)} launches after the first, on {chip}"


def moved(start, ways, app, scratch):
    """A running program is moved from one target to the next."""
    chip = chip_of(app)
    place = start.with_rounds(on_chip(chip))
    checksum, seconds = plain(place, app)
    rng = harness.rng(place.name, app, "rocm")
    moments = sorted(rng.sample(range(ticks(place, app) * 3 // 4), len(ways)))
    for attempt in range(3):
        # on a busy machine a move may take longer than the rest of the program
        options, pause = programs.pace(place, app, seconds, 0.1 * (1 + 3 * attempt))
        with Program(app, os.path.join(scratch, f"log{attempt}"), *options, env=hip(chip), place=place) as p:
            try:
                for tick, target in zip(moments, ways):
                    if p.round < tick * step(place, app):
                        wait_moment(p, place, app, rng, tick, pause)
                    migrate(p, target)
            except Failed:
                if attempt == 2 or not p.has_passed():
                    raise
                continue
            got = p.passed()
            said = [l for l in p.stderr().splitlines() if l.startswith(("hgshim", "hip double"))]
        break
    expect(got == checksum, f"the result is {got}; of a program that stays it is {checksum}")
    expect(not said, f"messages: {said[:3]}")
    return f"{chip}, in rounds {', '.join(str(m * step(place, app)) for m in moments)} of {rounds(place, app)} or later"


def refused_and_moved(scratch):
    """A program on cpu stays there when its new target fails half way, goes on, and can be moved when all is well."""
    hold, control, app = os.path.join(scratch, "hold"), os.path.join(scratch, "control"), "saxpy_streams"
    place = CPU.with_rounds(on_chip("gfx1100"))
    checksum, unused = plain(place, app)
    env = hip("gfx1100", HG_FAKE_HIP_CONTROL=control)
    with Program(app, os.path.join(scratch, "log"), *programs.sized(place, app), "--hold", f"{hold}@{4 * step(place, app)}", env=env,
                 place=place) as p:
        p.wait_file(hold)
        tool("hgshim-replay", "--target", "rocm", GOLDEN, env=env)  # it makes the double's page of calls
        with Counters(control) as counters:
            counters.fail("hipModuleLoadData", 3, UNKNOWN)  # its two kernels are compiled ahead first
        result = tool("hgshim-ckpt", "--migrate", "rocm", p.pid)
        expect(result.status == 1 and "hipModuleLoadData" in result.err, f"{result}")
        migrate(p, "rocm")
        os.unlink(hold)
        expect(p.passed() == checksum, "another result")


def what_a_device_lacks(scratch):
    """Where HIP cannot do what a program's pointers need, one message says what, and the program gets an error."""
    program = [harness.ON, "rocm", "--", os.path.join(harness.BUILD, "apps", "saxpy_streams"), "--rounds", "1"]
    for nr, (knob, value, words) in enumerate((
            ("VMM", "0", ("wanted addresses", "no virtual memory management")), ("HINT", "0", ("ROCm gives the addresses", "instead of 0x2")),
            ("HOST_POINTER", "0", ("bytes of host memory at", "cannot reach")), ("DEVICES", "0", ("no device", "hipErrorNoDevice")),
            ("GRANULE", str(4 << 20), ("in units of 4194304 bytes",)))):
        result = run(program, env={"HGSHIM_LOG": os.path.join(scratch, f"log{nr}"), "HG_FAKE_HIP_STRICT": "1",
                                   f"HG_FAKE_HIP_{knob}": value})
        said = [l for l in result.err.splitlines() if l.startswith("hgshim")]
        expect(result.status == 1 and len(said) == 1 and all(w in said[0] for w in words), f"{knob}={value}: {result}")


def digest(folder):
    return {name: hashlib.sha256(open(os.path.join(folder, name), "rb").read()).hexdigest() for name in sorted(os.listdir(folder))
            if name.endswith(".mdb") and not name.startswith("lock")}


def leaks(result):
    return [l for l in result.err.splitlines() if l.startswith("hip double: leak")]


def every_call_fails(scratch):
    """The first and the last time that a replay calls a function of HIP, the function fails: it stops with the right message."""
    log, control = os.path.join(scratch, "log"), os.path.join(scratch, "control")
    place = CPU.with_rounds(on_chip("gfx1100"))
    taken, known, launched = programs.record_moments(place, "saxpy_streams", 2, log)
    env = hip("gfx1100", HG_FAKE_HIP_CONTROL=control, HG_FAKE_HIP_LEAKS="1")
    to = [s for s in launched if s > known[taken[0]]][:20][-1]
    command = ["hgshim-replay", "--target", "rocm", "--snapshot", taken[0], "--to", to, "--verify", "--quiet", log]
    result = tool(*command, env=env)
    expect(result.status == 0 and not leaks(result), f"undisturbed: {result}")
    with Counters(control) as counters:
        made = {n: c for n, c in counters.calls().items() if c}
    before = digest(log)
    expect(len(made) > 20 and before, f"only {sorted(made)} of {sorted(before)}: nothing would be shown")
    stopped, went_on = set(), set()
    for call, n in sorted(made.items()):
        for nth in sorted({1, n}):
            what = f"'{call}', call {nth} of {n}, fails"
            with Counters(control) as counters:
                counters.fail(call, nth, UNKNOWN)
            result = tool(*command, env=env)
            with Counters(control) as counters:
                pending = counters.pending(call)
                counters.fail(call, 0, 0)
            if pending:  # how often it is called depends on what is done when it looks
                expect(nth == n > 1 and not result.status, f"{what}: it was not called so often: {result}")
                continue
            expect(result.status in (0, 1, 4), f"{what}: {result}")
            expect("misuse" not in result.err, f"{what}: {result}")
            expect(digest(log) == before, f"{what}: the log has changed")
            expect(re.search(rf"\b{call}\b", result.err) or (call in HAS_ANOTHER_WAY and not result.status),
                   f"{what}: the message does not name it: {result}")
            (stopped if result.status else went_on).add(call)
            # what could not be given back is left, and nothing else
            expect(call in GIVES_BACK or (call in BEFORE_GIVING_BACK and nth > 1) or not leaks(result), f"{what}: {leaks(result)[:3]}")
    return f"{len(made)} functions; it stops for {len(stopped)}, and goes on for {', '.join(sorted(went_on)) or 'none'}"


def tests():
    found = []
    for app in harness.apps():
        found += [(f"{app} on rocm: the result of cpu on {', '.join(chips_of(app))}", bind(the_same_result, app)),
                  (f"{app} on rocm: moved from cpu{'' if app in SLOW else ' and back'}",
                   bind(moved, CPU, ("rocm",) if app in SLOW else ("rocm", "cpu"), app))]
        if LONG or app != "pipeline":   # a minute of it
            found.append((f"{app} on rocm: a log of cpu replays", bind(replays, CPU, app)))
    for app in harness.apps_that_leave() if LONG else FROM_CUDA:
        found += [(f"{app} on rocm: a log of cuda replays", bind(replays, CUDA, app)),
                  (f"{app} on rocm: moved from cuda", bind(moved, CUDA, ("rocm",), app))]
    return found + [("rocm: what a device lacks is said", what_a_device_lacks),
                    ("saxpy_streams on rocm: a move from cpu that fails, and one that does not", refused_and_moved),
                    ("errors: a function of HIP that fails in a replay is named, and nothing is lost", every_call_fails)]
