"""The scale line: a whole memorisation study's permutation null, measured.

    python -m tests.bench.scale                                   # d = 128, 5 depths: the shape of `memory`
    python -m tests.bench.scale --d 512 --depths 7                # the shape of Pythia-70M
    python -m tests.bench.scale --keys 32 --prefixes 4 --permutations 19     # seconds, for a look

A key has three wordings (pools M, C and B), each behind every prefix. The **full statistic** of a labelling is the
largest gap over depths, ``gap(d) = CV(M vs C) - CV(C vs B)``: held-out accuracies of L2 logistic probes (C = 1,
features standardised on training rows) with whole keys left out, in 10 folds. A permutation exchanges the two wordings
of a key with all their prefixes, or does not, in both contrasts, and everything is fitted anew for it: two probes at
every depth and fold. AUCs and accuracies of all of them, and the p-value, are part of what is timed. Nothing is
subsampled or extrapolated.

Features are made up: normal with a spectrum that falls as 1/k (in a random basis, one per depth), half of the variance
the key's, three tenths the wording's, the rest the prefix's; wording M is shifted along one direction. ``--folds 256``
leaves one key out at a time. ``--check`` compares the observed accuracy with scikit-learn's.
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np
import torch
from torch import Tensor

from interp.probes import cross_validate
from interp.stats import permutation_p

SHARES = {"key": 0.5, "wording": 0.3, "prefix": 0.1, "noise": 0.1}


def made(keys: int, prefixes: int, d: int, depth: int, shift: float) -> Tensor:
    """Features ``[key, pool, prefix, d]`` of one depth, float32."""
    rng = np.random.default_rng([7, depth])
    size = np.sqrt(1 / np.arange(1, d + 1))
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    parts = {"key": (keys, 1, 1), "wording": (keys, 3, 1), "prefix": (1, 1, prefixes), "noise": (keys, 3, prefixes)}
    x = sum(np.sqrt(SHARES[name]) * rng.normal(size=(*shape, d)) for name, shape in parts.items())
    x[:, 0, :, d // 4] += shift
    return torch.from_numpy(((x * size) @ basis).astype(np.float32))


def contrast(features: Tensor, positive: int, negative: int) -> Tensor:
    """Rows of two pools, key by key: ``[key x 2 x prefix, d]``."""
    return features[:, [positive, negative]].flatten(0, 2)


def measure(a: argparse.Namespace) -> dict[str, float]:
    """The statistic, its p-value, and what it took."""
    features = {k: made(a.keys, a.prefixes, a.d, k, a.shift) for k in range(a.depths)}
    groups = np.repeat(np.arange(a.keys), 2 * a.prefixes)
    labels = np.tile(np.repeat([1, 0], a.prefixes), a.keys)
    wall, cpu = time.perf_counter(), time.process_time()
    found = []
    for one, other in ((0, 1), (1, 2)):
        rows = {k: contrast(x, one, other) for k, x in features.items()}
        found.append(
            cross_validate(
                rows,
                labels,
                groups,
                folds=a.folds,
                permutations=a.permutations,
                bootstrap=2,
                nested=False,
                progress=False,
            )
        )
    gap = found[0].accuracy.estimate - found[1].accuracy.estimate
    null = found[0].null_accuracy - found[1].null_accuracy
    p = permutation_p(gap.max(), null.max(1))
    out = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "p": float(p)}
    if a.check:
        out |= {"ours": float(found[0].accuracy.estimate[0])}
        out |= {"theirs": scikit_learn(contrast(features[0], 0, 1).numpy(), labels, found[0].folds)}
    fits = 2 * a.depths * a.folds * (1 + len(null))
    return {**out, "gap": float(gap.max()), "null_95": float(np.quantile(null.max(1), 0.95)), "fits": fits}


def scikit_learn(x: np.ndarray, labels: np.ndarray, split) -> float:
    """Accuracy of one contrast at one depth in the same folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    right = []
    for f in range(split.count):
        train, test = split.train(f), split.test(f)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, tol=1e-6, max_iter=5000))
        right.append(model.fit(x[train], labels[train]).predict(x[test]) == labels[test])
    return float(np.concatenate(right).mean())


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = {"keys": 256, "prefixes": 24, "d": 128, "depths": 5, "permutations": 200, "folds": 10}
    for name, value in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--shift", type=float, default=1.0)
    parser.add_argument("--check", action="store_true")
    return parser


def main() -> None:
    a = options().parse_args()
    print(
        f"{a.keys} keys x {a.prefixes} prefixes x 3 wordings, d={a.d}, {a.depths} depths, {a.folds} folds, "
        f"{a.permutations} permutations; {torch.get_num_threads()} threads, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    found = measure(a)
    print(
        f"{found['fits']} fits in {found['wall']:.1f} s ({found['cpu']:.1f} CPU s, "
        f"{1e6 * found['cpu'] / found['fits']:.0f} us each); load {os.getloadavg()[0]:.1f}"
    )
    print(f"largest gap {found['gap']:.3f}, 95 % of the null {found['null_95']:.3f}, p = {found['p']:.3g}")
    if a.check:
        print(f"accuracy of M against C at the first depth: {found['ours']:.4f}, scikit-learn {found['theirs']:.4f}")


if __name__ == "__main__":
    main()
