#!/usr/bin/env python3
"""walk_bindings.py - random walks, with NVIDIA's cuda.bindings: the driver's API and NVRTC as they are, from Python.

    walk_bindings.py [--rounds N] [--pace MICROSECONDS]

NumPy computes the same; "PASS" and a checksum come last.
"""
import argparse
import ctypes
import hashlib
import time

import numpy as np
from cuda.bindings import driver, nvrtc

COUNT = 3000
SOURCE = b"""
extern "C" __global__ void walk(unsigned *seed, long long *at, float scale, size_t count)
{
	for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < count; i += gridDim.x * (size_t)blockDim.x) {
		seed[i] = seed[i] * 1664525u + 1013904223u;
		at[i] += (long long)((float)(int)(seed[i] >> 16) * scale) - 100;
	}
}
"""


def check(answer):
    """The results of a call that has succeeded."""
    status, *results = answer
    if status.value:
        raise RuntimeError(f"{status!r}")
    return results[0] if len(results) == 1 else results


def compiled(dev):
    kind = driver.CUdevice_attribute
    major, minor = (check(driver.cuDeviceGetAttribute(a, dev)) for a in (
        kind.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, kind.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR))
    program = check(nvrtc.nvrtcCreateProgram(SOURCE, b"walk.cu", 0, [], []))
    check(nvrtc.nvrtcCompileProgram(program, 1, [f"--gpu-architecture=compute_{major}{minor}".encode()]))
    ptx = b" " * check(nvrtc.nvrtcGetPTXSize(program))
    check(nvrtc.nvrtcGetPTX(program, ptx))
    check(nvrtc.nvrtcDestroyProgram(program))
    return ptx


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--pace", type=int, default=0, help="microseconds to rest in each round")
    args = parser.parse_args()

    check(driver.cuInit(0))
    dev = check(driver.cuDeviceGet(0))
    check(driver.cuCtxSetCurrent(check(driver.cuDevicePrimaryCtxRetain(dev))))
    ptx = compiled(dev)
    module = check(driver.cuModuleLoadDataEx(ptx, 0, [], []))
    kernel = check(driver.cuModuleGetFunction(module, b"walk"))
    stream = check(driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING))
    seed, at = np.arange(COUNT, dtype=np.uint32) * 77, np.zeros(COUNT, np.int64)
    seen = np.empty_like(at)
    seeds, places = (check(driver.cuMemAlloc(a.nbytes)) for a in (seed, at))
    check(driver.cuMemcpyHtoDAsync(seeds, seed.ctypes.data, seed.nbytes, stream))
    check(driver.cuMemsetD8Async(places, 0, at.nbytes, stream))
    begin, end = (check(driver.cuEventCreate(0)) for _ in range(2))

    for number in range(args.rounds):
        check(driver.cuEventRecord(begin, stream))
        values = (int(seeds), int(places), 0.25, COUNT)
        check(driver.cuLaunchKernel(kernel, 6, 1, 1, 128, 1, 1, 0, stream,
                                    (values, (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_float, ctypes.c_size_t)), 0))
        check(driver.cuEventRecord(end, stream))
        seed = seed * np.uint32(1664525) + np.uint32(1013904223)
        at += ((seed >> 16).astype(np.float32) * np.float32(0.25)).astype(np.int64) - 100
        check(driver.cuMemcpyDtoHAsync(seen.ctypes.data, places, seen.nbytes, stream))
        check(driver.cuStreamSynchronize(stream))
        if not np.array_equal(seen, at) or check(driver.cuEventElapsedTime(begin, end)) < 0:
            print(f"FAIL NumPy has other values in round {number}")
            return 1
        print(f"ROUND {number} farthest {seen.max()}", flush=True)
        time.sleep(args.pace * 1e-6)

    check(driver.cuModuleUnload(module))
    for memory in (seeds, places):
        check(driver.cuMemFree(memory))
    print("PASS", hashlib.sha256(seen.tobytes()).hexdigest()[:16])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
