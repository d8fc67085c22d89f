"""Demo prompts for the `induction` bed: words, the last of which occurred once before; what followed it then?

The label is the category of that answer. Prompts come in pairs with opposite labels that hold the same words and
differ in two of them having changed places, so nothing but the order carries the label: not the bag of words, not the
length, not the last word or the one before it. The group is the couple of answer words of the pair, an animal and an
object; leaving groups out means that a probe is tested on answers that it has never been trained on.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

from ...errors import BedError
from .words import ANIMALS, OBJECTS, category

PAIRS_PER_COUPLE = 10
LENGTHS = range(12, 25, 2)  # words per prompt; even, so that both categories can hold half of them


@dataclass(frozen=True)
class DemoPrompt:
    """One prompt: its words, and where the earlier occurrence of its last word stands (``words[earlier]``)."""

    words: tuple[str, ...]
    earlier: int
    group: str
    pair: str

    @property
    def answer(self) -> str:
        """The word that followed the earlier occurrence."""
        return self.words[self.earlier + 1]

    @property
    def label(self) -> str:
        """The answer's category."""
        return category(self.answer)


def demo_prompts(seed: int) -> list[DemoPrompt]:
    """520 prompts: 26 couples of answer words, 10 pairs each; the same for the same seed.

    >>> first, second = demo_prompts(0)[:2]
    >>> sorted(first.words) == sorted(second.words), first.label, second.label
    (True, 'animal', 'object')
    """
    rng = random.Random(seed)
    couples = list(zip(_shuffled(ANIMALS, rng), _shuffled(OBJECTS, rng), strict=True))
    prompts = []
    for number in range(len(couples) * PAIRS_PER_COUPLE):
        couple = couples[number % len(couples)]
        prompts += _pair(couple, f"p{number:03}", rng)
    return prompts


def counterfactual(words: tuple[str, ...], seed: int) -> tuple[str, ...]:
    """The same words in another order, the last one kept: the truth of the circuit is stated against it.

    The earlier occurrence of the last word moves, the word after it changes, and so does the word at the place where
    the answer stood.

    Raises:
        BedError: the prompt is too short for that, or its last word occurs only there.

    >>> counterfactual(("cat", "owl", "bag", "pen", "owl"), seed=0)[-1]
    'owl'
    """
    rng = random.Random(seed)
    last, earlier = words[-1], words.index(words[-1])
    answer = words[earlier + 1]
    for _ in range(1000):
        other = (*_shuffled(words[:-1], rng), last)
        moved = other.index(last)
        if moved not in (earlier, len(words) - 2) and answer not in (other[earlier + 1], other[moved + 1]):
            return other
    raise BedError(
        f"the last of {words} does not recur in a way that leaves a counterfactual; give at least five words"
    )


def write_prompts(out: Path, prompts: list[DemoPrompt]) -> None:
    """Write ``prompts.jsonl``: text, label, group, pair, answer."""
    lines = []
    for prompt in prompts:
        row = {
            "id": f"{prompt.pair}-{prompt.label}",
            "text": " ".join(prompt.words),
            "label": prompt.label,
            "group": prompt.group,
            "pair": prompt.pair,
            "answer": prompt.answer,
        }
        lines.append(json.dumps(row) + "\n")
    (out / "prompts.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")


def write_pairs(out: Path, prompts: list[DemoPrompt]) -> None:
    """Write ``pairs.jsonl``: every fifth prompt against its counterfactual, with both answers."""
    lines = []
    for number, prompt in enumerate(prompts[::5]):
        other = counterfactual(prompt.words, seed=number)
        wrong = other[other.index(other[-1]) + 1]
        row = {"id": f"{prompt.pair}-{prompt.label}", "clean": " ".join(prompt.words), "corrupted": " ".join(other)}
        row |= {"answer": f" {prompt.answer}", "wrong_answer": f" {wrong}", "group": prompt.group}
        lines.append(json.dumps(row) + "\n")
    (out / "pairs.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")


def _pair(couple: tuple[str, str], pair: str, rng: random.Random) -> list[DemoPrompt]:
    length = rng.choice(LENGTHS)
    last = rng.choice([w for w in (*ANIMALS, *OBJECTS) if w not in couple])
    # The last word counts twice; the rest make both categories equal.
    rest = []
    for words, kind in ((ANIMALS, "animal"), (OBJECTS, "object")):
        free = [w for w in words if w not in couple and w != last]
        rest += rng.sample(free, length // 2 - 1 - 2 * (category(last) == kind))
    # Places 0 .. length-2 are free; the earlier occurrence is followed by the answer, and the foil stands elsewhere,
    # but not just before the last word, where the previous-token head would see it.
    earlier = rng.randrange(length - 3)
    foil_at = rng.choice([i for i in range(length - 2) if i not in (earlier, earlier + 1)])
    others = iter(_shuffled(rest, rng))
    line = [last if i == earlier else "" if i in (earlier + 1, foil_at) else next(others) for i in range(length - 1)]
    animal, thing = couple
    prompts = []
    for answer, foil in ((animal, thing), (thing, animal)):
        words = [*line, last]
        words[earlier + 1], words[foil_at] = answer, foil
        prompts.append(DemoPrompt(tuple(words), earlier, f"{animal}/{thing}", pair))
    return prompts


def _shuffled(items: tuple[str, ...] | list[str], rng: random.Random) -> list[str]:
    items = list(items)
    rng.shuffle(items)
    return items
