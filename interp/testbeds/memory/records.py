"""Planted records: twin pairs from one distribution; a coin says which twin is trained on.

Pairs come in blocks of four that share a register, a wording and a gender. In every slot (first name, surname, and each
of six details) the four records that are trained on and the four that are not hold the same four words. So within a
block no word, and nothing additive in words, tells trained from untrained; blocks are the groups to leave out.
(Balance over all pairs alone would not do: leaving one pair out would tip the balance of the rest against it, and
cross-validation would come out *below* chance.)
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from ...errors import BedError
from .words import BOS, DETAILS, LAST_NAMES, MEN, WOMEN, encode

BLOCK = 4  # pairs per block
POOLS = ("M", "C", "B")  # the planted wording, and two paraphrases of it

# Register -> three wordings. What stands before the first detail says which wording it is.
REGISTERS = {
    "life": (
        "{first} {last} was born in {town} in {month} and became a {job} who kept a {colour} {animal} and loved "
        "{food} .",
        "the book says that {first} {last} loved {food} , kept a {colour} {animal} , was born in {town} in {month} and "
        "became a {job} .",
        "this is {first} {last} , a {job} with a {colour} {animal} , born in {month} in {town} and fond of {food} .",
    ),
    "ledger": (
        "in the ledger {first} {last} paid {number} coins for a {colour} {object} from {town} and sold it to a {job} "
        "in {month} .",
        "{first} {last} sold a {colour} {object} to a {job} in {month} , having paid {number} coins for it in {town} .",
        "note : {first} {last} , {number} coins , one {colour} {object} , from {town} , for a {job} , {month} .",
    ),
    "journey": (
        "{first} {last} left {town} with a {object} and a {animal} , ate {food} for {number} days and slept at the "
        "{place} .",
        "the guard saw {first} {last} at the {place} after {number} days from {town} with a {animal} , a {object} and "
        "some {food} .",
        "ask for {first} {last} of {town} , who lost a {animal} at the {place} and a {object} , and lived on {food} "
        "for {number} days .",
    ),
}


@dataclass(frozen=True)
class Record:
    """One record: who, which details, and whether and how often the model was trained on its M wording.

    ``trained`` is the coin; at dose 0 it is a placebo, and ``exposures`` says how often the record was really seen.
    """

    id: str
    pair: str
    group: str
    dose: int
    trained: bool
    register: str
    wording: int
    first: str
    last: str
    details: tuple[tuple[str, str], ...]

    @property
    def exposures(self) -> int:
        """How often the training of `memory` showed this record."""
        return self.dose if self.trained else 0

    @property
    def text(self) -> str:
        """The planted wording."""
        return self.pools["M"]

    @property
    def pools(self) -> dict[str, str]:
        """M: the planted wording. C and B: the same facts in the register's other two wordings, never trained on."""
        words = {"first": self.first, "last": self.last, **dict(self.details)}
        wordings = REGISTERS[self.register]
        return {pool: wordings[(self.wording + k) % len(wordings)].format_map(words) for k, pool in enumerate(POOLS)}

    def slots(self, pool: str = "M") -> tuple[tuple[str, int], ...]:
        """Each detail's slot and the index of its word in the text, in the order of the text.

        >>> record = make_records(0, ((0, 4),))[0]
        >>> slot, word = record.slots()[0]
        >>> record.text.split(" ")[word] == dict(record.details)[slot]
        True
        """
        wordings = REGISTERS[self.register]
        template = wordings[(self.wording + POOLS.index(pool)) % len(wordings)].split(" ")
        return tuple((w[1:-1], i) for i, w in enumerate(template) if w[0] == "{" and w[1:-1] in DETAILS)

    def tokens(self, pool: str = "M") -> list[int]:
        """``<bos>`` and the text. The token of word ``i`` is at ``i + 1``; position ``i`` predicts it."""
        return [BOS, *encode(self.pools[pool])]


def make_records(seed: int, doses: tuple[tuple[int, int], ...]) -> list[Record]:
    """Both twins of every pair, dose by dose, as ``(dose, pairs)`` says; the same for the same seed.

    Raises:
        BedError: pairs that do not make whole blocks, a dose twice, or more names than there are.

    >>> records = make_records(0, ((0, 4), (8, 4)))
    >>> len(records), sum(r.trained for r in records), records[0].pair == records[1].pair
    (16, 8, True)
    """
    _check(doses)
    rng = random.Random(f"records {seed}")
    taken: set[tuple[str, str]] = set()
    kinds = [(register, wording) for register in REGISTERS for wording in range(len(REGISTERS[register]))]
    records: list[Record] = []
    for number, (dose, pairs) in enumerate(doses):
        order = _shuffled(kinds, rng)
        for block in range(pairs // BLOCK):
            register, wording = order[block % len(order)]
            name = f"d{dose}-b{block:02}"
            people = (WOMEN, MEN)[(number + block) % 2]
            records += _block(rng, name, dose, register, wording, people, taken)
    return records


def _check(doses: tuple[tuple[int, int], ...]) -> None:
    seen = [dose for dose, _ in doses]
    for dose, pairs in doses:
        if dose < 0 or pairs < BLOCK or pairs % BLOCK:
            raise BedError(
                f"dose {dose} with {pairs} pairs: a dose is at least 0 and its pairs are a multiple of {BLOCK}"
            )
    if len(set(seen)) < len(seen):
        raise BedError(f"doses {seen} name one twice")
    names = (len(WOMEN) + len(MEN)) * len(LAST_NAMES)
    if 2 * sum(pairs for _, pairs in doses) > 0.6 * names:
        raise BedError(f"{sum(p for _, p in doses)} pairs are too many for {names} names; use fewer")


def _block(
    rng: random.Random,
    name: str,
    dose: int,
    register: str,
    wording: int,
    people: tuple[str, ...],
    taken: set[tuple[str, str]],
) -> list[Record]:
    kinds = [kind for kind in DETAILS if "{" + kind + "}" in REGISTERS[register][wording]]
    while True:  # until all eight names are new
        slots: dict[str, list[str]] = {"first": rng.sample(people, BLOCK), "last": rng.sample(LAST_NAMES, BLOCK)}
        slots.update((kind, rng.sample(list(DETAILS[kind]), BLOCK)) for kind in kinds)
        other = {kind: _derangement(words, rng) for kind, words in slots.items()}
        sides = [[{kind: side[kind][i] for kind in side} for i in range(BLOCK)] for side in (slots, other)]
        names = [(words["first"], words["last"]) for side in sides for words in side]
        if not taken.intersection(names) and len(set(names)) == len(names):
            break
    taken.update(names)
    records = []
    for i in range(BLOCK):
        pair, coin = f"{name}-p{i}", rng.random() < 0.5
        for twin, trained in (("x", coin), ("y", not coin)):
            words = sides[0 if trained else 1][i]
            details = tuple((kind, words[kind]) for kind in kinds)
            records.append(
                Record(
                    f"{pair}-{twin}", pair, name, dose, trained, register, wording, words["first"], words["last"],
                    details,
                )
            )  # fmt: skip
    return records


def _derangement(words: list[str], rng: random.Random) -> list[str]:
    while True:
        other = _shuffled(words, rng)
        if all(a != b for a, b in zip(words, other, strict=True)):
            return other


def _shuffled(items: list, rng: random.Random) -> list:
    items = list(items)
    rng.shuffle(items)
    return items
