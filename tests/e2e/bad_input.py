"""bad_input.py - wrong pids, damaged logs, garbage as code, places that cannot be written: one clear message each."""
import os
import random
import shutil
import signal
import struct
import subprocess
import time

import harness
from harness import Failed, Program, Skipped, checkpoint, expect, expect_refusal, replay, run, tool

PAGE = 4096
CUTS = None if harness.LONG else 40  # cuts of a log that are tried; None: every 4 KiB boundary


def alive(process, what):
    time.sleep(0.1)
    expect(process.poll() is None, f"{what} ended with status {process.returncode}")


def pid_without_shim(scratch):
    with subprocess.Popen(["sleep", "60"]) as p:
        try:
            expect_refusal(tool("hgshim-ckpt", p.pid), "hgshim-ckpt of 'sleep'")
            alive(p, "the program without the shim")
        finally:
            p.kill()


def pid_with_shim_without_cuda(scratch):
    """The library is there, but there was no CUDA call and so there is no log."""
    with subprocess.Popen([harness.ON, "cpu", "--", "sleep", "60"]) as p:
        try:
            time.sleep(0.3)
            expect_refusal(tool("hgshim-ckpt", p.pid), "hgshim-ckpt of a program without CUDA calls")
            alive(p, "the program")
        finally:
            p.kill()


def dead_pid(scratch):
    p = subprocess.Popen(["true"])
    p.wait()
    expect_refusal(tool("hgshim-ckpt", p.pid), "hgshim-ckpt of a dead process")


def no_pid_at_all(scratch):
    for word in ("", "x", "-3", "0", "99999999999999999999"):
        expect_refusal(tool("hgshim-ckpt", word), f"hgshim-ckpt '{word}'", (1, 2))
    result = tool("hgshim-ckpt")
    expect(result.status == 2, f"hgshim-ckpt without a pid: {result}")


def pid_of_someone_else(scratch):
    hold = os.path.join(scratch, "hold")
    with Program("vector_add", os.path.join(scratch, "log"), "--hold", hold) as p:
        p.wait_file(hold)
        if os.getuid() == 0:
            # the tool must be readable by that user
            copy = os.path.join("/tmp", f"hgshim-ckpt-{os.getpid()}")
            shutil.copy(os.path.join(harness.BUILD, "hgshim-ckpt"), copy)
            try:
                result = run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", copy, str(p.pid)])
            finally:
                os.unlink(copy)
        else:
            result = tool("hgshim-ckpt", 1)
        expect_refusal(result, "hgshim-ckpt of another user's process")
        checkpoint(p)  # and its owner still may
        os.unlink(hold)
        p.passed()


def make_log(scratch):
    """A log with a snapshot and a tail, of a program that was killed."""
    log = os.path.join(scratch, "log")
    hold = os.path.join(scratch, "hold")
    with Program("linked_list", log, "--rounds", 60, "--pace", 20000, "--hold", f"{hold}@50") as p:
        p.wait_ready()
        checkpoint(p)
        p.wait_file(hold)
        p.kill()
    return log


def judge_damaged(log, what):
    """Whatever happened to the log: an answer or one clear message, never a crash, never a wrong replay."""
    check = tool("hgshim-log", "check", log)
    expect(check.status in (0, 1, 3), f"{what}: hgshim-log check: {check}")
    expect(check.status == 0 or check.err.strip() or check.out.strip(), f"{what}: hgshim-log check failed silently")
    for command in ("info", "snapshots", "objects", "kernels", "calls"):
        result = tool("hgshim-log", command, log)
        expect(result.status in (0, 1, 3), f"{what}: hgshim-log {command}: {result}")
        expect(result.status == 0 or result.err.strip(), f"{what}: hgshim-log {command} failed silently")
    result = tool("hgshim-replay", "--target", "cpu", "--verify", log)
    expect(result.status in (0, 1, 3), f"{what}: hgshim-replay: {result}")
    if result.status:
        expect(len(result.err.strip().splitlines()) >= 1, f"{what}: hgshim-replay failed silently")
    return check.status, result.status


