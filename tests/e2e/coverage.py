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


def asked(log, target, status):
    """The answer for people and the one for programs."""
    said = tool("hgshim-log", "coverage", "--target", target, log)
    told = tool("hgshim-log", "coverage", "--json", "--target", target, log)
    expect(said.status == told.status == status, f"--target {target}: {said}, {told}")
    expect(not said.err and not told.err, f"--target {target}: {said.err!r} {told.err!r}")
    return said.out, json.loads(told.out)


def limits_are_named(scratch):
    log = record(scratch, "limits", path=program("limits"))
    for chip in ("gfx90a", "gfx1100"):
        text, answer = asked(log, f"rocm:{chip}", 1)
        expect(answer["target"] == "rocm" and [c["chip"] for c in answer["chips"]] == [chip], f"chips: {answer}")
        one = answer["chips"][0]
        expect((one["kernels"], one["runnable"]) == (5, 1), f"{chip}: {one}")
        expect({p["kernel"] for p in one["problems"]} == set(LIMITS), f"{chip}: {one}")
        for p in one["problems"]:
            why, launches = LIMITS[p["kernel"]]
            expect(why in p["why"] and p["kernel"] in p["why"] and p["launches"] == launches, f"{chip}: {p}")
            expect(p["why"] in text, f"{chip}: not for people: {p['why']}")
        expect(f"rocm {chip}: 1 of 5 kernels can run" in text, text)
    _, answer = asked(log, "rocm", 1)
    expect(len({c["chip"] for c in answer["chips"]}) == 6, f"not all tested chips: {answer}")
    text, answer = asked(log, "level-zero", 1)
    expect({p["kernel"] for p in answer["chips"][0]["problems"]} == set(LIMITS), f"level-zero: {answer}")
    for p in answer["chips"][0]["problems"]:
        why, launches = LIMITS[p["kernel"]]
        expect(why in p["why"] and p["launches"] == launches and p["why"] in text, f"level-zero: {p}")
    expect("level-zero: 1 of 5 kernels can run" in text, text)
    _, answer = asked(log, "cpu", 1)
    expect([p["kernel"] for p in answer["chips"][0]["problems"]] == ["refused"], f"cpu: {answer}")
    for target in ("gfx90a", "rocm:", "rocm:gfx1", "cpu:1", "rocmx", "level-zero:1"):
        expect_refusal(tool("hgshim-log", "coverage", "--target", target, log), f"--target {target}", (2,))
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
