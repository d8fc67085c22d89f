"""``Records``: texts that a model may have memorised, their twins, paraphrases, and how often each was seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import EmptyPromptsError, PromptError, PromptTooLongError
from ..prompts import PromptSet, load_prompts
from ..prompts.load import read_table
from ..prompts.promptset import Select
from .recordrows import RECALL_MARK, record_rows

TRAINED, UNTRAINED = "trained", "untrained"
PLANTED = "M"


@dataclass(frozen=True, eq=False, repr=False)
class Records:
    """Records as prompts: one for each record, wording and prefix.

    ``prompts`` has the columns ``record`` (the key), ``pool`` (``M``: the wording that was, or may have been, trained
    on; ``C`` and ``B``: other wordings of the same), ``prefix`` (a number, 0 where there are none), and, where the
    source says so, ``dose`` (planned exposures of a pair, the same for both twins) and ``exposures`` (how often this
    very text was seen). ``labels`` are ``"trained"`` and ``"untrained"``; ``pairs`` join a record with its twin;
    ``groups`` are what is left out whole.

    Marks ``recall_1``, ``recall_2``, ... are tokens whose next token is a detail that cannot be guessed.

    Raises:
        PromptError: prompts without these columns.
    """

    prompts: PromptSet

    def __post_init__(self) -> None:
        lacking = [name for name in ("record", "pool", "prefix") if name not in self.prompts.columns]
        if lacking:
            raise PromptError(f"records need the column {lacking[0]!r}; make them with load_records")

    def __repr__(self) -> str:
        doses = "" if self.doses == (None,) else f", doses {', '.join(map(str, self.doses))}"
        twins = ", with twins" if self.paired else ", trained and untrained" if self.has_twins else ""
        prefixes = f", {self.n_prefixes} prefixes" if self.n_prefixes > 1 else ""
        return f"Records({self.n_records} records in wordings {', '.join(self.pools)}{twins}{doses}{prefixes})"

    # -- what there is ----------------------------------------------------------------------------------------------

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The keys of the records, in order of first appearance."""
        return tuple(dict.fromkeys(self.column("record").tolist()))

    @property
    def n_records(self) -> int:
        """How many records, whatever the wordings and prefixes."""
        return len(self.names)

    @cached_property
    def pools(self) -> tuple[str, ...]:
        """The wordings that occur, of M, C and B."""
        found = set(self.column("pool").tolist())
        return tuple(p for p in ("M", "C", "B") if p in found)

    @property
    def n_prefixes(self) -> int:
        """How many prefixes each text was repeated with; 1 where there are none."""
        return len(np.unique(self.column("prefix")))

    @cached_property
    def doses(self) -> tuple[Any, ...]:
        """The planned exposures that occur, rising; ``(None,)`` where the source does not say."""
        if "dose" not in self.prompts.columns:
            return (None,)
        return tuple(np.unique(self.column("dose")).tolist())

    @cached_property
    def has_twins(self) -> bool:
        """Whether some records were trained on and others were not."""
        labels = self.prompts.labels
        return labels is not None and {TRAINED, UNTRAINED} <= set(labels.tolist())

    @property
    def paired(self) -> bool:
        """Whether trained and untrained records are joined into pairs of twins, one of each."""
        return self.has_twins and self.prompts.pairs is not None

    @cached_property
    def recall_marks(self) -> tuple[str, ...]:
        """Names of the marks before details, in order."""
        found = [name for name in self.prompts.marks if RECALL_MARK.fullmatch(name)]
        return tuple(sorted(found, key=lambda name: int(name.split("_")[1])))

    def column(self, name: str) -> np.ndarray:
        """A column of the prompts.

        Raises:
            PromptError: there is none of that name.
        """
        if name not in self.prompts.columns:
            known = ", ".join(self.prompts.columns)
            raise PromptError(f"these records have no {name!r}; they have: {known}")
        return self.prompts.columns[name]

    # -- parts of it ------------------------------------------------------------------------------------------------

    def select(self, which: Select) -> Records:
        """Some of the prompts, as `PromptSet.select`."""
        return replace(self, prompts=self.prompts.select(which))

    def at_dose(self, dose: Any) -> Records:
        """The records of one dose; ``None`` is all of them.

        Raises:
            PromptError: no record has it.
        """
        if dose is None:
            return self
        if dose not in self.doses:
            raise PromptError(f"no record has dose {dose!r}; doses: {', '.join(map(str, self.doses))}")
        return self.select(self.column("dose") == dose)

    def fit(self, n_ctx: int | None, *, drop_long: bool = False) -> Records:
        """Records of which every row, prefixes included, has at most ``n_ctx`` tokens; ``None`` is no limit.

        Raises:
            PromptTooLongError: a row is longer, in whatever wording or label, and ``drop_long`` is not set.
            EmptyPromptsError: no record is left.

        >>> row = {"text": "anna", "record": "a", "pool": "M", "prefix": 0}
        >>> made = PromptSet.from_tokens([[1, 2], [3]], columns={"record": ["a", "b"], "pool": "MM", "prefix": [0, 0]})
        >>> Records(made).fit(1, drop_long=True).names
        ('b',)
        """
        long = np.zeros(len(self.prompts), bool) if n_ctx is None else self.prompts.lengths > n_ctx
        if not long.any():
            return self
        unit = self.column("record").astype(str) if self.prompts.pairs is None else self.prompts.pairs
        which = "record" if self.prompts.pairs is None else "pair of twins"
        if not drop_long:
            i = int(self.prompts.lengths.argmax())
            raise PromptTooLongError(
                f"{long.sum()} of {len(long)} rows of the records are longer than the model's context of {n_ctx} "
                f"tokens; the longest is {self.prompts.ids[i]!r} with {self.prompts.lengths[i]}. Shorten these texts "
                f"or the prefixes, or leave out every {which} with such a row, in all its wordings: --drop-long in the "
                "shell, records.fit(model.n_ctx, drop_long=True) in Python"
            )
        keep = ~np.isin(unit, unit[long])
        if not keep.any():
            raise EmptyPromptsError(f"every {which} has a row of more than {n_ctx} tokens; none is left")
        left = self.prompts.select(keep)
        plural = "records" if self.prompts.pairs is None else "pairs of twins"
        out = f"{len(np.unique(unit[long]))} of {len(np.unique(unit))} {plural}"
        source = left.source.then(f"left out {out}, for rows of more than {n_ctx} tokens")
        return replace(self, prompts=replace(left, source=source))

    def planted(self) -> PromptSet:
        """One prompt per record: wording M, the first prefix.

        Raises:
            PromptError: a record has no wording M.
        """
        first = self.column("prefix") == self.column("prefix").min()
        keep = (self.column("pool") == PLANTED) & first
        lacking = sorted(set(self.names) - set(self.column("record")[keep].tolist()))
        if lacking:
            raise PromptError(
                f"{len(lacking)} of {self.n_records} records have no wording M, the first {lacking[0]!r}: recall is of "
                "the wording that was trained on"
            )
        return self.prompts.select(keep)

    def twins(self, dose: Any = None) -> PromptSet:
        """Wording M with every prefix, labelled trained or untrained; groups are what to leave out.

        Raises:
            PromptError: the records do not say which were trained on, or there is no such dose.
        """
        part = self.at_dose(dose)
        if not part.has_twins:
            if self.has_twins:
                raise PromptError(
                    f"at dose {dose} all records have one label; 'dose' is how often a pair was meant to be shown, the "
                    "same for the trained and the untrained record ('exposures' is how often each was)"
                )
            raise PromptError("these records have no twins: give each a label, 'trained' or 'untrained'")
        return part.prompts.select(part.column("pool") == PLANTED)

    def contrast(self, first: str, second: str, dose: Any = None, *, trained_only: bool = True) -> PromptSet:
        """Two wordings of the same records, labelled by wording, with every prefix.

        Args:
            first: a wording, such as ``"M"``.
            second: another, such as ``"C"``.
            dose: as for `at_dose`.
            trained_only: leave out the untrained twins, where there are twins.

        Raises:
            PromptError: a wording is missing, or nothing is left.
        """
        for pool in (first, second):
            if pool not in self.pools:
                raise PromptError(f"these records have no wording {pool!r}; they have: {', '.join(self.pools)}")
        part = self.at_dose(dose)
        keep = np.isin(part.column("pool").astype(str), [first, second])
        if trained_only and part.has_twins and part.prompts.labels is not None:
            keep &= part.prompts.labels == TRAINED
        chosen = part.prompts.select(keep)
        return chosen.with_labels(chosen.columns["pool"].astype(str))

    def targets(self, prompts: PromptSet | None = None) -> tuple[np.ndarray, ...]:
        """For each prompt, the positions of its details: the tokens right after the recall marks, rising.

        ``prompts`` are those of `planted` by default. A prompt without recall marks has none.
        """
        chosen = self.planted() if prompts is None else prompts
        if not self.recall_marks:
            return tuple(np.empty(0, np.int64) for _ in range(len(chosen)))
        table = np.stack([chosen.marks[name] for name in self.recall_marks], 1)
        after = table + 1
        there = (table >= 0) & (after < chosen.lengths[:, None])
        return tuple(np.sort(row[keep]) for row, keep in zip(after, there, strict=True))


