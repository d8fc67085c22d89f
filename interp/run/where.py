"""Which tokens: from ``at`` and a prompt set to rows, and from edits to the cells of a padded batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Int

from ..edits import Edit, EditRows
from ..errors import EditError, PromptError
from ..models import Model
from ..models.hooks import Write
from ..models.resolve import Tap
from ..prompts import PromptSet
from ..store import RowIndex

AtSpec = str | Sequence[str]


def mark_positions(prompts: PromptSet, mark: str) -> np.ndarray:
    """Token index of a mark in every prompt.

    Raises:
        PromptError: the mark is unknown, or some prompts lack it (with their ids).
    """
    if mark not in prompts.marks:
        known = ", ".join(repr(m) for m in prompts.marks)
        raise PromptError(f"no mark {mark!r} in these prompts; marks: {known}, or 'all' for every token")
    positions = np.asarray(prompts.marks[mark])
    lacking = np.flatnonzero(positions < 0)
    if len(lacking):
        some = ", ".join(prompts.ids[i] for i in lacking[:3])
        raise PromptError(
            f"{len(lacking)} of {len(prompts)} prompts have no {mark!r} (the first: {some}); "
            "leave them out with prompts.select(...)"
        )
    return positions


def rows_at(prompts: PromptSet, at: AtSpec) -> RowIndex:
    """The rows that ``at`` asks for, in the order of the examples, then positions.

    ``at`` is ``"all"`` (every token of every prompt), a mark, or several marks.
    """
    if at == "all":
        lengths = np.array([len(t) for t in prompts.tokens])
        example = np.repeat(np.arange(len(prompts)), lengths)
        position = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return RowIndex.build(example, position, np.concatenate(prompts.tokens), np.concatenate(prompts.special))
    marks = [at] if isinstance(at, str) else list(at)
    if not marks or "all" in marks or len(set(marks)) != len(marks):
        raise PromptError(f"at={at!r}: 'all', one mark, or several different marks")
    table = np.stack([mark_positions(prompts, m) for m in marks], axis=1)
    order = np.argsort(table, axis=1, kind="stable")
    example = np.repeat(np.arange(len(prompts)), len(marks))
    position = np.take_along_axis(table, order, axis=1).reshape(-1)
    names = np.asarray(marks, dtype=object)[order.reshape(-1)]
    cells = list(zip(example.tolist(), position.tolist(), strict=True))
    token = np.array([prompts.tokens[e][p] for e, p in cells])
    special = np.array([prompts.special[e][p] for e, p in cells])
    return RowIndex.build(example, position, token, special, marks=names)


@dataclass(frozen=True)
class Cells:
    """What each cell of the batch at hand is: the example of each row, the position of each token.

    The position is -1 where edits have no business: on padding, and on texts that have ended. Positions before ``new``
    were there in an earlier pass (generation without a cache), so that they are edited again but not counted again.
    """

    example: Int[torch.Tensor, " batch"]
    pos: Int[torch.Tensor, "batch pos"]
    prompt_length: Int[torch.Tensor, " batch"]
    new: Int[torch.Tensor, " batch"] | None = None


# For each edit, which prompts its condition lets it act on; None for an edit without one. See `gates`.
Opened = Sequence[Bool[torch.Tensor, " example"] | None]


class EditRun:
    """Edits bound to a prompt set: turns them into hook writes and counts the rows that each one changed."""

    def __init__(self, model: Model, prompts: PromptSet, edits: Sequence[Edit], opened: Opened = ()) -> None:
        self.edits = tuple(edits)
        self._opened = opened or (None,) * len(self.edits)
        self.taps: list[Tap] = [model.resolve(e.site) for e in self.edits]
        for edit, tap in zip(self.edits, self.taps, strict=True):
            if edit.width is not None and tap.width and edit.width != tap.width:
                raise EditError(f"{edit}: it is {edit.width} wide, but rows at {edit.site} are {tap.width} wide here")
        self.fired = [0] * len(self.edits)
        self.cells: Cells | None = None
        self._spans = [self._span(prompts, e) for e in self.edits]

    @staticmethod
    def _span(prompts: PromptSet, edit: Edit) -> tuple[torch.Tensor, torch.Tensor] | None:
        if edit.at == "all":
            return None
        first, last = (edit.at, edit.at) if isinstance(edit.at, str) else edit.at
        start, stop = mark_positions(prompts, first), mark_positions(prompts, last)
        wrong = np.flatnonzero(start > stop)
        if len(wrong):
            raise EditError(f"{edit}: {first!r} comes after {last!r} in prompt {prompts.ids[wrong[0]]!r}")
        return torch.from_numpy(start.astype(np.int64)), torch.from_numpy(stop.astype(np.int64))

    def writes(self) -> list[tuple[Tap, Write]]:
        """One hook write per edit; set ``cells`` before each forward pass."""
        return [(tap, partial(self._apply, i)) for i, tap in enumerate(self.taps)]

    def _selected(self, i: int, cells: Cells) -> torch.Tensor:
        edit, span = self.edits[i], self._spans[i]
        chosen = cells.pos >= 0
        if edit.when == "prompt":
            chosen &= cells.pos < cells.prompt_length[:, None]
        elif edit.when == "generated":
            chosen &= cells.pos >= cells.prompt_length[:, None]
        opened = self._opened[i]
        if opened is not None:
            chosen &= opened.to(cells.example.device)[cells.example][:, None]
        if span is not None:
            start, stop = (s.to(cells.example.device)[cells.example][:, None] for s in span)
            chosen &= (cells.pos >= start) & (cells.pos <= stop)
        return chosen

    def _apply(self, i: int, x: torch.Tensor) -> torch.Tensor:
        assert self.cells is not None
        edit, cells = self.edits[i], self.cells
        row, col = self._selected(i, cells).to(x.device).nonzero(as_tuple=True)
        if len(row) == 0:
            return x
        old = x[row, col]
        new = edit.fn(old, EditRows(cells.example.to(x.device)[row], cells.pos.to(x.device)[row, col]))
        if not isinstance(new, torch.Tensor) or new.shape != old.shape:
            returned = tuple(new.shape) if isinstance(new, torch.Tensor) else type(new).__name__
            raise EditError(f"{edit}: the function took rows {tuple(old.shape)} and returned {returned}")
        if cells.new is None:
            self.fired[i] += len(row)
        else:
            self.fired[i] += int((cells.pos >= cells.new[:, None])[row.cpu(), col.cpu()].sum())
        out = x.clone()
        out[row, col] = new.to(x.dtype)
        return out

    def check(self) -> None:
        """Raise unless every edit changed at least one row; one whose condition no prompt met need not."""
        met = [opened is None or bool(opened.any()) for opened in self._opened]
        never = [str(e) for e, n, may in zip(self.edits, self.fired, met, strict=True) if n == 0 and may]
        if never:
            raise EditError(f"never fired: {'; '.join(never)}; look at its `at` and `when`")

    def counts(self) -> dict[str, int]:
        """Rows changed, per edit, keyed by number and name."""
        return {f"{i}: {e}": n for i, (e, n) in enumerate(zip(self.edits, self.fired, strict=True))}

    def conditions(self) -> dict[str, np.ndarray]:
        """For each edit under a condition, keyed as in `counts`: which prompts met it."""
        pairs = enumerate(zip(self.edits, self._opened, strict=True))
        return {f"{i}: {e}": opened.numpy() for i, (e, opened) in pairs if opened is not None}
