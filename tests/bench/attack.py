"""The adversarial suite with its permutation null.

OMP_NUM_THREADS=1 python -m tests.bench.attack        # 8 attackers, 99 permutations, 64 pairs, d = 128, 5 folds
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np
import torch

from interp.directions import attack
from interp.directions.erasers.attackers import SUITE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in {"pairs": 64, "d": 128, "folds": 5, "permutations": 99}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    a = parser.parse_args()
    rng = np.random.default_rng(0)
    y = np.arange(2 * a.pairs) % 2
    x = rng.normal(size=(2 * a.pairs, a.d))
    x[:, 0] += 2.0 * y
    features, groups = torch.from_numpy(x), np.arange(2 * a.pairs) // 2
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")
    attack(features[:, :4], y, groups, folds=2, permutations=2)
    times: dict[str, float] = {}
    for name in (*((n,) for n in SUITE), tuple(SUITE)):
        wall, cpu = time.perf_counter(), time.process_time()
        attack(features, y, groups, suite=name, folds=a.folds, permutations=a.permutations)
        label = name[0] if len(name) == 1 else f"all {len(name)}"
        times[label] = time.process_time() - cpu
        print(f"{label:<16} {times[label]:6.2f} CPU s, {time.perf_counter() - wall:6.2f} s")


if __name__ == "__main__":
    main()
