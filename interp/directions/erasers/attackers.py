"""The adversarial suite: fresh probes of classes that really differ, each trained anew on what an eraser left.

An optimiser that ignores its seed makes six copies of one probe. Here only the two networks draw anything from the
seed; the others differ in what they can represent, which is what a suite is for:

- ``logistic C=0.1``, ``1``, ``10``: linear, from strongly to weakly penalised;
- ``lda``: linear, by the shrunk covariance (Ledoit & Wolf) instead of by margins;
- ``kernel ridge``: radial basis functions of width ``sqrt(d / 2)``, smooth and non-linear;
- ``mlp 16``, ``mlp 32-16``: one and two hidden layers of rectified units, Adam, 200 epochs at most;
- ``knn``: the five nearest neighbours, weighted by distance: purely local.

Features are standardised on training rows. A network that has not converged after its epochs attacks as it is: the
budget is part of what the attacker is. All are ours, and give scikit-learn's scores; what they add is that many label
vectors are trained together.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...probes.solver import fit_logistic
from .discriminant import discriminant_scores
from .networks import network_scores

Attacker = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""Training rows ``[#label, row, d]`` (standardised; one set for all label vectors, or one each), their truth
``[label, row]``, test rows ``[#label, other, d]`` and a seed, to scores ``[label, other]``: above 0 is class 1."""

NEIGHBOURS = 5
ALPHA = 1.0


def _logistic(C: float) -> Attacker:
    def scores(train: Tensor, truth: Tensor, test: Tensor, seed: int) -> Tensor:
        y = truth.double()
        fits = fit_logistic(train, y[:, None] if len(train) > 1 else y[None], C=C, tol=1e-4)
        return fits.decision(test).flatten(0, 1)

    return scores


def _lda(train: Tensor, truth: Tensor, test: Tensor, seed: int) -> Tensor:
    return _one_by_one(discriminant_scores, train, truth, test)


def _kernel_ridge(train: Tensor, truth: Tensor, test: Tensor, seed: int) -> Tensor:
    return _one_by_one(_kernel_ridge_scores, train, truth, test)


def _kernel_ridge_scores(train: Tensor, truth: Tensor, test: Tensor) -> Tensor:
    signs = 2.0 * truth.to(train) - 1.0
    kernel, other = (torch.exp(-torch.cdist(x, train).square() / train.shape[1]) for x in (train, test))
    kernel.diagonal().add_(ALPHA)
    dual = torch.cholesky_solve((signs - signs.mean(1, keepdim=True)).T, torch.linalg.cholesky(kernel))
    return (other @ dual).T


def _network(*hidden: int) -> Attacker:
    def scores(train: Tensor, truth: Tensor, test: Tensor, seed: int) -> Tensor:
        # One network as precisely as scikit-learn's; many, for a null, in half of the time.
        dtype = torch.float64 if len(truth) == 1 else torch.float32
        return network_scores(train.to(dtype), truth, test.to(dtype), hidden, seed).double().clamp(-1e3, 1e3)

    return scores


def _neighbours(train: Tensor, truth: Tensor, test: Tensor, seed: int) -> Tensor:
    return _one_by_one(_neighbour_scores, train, truth, test)


def _neighbour_scores(train: Tensor, truth: Tensor, test: Tensor) -> Tensor:
    exact = "donot_use_mm_for_euclid_dist"
    distance, which = torch.cdist(test, train, compute_mode=exact).topk(min(NEIGHBOURS, len(train)), largest=False)
    same = distance == 0
    weight = torch.where(same.any(1, keepdim=True), same.to(distance), 1 / distance)
    return (truth[:, which].to(weight) * weight).sum(-1) / weight.sum(-1) - 0.5


def _one_by_one(
    scores: Callable[[Tensor, Tensor, Tensor], Tensor], train: Tensor, truth: Tensor, test: Tensor
) -> Tensor:
    """All label vectors at once on shared rows, else each on its own."""
    if len(train) == 1:
        return scores(train[0], truth, test[0])
    return torch.cat([scores(x, y[None], z) for x, y, z in zip(train, truth, test, strict=True)])


SUITE: dict[str, Attacker] = {
    "logistic C=0.1": _logistic(0.1),
    "logistic C=1": _logistic(1.0),
    "logistic C=10": _logistic(10.0),
    "lda": _lda,
    "kernel ridge": _kernel_ridge,
    "mlp 16": _network(16),
    "mlp 32-16": _network(32, 16),
    "knn": _neighbours,
}
SEEDED = ("mlp 16", "mlp 32-16")
"""Those that another seed makes another probe."""
