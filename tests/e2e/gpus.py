"""gpus.py - targets of other vendors' GPUs over the doubles of their drivers: programs on them, logs replayed on them, programs moved to them and away."""
import hashlib
import os
import re
import sys

import harness
import programs
from harness import CHIPS, CPU, CUDA, LEVEL_ZERO, LONG, Counters, Failed, Program, expect, hip, migrate, on_chip, replay, run, tool, ze
from programs import bind, plain, rounds, step, ticks, wait_moment

GOLDEN = os.path.join(harness.ROOT, "tests", "golden", "v1")
MOMENTS = 10 if LONG else 2


class Gpu:
    """A target and the double of its driver: what differs between vendors here."""

    def __init__(self, name, places, tools, double, control, slow, from_cuda, lacks, misuse, error, fails_in_a_move, gives_back,
                 before_giving_back, another_way, complains_of_left=None):
        self.name = name
        self.places = places            # one for each chip
        self.tools = tools              # place, more -> what a tool, or a program on another target, needs to find the double
        self.double = double            # how its messages begin
        self.control = control          # the variable that names its page of calls
        self.slow = slow                # programs that take long here: on the first chip alone
        self.from_cuda = from_cuda      # programs that come from cuda
        self.lacks = lacks              # what a driver may lack: program that needs it, environment, words of the message
        self.misuse = misuse            # Python that misuses the driver
        self.error = error              # the driver's for "something went wrong"
        self.fails_in_a_move = fails_in_a_move  # a call of a move of saxpy_streams, and which one
        # What gives back what is not used any more: when it fails, that is said, and the work is done all the same.
        self.gives_back = gives_back
        # What giving back needs: where it fails at the end, something is left.
        self.before_giving_back = before_giving_back
        # Without an answer of these something else is right as well.
        self.another_way = another_way
        # The misuse that it is for the driver, when what could not be given back is left at the end.
        self.complains_of_left = complains_of_left

    def places_of(self, app):
        return self.places if LONG or app not in self.slow else self.places[:1]

    def place_of(self, app):
        """Each program's logs are replayed on one chip, and all chips get some."""
        return self.places[0] if app in self.slow else self.places[harness.apps().index(app) % len(self.places)]

    def env(self, place, **more):
        return dict(self.tools(place), **more)

    def leaks(self, result):
        return [l for l in result.err.splitlines() if l.startswith(f"{self.double}: leak")]


ROCM = Gpu(
    "rocm", [on_chip(c) for c in CHIPS], lambda place: hip(place.name.split(":")[1]), "hip double", "HG_FAKE_HIP_CONTROL",
    slow=("pipeline", "shapes", "texture"),  # lanes with program counters of their own, or large grids
    from_cuda=("cg", "ptx_driver", "saxpy_streams", "threads"),
    lacks=(("saxpy_streams", {"HG_FAKE_HIP_VMM": "0"}, ("wanted addresses", "no virtual memory management")),
           ("saxpy_streams", {"HG_FAKE_HIP_HINT": "0"}, ("ROCm gives the addresses", "instead of 0x2")),
           ("saxpy_streams", {"HG_FAKE_HIP_HOST_POINTER": "0"}, ("bytes of host memory at", "cannot reach")),
           ("saxpy_streams", {"HG_FAKE_HIP_DEVICES": "0"}, ("no device", "hipErrorNoDevice")),
           ("saxpy_streams", {"HG_FAKE_HIP_GRANULE": str(4 << 20)}, ("in units of 4194304 bytes",))),
    misuse="import ctypes, os; hip = ctypes.CDLL(os.environ['HGSHIM_HIP']); hip.hipInit(0); hip.hipFree(ctypes.c_void_p(4096))",
    error=999,                              # hipErrorUnknown
    fails_in_a_move=("hipModuleLoadData", 3),  # its two kernels are compiled ahead first
    gives_back={"hipEventDestroy", "hipFree", "hipHostFree", "hipHostUnregister", "hipMemAddressFree", "hipMemRelease", "hipMemUnmap",
                "hipModuleUnload", "hipStreamDestroy"},
    before_giving_back={"hipSetDevice"},    # where it cannot be made a thread's
    # mappings of the largest unit, copies in their turn, "?"
    another_way={"hipInit", "hipRuntimeGetVersion", "hipMemGetAllocationGranularity", "hipEventQuery", "hipStreamQuery"})
