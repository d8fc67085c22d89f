"""Is every edge of a circuit needed? Each is taken out, alone, and the circuit run again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CircuitError
from ..report import Report
from ..stats import cluster_bootstrap
from .circuit import Circuit
from .constants import AblationLike
from .execute import run_circuits
from .metrics import Metric, bind
from .pairs import Pairs

if TYPE_CHECKING:
    from ..models import Model


def minimality(
    model: Model,
    pairs: Pairs,
    circuit: Circuit,
    metric: Metric = "logit_diff",
    *,
    ablation: AblationLike = "resample",
    needed: float = 0.01,
    seed: int = 0,
    max_bytes: int | None = None,
) -> Report:
    """For each edge, how much faithfulness the circuit loses without it.

    An edge counts as needed when that is at least ``needed`` in size.

    Returns:
        A report of kind ``minimality``: a row per edge with ``loss`` and its interval; ``meta`` has ``faithfulness`` of
        the whole circuit and the share of its edges that are ``needed``.

    Raises:
        CircuitError: a circuit without edges.

    Source: minimality as in Wang et al. (arXiv 2211.00593), sec. 4, edge by edge.
    """
    graph, names = circuit.graph, circuit.names
    if not names:
        raise CircuitError("a circuit without edges has nothing to take out")
    ends = [Circuit(graph, graph.legal), Circuit(graph, np.zeros_like(graph.legal)), circuit]
    every = [*ends, *(circuit.without(name) for name in names)]
    values = run_circuits(model, pairs, every, metric, ablation=ablation, max_bytes=max_bytes).astype(np.float64)

    def losses(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        means = weights @ values.T / weights.sum(-1, keepdims=True)
        kept = (means[:, 2:] - means[:, 1:2]) / (means[:, :1] - means[:, 1:2])
        return np.concatenate([kept[:, :1], kept[:, :1] - kept[:, 1:]], axis=1)

    value = losses(np.ones((1, len(pairs))))[0]
    several = len(np.unique(pairs.groups)) > 1
    found = cluster_bootstrap(losses, pairs.groups, seed=seed) if several else None
    rows = []
    for i in np.argsort(-np.abs(value[1:]), kind="stable").tolist():
        row: dict[str, Any] = {"edge": names[i], "loss": value[i + 1]}
        if found is not None:
            row |= {"loss_lo": found.low[i + 1], "loss_hi": found.high[i + 1]}
        rows.append({**row, "needed": bool(abs(value[i + 1]) >= needed)})
    n_needed = int((np.abs(value[1:]) >= needed).sum())
    headline = f"{n_needed} of {len(names)} edges are needed: each costs {needed:.0%} of faithfulness or more."
    return Report(
        kind="minimality",
        title=f"Minimality: {model.id}",
        headline=headline,
        rows=rows,
        provenance=model.provenance(prompts=pairs.clean.hash, seed=seed),
        meta={
            "faithfulness": value[0], "needed": n_needed / len(names), "threshold": needed, "ablation": str(ablation),
            "metric": bind(metric, pairs).name, "n_pairs": len(pairs),
        },
    )  # fmt: skip
