"""Scores of pairs as they come, and what becomes of them: means, intervals, and where they came from."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..provenance import Provenance
from .batches import PairBatch
from .graph import Graph
from .pairs import Pairs
from .resample import Totals
from .scores import EdgeScores, NodeScores, Origin, Ranking
from .spans import SpanSums


class Outcome:
    """Collects per-pair scores ``[pair, score]``, and the metric of each pair with nothing and everything ablated."""

    def __init__(self, graph: Graph, pairs: Pairs, replicates: int, seed: int) -> None:
        self._graph, self._pairs = graph, pairs
        self._totals = Totals(pairs.groups, replicates, seed)
        self._ends = torch.full((2, len(pairs)), torch.nan)

    def add(
        self,
        batch: PairBatch,
        scores: Float[Tensor, "pair score"],
        clean: Float[Tensor, " pair"],
        ablated: Float[Tensor, " pair"],
    ) -> None:
        """Take one batch."""
        self._totals.add(batch.example, scores)
        self._ends[:, batch.example] = torch.stack([clean, ablated]).float().cpu()

    def origin(self, method: str, metric: str, ablation: str, details: dict[str, Any]) -> Origin:
        """How the scores were made; the corrupted run is what ablating everything leaves only token by token."""
        clean, ablated = self._ends.mean(1).tolist()
        whole = ablation == "resample" and self._pairs.even
        details = {**details, "groups": self._totals.n_groups}
        return Origin(method, metric, ablation, clean, ablated if whole else float("nan"), len(self._pairs), details)

    def numbers(self) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray] | None]:
        """Means over pairs, and the ends of their intervals."""
        return self._totals.mean, self._totals.interval()

    def edge_scores(
        self,
        origin: Origin,
        made: Provenance,
        ranking: Ranking,
        measured: Bool[np.ndarray, "src dst"] | None = None,
        spans: SpanSums | None = None,
    ) -> EdgeScores:
        """As edge scores; of ``measured`` edges only, if that is given, NaN at the others."""
        graph, ends = self._graph, self._totals.interval()
        where = graph.legal if measured is None else measured
        lo, hi = (None, None) if ends is None else (_spread(graph, where, e) for e in ends)
        draws = self._totals.draws
        if draws is not None:
            whole = np.full((len(draws), graph.n_edges), np.nan, np.float32)
            whole[:, where[graph.legal]] = draws
            draws = whole
        names, by_span = ((), None) if spans is None else (spans.names, spans.means(self._pairs))
        values = _spread(graph, where, self._totals.mean)
        return EdgeScores(graph, values, origin, made, ranking, lo, hi, draws, names, by_span)

    def node_scores(
        self, level: Literal["node", "neuron"], origin: Origin, made: Provenance, ranking: Ranking
    ) -> NodeScores:
        """As node scores."""
        shape = (len(self._graph.sources),) if level == "node" else (self._graph.n_layers, -1)
        ends = self._totals.interval()
        lo, hi = (None, None) if ends is None else (e.reshape(shape) for e in ends)
        values = self._totals.mean.reshape(shape)
        return NodeScores(self._graph, level, values, origin, made, ranking, lo, hi, self._totals.draws)


def _spread(graph: Graph, where: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """Some edges' numbers as a matrix: NaN at the edges that are not among them, zero where there is no edge."""
    found = np.where(graph.legal, np.nan, 0.0)
    found[where] = flat
    return found
