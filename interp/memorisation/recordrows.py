"""Rows of a records file, as they come, to rows with the same fields throughout."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import PromptError
from ..prompts.columns import is_missing, plain
from ..prompts.readers import Table

FIELDS = ("text", "id", "record", "pool", "label", "group", "pair", "dose", "exposures")
POOLS = ("M", "C", "B")
RECALL_MARK = re.compile(r"recall_\d+")
Range = list[int] | None
_RANGE = re.compile(r"[\[(]\s*(\d+)\s*,\s*(\d+)\s*[\])]")
LABELS = {
    **dict.fromkeys(("trained", "memorised", "memorized", "seen", "true", "1"), "trained"),
    **dict.fromkeys(("untrained", "unseen", "false", "0"), "untrained"),
}


@dataclass(frozen=True)
class RecordRows:
    """Rows with ``text id record pool prefix group`` and what else the source says; and which parts it has."""

    rows: list[dict[str, Any]]
    marks: tuple[str, ...]
    labelled: bool
    paired: bool


def record_rows(table: Table, fields: Mapping[str, str], prefixes: list[str]) -> RecordRows:
    """Check and complete every row, and repeat it with each prefix.

    Raises:
        PromptError: with the row, the value and what it may be.
    """
    unknown = sorted(set(fields) - set(FIELDS))
    if unknown:
        raise PromptError(f"load_records has no field {unknown[0]!r}; fields: {', '.join(FIELDS)}")
    for field, name in fields.items():
        if name not in table.columns:
            raise PromptError(f"{field}={name!r}: {table.name} has no such field; it has: {', '.join(table.columns)}")
    named = {field: fields.get(field, field) for field in FIELDS}
    ranges = _mark_fields(table, set(named.values()))
    marks = tuple(ranges)
    there = {field for field in FIELDS if any(_given(row.get(named[field])) for row in table.rows)}
    rows, seen = [], set()
    ids = _ids(table, named)
    for i, (row, place) in enumerate(zip(table.rows, table.places, strict=True)):
        made = _one(row, named, there, f"{table.name}, {place}")
        if (made["record"], made["pool"]) in seen:
            raise PromptError(
                f"{table.name}, {place}: record {made['record']!r} is there twice in wording {made['pool']}; give each "
                "row its own 'record', or its wording in 'pool'"
            )
        seen.add((made["record"], made["pool"]))
        rest = {k: v for k, v in row.items() if k not in named.values() and k not in marks and k != "prefix"}
        rows += _prefixed({**rest, **made, "id": ids[i]}, {name: ranges[name][i] for name in marks}, prefixes)
    return RecordRows(rows, marks, "label" in there, "pair" in there)


def _one(row: Mapping[str, Any], named: Mapping[str, str], there: set[str], where: str) -> dict[str, Any]:
    def value(field: str) -> Any:
        found = plain(row.get(named[field]))
        return found if _given(found) else None

    text = value("text")
    if not isinstance(text, str) or not text.strip():
        raise PromptError(f"{where}: the field {named['text']!r} must hold the record's text, got {text!r}")
    pool = str(value("pool") or "M")
    if pool not in POOLS:
        raise PromptError(f"{where}: pool {pool!r} is none of {', '.join(POOLS)}")
    record = next((value(f) for f in ("record", "id") if value(f) is not None), where.rsplit(", ", 1)[-1])
    made: dict[str, Any] = {"text": text, "record": str(record), "pool": pool}
    for field in ("pair", "label"):
        if field in there:
            if value(field) is None:
                raise PromptError(f"{where}: {field!r} is missing here, though other rows have it")
            made[field] = str(value(field)) if field == "pair" else _label(value(field), where)
    group = value("group")
    made["group"] = str(group if group is not None else made.get("pair", made["record"]))
    for field in ("dose", "exposures"):
        if field in there:
            made[field] = _count(value(field), field, where)
    return made


def _ids(table: Table, named: Mapping[str, str]) -> list[str]:
    """The rows' own ids where they differ; else the id or record, with the wording behind it for all but M."""

    def first(row: Mapping[str, Any], *fields: str, otherwise: str = "") -> str:
        found = (plain(row.get(named[field])) for field in fields)
        return next((str(v) for v in found if _given(v)), otherwise)

    own = [first(row, "id") for row in table.rows]
    if all(own) and len(set(own)) == len(own):
        return own
    names = [first(r, "id", "record", otherwise=p) for r, p in zip(table.rows, table.places, strict=True)]
    pools = [first(row, "pool", otherwise="M") for row in table.rows]
    taken = {name for name, pool in zip(names, pools, strict=True) if pool == "M"}
    made = []
    for name, pool in zip(names, pools, strict=True):
        wanted = name
        if pool != "M":
            wanted = f"{name}-{pool}"
            while wanted in taken:
                wanted += "'"
            taken.add(wanted)
        made.append(wanted)
    return made


def _label(value: Any, where: str) -> str:
    found = LABELS.get(str(value).lower())
    if found is None:
        raise PromptError(f"{where}: label {value!r} is neither 'trained' nor 'untrained'")
    return found


def _count(value: Any, field: str, where: str) -> int:
    try:
        count = int(value)
    except (TypeError, ValueError):
        count = -1
    if count < 0 or (isinstance(value, float) and value != count):
        raise PromptError(f"{where}: {field} must be a whole number, 0 or more, got {value!r}")
    return count


def _mark_fields(table: Table, taken: set[str]) -> dict[str, list[Range]]:
    """Fields that hold ranges of characters, with the range of every row.

    Raises:
        PromptError: a field of ranges, or one called ``recall_1``, ``recall_2``, ..., that holds something else.
    """
    found = {}
    for name in table.columns:
        if name in taken:
            continue
        values = [plain(row.get(name)) for row in table.rows]
        ranges = [_range(v) if _given(v) else None for v in values]
        wrong = [i for i, (v, r) in enumerate(zip(values, ranges, strict=True)) if _given(v) and r is None]
        right = sum(r is not None for r in ranges)
        if wrong and (right > len(wrong) or RECALL_MARK.fullmatch(name)):
            raise PromptError(
                f"{table.name}, {table.places[wrong[0]]}: {name!r} must hold a range of characters, [start, stop], as "
                f"a mark does, or nothing; got {values[wrong[0]]!r} ({len(wrong)} of {len(values)} rows hold no range)"
            )
        if right and not wrong:
            found[name] = ranges
    return found


def _range(value: Any) -> Range:
    """``[start, stop]``, also where a text table holds it as text; ``None`` if it is something else."""
    if isinstance(value, str):
        numbers = _RANGE.fullmatch(value.strip())
        return None if numbers is None else [int(n) for n in numbers.groups()]
    items = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(items, (list, tuple)) or len(items) != 2:
        return None
    ends = [plain(v) for v in items]
    return ends if all(isinstance(v, int) and not isinstance(v, bool) for v in ends) else None


def _given(value: Any) -> bool:
    return not is_missing(value) and not (isinstance(value, str) and not value.strip())


def _prefixed(row: dict[str, Any], ranges: dict[str, Range], prefixes: list[str]) -> list[dict[str, Any]]:
    if not prefixes:
        return [{**row, **ranges, "prefix": 0}]
    made = []
    for k, prefix in enumerate(prefixes):
        front = prefix if not prefix or prefix[-1].isspace() else f"{prefix} "
        shifted = {name: None if r is None else [r[0] + len(front), r[1] + len(front)] for name, r in ranges.items()}
        made.append({**row, **shifted, "text": front + row["text"], "prefix": k, "id": f"{row['id']}+{k}"})
    return made
