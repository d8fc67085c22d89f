"""Held-out scores at a site with many more rows than features.

What every split would do anew is done once: the rows are kept standardised by the moments of all of them, each split
is a linear map of these and a mask, its moments follow from those of the parts that splits are made of, and its
covariance from that of all rows less the rows left out. Results are those of the plain way, to the tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .descent import descend
from .newton import Newton
from .rows import OwnRows, SharedRows
from .solver import ROUGH, report_failures, require_finite, require_two_classes
from .standardise import moments, moments_of_unions

Split = tuple[Int[Tensor, "_"], Int[Tensor, "_"]]

MAPS = 4_000_000
"""Numbers in the linear maps of the splits that run together."""

MARGINS = 4_000_000
"""Log-odds that run together."""

FEW = 8
"""Up to so many label vectors, a split's rows are not worth storing."""

MOST_STEPS = 100


@dataclass(frozen=True)
class _Site:
    """Rows of a site, standardised together, and their second moments."""

    x: Float[Tensor, "row d"]
    mean: Float[Tensor, " d"]
    scale: Float[Tensor, " d"]
    second: Float[Tensor, "d d"]

    @classmethod
    def of(cls, features: Tensor) -> _Site:
        mean, scale = moments(features)
        x = (features.double() - mean).div_(scale)
        return cls(x, mean, scale, x.T @ x)


def tall_scores(
    features: Float[Tensor, "row d"],
    labels: Float[Tensor, "label row"],
    used: Float[Tensor, "label row"] | None,
    splits: Sequence[Split],
    C: float,
    tol: Float[Tensor, " label"],
    step: Callable[[int], object] | None = None,
) -> list[Float[Tensor, "label _"]]:
    """As `held_out_scores`. Fits of a tolerance of 1e-3 or more are done in float32.

    Raises:
        SplitError, ActivationError, ConvergenceError: see `fit_logistic`.
    """
    require_finite(features, C)
    site = _Site.of(features)
    masks = torch.zeros(len(splits), len(features), dtype=torch.bool, device=features.device)
    for mask, (train, _) in zip(masks, splits, strict=True):
        mask[train] = True
    means, scales = _moments_of(features, masks)
    size = max(1, MAPS // site.second.numel())
    out: list[Tensor] = []
    for batch in torch.arange(len(splits)).split(size):
        k = batch.to(features.device)
        rows, spectrum = _rows(site, masks[k], means[k], scales[k])
        u = _fit(rows, spectrum, labels, used, 1.0 / C, tol)
        out += [_scores(rows, u, i, splits[j][1]) for i, j in enumerate(batch.tolist())]
        if step is not None:
            step(len(batch))
    return out


def _moments_of(features: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Of the training rows of every split, by way of the parts that are on one side of every split."""
    patterns, part = np.unique(masks.cpu().numpy(), axis=1, return_inverse=True)
    index = torch.from_numpy(part.reshape(-1)).to(features.device)
    return moments_of_unions(features, index, torch.from_numpy(patterns).to(features.device))


def _rows(site: _Site, masks: Tensor, means: Tensor, scales: Tensor) -> tuple[SharedRows, Tensor]:
    """The rows as each split sees them, in the eigenbasis of its covariance, and the spectrum."""
    centre, factor = (means - site.mean) / site.scale, site.scale / scales
    turns, offsets, spectra = [], [], []
    for mask, c, f in zip(masks, centre, factor, strict=True):
        left_out = site.x[~mask]
        second = torch.addmm(site.second, left_out.T, left_out, alpha=-1.0)
        covariance = (second - int(mask.sum()) * torch.outer(c, c)) * torch.outer(f, f)
        spectrum, basis = torch.linalg.eigh(covariance)
        turns.append(basis * f[:, None])
        offsets.append(c @ turns[-1])
        spectra.append(spectrum.clamp_min(0))
    return SharedRows(site.x, torch.stack(turns), torch.stack(offsets), masks.double()), torch.stack(spectra)


def _fit(
    rows: SharedRows, spectrum: Tensor, labels: Tensor, used: Tensor | None, ridge: float, tol: Tensor
) -> Float[Tensor, "problem label r"]:
    """Weights in each problem's basis with the intercept last."""
    here = rows.used if used is None else rows.used[:, None] * used
    total = here.sum(-1).reshape(len(rows.used), -1)
    positive = rows.used @ (labels if used is None else labels * used).T
    require_two_classes(positive, total, (total + 0.5).long())
    u = labels.new_zeros(*positive.shape, spectrum.shape[1] + 1)
    u[..., -1] = torch.logit(positive / total)
    goal = tol.clamp_min(ROUGH)
    u, error = (_few if len(labels) <= FEW else _many)(rows.float(), spectrum.float(), labels, used, ridge, u, goal)
    open_ = torch.nonzero(~(error <= tol).all(0))[:, 0]
    shared32 = rows.float()
    for some in open_.split(max(1, MARGINS // rows.used.numel())):
        y = labels[some].expand(len(u), -1, -1)
        s = None if used is None else rows.used[:, None] * used[some]
        newton = Newton(rows, shared32, spectrum, y, s, ridge, u[:, some], tol[some])
        u[:, some], error[:, some] = newton.run(MOST_STEPS)
    converged = error <= tol
    if not bool(converged.all()):
        report_failures(error, converged, tol, MOST_STEPS, "raise")
    return u


def _few(
    rows: SharedRows, spectrum: Tensor, labels: Tensor, used: Tensor | None, ridge: float, u: Tensor, goal: Tensor
) -> tuple[Tensor, Tensor]:
    """First stretch for few label vectors: all splits together."""
    y = labels.float().expand(len(u), -1, -1)
    s = None if used is None else rows.used[:, None] * used.float()
    rough, error = descend(rows, spectrum, y, s, ridge, u.float(), goal.float())
    return _finite(rough, u), error.double()


def _many(
    rows: SharedRows, spectrum: Tensor, labels: Tensor, used: Tensor | None, ridge: float, u: Tensor, goal: Tensor
) -> tuple[Tensor, Tensor]:
    """First stretch for many label vectors: split by split, with the split's rows stored."""
    out, error = u.clone(), u.new_empty(u.shape[:2])
    for k in range(len(u)):
        mask = rows.used[k] > 0
        own = OwnRows(rows.stored(k)[None])
        y32 = labels[:, mask].float()
        s32 = None if used is None else used[:, mask].float()
        for some in torch.arange(len(labels), device=u.device).split(max(FEW, MARGINS // y32.shape[1])):
            s = None if s32 is None else s32[None, some]
            rough, left = descend(own, spectrum[k : k + 1], y32[None, some], s, ridge, u[k : k + 1, some].float(),
                                  goal[some].float())  # fmt: skip
            out[k, some], error[k, some] = _finite(rough, u[k : k + 1, some])[0], left[0].double()
    return out, error


def _finite(rough: Tensor, start: Tensor) -> Tensor:
    return torch.where(torch.isfinite(rough).all(-1, keepdim=True), rough.double(), start)


def _scores(rows: SharedRows, u: Tensor, k: int, test: Tensor) -> Tensor:
    inner = u[k, :, :-1] @ rows.turn[k].T
    return inner @ rows.x[test].T + (u[k, :, -1] - u[k, :, :-1] @ rows.offset[k])[:, None]
