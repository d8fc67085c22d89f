"""What is told apart: twins, or two wordings of the same records, dose by dose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import PromptError
from ...prompts import PromptSet
from ..records import TRAINED, Records

Array = NDArray[Any]

TWINS = "twins"
POSITIVE = {TWINS: TRAINED, "M-C": "M", "C-B": "C"}
"""Contrast -> the label that high scores stand for."""

WORDS = {
    TWINS: "trained and never-seen twins",
    "M-C": "memorised wordings and paraphrases (M, C)",
    "C-B": "two paraphrases (C, B)",
}
UNPAIRED = "trained and untrained records"


def words_of(cell: Mapping[str, Any]) -> str:
    """What a cell's contrast tells apart; records that no pair joins are no twins.

    >>> words_of({"contrast": "twins", "unit": "pairs"}), words_of({"contrast": "twins", "unit": "records"})
    ('trained and never-seen twins', 'trained and untrained records')
    """
    return UNPAIRED if cell["contrast"] == TWINS and cell["unit"] != "pairs" else WORDS[cell["contrast"]]


@dataclass(frozen=True, eq=False)
class Contrast:
    """Prompts of two classes at one dose. ``truth`` is whether a prompt is of the class in `POSITIVE`.

    ``groups`` are left out, resampled and permuted as wholes; ``units`` hold one thing of each class (a pair of twins,
    or the wordings of a record), and are empty text where nothing pairs the classes.
    """

    name: str
    dose: Any
    prompts: PromptSet
    truth: NDArray[np.bool_]
    groups: Array
    units: Array

    @property
    def n_units(self) -> int:
        """Pairs of twins, or records; groups of records where nothing pairs them."""
        return len(np.unique(self.units if self.paired else self.groups))

    @property
    def paired(self) -> bool:
        """Whether units hold one thing of each class."""
        return bool(np.any(self.units != ""))

    @property
    def unit(self) -> str:
        """What a unit is called."""
        if self.paired:
            return "pairs" if self.name == TWINS else "records"
        records = self.prompts.columns.get("record", self.groups)
        return "groups" if len(np.unique(records)) > self.n_units else "records"


def contrasts_of(
    records: Records, names: Sequence[str] | None = None, doses: Sequence[Any] | None = None
) -> list[Contrast]:
    """Every contrast that was asked for, dose by dose.

    By default twins at every dose and wordings at the highest; wordings at every dose where there are no twins.

    Raises:
        PromptError: an unknown name, a dose or wording that is not there, or nothing to tell apart.
    """
    wordings = [name for name in ("M-C", "C-B") if set(name.split("-")) <= set(records.pools)]
    if names is None:
        names = [TWINS, *wordings] if records.has_twins else wordings
        if not names:
            raise PromptError(
                "there is nothing to tell apart: give the records labels (trained, untrained), or a second wording "
                "(pool C) of each"
            )
        top = None if records.has_twins and doses is None else doses
        wanted = {TWINS: doses, "M-C": top, "C-B": top}
        highest = records.doses[-1:] if top is None and records.has_twins else records.doses
    else:
        wanted, highest = dict.fromkeys(names, doses), records.doses
    found = []
    for name in names:
        if name not in POSITIVE:
            raise PromptError(f"no contrast {name!r}; there are: {', '.join(POSITIVE)}")
        given = wanted[name]
        default = records.doses if name == TWINS else highest
        found += [contrast(records, name, dose) for dose in (default if given is None else given)]
    return found


def contrast(records: Records, name: str, dose: Any) -> Contrast:
    """One contrast at one dose; ``None`` is all records.

    Raises:
        PromptError: see `Records.twins` and `Records.contrast`.
    """
    if name == TWINS:
        prompts = records.twins(dose)
        units = prompts.pairs if prompts.pairs is not None else np.full(len(prompts), "")
    else:
        first, second = name.split("-")
        prompts = records.contrast(first, second, dose)
        units = prompts.columns["record"].astype(str)
    assert prompts.labels is not None
    groups = prompts.groups if prompts.groups is not None else prompts.columns["record"].astype(str)
    truth = np.asarray(prompts.labels == POSITIVE[name])
    return Contrast(name, dose, prompts, truth, np.asarray(groups), np.asarray(units))


def together(records: Records, contrasts: Sequence[Contrast]) -> tuple[PromptSet, list[Array]]:
    """The prompts of all contrasts, each once, and the rows of each contrast among them."""
    rows = [np.array([records.prompts.index(name) for name in c.prompts.ids]) for c in contrasts]
    every = np.unique(np.concatenate(rows))
    return records.prompts.select(every), [np.searchsorted(every, r) for r in rows]


def planted_marks(records: Records) -> tuple[str, ...]:
    """Where to read by default: the mean over the recall marks where there are some, else the last token."""
    return ("recall",) if records.recall_marks else ("last",)
