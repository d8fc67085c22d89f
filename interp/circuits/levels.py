"""Edges, nodes, neurons: where gradients are taken for each, and how they meet what an ablation takes away."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import CircuitError
from ..run.experts import ExpertValues
from ..run.nodes import (
    NeuronValues,
    NodeValues,
    TargetGradients,
    stream_taps,
    target_taps,
    wiring,
    write_taps,
)
from ..sites import Site
from .ablation import Ablation
from .contract import Differences, contract
from .graph import Graph
from .metrics import Bound
from .plan import Plan
from .spans import SpanSums

if TYPE_CHECKING:
    from ..models import Model
    from ..models.resolve import Tap
    from .batches import PairBatch


@dataclass(frozen=True, eq=False)
class Setting:
    """What an attribution is about. ``start`` is the ablation of the input alone, which integrals start from.

    ``spans`` collects scores by span, if they are wanted.
    """

    model: Model
    graph: Graph
    metric: Bound
    ablation: Ablation
    start: Ablation
    plan: Plan
    level: Level
    spans: SpanSums | None = None

    def cuts(self, first: int = 0) -> dict[str, Tap]:
        """Where gradients are taken, for the level and for spans."""
        more = {} if self.spans is None else self.spans.cuts()
        return self.level.cuts(self.model, first) | more


@dataclass(frozen=True, eq=False)
class Slopes:
    """What a pass with gradients gave: rows are steps x pairs, and each step has a weight."""

    gradients: dict[str, Float[Tensor, "row pos _"]]
    reads: dict[str, Float[Tensor, "row pos _"]]
    weights: Float[Tensor, " step"]

    def over_steps(self, name: str) -> Float[Tensor, "pair pos _"]:
        """One gradient, summed over the steps' weights."""
        return torch.einsum("k,kbpd->bpd", self.weights, self.gradients[name].unflatten(0, (len(self.weights), -1)))


class Level(ABC):
    """What is scored. ``view`` are the values that an ablation changes."""

    view: type[NodeValues] = NodeValues

    @abstractmethod
    def cuts(self, model: Model, first: int = 0) -> dict[str, Tap]:
        """Where gradients are taken, from layer ``first`` on."""

    def reads(self, model: Model, first: int = 0) -> dict[str, Tap]:
        """What must be read in the same pass."""
        return {}

    @abstractmethod
    def stage(self, graph: Graph, layer: int, part: str) -> slice:
        """Which sources write at one place of a layer (``attn`` or ``mlp``)."""

    def places(self, model: Model, graph: Graph) -> list[tuple[int, slice, Tap]]:
        """Where sources write, one place after the other: the first layer after it, its sources, and the tap."""
        taps = write_taps(model)
        found = [(0, slice(0, 1), taps["input"])]
        for layer in range(graph.n_layers):
            for part in ("attn", "mlp"):
                found.append((layer, self.stage(graph, layer, part), taps[f"{part}.{layer}"]))
        return found

    def away(
        self, setting: Setting, batch: PairBatch, differences: Differences, sources: slice
    ) -> Float[Tensor, "pair pos width"]:
        """What the ablation of all sources of one place takes away there."""
        return differences(slice(None))[sources].sum(0)

    @abstractmethod
    def meet(
        self, setting: Setting, differences: Differences, slopes: Slopes, sources: slice = slice(None), first: int = 0
    ) -> Float[Tensor, "pair ..."]:
        """Scores of every pair, from the differences of ``sources`` and the gradients from layer ``first`` on."""


class Edges(Level):
    """Every edge: the difference at its source times the gradient of what its target reads."""

    def cuts(self, model: Model, first: int = 0) -> dict[str, Tap]:
        """At the targets' own inputs."""
        return target_taps(model, first)

    def reads(self, model: Model, first: int = 0) -> dict[str, Tap]:
        """The streams that norms see."""
        return stream_taps(model, first)

    def stage(self, graph: Graph, layer: int, part: str) -> slice:
        """Heads, or the MLP."""
        return graph.rows_of(part, layer)

    def meet(
        self, setting: Setting, differences: Differences, slopes: Slopes, sources: slice = slice(None), first: int = 0
    ) -> Float[Tensor, "pair src dst"]:
        """One matrix product per group of targets."""
        down = TargetGradients(wiring(setting.model), slopes.gradients, slopes.reads)
        width = slopes.gradients["logits"].shape[1]
        return contract(
            setting.graph, differences, down, slopes.weights, setting.plan.chunks, width, sources=sources, first=first
        )


