"""How well two classes of states are apart, a number per row: centroid margin, neighbours of the other, silhouette.

Rows of one group (wordings of one request, say) never judge each other: their centroid and neighbours are others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from ...errors import StatisticsError

Array = NDArray[Any]
NAMES = ("margin", "overlap", "silhouette")


@dataclass(frozen=True, eq=False)
class Space:
    """States with what every measure needs: squared distances, and which pairs are of different groups."""

    x: Float[np.ndarray, "row d"]
    distance: Float[np.ndarray, "row row"]
    apart: Bool[np.ndarray, "row row"]

    @classmethod
    def of(cls, x: Float[np.ndarray, "row d"], groups: Array | None = None) -> Space:
        """Distances between rows, in float64.

        Raises:
            StatisticsError: states that are not finite.
        """
        rows = np.asarray(x, np.float64)
        if not np.isfinite(rows).all():
            raise StatisticsError("the states hold NaN or infinity, so no distance between them means anything")
        from scipy.spatial.distance import cdist

        g = np.arange(len(rows)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
        return cls(rows, cdist(rows, rows), g[:, None] != g[None])


def centroid_margin(space: Space, positive: Bool[np.ndarray, " row"]) -> Float[np.ndarray, " row"]:
    """How much nearer each row is to its own class's mean than to the other's, in units of their distance.

    Above 0 the nearest centroid is the right one. A row's own group is left out of both means.

    Raises:
        StatisticsError: a class that has no row outside some row's group.

    >>> x = np.array([[0.0], [1.0], [9.0], [10.0]])
    >>> centroid_margin(Space.of(x), np.array([False, False, True, True])).round(2).tolist()
    [1.0, 0.79, 0.79, 1.0]
    """
    means = {}
    for side in (False, True):
        weight = (space.apart & (positive == side)).astype(float)
        counts = weight.sum(1, keepdims=True)
        if not counts.all():
            raise StatisticsError("each class needs rows in two groups or more; one has them all in one")
        means[side] = weight @ space.x / counts
    to = {side: np.linalg.norm(space.x - mean, axis=1) for side, mean in means.items()}
    own, other = np.where(positive, to[True], to[False]), np.where(positive, to[False], to[True])
    between = np.linalg.norm(means[True] - means[False], axis=1)
    return (other - own) / np.maximum(between, 1e-300)


def neighbour_overlap(space: Space, positive: Bool[np.ndarray, " row"], k: int = 5) -> Float[np.ndarray, " row"]:
    """The share of each row's ``k`` nearest neighbours in other groups that are of the other class.

    0 is apart; two classes of one distribution give the other's share of all rows.

    Raises:
        StatisticsError: fewer than ``k`` rows in other groups.

    >>> x = np.array([[0.0], [1.0], [9.0], [10.0]])
    >>> neighbour_overlap(Space.of(x), np.array([False, False, True, True]), k=1).tolist()
    [0.0, 0.0, 0.0, 0.0]
    """
    if not 0 < k <= int(space.apart.sum(1).min()):
        raise StatisticsError(f"{k} neighbours: every row has {int(space.apart.sum(1).min())} rows in other groups")
    near = np.argsort(np.where(space.apart, space.distance, np.inf), axis=1, kind="stable")[:, :k]
    return (positive[near] != positive[:, None]).mean(1)


def silhouette(space: Space, positive: Bool[np.ndarray, " row"]) -> Float[np.ndarray, " row"]:
    """``(b - a) / max(a, b)``: mean distances ``a`` to the own class and ``b`` to the other; from -1 to 1.

    Raises:
        StatisticsError: a class that has no row outside some row's group.

    Source: Rousseeuw (1987).

    >>> x = np.array([[0.0], [1.0], [9.0], [10.0]])
    >>> silhouette(Space.of(x), np.array([False, False, True, True])).round(2).tolist()
    [0.89, 0.88, 0.88, 0.89]
    """
    mean = {}
    for side in (False, True):
        weight = (space.apart & (positive == side)).astype(float)
        if not weight.any(1).all():
            raise StatisticsError("each class needs rows in two groups or more; one has them all in one")
        mean[side] = (weight * space.distance).sum(1) / weight.sum(1)
    a, b = np.where(positive, mean[True], mean[False]), np.where(positive, mean[False], mean[True])
    return (b - a) / np.maximum(np.maximum(a, b), 1e-300)


def measure(space: Space, positive: Bool[np.ndarray, " row"], k: int = 5) -> Float[np.ndarray, "row measure"]:
    """All three, in the order of `NAMES`."""
    return np.stack(
        [centroid_margin(space, positive), neighbour_overlap(space, positive, k), silhouette(space, positive)], 1
    )
