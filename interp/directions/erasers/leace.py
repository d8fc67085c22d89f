"""LEACE: the smallest change of activations after which no linear probe can read the classes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from ...errors import ActivationError, StatisticsError
from .concept import checked, one_hot
from .eraser import Eraser

RANK = 1e-9
"""Share of the largest singular value below which a direction of the rows, or of the concept, counts as absent."""


def fit_leace(x: Float[Tensor, "row d"], y: ArrayLike, *, shrinkage: float = 0.0, keep_mean: bool = True) -> Eraser:
    """Least-squares concept erasure: ``x - W⁺ U Uᵀ W (x - mean)``, with ``U`` a basis of the columns of ``W Σ_xz``.

    ``W = (Σ_xx^½)⁺`` whitens; ``z`` are the classes, one column each. On the rows it was fitted on, activations and
    classes are uncorrelated afterwards, so the class means are equal and no linear probe does better there than one
    that ignores its input. That is about those rows: see ``docs/methods/below-chance.md``.

    Everything happens in the span of the rows, so nothing of size ``d x d`` is made.

    Args:
        x: activations.
        y: a label per row, two classes or more; one dimension fewer than classes is removed.
        shrinkage: weight of ``trace(Σ_xx)/d · I`` in the covariance, from 0 (the paper) to 1 (an orthogonal
            projection of the differences of means). The rows fitted on are erased just as exactly for every value;
            with fewer rows than dimensions a value above 0 may change other rows less.
        keep_mean: the mean of all rows stays (the paper); otherwise the linear part only.

    Raises:
        StatisticsError: a shrinkage outside [0, 1].
        ActivationError: activations that do not differ between the classes.
        SplitError: one class only.

    Source: Belrose et al. (arXiv 2306.03819), theorem 4.3.

    >>> x = torch.tensor([[0.0, 1.0], [1.0, 3.0], [2.0, 1.5], [3.0, 4.0]])
    >>> erased = fit_leace(x, [0, 0, 1, 1])(x)
    >>> bool(torch.allclose(erased[:2].mean(0), erased[2:].mean(0)))
    True
    """
    if not 0 <= shrinkage <= 1:
        raise StatisticsError(f"shrinkage lies between 0 and 1, got {shrinkage!r}")
    rows, labels = checked(x, y)
    mean, z = rows.mean(0), one_hot(labels)
    u, size, v = torch.linalg.svd(rows - mean, full_matrices=False)
    kept = size > RANK * size.max()
    u, size, v = u[:, kept], size[kept], v[kept]
    if not len(size):
        raise ActivationError(f"all {len(rows)} rows of activations are equal; there is nothing to erase")
    variance = size.square() / len(rows)
    spread = ((1 - shrinkage) * variance + shrinkage * variance.sum() / rows.shape[1]).sqrt()
    cross = size[:, None] * (u.T @ (z - z.mean(0))) / len(rows)
    basis, strength, _ = torch.linalg.svd(cross / spread[:, None], full_matrices=False)
    # For singular activations and classes that are independent of them, all of `strength` is rounding.
    basis = basis[:, strength > max(RANK * float(strength.max()), RANK)]
    if not basis.shape[1]:
        raise ActivationError("the class means are equal; there is nothing to erase")
    offset = mean if keep_mean else torch.zeros_like(mean)
    return Eraser(
        v.T @ (spread[:, None] * basis), (basis.T / spread) @ v, offset, "leace",
        {"shrinkage": shrinkage, "keep_mean": keep_mean},
    )  # fmt: skip
