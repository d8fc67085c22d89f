"""INLP: fit a probe, project its direction out, and again."""

from __future__ import annotations

import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from ...errors import ActivationError, StatisticsError
from ...probes.solver import fit_logistic
from ...probes.standardise import moments
from .concept import checked, one_hot
from .eraser import Eraser

FLAT = 1e-9
"""Length of a standardised probe's weights below which it reads nothing."""


def fit_inlp(
    x: Float[Tensor, "row d"],
    y: ArrayLike,
    *,
    rounds: int = 8,
    stop: float = 0.5,
    C: float = 1.0,
    tol: float = 1e-6,
    keep_mean: bool = False,
) -> Eraser:
    """Iterated null-space projection: orthogonal to the probes of all rounds, each fitted on what the last one left.

    A round fits our L2 logistic regression on standardised activations (one against the rest where there are more
    than two classes) and removes its directions. It ends after ``rounds``, or as soon as probes read the rows that
    they are fitted on with a balanced accuracy of ``stop`` or less. With more dimensions than rows that may never
    happen, and ``rounds`` decides. ``settings["rounds"]`` tells how many there were.

    Raises:
        StatisticsError: fewer than one round.
        SplitError: one class only.
        ConvergenceError: see `fit_logistic`.
        ActivationError: the first probe reads nothing.

    Source: Ravfogel et al. (arXiv 2004.07667), algorithm 1, with logistic regression.

    >>> x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    >>> fit_inlp(x, x[:, 0] > 0, rounds=2).rank
    2
    """
    if rounds < 1:
        raise StatisticsError(f"INLP takes one round or more, got {rounds}")
    rows, labels = checked(x, y)
    truth = one_hot(labels).T
    basis = rows.new_zeros(0, rows.shape[1])
    done = 0
    while done < rounds:
        weights, read = _probe(rows - rows @ basis.T @ basis, truth, C, tol)
        if not len(weights) or (done and read <= stop):
            break
        fresh = weights - weights @ basis.T @ basis
        _, size, v = torch.linalg.svd(torch.cat([basis, fresh / fresh.norm(dim=1, keepdim=True)]), full_matrices=False)
        basis = v[size > 1e-6]
        done += 1
    if not done:
        raise ActivationError("the first probe reads nothing: the class means are equal; there is nothing to erase")
    settings = {"rounds": done, "stop": stop, "C": C, "keep_mean": keep_mean}
    return Eraser.projection(basis, "inlp", offset=rows.mean(0) if keep_mean else None, settings=settings)


def fit_probe_direction(
    x: Float[Tensor, "row d"], y: ArrayLike, *, C: float = 1.0, tol: float = 1e-6, keep_mean: bool = False
) -> Eraser:
    """Project out the direction of one logistic probe, ``coef / scale``: one round of INLP.

    Raises:
        SplitError, ConvergenceError, ActivationError: as `fit_inlp`.

    Source: the project-out of arXiv 2605.01699, ``h - (h·w) w`` with unit ``w``.

    >>> x = torch.tensor([[0.0, 1.0], [0.0, 2.0], [2.0, 1.0], [2.0, 2.0]])
    >>> fit_probe_direction(x, [0, 0, 1, 1])(x)[:, 0].abs().max().item() < 1e-6
    True
    """
    made = fit_inlp(x, y, rounds=1, C=C, tol=tol, keep_mean=keep_mean)
    return Eraser(made.left, made.right, made.offset, "probe", {"C": C, "keep_mean": keep_mean})


def _probe(rows: Tensor, truth: Tensor, C: float, tol: float) -> tuple[Tensor, float]:
    """Directions of probes that read anything, and the mean balanced accuracy of all on their own rows."""
    mean, scale = moments(rows)
    z = (rows - mean) / scale
    fits = fit_logistic(z[None], truth[None], C=C, tol=tol)
    guess = fits.decision(z[None])[0] > 0
    positive, negative = truth.sum(1), (1 - truth).sum(1)
    right = ((guess * truth).sum(1) / positive + ((~guess) * (1 - truth)).sum(1) / negative) / 2
    coef = fits.coef[0]
    return (coef / scale)[coef.norm(dim=1) > FLAT], float(right.mean())
