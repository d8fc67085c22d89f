"""What an ablated node writes instead: the corrupted run's value, nothing, or a mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import CircuitError
from ..run.experts import ExpertValues
from ..run.nodes import InputValues, NodeValues
from ..run.tape import Tape
from .batches import PairBatch, pair_batches
from .constants import AblationLike, Constants
from .pairs import Pairs

if TYPE_CHECKING:
    from ..models import Model

ABLATIONS = {
    "resample": "what the node writes on the corrupted prompt, at the token that stands against this one",
    "zero": "nothing (biases of attention's output stay)",
    "mean": "its mean over all tokens of all corrupted prompts",
    "mean-position": "its mean over the corrupted prompts at the same position",
    "mean-span": "its mean over the corrupted tokens of the same span",
    "optimal": "the constant that leaves the model closest to itself, which `fit_optimal` finds and is given",
}


@dataclass(frozen=True, eq=False)
class Ablation:
    """An ablation made ready for some pairs. ``means`` is ``[group, src, d_model]`` for the means, else ``None``."""

    kind: str
    means: Float[Tensor, "group src width"] | None = None

    def writes(self, batch: PairBatch, corrupted: NodeValues) -> Float[Tensor, "src pair pos width"]:
        """What every node writes when ablated; ``corrupted`` are the node values aligned with the clean tokens."""
        return torch.cat([self._piece(batch, rows, piece, slice(None)) for rows, piece in _placed(corrupted)])

    def differences(
        self, batch: PairBatch, clean: NodeValues, corrupted: NodeValues, columns: slice = slice(None)
    ) -> Float[Tensor, "src pair pos width"]:
        """What its ablation takes away from every node's writes, in single precision at least."""
        found: Tensor | None = None
        pairs = zip(_placed(clean.at(columns)), _placed(corrupted.at(columns)), strict=True)
        for (rows, now), (_, other) in pairs:
            away = now - self._piece(batch, rows, other, columns)
            if found is None:
                kept = torch.promote_types(away.dtype, torch.float32)
                found = away.new_empty(clean.n_nodes, *away.shape[1:], dtype=kept)
            found[rows] = away
        assert found is not None
        return found

    def _piece(self, batch: PairBatch, rows: slice, corrupted: Tensor, columns: slice) -> Tensor:
        """The ablated writes of some nodes."""
        if self.kind == "resample":
            return corrupted
        if self.means is None:
            return torch.zeros_like(corrupted)
        return self.means[:, rows][group_of(self.kind, batch)[:, columns]].permute(2, 0, 1, 3)

    def first(self) -> Ablation:
        """The same for the input alone."""
        return Ablation(self.kind, None if self.means is None else self.means[:, :1])


def _placed(values: NodeValues) -> Iterator[tuple[slice, Tensor]]:
    """The pieces of node values with their rows."""
    start = 0
    for piece in values.pieces():
        yield slice(start, start + len(piece)), piece
        start += len(piece)


def group_of(kind: str, batch: PairBatch) -> Int[Tensor, "pair pos"]:
    """Which mean each token gets: all the same, one per position, or one per span."""
    if kind == "mean-position":
        return torch.arange(batch.clean.width).expand(len(batch), -1)
    return batch.span if kind == "mean-span" else torch.zeros_like(batch.span)


def make_ablation(
    model: Model, pairs: Pairs, kind: AblationLike, *, n_pairs: int = 16, view: type[NodeValues] = NodeValues
) -> Ablation:
    """An ablation by name; for the means, one pass over the corrupted prompts. ``view`` says of what.

    Every node keeps a mean of its own, over every real token, each counted once.

    Raises:
        CircuitError: an unknown kind, or a mean per span or position that the pairs cannot have.
    """
    if isinstance(kind, Constants):
        return _constant(model, kind, view)
    if kind not in ABLATIONS:
        raise CircuitError(f"there is no ablation {kind!r}; there are {', '.join(ABLATIONS)}")
    if kind == "optimal":
        raise CircuitError(
            "ablation 'optimal' has constants that are fitted first, on pairs that nothing is judged on: give "
            "ablation=fit_optimal(model, other_pairs)"
        )
    if not kind.startswith("mean"):
        return Ablation(kind)
    if kind == "mean-span" and not pairs.spans:
        raise CircuitError("ablation 'mean-span' needs pairs with spans; 'mean-position' needs none")
    return Ablation(kind, _means(model, pairs, kind, n_pairs, view))


def _constant(model: Model, constants: Constants, view: type[NodeValues]) -> Ablation:
    if view not in (NodeValues, InputValues, ExpertValues):
        raise CircuitError("optimal constants are those of nodes; neurons have none")
    if view is not InputValues and bool(constants.graph.experts) != (view is ExpertValues):
        raise CircuitError("these constants and this graph do not both tell experts apart, or both not")
    values = constants.values[None].to(device=model.device, dtype=model.dtype)
    return Ablation("optimal", values[:, :1] if view is InputValues else values)


def check_ablation(model: Model, pairs: Pairs, kind: AblationLike) -> None:
    """Raise where constants are another model's, or were fitted on pairs that are now to be judged."""
    if isinstance(kind, Constants):
        kind.check(model, pairs)


def _means(
    model: Model, pairs: Pairs, kind: str, n_pairs: int, view: type[NodeValues]
) -> Float[Tensor, "group src width"]:
    # The corrupted prompts in place of the clean ones: their tokens, their spans.
    mirrored = Pairs(pairs.corrupted, pairs.corrupted, pairs.answers, pairs.wrong, pairs.spans)
    total: Tensor | None = None
    counts = torch.zeros(_n_groups(pairs, kind))
    with Tape(model, reads=view.taps(model)) as tape:
        for batch in pair_batches(mirrored, n_pairs):
            writes = view.read(model, tape.play(batch.clean).reads).writes()
            group = group_of(kind, batch)[batch.real]
            rows = writes[:, batch.real.to(writes.device)].double().transpose(0, 1)  # [token, src, width]
            total = rows.new_zeros(len(counts), *rows.shape[1:]) if total is None else total
            total.index_add_(0, group.to(rows.device), rows)
            counts += torch.bincount(group, minlength=len(counts))
    assert total is not None
    needed = _groups_needed(pairs, kind)
    bare = [g for g in needed if not counts[g]]
    if bare:
        where = f"position {bare[0]}" if kind == "mean-position" else f"span {pairs.span_names[bare[0]]!r}"
        raise CircuitError(f"ablation {kind!r}: no corrupted prompt has a token at {where}, but a clean one has")
    return (total / counts.clamp(min=1).to(total)[:, None, None]).to(model.dtype)


def _n_groups(pairs: Pairs, kind: str) -> int:
    if kind == "mean-position":
        return int(max(pairs.clean.lengths.max(), pairs.corrupted.lengths.max()))
    return len(pairs.spans) + 1 if kind == "mean-span" else 1


def _groups_needed(pairs: Pairs, kind: str) -> list[int]:
    if kind == "mean-position":
        return list(range(int(pairs.clean.lengths.max())))
    if kind == "mean-span":
        return sorted({int(s) for i in range(len(pairs)) for s in pairs.span_of(i)})
    return [0]
