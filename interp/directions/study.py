"""``fit_directions``: a direction at every site, how well it reads what it was not fitted on, and how stable it is."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ActivationError
from ..probes.findings import headline
from ..probes.result import CVResult
from ..probes.study import Reading, read_sites
from ..prompts import PromptSet
from ..report import Report
from ..sites import Site
from .direction import Direction
from .fit import AGREES, disagreement, fit_direction, require_method
from .held_out import scorer

if TYPE_CHECKING:
    from ..models import Model

HALVES = 10
"""Pairs of halves behind the cosine between directions of different prompts."""

NAMES = {
    "diff_means": "the difference of means",
    "pca": "the first principal component of differences",
    "logistic": "logistic regression",
    "lda": "the linear discriminant",
}


@dataclass(frozen=True, eq=False, repr=False)
class DirectionStudy:
    """A direction per site, fitted on all prompts, and a report about them; ``trained`` are the held-out scores."""

    report: Report
    directions: dict[Site, Direction]
    trained: CVResult

    @property
    def best(self) -> Direction | None:
        """The direction of the site with the highest held-out AUC, which was selected on these data."""
        return self.directions.get(self.trained.sites[self.trained.best])

    def __repr__(self) -> str:
        return repr(self.report)


def fit_directions(
    model: Model,
    prompts: PromptSet,
    sites: str | Site | Sequence[str | Site] = "resid_post",
    *,
    at: str = "last",
    method: str = "diff_means",
    C: float = 1.0,
    folds: int = 10,
    permutations: int = 200,
    bootstrap: int = 2000,
    level: float = 0.95,
    untrained: bool = True,
    shared: str = "raise",
    seed: int = 0,
    title: str | None = None,
    progress: bool | None = None,
    command: str | None = None,
) -> DirectionStudy:
    """Fit a direction between two labels at every site, and judge each by prompts that it was not fitted on.

    Held-out AUCs come from directions that are fitted anew on each training part, with groups kept whole; shuffled
    labels are fitted by the same method, and so is an untrained model. Baselines that see no model (a bag of tokens,
    the last token) are logistic regression whatever the method.

    Args:
        prompts: with labels of two classes (the one that sorts last is positive) and, as a rule, groups; ``pairs`` are
            used by ``pca``.
        method: one of `interp.directions.fit.METHODS`.
        shared: ``"raise"`` or ``"warn"`` where one input occurs in two groups.

    Raises:
        PromptError, SplitError, NonFiniteError: as `interp.probe`.
        ActivationError: an unknown method.

    Example:
        >>> import interp
        >>> model = interp.load_model(interp.testbeds.path("induction"))
        >>> tokens = [[1 + i % 9, 10 + i % 7, 1 + (i // 2 + i) % 9] for i in range(60)]
        >>> prompts = interp.PromptSet.from_tokens(tokens, labels=[t[-1] > 4 for t in tokens])
        >>> study = fit_directions(model, prompts, folds=5, permutations=19, bootstrap=200, shared="warn")
        >>> sorted(map(str, study.directions)), study.report.kind
        (['resid_post.0', 'resid_post.1'], 'direction')
    """
    require_method(method)
    read = read_sites(
        model, prompts, sites, at=at, C=C, folds=folds, permutations=permutations, bootstrap=bootstrap, level=level,
        untrained=untrained, shared=shared, seed=seed, progress=progress, command=command,
        scorer=lambda chosen: scorer(method, chosen.pairs if method == "pca" else None),
    )  # fmt: skip
    made = {site: _fit(read, site, method, at, C) for site in read.features}
    rows = [
        {**row, **_about(read, Site.parse(row["site"]), made[Site.parse(row["site"])], method, C, seed)}
        for row in read.rows
    ]
    notes = list(read.warnings)
    alike = [str(site) for site, one in made.items() if one is None]
    if alike:
        notes.append(f"At {', '.join(alike)} the rows of the two classes are alike, so there is no direction.")
    notes += _far_from_the_means(rows, method)
    report = Report(
        kind="direction",
        title=title or f"{NAMES[method][0].upper()}{NAMES[method][1:]} at {at}, by site",
        headline=f"By {NAMES[method]}: {headline(read.trained, at, read.rivals)}",
        rows=rows,
        provenance=read.provenance,
        warnings=notes,
        meta={**read.meta, "method": method},
    )
    return DirectionStudy(report, {s: d for s, d in made.items() if d is not None}, read.trained)


def _far_from_the_means(rows: list[dict[str, Any]], method: str) -> list[str]:
    """A warning if directions point elsewhere than from one mean to the other."""
    far = [row for row in rows if row["cos_mean"] is not None and row["cos_mean"] < AGREES]
    if not far:
        return []
    worst = min(far, key=lambda row: row["cos_mean"])
    site, cosine, many = worst["site"], worst["cos_mean"], f"(So at {len(far)} of {len(rows)} sites.)"
    if method == "pca":
        return [f"{disagreement(site, cosine)} {many}"]
    return [
        f"At {site} the direction and the difference of means have a cosine of {cosine:.2f}: it tells the classes "
        f"apart by what varies little, and a step along it moves little of what sets them apart. {many}"
    ]


def _fit(read: Reading, site: Site, method: str, at: str, C: float, rows: np.ndarray | None = None) -> Direction | None:
    """The direction of a site on some prompts or all; ``None`` where the rows are alike."""
    rows = np.arange(len(read.trained.truth)) if rows is None else rows
    settings: dict[str, Any] = {"C": C} if method == "logistic" else {}
    pairs = read.prompts.pairs if method == "pca" else None
    features: Tensor = read.features[site][torch.from_numpy(rows)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the report says it for all sites at once
        try:
            return fit_direction(
                features, read.trained.truth[rows], method, site=site, mark=at, provenance=read.provenance,
                pairs=None if pairs is None else pairs[rows], **settings,
            )  # fmt: skip
        except ActivationError:
            return None


def _about(read: Reading, site: Site, made: Direction | None, method: str, C: float, seed: int) -> dict[str, Any]:
    """Distance of the class means along the direction, its cosine with their difference, and between halves."""
    if made is None:
        return {"gap": None, "cos_mean": None, "cos_halves": None}
    rows, up = read.features[site].double(), torch.from_numpy(read.trained.truth)
    mean = rows[up].mean(0) - rows[~up].mean(0)
    cosine = abs(float(made(mean.cpu()))) / float(mean.norm())
    return {"gap": made.scale, "cos_mean": cosine, "cos_halves": _halves(read, site, method, C, seed)}


def _halves(read: Reading, site: Site, method: str, C: float, seed: int) -> float | None:
    """Mean cosine between directions fitted on two halves of the groups."""
    groups, truth = read.trained.folds.groups, read.trained.truth
    names, index = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(HALVES):
        first = rng.permutation(len(names)) < len(names) // 2
        sides = [np.flatnonzero(first[index] == half) for half in (True, False)]
        if any(len(side) < 2 or truth[side].all() or not truth[side].any() for side in sides):
            continue
        one, other = (_fit(read, site, method, "half", C, side) for side in sides)
        if one is not None and other is not None:
            found.append(one.cosine(other))
    return float(np.mean(found)) if found else None
