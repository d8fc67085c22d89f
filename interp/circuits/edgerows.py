"""``edge_report``: the edges of a circuit as rows: score, interval, how often they are chosen, the spans they join."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import CircuitError
from ..report import Report
from .circuit import Circuit
from .resample import few_groups
from .scores import EdgeScores
from .select import STABLE


def edge_report(scores: EdgeScores, circuit: Circuit, title: str | None = None) -> Report:
    """The edges of a circuit, the strongest first: what a figure of it draws.

    Returns:
        A report of kind ``circuit-edges``: a row per edge with ``score`` and its interval, ``sure`` (the interval is on
        one side of zero; ``None`` without one), ``frequency`` on resampled pairs, and ``on_path``: whether it is on a
        path from the input to the logits inside the circuit. Where scores know spans, an edge has a row for each span
        that is read and span that uses it (``read_span``, ``use_span``); the rows of an edge sum to its score, and
        ``sure`` is the whole edge's.

    Raises:
        CircuitError: scores and circuit of different graphs.

    >>> import interp
    >>> from interp import circuits
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> pairs = circuits.Pairs.from_tokens([[5, 9, 7, 8, 5]], [[5, 8, 7, 9, 5]], answers=[[9]], wrong=[[8]])
    >>> scores = circuits.attribute(model, pairs, replicates=0)
    >>> edge_report(scores, circuits.top_edges(scores, 2)).column("part")
    ('v', 'logits')
    """
    if scores.graph != circuit.graph:
        raise CircuitError("the circuit is of another graph than the scores")
    connected = circuit.pruned().mask
    places = np.argwhere(circuit.mask)
    order = np.argsort(-np.abs(scores.values[tuple(places.T)]), kind="stable")
    rows: list[dict[str, Any]] = []
    for row, column in places[order].tolist():
        rows += _rows(scores, circuit, row, column, bool(connected[row, column]))
    origin, about = scores.origin, circuit.about
    meta: dict[str, Any] = {
        "graph": scores.graph.to_dict(), "n_edges": circuit.n_edges, "of": scores.graph.n_edges,
        "on_path": int(connected.sum()), "metric": origin.metric, "method": origin.method, "ablation": origin.ablation,
        "ranking": scores.ranking, "n_pairs": origin.n_pairs, "clean": origin.clean, "ablated": origin.ablated,
        "spans": list(scores.spans) if scores.by_span is not None else [],
        "stability": about.get("stability"), "select": about.get("select"), **_plain(origin.details),
    }  # fmt: skip
    return Report(
        kind="circuit-edges",
        title=title or f"Circuit: {scores.provenance.model_id}",
        headline=_headline(circuit, meta, rows),
        rows=rows,
        provenance=scores.provenance,
        warnings=_warnings(meta) + (few_groups(meta.get("groups")) if scores.lo is not None else []),
        meta=meta,
    )


def _rows(scores: EdgeScores, circuit: Circuit, row: int, column: int, connected: bool) -> list[dict[str, Any]]:
    graph = scores.graph
    _, part, _ = graph.part_of(column)
    entry: dict[str, Any] = {
        "edge": graph.edge(row, column), "source": graph.sources[row], "target": graph.targets[column], "part": part,
    }  # fmt: skip
    value = float(scores.values[row, column])
    about: dict[str, Any] = {"sure": None}
    ends: dict[str, float] = {}
    if scores.lo is not None and scores.hi is not None:
        low, high = float(scores.lo[row, column]), float(scores.hi[row, column])
        ends, about["sure"] = {"score_lo": low, "score_hi": high}, bool(low > 0 or high < 0)
    if circuit.frequency is not None:
        about["frequency"] = float(circuit.frequency[row, column])
    about["on_path"] = connected
    if scores.by_span is None:
        return [{**entry, "score": value, **ends, **about}]
    found = []
    for i, read in enumerate(scores.spans):
        for j, use in enumerate(scores.spans):
            piece = float(scores.by_span[i, j, row, column])
            if piece:
                found.append({**entry, "read_span": read, "use_span": use, "score": piece, **about})
    return sorted(found, key=lambda one: -abs(one["score"]))


def _headline(circuit: Circuit, meta: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    nodes = [name for name in circuit.nodes if name not in ("input", "logits")]
    heads = sum(name.startswith("a") for name in nodes)
    text = f"{circuit.n_edges} of {meta['of']} edges, through {heads} heads and {len(nodes) - heads} MLPs"
    known = {row["edge"]: row["sure"] for row in rows if row["sure"] is not None}
    if known:
        text += f"; the intervals of {sum(known.values())} edges leave out zero"
    if meta["stability"] is not None:
        text += f"; on resampled pairs {100 * meta['stability']:.0f} % of it comes back (Jaccard)"
    return text + "."


def _warnings(meta: dict[str, Any]) -> list[str]:
    found = []
    if meta["stability"] is not None and meta["stability"] < STABLE:
        found.append(
            f"The circuit is unstable: on resampled pairs it shares {100 * meta['stability']:.0f} % of its edges "
            f"(Jaccard, mean), and below {STABLE:.0%} single edges should not be relied on."
        )
    loose = meta["n_edges"] - meta["on_path"]
    if loose:
        found.append(
            f"{loose} of {meta['n_edges']} edges are on no path from the input to the logits inside the circuit; they "
            "carry what is ablated."
        )
    return found


def _plain(details: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in details.items() if isinstance(v, (str, int, float, bool))}