class Nodes(Level):
    """Every node that writes: its difference times the gradient of the stream where it writes."""

    def cuts(self, model: Model, first: int = 0) -> dict[str, Tap]:
        """Where nodes write."""
        return {name: tap for name, tap in write_taps(model).items() if _layer(name) >= first}

    def stage(self, graph: Graph, layer: int, part: str) -> slice:
        """Heads, or the MLP."""
        return LEVELS["edge"].stage(graph, layer, part)

    def meet(
        self, setting: Setting, differences: Differences, slopes: Slopes, sources: slice = slice(None), first: int = 0
    ) -> Float[Tensor, "pair src"]:
        """A sum over tokens and dimensions."""
        graph, delta = setting.graph, differences(slice(None))
        found = delta.new_zeros(delta.shape[1], len(graph.sources))
        low, high, _ = sources.indices(len(graph.sources))
        for name in slopes.gradients:
            part, _, layer = name.partition(".")
            rows = slice(0, 1) if part == "input" else self.stage(graph, int(layer), part)
            if low <= rows.start and rows.stop <= high:
                own = delta[rows.start - low : rows.stop - low]
                found[:, rows] = torch.einsum("sbpd,bpd->bs", own, slopes.over_steps(name).to(own.dtype))
        return found


class Neurons(Level):
    """Every MLP neuron: the difference of its activation times the gradient there."""

    view = NeuronValues

    def cuts(self, model: Model, first: int = 0) -> dict[str, Tap]:
        """At the hidden activations that the output matrix reads."""
        taps = NeuronValues.taps(model)
        return {name: tap for name, tap in taps.items() if name != "input" and _layer(name) >= first}

    def places(self, model: Model, graph: Graph) -> list[tuple[int, slice, Tap]]:
        """The hidden activations of each layer."""
        return [(i, slice(i, i + 1), model.resolve(Site("mlp_post", i))) for i in range(graph.n_layers)]

    def stage(self, graph: Graph, layer: int, part: str) -> slice:
        """The layer's neurons, which are one source of `NeuronValues`; attention has none."""
        return slice(layer, layer + (part == "mlp"))

    def meet(
        self, setting: Setting, differences: Differences, slopes: Slopes, sources: slice = slice(None), first: int = 0
    ) -> Float[Tensor, "pair layer d_mlp"]:
        """A sum over tokens."""
        delta = differences(slice(None))
        found = delta.new_zeros(delta.shape[1], setting.graph.n_layers, delta.shape[-1])
        low, high, _ = sources.indices(setting.graph.n_layers)
        for layer in range(low, high):
            found[:, layer] = (delta[layer - low] * slopes.over_steps(f"post.{layer}")).sum(1)
        return found


def _layer(name: str) -> int:
    """The layer of a tap's name; the input belongs to the first."""
    tail = name.split(".")[1:]
    return int(tail[0]) if tail else 0


LEVELS: dict[str, Level] = {"edge": Edges(), "node": Nodes(), "neuron": Neurons()}


def level_of(name: str, experts: bool = False) -> Level:
    """A level by name; ``experts``: of nodes that tell the experts of a mixture apart.

    Raises:
        CircuitError: there is none of this name, or it has no experts.
    """
    if name not in LEVELS:
        raise CircuitError(f"level={name!r}: one of {', '.join(LEVELS)}")
    if not experts:
        return LEVELS[name]
    if LEVELS[name].view is not NodeValues:
        raise CircuitError(f"experts=True is for edges and nodes, not for level {name!r}")
    level = copy(LEVELS[name])
    level.view = ExpertValues
    return level
