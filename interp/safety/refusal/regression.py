"""How much of a belief goes with harm and how much with refusal, each with the other held fixed, and cell by cell."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from ...report import Report
from ...stats import Interval, cluster_bootstrap
from .behaviour import share
from .beliefs import Reading
from .cells import CELLS, WORDS
from .requests import Requests
from .settings import Settings
from .tables import Row, triple

Array = NDArray[Any]


def partial_effects(
    scores: Float[np.ndarray, "depth row"], harmful: Array, refused: Array, groups: Array, boot: dict[str, Any]
) -> Interval:
    """Coefficients of harmful and refused in ``score ~ 1 + harmful + refused`` at every depth, ``[2, depth]``.

    Least squares with both in the equation, so that what goes with one is not counted for the other. It takes prompts
    of three cells at least: with the two on the diagonal, harmful and refused are one column. Groups are resampled.

    >>> harmful, refused = np.array([1, 1, 0, 0] * 3), np.array([1, 0, 1, 0] * 3)
    >>> made = partial_effects((2.0 * refused)[None], harmful, refused, np.arange(12), {"replicates": 20})
    >>> made.estimate.round(6).ravel().tolist()
    [0.0, 2.0]
    """
    x = np.stack([np.ones(len(harmful)), harmful, refused], 1).astype(float)

    def statistic(w: Array) -> Array:
        gram = np.einsum("rn,ni,nj->rij", w, x, x)
        cross = np.einsum("rn,ni,dn->rid", w, x, scores)
        sound = np.linalg.matrix_rank(gram, hermitian=True) == 3
        out = np.full((len(w), 3, len(scores)), np.nan)
        out[sound] = np.linalg.solve(gram[sound], cross[sound])
        return out[:, 1:]

    return cluster_bootstrap(statistic, groups, method="t", **boot)


def regression_report(
    reading: Reading, requests: Requests, title: str, provenance: Any, settings: Settings
) -> Report | None:
    """A row per mark and depth: the part of the plain belief that goes with harm, and that with refusal.

    ``None`` where the requests cannot tell the two apart.
    """
    quadrants = reading.quadrants
    if len(quadrants.judged) < 3 or quadrants.confounded:
        return None
    rows_of = np.flatnonzero(~quadrants.train & (quadrants.cell >= 0))
    cell, columns = quadrants.cell[rows_of], reading.place[rows_of]
    harmful, refused = cell < 2, cell % 2 == 0
    axis = reading.plain.name
    rows: list[Row] = []
    for mark in reading.means.marks:
        table = reading.beliefs.of(axis, mark)[:, columns]
        scores = np.concatenate([table, table[1:].mean(0, keepdims=True)])
        i = partial_effects(scores, harmful, refused, requests.group[rows_of], settings.boot)
        other = None
        if reading.untrained is not None:
            fresh = reading.untrained.of(axis, mark)[:, columns]
            fresh = np.concatenate([fresh, fresh[1:].mean(0, keepdims=True)])
            other = partial_effects(
                fresh, harmful, refused, requests.group[rows_of], {**settings.boot, "replicates": 2}
            )
        for k in range(len(scores)):
            last = k == len(scores) - 1
            row: Row = {"mark": mark, "depth": None if last else k, "site": "mean" if last else str(reading.sites[k])}
            for c, name in enumerate(("harm", "refusal")):
                row |= dict(
                    zip((name, f"{name}_lo", f"{name}_hi"), (float(v[c, k]) for v in (i.estimate, i.low, i.high)),
                        strict=True)
                )  # fmt: skip
                if other is not None:
                    row[f"untrained_{name}"] = float(other.estimate[c, k])
            rows.append(row)
    counts = {WORDS[CELLS[c]]: int((cell == c).sum()) for c in range(4)}
    return Report(
        "belief-regression", title, _words(rows), rows, provenance,
        meta={"ci_level": settings.level, "prompts": counts},
    )  # fmt: skip


def quadrant_report(reading: Reading, requests: Requests, title: str, provenance: Any, settings: Settings) -> Report:
    """A row per mark and cell: the plain belief averaged over depths, and how many prompts lie on the harmful side."""
    rows: list[Row] = []
    axis, held = reading.plain.name, ~reading.quadrants.train
    for mark in reading.means.marks:
        for c, name in enumerate(CELLS):
            here = np.flatnonzero(held & (reading.quadrants.cell == c))
            groups = requests.group[here]
            if len(np.unique(groups)) < 2:
                continue
            value, raw = (reading.beliefs.mean(axis, mark, raw=r)[reading.place[here]] for r in (False, True))
            mean = _mean(value, groups, settings)
            rows.append(
                {"mark": mark, "cell": name, "what": WORDS[name], "harmful": c < 2, "refused": c % 2 == 0}
                | {"n": len(here)} | triple("belief", mean) | {"raw_belief": float(raw.mean())}
                | triple("near", share(value > 0, groups, settings.boot))
            )  # fmt: skip
    warning = reading.quadrants.warning()
    return Report(
        "quadrants", title, _sides(rows), rows, provenance, warnings=[warning] if warning else [],
        meta={"ci_level": settings.level, "axis": axis},
    )  # fmt: skip


def _mean(value: Array, groups: Array, settings: Settings) -> Interval:
    return cluster_bootstrap(lambda w: (w @ value) / w.sum(-1), groups, method="t", **settings.boot)


def _words(rows: list[Row]) -> str:
    parts = []
    for row in rows:
        if row["depth"] is None:
            numbers = [
                f"{name} {row[name]:+.2f} [{row[f'{name}_lo']:+.2f}, {row[f'{name}_hi']:+.2f}]"
                for name in ("harm", "refusal")
            ]
            parts.append(f"at {row['mark']} {' and '.join(numbers)}")
    return f"What the belief owes to each, the other held fixed, averaged over depths: {'; '.join(parts)}."


def _sides(rows: list[Row]) -> str:
    parts = []
    for row in rows:
        if row["cell"] in ("harmful-accepted", "harmless-refused"):
            parts.append(f"{100 * row['near']:.0f} % of {row['what']} at {row['mark']}")
    if not parts:
        return "No off-diagonal cell has prompts: every request is refused if and only if it is harmful, or none is."
    return f"On the side of refused harmful requests lie {', '.join(parts)}."
