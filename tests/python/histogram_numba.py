#!/usr/bin/env python3
"""histogram_numba.py - kernels by @numba.cuda.jit: a histogram with shared memory and atomics, and the sum of its squares.

    histogram_numba.py [--rounds N] [--pace MICROSECONDS]

NumPy computes the same; "PASS" and a checksum come last.
"""
import argparse
import hashlib
import time

import numba
import numpy as np
from numba import cuda

COUNT = 5000
BINS = 64


@cuda.jit
def histogram(values, factor, bins):
    own = cuda.shared.array(BINS, numba.int64)
    if cuda.threadIdx.x < BINS:
        own[cuda.threadIdx.x] = 0
    cuda.syncthreads()
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        cuda.atomic.add(own, (values[i] * factor) % BINS, 1)
    cuda.syncthreads()
    if cuda.threadIdx.x < BINS:
        cuda.atomic.add(bins, cuda.threadIdx.x, own[cuda.threadIdx.x])


@cuda.jit
def sum_of_squares(bins, total):
    value = bins[cuda.grid(1)]
    value *= value
    for distance in (16, 8, 4, 2, 1):
        value += cuda.shfl_down_sync(0xffffffff, value, distance)
    if cuda.laneid == 0:
        cuda.atomic.add(total, 0, value)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--pace", type=int, default=0, help="microseconds to rest in each round")
    args = parser.parse_args()

    values = np.random.default_rng(7).integers(0, 1 << 20, COUNT)
    there = cuda.to_device(values)
    bins, expected = cuda.to_device(np.zeros(BINS, np.int64)), np.zeros(BINS, np.int64)
    for number in range(args.rounds):
        factor = 2 * number + 1
        total = cuda.to_device(np.zeros(1, np.int64))
        histogram[8, 128](there, factor, bins)
        sum_of_squares[1, BINS](bins, total)
        expected += np.bincount((values * factor) % BINS, minlength=BINS)
        got = int(total.copy_to_host()[0])
        if got != (expected ** 2).sum() or not np.array_equal(bins.copy_to_host(), expected):
            print(f"FAIL NumPy has other values in round {number}")
            return 1
        print(f"ROUND {number} squares {got}", flush=True)
        time.sleep(args.pace * 1e-6)

    print("PASS", hashlib.sha256(bins.copy_to_host().tobytes()).hexdigest()[:16])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
