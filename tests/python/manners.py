#!/usr/bin/env python3
"""manners.py - what Python programs do beside CUDA: threads, signals, timers, forked and spawned processes.

    manners.py [--rounds N] [--pace MICROSECONDS]

In each round threads launch kernels on streams of their own, while a timer's signal arrives again and again; now and then a
process is forked, one is spawned that uses CUDA itself, and a shell command is run. In the spawned one a kernel that writes where
nothing is makes an error and no crash. At the end the program interrupts itself. "PASS" and a checksum come last.
"""
import argparse
import ctypes
import faulthandler
import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
from cuda.bindings import driver

PTX = b"""
.version 8.0
.target sm_75
.address_size 64
.visible .entry add(.param .u64 at, .param .u32 count)
{
	.reg .u32 %r<6>;
	.reg .u64 %a<4>;
	.reg .pred %p;
	mov.u32 %r1, %ctaid.x;
	mov.u32 %r2, %ntid.x;
	mov.u32 %r3, %tid.x;
	mad.lo.u32 %r1, %r1, %r2, %r3;
	ld.param.u32 %r4, [count];
	setp.ge.u32 %p, %r1, %r4;
	@%p ret;
	ld.param.u64 %a1, [at];
	mul.wide.u32 %a2, %r1, 4;
	add.u64 %a1, %a1, %a2;
	ld.global.u32 %r5, [%a1];
	add.u32 %r5, %r5, %r1;
	st.global.u32 [%a1], %r5;
	ret;
}
"""
COUNT = 1000
THREADS = 3


def check(answer):
    """The results of a call that has succeeded."""
    status, *results = answer
    if status.value:
        raise RuntimeError(f"{status!r}")
    return results[0] if len(results) == 1 else results


class Adder:
    """An array on the device, and a stream; each use adds its index to every element."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.stream = check(driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING))
        self.memory = check(driver.cuMemAlloc(4 * COUNT))
        check(driver.cuMemsetD32(self.memory, 0, COUNT))

    def add(self, times, at=None):
        for _ in range(times):
            check(driver.cuLaunchKernel(self.kernel, 4, 1, 1, 256, 1, 1, 0, self.stream,
                                        ((at or int(self.memory), COUNT), (ctypes.c_void_p, ctypes.c_uint)), 0))
        check(driver.cuStreamSynchronize(self.stream))

    def values(self):
        host = np.empty(COUNT, np.uint32)
        check(driver.cuMemcpyDtoH(host.ctypes.data, self.memory, host.nbytes))
        return host


def begin():
    """A context, made current; the kernel."""
    check(driver.cuInit(0))
    context = check(driver.cuDevicePrimaryCtxRetain(check(driver.cuDeviceGet(0))))
    check(driver.cuCtxSetCurrent(context))
    return context, check(driver.cuModuleGetFunction(check(driver.cuModuleLoadData(PTX)), b"add"))


def in_a_process_of_its_own(queue):
    faulthandler.enable()
    adder = Adder(begin()[1])
    adder.add(5)
    total = int(adder.values().sum())
    try:
        adder.add(1, at=16)
    except RuntimeError:
        queue.put(total)
    else:
        queue.put("a kernel that writes to address 16 succeeded")


def without_cuda(queue, number):
    queue.put(hashlib.sha256(str(number).encode()).hexdigest())


def ask(how, target, *args):
    """What a process of multiprocessing puts into its queue."""
    context = multiprocessing.get_context(how)
    queue = context.SimpleQueue()
    process = context.Process(target=target, args=(queue, *args))
    process.start()
    process.join(60)
    if process.exitcode != 0:
        raise RuntimeError(f"a process by '{how}' ended with {process.exitcode}")
    return queue.get()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--pace", type=int, default=0, help="microseconds to rest in each round")
    args = parser.parse_args()

    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the program was started in the background
    ticks, problems = [], []
    signal.signal(signal.SIGALRM, lambda number, frame: ticks.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
    context, kernel = begin()
    adders = [Adder(kernel) for _ in range(THREADS)]

    def work(adder, times):
        try:
            check(driver.cuCtxSetCurrent(context))
            adder.add(times)
        except RuntimeError as why:
            problems.append(str(why))

    for number in range(args.rounds):
        threads = [threading.Thread(target=work, args=(a, 3)) for a in adders]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if number % 20 == 3 and ask("fork", without_cuda, number) != hashlib.sha256(str(number).encode()).hexdigest():
            problems.append("a forked process answers something else")
        if number == 5 and ask("spawn", in_a_process_of_its_own) != 5 * COUNT * (COUNT - 1) // 2:
            problems.append("a spawned process computes something else")
        if number % 20 == 7 and subprocess.run(["sh", "-c", "echo $((6 * 7))"], capture_output=True, text=True).stdout != "42\n":
            problems.append("a shell says something else")
        print(f"ROUND {number} sum {int(adders[0].values().sum())}", flush=True)
        time.sleep(args.pace * 1e-6)
    signal.setitimer(signal.ITIMER_REAL, 0)
    if not ticks:
        problems.append("no timer's signal arrived")
    expected = (np.arange(COUNT) * 3 * args.rounds).astype(np.uint32)
    digest = hashlib.sha256()
    for adder in adders:
        digest.update(adder.values().tobytes())
        if not np.array_equal(adder.values(), expected):
            problems.append("an array has other values")

    try:
        os.kill(os.getpid(), signal.SIGINT)
        adders[0].add(1)
        time.sleep(10)
        problems.append("an interrupt was lost")
    except KeyboardInterrupt:
        pass
    if problems:
        print("FAIL", "; ".join(sorted(set(problems))))
        return 1
    print("PASS", digest.hexdigest()[:16])
    return 0


if __name__ == "__main__":
    sys.exit(main())
