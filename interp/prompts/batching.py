"""From ragged token sequences to rectangles: token-budget batches, padding, packing, de-duplication.

Nothing here looks at a token's value: masks come from lengths, and positions come from masks, so that a padding id
which is also a real token (pad == eos) changes nothing.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ..errors import EmptyPromptsError, PromptError, PromptTooLongError


@dataclass(frozen=True)
class Batch:
    """One padded rectangle of prompts.

    ``position_ids`` are 0 on padding and count real tokens from 0, whichever side is padded. ``start`` is the column
    of each prompt's first token, so that token index ``i`` of the unpadded prompt sits in column ``start + i``.
    """

    input_ids: Int[Tensor, "example pos"]
    attention_mask: Int[Tensor, "example pos"]
    position_ids: Int[Tensor, "example pos"]
    start: Int[Tensor, " example"]
    lengths: Int[Tensor, " example"]
    side: str

    def __len__(self) -> int:
        return self.input_ids.shape[0]

    @property
    def n_tokens(self) -> int:
        """Real tokens, without padding."""
        return int(self.lengths.sum())


@dataclass(frozen=True)
class PackedBatch:
    """Several prompts per row, one after the other; prompt ``i`` starts at ``(row[i], start[i])``.

    ``position_ids`` restart at 0 with each prompt; ``segment_ids`` name the prompt that a token belongs to (-1 on
    padding). A model run on this must see the block-diagonal `block_mask`, or prompts see each other.
    """

    input_ids: Int[Tensor, "row pos"]
    attention_mask: Int[Tensor, "row pos"]
    position_ids: Int[Tensor, "row pos"]
    segment_ids: Int[Tensor, "row pos"]
    row: Int[Tensor, " example"]
    start: Int[Tensor, " example"]
    lengths: Int[Tensor, " example"]

    def __len__(self) -> int:
        return self.input_ids.shape[0]

    @property
    def fill(self) -> float:
        """Share of the rectangle that holds real tokens."""
        return float(self.lengths.sum()) / self.input_ids.numel()

    def block_mask(self) -> Bool[Tensor, "row 1 pos pos"]:
        """Who may attend to whom (``[row, 1, query, key]``): same prompt, not later. Padding sees only itself."""
        same = self.segment_ids[:, :, None] == self.segment_ids[:, None, :]
        real = self.attention_mask.bool()[:, :, None]
        size = self.input_ids.shape[1]
        causal = torch.ones(size, size, dtype=torch.bool).tril()
        alone = torch.eye(size, dtype=torch.bool)
        return ((same & causal & real) | alone)[:, None]


def token_budget_batches(
    lengths: Sequence[int] | np.ndarray,
    max_tokens: int,
    *,
    max_batch: int | None = None,
    order: str = "descending",
    window: int | None = None,
) -> list[np.ndarray]:
    """Group prompts of similar length so that each padded rectangle holds at most ``max_tokens`` tokens.

    ``order`` is 'descending' (the longest batch comes first, so that a budget too large fails at once) or 'ascending'.
    A prompt that alone exceeds the budget gets a batch of its own. With ``window``, only that many consecutive prompts
    are sorted together (rows then come back nearly in input order). Equal lengths keep their input order.

    Returns:
        Index arrays; every index of ``lengths`` is in exactly one.

    Raises:
        PromptError: a length below 1, or a budget, batch size or window below 1.

    >>> [b.tolist() for b in token_budget_batches([3, 9, 2, 4], max_tokens=9)]
    [[1], [3, 0], [2]]
    """
    sizes = _lengths(lengths)
    for name, value in (("max_tokens", max_tokens), ("max_batch", max_batch), ("window", window)):
        if value is not None and value < 1:
            raise PromptError(f"{name} must be at least 1, got {value}")
    if order not in ("descending", "ascending"):
        raise PromptError(f"order must be 'descending' or 'ascending', got {order!r}")
    cap = max_batch or max(len(sizes), 1)
    step = window or max(len(sizes), 1)
    batches: list[np.ndarray] = []
    for first in range(0, len(sizes), step):
        part = sizes[first : first + step]
        longest_first = np.argsort(-part, kind="stable")
        some: list[np.ndarray] = []
        at = 0
        while at < len(part):
            count = min(cap, max(1, max_tokens // int(part[longest_first[at]])))
            some.append(longest_first[at : at + count] + first)
            at += count
        batches += some if order == "descending" else [b[::-1].copy() for b in some[::-1]]
    return batches


def pad_batch(tokens: Sequence[np.ndarray], *, pad_id: int = 0, side: str = "right") -> Batch:
    """Pad prompts to one rectangle on ``side`` ('right' or 'left'), with the mask and positions that belong to it.

    Raises:
        EmptyPromptsError: no prompts.
        PromptError: a prompt without tokens, or an unknown side.

    >>> batch = pad_batch([np.array([5, 6, 7]), np.array([8])], side="left")
    >>> batch.input_ids.tolist(), batch.position_ids.tolist(), batch.start.tolist()
    ([[5, 6, 7], [0, 0, 8]], [[0, 1, 2], [0, 0, 0]], [0, 2])
    """
    if side not in ("right", "left"):
        raise PromptError(f"padding side must be 'right' or 'left', got {side!r}")
    if not len(tokens):
        raise EmptyPromptsError("cannot pad a batch of no prompts")
    lengths = _lengths([len(t) for t in tokens])
    width = int(lengths.max())
    start = np.zeros_like(lengths) if side == "right" else width - lengths
    column = np.arange(width)
    mask = (column >= start[:, None]) & (column < (start + lengths)[:, None])
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = np.concatenate(tokens)
    attention = torch.from_numpy(mask.astype(np.int64))
    return Batch(
        input_ids=torch.from_numpy(ids),
        attention_mask=attention,
        position_ids=positions_from_mask(attention),
        start=torch.from_numpy(start),
        lengths=torch.from_numpy(lengths),
        side=side,
    )


def positions_from_mask(attention_mask: Int[Tensor, "example pos"]) -> Int[Tensor, "example pos"]:
    """Position of each real token among the real tokens of its row; 0 on padding.

    >>> positions_from_mask(torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]])).tolist()
    [[0, 0, 0, 1], [0, 1, 2, 0]]
    """
    return (attention_mask.cumsum(dim=1) - 1) * attention_mask


def pack_rows(lengths: Sequence[int] | np.ndarray, row_tokens: int) -> list[np.ndarray]:
    """Which prompts share a row of ``row_tokens`` tokens: best fit, longest first, deterministic.

    Raises:
        PromptTooLongError: a prompt that does not fit a row, with its index.

    >>> [r.tolist() for r in pack_rows([5, 3, 8, 2], row_tokens=8)]
    [[2], [0, 1], [3]]
    """
    sizes = _lengths(lengths)
    too_long = np.flatnonzero(sizes > row_tokens)
    if len(too_long):
        i = int(too_long[0])
        raise PromptTooLongError(f"prompt {i} has {sizes[i]} tokens, more than a packed row of {row_tokens}")
    rows: list[list[int]] = []
    free: list[tuple[int, int]] = []  # (room left, row), sorted
    for i in np.argsort(-sizes, kind="stable").tolist():
        size = int(sizes[i])
        at = bisect_left(free, (size, -1))
        if at < len(free):
            room, row = free.pop(at)
            rows[row].append(i)
        else:
            room, row = row_tokens, len(rows)
            rows.append([i])
        if room > size:
            insort(free, (room - size, row))
    return [np.array(r, dtype=np.int64) for r in rows]


def pack(
    tokens: Sequence[np.ndarray],
    row_tokens: int | None = None,
    *,
    rows: Sequence[np.ndarray] | None = None,
    pad_id: int = 0,
) -> PackedBatch:
    """Put several prompts in each row; give either ``row_tokens`` or the ``rows`` that `pack_rows` planned.

    Raises:
        PromptError: both or neither of ``row_tokens`` and ``rows``, or rows that do not hold every prompt once.

    >>> packed = pack([np.array([5, 6]), np.array([7, 8, 9]), np.array([4])], row_tokens=5)
    >>> packed.input_ids.tolist(), packed.position_ids.tolist()
    ([[7, 8, 9, 5, 6], [4, 0, 0, 0, 0]], [[0, 1, 2, 0, 1], [0, 0, 0, 0, 0]])
    """
    if not len(tokens):
        raise EmptyPromptsError("cannot pack no prompts")
    if (row_tokens is None) == (rows is None):
        raise PromptError("give pack either row_tokens or rows, not both and not neither")
    lengths = _lengths([len(t) for t in tokens])
    plan = rows if rows is not None else pack_rows(lengths, int(row_tokens or 0))
    order = np.concatenate(plan)
    if len(order) != len(lengths) or not np.array_equal(np.sort(order), np.arange(len(lengths))):
        raise PromptError(f"rows must hold each of the {len(lengths)} prompts exactly once")
    row = np.empty_like(lengths)
    start = np.empty_like(lengths)
    for r, members in enumerate(plan):
        row[members] = r
        start[members] = np.cumsum(lengths[members]) - lengths[members]
    shape = (len(plan), int((start + lengths).max()))
    ids = np.full(shape, pad_id, dtype=np.int64)
    segment = np.full(shape, -1, dtype=np.int64)
    position = np.zeros(shape, dtype=np.int64)
    within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    where = (np.repeat(row, lengths), np.repeat(start, lengths) + within)
    ids[where] = np.concatenate(tokens)
    segment[where] = np.repeat(np.arange(len(lengths)), lengths)
    position[where] = within
    return PackedBatch(
        input_ids=torch.from_numpy(ids),
        attention_mask=torch.from_numpy((segment >= 0).astype(np.int64)),
        position_ids=torch.from_numpy(position),
        segment_ids=torch.from_numpy(segment),
        row=torch.from_numpy(row),
        start=torch.from_numpy(start),
        lengths=torch.from_numpy(lengths),
    )


def dedupe(tokens: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """First index of each distinct sequence, and for every sequence which of them it is.

    >>> first, which = dedupe([np.array([1, 2]), np.array([3]), np.array([1, 2])])
    >>> first.tolist(), which.tolist()
    ([0, 1], [0, 1, 0])
    """
    seen: dict[bytes, int] = {}
    first: list[int] = []
    which = np.empty(len(tokens), dtype=np.int64)
    for i, sequence in enumerate(tokens):
        key = np.ascontiguousarray(sequence, dtype=np.int64).tobytes()
        k = seen.setdefault(key, len(first))
        if k == len(first):
            first.append(i)
        which[i] = k
    return np.array(first, dtype=np.int64), which


def _lengths(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    sizes = np.asarray(lengths)
    if sizes.ndim != 1 or (sizes.size and sizes.dtype.kind not in "iu"):
        raise PromptError(f"lengths must be a flat array of integers, got {sizes.dtype} with shape {sizes.shape}")
    sizes = sizes.astype(np.int64)
    if sizes.size and sizes.min() < 1:
        raise PromptError(f"prompt {int(sizes.argmin())} has {sizes.min()} tokens; a prompt needs at least one")
    return sizes
