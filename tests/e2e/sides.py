"""sides.py - one log on several targets, launch by launch: who agrees, and which kernel is to blame where they do not."""
import json
import os
import re

import harness
from harness import Program, expect, hip, run, tool, ze
from programs import bind

CHIP = "gfx90a"                 # waves of 64
# Streams; pointers inside of buffers; floats; several kernels of one module.
PROGRAMS = {"cg": 4, "linked_list": 20, "saxpy_streams": 20, "train": 20}   # and how many rounds are enough
OTHERS = ("rocm", "level-zero")  # beside cpu
KNOB = {"rocm": "HG_FAKE_HIP_", "level-zero": "HG_FAKE_ZE_"}  # of their drivers for tests
LACKS = {"rocm": "has no device", "level-zero": "no driver with a GPU"}
UPDATE = "_Z6updatePKfiS0_iPfS1_S1_S1_"  # of train: the only one that writes weights


def environment(**more):
    """Where all targets are found."""
    return dict(hip(CHIP, **ze()), **more)


def record(app, scratch):
    log = os.path.join(scratch, "log")
    with Program(app, log, "--rounds", PROGRAMS[app], env={"HGSHIM_CALLS": "all", "HGSHIM_STACKS": "1"}) as p:
        p.passed()
        return log, p.buffers


def side_by_side(log, *options, targets=("cpu",) + OTHERS, status=0, env=None, for_people=True):
    """The answer for programs, and the one for people."""
    command = ("hgshim-replay", "--verify", "--target", ",".join(targets), *map(str, options), log)
    told = tool(*command, "--json", env=environment(**(env or {})))
    said = tool(*command, env=environment(**(env or {}))) if for_people else told
    expect(said.status == told.status == status, f"{' '.join(command)}: {said}, {told}")
    return json.loads(told.out)["agreement"], said


def all_agree(app, scratch):
    log, buffers = record(app, scratch)
    for_people = app == "linked_list"  # the others' tables are made of the same answer
    answer, said = side_by_side(log, for_people=for_people)
    expect([t["target"] for t in answer["targets"]] == list(OTHERS) and answer["with"] == "cpu", f"targets: {answer}")
    launched = harness.launches(log)
    for column in answer["targets"]:
        looked = sum(k["launches"] for k in column["kernels"])
        expect(looked == len(launched), f"{looked} of {len(launched)} launches were looked at")
        for k in column["kernels"]:
            expect(k["agree"] == k["launches"] and "first" not in k, f"{column['target']}: {k}")
            expect(not for_people or re.search(rf"^ +{k['launches']} .*all agree.* {re.escape(k['kernel'])}$", said.out, re.M),
                   f"no row for {k}: {said.out}")
        expect("first_difference" not in column, f"{column}")
    expect(not said.err, f"{said}")
    return f"{len(launched)} launches of {len(answer['targets'][0]['kernels'])} kernels"


def a_wrong_result_is_found(target, scratch):
    """The target's driver for tests returns one wrong bit: kernel, record, buffer, offset and both values are named, and nothing else is blamed."""
    log, buffers = record("train", scratch)
    address, size = buffers["weights"]
    calls = [c for c in harness.rows(harness.log_json("calls", log), "calls") if c.get("kernel") == UPDATE]
    expect(len(calls) > 7, f"{len(calls)} launches of '{UPDATE}'")
    wrong = {KNOB[target] + "WRONG": f"{UPDATE}:7:{address + 1028:#x}"}
    answer, said = side_by_side(log, targets=("cpu", target), status=1, env=wrong)
    column = answer["targets"][0]
    first, seq = column["first_difference"], calls[6]["seq"]
    expect((first["kernel"], first["seq"], first["made_by_it"]) == (UPDATE, seq, True), f"{first}, not record {seq}")
    expect((harness.number(first["address"]), first["size"], first["first"], first["bytes"]) == (address, size, 1028, 1), f"{first}")
    expect(harness.number(first["word"]) ^ harness.number(first["word_there"]) == 1 and first["ulp"] == 1, f"values: {first}")
    blamed = [k["kernel"] for k in column["kernels"] if k["differ"]]
    expect(blamed == [UPDATE], f"blamed: {blamed}")
    expect(sum(k["other_input"] for k in column["kernels"]) > 0, f"nothing comes after it: {column}")
    expect(re.search(rf"{target}: kernel '{UPDATE}', record {seq}, THE FIRST DIFFERENCE: .*offset 1028: word 0x", said.out), f"{said.out}")
    expect(f"{target} is not like cpu after kernel '{UPDATE}', record {seq}" in said.err, f"{said.err}")
    expect("cudaLaunchKernel" in said.err, f"the call site: {said.err}")
    # as far as floats may be apart, it is none (but for the recorded copy at the end)
    side_by_side(log, "--ulp", "1", "--to", harness.launches(log)[-1], targets=("cpu", target), status=0, env=wrong, for_people=False)
    # with every 7th launch alone it lies between two of them
    answer, said = side_by_side(log, "--each", "7", targets=("cpu", target), status=1, env=wrong, for_people=False)
    first = answer["targets"][0]["first_difference"]
    expect(first["last_equal"] < seq <= first["seq"], f"record {seq}: {first}")