INTEL = Gpu(
    "level-zero", [LEVEL_ZERO], lambda place: ze(), "level-zero test driver", "HG_FAKE_ZE_CONTROL",
    slow=("pipeline", "shapes", "texture"),
    from_cuda=("histogram", "nbody", "saxpy_streams", "threads"),
    lacks=(("saxpy_streams", {"HG_FAKE_ZE_HINT": "0"}, ("Level Zero gives the addresses", "instead of 0x2")),
           ("saxpy_streams", {"HG_FAKE_ZE_MEMMAP": "0"}, ("bytes of host memory at", "cannot be reached", "ZE_extension_external_memmap_sysmem")),
           ("saxpy_streams", {"HG_FAKE_ZE_DEVICES": "0"}, ("no driver with a GPU",)),
           ("saxpy_streams", {"ZE_ENABLE_ALT_DRIVERS": ""}, ("no driver with a GPU", "libze_loader.so.1")),
           ("saxpy_streams", {"HGSHIM_LEVEL_ZERO": "/nowhere"}, ("no Level Zero", "HGSHIM_LEVEL_ZERO", "/nowhere")),
           ("reduction", {"HG_FAKE_ZE_SUBGROUPS": "8,16"}, ("kernel '", "no sub-groups of 32")),
           ("reduction", {"HG_FAKE_ZE_SPIRV": "2"}, ("kernel '", "SPIR-V 1.3", "takes 1.2 at most")),
           ("vector_add", {"HG_FAKE_ZE_BUILDS": "0"}, ("cannot be built", "ZE_RESULT_ERROR_MODULE_BUILD_FAILURE", "compiler builds nothing")),
           ("reduction", {"HG_FAKE_ZE_BUILDS": "16"}, ("needs sub-groups of 32", "built it with 16")),
           ("vector_add", {"HG_FAKE_ZE_GROUPS": "2"}, ("kernel '", "blocks in dimension 0", "at most 2")),
           ("histogram", {"HG_FAKE_ZE_INT64_ATOMICS": "0"}, ("kernel '", "no atomic operations of 64 bits"))),
    misuse="import ctypes; ze = ctypes.CDLL('libze_loader.so.1'); ze.zeInit(0); n = ctypes.c_uint32(1); d = ctypes.c_void_p(); "
           "ze.zeDriverGet(ctypes.byref(n), ctypes.byref(d)); ze.zeContextDestroy(d)",
    error=0x7ffffffe,                       # ZE_RESULT_ERROR_UNKNOWN
    fails_in_a_move=("zeModuleCreate", 3),
    gives_back={"zeEventDestroy", "zeEventPoolDestroy", "zeMemFree", "zeVirtualMemUnmap", "zeVirtualMemFree", "zePhysicalMemDestroy",
                "zeCommandListDestroy", "zeKernelDestroy", "zeModuleDestroy", "zeModuleBuildLogDestroy", "zeContextDestroy"},
    before_giving_back=set(),
    # whether the device is lost, what an event is: looked at again later
    another_way={"zeDeviceGetStatus", "zeEventQueryStatus"}, complains_of_left="objects that were not destroyed|still has memory|memory is mapped at")
GPUS = (INTEL, ROCM)


def gpu_places(app):
    """All doubles, each as the chip that this program's logs and moves use; and what finds them all."""
    found = [(gpu, gpu.place_of(app)) for gpu in GPUS]
    env = {}
    for gpu, place in found:
        env.update(gpu.env(place))
    return found, env


def the_same_result(gpu, app, scratch):
    want, seconds = plain(CPU.with_rounds(gpu.places[0]), app)
    took = []
    for place in gpu.places_of(app):
        got, seconds = plain(place, app)
        expect(got == want, f"on {place.name} the result is {got}; on cpu it is {want}")
        took.append(f"{seconds * ticks(place, app):.1f} s on {place.name}")
    return f"{want}, {', '.join(took)}"


def without_f64(app, scratch):
    """What CUDA's expf, logf, sinf and cosf are made of is made of integers there, and so is all arithmetic of f64."""
    want, seconds = plain(CPU.with_rounds(LEVEL_ZERO), app)
    got, seconds = plain(LEVEL_ZERO.with_env(" without f64", HG_FAKE_ZE_FP64="0"), app)
    expect(got == want, f"the result is {got}; on cpu it is {want}")


