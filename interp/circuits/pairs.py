"""``Pairs``: clean and corrupted prompts, token against token, with the answers that a metric reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from ..errors import CircuitError
from ..prompts import PromptSet
from ..run.job import check_inputs

if TYPE_CHECKING:
    from ..models import Model

OTHER = "other"


@dataclass(frozen=True, eq=False, repr=False)
class Pairs:
    """Clean prompts, each with its corrupted twin and its right and wrong answer tokens.

    Attributes:
        clean, corrupted: as many prompts each, in the same order. Where the two of a pair differ in length, named
            spans of the prompt sets (``spans``) must say what corresponds to what.
        answers, wrong: token ids per pair; ``wrong`` may be empty.
        spans: names of the spans that scores are told apart by, in order.

    Raises:
        CircuitError: sizes that do not agree, a pair of unequal lengths without spans, a token that no span maps, a
            pair without an answer, or an answer that is right and wrong.

    >>> pairs = Pairs.from_tokens([[5, 9, 7]], [[5, 8, 7]], answers=[[3]], wrong=[[4]])
    >>> pairs
    Pairs(1 pair, 3 tokens each, 1 of them corrupted on average; answers: 1 right, 1 wrong)
    """

    clean: PromptSet
    corrupted: PromptSet
    answers: tuple[Int[np.ndarray, " _"], ...]
    wrong: tuple[Int[np.ndarray, " _"], ...]
    spans: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.clean)
        sizes = {"corrupted prompts": self.corrupted, "answers": self.answers, "wrong answers": self.wrong}
        for what, values in sizes.items():
            if len(values) != n:
                raise CircuitError(f"{len(values)} {what} for {n} clean prompts")
        for name, right, wrong in zip(self.clean.ids, self.answers, self.wrong, strict=True):
            if not len(right):
                raise CircuitError(f"pair {name!r} has no answer token")
            both = np.intersect1d(right, wrong)
            if len(both):
                raise CircuitError(f"pair {name!r}: token {both[0]} is a right and a wrong answer")
        for name in self.spans:
            if name not in self.clean.spans or name not in self.corrupted.spans:
                raise CircuitError(f"span {name!r} is not in both the clean and the corrupted prompts")
        _ = self.columns  # raises where a pair cannot be aligned

    @classmethod
    def from_tokens(
        cls,
        clean: Sequence[Sequence[int]],
        corrupted: Sequence[Sequence[int]],
        *,
        answers: Sequence[Any],
        wrong: Sequence[Any] | None = None,
        groups: Sequence[str] | None = None,
        spans: dict[str, tuple[Any, Any]] | None = None,
    ) -> Pairs:
        """From token ids; ``spans`` maps a name to the half-open ranges ``[pair, 2]`` in clean and in corrupted."""
        sets = [PromptSet.from_tokens(tokens, groups=groups) for tokens in (clean, corrupted)]
        for side in (0, 1):
            marked = {name: np.asarray(ranges[side]) for name, ranges in (spans or {}).items()}
            sets[side] = replace(sets[side], spans=marked)
        none: list[Any] = [[] for _ in answers]
        foils = none if wrong is None else wrong
        return cls(sets[0], sets[1], token_lists(answers), token_lists(foils), tuple(spans or {}))

    def __len__(self) -> int:
        return len(self.clean)

    def __repr__(self) -> str:
        n, low, high = len(self), self.clean.lengths.min(), self.clean.lengths.max()
        differ = np.mean([
            (a != b[c]).sum()
            for a, b, c in zip(self.clean.tokens, self.corrupted.tokens, self.columns, strict=True)
        ])  # fmt: skip
        right, wrong = (np.mean([len(a) for a in answers]) for answers in (self.answers, self.wrong))
        length = f"{low} tokens each" if low == high else f"{low}-{high} tokens"
        text = f"{n} pair{'s' * (n != 1)}, {length}, {differ:.3g} of them corrupted on average"
        text += f"; answers: {right:.3g} right, {wrong:.3g} wrong"
        if self.spans:
            text += f"; spans: {', '.join(self.spans)}"
        return f"Pairs({'; '.join([text, *self.notes])})"

    @property
    def groups(self) -> np.ndarray:
        """Which pairs are not independent of each other; each by itself where nothing is known."""
        return np.asarray(self.clean.ids if self.clean.groups is None else self.clean.groups)

    def select(self, which: Sequence[int] | np.ndarray | slice) -> Pairs:
        """Some of the pairs."""
        index = np.arange(len(self))[which]
        return replace(
            self,
            clean=self.clean.select(which),
            corrupted=self.corrupted.select(which),
            answers=tuple(self.answers[i] for i in index),
            wrong=tuple(self.wrong[i] for i in index),
        )

    def check(self, model: Model) -> None:
        """Raise unless the model has every token, the prompts fit it, and its vocabulary has every answer."""
        for prompts in (self.clean, self.corrupted):
            check_inputs(model, prompts, None, "right")
            if model.n_ctx is not None:
                prompts.check_fits(model.n_ctx)
        top = max(int(a.max()) for a in (*self.answers, *self.wrong) if len(a))
        if top >= model.sizes.d_vocab:
            raise CircuitError(
                f"an answer is token {top}, but the model's vocabulary has {model.sizes.d_vocab}; are the ids those of "
                "another model?"
            )

    @cached_property
    def columns(self) -> tuple[Int[np.ndarray, " pos"], ...]:
        """For each clean token, the corrupted token that stands against it.

        Inside a span tokens are matched from the end; if the corrupted span is the shorter one, its first token
        stands against all that are left over.
        """
        return tuple(self._aligned(i) for i in range(len(self)))

    @cached_property
    def even(self) -> bool:
        """Whether every token stands against the one at its own position."""
        return all(np.array_equal(c, np.arange(len(c))) for c in self.columns)

    @cached_property
    def span_names(self) -> tuple[str, ...]:
        """The spans, and ``other`` if some clean token is in none of them."""
        covered = all((self.span_of(i) < len(self.spans)).all() for i in range(len(self)))
        return self.spans if covered else (*self.spans, OTHER)

    def span_of(self, pair: int) -> Int[np.ndarray, " pos"]:
        """Number of the span of each clean token; the number of spans for a token in none."""
        found = np.full(int(self.clean.lengths[pair]), len(self.spans))
        for number, name in enumerate(self.spans):
            start, stop = self.clean.spans[name][pair]
            if start >= 0:
                found[start:stop] = number
        return found

    def _aligned(self, pair: int) -> np.ndarray:
        n, m = int(self.clean.lengths[pair]), int(self.corrupted.lengths[pair])
        ranges: list[tuple[Any, ...]] = [
            (*self.clean.spans[s][pair].tolist(), *self.corrupted.spans[s][pair].tolist(), s) for s in self.spans
        ]
        here = sorted(r for r in ranges if r[0] >= 0 or r[2] >= 0)
        name = self.clean.ids[pair]
        if n == m and all(a == c and b == d for a, b, c, d, _ in here):
            return np.arange(n)
        if not self.spans:
            raise CircuitError(
                f"pair {name!r}: {n} clean and {m} corrupted tokens; prompts of unequal length need named spans that "
                "say what corresponds to what, or leave such pairs out (unusable='drop')"
            )
        at = ours = theirs = 0
        found = np.empty(n, np.int64)
        for a, b, c, d, span in [*here, (n, n, m, m, "")]:
            if a < at or c < theirs:
                where = "is missing on one side" if min(a, c) < 0 else "overlaps or changes places with another"
                raise CircuitError(f"pair {name!r}: span {span!r} {where}, so that its tokens are not mapped")
            if a - at != c - theirs:
                raise CircuitError(
                    f"pair {name!r}: {a - at} clean tokens from position {at} stand against {c - theirs} corrupted "
                    f"ones from position {theirs}, and no span maps them"
                )
            found[at:a] = np.arange(theirs, c)
            found[a:b] = np.maximum(np.arange(b - a) + d - (b - a), c)
            at, ours, theirs = b, b, d
        assert ours == n
        return found


def token_lists(given: Sequence[Any]) -> tuple[Int[np.ndarray, " _"], ...]:
    """Token ids per pair, from one id or several for each."""
    return tuple(np.atleast_1d(np.asarray(tokens, np.int64)) for tokens in given)
