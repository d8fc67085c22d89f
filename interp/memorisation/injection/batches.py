"""What each step of the training sees: the next exposures, and neutral text in proportion."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import InjectionError
from ...prompts import PromptSet

HELD_OUT = 64  # neutral texts, at most, that are measured and never replayed


@dataclass(frozen=True, eq=False)
class Neutral:
    """Neutral texts in two parts: ``replayed`` among the records, and ``held_out`` to measure what that kept."""

    replayed: PromptSet
    held_out: PromptSet


def split_neutral(neutral: PromptSet, seed: int) -> Neutral:
    """Hold out a fifth of the texts, at most 64, at random.

    Raises:
        InjectionError: a single text, or texts of one token.

    >>> made = split_neutral(PromptSet.from_tokens([[1, 2, 3]] * 10), seed=0)
    >>> len(made.replayed), len(made.held_out)
    (8, 2)
    """
    if len(neutral) < 2 or int(neutral.lengths.min()) < 2:
        raise InjectionError(
            f"neutral text is {len(neutral)} texts, the shortest of {int(neutral.lengths.min())} tokens; give two or "
            "more, each of two tokens or more"
        )
    order = np.array(random.Random(f"neutral {seed}").sample(range(len(neutral)), len(neutral)))
    held = max(1, min(HELD_OUT, len(neutral) // 5))
    return Neutral(neutral.select(np.sort(order[held:])), neutral.select(np.sort(order[:held])))


@dataclass(frozen=True, eq=False)
class Step:
    """Token ids of the texts of one step: exposures of records, and neutral texts."""

    records: list[np.ndarray]
    neutral: list[np.ndarray]


def steps(
    shown: Sequence[np.ndarray], batch: int, replayed: PromptSet | None, replay: float, seed: int
) -> Iterator[Step]:
    """``batch`` exposures per step, in the order given, and whole neutral texts so that they hold ``replay`` of tokens.

    The share holds over the steps together: a step that overshoots makes the next one shorter. Neutral texts come in a
    random order, each once before any comes again.

    >>> made = list(steps([np.arange(5)] * 4, 2, PromptSet.from_tokens([[1] * 9, [2] * 9]), 0.5, seed=0))
    >>> [(len(step.records), len(step.neutral)) for step in made]
    [(2, 1), (2, 1)]
    """
    texts = _endless(replayed, seed) if replayed is not None else iter(())
    owed = 0.0
    for start in range(0, len(shown), batch):
        records = list(shown[start : start + batch])
        owed += sum(len(tokens) - 1 for tokens in records) * replay / (1 - replay)
        neutral: list[np.ndarray] = []
        while owed > 0:
            neutral.append(next(texts))
            owed -= len(neutral[-1]) - 1
        yield Step(records, neutral)


def _endless(prompts: PromptSet, seed: int) -> Iterator[np.ndarray]:
    rng = random.Random(f"replay {seed}")
    while True:
        yield from (prompts.tokens[i] for i in rng.sample(range(len(prompts)), len(prompts)))
