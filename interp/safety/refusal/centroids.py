"""Beliefs: how much nearer an activation is to the mean of one class than to that of another, as a cosine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ...errors import SplitError
from ...prompts import PromptSet
from ...run import capture, capture_stats
from ...sites import Site
from .cells import CELLS, Axis
from .requests import MARKS

if TYPE_CHECKING:
    from ...models import Model

Array = NDArray[Any]
CHUNK = 512
"""Prompts whose activations are in memory at once."""
NOTHING = 1e-5
"""Two means that differ by less, relative to their length, are the same: what is left is rounding."""


@dataclass(frozen=True, eq=False)
class CellMeans:
    """Mean activation of every cell at every mark and depth, in float64; NaN where a cell has no prompt."""

    sites: tuple[Site, ...]
    marks: tuple[str, ...]
    mean: Float[Tensor, "mark cell depth d"]

    def sides(self, axis: Axis) -> tuple[Float[Tensor, "mark depth d"], Float[Tensor, "mark depth d"]]:
        """The two ends of an axis.

        Raises:
            SplitError: a cell of it is empty.
        """
        ends = []
        for cells in (axis.positive, axis.negative):
            end = self.mean[:, [CELLS.index(c) for c in cells]].mean(1)
            if not bool(torch.isfinite(end).all()):
                raise SplitError(f"the axis {axis.name!r} needs training prompts of {', '.join(cells)}; some have none")
            ends.append(end)
        return ends[0], ends[1]


def depths_of(model: Model) -> tuple[Site, ...]:
    """The residual stream from the embedding (depth 0) to the output of the last block."""
    return (Site.parse("resid_pre.0"), *(Site("resid_post", layer) for layer in range(model.n_layers)))


def cell_means(
    model: Model, prompts: PromptSet, cell: Array, marks: Sequence[str] = MARKS, progress: bool | None = None
) -> CellMeans:
    """Mean activations by cell, streamed."""
    sites = depths_of(model)
    means = torch.full((len(marks), len(CELLS), len(sites), model.d_model), torch.nan, dtype=torch.float64)
    for m, mark in enumerate(marks):
        moments = capture_stats(model, prompts, sites, at=mark, by=cell, progress=progress)
        for k, site in enumerate(sites):
            means[m, [int(str(c)) for c in moments.classes], k] = moments[site].mean
    return CellMeans(sites, tuple(marks), means)


def belief(
    x: Float[Tensor, "*rows d"], positive: Float[Tensor, " d"], negative: Float[Tensor, " d"], *, centred: bool = True
) -> Float[Tensor, "*rows"]:
    """``cos(x, positive) - cos(x, negative)``, in [-2, 2]; above 0 is nearer to the positive mean.

    ``centred`` takes the midpoint of the two means off everything first: activations share a large common part, beside
    which the classes differ by little. 0 where the means are the same.

    Source: "LLMs encode harmfulness and refusal separately" (arXiv 2507.11878); the centred variant is ours.

    >>> a, b = torch.tensor([10.0, 1.0]), torch.tensor([10.0, -1.0])
    >>> [round(float(belief(torch.tensor([10.0, 0.5]), a, b, centred=c)), 2) for c in (False, True)]
    [0.01, 2.0]
    """
    a, b, x = positive.double(), negative.double(), x.double()
    if float((a - b).norm()) <= NOTHING * float(torch.maximum(a.norm(), b.norm())):
        return torch.zeros(x.shape[:-1], dtype=torch.float64, device=x.device)
    if centred:
        middle = (a + b) / 2
        a, b, x = a - middle, b - middle, x - middle
    length = x.norm(dim=-1).clamp(min=1e-300)
    return ((x @ a) / a.norm() - (x @ b) / b.norm()) / length


@dataclass(frozen=True, eq=False)
class Beliefs:
    """Beliefs of prompts along some axes, at every mark and depth, centred and as they are."""

    axes: tuple[str, ...]
    marks: tuple[str, ...]
    centred: Float[np.ndarray, "axis mark depth prompt"]
    raw: Float[np.ndarray, "axis mark depth prompt"]

    def of(self, axis: str, mark: str, *, raw: bool = False) -> Float[np.ndarray, "depth prompt"]:
        """One axis at one mark."""
        table = self.raw if raw else self.centred
        return table[self.axes.index(axis), self.marks.index(mark)]

    def mean(self, axis: str, mark: str, *, raw: bool = False) -> Float[np.ndarray, " prompt"]:
        """The mean over depths, without the embedding."""
        return self.of(axis, mark, raw=raw)[1:].mean(0)


def beliefs_of(
    model: Model, prompts: PromptSet, means: CellMeans, axes: Sequence[Axis], progress: bool | None = None
) -> Beliefs:
    """Beliefs of every prompt; activations are kept for `CHUNK` prompts at a time."""
    marks, sites = means.marks, means.sites
    ends = [means.sides(axis) for axis in axes]
    shape = (2, len(axes), len(marks), len(sites), len(prompts))
    out = np.zeros(shape)
    for start in range(0, len(prompts), CHUNK):
        some = prompts.select(slice(start, start + CHUNK))
        for m, mark in enumerate(marks):
            acts = capture(model, some, sites, at=mark, progress=progress)
            order = np.argsort(acts.index.example, kind="stable")
            for k, site in enumerate(sites):
                x = acts[site][order].double().cpu()
                for a, (positive, negative) in enumerate(ends):
                    for v, centred in enumerate((True, False)):
                        out[v, a, m, k, start : start + len(some)] = belief(
                            x, positive[m, k], negative[m, k], centred=centred
                        ).numpy()
    return Beliefs(tuple(a.name for a in axes), marks, out[0], out[1])