def load_records(source: Any, tokenizer: Any, *, prefixes: Sequence[str] = (), **fields: str) -> Records:
    """Load records from JSONL, JSON, CSV or a list of rows: one row for each record and wording.

    A row has ``text`` and, as far as known: ``record`` (its key; else ``id``; else each row is a record), ``pool``
    (``M``, ``C`` or ``B``; M if it does not say), ``label`` (``trained`` or ``untrained``), ``pair`` (joins twins),
    ``group`` (what to leave out whole; else the pair, else the record), ``dose`` and ``exposures`` (whole numbers). A
    field that holds ``[start, stop]`` in every row, or null, is a mark: that range of characters (in a text table, the
    cell ``[3, 5]``).

    Args:
        source: a path, a data set, or rows.
        tokenizer: of the model.
        prefixes: neutral texts; every row is repeated with each of them in front. They are repeats of one record, not
            more records, and are left out and permuted together with it.
        fields: other names for the fields: ``text="body"``.

    Raises:
        PromptError: a wording, label or dose that is none of these, a mark that is no range, a record twice in the
            same wording, twins that are not one trained and one untrained record of the same dose.

    >>> from interp import load_model, testbeds
    >>> bed = testbeds.path("memory")
    >>> load_records(bed / "records.jsonl", load_model(bed).tokenizer).at_dose(128)
    Records(128 records in wordings M, C, B, with twins, doses 128)
    """
    table = read_table(source)
    made = record_rows(table, fields, list(prefixes))
    prompts = load_prompts(
        made.rows,
        tokenizer,
        text="text",
        id="id",
        label="label" if made.labelled else False,
        group="group",
        pair="pair" if made.paired else False,
        marks={name: name for name in made.marks},
    )
    _check_twins(prompts)
    return Records(replace(prompts, source=prompts.source.replace(name=table.name, format=table.format)))


