"""``claims``: the rows of a summary as a reader wants them: the claim, its verdict, the number and what it beats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..report import Report
from .tables import Cell, table


@dataclass(frozen=True)
class Claim:
    """One row of a summary. ``more``: the verdict after its first words; ``null``: what the number is held against."""

    text: str
    verdict: str
    more: str
    null: str
    value: Cell
    p: Cell


def claims(report: Report) -> tuple[Claim, ...]:
    """The claims of a report of kind ``"memorisation"``, with their numbers rounded for reading.

    >>> from interp.provenance import Provenance
    >>> row = {"claim": "It is recited", "value": 0.984, "null": "twins: 0 %", "p": 0.01, "verdict": "found; clearly"}
    >>> (one,) = claims(Report("memorisation", "T", "H.", [row], Provenance("a1", "tiny")))
    >>> one.verdict, one.more, one.value.text, one.p.text
    ('found', 'clearly', '0.98', '0.010')
    """
    if not report.rows:
        return ()
    columns = [name for name in ("value", "p") if name in report.columns]
    shown = table(report, columns).rows if columns else ((),) * len(report)
    found = []
    for row, cells in zip(report.rows, shown, strict=True):
        first, _, more = _text(row.get("verdict")).partition("; ")
        numbers = dict(zip(columns, cells, strict=True))
        found.append(
            Claim(
                _text(row.get("claim")), first, more, _text(row.get("null")),
                numbers.get("value", Cell("")), numbers.get("p", Cell("")),
            )
        )  # fmt: skip
    return tuple(found)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
