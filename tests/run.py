#!/usr/bin/env python3
"""run.py - runs every suite of tests and adds up their results.

Suites: a Criterion program for each room (--units), the end-to-end runner, and every
executable tests/e2e/test_*; with --python the Python programs alone. A script tells its results with lines

    ok NAME | not ok NAME: reason | skip NAME: reason

or with a last line "N passed, N failed, N skipped". An exit status of 77 skips the suite.
The last line printed here is "N passed, N failed, N skipped"; HG_BUILD/check.result keeps it (check-python.result).
"""
import argparse
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get("HG_BUILD", os.path.join(os.path.dirname(HERE), "build")))
SUMMARY = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$")
LINE = re.compile(r"^(ok|not ok|skip)\b(?: [-0-9]+)?\s*(.*)$")


class Suite:
    def __init__(self, name):
        self.name = name
        self.passed = self.failed = self.skipped = 0
        self.problems = []
        self.skips = []


def run_script(name, command, limit):
    """A program that speaks the protocol above; its output is shown as it comes."""
    suite = Suite(name)
    summary = None
    lines = [0, 0, 0]
    print(f"== {name}", flush=True)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               errors="replace", start_new_session=True, cwd=os.path.dirname(HERE))
    started = time.monotonic()
    last = ""
    try:
        for line in process.stdout:
            line = line.rstrip("\n")
            print("   " + line, flush=True)
            last = line or last
            match = SUMMARY.match(line)
            if match:
                summary = [int(g) for g in match.groups()]
                continue
            match = LINE.match(line)
            if match:
                kind, text = match.groups()
                if kind == "ok" and re.search(r"# SKIP", text, re.I):
                    kind = "skip"
                lines[["ok", "not ok", "skip"].index(kind)] += 1
                if kind == "not ok":
                    suite.problems.append(text)
                elif kind == "skip":
                    suite.skips.append(text)
            if time.monotonic() - started > limit:
                raise subprocess.TimeoutExpired(command, limit)
        process.wait(timeout=max(1, limit - (time.monotonic() - started)))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()
        suite.problems.append(f"the suite took longer than {limit} s")
    suite.passed, suite.failed, suite.skipped = summary or lines
    if process.returncode == 77 and not summary:
        suite.skipped += 1
        suite.skips.append(last)
    elif process.returncode and not suite.failed:
        suite.failed += 1
        suite.problems.append(f"the suite ended with status {process.returncode}: {last}")
    elif not process.returncode and not (suite.passed or suite.failed or suite.skipped):
        suite.failed += 1
        suite.problems.append("the suite reported no test at all")
    return suite


def run_unit(room):
    """A Criterion program, through its TAP output."""
    return run_script(f"unit {room}", [os.path.join(BUILD, f"unit-{room}"), "--tap=-", "--quiet", "--jobs", "2",
                                       "--timeout", "120"], 600)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--units", default="")
    parser.add_argument("--only", help="a regular expression: run suites whose name it finds")
    parser.add_argument("--python", action="store_true", help="the Python programs, and nothing else")
    args = parser.parse_args()
    wanted = re.compile(args.only or "")
    suites = []
    if args.python:
        suites.append(run_script("python", [sys.executable, os.path.join(HERE, "e2e", "run.py"), "--python"], 1800))
    for room in args.units.split():
        if wanted.search(f"unit {room}"):
            suites.append(run_unit(room))
    if not args.python and wanted.search("end to end"):
        suites.append(run_script("end to end", [sys.executable, os.path.join(HERE, "e2e", "run.py")], 3600))
    for name in sorted(os.listdir(os.path.join(HERE, "e2e"))) if not args.python else []:
        path = os.path.join(HERE, "e2e", name)
        if name.startswith("test_") and os.access(path, os.X_OK) and os.path.isfile(path) and wanted.search(name):
            suites.append(run_script(name, [path], 900))

    print("\n== results")
    for suite in suites:
        print(f"   {suite.name:32} {suite.passed:5} passed {suite.failed:4} failed {suite.skipped:4} skipped")
    for suite in suites:
        for text in suite.skips:
            print(f"   SKIP {suite.name}: {text}")
    for suite in suites:
        for text in suite.problems:
            print(f"   FAIL {suite.name}: {text}")
    total = [sum(getattr(s, what) for s in suites) for what in ("passed", "failed", "skipped")]
    line = "{} passed, {} failed, {} skipped".format(*total)
    with open(os.path.join(BUILD, "check-python.result" if args.python else "check.result"), "w") as f:
        f.write(line + "\n")
    print(line)
    return 1 if total[1] or not total[0] else 0


if __name__ == "__main__":
    sys.exit(main())
