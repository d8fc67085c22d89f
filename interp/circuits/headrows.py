"""What reports on parts of a model share: where a part stands, which prompts belong together, means with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from ..prompts import PromptSet
from ..sites import Site
from ..stats import cluster_bootstrap

Array = NDArray[Any]


def groups_of(prompts: PromptSet) -> Int[np.ndarray, " prompt"]:
    """The prompts' groups as numbers; prompts of the same tokens are one group where none are given.

    >>> groups_of(PromptSet.from_tokens([[5, 6], [7], [5, 6]])).tolist()
    [0, 1, 0]
    """
    if prompts.groups is not None:
        return np.unique(prompts.groups, return_inverse=True)[1]
    known: dict[bytes, int] = {}
    return np.array([known.setdefault(t.tobytes(), len(known)) for t in prompts.tokens])


def mean_interval(
    table: Float[np.ndarray, "row column"], groups: Array, *, bootstrap: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[Float[np.ndarray, " column"], Float[np.ndarray, " column"], Float[np.ndarray, " column"]]:
    """Column means with intervals that resample groups; the ends are NaN with fewer than two groups.

    >>> mean, low, high = mean_interval(np.array([[1.0], [2.0], [3.0]]), np.arange(3))
    >>> float(mean[0]), bool(low[0] < 2 < high[0])
    (2.0, True)
    """
    if len(np.unique(groups)) < 2:
        nothing = np.full(table.shape[1], np.nan)
        return table.mean(0), nothing, nothing

    def mean(w: Array) -> Array:
        return (w @ table) / w.sum(-1, keepdims=True)

    found = cluster_bootstrap(mean, groups, replicates=bootstrap, level=level, method="t", seed=seed)
    return found.estimate, found.low, found.high


def place(part: str) -> dict[str, Any]:
    """Kind, layer and head of a part that is written as a site, as columns of a row.

    >>> place("z.3.h1")
    {'kind': 'head', 'layer': 3, 'head': 1}
    """
    if part == "bias":
        return {"kind": "bias", "layer": None, "head": None}
    site = Site.parse(part)
    kind = {"z": "head", "mlp_out": "MLP"}.get(site.kind, "embedding")
    return {"kind": kind, "layer": site.layer if kind != "embedding" else None, "head": site.head}
