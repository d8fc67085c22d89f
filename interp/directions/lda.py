"""Fisher's discriminant with a shrunk covariance, in the span of the rows: many label vectors, any width."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import StatisticsError


def lda_weights(
    x: Float[Tensor, "row d"], y: Float[Tensor, "label row"], *, shrinkage: float | None = None
) -> Float[Tensor, "label d"]:
    """``Σ⁻¹ (μ₁ - μ₀)`` for each label vector; ``Σ = (1 - s) S + s tr(S)/d I`` with ``S`` the covariance in classes.

    ``s`` is Ledoit and Wolf's (2004) unless given. All of it happens in the singular vectors of the rows, found once:
    ``S`` is the total covariance less ``p (1 - p) δδᵀ``, which by Sherman and Morrison's formula changes the length of
    the result only. So a label vector costs one product with the rows, at any width.

    Raises:
        StatisticsError: a shrinkage outside ``(0, 1]``.

    >>> x = torch.tensor([[0.0, 0.0], [2.0, 1.0], [4.0, 0.0], [6.0, 1.0]], dtype=torch.float64)
    >>> w = lda_weights(x, torch.tensor([[0.0, 0, 1, 1]]).double(), shrinkage=0.01)
    >>> bool(w[0, 1] < 0 < w[0, 0])
    True
    """
    if shrinkage is not None and not 0 < shrinkage <= 1:
        raise StatisticsError(f"shrinkage is above 0 and at most 1, got {shrinkage!r}")
    n, d = x.shape
    centred = x - x.mean(0)
    _, size, right = torch.linalg.svd(centred, full_matrices=False)
    rows = centred @ right.T
    count = y.sum(1)
    share = count / n
    up = y @ rows / count[:, None]
    delta = up - (1 - y) @ rows / (n - count)[:, None]
    total = size.square() / n
    inside = share * (1 - share)
    trace = total.sum() - inside * delta.square().sum(1)
    s = (
        _ledoit_wolf(rows, y, up, delta, total, inside, trace, d)
        if shrinkage is None
        else torch.full_like(share, shrinkage)
    )
    spread = (1 - s)[:, None] * total + (s * trace / d)[:, None]
    floor = spread.amax(1, keepdim=True) * 1e-12
    solved = torch.where(spread > floor, delta / spread.clamp_min(1e-300), 0.0)
    length = 1 - (1 - s) * inside * (delta * solved).sum(1)
    return solved / length.clamp_min(1e-12)[:, None] @ right


def _ledoit_wolf(
    rows: Tensor, y: Tensor, up: Tensor, delta: Tensor, total: Tensor, inside: Tensor, trace: Tensor, d: int
) -> Tensor:
    """The share of the identity, for each label vector, from rows less their class means (lemma 3.3)."""
    n = len(rows)
    down = up - delta
    lengths = rows.square().sum(1)
    away = [lengths - 2 * mean @ rows.T + mean.square().sum(1, keepdim=True) for mean in (down, up)]
    fourth = torch.where(y > 0.5, away[1], away[0]).square().sum(1) / n
    squares = total.square().sum() - 2 * inside * (delta.square() * total).sum(1)
    squares = squares + (inside * delta.square().sum(1)).square()
    distance = squares - trace.square() / d
    noise = torch.minimum(((fourth - squares) / n).clamp_min(0), distance)
    return torch.where(distance > 1e-14 * squares, noise / distance.clamp_min(1e-300), 1.0).clamp(1e-9, 1.0)
