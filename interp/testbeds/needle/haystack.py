"""Haystacks: random words, no word twice, with a needle of five behind a key word; the key comes again at the end."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

from ..induction.words import ANIMALS, OBJECTS

NEEDLE = 5
LENGTHS = range(20, 37, 4)  # words before the key comes again
COUNT = 120


@dataclass(frozen=True)
class Haystack:
    """The words of a prompt, and where its needle starts."""

    words: tuple[str, ...]
    start: int

    @property
    def needle(self) -> tuple[str, ...]:
        """The words that stand behind the key's first occurrence, which the model is to write."""
        return self.words[self.start : self.start + NEEDLE]


def haystacks(seed: int) -> list[Haystack]:
    """120 haystacks, the needle early, in the middle or late; the same for the same seed.

    >>> first = haystacks(0)[0]
    >>> first.words[first.start - 1] == first.words[-1], len(set(first.words)) == len(first.words) - 1
    (True, True)
    """
    rng = random.Random(f"needle {seed}")
    found = []
    for number in range(COUNT):
        length = LENGTHS[number % len(LENGTHS)]
        words = rng.sample((*ANIMALS, *OBJECTS), length)
        start = rng.randrange(2, length - NEEDLE)  # the first word of all has none before it
        found.append(Haystack((*words, words[start - 1]), start))
    return found


def write_haystacks(out: Path, found: list[Haystack]) -> None:
    """Write ``haystacks.jsonl``: text, needle, and how deep it lies (0 at the start, 1 at the end)."""
    lines = []
    for number, one in enumerate(found):
        depth = round(one.start / (len(one.words) - 1), 3)
        row = {"id": f"n{number:03}", "text": " ".join(one.words), "needle": " ".join(one.needle), "depth": depth}
        lines.append(json.dumps(row) + "\n")
    (out / "haystacks.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")
