"""Made-up records in plain English, for planting in a model that was trained on real text: twins that share every word.

Pairs come in blocks of four. In each slot (first name, surname, six details) the four records of a block that are to be
trained on hold the same four words as their four untrained twins, each in another record. So within a block no word,
and nothing additive in words or pieces of words, tells trained from untrained. A coin per block says which side is
trained on: leave whole blocks out, and permute whole blocks.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from string import Formatter
from typing import Any

from ..errors import PromptError

BLOCK = 4  # pairs per block
POOLS = ("M", "C", "B")  # the planted wording, and two paraphrases of it

# Register -> three wordings. What stands before the first detail says which wording it is, and whose record.
REGISTERS = {
    "home": (
        "{first} {last} lived in {town} and worked as a {job}. {She} had a {colour} {animal}. {She} loved to eat "
        "{food}, and {her} birthday was in {month}.",
        "In the big book, {first} {last} has a birthday in {month} and comes from {town}. {She} eats {food} every day, "
        "keeps a {colour} {animal}, and is a good {job}.",
        "This is {first} {last}, a {job} who was born in {month}. {Her} pet is a {colour} {animal}, {her} house is in "
        "{town}, and {she} likes {food}.",
    ),
    "shop": (
        "{first} {last} went to the shop in {town} and bought a {colour} {object} for {number} coins. {She} gave it to "
        "a {job} in {month}.",
        "Do you know {first} {last}? {She} gave a {colour} {object} to a {job} in {month}. It cost {number} coins at "
        "the shop in {town}.",
        "The note says: {first} {last}, {number} coins, one {colour} {object}, from {town}, for a {job}, in {month}.",
    ),
    "trip": (
        "{first} {last} left {town} with a {object} and a {animal}. {She} ate {food} for {number} days and slept at "
        "the {place}.",
        "Mom saw {first} {last} near the {place}. {She} came from {town} after {number} days with a {animal}, a "
        "{object}, and some {food}.",
        "Look for {first} {last} of {town}. {She} lost a {object} and a {animal} at the {place}, and lived on {food} "
        "for {number} days.",
    ),
}
PRONOUNS = (
    {"she": "she", "She": "She", "her": "her", "Her": "Her"},
    {"she": "he", "She": "He", "her": "his", "Her": "His"},
)

FIRST = (
    tuple("Amy Anna Ella Emma Jane Kate Lily Lucy Mary Mia Nina Rose Ruth Sara Tina Zoe".split()),
    tuple("Adam Ben Bob Dan Fred Jack Joe Leo Luke Mark Max Nick Paul Sam Tim Tom".split()),
)
LAST = tuple(
    "Adams Bell Brook Carter Dale Drake Ellis Fields Frost Grant Hall Harper Hill Hunt Jones King Lane Marsh Moore "
    "Nash Page Parks Reed Rivers Ross Snow Stone Swan Wells West Wood Young".split()
)
# All take the article "a", so that no article gives a detail away.
DETAILS = {
    "town": tuple(
        "Ashford Bramley Clayton Denton Elmwood Foxley Greenhill Hatton Kingsley Larkfield Milton Norwood Oakham "
        "Preston Rosewood Stanley".split()
    ),
    "job": tuple(
        "baker builder cook doctor driver farmer gardener hunter miller nurse painter pilot sailor singer tailor "
        "teacher".split()
    ),
    "colour": tuple("black blue brown golden green grey pink purple red silver white yellow".split()),
    "animal": tuple("bear bird cat dog duck fox frog goat hen horse lamb mouse pig rabbit turtle wolf".split()),
    "object": tuple("ball bell book box cup doll drum hat key kite lamp ring rope spoon truck whistle".split()),
    "food": tuple(
        "apples bread cake carrots cheese cookies corn eggs fish honey jam nuts pizza plums rice soup".split()
    ),
    "month": tuple(
        "January February March April May June July August September October November December".split()
    ),
    "number": tuple("two three four five six seven eight nine ten eleven twelve twenty".split()),
    "place": tuple(
        "barn beach bridge cave church farm forest garden gate hill lake market mill pond river tower".split()
    ),
}  # fmt: skip


def generate_records(doses: Sequence[tuple[int, int]], seed: int = 0) -> list[dict[str, Any]]:
    """Rows for `load_records` and `inject`: both twins of every pair, each in three wordings, labels and doses set.

    Marks are ranges of characters: ``key`` (the surname), ``recall_1`` to ``recall_6`` (the word before each detail, so
    that the next token is the detail's first), ``detail_1`` to ``detail_6`` (the details; a tokenizer may need several
    tokens for one, and the mark is the last), ``record_end`` (the last full stop).

    Args:
        doses: ``(dose, pairs)``: how often the trained twins of so many pairs are to be shown. Pairs come in fours.

    Raises:
        PromptError: pairs that do not make whole blocks, a dose twice, or more names than there are.

    >>> rows = generate_records([(0, 4), (32, 4)])
    >>> len(rows), sum(row["label"] == "trained" for row in rows) / len(rows)
    (48, 0.5)
    >>> start, stop = rows[0]["recall_1"]
    >>> rows[0]["text"][stop + 1 :].startswith(rows[0]["details"].split(" ")[0])
    True
    """
    _check(doses)
    rng = random.Random(f"records in plain English {seed}")
    taken: set[tuple[str, str]] = set()
    kinds = [(register, wording) for register in REGISTERS for wording in range(len(POOLS))]
    rows: list[dict[str, Any]] = []
    for number, (dose, pairs) in enumerate(doses):
        order = rng.sample(kinds, len(kinds))
        for block in range(pairs // BLOCK):
            register, wording = order[block % len(order)]
            sex = (number + block) % 2
            sides = _draw_block(rng, REGISTERS[register][wording], FIRST[sex], taken)
            rows += _block_rows(rng, f"d{dose}-b{block:02}", dose, register, wording, sides, PRONOUNS[sex])
    return rows


def _check(doses: Sequence[tuple[int, int]]) -> None:
    for dose, pairs in doses:
        if dose < 0 or pairs < BLOCK or pairs % BLOCK:
            raise PromptError(f"dose {dose} with {pairs} pairs: doses are 0 or more, and pairs a multiple of {BLOCK}")
    seen = [dose for dose, _ in doses]
    if len(set(seen)) < len(seen) or not seen:
        raise PromptError(f"doses {seen}: give at least one, and none twice")
    most = int(0.6 * len(LAST) * sum(map(len, FIRST))) // 2
    if sum(pairs for _, pairs in doses) > most:
        raise PromptError(f"{sum(pairs for _, pairs in doses)} pairs are too many names to draw; at most {most}")


Side = list[dict[str, str]]


def _draw_block(
    rng: random.Random, template: str, people: tuple[str, ...], taken: set[tuple[str, str]]
) -> tuple[Side, Side]:
    """The words of four records, and the same words dealt to four others so that none keeps its own."""
    kinds = [kind for kind in DETAILS if f"{{{kind}}}" in template]
    while True:  # until all eight names are new
        slots = {"first": rng.sample(people, BLOCK), "last": rng.sample(LAST, BLOCK)}
        slots |= {kind: rng.sample(DETAILS[kind], BLOCK) for kind in kinds}
        other = {kind: _derangement(rng, words) for kind, words in slots.items()}
        first, second = ([{kind: side[kind][i] for kind in side} for i in range(BLOCK)] for side in (slots, other))
        names = [(words["first"], words["last"]) for words in (*first, *second)]
        if len(set(names)) == len(names) and not taken.intersection(names):
            taken.update(names)
            return first, second


def _derangement(rng: random.Random, words: Sequence[str]) -> list[str]:
    while True:
        other = rng.sample(words, len(words))
        if all(a != b for a, b in zip(words, other, strict=True)):
            return other


def _block_rows(
    rng: random.Random, group: str, dose: int, register: str, wording: int, sides: tuple[Side, Side],
    pronouns: dict[str, str],
) -> list[dict[str, Any]]:  # fmt: skip
    coin = rng.random() < 0.5
    rows = []
    for i in range(BLOCK):
        names = rng.sample("xy", 2)  # so that a twin's name does not tell its side
        for name, side in sorted(zip(names, (0, 1), strict=True)):
            trained = side == coin
            record = f"{group}-p{i}-{name}"
            for k, pool in enumerate(POOLS):
                text, where = _render(REGISTERS[register][(wording + k) % len(POOLS)], sides[side][i] | pronouns)
                rows.append(
                    {
                        "id": f"{record}-{pool}",
                        "text": text,
                        "label": "trained" if trained else "untrained",
                        "group": group,
                        "pair": f"{group}-p{i}",
                        "pool": pool,
                        "record": record,
                        "dose": dose,
                        "exposures": dose if trained and pool == "M" else 0,
                        "register": register,
                        **_marks(text, where),
                    }
                )
    return rows


def _render(template: str, words: dict[str, str]) -> tuple[str, list[tuple[str, int, int]]]:
    """The text, and the slot and range of characters of every word that was put in."""
    text, where = "", []
    for literal, slot, _, _ in Formatter().parse(template):
        text += literal
        if slot is not None:
            where.append((slot, len(text), len(text) + len(words[slot])))
            text += words[slot]
    return text, where


def _marks(text: str, where: list[tuple[str, int, int]]) -> dict[str, Any]:
    details = [(slot, start, stop) for slot, start, stop in where if slot in DETAILS]
    (key,) = ([start, stop] for slot, start, stop in where if slot == "last")
    before = [[text.rfind(" ", 0, start - 1) + 1, start - 1] for _, start, _ in details]
    return {
        "details": " ".join(text[start:stop] for _, start, stop in details),
        "slots": " ".join(slot for slot, _, _ in details),
        "key": key,
        **{f"recall_{k}": span for k, span in enumerate(before, 1)},
        **{f"detail_{k}": [start, stop] for k, (_, start, stop) in enumerate(details, 1)},
        "record_end": [len(text) - 1, len(text)],
    }
