"""``exact``: activation patching, edge by edge or node by node, many at once as rows of one batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import CircuitError
from ..run.experts import ExpertValues
from ..run.nodes import NodeValues, ungrouped, write_taps
from ..run.progress import Progress
from ..run.tape import Tape
from ..sites import Site
from .ablation import check_ablation, make_ablation
from .batches import PairBatch, pair_batches
from .circuit import Circuit
from .constants import AblationLike, Constants
from .graph import Graph
from .metrics import Bound, Metric, bind
from .observe import Observed, observe
from .outcome import Outcome
from .pairs import Pairs
from .plan import plan_rows
from .rows import Change, Streams, put, run_changes
from .scores import EdgeScores, NodeScores, Ranking

if TYPE_CHECKING:
    from ..models import Model
    from ..models.hooks import Write
    from ..models.resolve import Tap


def exact(
    model: Model,
    pairs: Pairs,
    metric: Metric = "logit_diff",
    *,
    edges: Iterable[str] | Circuit | None = None,
    level: Literal["edge", "node"] = "edge",
    ablation: AblationLike = "resample",
    ranking: Ranking = "absolute",
    replicates: int = 200,
    seed: int = 0,
    expand_kv: bool = False,
    experts: bool = False,
    max_bytes: int | None = None,
    progress: bool | None = None,
) -> EdgeScores | NodeScores:
    """Measure how much of the metric is lost when each edge (or node) alone is ablated, by running the model.

    Edges into one layer share a forward pass, a copy of the pairs per edge, and the blocks before that layer are not
    computed again.

    Args:
        edges: names, or a circuit; every edge of the graph by default. The others' scores are NaN.
        expand_kv: with grouped queries, give every query head a key and a value of its own (a circuit's graph says it).
        experts: in mixtures of experts, each expert's weighted output is a source of its own.
        level: ``node`` ablates all that a node writes (input, each head, each MLP).

    Raises:
        CircuitError: an edge that the graph lacks, an unknown metric or ablation.

    Source: activation patching on edges, as in ACDC (Conmy et al., arXiv 2304.14997).

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> pairs = Pairs.from_tokens([[5, 9, 7, 8, 5]], [[5, 8, 7, 9, 5]], answers=[[9]], wrong=[[8]])
    >>> scores = exact(model, pairs, edges=["a1.h0->logits", "a0.h1->logits"], replicates=0)
    >>> round(scores["a1.h0->logits"], 2), abs(scores["a0.h1->logits"]) < 1e-4
    (72.0, True)
    """
    pairs.check(model)
    check_ablation(model, pairs, ablation)
    expand_kv = expand_kv or (isinstance(edges, Circuit) and edges.graph.expand_kv)
    experts = experts or (isinstance(edges, Circuit) and bool(edges.graph.experts))
    graph, bound = Graph.of(model, expand_kv=expand_kv, experts=experts), bind(metric, pairs)
    view = ExpertValues if experts else NodeValues
    if level not in ("edge", "node") or (level == "node" and edges is not None):
        raise CircuitError(f"level={level!r}: 'edge' (all, or those in edges=), or 'node' (all)")
    wanted = _wanted(graph, edges)
    made = model.provenance(prompts=pairs.clean.hash, seed=seed if replicates else None)
    model = ungrouped(model) if graph.expand_kv else model
    plan = plan_rows(model, graph, pairs, max_bytes)
    fill = make_ablation(model, pairs, ablation, n_pairs=plan.pairs, view=view)
    outcome = Outcome(graph, pairs, replicates, seed)
    with Progress(len(pairs), "pair", "exact", progress) as bar:
        for batch in pair_batches(pairs, plan.pairs):
            seen, corrupted = observe(model, batch, view, reads=Streams.taps(model))
            clean = bound(seen.logits, batch.example, seen.logits).float().cpu()
            delta = seen.differences(fill)(slice(None))
            run = _Run(model, graph, batch, seen, bound, delta, plan.rows)
            left = run.nodes() if level == "node" else run.edges(wanted)
            ablated = bound(corrupted, batch.example, seen.logits).float().cpu()
            outcome.add(batch, clean[:, None] - left, clean, ablated)
            bar.advance(len(batch))
    details = {"constants": ablation.about()} if isinstance(ablation, Constants) else {}
    about = outcome.origin("exact", bound.name, str(ablation), {**details, "plan": plan.to_dict()})
    if level == "node":
        return outcome.node_scores("node", about, made, ranking)
    return outcome.edge_scores(about, made, ranking, wanted)


def _wanted(graph: Graph, edges: Iterable[str] | Circuit | None) -> np.ndarray:
    """Mask of the edges to measure."""
    if edges is None:
        return graph.legal.copy()
    circuit = edges if isinstance(edges, Circuit) else Circuit.of(graph, edges)
    if not circuit.n_edges:
        raise CircuitError("there are no edges to measure")
    return circuit.mask.copy()


class _Run:
    """One batch of pairs under many changes; gives the metric left, ``[pair, edge]`` or ``[pair, node]``."""

    def __init__(
        self, model: Model, graph: Graph, batch: PairBatch, seen: Observed, metric: Bound,
        delta: Float[Tensor, "src pair pos d_model"], rows: int,
    ) -> None:  # fmt: skip
        self.model, self.graph, self.batch, self.seen, self.metric, self.delta = (
            model,
            graph,
            batch,
            seen,
            metric,
            delta,
        )
        self.at_once = max(1, rows // len(batch))
        self.streams = Streams.read(seen.streams, graph.n_layers)

    def edges(self, wanted: np.ndarray) -> Float[Tensor, "pair edge"]:
        """The metric with each wanted edge ablated, in the order of the mask's true entries."""
        places = np.argwhere(wanted)
        layer_of = np.array([self.graph.layer_of(t) for t in places[:, 1].tolist()])
        left = torch.empty(len(places), len(self.batch))
        for layer in np.unique(layer_of).tolist():
            own = np.flatnonzero(layer_of == layer)
            for start in range(0, len(own), self.at_once):
                some = own[start : start + self.at_once]
                changes = [Change((t,), -self.delta[s]) for s, t in places[some].tolist()]
                logits = run_changes(self.model, self.graph, self.batch, self.streams, layer, changes)
                left[some] = self._measure(logits)
        return left.T

    def nodes(self) -> Float[Tensor, "pair node"]:
        """The metric with each node ablated."""
        left = []
        for name, tap in write_taps(self.model).items():
            part, _, number = name.partition(".")
            layer = int(number) if number else 0
            delta = self.delta[self.graph.rows_of(part, layer)]
            for start in range(0, len(delta), self.at_once):
                some = delta[start : start + self.at_once]
                writes: list[tuple[Tap, Write]] = [(tap, _minus(some.flatten(0, 1)))]
                if layer:
                    stream = self.streams.pre[layer].repeat(len(some), 1, 1)
                    writes.append((self.model.resolve(Site("resid_pre", layer)), put(stream)))
                with Tape(self.model, writes=writes, start=layer) as tape:
                    logits = tape.play(self.batch.clean.times(len(some))).logits
                left.append(self._measure(logits.unflatten(0, (len(some), -1))))
        return torch.cat(left).T

    def _measure(self, logits: Float[Tensor, "change pair vocab"]) -> Float[Tensor, "change pair"]:
        n = len(logits)
        clean = self.seen.logits.repeat(n, 1) if self.metric.against_clean else None
        value = self.metric(logits.flatten(0, 1), self.batch.example.repeat(n), clean)
        return value.unflatten(0, (n, -1)).float().cpu()


def _minus(difference: Tensor) -> Write:
    return lambda x: x - difference.to(x)
