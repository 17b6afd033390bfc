"""coverage.py - what of a log's kernels a target cannot run, told from the log alone."""
import json
import os

from harness import Program, expect, expect_refusal, tool
from native import program

# Kernel of e2e-apps/limits, what is said of it on AMD's and Intel's GPUs, launches
LIMITS = {
    "never_launched": ("needs blocks of 2048 threads, and they have 1024 at most", 0),
    "much_shared": ("needs 81920 bytes of shared memory, and a block has 65536", 2),
    "wide": ("atomic operations of 128 bits", 1),
    "refused": ("'wgmma.fence.sync.aligned': not supported", 0),
}


def record(scratch, name, *options, path=None):
    log = os.path.join(scratch, name)
    with Program(name, log, *options, path=path, env={"HGSHIM_CALLS": "all"}) as p:
        p.passed()
    return log


# What its code needs beside the program's shared memory is known when it is made.
COMPILED = dict(LIMITS, counted=("needs 65808 bytes of shared memory, and a block has 65536", 1))


def asked(log, target, status, *options):
    """The answer for people and the one for programs."""
    said = tool("hgshim-log", "coverage", *options, "--target", target, log)
    told = tool("hgshim-log", "coverage", *options, "--json", "--target", target, log)
    expect(said.status == told.status == status, f"--target {target}: {said}, {told}")
    expect(not said.err and not told.err, f"--target {target}: {said.err!r} {told.err!r}")
    return said.out, json.loads(told.out)


def expect_limits(log, target, chip, limits, *options):
    text, answer = asked(log, target, 1, *options)
    expect(answer["target"] == target.split(":")[0] and [c["chip"] for c in answer["chips"]] == [chip], f"chips: {answer}")
    one = answer["chips"][0]
    expect((one["kernels"], one["runnable"]) == (6, 6 - len(limits)), f"{target}: {one}")
    expect({p["kernel"] for p in one["problems"]} == set(limits), f"{target}: {one}")
    for p in one["problems"]:
        why, launches = limits[p["kernel"]]
        expect(why in p["why"] and p["kernel"] in p["why"] and p["launches"] == launches, f"{target}: {p}")
        expect(p["why"] in text, f"{target}: not for people: {p['why']}")
    expect(f"{target.replace(':', ' ')}: {6 - len(limits)} of 6 kernels can run" in text, text)


def limits_are_named(scratch):
    log = record(scratch, "limits", path=program("limits"))
    for target, chip in (("rocm:gfx90a", "gfx90a"), ("rocm:gfx1100", "gfx1100"), ("level-zero", None)):
        expect_limits(log, target, chip, LIMITS)
        expect_limits(log, target, chip, COMPILED, "--compile")
    _, answer = asked(log, "rocm", 1)
    expect(len({c["chip"] for c in answer["chips"]}) == 6, f"not all tested chips: {answer}")
    _, answer = asked(log, "cpu", 1)
    expect([p["kernel"] for p in answer["chips"][0]["problems"]] == ["refused"], f"cpu: {answer}")
    for target in ("gfx90a", "rocm:", "rocm:gfx1", "cpu:1", "rocmx", "level-zero:1"):
        expect_refusal(tool("hgshim-log", "coverage", "--target", target, log), f"--target {target}", (2,))
    expect_refusal(tool("hgshim-log", "coverage", "--compile", log), "--compile without --target", (2,))
    return None


def nothing_is_wrong(scratch):
    log = record(scratch, "texture", "--rounds", 3)
    for target in ("rocm", "level-zero"):
        _, answer = asked(log, target, 0)
        for one in answer["chips"]:
            expect(one["kernels"] == one["runnable"] > 0 and not one["problems"], f"{one}")
    return f"{answer['chips'][0]['kernels']} kernels"


def tests():
    return [
        ("coverage: what GPUs cannot run is named, from the log alone", limits_are_named),
        ("coverage: a program that can run there is not doubted", nothing_is_wrong),
    ]
