"""``Contrast``: what an eraser is to make unreadable, as prompts of two classes, and the halves that judge it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray

from ...errors import PromptError, SplitError
from ...prompts import PromptSet
from ...splits import grouped_folds
from ..records import PLANTED, TRAINED, Records

Array = NDArray[Any]
TWINS = "twins"
KINDS = (TWINS, "M-C")
LEAST_GROUPS = 10
"""Five in each half, whose labels can be swapped in 2^5 ways; with four, no p-value is below 1/16."""


@dataclass(frozen=True, eq=False)
class Contrast:
    """Prompts of two classes, with the groups that are left out whole.

    ``kind`` is ``"twins"`` (wording M of trained records against untrained ones) or ``"M-C"`` (two wordings of the same
    records). ``truth`` is true for the class that holds the memory: trained, or the first wording.
    """

    kind: str
    prompts: PromptSet
    truth: Bool[np.ndarray, " prompt"]
    groups: Array

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def n_groups(self) -> int:
        """How many groups: the number of independent things."""
        return len(np.unique(self.groups))

    def select(self, rows: Array) -> Contrast:
        """Some of the prompts."""
        return Contrast(self.kind, self.prompts.select(rows), self.truth[rows], self.groups[rows])

    def halves(self, seed: int) -> tuple[Contrast, Contrast]:
        """Two halves of the groups; each is a contrast of its own.

        Raises:
            SplitError: fewer than ten groups, of which a half has too few to find anything by.
        """
        if self.n_groups < LEAST_GROUPS:
            half = self.n_groups // 2
            raise SplitError(
                f"{self.n_groups} groups are too few: an eraser is fitted on half of them and judged by the other, and "
                f"the labels of {half} groups can be swapped in {2**half} ways, so that no p-value would be below "
                f"{1 / 2**half:.2g} and nothing could be found; give {LEAST_GROUPS} groups or more"
            )
        half = grouped_folds(self.truth, self.groups, 2, seed=seed)
        return self.select(half.test(0)), self.select(half.test(1))

    def planted(self) -> Contrast:
        """Wording M only, with the first prefix: one prompt per record."""
        columns = self.prompts.columns
        first = columns["prefix"] == columns["prefix"].min()
        return self.select(np.flatnonzero(first & (columns["pool"].astype(str) == PLANTED)))

    @cached_property
    def pairs(self) -> NDArray[np.int64]:
        """``[pair, 2]``: rows that are compared, the memory first. A twin with its twin, or a record's two wordings.

        With prefixes, rows of one prefix are paired.

        Raises:
            PromptError: prompts that are not paired one to one.
        """
        column = self.prompts.pairs if self.kind == TWINS else self.prompts.columns["record"]
        if column is None:
            raise PromptError("these records say of no record which is its twin: give them a 'pair', or use M-C")
        found: dict[tuple[Any, Any], list[list[int]]] = {}
        prefix = self.prompts.columns["prefix"]
        for row, key in enumerate(zip(column.tolist(), prefix.tolist(), strict=True)):
            found.setdefault(key, [[], []])[0 if self.truth[row] else 1].append(row)
        wrong = [key[0] for key, (one, other) in found.items() if len(one) != 1 or len(other) != 1]
        if wrong:
            raise PromptError(
                f"{len(wrong)} of {len(found)} pairs are not one prompt of each class, the first {wrong[0]!r}"
            )
        return np.array([[one[0], other[0]] for one, other in found.values()])


def contrast_of(records: Records, kind: str | None = None, dose: Any = None) -> Contrast:
    """The contrast of a kind; by default twins where there are any, else the wordings M and C.

    ``dose`` is by default the highest that occurs.

    Raises:
        PromptError: a kind or dose that the records do not have.

    >>> import json
    >>> from interp import load_model, testbeds
    >>> from interp.memorisation import load_records
    >>> bed = testbeds.path("memory")
    >>> rows = map(json.loads, (bed / "records.jsonl").read_text().splitlines())
    >>> records = load_records([r for r in rows if r["dose"] in (0, 8)], load_model(bed).tokenizer)
    >>> found = contrast_of(records)
    >>> found.kind, len(found), set(found.prompts.columns["dose"].tolist())
    ('twins', 48, {8})
    """
    chosen = kind or (TWINS if records.has_twins else "M-C")
    if chosen not in KINDS:
        raise PromptError(f"a contrast is one of {', '.join(KINDS)}, got {chosen!r}")
    level = records.doses[-1] if dose is None else dose
    if chosen == TWINS:
        prompts = records.twins(level)
        assert prompts.labels is not None
        truth = prompts.labels == TRAINED
    else:
        first, second = chosen.split("-")
        prompts = records.contrast(first, second, level)
        assert prompts.labels is not None
        truth = prompts.labels == first
    groups = prompts.columns["record"] if prompts.groups is None else prompts.groups
    return Contrast(chosen, prompts, np.asarray(truth, bool), np.asarray(groups))


def whole_batches(prompts: PromptSet, numbers_per_token: int, budget: int = 1 << 25) -> list[PromptSet]:
    """The prompts in order, in parts whose tokens times ``numbers_per_token`` fit the budget; at least one each."""
    parts, start, tokens = [], 0, 0
    for i, length in enumerate(prompts.lengths.tolist()):
        if tokens and (tokens + length) * numbers_per_token > budget:
            parts.append(prompts.select(np.arange(start, i)))
            start, tokens = i, 0
        tokens += length
    parts.append(prompts.select(np.arange(start, len(prompts))))
    return parts