def cut_log(scratch):
    rng = harness.rng("cut")
    log = make_log(scratch)
    whole = judge_damaged(log, "the whole log")
    expect(whole == (0, 0), f"the log is not good before it is cut: {whole}")
    cuts = []
    for name in sorted(os.listdir(log)):
        size = os.path.getsize(os.path.join(log, name))
        cuts += [(name, at) for at in range(0, size, PAGE)]
    total = len(cuts)
    if CUTS and total > CUTS:
        # the beginning and the end of each file, and some by chance
        edge = {}
        for name, at in cuts:
            edge.setdefault(name, []).append(at)
        chosen = {(n, a) for n, list_ in edge.items() for a in (list_[0], list_[min(1, len(list_) - 1)], list_[-1])}
        chosen |= set(rng.sample(cuts, max(0, CUTS - len(chosen))))
        cuts = sorted(chosen)
    refused = 0
    for name, at in cuts:
        copy = os.path.join(scratch, "copy")
        harness.remove(copy)
        run(["cp", "-a", "--sparse=always", log, copy])
        os.truncate(os.path.join(copy, name), at)
        refused += any(judge_damaged(copy, f"'{name}' cut at {at}"))
    expect(refused, "no cut was noticed")
    return f"{len(cuts)} of {total} cuts, {refused} refused with a message, the others replay"


def flipped_bytes(scratch):
    """Every file of a log with bytes changed in it."""
    rng = harness.rng("flip")
    log = make_log(scratch)
    refused = tried = 0
    for name in sorted(os.listdir(log)):
        size = os.path.getsize(os.path.join(log, name))
        for k in range(6 if harness.LONG else 2):
            if not size:
                continue
            copy = os.path.join(scratch, "copy")
            harness.remove(copy)
            run(["cp", "-a", "--sparse=always", log, copy])
            with open(os.path.join(copy, name), "r+b") as f:
                for i in range(64):
                    f.seek(rng.randrange(min(size, 1 << 20)))
                    f.write(bytes([rng.randrange(256)]))
            tried += 1
            refused += any(judge_damaged(copy, f"'{name}' with 64 random bytes"))
    expect(refused, "no damage was noticed")
    return f"{refused} of {tried} refused with a message, the others replay"


def not_a_log(scratch):
    empty = os.path.join(scratch, "empty")
    os.mkdir(empty)
    for place in (empty, os.path.join(scratch, "missing"), "/etc/passwd"):
        for command in (["hgshim-log", "info", place], ["hgshim-log", "check", place],
                        ["hgshim-replay", "--target", "cpu", place]):
            expect_refusal(tool(*command), f"{' '.join(command)}", (1, 3))


def wrong_usage(scratch):
    for command in (["hgshim-log"], ["hgshim-log", "nonsense"], ["hgshim-replay", "--nonsense"],
                    ["hgshim-replay", "--target", "nonsense", "/nowhere"], ["hgshim-ckpt", "--nonsense", "1"]):
        result = tool(*command)
        expect(result.status in (1, 2, 4) and result.err.strip(), f"{' '.join(command)}: {result}")
    result = tool("hgshim-replay", "--target", "level-zero", make_log(scratch), env={"HGSHIM_LEVEL_ZERO": "/nowhere"})
    expect(result.status == 4 and result.err.strip(), f"a target that is not there: {result}")


