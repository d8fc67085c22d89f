"""Does a circuit behave as the model does when parts of both are taken out? What the model has more of is a backup."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CircuitError
from ..report import Report
from ..stats import cluster_bootstrap
from .circuit import Circuit
from .constants import AblationLike
from .evaluation import percent
from .execute import run_circuits
from .metrics import Metric, bind
from .pairs import Pairs

if TYPE_CHECKING:
    from ..models import Model


def completeness(
    model: Model,
    pairs: Pairs,
    circuit: Circuit,
    metric: Metric = "logit_diff",
    *,
    ablation: AblationLike = "resample",
    random: int = 10,
    gap: float = 0.1,
    seed: int = 0,
    max_bytes: int | None = None,
) -> Report:
    r"""Take the same edges out of the circuit and out of the whole model, and compare how faithful what is left is.

    Taken out are each edge of the circuit, all of its edges at each node, ``random`` random halves of it, and all of
    it. Where the model without them keeps more than the circuit without them, something outside the circuit does the
    same work.

    Returns:
        A report of kind ``completeness``: a row per knock-out with ``circuit`` and ``model`` (faithfulness of what is
        left) and ``gap``, the largest first; ``meta`` has ``worst`` and ``complete`` (no gap of ``gap`` or more).

    Raises:
        CircuitError: a circuit without edges.

    Source: completeness, Wang et al. (arXiv 2211.00593), sec. 4.2: ``|F(C \ K) - F(M \ K)|`` over sets K.
    """
    graph, cuts = circuit.graph, dict(_cuts(circuit, random, seed))
    if not circuit.n_edges:
        raise CircuitError("a circuit without edges has nothing to take out")
    ends = [Circuit(graph, graph.legal), Circuit(graph, np.zeros_like(graph.legal)), circuit]
    left = [Circuit(graph, whole & ~cut) for cut in cuts.values() for whole in (circuit.mask, graph.legal)]
    values = run_circuits(model, pairs, [*ends, *left], metric, ablation=ablation, max_bytes=max_bytes)
    values = values.astype(np.float64)

    def kept(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        means = weights @ values.T / weights.sum(-1, keepdims=True)
        found = (means[:, 2:] - means[:, 1:2]) / (means[:, :1] - means[:, 1:2])
        return np.concatenate([found, np.abs(found[:, 1::2] - found[:, 2::2])], axis=1)

    value = kept(np.ones((1, len(pairs))))[0]
    gaps = value[1 + 2 * len(cuts) :]
    several = len(np.unique(pairs.groups)) > 1
    found = cluster_bootstrap(kept, pairs.groups, seed=seed) if several else None
    rows, names = [], list(cuts)
    for i in np.argsort(-gaps, kind="stable").tolist():
        row: dict[str, Any] = {"without": names[i], "circuit": value[1 + 2 * i], "model": value[2 + 2 * i]}
        row["gap"] = gaps[i]
        if found is not None:
            at = 1 + 2 * len(cuts) + i
            row |= {"gap_lo": found.low[at], "gap_hi": found.high[at]}
        rows.append(row)
    worst = rows[0]
    complete = bool(worst["gap"] < gap)
    return Report(
        kind="completeness",
        title=f"Completeness: {model.id}",
        headline=_headline(circuit, worst, complete),
        rows=rows,
        provenance=model.provenance(prompts=pairs.clean.hash, seed=seed),
        meta={
            "worst": worst["gap"], "complete": complete, "threshold": gap, "faithfulness": value[0],
            "n_edges": circuit.n_edges, "ablation": str(ablation), "metric": bind(metric, pairs).name,
            "n_pairs": len(pairs),
        },
    )  # fmt: skip


def _headline(circuit: Circuit, worst: dict[str, Any], complete: bool) -> str:
    if complete:
        return f"Complete: whatever is taken out, the {circuit.n_edges} edges and the model lose the same."
    return (
        f"Not complete: without {worst['without']} the model keeps {percent(worst['model'])} of the metric and the "
        f"circuit {percent(worst['circuit'])}."
    )


def _cuts(circuit: Circuit, random: int, seed: int) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """What is taken out, by name."""
    graph, places = circuit.graph, np.argwhere(circuit.mask)
    for row, column in places.tolist():
        yield graph.edge(row, column), _mask(circuit, [(row, column)])
    for node in circuit.nodes:
        at = [(r, c) for r, c in places.tolist() if node in (graph.sources[r], graph.node_of(c))]
        yield f"every edge of {node}", _mask(circuit, at)
    rng = np.random.default_rng(seed)
    for number in range(random if len(places) > 2 else 0):
        some = rng.permutation(len(places))[: len(places) // 2]
        yield f"random half {number + 1}", _mask(circuit, [tuple(p) for p in places[some].tolist()])
    yield "the whole circuit", circuit.mask


def _mask(circuit: Circuit, places: list) -> NDArray[np.bool_]:
    mask = np.zeros(circuit.mask.shape, bool)
    for place in places:
        mask[place] = True
    return mask
