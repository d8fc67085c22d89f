"""From prompts to forward passes: which rectangles of tokens to run, and which of their cells are wanted.

A `Pass` is one forward pass. Its wanted cells are given as two parallel index tensors: ``source`` (flat cell of the
rectangle) and ``dest`` (row of the result). A cell may be wanted many times: that is how identical prompts and shared
prefixes, computed once, reach every prompt that has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..prompts.batching import dedupe, pack, pack_rows, pad_batch, token_budget_batches
from ..prompts.prefixes import PrefixGroup, prefix_plan
from .where import Cells


@dataclass(frozen=True, eq=False)
class Pass:
    """One forward pass: inputs, the cells that are wanted, and where they go.

    ``prefix_rows`` is the row of the last kept prefix that each row continues, or ``None``; ``keep`` says that the keys
    and values of this pass are the prefixes of the passes that follow.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor | None
    position_ids: torch.Tensor
    source: torch.Tensor
    dest: torch.Tensor
    cells: Cells
    prefix_rows: torch.Tensor | None = None
    keep: bool = False

    @property
    def real_tokens(self) -> int:
        """Tokens that are not padding."""
        return int((self.cells.pos >= 0).sum())


@dataclass(frozen=True)
class Schedule:
    """How prompts become passes. ``max_tokens`` bounds each rectangle; the rest switch off what must not be shared."""

    max_tokens: int
    side: str = "right"
    share: bool = True
    packed: bool = False
    row_tokens: int = 512  # of a packed row: long ones cost attention quadratically


