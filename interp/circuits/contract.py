"""From node differences and gradients to edge scores: one matrix product per group of targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..run.nodes import TargetGradients
from .graph import Graph

# Columns of the rectangle -> what each source's ablation takes away there, [src, pair, pos, d_model].
Differences = Callable[[slice], Tensor]


@dataclass(frozen=True)
class Chunks:
    """How much is held at once: target heads, and columns of the rectangle."""

    heads: int
    columns: int


@dataclass(frozen=True, eq=False)
class Group:
    """Some targets of one part of a layer: their columns of the graph, and the gradients of what they read."""

    targets: slice
    reach: int
    gradients: Float[Tensor, "target pair pos d_model"]


def target_groups(
    graph: Graph, down: TargetGradients, weights: Float[Tensor, " step"], chunk: int, columns: slice, first: int = 0
) -> Iterator[Group]:
    """Every target from layer ``first`` on, ``chunk`` heads at a time, with gradients summed over the steps' weights.

    A layer's queries, keys and values stand in one group if the chunk takes them all: a matrix product with few columns
    waits for memory. The rows of ``down`` are steps x pairs, a whole copy of the pairs per step.
    """
    for layer in range(first, graph.n_layers):
        start = graph.targets_of(layer, "q").start
        for some in _heads(graph, chunk):
            parts = [_over_steps(down.part(layer, part, heads, columns), weights) for part, heads in some]
            stop = start + sum(len(g) for g in parts)
            yield Group(slice(start, stop), graph.reach[start], parts[0] if len(parts) == 1 else torch.cat(parts))
            start = stop
        mlp = graph.targets_of(layer, "mlp")
        yield Group(mlp, graph.reach[mlp.start], _over_steps(down.part(layer, "mlp", columns=columns), weights))
    last = len(graph.targets) - 1
    yield Group(slice(last, last + 1), graph.reach[last], _over_steps(down.logits(columns), weights))


def _heads(graph: Graph, chunk: int) -> Iterator[list[tuple[str, slice]]]:
    """A layer's queries, keys and values in their order, ``chunk`` heads at a time, by part."""
    every = [(part, head) for part, n in graph.heads.items() for head in range(n)]
    for start in range(0, len(every), chunk):
        own: dict[str, list[int]] = {}
        for part, head in every[start : start + chunk]:
            own.setdefault(part, []).append(head)
        yield [(part, slice(heads[0], heads[-1] + 1)) for part, heads in own.items()]


def _over_steps(g: Tensor, weights: Tensor) -> Tensor:
    if len(weights) == 1:
        return g * weights[0] if float(weights[0]) != 1 else g
    split = g.reshape(len(g), len(weights), -1, *g.shape[2:])
    return torch.einsum("k,nkbpd->nbpd", weights, split)


def contract(
    graph: Graph,
    differences: Differences,
    down: TargetGradients,
    weights: Float[Tensor, " step"],
    chunks: Chunks,
    width: int,
    *,
    sources: slice = slice(None),
    first: int = 0,
) -> Float[Tensor, "pair src dst"]:
    """Score of every edge for every pair: the difference at its source times the gradient at its target.

    ``sources`` and ``first`` limit it to some sources, and to targets from a layer on.
    """
    low, high, _ = sources.indices(len(graph.sources))
    found: Tensor | None = None
    for start in range(0, width, chunks.columns):
        columns = slice(start, min(width, start + chunks.columns))
        delta = differences(columns)  # [src, pair, pos, d_model]
        flat = delta.reshape(*delta.shape[:2], -1).transpose(0, 1)
        if found is None:
            found = delta.new_zeros(delta.shape[1], len(graph.sources), len(graph.targets))
        for group in target_groups(graph, down, weights, chunks.heads, columns, first):
            stop = min(high, group.reach)
            if stop <= low:
                continue
            right = group.gradients.to(flat.dtype).reshape(*group.gradients.shape[:2], -1).permute(1, 2, 0)
            found[:, low:stop, group.targets] += torch.bmm(flat[:, : stop - low], right)
    assert found is not None
    return found


def contract_spans(
    differences: Float[Tensor, "src pair pos d_model"],
    group: Group,
    span: Int[Tensor, "pair pos"],
    n_spans: int,
) -> Float[Tensor, "span reach target"]:
    """Scores of one group of targets by the span that is read, summed over pairs."""
    delta = differences[: group.reach].permute(1, 2, 0, 3).flatten(0, 1)  # [pair pos, src, d_model]
    g = group.gradients.to(delta.dtype).permute(1, 2, 3, 0).flatten(0, 1)
    per_token = torch.bmm(delta, g)
    found = per_token.new_zeros(n_spans, *per_token.shape[1:])
    return found.index_add_(0, span.flatten().to(per_token.device), per_token)
