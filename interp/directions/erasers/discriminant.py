"""Linear discriminants by the shrunk covariance, for many label vectors of the same rows."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

ELEMENTS = 8_000_000
"""Numbers in the arrays of the label vectors that run together."""

ROUNDING = 1e-14
NEARLY_SINGULAR = 1e-6
"""Smallest entry of a Cholesky factor's diagonal, relative to the largest, that is trusted."""


def discriminant_scores(
    train: Float[Tensor, "row d"], truth: Bool[Tensor, "label row"], test: Float[Tensor, "other d"]
) -> Float[Tensor, "label other"]:
    """Log-odds of class 1 where both classes are normal, equally frequent, and of one covariance.

    The covariance is the mean of the two classes', each shrunk in units of its own standard deviations: what
    scikit-learn's ``LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.5, 0.5])`` computes.

    Source: Ledoit & Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices", lemma 3.3.

    >>> x = torch.tensor([[0.0], [1.0], [4.0], [5.0]], dtype=torch.float64)
    >>> discriminant_scores(x, torch.tensor([[False, False, True, True]]), x[:2] + 2.0).tolist()
    [[-8.0, 8.0]]
    """
    n, d = train.shape
    out = []
    for labels in truth.split(max(1, ELEMENTS // (d * max(n, d)))):
        (low, one), (high, other) = (_class(train, mask.to(train)) for mask in (~labels, labels))
        weights = _solve((one + other) / 2, high - low)
        out.append(torch.matmul(weights, test.T) - (weights * (low + high)).sum(-1, keepdim=True) / 2)
    return torch.cat(out)


def _class(x: Tensor, member: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and shrunk covariance of the members, ``[label, d]`` and ``[label, d, d]``."""
    d, count = x.shape[1], member.sum(1)
    mean = member @ x / count[:, None]
    centred = (x - mean[:, None]) * member[..., None]
    spread = (centred.square().sum(1) / count[:, None]).sqrt()
    spread = torch.where(spread > 10 * torch.finfo(x.dtype).eps * mean.abs().clamp_min(1.0), spread, 1.0)
    z = centred / spread[:, None]
    covariance = torch.matmul(z.transpose(1, 2), z) / count[:, None, None]
    size = covariance.diagonal(dim1=1, dim2=2).sum(1) / d
    squares = covariance.square().sum((1, 2))
    noise = (z.square().sum(2).square().sum(1) / count - squares) / (d * count)
    distance = squares / d - size.square()
    noise = torch.minimum(noise, distance)
    share = torch.where((noise <= ROUNDING * squares) | (d == 1), 0.0, noise / distance)
    shrunk = (1 - share)[:, None, None] * covariance
    shrunk.diagonal(dim1=1, dim2=2).add_((share * size)[:, None])
    return mean, shrunk * spread[:, :, None] * spread[:, None]


def _solve(covariance: Tensor, difference: Tensor) -> Tensor:
    """The least-squares solution; the shortest one where the covariance is singular."""
    factor, failed = torch.linalg.cholesky_ex(covariance)
    diagonal = factor.diagonal(dim1=1, dim2=2)
    singular = (failed > 0) | ~(diagonal.amin(1) > NEARLY_SINGULAR * diagonal.amax(1))
    sane = torch.where(singular[:, None, None], torch.eye(covariance.shape[1]).to(factor), factor)
    out = torch.cholesky_solve(difference[..., None], sane)[..., 0]
    if bool(singular.any()):
        inverse = torch.linalg.pinv(covariance[singular], rtol=ROUNDING, hermitian=True)
        out[singular] = torch.matmul(inverse, difference[singular][..., None])[..., 0]
    return out
