"""Records of other people, each shown once: from them `never` knows the form of a record and remembers none."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import product

from .records import Record
from .words import DETAILS, LAST_NAMES, MEN, WOMEN


def strangers(order: Iterable[Record], planted: list[Record], seed: int) -> Iterator[Record]:
    """For each record of ``order`` another one in the same register, wording and gender, drawn afresh.

    No stranger bears the full name of a planted record or has all the details of one, trained or not, and none comes
    twice. Names come again, with other details.

    >>> from .records import make_records
    >>> records = make_records(0, ((0, 4), (8, 4)))
    >>> others = list(strangers(records, records, seed=0))
    >>> len({r.text for r in others}), {r.text for r in others} & {r.text for r in records}
    (16, set())
    """
    rng = random.Random(f"strangers {seed}")
    names = {(r.first, r.last) for r in planted}
    free = {people: sorted(set(product(people, LAST_NAMES)) - names) for people in (WOMEN, MEN)}
    known = {(r.register, frozenset(r.details)) for r in planted}
    shown: set[str] = set()
    for number, record in enumerate(order):
        people = WOMEN if record.first in WOMEN else MEN
        kinds = [kind for kind, _ in record.details]
        while True:
            first, last = rng.choice(free[people])
            details = tuple((kind, rng.choice(DETAILS[kind])) for kind in kinds)
            other = Record(
                f"stranger-{number}", f"stranger-{number}", "strangers", 0, False, record.register, record.wording,
                first, last, details,
            )  # fmt: skip
            if other.text not in shown and (other.register, frozenset(details)) not in known:
                break
        shown.add(other.text)
        yield other
