"""``node_report``: the strongest nodes or neurons as rows: score, interval, how often they are chosen again."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import CircuitError
from ..report import Report
from .nodeset import NodeSet, places_of
from .scores import NodeScores
from .select import STABLE


def node_report(scores: NodeScores, chosen: NodeSet, title: str | None = None) -> Report:
    """The nodes or neurons that were chosen, the strongest first; of nodes, all the others as well.

    Returns:
        A report of kind ``circuit-nodes``, ``circuit-neurons`` or ``circuit-latents``: a row each with ``kind``
        (``input head MLP neuron latent error``), ``layer``, ``head``, ``rank``, ``score`` and its interval, ``sure``
        (the interval is on one side of zero), ``chosen`` and ``frequency``, how often resampled pairs choose it.

    Raises:
        CircuitError: a set of another graph or level than the scores.

    >>> import interp
    >>> from interp import circuits
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> pairs = circuits.Pairs.from_tokens([[5, 9, 7, 8, 5]], [[5, 8, 7, 9, 5]], answers=[[9]], wrong=[[8]])
    >>> scores = circuits.attribute(model, pairs, level="node", replicates=0)
    >>> node_report(scores, circuits.top_nodes(scores, 2)).column("node")[:2]
    ('input', 'a1.h0')
    """
    if scores.graph != chosen.graph or scores.level != chosen.level or scores.values.shape != chosen.mask.shape:
        raise CircuitError(f"a set of {chosen.level}s of another graph or level than these scores of {scores.level}s")
    unit, n = scores.level, int(chosen.mask.sum())
    places = [p for p in scores.order() if unit == "node" or chosen.mask[p] or _is_rest(scores, p)]
    rows = [_row(scores, chosen, place, rank) for rank, place in enumerate(places, 1)]
    origin, about, sizes = scores.origin, chosen.about, np.abs(scores.values)
    meta: dict[str, Any] = {
        "graph": scores.graph.to_dict(), "unit": unit, f"n_{unit}s": n, "of": int(places_of(scores).sum()),
        "share_of_scores": float(np.nansum(sizes[chosen.mask]) / (np.nansum(sizes) or 1.0)), "metric": origin.metric,
        "method": origin.method, "ablation": origin.ablation, "ranking": scores.ranking, "n_pairs": origin.n_pairs,
        "clean": origin.clean, "ablated": origin.ablated, "stability": about.get("stability"),
        "select": about.get("select"),
    }  # fmt: skip
    return Report(
        kind=f"circuit-{unit}s",
        title=title or f"{unit.capitalize()}s: {scores.provenance.model_id}",
        headline=_headline(meta, [row for row in rows if row["chosen"]]),
        rows=rows,
        provenance=scores.provenance,
        warnings=_warnings(meta),
        meta=meta,
    )


def _row(scores: NodeScores, chosen: NodeSet, place: tuple[int, ...], rank: int) -> dict[str, Any]:
    name = scores.name(place)
    row: dict[str, Any] = {scores.level: name, **_where(name), "rank": rank, "score": float(scores.values[place])}
    row["sure"] = None
    if scores.lo is not None and scores.hi is not None:
        low, high = float(scores.lo[place]), float(scores.hi[place])
        row |= {"score_lo": low, "score_hi": high, "sure": bool(low > 0 or high < 0)}
    if chosen.frequency is not None:
        row["frequency"] = float(chosen.frequency[place])
    return {**row, "chosen": bool(chosen.mask[place])}


def _is_rest(scores: NodeScores, place: tuple[int, ...]) -> bool:
    """Whether it is an SAE's error or skip, which is told whether it was chosen or not."""
    return scores.level == "latent" and scores.name(place).rpartition(".")[2] in ("error", "skip")


def _where(name: str) -> dict[str, Any]:
    """What kind of node a name is of, its layer and head."""
    site, _, last = name.rpartition(".")
    if last in ("error", "skip") or (last[:1] == "l" and site):
        layer = site.rpartition(".")[2]
        kind = last if last in ("error", "skip") else "latent"
        return {"kind": kind, "site": site, "layer": int(layer) if layer.isdigit() else None, "head": None}
    if name == "input":
        return {"kind": "input", "layer": None, "head": None}
    layer, _, rest = name[1:].partition(".")
    kind = {"": "MLP", "n": "neuron", "h": "head", "e": "expert", "s": "expert"}[rest[:1]]
    return {"kind": kind, "layer": int(layer), "head": int(rest[1:]) if kind == "head" else None}


def _headline(meta: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    unit = meta["unit"]
    text = f"{len(rows)} of {meta['of']} {unit}s"
    if unit == "node":
        kinds = [row["kind"] for row in rows]
        text += f": {_count(kinds, 'head')} heads, {_count(kinds, 'MLP')} MLPs"
        text += " and the input" if "input" in kinds else ""
    elif unit == "latent":
        sites = dict.fromkeys(row["site"] for row in rows)
        text += f" at {', '.join(sites)} ({_count([r['kind'] for r in rows], 'error')} errors among them)"
    else:
        layers = sorted({row["layer"] for row in rows})
        text += f", in layer{'s' * (len(layers) > 1)} {', '.join(map(str, layers))}"
    text += f", have {100 * meta['share_of_scores']:.0f} % of the sum of all scores' sizes"
    known = [row["sure"] for row in rows if row["sure"] is not None]
    if known:
        text += f"; the intervals of {sum(known)} leave out zero"
    if meta["stability"] is not None:
        text += f"; on resampled pairs {100 * meta['stability']:.0f} % of them come back (Jaccard)"
    return text + "."


def _count(kinds: list[str], kind: str) -> int:
    return sum(k == kind for k in kinds)


def _warnings(meta: dict[str, Any]) -> list[str]:
    if meta["stability"] is None or meta["stability"] >= STABLE:
        return []
    return [
        f"The choice is unstable: on resampled pairs {100 * meta['stability']:.0f} % of it comes back (Jaccard, mean), "
        f"and below {STABLE:.0%} single {meta['unit']}s should not be relied on."
    ]