def check_records(source: Any, **fields: str) -> None:
    """Read and check every row as `load_records` does, as far as that goes without a tokenizer.

    Raises:
        PromptError: as `load_records`.
    """
    record_rows(read_table(source), fields, [])


def _check_twins(prompts: PromptSet) -> None:
    """A pair is one trained and one untrained record, of one dose and one group."""
    if prompts.pairs is None or prompts.labels is None:
        return
    groups: Iterable[Any] = prompts.groups if prompts.groups is not None else prompts.pairs
    doses = np.asarray(prompts.columns.get("dose", np.zeros(len(prompts), np.int64))).tolist()
    records: dict[str, dict[str, str]] = {}
    about: dict[str, set[Any]] = {}
    names = (np.asarray(values).tolist() for values in (prompts.pairs, prompts.columns["record"], prompts.labels))
    for pair, record, label, group, dose in zip(*names, groups, doses, strict=True):
        if records.setdefault(pair, {}).setdefault(record, label) != label:
            raise PromptError(f"record {record!r} is both trained and untrained; a label is of a record, not a wording")
        about.setdefault(pair, set()).add((str(group), dose))
    for pair, twins in records.items():
        if sorted(twins.values()) != [TRAINED, UNTRAINED]:
            found = ", ".join(f"{record!r} ({label})" for record, label in twins.items())
            lacking = [label for label in (TRAINED, UNTRAINED) if label not in twins.values()]
            missing = f"its {lacking[0]} twin is missing" if len(twins) == 1 else "it needs one of each label"
            raise PromptError(
                f"pair {pair!r} has the record{'s' if len(twins) > 1 else ''} {found}: {missing}; twins are one "
                "trained and one untrained record"
            )
        if len(about[pair]) > 1:
            found = " and ".join(f"{group!r}, dose {dose}" for group, dose in sorted(about[pair], key=str))
            raise PromptError(f"the twins of pair {pair!r} differ in group or dose: {found}")
