"""The batched solver against a loop over scikit-learn, on the work of one probe study.

    python tests/bench/solver.py [--sites 12] [--folds 10] [--labels 101] [--n 400] [--d 256] [--subset 40]
    [--rounds 5] [--signal 1.0] [--cpu]

One round times all fits of one site with `fit_logistic` (rotation included), then a random subset of the *same*
fits with scikit-learn at tight tolerance (1e-10) and at its default (1e-4), one after the other. The order rotates
from round to round. Scikit-learn's time for a site is its time per fit in the subset, times the number of fits:
that is an extrapolation, because its whole loop takes minutes. What is printed: medians over rounds of the paired
ratios, the largest difference of any weight or intercept on the subset, and the load of the machine. Features are
standardised in the fold beforehand, for both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from interp.probes.solver import fit_logistic

clock = time.perf_counter


def problems(rng: np.random.Generator, n: int, d: int, folds: int, labels: int, signal: float, kind: str):
    """One site's folds: standardised training rows, labels (the first vector planted, the others permuted), weights."""
    y = (np.arange(n) < n // 2).astype(float)
    x = rng.normal(size=(n, d))
    if kind == "correlated":
        x = x * np.exp(-np.linspace(0, 6, d)) @ np.linalg.qr(rng.normal(size=(d, d)))[0]
    x[:, 0] += signal * x.std() * y
    ys = np.stack([y, *(rng.permutation(y) for _ in range(labels - 1))])
    fold = rng.permutation(n) % folds
    rows = [np.flatnonzero(fold != f) for f in range(folds)]
    longest = max(map(len, rows))
    z, yb, s = np.zeros((folds, longest, d)), np.zeros((folds, labels, longest)), np.zeros((folds, longest))
    for f, r in enumerate(rows):
        z[f, : len(r)] = (x[r] - x[r].mean(0)) / x[r].std(0)
        yb[f, :, : len(r)], s[f, : len(r)] = ys[:, r], 1
    return torch.from_numpy(z), torch.from_numpy(yb), torch.from_numpy(s)


def sklearn_seconds(z, y, s, chosen, tol: float):
    """Seconds per fit, and the weights, of scikit-learn's loop over the chosen fits."""
    data = [(z[f][s[f] > 0].numpy(), y[f, p][s[f] > 0].numpy()) for f, p in chosen]
    start = clock()
    models = [LogisticRegression(C=1.0, tol=tol, max_iter=10_000).fit(*pair) for pair in data]
    seconds = (clock() - start) / len(chosen)
    return seconds, [np.append(m.coef_[0], m.intercept_[0]) for m in models]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in {"sites": 12, "folds": 10, "labels": 101, "n": 400, "d": 256, "subset": 40, "rounds": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--signal", type=float, default=1.0)
    parser.add_argument("--tol", type=float, default=1e-6, help="of the batched solver")
    parser.add_argument("--kind", choices=("isotropic", "correlated"), default="isotropic")
    parser.add_argument(
        "--cpu", action="store_true", help="count processor seconds, of all threads; for a busy machine"
    )
    a = parser.parse_args()
    if a.cpu:
        global clock
        clock = time.process_time
    rng = np.random.default_rng(0)
    fits = a.folds * a.labels
    print(
        f"{a.kind}, n={a.n} d={a.d}: {a.sites} sites x {a.folds} folds x {a.labels} label vectors "
        f"= {a.sites * fits} fits"
    )
    print(
        f"torch threads {torch.get_num_threads()}, cores {os.cpu_count()}, load {os.getloadavg()[0]:.1f}, "
        f"solver tol {a.tol:g}, {clock.__name__}"
    )
    ours, tight, default, worst, loose = [], [], [], 0.0, 0.0
    for k in range(a.rounds):
        z, y, s = problems(rng, a.n, a.d, a.folds, a.labels, a.signal, a.kind)
        chosen = [(int(rng.integers(a.folds)), int(rng.integers(a.labels))) for _ in range(a.subset)]
        if k == 0:
            fit_logistic(z[:1], y[:1], s[:1])
            sklearn_seconds(z, y, s, chosen[:2], 1e-4)
        jobs = {"ours": None, "tight": 1e-10, "default": 1e-4}
        order = list(jobs)[k % 3 :] + list(jobs)[: k % 3]
        for job in order:
            if job == "ours":
                start = clock()
                found = fit_logistic(z, y, s, tol=a.tol)
                ours.append(clock() - start)
            else:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    seconds, weights = sklearn_seconds(z, y, s, chosen, jobs[job])
                (tight if job == "tight" else default).append(seconds * fits)
                if job == "tight":
                    reference = weights
                else:
                    quick = weights
        mine = [np.append(found.coef[f, p].numpy(), found.intercept[f, p].item()) for f, p in chosen]
        worst = max(worst, *(float(np.abs(m - r).max()) for m, r in zip(mine, reference, strict=True)))
        loose = max(loose, *(float(np.abs(q - r).max()) for q, r in zip(quick, reference, strict=True)))
    site = statistics.median(ours)
    print(f"ours: {site:.3f} s per site, {site * a.sites:.1f} s for all sites, {site / fits * 1e6:.0f} us per fit")
    for name, times in (("tight, tol 1e-10", tight), ("default, tol 1e-4", default)):
        ratios = sorted(t / o for t, o in zip(times, ours, strict=True))
        print(
            f"scikit-learn ({name}): {statistics.median(times) / fits * 1e3:.2f} ms per fit, "
            f"{statistics.median(times) * a.sites:.0f} s for all sites (extrapolated from {a.subset} fits a round); "
            f"ratio {statistics.median(ratios):.1f} "
            f"(rounds: {', '.join(f'{r:.1f}' for r in ratios)})"
        )
    print(f"largest difference of a weight or intercept from scikit-learn at 1e-10: {worst:.1e}")
    print(f"the same of scikit-learn at its default: {loose:.1e}")


if __name__ == "__main__":
    main()
