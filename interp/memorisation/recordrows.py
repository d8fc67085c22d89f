"""Rows of a records file, as they come, to rows with the same fields throughout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import PromptError
from ..prompts.columns import is_missing, plain
from ..prompts.readers import Table

FIELDS = ("text", "id", "record", "pool", "label", "group", "pair", "dose", "exposures")
POOLS = ("M", "C", "B")
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
    marks = _mark_fields(table, set(named.values()))
    there = {field for field in FIELDS if any(_given(row.get(named[field])) for row in table.rows)}
    rows, seen = [], set()
    for row, place in zip(table.rows, table.places, strict=True):
        made = _one(row, named, there, f"{table.name}, {place}")
        if (made["record"], made["pool"]) in seen:
            raise PromptError(
                f"{table.name}, {place}: record {made['record']!r} is there twice in wording {made['pool']}; give each "
                "row its own 'record', or its wording in 'pool'"
            )
        seen.add((made["record"], made["pool"]))
        rest = {k: v for k, v in row.items() if k not in named.values() and k not in marks and k != "prefix"}
        ranges = {name: plain(row.get(name)) for name in marks}
        rows += _prefixed({**rest, **made}, ranges, prefixes)
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
    record = value("record") if value("record") is not None else value("id")
    if record is None:
        record = where.rsplit(", ", 1)[-1]
    made: dict[str, Any] = {"text": text, "record": str(record), "pool": pool}
    own = str(value("id")) if value("id") is not None else str(record)
    made["id"] = own if own.endswith(f"-{pool}") or pool == "M" else f"{own}-{pool}"
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


def _mark_fields(table: Table, taken: set[str]) -> tuple[str, ...]:
    """Fields that hold a range of characters in some row, and in no row anything else."""
    found = []
    for name in table.columns:
        values = [plain(row.get(name)) for row in table.rows]
        given = [v for v in values if _given(v)]
        if name not in taken and given and all(_is_range(v) for v in given):
            found.append(name)
    return tuple(found)


def _is_range(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and all(isinstance(v, int) and not isinstance(v, bool) for v in value)
    )


def _given(value: Any) -> bool:
    return not is_missing(value) and value != ""


def _prefixed(row: dict[str, Any], ranges: dict[str, Any], prefixes: list[str]) -> list[dict[str, Any]]:
    if not prefixes:
        return [{**row, **ranges, "prefix": 0}]
    made = []
    for k, prefix in enumerate(prefixes):
        front = prefix if not prefix or prefix[-1].isspace() else f"{prefix} "
        shifted = {
            name: None if not _given(r) else [r[0] + len(front), r[1] + len(front)] for name, r in ranges.items()
        }
        made.append({**row, **shifted, "text": front + row["text"], "prefix": k, "id": f"{row['id']}+{k}"})
    return made
