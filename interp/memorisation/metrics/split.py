"""``Split``: which tokens of a record the model is given, and which it is asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from ...errors import PromptError
from ...prompts import PromptSet

FIRST_RECALL = "recall_1"


@dataclass(frozen=True, eq=False)
class Split:
    """Positions per record: the text is ``first .. stop - 1``, of which ``start .. stop - 1`` is asked for, the suffix.

    ``first`` is behind a BOS, ``stop`` in front of an EOS: special tokens at the ends belong to no record. ``rule``
    says in words where the suffix begins.
    """

    first: Int[np.ndarray, " record"]
    start: Int[np.ndarray, " record"]
    stop: Int[np.ndarray, " record"]
    rule: str

    @property
    def suffix(self) -> Int[np.ndarray, " record"]:
        """Tokens that are asked for."""
        return self.stop - self.start

    @property
    def text(self) -> Int[np.ndarray, " record"]:
        """Tokens of the text."""
        return self.stop - self.first


def split_records(prompts: PromptSet, prefix: int | str | None = None) -> Split:
    """Where the prefix of each record ends.

    Args:
        prefix: a number of tokens of the text (a BOS is given on top of them); a mark: up to and including its token;
            ``None``: up to the mark ``recall_1`` where a record has it, else half the tokens of the text, rounded up.

    Raises:
        PromptError: a prefix that leaves nothing, records that lack the mark, or a mark that no record has.

    >>> prompts = PromptSet.from_tokens([[1, 7, 8, 9, 6]], special_ids=[1], marks={"recall_1": [3]})
    >>> split_records(prompts).start.tolist(), split_records(prompts, 1).start.tolist()
    ([4], [2])
    >>> split_records(prompts).rule
    'up to the mark recall_1'
    """
    first, stop = _ends(prompts)
    if isinstance(prefix, bool) or not isinstance(prefix, (int, str, type(None))):
        raise PromptError(f"a prefix is a number of tokens or the name of a mark, got {prefix!r}")
    if isinstance(prefix, int):
        start, rule = first + prefix, f"{prefix} tokens of the text"
    elif isinstance(prefix, str):
        start, rule = _marked(prompts, prefix), f"up to the mark {prefix}"
    else:
        half = first + -(-(stop - first) // 2)
        mark = prompts.marks.get(FIRST_RECALL, np.full(len(prompts), -1))
        start = np.where(mark >= 0, mark + 1, half)
        rules = [f"up to the mark {FIRST_RECALL}"] * bool((mark >= 0).any()) + ["half the tokens"] * bool(
            (mark < 0).any()
        )
        rule = ", else ".join(rules)
    # A model predicts nothing from nothing: without a BOS the first token is always given.
    least = np.maximum(first, 1)
    wrong = np.flatnonzero((start < least) | (start >= stop))
    if len(wrong):
        i = int(wrong[0])
        raise PromptError(
            f"{len(wrong)} of {len(prompts)} records cannot be split with {rule}: {prompts.ids[i]!r} has "
            f"{stop[i] - first[i]} tokens of text and would be given {start[i] - first[i]}; at least one must be left"
            f"{'' if first[i] else ', and one given, as no BOS is in front'}: choose another prefix_tokens"
        )
    return Split(first, start, stop, rule)


def _ends(prompts: PromptSet) -> tuple[np.ndarray, np.ndarray]:
    first, stop = np.zeros(len(prompts), np.int64), prompts.lengths.copy()
    for i, special in enumerate(prompts.special):
        text = np.flatnonzero(~special)
        if not len(text):
            raise PromptError(f"record {prompts.ids[i]!r} has special tokens only, and no text; leave it out")
        first[i], stop[i] = text[0], text[-1] + 1
    return first, stop


def _marked(prompts: PromptSet, mark: str) -> np.ndarray:
    if mark not in prompts.marks:
        raise PromptError(f"no record has a mark {mark!r}; marks: {', '.join(prompts.marks)}")
    at = prompts.marks[mark]
    lacking = np.flatnonzero(at < 0)
    if len(lacking):
        raise PromptError(
            f"{len(lacking)} of {len(prompts)} records have no mark {mark!r}, the first {prompts.ids[lacking[0]]!r}; "
            "leave prefix_tokens away to give these half of their tokens"
        )
    return at + 1
