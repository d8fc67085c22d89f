"""What the clean and the corrupted run of some pairs compute, and gradients along the way between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ..run.nodes import InputValues, NodeValues
from ..run.tape import Take, Tape
from ..sites import Site
from .ablation import Ablation
from .batches import PairBatch
from .contract import Differences
from .metrics import Bound
from .steps import Points

if TYPE_CHECKING:
    from ..models import Model
    from ..models.hooks import Write
    from ..models.resolve import Tap


@dataclass(frozen=True, eq=False)
class Observed:
    """Node values of some pairs, clean, and corrupted at the token that stands against each clean one.

    ``logits`` are those of the clean run; ``streams`` what else was read of it.
    """

    batch: PairBatch
    clean: NodeValues
    corrupted: NodeValues
    logits: Float[Tensor, "pair vocab"]
    streams: dict[str, Tensor]

    def input_difference(self, start: Ablation) -> Float[Tensor, "pair pos d_model"]:
        """What the input's own ablation takes away."""
        clean, corrupted = (InputValues(v.wiring, {"input": v.values["input"]}) for v in (self.clean, self.corrupted))
        return (clean.writes() - start.writes(self.batch, corrupted))[0]

    def differences(self, ablation: Ablation) -> Differences:
        """What each source's ablation takes away, some columns at a time; the last ones asked for are kept."""
        known: dict[tuple[int, int], Tensor] = {}

        def of(columns: slice) -> Float[Tensor, "src pair pos width"]:
            key = (columns.start or 0, columns.stop or self.batch.clean.width)
            if key not in known:
                known.clear()
                known[key] = ablation.differences(self.batch, self.clean, self.corrupted, columns)
            return known[key]

        return of


def observe(
    model: Model, batch: PairBatch, view: type[NodeValues] = NodeValues, reads: Mapping[str, Tap] | None = None
) -> tuple[Observed, Float[Tensor, "pair vocab"]]:
    """Clean and corrupted rows in one pass without gradients, and the corrupted logits.

    ``reads`` are read of the clean rows besides.
    """
    n = len(batch)
    with Tape(model, reads=view.taps(model) | dict(reads or {})) as tape:
        take = tape.play(batch.clean.below(batch.corrupted))
    width = batch.clean.width
    kept = {name: x[:n, :width] for name, x in take.reads.items()}
    values = view.read(model, take.reads)
    own, other = values.take(slice(0, n)).at(slice(0, width)), _against(values.take(slice(n, None)), batch)
    return Observed(batch, own, other, take.logits[:n], {name: kept[name] for name in reads or {}}), take.logits[n:]


def observe_corrupted(model: Model, batch: PairBatch, view: type[NodeValues] = NodeValues) -> tuple[NodeValues, Tensor]:
    """The corrupted rows alone, aligned with the clean tokens, and their logits."""
    with Tape(model, reads=view.taps(model)) as tape:
        take = tape.play(batch.corrupted)
    return _against(view.read(model, take.reads), batch), take.logits


def patterns(model: Model, batch: PairBatch) -> dict[int, Float[Tensor, "pair head query key"]]:
    """Attention probabilities of the corrupted run, by layer."""
    taps = {str(layer): model.resolve(Site("pattern", layer)) for layer in range(model.n_layers)}
    with Tape(model, reads=taps) as tape:
        take = tape.play(batch.corrupted)
    heads = model.sizes.n_heads
    return {int(name): x.unflatten(-1, (heads, -1)).transpose(1, 2) for name, x in take.reads.items()}


def _against(corrupted: NodeValues, batch: PairBatch) -> NodeValues:
    if batch.columns is not None:
        return corrupted.aligned(batch.columns)
    return corrupted.at(slice(0, batch.clean.width))


def less(difference: Float[Tensor, "pair pos d_model"], alphas: Sequence[float]) -> Write:
    """A write that goes from the value at hand (1) towards the ablated one (0): ``x - (1 - alpha) difference``.

    The rows are one whole copy of the pairs per alpha.
    """
    away = torch.tensor([1 - a for a in alphas], dtype=difference.dtype, device=difference.device)
    return lambda x: x - (away[:, None, None, None] * difference).flatten(0, 1).to(x)


def gradient_pass(
    model: Model,
    batch: PairBatch,
    metric: Bound,
    cuts: Mapping[str, Tap],
    points: Points,
    *,
    clean: Float[Tensor, "pair vocab"] | None = None,
    writes: Sequence[tuple[Tap, Write]] = (),
    reads: Mapping[str, Tap] | None = None,
    start: int = 0,
    secants: Mapping[int, Tensor | None] | None = None,
    keep: bool = False,
) -> tuple[Take, dict[str, Tensor], Float[Tensor, "step pair"]]:
    """One pass with gradients, a copy of the clean rows per point: what was read, the gradients, and the metric.

    ``keep`` keeps the pass's graph for `Take.through`.
    """
    n = len(points)
    with Tape(model, reads=reads, cuts=cuts, writes=writes, start=start, secants=secants) as tape:
        take = tape.play(batch.clean.times(n), gradients=True)
        value = metric(take.logits, batch.example.repeat(n), None if clean is None else clean.repeat(n, 1))
        found = take.gradients(value, keep=keep)
    if not keep:
        take = Take(take.logits.detach(), take.reads, {})
    return take, found, value.detach().reshape(n, -1)
