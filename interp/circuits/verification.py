"""``verify``: are estimated scores right? The strongest, and a random sample below them, measured exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from ..errors import CircuitError
from ..report import Report
from .constants import AblationLike, same_ablation
from .evaluation import metric_of
from .headrows import mean_interval
from .kept import run_kept
from .metrics import Metric
from .nodeset import places_of, set_of, unit_of
from .pairs import Pairs
from .patching import exact
from .scores import EdgeScores, NodeScores

if TYPE_CHECKING:
    from ..models import Model

Array = NDArray[np.float64]


def verify(
    model: Model,
    pairs: Pairs,
    scores: EdgeScores | NodeScores,
    metric: Metric | None = None,
    *,
    top: int = 20,
    sample: int = 40,
    threshold: float = 0.05,
    ablation: AblationLike | None = None,
    seed: int = 0,
    max_bytes: int | None = None,
) -> Report:
    """Ablate the ``top`` strongest edges (nodes, neurons) and ``sample`` random ones below them alone, and compare.

    A *missed* edge lies below the top, though ablating it alone changes the metric by ``threshold`` or more of what
    ablating everything does. The sample bounds how many there may be: ``missed_hi`` is the upper end of a 95 %
    Clopper-Pearson interval of their share among all edges below; where all of them are measured, it is their share.

    Returns:
        A report of kind ``verification``: a row per edge with ``estimated`` and ``exact``; ``meta`` has ``pearson`` and
        ``sign_agreement`` over the top, ``pearson_below`` over the sample, ``missed``, ``missed_hi``.

    Raises:
        CircuitError: fewer than two edges to compare, or a metric that ablating everything does not change.
    """
    order, unit = scores.order(), unit_of(scores)
    top, below = min(top, len(order)), order[top:]
    if top < 2:
        raise CircuitError(f"verification compares two {unit}s or more, got top={top}")
    picked = np.random.default_rng(seed).permutation(len(below))[:sample].tolist()
    places = order[:top] + [below[i] for i in sorted(picked)]
    use = metric_of(scores, metric)
    ablation = same_ablation(scores.origin.ablation, ablation)
    true, ends = _measured(model, pairs, scores, places, use, ablation, seed, max_bytes)
    estimated = np.array([scores.values[p] for p in places])
    gap = _gap(model, pairs, scores, use, ablation, max_bytes)
    missed = int((np.abs(true[top:]) >= threshold * gap).sum())
    n = len(true) - top
    bound = missed / n if 0 < n == len(below) else _upper(missed, n)
    signs = float((np.sign(estimated[:top]) == np.sign(true[:top])).mean())
    meta: dict[str, Any] = {
        "pearson": _pearson(estimated[:top], true[:top]), "pearson_below": _pearson(estimated[top:], true[top:]),
        "sign_agreement": signs, "missed": missed, "missed_hi": bound,
        "top": top, "sample": n, "unit": unit, f"{unit}s_below": len(below), "threshold": threshold, "metric_gap": gap,
        "method": scores.origin.method, "ablation": scores.origin.ablation, "metric": scores.origin.metric,
        "n_pairs": len(pairs), "every": n == len(below),
    }  # fmt: skip
    rows = []
    for i, place in enumerate(places):
        row: dict[str, Any] = {unit: _name(scores, place), "group": "top" if i < top else "below"}
        row |= {"estimated": estimated[i], "exact": true[i]}
        if ends is not None:
            row |= {"exact_lo": ends[0][i], "exact_hi": ends[1][i]}
        rows.append(row)
    return Report(
        kind="verification",
        title=f"Exact verification: {model.id}",
        headline=_headline(meta),
        rows=rows,
        provenance=model.provenance(prompts=pairs.clean.hash, seed=seed),
        meta=meta,
    )


def _measured(
    model: Model, pairs: Pairs, scores: EdgeScores | NodeScores, places: list, metric: Metric,
    ablation: AblationLike, seed: int, max_bytes: int | None,
) -> tuple[Float[np.ndarray, " place"], tuple[Array, Array] | None]:  # fmt: skip
    """What ablating each one alone does, and the ends of its interval if there are groups enough."""
    shared: dict[str, Any] = {"ablation": ablation, "max_bytes": max_bytes}
    if isinstance(scores, NodeScores) and scores.level != "node":
        everything = np.ones(scores.values.shape, bool)
        without = np.stack([everything] * len(places))
        without[(np.arange(len(places)), *np.array(places).T)] = False
        sets = [set_of(scores, mask) for mask in (everything, *without)]
        left = run_kept(model, pairs, sets, metric, **shared).astype(np.float64)
        value, low, high = mean_interval((left[:1] - left[1:]).T, pairs.groups, bootstrap=200, seed=seed)
        return value, None if np.isnan(low).all() else (low, high)
    if isinstance(scores, NodeScores):
        found = exact(model, pairs, metric, level="node", replicates=200, seed=seed, **shared)
    else:
        names = [_name(scores, place) for place in places]
        found = exact(
            model, pairs, metric, edges=names, replicates=200, seed=seed, expand_kv=scores.graph.expand_kv, **shared
        )
    at = tuple(np.array(places).T)
    if found.lo is None or found.hi is None:
        return found.values[at], None
    return found.values[at], (found.lo[at], found.hi[at])


def _gap(
    model: Model, pairs: Pairs, scores: EdgeScores | NodeScores, metric: Metric, ablation: AblationLike,
    max_bytes: int | None,
) -> float:  # fmt: skip
    """How much of the metric ablating everything takes."""
    everything = places_of(scores) if isinstance(scores, EdgeScores) else np.ones(scores.values.shape, bool)
    ends = [set_of(scores, everything), set_of(scores, np.zeros_like(everything))]
    values = run_kept(model, pairs, ends, metric, ablation=ablation, max_bytes=max_bytes).mean(1)
    gap = abs(float(values[0]) - float(values[1]))
    if not gap > 0:
        raise CircuitError("ablating everything does not change the metric on these pairs; there is nothing to verify")
    return gap


def _name(scores: EdgeScores | NodeScores, place: tuple[int, ...]) -> str:
    if isinstance(scores, NodeScores):
        return scores.name(place)
    row, column = place
    return scores.graph.edge(row, column)


def _upper(hits: int, n: int, level: float = 0.95) -> float:
    """Upper end of the one-sided Clopper-Pearson interval of a share; 1 without a sample."""
    from scipy import stats

    return 1.0 if hits >= n else float(stats.beta.ppf(level, hits + 1, n - hits))


def _pearson(a: Array, b: Array) -> float:
    if len(a) < 2 or not a.std() or not b.std():
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def _headline(meta: dict[str, Any]) -> str:
    unit = meta["unit"]
    text = f"Estimates of the top {meta['top']} {unit}s correlate {meta['pearson']:.2f} with exact patching"
    signs = f"{100 * meta['sign_agreement']:.0f} % have the same sign"
    if not meta["sample"]:
        return f"{text}, and {signs}."
    if meta["every"]:
        return f"{text}, and {signs}; of all {meta['sample']} {unit}s below {meta['missed']} matter."
    return (
        f"{text}, and {signs}; {meta['missed']} of {meta['sample']} {unit}s sampled below matter, so that at most "
        f"{100 * meta['missed_hi']:.0f} % of those below do."
    )
