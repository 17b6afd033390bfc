#!/usr/bin/env python3
"""train.py - trains two small networks with tinygrad, on data that it makes: an ordinary tinygrad program.

    train.py [--rounds N] [--pace MICROSECONDS]

A perceptron learns to tell two spirals apart, batches coming from the host; a convolutional network learns in which quarter of a
noisy picture a spot lies, batches drawn on the device. Each round is one step of Adam for both and says what the losses were.
"PASS" and a checksum of all weights come last, if the losses have become small enough for the number of rounds.
"""
import argparse
import hashlib
import time

import numpy as np
from tinygrad import Tensor, TinyJit, nn
from tinygrad.helpers import Context

BATCH = 64
SIDE = 12


class Perceptron:
    def __init__(self):
        self.layers = [nn.Linear(2, 32), Tensor.tanh, nn.Linear(32, 32), Tensor.relu, nn.Linear(32, 2)]

    def __call__(self, x):
        return x.sequential(self.layers)


class Convolutional:
    def __init__(self):
        self.layers = [nn.Conv2d(1, 8, 3), Tensor.relu, nn.Conv2d(8, 8, 3), nn.BatchNorm(8), Tensor.gelu, Tensor.max_pool2d,
                       lambda x: x.flatten(1), nn.Linear(8 * 16, 4)]

    def __call__(self, x):
        return x.sequential(self.layers)


def spirals(rng, count):
    """Points of two spirals, and which of them each is on."""
    label = rng.integers(0, 2, count)
    turn = rng.uniform(0.3, 1.5, count)
    angle = 2 * np.pi * turn + np.pi * label
    points = np.stack([turn * np.cos(angle), turn * np.sin(angle)], axis=1) + rng.normal(0, 0.02, (count, 2))
    return points.astype(np.float32), label.astype(np.int32)


def pictures(rng, count):
    """Noise with a spot in one quarter, and which one that is."""
    label = rng.integers(0, 4, count)
    at = rng.integers(0, SIDE // 2 - 1, (count, 2)) + SIDE // 2 * np.stack([label // 2, label % 2], axis=1)
    image = rng.normal(0, 0.3, (count, 1, SIDE, SIDE))
    for i, (row, column) in enumerate(at):
        image[i, 0, row:row + 2, column:column + 2] += 1
    return image.astype(np.float32), label.astype(np.int32)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--pace", type=int, default=0, help="microseconds to rest in each round")
    args = parser.parse_args()

    rng = np.random.default_rng(1)
    Tensor.manual_seed(1)
    points, sides = spirals(rng, 1024)
    images, quarters = (Tensor(a).realize() for a in pictures(rng, 512))
    perceptron, convolutional = Perceptron(), Convolutional()
    adam = [nn.optim.Adam(nn.state.get_parameters(n), lr=r) for n, r in ((perceptron, 0.01), (convolutional, 0.005))]

    @TinyJit
    def learn_spirals(x, y):
        adam[0].zero_grad()
        loss = perceptron(x).sparse_categorical_crossentropy(y).backward()
        return loss.realize(*adam[0].schedule_step())

    @TinyJit
    def learn_pictures():
        adam[1].zero_grad()
        chosen = Tensor.randint(BATCH, high=images.shape[0])
        loss = convolutional(images[chosen]).sparse_categorical_crossentropy(quarters[chosen]).backward()
        return loss.realize(*adam[1].schedule_step())

    losses = []
    with Context(TRAINING=1):
        for number in range(args.rounds):
            chosen = rng.integers(0, len(points), BATCH)
            losses.append((learn_spirals(Tensor(points[chosen]), Tensor(sides[chosen])).item(), learn_pictures().item()))
            print(f"ROUND {number} spirals {losses[-1][0]!r} pictures {losses[-1][1]!r}", flush=True)
            time.sleep(args.pace * 1e-6)

    digest = hashlib.sha256()
    for network in (perceptron, convolutional):
        for name, weights in sorted(nn.state.get_state_dict(network).items()):
            digest.update(name.encode() + weights.numpy().tobytes())
    first, last = (np.mean(part, axis=0) for part in (losses[:5], losses[-5:]))
    if not (last < first * (0.6 if args.rounds >= 150 else 1)).all():
        print(f"FAIL the losses went from {first} to {last}")
        return 1
    print(f"PASS {digest.hexdigest()[:16]}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
