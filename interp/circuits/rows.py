"""Many changes of a run side by side: rows of a batch that differ in what some targets read, from one layer on.

A `Change` says, for one copy of the pairs, which targets read another stream than the clean one, and which. The blocks
before the first changed one are not computed: their clean stream is put in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ..run.nodes import wiring
from ..run.tape import Tape
from ..sites import Site
from .batches import PairBatch
from .graph import PARTS, Graph

if TYPE_CHECKING:
    from ..models import Model
    from ..models.hooks import Write
    from ..models.resolve import Tap


@dataclass(frozen=True, eq=False)
class Streams:
    """The clean residual stream of some pairs: before each block, where its MLP reads, and after the last."""

    pre: tuple[Float[Tensor, "pair pos d_model"], ...]
    mid: tuple[Float[Tensor, "pair pos d_model"], ...]
    last: Float[Tensor, "pair pos d_model"]

    @classmethod
    def taps(cls, model: Model) -> dict[str, Tap]:
        """What must be read for them."""
        found = wiring(model)
        taps = {"stream.last": found.final}
        for layer, block in enumerate(found.blocks):
            taps[f"stream.pre.{layer}"] = model.resolve(block.attention.stream)
            taps[f"stream.mid.{layer}"] = model.resolve(block.mlp.stream)
        return taps

    @classmethod
    def read(cls, reads: dict[str, Tensor], n_layers: int) -> Streams:
        """From what was read at `taps`."""
        pre, mid = (tuple(reads[f"stream.{k}.{i}"] for i in range(n_layers)) for k in ("pre", "mid"))
        return cls(pre, mid, reads["stream.last"])


@dataclass(frozen=True, eq=False)
class Change:
    """In one copy of the pairs, ``targets`` (columns of the graph) of one layer read the clean stream plus ``shift``.

    A layer of ``n_layers`` means the logits.
    """

    targets: tuple[int, ...]
    shift: Float[Tensor, "pair pos d_model"]


@torch.no_grad()
def run_changes(
    model: Model, graph: Graph, batch: PairBatch, streams: Streams, layer: int, changes: Sequence[Change]
) -> Float[Tensor, "change pair vocab"]:
    """Logits of every pair under each change of what targets of one layer read."""
    n, block = len(changes), (wiring(model).blocks[layer] if layer < graph.n_layers else None)
    if block is None:
        shifted = (streams.last + _stacked(changes, streams.last)).flatten(0, 1)
        writes: list[tuple[Tap, Write]] = [(wiring(model).final, put(shifted))]
    else:
        writes = [(model.resolve(Site("resid_pre", layer)), put(streams.pre[layer].repeat(n, 1, 1)))]
        for part in (*PARTS, "mlp"):
            found = _changed(graph, layer, part, changes)
            if found:
                branch = block.mlp if part == "mlp" else block.attention
                stream = (streams.mid if part == "mlp" else streams.pre)[layer]
                normed = branch.normed(stream + _stacked([changes[i] for i, _ in found], stream))
                new = normed if part == "mlp" else block.projections[part](normed)
                heads = 1 if part == "mlp" else block.projections[part].heads
                writes.append((branch.taps[part], _placed(new, found, n, heads)))
    with Tape(model, writes=writes, start=layer) as tape:
        return tape.play(batch.clean.times(n)).logits.unflatten(0, (n, -1))


def _stacked(changes: Sequence[Change], like: Tensor) -> Float[Tensor, "change pair pos d_model"]:
    return torch.stack([c.shift for c in changes]).to(like)


@torch.no_grad()
def run_shifts(
    model: Model,
    graph: Graph,
    batch: PairBatch,
    streams: Streams,
    shifts: dict[tuple[int, str], tuple[list[int], Float[Tensor, "change pair pos d_model"]]],
) -> Float[Tensor, "change pair vocab"]:
    """Logits of every pair when targets of several layers read the clean stream plus a shift each.

    ``shifts`` maps a layer and a part (``q k v mlp``, or ``logits`` of the layer behind the last) to the heads that
    are meant, and to their shift in each change. What a target reads is set, whatever happened before it; the logits
    read the shift on top of what happened.
    """
    n, start = len(next(iter(shifts.values()))[1]), min(layer for layer, _ in shifts)
    writes: list[tuple[Tap, Write]] = []
    if 0 < start < graph.n_layers:
        writes.append((model.resolve(Site("resid_pre", start)), put(streams.pre[start].repeat(n, 1, 1))))
    for (layer, part), (heads, shift) in shifts.items():
        if part == "logits":
            base = streams.last.repeat(n, 1, 1) if start == graph.n_layers else None
            writes.append((wiring(model).final, _plus(shift.flatten(0, 1), base)))
            continue
        block = wiring(model).blocks[layer]
        branch = block.mlp if part == "mlp" else block.attention
        stream = (streams.mid if part == "mlp" else streams.pre)[layer]
        normed = branch.normed(stream + shift.to(stream))
        new = normed if part == "mlp" else block.projections[part](normed)
        width = 1 if part == "mlp" else block.projections[part].heads
        writes.append((branch.taps[part], _placed(new, [(i, heads) for i in range(n)], n, width)))
    with Tape(model, writes=writes, start=start) as tape:
        return tape.play(batch.clean.times(n)).logits.unflatten(0, (n, -1))


def _plus(shift: Tensor, base: Tensor | None) -> Write:
    return lambda x: (x if base is None else base.to(x)) + shift.to(x)


def _changed(graph: Graph, layer: int, part: str, changes: Sequence[Change]) -> list[tuple[int, list[int]]]:
    """Which changes touch a part of the layer, and which of its heads."""
    columns = graph.targets_of(layer, part)
    found = []
    for i, change in enumerate(changes):
        heads = [t - columns.start for t in change.targets if columns.start <= t < columns.stop]
        if heads:
            found.append((i, heads))
    return found


def _placed(new: Float[Tensor, "found pair pos width"], found: list, n: int, heads: int) -> Write:
    """Each change's heads from its own rows of ``new``, everything else as it is."""
    where = torch.tensor([i for i, _ in found])
    mask = torch.zeros(len(found), heads, dtype=torch.bool)
    for k, (_, own) in enumerate(found):
        mask[k, own] = True

    def write(x: Tensor) -> Tensor:
        rows = x.clone().unflatten(0, (n, -1)).unflatten(-1, (heads, -1))
        at = where.to(x.device)
        chosen = mask.to(x.device)[:, None, None, :, None]
        rows[at] = torch.where(chosen, new.unflatten(-1, (heads, -1)).to(x), rows[at])
        return rows.flatten(-2).flatten(0, 1)

    return write


def put(value: Tensor) -> Write:
    """A write that puts ``value`` in the place of whatever there is."""
    return lambda x: value.to(x)
