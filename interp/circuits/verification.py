"""``verify``: are estimated scores right? The strongest edges, and a random sample below them, measured exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CircuitError
from ..report import Report
from .circuit import Circuit
from .evaluation import metric_of
from .execute import run_circuits
from .metrics import Metric
from .pairs import Pairs
from .patching import exact
from .scores import EdgeScores

if TYPE_CHECKING:
    from ..models import Model


def verify(
    model: Model,
    pairs: Pairs,
    scores: EdgeScores,
    metric: Metric | None = None,
    *,
    top: int = 20,
    sample: int = 40,
    threshold: float = 0.05,
    seed: int = 0,
    max_bytes: int | None = None,
) -> Report:
    """Patch the ``top`` strongest edges and ``sample`` random ones below them exactly, and compare.

    A *missed* edge lies below the top, though ablating it alone changes the metric by ``threshold`` or more of what
    ablating everything does. The sample bounds how many there may be: ``missed_hi`` is the upper end of a 95 %
    Clopper-Pearson interval of their share among all edges below.

    Returns:
        A report of kind ``verification``: a row per edge with ``estimated`` and ``exact``; ``meta`` has ``pearson`` and
        ``sign_agreement`` over the top, ``pearson_below`` over the sample, ``missed``, ``missed_hi``.

    Raises:
        CircuitError: fewer than two edges to compare, or a metric that ablating everything does not change.
    """
    order = scores.order()
    top, below = min(top, len(order)), order[top:]
    if top < 2:
        raise CircuitError(f"verification compares two edges or more, got top={top}")
    picked = np.random.default_rng(seed).permutation(len(below))[:sample].tolist()
    places = order[:top] + [below[i] for i in sorted(picked)]
    names = [scores.graph.edge(*place) for place in places]
    ablation = scores.origin.ablation
    measured = exact(
        model, pairs, metric_of(scores, metric), edges=names, ablation=ablation, replicates=200, seed=seed,
        expand_kv=scores.graph.expand_kv, max_bytes=max_bytes,
    )  # fmt: skip
    assert isinstance(measured, EdgeScores)
    estimated, true = (np.array([s.values[p] for p in places]) for s in (scores, measured))
    gap = _gap(model, pairs, scores, metric, measured, max_bytes)
    missed = int((np.abs(true[top:]) >= threshold * gap).sum())
    bound = _upper(missed, len(true) - top)
    signs = float((np.sign(estimated[:top]) == np.sign(true[:top])).mean())
    meta: dict[str, Any] = {
        "pearson": _pearson(estimated[:top], true[:top]), "pearson_below": _pearson(estimated[top:], true[top:]),
        "sign_agreement": signs, "missed": missed, "missed_hi": bound, "top": top, "sample": len(true) - top,
        "edges_below": len(below), "threshold": threshold, "metric_gap": gap, "method": scores.origin.method,
        "ablation": ablation, "metric": scores.origin.metric, "n_pairs": len(pairs),
    }  # fmt: skip
    rows = []
    for i, name in enumerate(names):
        row: dict[str, Any] = {"edge": name, "group": "top" if i < top else "below", "estimated": estimated[i]}
        row["exact"] = true[i]
        if measured.lo is not None and measured.hi is not None:
            row |= {"exact_lo": measured.lo[places[i]], "exact_hi": measured.hi[places[i]]}
        rows.append(row)
    return Report(
        kind="verification",
        title=f"Exact verification: {model.id}",
        headline=_headline(meta),
        rows=rows,
        provenance=model.provenance(prompts=pairs.clean.hash, seed=seed),
        meta=meta,
    )


def _gap(
    model: Model, pairs: Pairs, scores: EdgeScores, metric: Metric | None, measured: EdgeScores, max_bytes: int | None
) -> float:
    """How much of the metric ablating everything takes."""
    nothing = Circuit.of(scores.graph, [])
    left = run_circuits(
        model, pairs, [nothing], metric_of(scores, metric), ablation=scores.origin.ablation, max_bytes=max_bytes
    ).mean()
    gap = abs(measured.origin.clean - float(left))
    if not gap > 0:
        raise CircuitError("ablating everything does not change the metric on these pairs; there is nothing to verify")
    return gap


def _upper(hits: int, n: int, level: float = 0.95) -> float:
    """Upper end of the one-sided Clopper-Pearson interval of a share; 1 without a sample."""
    from scipy import stats

    return 1.0 if hits >= n else float(stats.beta.ppf(level, hits + 1, n - hits))


def _pearson(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    if len(a) < 2 or not a.std() or not b.std():
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def _headline(meta: dict[str, Any]) -> str:
    text = f"Estimates of the top {meta['top']} edges correlate {meta['pearson']:.2f} with exact patching"
    signs = f"{100 * meta['sign_agreement']:.0f} % have the same sign"
    if not meta["sample"]:
        return f"{text}, and {signs}."
    return (
        f"{text}, and {signs}; {meta['missed']} of {meta['sample']} edges sampled below matter, so that at most "
        f"{100 * meta['missed_hi']:.0f} % of those below do."
    )
