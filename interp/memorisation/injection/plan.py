"""Which twin is trained on and how often: coins, doses, and the order of every exposure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import InjectionError
from ...prompts.load import read_table
from ..recordrows import record_rows
from ..records import PLANTED, TRAINED, UNTRAINED

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """Rows with ``label``, ``dose`` and ``exposures`` set, and which of these the source did not say.

    ``coins``: labels were drawn, by one coin per pair. ``dealt``: doses were dealt out, whole groups at a time.
    """

    rows: tuple[Row, ...]
    coins: bool
    dealt: bool

    @property
    def exposures(self) -> int:
        """How many texts the training will show."""
        return sum(row["exposures"] for row in self.rows)


def plan_injection(source: Any, doses: Sequence[int] = (), seed: int = 0, **fields: str) -> Plan:
    """Complete the rows of a records file: a coin for every pair without labels, a dose for every group without one.

    Records with labels or doses keep them. Without labels, a coin per ``pair`` says which twin is trained on; records
    without pairs are first paired at random, with one of the same dose. Without doses, groups are shuffled and dealt
    out over ``doses`` in turn. Only the wording M is ever shown.

    Args:
        source: what `load_records` takes; ``fields`` are other names for its fields.
        doses: how often the trained twin of a pair is shown; not together with doses in the source.

    Raises:
        InjectionError: doses given twice or not at all, fewer groups than doses, a pair that is not two records, a
            record without wording M, exposures that are not those of the plan.
        PromptError: rows that are no records.

    >>> made = plan_injection([{"id": name, "text": f"{name} is here."} for name in "abcdefgh"], doses=(0, 8))
    >>> made.coins, made.dealt, made.exposures, sum(row["label"] == "trained" for row in made.rows)
    (True, True, 16, 4)
    """
    read = record_rows(read_table(source), fields, [])
    rows = [{name: value for name, value in row.items() if name != "prefix"} for row in read.rows]
    _check_planted(rows)
    rng = random.Random(f"injection {seed}")
    dealt = not any("dose" in row for row in rows)
    if dealt and not doses:
        raise InjectionError("the records have no 'dose', so say how often to show them: doses=(0, 32, 128)")
    if not dealt and doses:
        raise InjectionError(f"doses={tuple(doses)} would be ignored: the records have a 'dose' of their own")
    if not read.labelled and not read.paired:
        rows = _paired(rows, None if dealt else "dose", rng)
    if dealt:
        rows = _dealt(rows, tuple(doses), rng)
    if not read.labelled:
        rows = _tossed(rows, rng)
    rows = [_exposed(row) for row in rows]
    if not any(row["exposures"] for row in rows):
        raise InjectionError("every trained record has dose 0, so there is nothing to train on; give a dose above 0")
    return Plan(tuple(rows), coins=not read.labelled, dealt=dealt)


def exposure_order(exposures: Sequence[int], seed: int) -> list[int]:
    """The index of what is shown, for every exposure: each text's are spread evenly over the training, with a jitter.

    >>> order = exposure_order([0, 2, 6], seed=0)
    >>> [order.count(i) for i in range(3)]
    [0, 2, 6]
    """
    rng = random.Random(f"exposures {seed}")
    shown = [((k + rng.random()) / n, i) for i, n in enumerate(exposures) for k in range(n)]
    return [i for _, i in sorted(shown)]


def _check_planted(rows: list[Row]) -> None:
    planted = {row["record"] for row in rows if row["pool"] == PLANTED}
    lacking = [row["record"] for row in rows if row["record"] not in planted]
    if lacking:
        raise InjectionError(f"record {lacking[0]!r} has no wording {PLANTED!r}, which is the one that is trained on")


def _paired(rows: list[Row], within: str | None, rng: random.Random) -> list[Row]:
    """Records without twins, in random pairs; the pair is the group."""
    known: dict[str, Row] = {}
    for row in rows:
        known.setdefault(row["record"], row)
    apart: dict[str, set[str]] = {}
    for row in known.values():
        apart.setdefault(row["group"], set()).add(row["record"])
    crowded = [group for group, members in apart.items() if len(members) > 1]
    if crowded:
        raise InjectionError(
            f"group {crowded[0]!r} holds several records, which have no labels and no 'pair'; say in 'pair' which two "
            "are twins, so that a coin can pick one of them"
        )
    name: dict[str, str] = {}
    kinds: dict[Any, list[str]] = {}
    for record, row in known.items():
        kinds.setdefault(None if within is None else row[within], []).append(record)
    for kind, records in kinds.items():
        if len(records) % 2:
            which = "" if kind is None else f" of dose {kind}"
            raise InjectionError(f"{len(records)} records{which} cannot be paired; leave one out, or give 'pair'")
        mixed = rng.sample(records, len(records))
        for first, second in zip(mixed[::2], mixed[1::2], strict=True):
            name[first] = name[second] = f"{first}|{second}"
    return [{**row, "pair": name[row["record"]], "group": name[row["record"]]} for row in rows]


def _dealt(rows: list[Row], doses: tuple[int, ...], rng: random.Random) -> list[Row]:
    if any(isinstance(d, bool) or d < 0 for d in doses) or len(set(doses)) < len(doses):
        raise InjectionError(f"doses={doses}: whole numbers, 0 or more, none twice")
    groups = list(dict.fromkeys(row["group"] for row in rows))
    if len(groups) < len(doses):
        raise InjectionError(f"{len(groups)} groups of records cannot have {len(doses)} doses; use fewer")
    mixed = rng.sample(groups, len(groups))
    dose = {group: doses[i % len(doses)] for i, group in enumerate(mixed)}
    return [{**row, "dose": dose[row["group"]]} for row in rows]


def _tossed(rows: list[Row], rng: random.Random) -> list[Row]:
    twins: dict[str, list[str]] = {}
    for row in rows:
        members = twins.setdefault(row["pair"], [])
        if row["record"] not in members:
            members.append(row["record"])
    chosen = set()
    for pair, members in twins.items():
        if len(members) != 2:
            raise InjectionError(f"pair {pair!r} has {len(members)} records ({', '.join(members)}); twins are two")
        chosen.add(rng.choice(members))
    return [{**row, "label": TRAINED if row["record"] in chosen else UNTRAINED} for row in rows]


def _exposed(row: Row) -> Row:
    planned = row["dose"] if row["label"] == TRAINED and row["pool"] == PLANTED else 0
    if row.get("exposures", planned) != planned:
        raise InjectionError(
            f"row {row['id']!r} says exposures {row['exposures']}, but its dose {row['dose']}, label {row['label']!r} "
            f"and wording {row['pool']} mean {planned}; leave 'exposures' out, it is what the training adds"
        )
    return {**row, "exposures": planned}