class Wanted:
    """Wanted (example, position) pairs, grouped by example; ``dest`` is the row each goes to."""

    def __init__(self, example: np.ndarray, position: np.ndarray, n_examples: int) -> None:
        self._order = np.argsort(example, kind="stable")
        self._position = position[self._order].astype(np.int64)
        self._bounds = np.searchsorted(example[self._order], np.arange(n_examples + 1))

    def of(self, example: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions and destination rows of one example."""
        part = slice(self._bounds[example], self._bounds[example + 1])
        return self._position[part], self._order[part]

    def merged(self, which: np.ndarray, n: int) -> Wanted:
        """The same rows, with examples renumbered by ``which`` (identical prompts get one number)."""
        counts = np.diff(self._bounds)
        example = np.repeat(which, counts)
        result = Wanted(example, self._position, n)
        result._order = self._order[result._order]
        return result


def passes(tokens: Sequence[np.ndarray], example: np.ndarray, position: np.ndarray, how: Schedule) -> Iterator[Pass]:
    """The forward passes that give the wanted rows (``example`` and ``position``, one per result row).

    Deterministic: the same arguments give the same passes.
    """
    wanted = Wanted(example, position, len(tokens))
    number = np.arange(len(tokens))
    if not how.share:
        yield from _plain(tokens, number, wanted, how)
        return
    number, which = dedupe(tokens)
    tokens = [tokens[i] for i in number.tolist()]
    wanted = wanted.merged(which, len(tokens))
    if how.packed:
        yield from _packed(tokens, number, wanted, how)
        return
    plan = prefix_plan(tokens)
    for length in sorted({g.length for g in plan.groups}):
        same = [g for g in plan.groups if g.length == length]
        per_pass = max(1, how.max_tokens // length)
        for first in range(0, len(same), per_pass):
            yield from _shared(tokens, number, wanted, same[first : first + per_pass], how)
    yield from _plain([tokens[i] for i in plan.rest.tolist()], number[plan.rest], _Picked(wanted, plan.rest), how)


class _Picked(Wanted):
    """`Wanted`, seen through a choice of examples."""

    def __init__(self, base: Wanted, chosen: np.ndarray) -> None:
        self._base, self._chosen = base, chosen

    def of(self, example: int) -> tuple[np.ndarray, np.ndarray]:
        return self._base.of(int(self._chosen[example]))


def _plain(tokens: Sequence[np.ndarray], number: np.ndarray, wanted: Wanted, how: Schedule) -> Iterator[Pass]:
    for members in token_budget_batches([len(t) for t in tokens], how.max_tokens):
        batch = pad_batch([tokens[i] for i in members], side=how.side)
        starts = batch.start.tolist()
        rows = [(row, starts[row], *wanted.of(i)) for row, i in enumerate(members.tolist())]
        # With right padding and causal attention no real token sees padding, so that no mask is needed.
        mask = batch.attention_mask if how.side == "left" else None
        width = batch.input_ids.shape[1]
        yield _assemble(batch.input_ids, mask, batch.position_ids, rows, width, number[members], batch.attention_mask)


def _packed(tokens: Sequence[np.ndarray], number: np.ndarray, wanted: Wanted, how: Schedule) -> Iterator[Pass]:
    """Several prompts per row; positions that restart tell the model where one ends (no mask is passed)."""
    lengths = [len(t) for t in tokens]
    row_tokens = max(max(lengths), min(how.max_tokens, how.row_tokens))
    rows = pack_rows(lengths, row_tokens)
    per_pass = max(1, how.max_tokens // row_tokens)
    for first in range(0, len(rows), per_pass):
        members = np.concatenate(rows[first : first + per_pass])
        local = {int(m): i for i, m in enumerate(members)}
        plan = [np.array([local[int(m)] for m in row]) for row in rows[first : first + per_pass]]
        batch = pack([tokens[i] for i in members], rows=plan)
        cells = [(int(batch.row[j]), int(batch.start[j]), *wanted.of(i)) for j, i in enumerate(members.tolist())]
        width = batch.input_ids.shape[1]
        heads = number[[row[0] for row in rows[first : first + per_pass]]]  # for edits, which never run on packed rows
        yield _assemble(batch.input_ids, None, batch.position_ids, cells, width, heads, batch.attention_mask)


def _shared(
    tokens: Sequence[np.ndarray], number: np.ndarray, wanted: Wanted, groups: list[PrefixGroup], how: Schedule
) -> Iterator[Pass]:
    """One pass over the groups' prefixes (all of one length), then passes over what follows them."""
    length = groups[0].length
    prefix = pad_batch([g.prefix for g in groups])
    rows = []
    for row, group in enumerate(groups):
        for member in group.members.tolist():
            position, dest = wanted.of(member)
            inside = position < length
            rows.append((row, 0, position[inside], dest[inside]))
    first = np.array([number[g.members[0]] for g in groups])
    yield _assemble(prefix.input_ids, None, prefix.position_ids, rows, length, first, prefix.attention_mask, keep=True)
    members = np.concatenate([g.members for g in groups])
    owner = np.concatenate([np.full(len(g.members), row) for row, g in enumerate(groups)])
    rests = [tokens[m][length:] for m in members]
    # The kept keys and values are copied per row, so that rows count with their prefix against a larger budget.
    cap = max(1, 4 * how.max_tokens // (length + 1))
    for chosen in token_budget_batches([len(r) for r in rests], how.max_tokens, max_batch=cap):
        batch = pad_batch([rests[i] for i in chosen])
        rows = []
        for row, i in enumerate(chosen):
            position, dest = wanted.of(int(members[i]))
            after = position >= length
            rows.append((row, -length, position[after], dest[after]))
        mask = torch.cat([torch.ones(len(chosen), length, dtype=torch.long), batch.attention_mask], dim=1)
        positions = (batch.position_ids + length) * batch.attention_mask
        yield _assemble(
            batch.input_ids, mask, positions, rows, batch.input_ids.shape[1], number[members[chosen]],
            batch.attention_mask, prefix_rows=torch.from_numpy(owner[chosen]),
        )  # fmt: skip


def _assemble(
    input_ids: torch.Tensor,
    mask: torch.Tensor | None,
    position_ids: torch.Tensor,
    rows: list[tuple[int, int, np.ndarray, np.ndarray]],
    width: int,
    example: np.ndarray,
    real: torch.Tensor,
    **more: object,
) -> Pass:
    """A pass from per-prompt (row, column of position 0, positions, destinations)."""
    source = np.concatenate([row * width + start + position for row, start, position, _ in rows])
    dest = np.concatenate([d for *_, d in rows])
    pos = torch.where(real.bool(), position_ids, torch.full_like(position_ids, -1))
    lengths = pos.max(dim=1).values + 1
    cells = Cells(torch.from_numpy(np.asarray(example, dtype=np.int64)), pos, lengths)
    return Pass(input_ids, mask, position_ids, torch.from_numpy(source), torch.from_numpy(dest), cells, **more)  # type: ignore[arg-type]
