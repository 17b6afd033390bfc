#!/usr/bin/env python3
"""heat_cupy.py - heat spreads over a plate, with CuPy: a RawKernel for each step, CuPy's own kernels for what is asked of it.

    heat_cupy.py [--rounds N] [--pace MICROSECONDS]

The kernel is compiled with headers of the toolkit. NumPy computes the same; "PASS" and a checksum of the plate come last.
"""
import argparse
import hashlib
import time

import cupy
import numpy as np

SIDE = 96
SOURCE = r"""
#include <cuda_fp16.h>

__constant__ float rate;

template <typename T> __global__ void spread(const float *from, float *to, T *coarse, int side)
{
	__shared__ float tile[18][18];
	int x = blockIdx.x * 16 + threadIdx.x, y = blockIdx.y * 16 + threadIdx.y;

	for (int i = threadIdx.y * 16 + threadIdx.x; i < 18 * 18; i += 256) {
		int tx = blockIdx.x * 16 + i % 18 - 1, ty = blockIdx.y * 16 + i / 18 - 1;

		tile[i / 18][i % 18] = tx < 0 || ty < 0 || tx >= side || ty >= side ? 0 : from[ty * side + tx];
	}
	__syncthreads();
	float here = tile[threadIdx.y + 1][threadIdx.x + 1];
	float around = tile[threadIdx.y][threadIdx.x + 1] + tile[threadIdx.y + 2][threadIdx.x + 1] +
		       tile[threadIdx.y + 1][threadIdx.x] + tile[threadIdx.y + 1][threadIdx.x + 2];

	to[y * side + x] = __fadd_rn(here, __fmul_rn(rate, __fadd_rn(around, __fmul_rn(-4.0f, here))));
	coarse[y * side + x] = (T)to[y * side + x];
}
"""


def step(plate):
    """The same with NumPy, in the kernel's order."""
    wide = np.pad(plate, 1)
    around = ((wide[:-2, 1:-1] + wide[2:, 1:-1]) + wide[1:-1, :-2]) + wide[1:-1, 2:]
    return plate + np.float32(0.2) * (around + np.float32(-4) * plate)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--pace", type=int, default=0, help="microseconds to rest in each round")
    args = parser.parse_args()

    rng = np.random.default_rng(3)
    expected = rng.uniform(0, 100, (SIDE, SIDE)).astype(np.float32)
    module = cupy.RawModule(code=SOURCE, options=("-std=c++17",), name_expressions=("spread<half>",))
    spread = module.get_function("spread<half>")
    cupy.ndarray((1,), cupy.float32, module.get_global("rate"))[...] = np.float32(0.2)
    warmest = cupy.ReductionKernel("T x", "T y", "x", "max(a, b)", "y = a", "0", "warmest")
    difference = cupy.ElementwiseKernel("float32 a, float32 b", "float32 d", "d = fabsf(a - b)", "difference")

    plate, other, coarse = cupy.asarray(expected), cupy.empty_like(expected), cupy.empty((SIDE, SIDE), cupy.float16)
    # a non-blocking stream does not wait for the copies of the other one
    cupy.cuda.get_current_stream().synchronize()
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        for number in range(args.rounds):
            spread((SIDE // 16, SIDE // 16), (16, 16), (plate, other, coarse, np.int32(SIDE)))
            moved = difference(plate, other)
            plate, other = other, plate
            expected = step(expected)
            print(f"ROUND {number} warmest {float(warmest(plate))!r} moved {float(moved.sum(dtype=cupy.float64))!r} "
                  f"warm {int((plate > 50).sum())}", flush=True)
            time.sleep(args.pace * 1e-6)
        row = coarse[cupy.arange(0, SIDE, 5)].astype(cupy.float32)
        means = (plate.astype(cupy.float64) * 2 + 1).mean(axis=0)
    stream.synchronize()

    problems = []
    if not np.array_equal(cupy.asnumpy(plate), expected):
        problems.append("the plate")
    if not np.array_equal(cupy.asnumpy(row), expected[::5].astype(np.float16).astype(np.float32)):
        problems.append("the coarse rows")
    if not np.allclose(cupy.asnumpy(means), (expected.astype(np.float64) * 2 + 1).mean(axis=0), rtol=1e-12):
        problems.append("the means")
    if problems:
        print("FAIL NumPy has other values for", ", ".join(problems))
        return 1
    print("PASS", hashlib.sha256(cupy.asnumpy(plate).tobytes()).hexdigest()[:16])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
