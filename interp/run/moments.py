"""Means, covariances and top activations of sites, streamed: a million tokens need no disk."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from ..errors import ActivationError, NonFiniteError
from ..provenance import Provenance
from ..sites import Site


@dataclass(frozen=True, eq=False)
class SiteMoments:
    """Moments of one site, per class, accumulated in float64.

    ``scatter`` is the sum of outer products about the class mean (``None`` unless covariances were asked for);
    ``top_value[k, j]`` is the k-th largest value of column j, found at row ``top_row[k, j]`` of the index.
    """

    count: Int[torch.Tensor, " class"]
    mean: Float[torch.Tensor, "class width"]
    scatter: Float[torch.Tensor, "class width width"] | None = None
    top_value: Float[torch.Tensor, "k width"] | None = None
    top_row: Int[torch.Tensor, "k width"] | None = None


@dataclass(frozen=True, eq=False)
class Moments:
    """Streaming statistics by site and class; ``classes`` is ``(None,)`` when nothing was asked to separate."""

    sites: tuple[Site, ...]
    classes: tuple[Hashable, ...]
    index: Any
    provenance: Provenance
    _of: Mapping[Site, SiteMoments]

    def __getitem__(self, site: Site | str) -> SiteMoments:
        site = Site.parse(site)
        if site not in self._of:
            raise ActivationError(f"no statistics of {site}; sites here: {', '.join(map(str, self.sites))}")
        return self._of[site]

    def mean(self, site: Site | str, of: Hashable = None) -> Float[torch.Tensor, " width"]:
        """Mean over one class, or over all rows when ``of`` is ``None``."""
        moments = self[site]
        if of is None:
            weight = moments.count.double() / moments.count.sum()
            return weight @ moments.mean
        return moments.mean[self._class(of)]

    def covariance(self, site: Site | str, of: Hashable = None) -> Float[torch.Tensor, "width width"]:
        """Sample covariance (n - 1) of one class, or of all rows together when ``of`` is ``None``.

        Raises:
            ActivationError: covariances were not collected, or there are fewer than two rows.
        """
        moments = self[site]
        if moments.scatter is None:
            raise ActivationError("covariances were not collected; pass covariance=True to capture_stats")
        if of is not None:
            i = self._class(of)
            n, scatter = int(moments.count[i]), moments.scatter[i]
        else:
            n = int(moments.count.sum())
            apart = moments.mean - self.mean(site)
            scatter = moments.scatter.sum(0) + torch.einsum("c,ci,cj->ij", moments.count.double(), apart, apart)
        if n < 2:
            raise ActivationError(f"a covariance needs at least two rows, {site} has {n}")
        return scatter / (n - 1)

    def _class(self, of: Hashable) -> int:
        if of not in self.classes:
            raise ActivationError(f"no class {of!r}; classes here: {', '.join(map(repr, self.classes))}")
        return self.classes.index(of)


class MomentsSink:
    """Engine sink that merges each batch into the running moments (Chan, Golub and LeVeque 1983, eq. 2.1)."""

    def __init__(
        self,
        widths: Mapping[Any, int],
        row_class: Int[np.ndarray, " row"],
        n_classes: int,
        *,
        covariance: bool,
        top_k: int,
        where: Callable[[int], str] = "row {}".format,
    ) -> None:
        self._where = where
        self._row_class = torch.from_numpy(np.asarray(row_class, dtype=np.int64))
        self._n, self._top_k = n_classes, top_k
        self._state: dict[Site, dict[str, torch.Tensor]] = {}
        for site, width in widths.items():
            state = {
                "count": torch.zeros(n_classes, dtype=torch.int64),
                "mean": torch.zeros(n_classes, width, dtype=torch.float64),
            }
            if covariance:
                state["scatter"] = torch.zeros(n_classes, width, width, dtype=torch.float64)
            if top_k:
                state["top_value"] = torch.full((top_k, width), -torch.inf)
                state["top_row"] = torch.full((top_k, width), -1, dtype=torch.int64)
            self._state[site] = state

    def put(self, site: Site, rows: torch.Tensor, dest: torch.Tensor) -> None:
        """Merge rows of a site; ``dest`` says which result rows they are."""
        state = self._state[site]
        rows = rows.to("cpu")
        if not bool(torch.isfinite(rows).all()):
            bad = int((~torch.isfinite(rows)).any(dim=-1).nonzero()[0])
            raise NonFiniteError(f"NaN or infinity at site {site}, {self._where(int(dest[bad]))}")
        classes = self._row_class[dest]
        for c in classes.unique().tolist():
            _merge(state, c, rows[classes == c].double())
        if self._top_k:
            values = torch.cat([state["top_value"], rows.float()])
            numbers = torch.cat([state["top_row"], dest[:, None].expand(-1, rows.shape[1])])
            state["top_value"], order = values.topk(self._top_k, dim=0)
            state["top_row"] = numbers.gather(0, order)

    def moments(self) -> dict[Site, SiteMoments]:
        """What was accumulated."""
        return {site: SiteMoments(**state) for site, state in self._state.items()}  # type: ignore[arg-type]


def _merge(state: dict[str, torch.Tensor], c: int, rows: torch.Tensor) -> None:
    n_a, n_b = int(state["count"][c]), len(rows)
    mean_b = rows.mean(dim=0)
    delta = mean_b - state["mean"][c]
    total = n_a + n_b
    state["mean"][c] += delta * (n_b / total)
    state["count"][c] = total
    if "scatter" in state:
        centred = rows - mean_b
        state["scatter"][c] += centred.T @ centred + torch.outer(delta, delta) * (n_a * n_b / total)


def row_classes(example: np.ndarray, by: Sequence[Any] | np.ndarray | None) -> tuple[np.ndarray, tuple[Hashable, ...]]:
    """Class number of each row, and the classes in sorted order, from one value per example."""
    if by is None:
        return np.zeros(len(example), dtype=np.int64), (None,)
    values = np.asarray(by)
    classes, number = np.unique(values.astype(str) if values.dtype == object else values, return_inverse=True)
    return number.reshape(-1)[example], tuple(classes.tolist())
