"""MD-PGA: project out where the classes differ most in mean and covariance together."""

from __future__ import annotations

import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from ...errors import SplitError, StatisticsError
from ...probes.standardise import moments
from .concept import two_classes
from .eraser import Eraser


def fit_mdpga(x: Float[Tensor, "row d"], y: ArrayLike, *, k: int = 2) -> Eraser:
    """Remove the ``k`` eigenvectors of largest |eigenvalue| of ``δδᵀ + Σ₁ - Σ₀`` in standardised space.

    ``δ`` is the difference of the class means and ``Σ`` the classes' covariances (divisor n - 1), all after each
    feature is standardised on all rows. The projection is orthogonal there, and oblique in the activations' own
    units; the mean of all rows stays.

    Raises:
        StatisticsError: a ``k`` that is not between 1 and the number of dimensions in which the rows differ.
        SplitError: not two classes with two rows each.

    Source: "MD-PGA k" of arXiv 2605.01699.

    >>> x = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    >>> fit_mdpga(x, x[:, 0] > 0, k=2).rank
    2
    """
    rows, truth = two_classes(x, y, "MD-PGA")
    if min(int(truth.sum()), int((~truth).sum())) < 2:
        raise SplitError("MD-PGA compares covariances, so each class needs two rows or more")
    mean, scale = moments(rows)
    z = (rows - mean) / scale
    high, low = z[truth], z[~truth]
    delta = high.mean(0) - low.mean(0)
    parts = torch.cat([delta[None], high - high.mean(0), low - low.mean(0)])
    sign = torch.cat([
        z.new_ones(1), z.new_full((len(high),), 1 / (len(high) - 1)), z.new_full((len(low),), -1 / (len(low) - 1)),
    ])  # fmt: skip
    # Σ = partsᵀ diag(sign) parts has its eigenvectors in the span of the parts.
    _, size, v = torch.linalg.svd(parts, full_matrices=False)
    v = v[size > 1e-9 * size.max()]
    if not 1 <= k <= len(v):
        raise StatisticsError(f"k={k!r}: the rows differ in {len(v)} dimensions, so k is between 1 and {len(v)}")
    inside = parts @ v.T
    values, vectors = torch.linalg.eigh(inside.T @ (sign[:, None] * inside))
    top = v.T @ vectors[:, values.abs().argsort(descending=True)[:k]]
    return Eraser(scale[:, None] * top, top.T / scale, mean, "mdpga", {"k": k})