def replays(recorder, app, scratch):
    """A log of another target, on every double: each snapshot of it, and one with all that follows."""
    log = os.path.join(scratch, "log")
    found, unused = gpu_places(app)
    recorded = recorder.with_rounds(found[0][1])
    nr = min(MOMENTS, ticks(recorded, app) - 3)
    taken, known, launched = programs.record_moments(recorded, app, nr, log)
    for gpu, place in found:
        # the first one is compared below as well
        for n in taken if LONG else taken[1:]:
            replay(log, "--snapshot", n, "--to", known[n], "--verify", target=gpu.name, env=gpu.env(place))
        # what PTX leaves approximate has the bits of cpu
        replay(log, "--snapshot", taken[0], "--verify", target=gpu.name, env=gpu.env(place))
    return f"{nr} moments, {sum(s > known[taken[0]] for s in launched)} launches after the first, on {', '.join(p.name for g, p in found)}"


def moved(start, ways, app, scratch):
    """A running program is moved from one target to the next."""
    found, env = gpu_places(app)
    place = start.with_rounds(found[0][1])
    checksum, seconds = plain(place, app)
    rng = harness.rng(place.name, app, *ways)
    moments = sorted(rng.sample(range(ticks(place, app) * 3 // 4), len(ways)))
    for attempt in range(3):
        # on a busy machine a move may take longer than the rest of the program; and the run that was measured may have compiled
        options, pause = programs.pace(place, app, 0 if attempt else seconds, 0.1 * 5 ** attempt)
        with Program(app, os.path.join(scratch, f"log{attempt}"), *options, env=env, place=place) as p:
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
            said = [l for l in p.stderr().splitlines() if l.startswith(("hgshim", *(g.double for g in GPUS)))]
        break
    expect(got == checksum, f"the result is {got}; of a program that stays it is {checksum}")
    expect(not said, f"messages: {said[:3]}")
    return (f"{', '.join(p.name for g, p in found if g.name in ways)}, in rounds "
            f"{', '.join(str(m * step(place, app)) for m in moments)} of {rounds(place, app)} or later")


def refused_and_moved(gpu, scratch):
    """A program on cpu stays there when its new target fails half way, goes on, and can be moved when all is well."""
    hold, control, app = os.path.join(scratch, "hold"), os.path.join(scratch, "control"), "saxpy_streams"
    place = CPU.with_rounds(gpu.places[0])
    checksum, unused = plain(place, app)
    env = gpu.env(gpu.places[0], **{gpu.control: control})
    call, nth = gpu.fails_in_a_move
    with Program(app, os.path.join(scratch, "log"), *programs.sized(place, app), "--hold", f"{hold}@{4 * step(place, app)}", env=env,
                 place=place) as p:
        p.wait_file(hold)
        tool("hgshim-replay", "--target", gpu.name, GOLDEN, env=env)  # it makes the double's page of calls
        with Counters(control) as counters:
            counters.fail(call, nth, gpu.error)
        result = tool("hgshim-ckpt", "--migrate", gpu.name, p.pid)
        expect(result.status == 1 and call in result.err, f"{result}")
        migrate(p, gpu.name)
        os.unlink(hold)
        expect(p.passed() == checksum, "another result")


def what_a_driver_lacks(gpu, scratch):
    """Where it cannot do what a program needs, one message says what, and the program gets an error."""
    for nr, (app, env, words) in enumerate(gpu.lacks):
        program = [*gpu.places[0].prefix, os.path.join(harness.BUILD, "apps", app), "--rounds", "1"]
        result = run(program, env=dict(env, HGSHIM_LOG=os.path.join(scratch, f"log{nr}")))
        said = [l for l in result.err.splitlines() if l.startswith("hgshim")]
        expect(result.status == 1 and len(said) == 1 and all(w in said[0] for w in words), f"{env}: {result}")


def complaints_are_heard(gpu, scratch):
    """A run in which the double complains of its user fails its test: of a misuse, and of what is left."""
    place, control = gpu.places[0], os.path.join(scratch, "control")
    strict = gpu.control.replace("CONTROL", "STRICT")
    replayed = ["hgshim-replay", "--target", gpu.name, GOLDEN]
    left = gpu.env(place, **{gpu.control: control, gpu.control.replace("CONTROL", "LEAKS"): "1"})
    tool(*replayed, env=left)
    with Counters(control) as counters:
        for call in gpu.gives_back:
            counters.fail(call, 1, gpu.error)
    for what, words, attempt in (("a misuse", "misuse of", lambda: run([sys.executable, "-c", gpu.misuse], env=gpu.env(place, **{strict: "0"}))),
                                 ("a leak", "leak: ", lambda: tool(*replayed, env=left))):
        try:
            attempt()
        except Failed as why:
            expect("complaints of the driver" in str(why) and words in str(why), f"{what}: {why}")
        else:
            raise Failed(f"{what} was not heard")


def a_device_that_reaches_all_memory(scratch):
    """Nothing is imported where the device may use any memory of the host."""
    app, control = "saxpy_streams", os.path.join(scratch, "control")
    want, unused = plain(CPU.with_rounds(LEVEL_ZERO), app)
    place = LEVEL_ZERO.with_env("+system", HG_FAKE_ZE_SYSTEM="1", HG_FAKE_ZE_MEMMAP="0", HG_FAKE_ZE_CONTROL=control)
    got, unused = plain(place, app)
    expect(got == want, f"the result is {got}; on cpu it is {want}")
    with Counters(control) as counters:
        expect(counters.calls()["zeCommandListAppendLaunchKernel"], "it did not run there")


def cooperative_kernels_are_launched_as_such(scratch):
    """The driver for tests gives every block its turn, so that a grid that was launched like any other would not be found out."""
    control = os.path.join(scratch, "control")
    result = run([*LEVEL_ZERO.prefix, os.path.join(harness.BUILD, "apps", "cg"), "--rounds", "2"],
                 env={"HG_FAKE_ZE_CONTROL": control, "HGSHIM_LOG": os.path.join(scratch, "log")})
    expect(result.status == 0, f"{result}")
    with Counters(control) as counters:
        calls = counters.calls()
    launched = calls["zeCommandListAppendLaunchCooperativeKernel"], calls["zeCommandListAppendLaunchKernel"]
    expect(launched == (6, 2), f"{launched[0]} cooperative launches and {launched[1]} others, of 6 and 2")


WITHOUT_A_DESCRIPTION = """
import ctypes
ze = ctypes.CDLL("libze_loader.so.1")
n, driver, context = ctypes.c_uint32(1), ctypes.c_void_p(), ctypes.c_void_p()
assert not ze.zeInit(0) and not ze.zeDriverGet(ctypes.byref(n), ctypes.byref(driver))
print(hex(ze.zeContextCreate(driver, None, ctypes.byref(context))))
"""


def the_validation_layer_is_there(scratch):
    """What it refuses does not come as far as the driver: for tools, and for programs of both kinds that tests/on starts."""
    python, bare = [sys.executable, "-c", WITHOUT_A_DESCRIPTION], [harness.ON, "level-zero:bare", "--"]
    for nr, (prefix, env) in enumerate((([], INTEL.env(LEVEL_ZERO)), (bare, {}), (LEVEL_ZERO.prefix, {}))):
        control = os.path.join(scratch, f"control{nr}")
        result = run([*prefix, *python], env=dict(env, HG_FAKE_ZE_CONTROL=control, HGSHIM_LOG=os.path.join(scratch, f"log{nr}")))
        expect(result.status == 0 and result.out == "0x78000007\n", f"{prefix}: {result}")  # ZE_RESULT_ERROR_INVALID_NULL_POINTER
        with Counters(control) as counters:
            calls = counters.calls()
        expect(calls["zeDriverGet"] and not calls["zeContextCreate"], f"{prefix}: the driver was called: {calls}")


def digest(folder):
    return {name: hashlib.sha256(open(os.path.join(folder, name), "rb").read()).hexdigest() for name in sorted(os.listdir(folder))
            if name.endswith(".mdb") and not name.startswith("lock")}


def every_call_fails(gpu, scratch):
    """The first and the last time that a replay calls a function of the driver, the function fails: it stops with the right message."""
    log, control = os.path.join(scratch, "log"), os.path.join(scratch, "control")
    place = gpu.places[0]
    taken, known, launched = programs.record_moments(CPU.with_rounds(place), "saxpy_streams", 2, log)
    env = gpu.env(place, **{gpu.control: control, gpu.control.replace("CONTROL", "LEAKS"): "1", gpu.control.replace("CONTROL", "STRICT"): "0"})
    to = [s for s in launched if s > known[taken[0]]][:20][-1]
    command = ["hgshim-replay", "--target", gpu.name, "--snapshot", taken[0], "--to", to, "--verify", "--quiet", log]
    result = tool(*command, env=env)
    expect(result.status == 0, f"undisturbed: {result}")
    with Counters(control) as counters:
        made = {n: c for n, c in counters.calls().items() if c}
    before = digest(log)
    expect(len(made) > 20 and before, f"only {sorted(made)} of {sorted(before)}: nothing would be shown")
    stopped, went_on = set(), set()
    for call, n in sorted(made.items()):
        for nth in sorted({1, n}):
            what = f"'{call}', call {nth} of {n}, fails"
            with Counters(control) as counters:
                counters.fail(call, nth, gpu.error)
            result = tool(*command, env=env, may_complain=True)
            with Counters(control) as counters:
                pending = counters.pending(call)
                counters.fail(call, 0, 0)
            if pending:  # how often it is called depends on what is done when it looks
                expect(nth == n > 1 and not result.status, f"{what}: it was not called so often: {result}")
                continue
            expect(result.status in (0, 1, 4), f"{what}: {result}")
            misuses = [l for l in result.err.splitlines() if "misuse of" in l and not
                       (call in gpu.gives_back and gpu.complains_of_left and re.search(gpu.complains_of_left, l))]
            expect(not misuses, f"{what}: {misuses[:3]}")
            expect(digest(log) == before, f"{what}: the log has changed")
            expect(re.search(rf"\b{call}\b", result.err) or (call in gpu.another_way and not result.status),
                   f"{what}: the message does not name it: {result}")
            (stopped if result.status else went_on).add(call)
            # what could not be given back is left, and nothing else
            expect(call in gpu.gives_back or (call in gpu.before_giving_back and nth > 1) or not gpu.leaks(result),
                   f"{what}: {gpu.leaks(result)[:3]}")
    return f"{len(made)} functions; it stops for {len(stopped)}, and goes on for {', '.join(sorted(went_on)) or 'none'}"


def tests():
    found = []
    for app in harness.apps():
        for gpu in GPUS:
            found.append((f"{app} on {gpu.name}: the result of cpu on {', '.join(p.name for p in gpu.places_of(app))}",
                          bind(the_same_result, gpu, app)))
        if app == "pipeline" and not LONG:  # minutes of it; each of its kernels was run
            continue
        slow = [g.name for g in GPUS if app in g.slow and not LONG]
        found += [(f"{app} on {name}: moved from cpu", bind(moved, CPU, [name], app)) for name in slow]
        ways = [g.name for g in GPUS if g.name not in slow]
        if ways:
            found.append((f"{app} on {', '.join(ways)}: moved from cpu and back", bind(moved, CPU, [*ways, "cpu"], app)))
        found.append((f"{app} on {', '.join(g.name for g in GPUS)}: a log of cpu replays", bind(replays, CPU, app)))
    for app in harness.apps_that_leave():
        to = [g for g in GPUS if LONG or app in g.from_cuda]
        if to:
            found.append((f"{app} on {', '.join(g.name for g in GPUS)}: a log of cuda replays", bind(replays, CUDA, app)))
        found += [(f"{app} on {g.name}: moved from cuda", bind(moved, CUDA, [g.name], app)) for g in to]
    found += [("level-zero: the validation layer is there", the_validation_layer_is_there),
              *((f"{app} on level-zero without f64: the result of cpu", bind(without_f64, app)) for app in ("train", "shapes")),
              ("cg on level-zero: cooperative kernels are launched as such", cooperative_kernels_are_launched_as_such),
              ("saxpy_streams on level-zero: a device that reaches all memory of the host", a_device_that_reaches_all_memory)]
    for gpu in GPUS:
        found += [(f"{gpu.name}: what a driver lacks is said", bind(what_a_driver_lacks, gpu)),
                  (f"{gpu.name}: what its driver complains of fails a test", bind(complaints_are_heard, gpu)),
                  (f"saxpy_streams on {gpu.name}: a move from cpu that fails, and one that does not", bind(refused_and_moved, gpu)),
                  (f"errors: a function of {gpu.name}'s driver that fails in a replay is named, and nothing is lost",
                   bind(every_call_fails, gpu))]
    return found
