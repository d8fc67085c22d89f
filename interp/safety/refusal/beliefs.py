"""``read_beliefs``: what can be told apart at the end of the instruction and at the end of the prompt, by depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from ...errors import SplitError
from ...sites import Site
from .cells import CELLS, Axis, Quadrants
from .centroids import Beliefs, CellMeans, beliefs_of, cell_means
from .contrasts import PLAIN_READING, Contrast, axes_of, contrasts_of
from .evaluate import Judged, contrast_scores, family, judge
from .requests import MARKS, Requests
from .settings import Settings
from .surface import bag_features, surface_features, surface_scores

if TYPE_CHECKING:
    from ...models import Model

Array = NDArray[Any]
FEATURES = {"surface": surface_features, "bow": bag_features}
"""Features that need no model."""


@dataclass(frozen=True, eq=False)
class Reading:
    """Means by cell from the training part, beliefs of all other prompts, and what they tell apart.

    ``place`` maps the number of a prompt to its column in ``beliefs``, -1 for training prompts.
    """

    sites: tuple[Site, ...]
    quadrants: Quadrants
    means: CellMeans
    beliefs: Beliefs
    place: Int[np.ndarray, " prompt"]
    judged: tuple[Judged, ...]
    untrained: Beliefs | None

    @property
    def plain(self) -> Axis:
        """The axis from harmless to harmful as they come, by which every prompt is scored."""
        return next(j.contrast.axes[0] for j in self.judged if j.contrast.name == PLAIN_READING)

    def of(self, name: str, mark: str) -> Judged | None:
        """One contrast at one mark, if the cells allow it."""
        return next((j for j in self.judged if (j.contrast.name, j.mark) == (name, mark)), None)


def read_beliefs(
    model: Model, requests: Requests, quadrants: Quadrants, *, untrained: bool = True, settings: Settings | None = None
) -> Reading:  # fmt: skip
    """Beliefs at both marks and every depth, by means of the training part, judged on the rest.

    Controls on the same prompts: the architecture with fresh weights, the embedding, lengths with last tokens and the
    template's words, and a bag of all tokens. The last two are logistic probes.

    Raises:
        SplitError: fewer than two cells have enough prompts.
    """
    settings = settings or Settings()
    contrasts = contrasts_of(quadrants)
    if not contrasts:
        filled = ", ".join(quadrants.filled) or "none"
        raise SplitError(
            f"beliefs need {quadrants.fewest} harmful and {quadrants.fewest} harmless requests in the training part "
            f"and as many outside it; cells that have them: {filled}"
        )
    axes = axes_of(contrasts)
    train = np.flatnonzero(quadrants.train & (quadrants.cell >= 0))
    held = np.flatnonzero(~quadrants.train)
    place = np.full(len(requests), -1)
    place[held] = np.arange(len(held))
    means, beliefs = _score(model, requests, quadrants, train, held, axes, settings)
    fresh = (
        _score(model.untrained(settings.seed), requests, quadrants, train, held, axes, settings) if untrained else None
    )
    judged = []
    for mark in means.marks:
        features = {name: make(requests.prompts, mark) for name, make in FEATURES.items()}
        for contrast in contrasts:
            controls = _simple(features, quadrants, contrast)
            if fresh is not None:
                controls["untrained"] = contrast_scores(fresh[1], contrast, mark, place)
            judged.append(
                judge(
                    contrast, mark, contrast_scores(beliefs, contrast, mark, place),
                    contrast_scores(beliefs, contrast, mark, place, raw=True), controls, requests.group, requests.part,
                    permutations=settings.permutations, bootstrap=settings.bootstrap, level=settings.level,
                    seed=settings.seed + len(judged),
                )
            )  # fmt: skip
    other = None if fresh is None else fresh[1]
    return Reading(means.sites, quadrants, means, beliefs, place, tuple(family(judged)), other)


def _score(
    model: Model, requests: Requests, quadrants: Quadrants, train: Array, held: Array, axes: Sequence[Axis],
    settings: Settings,
) -> tuple[CellMeans, Beliefs]:  # fmt: skip
    means = cell_means(
        model, requests.prompts.select(train), quadrants.cell[train], MARKS, progress=settings.progress
    )  # fmt: skip
    return means, beliefs_of(model, requests.prompts.select(held), means, axes, settings.progress)


def _simple(features: Mapping[str, Tensor], quadrants: Quadrants, contrast: Contrast) -> dict[str, Array]:
    """Scores of the contrast's rows by features that need no model, fitted on the same training prompts."""
    out = {}
    for name, made in features.items():
        scores = np.zeros(len(contrast.rows))
        for number, axis in enumerate(contrast.axes):
            here = contrast.stratum == number
            sides = [_rows(quadrants, cells) for cells in (axis.positive, axis.negative)]
            scores[here] = surface_scores(made, sides[0], sides[1], contrast.rows[here])
        out[name] = scores[None]
    return out


def _rows(quadrants: Quadrants, cells: Sequence[str]) -> Array:
    wanted = [CELLS.index(c) for c in cells]
    return np.flatnonzero(quadrants.train & np.isin(quadrants.cell, wanted))
