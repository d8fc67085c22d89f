"""Rows of two reports that say the same thing of the same thing: the columns that name a row, and the pairs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
_DIGITS = 8


@dataclass(frozen=True)
class Matched:
    """Rows matched by ``key``: pairs of them, and those that one side alone has."""

    key: tuple[str, ...]
    pairs: tuple[tuple[Row, Row], ...]
    only_a: tuple[Row, ...]
    only_b: tuple[Row, ...]


def key_columns(a: Sequence[Row], b: Sequence[Row]) -> tuple[str, ...]:
    """The columns that tell the rows of both apart, as few as do it, in their order.

    Numbers that were measured (with an interval beside them, p-values, long fractions) are none. Columns that hold the
    same values on both sides come first, so that a verdict that changed does not part a row from its like.

    >>> a = [{"site": "embed", "mark": "last", "auc": 0.5}, {"site": "embed", "mark": "t_inst", "auc": 0.7}]
    >>> key_columns(a, [{**row, "auc": 0.6} for row in a])
    ('mark',)
    """
    names = dict.fromkeys(name for row in (*a, *b) for name in row)
    usable = [name for name in names if not _measured(name, names) and all(_short(row.get(name)) for row in (*a, *b))]
    if len(a) < 2 and len(b) < 2:  # nothing to tell apart; the first text still says what the row is
        return tuple(n for n in usable if all(isinstance(row.get(n), str) for row in (*a, *b)))[:1]
    shared = [n for n in usable if {_plain(row.get(n)) for row in a} == {_plain(row.get(n)) for row in b}]
    chosen: list[str] = []
    counts = (min(len(a), 1), min(len(b), 1))
    for name in (*shared, *(n for n in usable if n not in shared)):
        if counts == (len(a), len(b)):
            break
        now = tuple(len({_values(row, [*chosen, name]) for row in rows}) for rows in (a, b))
        if now[0] > counts[0] or now[1] > counts[1]:
            chosen.append(name)
            counts = now  # type: ignore[assignment]
    for name in list(chosen):  # what a later column made needless
        rest = [other for other in chosen if other != name]
        if tuple(len({_values(row, rest) for row in rows}) for rows in (a, b)) == counts:
            chosen = rest
    return tuple(name for name in names if name in chosen)


def match(a: Sequence[Row], b: Sequence[Row], key: Sequence[str] | None = None) -> Matched:
    """Pair the rows that have equal values in the key columns; rows that the key does not tell apart go in order."""
    columns = key_columns(a, b) if key is None else tuple(key)
    waiting: dict[tuple[str, ...], list[Row]] = {}
    for row in b:
        waiting.setdefault(_values(row, columns), []).append(row)
    pairs, only_a = [], []
    for row in a:
        others = waiting.get(_values(row, columns))
        if others:
            pairs.append((row, others.pop(0)))
        else:
            only_a.append(row)
    taken = {id(other) for _, other in pairs}
    return Matched(columns, tuple(pairs), tuple(only_a), tuple(row for row in b if id(row) not in taken))


def row_name(row: Row, key: Sequence[str]) -> str:
    """What a row is called: the values of its key.

    >>> row_name({"dose": 8, "label": "trained", "exact": 0.5}, ("dose", "label"))
    'dose 8, trained'
    """
    parts = []
    for name in key:
        value = row.get(name)
        text = value if isinstance(value, str) else f"{name} {'-' if value is None else _plain(value)}"
        parts.append(text)
    return ", ".join(parts)


def _measured(name: str, names: Mapping[str, Any]) -> bool:
    stem = name[:-3] if name.endswith(("_lo", "_hi")) else name
    interval = stem + "_lo" in names and stem + "_hi" in names
    return interval or name == "p" or name.startswith("p_") or name.endswith(("_p", "_p_max"))


def _short(value: Any) -> bool:
    """Whether a value can be a setting; a fraction of many digits was measured."""
    return not isinstance(value, float) or len(repr(value)) <= _DIGITS


def _values(row: Row, columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(_plain(row.get(name)) for name in columns)


def _plain(value: Any) -> str:
    """The value as text that is equal for equal values, NaN among them."""
    return json.dumps(value)