def a_target_that_is_not_there(target, scratch):
    """Its column says so, the others are compared, and the exit status is the one of a target that is not available."""
    log, buffers = record("saxpy_streams", scratch)
    for targets in (("cpu", target, "cpu"), (target, "cpu", "cpu")):
        answer, said = side_by_side(log, targets=targets, status=4, env={KNOB[target] + "DEVICES": "0"})
        there = {t["target"]: t for t in answer["targets"]}
        expect(answer["with"] == "cpu" and not there[target]["available"] and there["cpu"]["available"], f"{answer}")
        expect(all(k["agree"] == k["launches"] for k in there["cpu"]["kernels"]), f"{there['cpu']}")
        expect("not available" in said.out and LACKS[target] in said.err, f"{said}")


def the_demo(scratch):
    """What README shows."""
    result = run([os.path.join(harness.HERE, "demo")], limit=300)
    expect(result.status == 0 and not result.err, f"{result}")
    rows = re.findall(r"^ +\d+((?:  +all agree)+) +_Z\S+$", result.out, re.M)
    expect(len(rows) == 5 and all(r.count("all agree") == len(OTHERS) for r in rows), f"the table at its end: {result.out[-800:]}")


def a_kernel_that_is_refused(scratch):
    """A device without atomic operations of 64 bits: the kernel that has some is named with the reason, and what comes after it was not reached."""
    log, buffers = record("cg", scratch)
    answer, said = side_by_side(log, targets=("cpu", "level-zero"), status=1, env={"HG_FAKE_ZE_INT64_ATOMICS": "0"})
    refused, other = sorted(answer["targets"][0]["kernels"], key=lambda k: "refused" not in k)
    expect("no atomic operations of 64 bits" in refused["refused"] and refused["not_reached"] == refused["launches"] > 0, f"{refused}")
    expect("refused" not in other and other["agree"] == 1 and other["not_reached"] == other["launches"] - 1 > 0, f"{other}")
    expect(re.search(rf"{refused['launches']} REFUSED +{re.escape(refused['kernel'])}$", said.out, re.M), f"{said.out}")
    expect("level-zero: REFUSED: kernel" in said.out and "level-zero: stopped: " in said.out, f"{said.out}")
    # where the others are compared with it, there is nothing beyond
    answer, said = side_by_side(log, targets=("level-zero", "cpu"), status=1, env={"HG_FAKE_ZE_INT64_ATOMICS": "0"})
    expect(re.search(r"^ +1  all agree +_Z5begin", said.out, re.M) and "_Z5solve" not in said.out and "level-zero: stopped: " in said.out,
           f"{said.out}")


def wrong_usage(scratch):
    for options in (("--each", "x"), ("--each",), ("--each", "-1")):
        harness.expect_refusal(tool("hgshim-replay", "--verify", "--target", "cpu,cpu", *options), f"{options}", (2,))


def tests():
    found = [(f"{app}: one log on cpu, {' and '.join(OTHERS)}, launch by launch", bind(all_agree, app)) for app in PROGRAMS]
    for target in OTHERS:
        found += [(f"sides: a wrong result on {target} is found, and blamed on its kernel", bind(a_wrong_result_is_found, target)),
                  (f"sides: {target} is not there", bind(a_target_that_is_not_there, target))]
    return found + [("sides: a kernel that level-zero refuses", a_kernel_that_is_refused), ("sides: wrong usage", wrong_usage),
                    ("sides: the demo", the_demo)]
