"""From pairs to rectangles: clean rows, the corrupted rows that stand against them, and who is real."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ..prompts.batching import token_budget_batches
from ..run.tape import Rectangle
from .pairs import Pairs


@dataclass(frozen=True, eq=False)
class PairBatch:
    """Some pairs as rectangles of the clean prompts' width.

    ``columns`` are the corrupted tokens that stand against the clean ones, ``None`` where all stand against their own
    position. ``span`` numbers the span of each token; both are 0 on padding, which ``real`` tells.
    """

    example: Int[Tensor, " pair"]
    clean: Rectangle
    corrupted: Rectangle
    columns: Int[Tensor, "pair pos"] | None
    real: Bool[Tensor, "pair pos"]
    span: Int[Tensor, "pair pos"]

    def __len__(self) -> int:
        return len(self.example)


def pair_batches(pairs: Pairs, n_pairs: int, max_tokens: int | None = None) -> Iterator[PairBatch]:
    """All pairs, ``n_pairs`` at a time (fewer if their clean rectangle would pass ``max_tokens``), longest first."""
    longest = int(pairs.clean.lengths.max())
    tokens = max(longest, max_tokens or n_pairs * longest)
    for which in token_budget_batches(pairs.clean.lengths, tokens, max_batch=n_pairs):
        yield pair_batch(pairs, which)


def pair_batch(pairs: Pairs, which: np.ndarray) -> PairBatch:
    """The pairs of these numbers."""
    clean = Rectangle.of(pairs.clean, which)
    lengths = torch.from_numpy(pairs.clean.lengths[which])
    columns = None if pairs.even else _padded([pairs.columns[i] for i in which.tolist()], clean.width)
    return PairBatch(
        torch.from_numpy(np.asarray(which, np.int64)),
        clean,
        Rectangle.of(pairs.corrupted, which),
        columns,
        torch.arange(clean.width) < lengths[:, None],
        _padded([pairs.span_of(i) for i in which.tolist()], clean.width),
    )


def _padded(rows: list[np.ndarray], width: int) -> Tensor:
    found = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        found[i, : len(row)] = torch.from_numpy(np.ascontiguousarray(row, dtype=np.int64))
    return found