def garbage_as_code(scratch):
    """A driver-API program offers garbage as a module, gets an error code and goes on."""
    rng = harness.rng("garbage")
    ptx = ('.version 7.0\n.target sm_75\n.address_size 64\n.visible .entry k(.param .u64 p)\n{\n'
           '\t.reg .b64 %rd<3>;\n\tld.param.u64 %rd1, [p];\n\tst.global.u64 [%rd1], %rd1;\n\tret;\n}\n')
    images = {}
    for k in range(40 if harness.LONG else 10):
        images[f"random bytes {k}"] = rng.randbytes(rng.randrange(1, 20000))
        images[f"random text {k}"] = bytes(rng.choice(b"\t\n .,;:{}()[]@%$_abcdefgrstuvx0123456789<>")
                                           for i in range(rng.randrange(1, 5000)))
        broken = bytearray(ptx.encode())
        for i in range(3):
            broken[rng.randrange(len(broken))] = rng.choice(b"@;{}%.[]x0\xff ")
        images[f"changed PTX {k}"] = bytes(broken)
        images[f"cut PTX {k}"] = ptx.encode()[:rng.randrange(1, len(ptx))]
        # a fatbin's header with a sensible size, then noise
        body = rng.randbytes(rng.randrange(64, 4096) & ~7)
        images[f"noise in a fatbin {k}"] = struct.pack("<IHHQ", 0xba55ed50, 1, 16, len(body)) + body
        entry = struct.pack("<HHIIIIIHHIIIQQQ", 1, 0x101, 64, len(body) & ~7, 0, rng.choice([0, len(body) // 2]), 0,
                            0, 9, 75, 64, 0, rng.choice([0x11, 0x2011, 0x8011]), 0, rng.randrange(1, 1 << 24))
        entry = entry.ljust(64, b"\0")[:64]
        images[f"noise in an entry {k}"] = struct.pack("<IHHQ", 0xba55ed50, 1, 16, len(entry) + len(body)) + \
            entry + body
        images[f"noise in an ELF {k}"] = b"\x7fELF\x02\x01\x01" + rng.randbytes(2000)
    refused = 0
    for name, data in images.items():
        path = os.path.join(scratch, "image")
        with open(path, "wb") as f:
            f.write(data)
        with Program("ptx_driver", os.path.join(scratch, "log"), "--rounds", 3, "--image", path) as p:
            try:
                p.passed()
            except Failed as why:
                shutil.copy(path, os.path.join(scratch, "bad-image"))
                raise Failed(f"{name}: {why}")
            answer = [l for l in p.lines if l.startswith("IMAGE ")]
            expect(answer, f"{name}: the program says nothing about the image")
            refused += "refused" in answer[0]
            expect("refused" in answer[0] or name.startswith(("changed", "cut", "random text")),
                   f"{name} was taken as a module")
        harness.remove(os.path.join(scratch, "log"))
    return f"{len(images)} images, {refused} refused, the program lived on every time"


def damaged_program(scratch):
    """The fatbin inside a program is overwritten: its launches fail, and it ends as it wants to."""
    rng = harness.rng("fatbin")
    path = os.path.join(harness.BUILD, "apps", "vector_add")
    out = subprocess.run(["readelf", "-SW", path], capture_output=True, text=True).stdout
    line = next(l for l in out.splitlines() if ".nv_fatbin" in l)
    words = line.split("]", 1)[1].split()
    offset, size = int(words[3], 16), int(words[4], 16)
    for k in range(20 if harness.LONG else 6):
        copy = os.path.join(scratch, "vector_add")
        shutil.copy(path, copy)
        with open(copy, "r+b") as f:
            f.seek(offset + (0 if k == 0 else rng.randrange(16, size // 2)))
            f.write(rng.randbytes(16 if k == 0 else 200))
        with Program("vector_add", os.path.join(scratch, "log"), "--rounds", 3, path=copy) as p:
            status = p.finish()
            expect(status == 0 or (status == 1 and "FAIL" in p.stderr()),
                   f"damage {k}: the program did not end as it wants to: {p.describe()}")
        harness.remove(os.path.join(scratch, "log"))


def unwritable_log(scratch):
    """Recording is off, said once; the program gets its result; a checkpoint is refused with the reason."""
    for place in ("/proc/hgshim-cannot-be/here", "/dev/null/log"):
        checksum = None
        hold = os.path.join(scratch, "hold")
        with Program("linked_list", place, "--hold", hold) as p:
            p.wait_ready()
            p.wait_file(hold)
            expect_refusal(tool("hgshim-ckpt", p.pid), f"hgshim-ckpt without a log in '{place}'")
            os.unlink(hold)
            checksum = p.passed()
            said = [l for l in p.stderr().splitlines() if "hgshim" in l]
            expect(1 <= len(said) <= 2 and any(place.split("/")[1] in l for l in said),
                   f"the program's messages about '{place}': {said}")
        expect(checksum, "no result")


class SmallDisk:
    """A tmpfs of a few megabytes."""

    def __init__(self, scratch, megabytes):
        self.path = os.path.join(scratch, "disk")
        os.mkdir(self.path)
        if os.getuid() != 0:
            raise Skipped("mounting a small tmpfs needs root")
        result = run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", self.path])
        if result.status:
            raise Skipped(f"cannot mount a tmpfs here: {result.err.strip()}")

    def fill(self, leave=0):
        free = os.statvfs(self.path)
        size = free.f_bavail * free.f_frsize - leave
        with open(os.path.join(self.path, "filler"), "wb") as f:
            try:
                while size > 0:
                    size -= f.write(b"x" * min(size, 1 << 20))
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        subprocess.run(["umount", "-l", self.path], check=False)


def no_room_from_the_start(scratch):
    with SmallDisk(scratch, 1) as disk:
        disk.fill()
        with Program("linked_list", os.path.join(disk.path, "log"), "--pace", 100) as p:
            p.wait_ready()
            result = tool("hgshim-ckpt", p.pid)
            expect_refusal(result, "hgshim-ckpt on a full disk")
            p.passed()
            expect("hgshim" in p.stderr(), "the program's user is not told that nothing is recorded")


def disk_fills_up(scratch):
    """The first snapshot stays whole when there is no room for the second; the program gets its result."""
    with SmallDisk(scratch, 256) as disk:
        log = os.path.join(disk.path, "log")
        first, second = os.path.join(scratch, "first"), os.path.join(scratch, "second")
        with Program("vector_add", log, "--hold", f"{first}@1000", "--hold", f"{second}@2000") as p:
            p.wait_ready()
            p.wait_file(first)
            good = checkpoint(p)
            disk.fill()
            os.unlink(first)
            p.wait_file(second)
            result = tool("hgshim-ckpt", p.pid)
            expect_refusal(result, "hgshim-ckpt when the disk is full")
            os.unlink(second)
            p.passed()
        copy = os.path.join(scratch, "copy")
        run(["cp", "-a", "--sparse=always", log, copy])
    check = tool("hgshim-log", "check", copy)
    expect(check.status == 0, f"hgshim-log check: {check}")
    known = harness.snapshots(copy)
    expect(list(known) == [good], f"snapshots {sorted(known)}, not only {good}")
    replay(copy, "--snapshot", good, "--to", known[good], "--verify")


def timeout_expires(scratch):
    """The gate cannot be waited for: the command fails, the program runs on."""
    hold = os.path.join(scratch, "hold")
    with Program("vector_add", os.path.join(scratch, "log"), "--hold", hold) as p:
        p.wait_file(hold)
        os.kill(p.pid, signal.SIGSTOP)
        try:
            expect_refusal(tool("hgshim-ckpt", "--timeout", 1, p.pid), "hgshim-ckpt of a stopped process")
        finally:
            os.kill(p.pid, signal.SIGCONT)
        checkpoint(p)
        os.unlink(hold)
        p.passed()


def tests():
    return [
        ("bad input: a process without the shim is refused", pid_without_shim),
        ("bad input: a process that has made no CUDA call is refused", pid_with_shim_without_cuda),
        ("bad input: a dead process is refused", dead_pid),
        ("bad input: something that is no pid is refused", no_pid_at_all),
        ("bad input: another user's process is refused and not harmed", pid_of_someone_else),
        ("bad input: a stopped process times out and is not harmed", timeout_expires),
        ("bad input: a log cut anywhere is refused or replays", cut_log),
        ("bad input: a log with changed bytes is refused or replays", flipped_bytes),
        ("bad input: what is no log is refused", not_a_log),
        ("bad input: wrong usage is answered", wrong_usage),
        ("bad input: garbage offered as code is refused and the program lives on", garbage_as_code),
        ("bad input: a damaged fatbin in a program does not crash it", damaged_program),
        ("bad input: an unwritable log directory turns recording off", unwritable_log),
        ("bad input: a full disk turns recording off", no_room_from_the_start),
        ("bad input: a disk that fills up keeps the last snapshot whole", disk_fills_up),
    ]
