#!/usr/bin/env python3
"""run.py - end-to-end tests: real programs under the shim, checkpointed, killed, replayed.

    tests/e2e/run.py [--only REGEX] [--jobs N] [--gpu] [--python]

HG_SEED repeats a run's random moments; HG_LONG=1 takes the large samples. See README.md here.
"""
import argparse
import concurrent.futures
import os
import re
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bad_input
import coverage
import errors
import gpu
import gpus
import harness
import leaving
import libraries
import native
import printing
import programs
import python_programs
import sides
from harness import Failed, Skipped

lock = threading.Lock()
count = {"ok": 0, "not ok": 0, "skip": 0}


def run_test(name, function):
    started = time.monotonic()
    scratch = harness.make_scratch()
    kind, note = "ok", ""
    try:
        note = function(scratch) or ""
    except Skipped as why:
        kind, note = "skip", str(why)
    except Failed as why:
        kind, note = "not ok", str(why)
    except Exception:  # a mistake of the test is a failure of the test
        kind, note = "not ok", traceback.format_exc().strip().replace("\n", " | ")
    if kind != "not ok":
        harness.remove(scratch)
    else:
        note += f" [kept: {os.path.relpath(scratch, harness.BUILD)}]"
    with lock:
        count[kind] += 1
        print(f"{kind} {name}" + (f": {note}" if note else "") + f" ({time.monotonic() - started:.1f} s)", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="run the tests whose name this regular expression finds")
    # one more than two processors have to do: programs wait for each other, and for their moments
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--gpu", action="store_true", help="on a real NVIDIA driver instead of the CPU target")
    parser.add_argument("--python", action="store_true", help="the programs of tests/python, which make deps-python is for")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()

    if args.gpu:
        tests = gpu.tests()
    elif args.python:
        tests = python_programs.tests()
    else:
        tests = (programs.tests() + leaving.tests() + native.tests() + errors.tests() + libraries.tests() + gpus.tests() +
                 sides.tests() + coverage.tests() + printing.tests() + bad_input.tests())
    tests = [(n, f) for n, f in tests if re.search(args.only, n)]
    if args.list:
        print("\n".join(n for n, f in tests))
        return 0
    print(f"# seed {harness.SEED}: HG_SEED={harness.SEED} repeats the random moments", flush=True)
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for future in [pool.submit(run_test, n, f) for n, f in tests]:
            future.result()
    print(f"{count['ok']} passed, {count['not ok']} failed, {count['skip']} skipped")
    return 1 if count["not ok"] or not sum(count.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
