"""Scores told apart by token spans: where an edge is read, and at which query what was read there is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import CircuitError
from ..run.nodes import TargetGradients, wiring
from ..run.tape import Take
from ..sites import Site
from .batches import PairBatch
from .contract import Differences, contract_spans, target_groups
from .graph import Graph
from .pairs import Pairs

if TYPE_CHECKING:
    from ..models import Model
    from ..models.resolve import Tap


class SpanSums:
    """Sums over pairs of ``[span_src, span_dst, src, dst]``.

    Attention is where one token's stream reaches another's. So the gradient at a key or a value is split by the query
    that attends: each span's share of the gradient of the heads' output is taken back through that layer's attention
    alone. For queries, MLPs and logits both spans are the token's own.
    """

    def __init__(self, model: Model, graph: Graph, names: tuple[str, ...]) -> None:
        if not names or names == ("other",):
            raise CircuitError("by_span=True needs pairs with named spans")
        self._model, self._graph, self.names = model, graph, names
        self._sums = torch.zeros(len(names), len(names), len(graph.sources), len(graph.targets), dtype=torch.float64)

    def cuts(self) -> dict[str, Tap]:
        """What must be cut besides: the heads' outputs."""
        return {f"z.{layer}": self._model.resolve(Site("z", layer)) for layer in range(self._graph.n_layers)}

    def add(
        self, batch: PairBatch, differences: Differences, take: Take, found: dict[str, Tensor],
        weights: Float[Tensor, " step"], chunk: int,
    ) -> None:  # fmt: skip
        """Take one pass with gradients, whose graph is still there."""
        n, delta = len(self.names), differences(slice(None))
        for number in range(n):
            chosen = (batch.span == number) & batch.real
            mask = chosen.repeat(len(weights), 1)[..., None].to(delta)
            own = {name: g * mask for name, g in found.items() if name.split(".")[0] in ("mlp", "logits")}
            for layer in range(self._graph.n_layers):
                into = [name for name in found if name in (f"q.{layer}", f"k.{layer}", f"v.{layer}", f"qkv.{layer}")]
                own |= take.through(f"z.{layer}", into, found[f"z.{layer}"] * mask)
            down = TargetGradients(wiring(self._model), own, take.reads)
            for group in target_groups(self._graph, down, weights, chunk, slice(None)):
                part = contract_spans(delta, group, _span(batch, n), n + 1)[:n]
                self._sums[:, number, : group.reach, group.targets] += part.double().cpu()

    def means(self, pairs: Pairs) -> Float[np.ndarray, "span_src span_dst src dst"]:
        """Means over pairs."""
        return (self._sums / len(pairs)).numpy()


def _span(batch: PairBatch, n: int) -> Int[Tensor, "pair pos"]:
    """The span of each token; padding is in one of its own."""
    return torch.where(batch.real, batch.span, n)
