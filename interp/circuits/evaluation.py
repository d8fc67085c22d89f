"""``evaluate``: how much of a behaviour circuits of growing size keep, what is left without them, and by chance."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from ..errors import CircuitError
from ..report import Report
from ..stats import auc, cluster_bootstrap
from .circuit import Circuit
from .constants import AblationLike, same_ablation
from .kept import run_kept
from .metrics import METRICS, Metric, bind
from .nodeset import Kept, drawable, places_of, set_of, unit_of
from .pairs import Pairs
from .scores import EdgeScores, NodeScores
from .select import STABLE, greedy, top_edges, top_nodes

if TYPE_CHECKING:
    from ..models import Model

# Shares of the edges that the MIB benchmark evaluates at.
SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
Array = NDArray[Any]


def evaluate(
    model: Model,
    pairs: Pairs,
    scores: EdgeScores | NodeScores,
    metric: Metric | None = None,
    *,
    sizes: Sequence[int] | None = None,
    select: Literal["top", "greedy"] = "top",
    truth: Collection[str] | None = None,
    random: int = 3,
    ablation: AblationLike | None = None,
    seed: int = 0,
    max_bytes: int | None = None,
) -> Report:
    """Run the circuits that scores give at several sizes, their complements, and random circuits of the same size.

    Faithfulness of a circuit C is ``(m(C) - m(nothing)) / (m(model) - m(nothing))``, a ratio of means over pairs, where
    ``nothing`` has every edge ablated. ``complement`` is the faithfulness of all edges but C's: what is there says that
    others can do C's work (`completeness` looks closer). CPR is the area under the faithfulness curve over the share of
    edges (trapezoids between the sizes measured), CMD the area between the curve and 1.

    Scores of nodes or neurons are judged in the same way: all nodes but the strongest are ablated, wherever they are
    read; of neurons, ``nothing`` is the model with every MLP neuron ablated and its attention as it is.

    Args:
        metric: the scores' own, by name, if left out; a function has to be given again.
        sizes: numbers of edges (nodes, neurons); by default the shares of `SHARES`, as in the MIB benchmark.
        select: the strongest, or `greedy`, for edges.
        truth: names of the true edges, if known: adds AUROC and AUPRC of the scores.
        random: how many random circuits of each size; their mean and largest faithfulness are in the rows.
        ablation: the scores' own, if left out; constants of optimal ablation have to be given again.

    Returns:
        A report of kind ``circuit``: a row per size with intervals over groups of pairs; ``meta`` has ``cpr``, ``cmd``
        (value and interval), ``clean``, ``ablated``, and ``auroc`` and ``auprc`` if there is a truth.

    Raises:
        CircuitError: sizes that the graph lacks, or pairs on which ablating everything does not change the metric.

    Source: faithfulness, Wang et al. (arXiv 2211.00593); CPR and CMD, MIB (Mueller et al., arXiv 2504.13151), sec. 3.
    """
    metric, unit = metric_of(scores, metric), unit_of(scores)
    every_one = places_of(scores)
    total = int(every_one.sum())
    sizes = _sizes(total, sizes, unit)
    chosen = [chosen_from(scores, n, select) for n in sizes]
    rng = np.random.default_rng(seed)
    chance = [_random(scores, n, rng) for n in sizes for _ in range(random)]
    ends = [set_of(scores, np.zeros_like(every_one)).complement(), set_of(scores, np.zeros_like(every_one))]
    every = [*ends, *chosen, *(c.complement() for c in chosen), *chance]
    ablation = same_ablation(scores.origin.ablation, ablation)
    values = run_kept(model, pairs, every, metric, ablation=ablation, max_bytes=max_bytes)
    curve = _Curve(values.astype(np.float64), np.array(sizes) / total, len(sizes))
    curve.check(ablation, unit)
    return _report(model, pairs, scores, metric, curve, chosen, truth, random, seed, select)


def chosen_from(scores: EdgeScores | NodeScores, n: int, select: str = "top") -> Kept:
    """The ``n`` strongest edges, nodes or neurons, or edges by `greedy`.

    Raises:
        CircuitError: another ``select``, or ``greedy`` without edges.
    """
    if select not in ("top", "greedy"):
        raise CircuitError(f"select={select!r}: 'top' or 'greedy'")
    if isinstance(scores, EdgeScores):
        return greedy(scores, n) if select == "greedy" else top_edges(scores, n)
    if select == "greedy":
        raise CircuitError(f"select='greedy' follows edges, and there are none between {scores.level}s; use 'top'")
    return top_nodes(scores, n)


@dataclass(frozen=True)
class _Curve:
    """The metric of ``model, nothing, circuits, complements, random circuits`` for every pair."""

    values: Float[np.ndarray, "circuit pair"]
    shares: Float[np.ndarray, " size"]
    n: int

    def check(self, ablation: AblationLike, unit: str) -> None:
        """Raise if there is nothing to keep."""
        clean, nothing = self.values[:2].mean(1)
        if not abs(clean - nothing) > 1e-6 * max(1.0, abs(clean)):
            why = "look at the pairs" + ", or at the heads, which may do it all" * (unit == "neuron")
            raise CircuitError(
                f"ablating every {unit} ({ablation}) leaves the metric where it was, {nothing:.4g}, so that "
                f"faithfulness means nothing; {why}"
            )

    def statistics(self, weights: Array) -> Array:
        """Faithfulness of every circuit, then CPR and CMD, for example weights ``[replicate, pair]``."""
        means = weights @ self.values.T / weights.sum(-1, keepdims=True)
        clean, nothing = means[:, :1], means[:, 1:2]
        kept = (means[:, 2:] - nothing) / (clean - nothing)
        curve = kept[:, : self.n]
        areas = [area(curve, self.shares), area(np.abs(1 - curve), self.shares)]
        return np.concatenate([kept, *(a[:, None] for a in areas)], axis=1)


def area(curve: Float[np.ndarray, "*many size"], shares: Float[np.ndarray, " size"]) -> Float[np.ndarray, "*many"]:
    """Area under a curve over the share of edges, by trapezoids between the points measured.

    >>> float(area(np.array([0.0, 1.0, 1.0]), np.array([0.0, 0.5, 1.0])))
    0.75
    """
    return np.asarray(((curve[..., 1:] + curve[..., :-1]) / 2 * np.diff(shares)).sum(-1))


def metric_of(scores: EdgeScores | NodeScores, metric: Metric | None) -> Metric:
    """The metric given, or the scores' own by name.

    Raises:
        CircuitError: the scores' metric was a function, which is not stored.
    """
    if metric is not None:
        return metric
    if scores.origin.metric not in METRICS:
        raise CircuitError(f"the scores are of the function {scores.origin.metric!r}; give it again as metric=")
    return scores.origin.metric


def _sizes(total: int, sizes: Sequence[int] | None, unit: str) -> list[int]:
    found = [max(1, int(share * total)) for share in SHARES] if sizes is None else list(sizes)
    found = sorted(set(found))
    if not found or found[0] < 1 or found[-1] > total:
        raise CircuitError(f"sizes {found} of circuits in a graph of {total} {unit}s")
    return found


def _random(scores: EdgeScores | NodeScores, n: int, rng: np.random.Generator) -> Kept:
    places = np.argwhere(drawable(scores))
    mask = np.zeros(scores.values.shape, bool)
    mask[tuple(places[rng.choice(len(places), min(n, len(places)), replace=False)].T)] = True
    return set_of(scores, mask, select="random")


def _report(
    model: Model, pairs: Pairs, scores: EdgeScores | NodeScores, metric: Metric, curve: _Curve, chosen: list[Kept],
    truth: Collection[str] | None, random: int, seed: int, select: str,
) -> Report:  # fmt: skip
    several = len(np.unique(pairs.groups)) > 1
    found = cluster_bootstrap(curve.statistics, pairs.groups, method="percentile", seed=seed) if several else None
    value = curve.statistics(np.ones((1, len(pairs))))[0]
    lo, hi = (np.full_like(value, np.nan),) * 2 if found is None else (found.low, found.high)
    n, rows, unit = curve.n, [], unit_of(scores)
    for i, circuit in enumerate(chosen):
        row: dict[str, Any] = {f"n_{unit}s": int(circuit.mask.sum()), "share": float(curve.shares[i])}
        for name, at in (("faithfulness", i), ("complement", n + i)):
            row |= {name: value[at], f"{name}_lo": lo[at], f"{name}_hi": hi[at]}
        if random:
            chance = value[2 * n + i * random : 2 * n + (i + 1) * random]
            row |= {"random": chance.mean(), "random_max": chance.max()}
        if "stability" in circuit.about:
            row["stability"] = circuit.about["stability"]
        rows.append(row)
    clean, nothing = curve.values[:2].mean(1)
    areas = {
        name: {"value": value[at], "lo": lo[at], "hi": hi[at]} for name, at in (("cpr", -2), ("cmd", -1))
    }  # fmt: skip
    meta: dict[str, Any] = {
        **areas, "clean": clean, "ablated": nothing, "metric": bind(metric, pairs).name, "select": select,
        "method": scores.origin.method, "ablation": scores.origin.ablation, "ranking": scores.ranking,
        "n_pairs": len(pairs), "unit": unit, f"n_{unit}s": int(places_of(scores).sum()), "random_circuits": random,
    }  # fmt: skip
    if truth is not None:
        if not isinstance(scores, EdgeScores):
            raise CircuitError(f"truth= names edges, and these scores are of {unit}s")
        meta |= against_truth(scores, truth)
    return Report(
        kind="circuit",
        title=f"Circuits: {model.id}",
        headline=_headline(rows, meta),
        rows=rows,
        provenance=model.provenance(prompts=pairs.clean.hash, seed=seed),
        warnings=_warnings(scores, pairs, rows),
        meta=meta,
    )


def against_truth(scores: EdgeScores, truth: Collection[str]) -> dict[str, float]:
    """AUROC and AUPRC (average precision) of the scores' ranking, over the edges that have a score.

    Raises:
        CircuitError: a true edge that the graph lacks.
    """
    labels = Circuit.of(scores.graph, truth).mask
    measured = np.isfinite(scores.strength)
    strength, labels = scores.strength[measured], labels[measured]
    order = np.argsort(-strength, kind="stable")
    hits = np.cumsum(labels[order])
    # Ties share the precision of the whole tie.
    last = np.searchsorted(-strength[order], -strength[order], side="right") - 1
    precision = hits[last] / (last + 1)
    return {"auroc": float(auc(strength, labels)), "auprc": float((precision * labels[order]).sum() / labels.sum())}


def percent(share: float) -> str:
    """A share in words, without a minus before nothing.

    >>> percent(-0.001), percent(0.957)
    ('0 %', '96 %')
    """
    return f"{round(100 * share)} %"


def _headline(rows: list[dict[str, Any]], meta: dict[str, Any]) -> str:
    good = next((r for r in rows if r["faithfulness"] >= 0.9 and r["share"] < 1), None)
    text = f"CPR {meta['cpr']['value']:.3g}, CMD {meta['cmd']['value']:.3g} over {meta['n_pairs']} pairs"
    if good is None:
        return f"No circuit measured keeps 90 % of the metric, short of the whole model; {text}."
    size = f"n_{meta['unit']}s"
    kept = f"{good[size]} of {meta[size]} {meta['unit']}s keep {percent(good['faithfulness'])} of the metric"
    return f"{kept} and leave {percent(good['complement'])} without them; {text}."


def _warnings(scores: EdgeScores | NodeScores, pairs: Pairs, rows: list[dict[str, Any]]) -> list[str]:
    found = []
    if scores.provenance.prompts == pairs.clean.hash:
        found.append("The circuits were found on the pairs that they are evaluated on; give other pairs to test them.")
    unit = unit_of(scores)
    size = f"n_{unit}s"
    shaky = [r for r in rows if r.get("stability", 1.0) < STABLE and r["share"] < 1]
    if shaky:
        sizes = ", ".join(str(r[size]) for r in shaky)
        found.append(
            f"On resampled pairs circuits of {sizes} {unit}s share less than {STABLE:.0%} with these (Jaccard)."
        )
    redundant = [r for r in rows if r["faithfulness"] >= 0.9 and r["complement"] > 0.5]
    if redundant:
        found.append(
            f"The circuit of {redundant[0][size]} {unit}s is faithful but not complete: "
            f"{percent(redundant[0]['complement'])} of the metric is left without it, so it has a backup."
        )
    return found
