"""Circuits run: every target reads the circuit's edges as they are now, and every other edge ablated."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import CircuitError
from ..run.experts import ExpertValues, experts
from ..run.nodes import NodeValues, ungrouped, wiring
from ..run.tape import Tape
from .ablation import check_ablation, make_ablation
from .batches import PairBatch, pair_batches
from .circuit import Circuit
from .constants import AblationLike
from .graph import PARTS, Graph
from .metrics import Bound, Metric, bind
from .observe import observe
from .pairs import Pairs
from .plan import plan_circuits

if TYPE_CHECKING:
    from ..models import Model
    from ..models.hooks import Write
    from ..models.resolve import Tap


def run_circuits(
    model: Model,
    pairs: Pairs,
    circuits: Sequence[Circuit],
    metric: Metric = "logit_diff",
    *,
    ablation: AblationLike = "resample",
    max_bytes: int | None = None,
) -> Float[np.ndarray, "circuit pair"]:
    """The metric of every pair under each circuit, several circuits in one pass.

    A target's input is the sum of what its edges in the circuit carry in this very run, and of the ablated values of
    all others; so a head outside the circuit is not only cut off but sees what it would see.

    Raises:
        CircuitError: no circuits, or circuits of another model's graph.

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> pairs = Pairs.from_tokens([[5, 9, 7, 8, 5]], [[5, 8, 7, 9, 5]], answers=[[9]], wrong=[[8]])
    >>> graph = Graph.of(model)
    >>> empty, full = Circuit.of(graph, []), Circuit(graph, graph.legal)
    >>> run_circuits(model, pairs, [empty, full])[:, 0].round(1).tolist()
    [-36.0, 36.0]
    """
    pairs.check(model)
    check_ablation(model, pairs, ablation)
    if not circuits:
        raise CircuitError("there are no circuits to run")
    graph, bound = graph_like(model, circuits[0].graph), bind(metric, pairs)
    if any(c.graph != graph for c in circuits):
        raise CircuitError(f"a circuit is of another graph than {model.id!r} has; make it with Graph.of(model)")
    model = ungrouped(model) if graph.expand_kv else model
    plan = plan_circuits(model, graph, pairs, max_bytes)
    view = ExpertValues if graph.experts else NodeValues
    fill = make_ablation(model, pairs, ablation, n_pairs=plan.pairs, view=view)
    masks = torch.from_numpy(np.stack([c.mask for c in circuits]))
    found = torch.empty(len(circuits), len(pairs))
    for batch in pair_batches(pairs, plan.pairs):
        seen, _ = observe(model, batch, view)
        ablated = fill.writes(batch, seen.corrupted)
        at_once = max(1, plan.rows // len(batch))
        for start in range(0, len(circuits), at_once):
            some = slice(start, start + at_once)
            value = _Execution(model, graph, batch, ablated, masks[some]).measure(bound, seen.logits)
            found[some, batch.example] = value
    return found.numpy()


def ablated_metric(
    model: Model, graph: Graph, batch: PairBatch, ablated: Float[Tensor, "src pair pos d_model"], masks: Tensor,
    metric: Bound, clean: Float[Tensor, "pair vocab"], *, gradients: bool = False,
) -> Float[Tensor, "circuit pair"]:  # fmt: skip
    """The metric under each mask of edges that are kept, with gradients towards what nodes write when ablated."""
    return _Execution(model, graph, batch, ablated, masks).measure(metric, clean, gradients=gradients)


def graph_like(model: Model, graph: Graph) -> Graph:
    """The model's graph with keys, values and experts told apart as in another."""
    return Graph.of(model, expand_kv=graph.expand_kv, experts=bool(graph.experts))


