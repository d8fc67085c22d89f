"""One key left out at a time, exactly and by one Newton step from the fit to all keys.

    python -m tests.bench.leave_one_out                           # d = 128, 128 keys
    python -m tests.bench.leave_one_out --d 512

The step minimises the second-order model of the other keys' objective at the weights of all keys; with the inverse
Hessian ``A = (XᵀWX + λ)⁻¹`` of all rows, made once for a label vector, the log-odds of key ``k``'s own rows become
``X_k w + (1 - X_k A X_kᵀ W_k)⁻¹ X_k A X_kᵀ (p - y)_k``. Features are standardised with all rows for the step, without
the key for the exact fits. Source: Rad & Maleki (2020), "A scalable estimate of the out-of-sample prediction error via
approximate leave-one-out cross-validation", for single rows.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from torch import Tensor

from interp.probes import fit_logistic
from interp.probes.crossfit import held_out_scores
from interp.probes.standardise import moments
from interp.splits import leave_one_group_out
from interp.stats import permute_labels
from tests.bench.scale import contrast, made


def exact(x: Tensor, y: Tensor, keys: int) -> Tensor:
    """Held-out log-odds ``[label, row]`` with every key left out in turn."""
    rows = torch.arange(x.shape[0]).reshape(keys, -1)
    splits = [(torch.cat([rows[:k], rows[k + 1 :]]).flatten(), rows[k]) for k in range(keys)]
    return torch.cat(held_out_scores(x, y, splits, tol=1e-5), 1)


def one_step(x: Tensor, y: Tensor, keys: int) -> Tensor:
    """The same, nearly, from one fit per label vector."""
    mean, scale = moments(x)
    fits = fit_logistic(((x - mean) / scale)[None], y[None], tol=1e-6)
    z = torch.cat([(x - mean) / scale, x.new_ones(len(x), 1)], 1)
    blocks = z.unflatten(0, (keys, -1))
    penalty = torch.ones(z.shape[1], dtype=z.dtype)
    penalty[-1] = 0.0
    out = []
    for coef, intercept, truth in zip(fits.coef[0], fits.intercept[0], y, strict=True):
        margin = z @ torch.cat([coef, intercept[None]])
        p = torch.sigmoid(margin)
        curvature, residual = (t.unflatten(0, (keys, -1)) for t in (p * (1 - p), p - truth))
        inverse = torch.linalg.inv(z.T @ (z * (p * (1 - p))[:, None]) + torch.diag(penalty))
        leverage = torch.matmul(torch.matmul(blocks, inverse), blocks.transpose(1, 2))
        system = torch.eye(blocks.shape[1], dtype=z.dtype) - leverage * curvature[:, None]
        step = torch.linalg.solve(system, torch.matmul(leverage, residual[..., None]))
        out.append(margin + step.flatten())
    return torch.stack(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in {"keys": 128, "prefixes": 6, "d": 128, "permutations": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    a = parser.parse_args()
    x = contrast(made(a.keys, a.prefixes, a.d, 0, 1.0), 0, 1).double()
    groups = np.repeat(np.arange(a.keys), 2 * a.prefixes)
    labels = np.tile(np.repeat([1, 0], a.prefixes), a.keys)
    drawn = permute_labels(labels, groups, a.permutations, folds=leave_one_group_out(labels, groups).of)
    y = torch.from_numpy(np.concatenate([labels[None] > 0, drawn.labels])).double()
    found = []
    for name, way in (("exact", exact), ("one step", one_step)):
        start = time.process_time()
        found.append(way(x, y, a.keys))
        right = ((found[-1] > 0) == (y > 0.5)).double().mean(1)
        print(f"{name}: {time.process_time() - start:.2f} CPU s, accuracies {[round(v, 4) for v in right.tolist()]}")
    alike = [float(np.corrcoef(*pair)[0, 1]) for pair in zip(*(f.numpy() for f in found), strict=True)]
    print(f"log-odds correlate by {min(alike):.5f} or more over {len(y)} label vectors, d={a.d}, {a.keys} keys")


if __name__ == "__main__":
    main()
