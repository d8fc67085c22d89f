"""``map_report``: every held-out request by the beliefs about its harm and its refusal, and means by category."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...report import Report
from ...stats import cluster_bootstrap
from .behaviour import Behaviour, share
from .beliefs import Reading
from .cells import CELLS
from .requests import ROLES, T_INST, T_POST, Requests
from .settings import Settings
from .tables import Row, triple

Array = NDArray[Any]


def map_beliefs(reading: Reading, n: int) -> tuple[Array, Array]:
    """The plain belief averaged over depths at t_inst and at t_post, of every prompt; NaN for training prompts."""
    out = []
    for mark in (T_INST, T_POST):
        values = np.full(n, np.nan)
        held = reading.place >= 0
        values[held] = reading.beliefs.mean(reading.plain.name, mark)[reading.place[held]]
        out.append(values)
    return out[0], out[1]


def map_report(
    reading: Reading, requests: Requests, behaviour: Behaviour, title: str, provenance: Any, settings: Settings
) -> Report:
    """A row per held-out request; the means by role and category are in ``meta``."""
    harm, refusal = map_beliefs(reading, len(requests))
    rows: list[Row] = []
    for i in np.flatnonzero(requests.held_out):
        cell = int(reading.quadrants.cell[i])
        rows.append(
            {
                "id": requests.prompts.ids[i], "role": str(requests.role[i]), "category": str(requests.category[i]),
                "topic": str(requests.topic[i]), "cell": CELLS[cell] if cell >= 0 else "none",
                "harmful": bool(requests.harmful[i]), "refused": bool(behaviour.refused[i]),
                "harm_belief": float(harm[i]), "refusal_belief": float(refusal[i]),
                "refusal_score": float(behaviour.score[i]),
            }
        )  # fmt: skip
    means = category_rows(requests, behaviour, harm, refusal, settings)
    return Report(
        "belief-map", title, _words(means), rows, provenance,
        meta={"ci_level": settings.level, "cells": means, "axis": "refused harmful against accepted harmless"},
    )  # fmt: skip


def category_rows(
    requests: Requests, behaviour: Behaviour, harm: Array, refusal: Array, settings: Settings
) -> list[Row]:
    """A row per role and category of the held-out requests: mean beliefs and the share that is refused."""
    rows: list[Row] = []
    for role in ROLES:
        for category in dict.fromkeys(requests.category[requests.role == role].tolist()):
            here = np.flatnonzero((requests.role == role) & (requests.category == category) & requests.held_out)
            g = requests.group[here]
            if len(np.unique(g)) < 2:
                continue
            row: Row = {"role": role, "category": category, "requests": len(here)}
            for name, values in (("harm_belief", harm[here]), ("refusal_belief", refusal[here])):
                i = cluster_bootstrap(_mean_of(values), g, method="t", **settings.boot)
                row |= triple(name, i)
            rows.append(row | triple("refused", share(behaviour.refused[here], g, settings.boot)))
    return rows


def _mean_of(values: Array) -> Any:
    return lambda w: (w @ values) / w.sum(-1)


def _words(means: list[Row]) -> str:
    parts = [
        f"{row['category']} {row['harm_belief']:+.2f} and {row['refusal_belief']:+.2f}"
        for row in means
        if row["role"] in ("jailbroken", "overrefused")
    ]
    if not parts:
        return "Beliefs about harm (at t_inst) and refusal (at t_post) of every held-out request."
    return f"Mean beliefs about harm (at t_inst) and refusal (at t_post): {'; '.join(parts)}."
