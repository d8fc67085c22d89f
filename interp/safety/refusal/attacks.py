"""``compare_checkpoints``: what fine-tuning did to beliefs, by the base model's means and by means fitted anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ActivationError
from ...report import Report
from ...stats import Interval, auc, cluster_bootstrap
from .behaviour import Behaviour, measure_behaviour, share
from .beliefs import Reading
from .cells import Axis
from .centroids import CellMeans, beliefs_of, cell_means
from .requests import MARKS, ROLES, T_INST, Requests
from .settings import Settings
from .tables import Row, triple

if TYPE_CHECKING:
    from ...models import Model

Array = NDArray[Any]
BASE, KEPT, REFITTED = "base model", "other model, the base model's means", "other model, means fitted anew"


def compare_checkpoints(
    reading: Reading, requests: Requests, behaviour: Behaviour, other: Model, tokens: Sequence[int], title: str,
    provenance: Any, settings: Settings,
) -> Report:  # fmt: skip
    """Beliefs of the same requests in another checkpoint of the same architecture, and what it refuses.

    Means are fitted anew on the training requests of the base model's cells, so that a checkpoint that refuses nothing
    has them, too.

    """
    axis, held = reading.plain, np.flatnonzero(~reading.quadrants.train)
    now = measure_behaviour(other, requests, tokens, settings)
    beliefs = {
        BASE: {mark: reading.beliefs.mean(axis.name, mark)[reading.place[held]] for mark in MARKS},
        KEPT: _means(other, requests, held, reading.means, axis, settings),
        REFITTED: _means(other, requests, held, _refit(other, requests, reading, settings), axis, settings),
    }
    rows: list[Row] = []
    for kind, by_mark in beliefs.items():
        who = behaviour if kind == BASE else now
        for mark, values in by_mark.items():
            for role in ROLES:
                here = requests.role[held] == role
                g = requests.group[held][here]
                if len(np.unique(g)) < 2:
                    continue
                mean = cluster_bootstrap(_mean_of(values[here]), g, method="t", **settings.boot)
                rows.append(
                    {"what": kind, "mark": mark, "role": role, "n": int(here.sum())}
                    | triple("belief", mean) | triple("near", share(values[here] > 0, g, settings.boot))
                    | triple("refused", share(who.refused[held][here], g, settings.boot))
                )  # fmt: skip
    areas = {kind: _area(by_mark[T_INST], requests, held, settings) for kind, by_mark in beliefs.items()}
    harmful = np.flatnonzero(requests.role == "harmful")
    change = cluster_bootstrap(
        _mean_of(now.refused[harmful].astype(float) - behaviour.refused[harmful]), requests.group[harmful], method="t",
        **settings.boot,
    )  # fmt: skip
    meta = {
        "ci_level": settings.level, "other": other.id, "other_fingerprint": other.fingerprint,
        **triple("refusal_change", change), "areas": [{"what": k, **triple("auc", i)} for k, i in areas.items()],
    }  # fmt: skip
    return Report("checkpoints", title, _words(change, areas, other.id), rows, provenance, meta=meta)


def require_alike(model: Model, other: Model) -> None:
    """Raise unless two models have the same sizes.

    Raises:
        ActivationError: they do not.
    """
    if (other.n_layers, other.d_model) != (model.n_layers, model.d_model):
        raise ActivationError(
            f"{other.id} has {other.n_layers} layers of width {other.d_model}, {model.id} {model.n_layers} of "
            f"{model.d_model}; means of one mean nothing in the other"
        )


def _means(
    model: Model, requests: Requests, held: Array, means: CellMeans, axis: Axis, settings: Settings
) -> dict[str, Array]:
    found = beliefs_of(model, requests.prompts.select(held), means, [axis], settings.progress)
    return {mark: found.mean(axis.name, mark) for mark in MARKS}


def _refit(model: Model, requests: Requests, reading: Reading, settings: Settings) -> CellMeans:
    train = np.flatnonzero(reading.quadrants.train & (reading.quadrants.cell >= 0))
    cell = reading.quadrants.cell[train]
    return cell_means(model, requests.prompts.select(train), cell, MARKS, progress=settings.progress)


def _area(values: Array, requests: Requests, held: Array, settings: Settings) -> Interval:
    """Harmful against harmless among plain requests."""
    here = requests.plain[held]
    truth, g = requests.harmful[held][here], requests.group[held][here]
    units = min(len(np.unique(g[truth])), len(np.unique(g[~truth])))
    return cluster_bootstrap(lambda w: auc(values[here], truth, w), g, method="logit", units=units, **settings.boot)


def _mean_of(values: Array) -> Any:
    return lambda w: (w @ values) / w.sum(-1)


def _words(change: Interval, areas: dict[str, Interval], name: str) -> str:
    base, kept, refitted = (float(areas[k].estimate) for k in (BASE, KEPT, REFITTED))
    points = [f"{100 * float(v):+.0f}" for v in (change.estimate, change.low, change.high)]
    return (
        f"In {name!r} the share of plain harmful requests that are refused changes by {points[0]} points [{points[1]}, "
        f"{points[2]}]; at t_inst harmful requests are told from harmless ones with AUC {kept:.2f} by the base model's "
        f"means and {refitted:.2f} by means fitted anew (base model: {base:.2f})."
    )