class _Execution:
    """One pass over circuits x pairs rows; nodes' changes are collected as the pass reaches them."""

    def __init__(
        self, model: Model, graph: Graph, batch: PairBatch, ablated: Float[Tensor, "src pair pos d_model"],
        masks: Tensor,
    ) -> None:  # fmt: skip
        self._model, self._graph, self._batch, self._ablated = model, graph, batch, ablated
        self._masks = masks.to(ablated)
        self._wiring, self._mixtures = wiring(model), experts(model) if graph.experts else ()
        n_src, n_pairs, *rest = ablated.shape
        # What each node writes in this run less what it writes ablated, [circuit, src, pair pos d_model].
        self._changes = ablated.new_zeros(len(masks), n_src, n_pairs * rest[0] * rest[1])
        self._base = _bases(graph, [b.output.constant(ablated[0]) for b in self._wiring.blocks], ablated)

    def measure(
        self, metric: Bound, clean: Float[Tensor, "pair vocab"], *, gradients: bool = False
    ) -> Float[Tensor, "circuit pair"]:
        """Run, and measure each row."""
        n = len(self._masks)
        with Tape(self._model, writes=list(self._writes())) as tape:
            logits = tape.play(self._batch.clean.times(n), gradients=gradients).logits
            value = metric(logits, self._batch.example.repeat(n), clean.repeat(n, 1))
        return value.unflatten(0, (n, -1)).float().cpu()

    def _writes(self) -> list[tuple[Tap, Write]]:
        taps = NodeValues.taps(self._model)
        writes: list[tuple[Tap, Write]] = [(taps["input"], self._input)]
        for layer, block in enumerate(self._wiring.blocks):
            writes += [(block.attention.taps[part], partial(self._part, layer, part)) for part in PARTS]
            writes.append((taps[f"z.{layer}"], partial(self._heads, layer)))
            writes.append((block.mlp.taps["mlp"], partial(self._mlp_in, layer)))
            writes.append((taps[f"mlp.{layer}"], partial(self._mlp_out, layer)))
        return [*writes, (self._wiring.final, self._final)]

    def _note(self, rows: slice, now: Float[Tensor, "node row pos d_model"]) -> None:
        """Keep how far some nodes' writes are from their ablated values."""
        split = now.unflatten(1, (len(self._masks), -1)).transpose(0, 1)  # [circuit, node, pair, pos, d_model]
        self._changes[:, rows] = (split - self._ablated[rows]).flatten(2)

    def _input(self, x: Tensor) -> Tensor:
        self._note(slice(0, 1), x[None])
        return x

    def _heads(self, layer: int, z: Tensor) -> Tensor:
        self._note(self._graph.rows_of("attn", layer), self._wiring.blocks[layer].output.writes(z))
        return z

    def _mlp_out(self, layer: int, x: Tensor) -> Tensor:
        mixture = self._mixtures[layer] if self._mixtures else None
        self._note(self._graph.rows_of("mlp", layer), x[None] if mixture is None else mixture.writes(self._entered))
        return x

    def _stream(self, targets: slice) -> Float[Tensor, "target row pos d_model"]:
        """What some targets of one reach read."""
        reach = self._graph.reach[targets.start]
        mask = self._masks[:, :reach, targets].transpose(1, 2)
        moved = torch.bmm(mask, self._changes[:, :reach]).unflatten(-1, self._ablated.shape[1:])
        return (moved + self._base[reach]).transpose(0, 1).flatten(1, 2)

    def _part(self, layer: int, part: str, x: Tensor) -> Tensor:
        block = self._wiring.blocks[layer]
        normed = block.attention.normed(self._stream(self._graph.targets_of(layer, part)))
        heads = block.projections[part].head(normed)
        return heads.permute(1, 2, 0, 3).flatten(-2).to(x)

    def _mlp_in(self, layer: int, x: Tensor) -> Tensor:
        stream = self._stream(self._graph.targets_of(layer, "mlp"))[0]
        self._entered = self._wiring.blocks[layer].mlp.normed(stream).to(x)
        return self._entered

    def _final(self, x: Tensor) -> Tensor:
        last = len(self._graph.targets) - 1
        return self._stream(slice(last, last + 1))[0].to(x)


def _bases(
    graph: Graph, constants: list[Tensor], ablated: Float[Tensor, "src pair pos d_model"]
) -> dict[int, Float[Tensor, "pair pos d_model"]]:
    """By how many sources come before: the stream with every node ablated, biases of attention included."""
    found, stream, done = {}, torch.zeros_like(ablated[0]), 0
    for reach in sorted(set(graph.reach)):
        stream = stream + ablated[done:reach].sum(0)
        for layer, constant in enumerate(constants):
            # A layer's constant arrives with its heads.
            if done < graph.rows_of("attn", layer).stop <= reach:
                stream = stream + constant
        found[reach], done = stream, reach
    return found
