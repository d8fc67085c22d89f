"""``Extraction``: what a model gives away of each record, as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool

from ...errors import PromptError
from ...metrics import TokenScores
from ...prompts import PromptSet
from ...provenance import Provenance
from ...report import Report
from . import greedy
from .counterfactual import counterfactual
from .split import Split

# What is asked of a metric's numbers. "text" is all tokens of the record that can be predicted, "suffix" those after
# the prefix, "targets" the details right behind the recall marks.
SCOPES = {
    "exact": "suffix",
    "tokens_right": "suffix",
    "targets_right": "targets",
    "strength": "suffix",
    "strength_compat": "suffix",
    "strength_text": "text",
    "similarity": "suffix",
    "similarity_text": "suffix",
    "log_p": "targets",
    "log_p_suffix": "suffix",
    "log_p_text": "text",
    "min_k": "text",
    "min_k_pp": "text",
    "zlib": "text",
    "remind": "text",
}


@dataclass(frozen=True, eq=False, repr=False)
class Extraction:
    """Scores of every record in its planted wording. Higher means more memorised, for all but the ``remind_`` features.

    Attributes:
        prompts: the records, in order.
        scores: of their tokens.
        split: where the prefix ends.
        values: metric -> one number per record. What the metrics are is in `extract` and in
            ``docs/methods/extraction-metrics.md``.
        log_p_at: whether ``log_p`` is over ``"targets"`` or, without recall marks, over the ``"suffix"``.
        written: what greedy decoding wrote after each prefix, where that was asked for.
        provenance: of model and prompts.
        notes: what a reader must know, such as metrics that could not be had.
        edits: the edits that acted, in words, with the rows that each changed.
    """

    prompts: PromptSet
    scores: TokenScores
    split: Split
    values: Mapping[str, np.ndarray]
    log_p_at: str
    provenance: Provenance
    written: tuple[list[int], ...] | None = None
    notes: tuple[str, ...] = ()
    edits: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        frozen = {}
        for name, values in self.values.items():
            array = np.array(values)
            if array.shape != (len(self.prompts),):
                raise PromptError(f"{name} has shape {array.shape}, but there are {len(self.prompts)} records")
            array.setflags(write=False)
            frozen[name] = array
        object.__setattr__(self, "values", frozen)

    def __len__(self) -> int:
        return len(self.prompts)

    def __repr__(self) -> str:
        return repr(self.report)

    def __getitem__(self, metric: str) -> np.ndarray:
        """The values of a metric, one per record.

        Raises:
            PromptError: it was not measured.
        """
        if metric not in self.values:
            raise PromptError(f"{metric!r} was not measured; there are: {', '.join(self.values)}")
        return self.values[metric]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what was measured."""
        return tuple(self.values)

    @property
    def records(self) -> np.ndarray:
        """The record's key in each row."""
        return self.prompts.columns["record"]

    def extractible(self, k: int) -> Bool[np.ndarray, " record"]:
        """Whether greedy decoding writes the rest of each record when it is given the first ``k`` tokens of its text.

        No further pass is needed, whatever ``k`` is.

        Raises:
            PromptError: a record of ``k`` tokens or fewer.
        """
        return greedy.extractible(self.scores.hit, self.split.first, self.split.stop, k)

    def against(self, unseen: Extraction, metric: str = "log_p") -> Extraction:
        """The same with ``counterfactual``: ``metric`` here minus that of a model that has seen none of these records.

        Raises:
            PromptError: the other was measured on other records, another split or other targets.
        """
        same = len(self) == len(unseen) and bool(np.array_equal(self.records, unseen.records))
        same = same and all(
            np.array_equal(a, b) for a, b in zip(self.prompts.tokens, unseen.prompts.tokens, strict=True)
        )
        if not same or not np.array_equal(self.split.start, unseen.split.start) or self.log_p_at != unseen.log_p_at:
            raise PromptError("counterfactual memorisation compares two models on the same records with the same split")
        made = counterfactual(self[metric].astype(float), unseen[metric].astype(float))
        return replace(self, values={**self.values, "counterfactual": made})

    @cached_property
    def report(self) -> Report:
        """One row per record, kind ``"extraction"``."""
        about = _about(self.prompts)
        columns = {**about, **self.values}
        plain = {name: values.tolist() for name, values in columns.items()}
        rows = [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]
        meta: dict[str, Any] = {
            "metrics": list(self.values),
            "split": self.split.rule,
            "suffix_tokens": float(self.split.suffix.mean()),
            "log_p_at": self.log_p_at,
            "unit": "log_p: nats per token",
            "scopes": {
                name: self.log_p_at if name == "log_p" else SCOPES[name] for name in self.values if name in SCOPES
            },
        }
        if self.edits:
            meta["edits"] = dict(self.edits)
        return Report("extraction", "Extraction", self._headline(), rows, self.provenance, self.notes, meta)

    def _headline(self) -> str:
        many = f"{len(self)} record{'s' if len(self) != 1 else ''}"
        if "exact" in self.values:
            found = f"Greedy decoding reproduces {int(self['exact'].sum())} of {many} word for word"
        else:
            found = f"{many} scored"
        given = f"given {self.split.rule}"
        if "log_p" in self.values:
            where = "detail" if self.log_p_at == "targets" else "token of the rest"
            given += f"; mean log p {float(self['log_p'].mean()):.2f} nats per {where}"
        return f"{found}, {given}."


def _about(prompts: PromptSet) -> dict[str, np.ndarray]:
    """What is known about each record; a column that the source does not give is ``None`` throughout."""
    lacking = np.full(len(prompts), None, dtype=object)
    about = {
        "record": prompts.columns["record"],
        "label": lacking if prompts.labels is None else prompts.labels,
        "dose": prompts.columns.get("dose", lacking),
        "group": lacking if prompts.groups is None else prompts.groups,
    }
    if prompts.pairs is not None:
        about["pair"] = prompts.pairs
    if "exposures" in prompts.columns:
        about["exposures"] = prompts.columns["exposures"]
    return about
